"""Bad input gives one clear error that names file, token and field."""

import pathlib
import pickle

import numpy as np
import pytest
from navsim_tiny import LOG, ROOT

from irlvla.scenes.navsim import SYNTHETIC_SCENES, Dataset
from irlvla.scenes.split import SceneFilter, Split


def _damaged(tmp_path, damage):
    """A dataset of one log whose frame 5 went through `damage`, and that frame's token."""
    frames = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    damage(frames[5])
    return _written(tmp_path, frames), frames[5]["token"]


def _written(tmp_path, frames):
    folder = tmp_path / "navsim_logs/test"
    folder.mkdir(parents=True)
    (folder / f"{LOG}.pkl").write_bytes(pickle.dumps(frames))
    return Dataset(tmp_path, Split("test", SceneFilter(num_future_frames=8)), maps=ROOT / "maps")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda frame: frame.pop("anns"), "key anns is missing"),
        (lambda frame: frame["anns"].pop("gt_boxes"), "anns: key gt_boxes is missing"),
        (lambda frame: frame["anns"].update(gt_names=["tram"] * len(frame["anns"]["gt_names"])), "category 'tram'"),
        (lambda frame: frame["anns"]["track_tokens"].pop(), "one distinct token per box"),
        (lambda frame: frame["anns"]["gt_boxes"].__setitem__((0, 0), np.nan), "gt_boxes: not finite"),
        (lambda frame: frame.update(ego_dynamic_state=[1.0]), "ego_dynamic_state: expected shape"),
        (lambda frame: frame.update(ego2global_translation=[np.nan, 0, 0]), "ego2global_translation: not finite"),
        (lambda frame: frame.update(ego2global_rotation=np.zeros(4)), "ego2global_rotation: .*no rotation"),
        (lambda frame: frame.update(ego2global_rotation="north"), "ego2global_rotation: not an array of numbers"),
        (lambda frame: frame["anns"]["gt_velocity_3d"].__setitem__((0, 0), np.nan), "gt_velocity_3d: not finite"),
        (lambda frame: frame.update(timestamp=0), "timestamp does not advance"),
        (lambda frame: frame.update(timestamp=frame["timestamp"] - 0.5), "timestamp: expected a whole number"),
        (lambda frame: frame.update(traffic_lights=[7]), "traffic_lights: not a list"),
        (lambda frame: frame.update(anns=None), "anns: expected a dict"),
        (lambda frame: frame.update(map_location=None), "map_location: expected a text"),
        (lambda frame: frame["anns"]["track_tokens"].__setitem__(0, None), "track_tokens: expected texts"),
        (lambda frame: frame["cams"].update(CAM_F0="front.jpg"), "cams: CAM_F0: expected a dict"),
        (lambda frame: frame["cams"]["CAM_F0"].update(data_path=None), "CAM_F0: data_path: expected a text"),
        (lambda frame: frame["cams"].pop("CAM_B0"), "cams: key CAM_B0 is missing"),
        (lambda frame: frame.update(map_location="atlantis"), "no map 'atlantis'"),
        (lambda frame: frame["cams"]["CAM_F0"].pop("cam_intrinsic"), "CAM_F0: key cam_intrinsic is missing"),
    ],
)
def test_a_damaged_frame_is_named(tmp_path, damage, message):
    damaged, token = _damaged(tmp_path, damage)
    with pytest.raises(ValueError, match=message) as error:
        damaged.scene(token)
    assert LOG in str(error.value) and token in str(error.value)


def test_a_missing_frame_is_named_by_the_next_one(tmp_path):
    frames = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    del frames[5]
    with pytest.raises(ValueError, match=rf"{LOG}.pkl: frame {frames[5]['token']}: timestamp is 1.000 s after"):
        _written(tmp_path, frames).scene(frames[6]["token"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a list of frames"),
        ({}, "expected a list of frames"),
        ([3], "frame 0: expected a dict"),
        ([{"token": "a"}], "frame 0: key roadblock_ids is missing"),
        ([{"token": "a", "roadblock_ids": None}], "frame a: roadblock_ids: expected a list"),
    ],
)
def test_a_log_of_something_else_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"{LOG}\.pkl: {message}"):
        _written(tmp_path, content)


def test_a_damaged_image_header_is_named_with_its_camera(tmp_path):
    frames = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    image = tmp_path / "sensor_blobs/test" / frames[5]["cams"]["CAM_F0"]["data_path"]
    image.parent.mkdir(parents=True)
    image.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{frames[5]['token']}: CAM_F0: {image}: no readable image"):
        _written(tmp_path, frames).scene(frames[5]["token"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scene: scene.pop("frames"), "key frames is missing"),
        (lambda scene: scene.update(frames=[]), "frames: expected a list of frames"),
        (lambda scene: scene["scene_metadata"].pop("map_name"), "scene_metadata: key map_name is missing"),
        (lambda scene: scene["scene_metadata"].update(log_name=7), "scene_metadata: log_name: expected a text"),
        (lambda scene: scene["frames"][3]["ego_status"].pop("ego_pose"), "key ego_pose is missing"),
        (lambda scene: scene["frames"][3]["ego_status"].update(in_global_frame=False), "not in the global frame"),
        (lambda scene: scene["frames"][3]["annotations"].pop("names"), "annotations: key names is missing"),
        (lambda scene: scene["scene_metadata"].update(map_name="atlantis"), "map_name: .*no map 'atlantis'"),
    ],
)
def test_a_damaged_second_stage_scene_is_named(tmp_path, damage, message):
    stored = min((ROOT / SYNTHETIC_SCENES).glob("*.pkl"))
    content = pickle.loads(stored.read_bytes())
    token, log_name = content["scene_metadata"]["initial_token"], content["scene_metadata"]["log_name"]
    damage(content)
    (tmp_path / SYNTHETIC_SCENES).mkdir(parents=True)
    (tmp_path / SYNTHETIC_SCENES / stored.name).write_bytes(pickle.dumps(content))
    (tmp_path / "navsim_logs").symlink_to(ROOT / "navsim_logs")
    wanted = SceneFilter(num_future_frames=8, log_names=(log_name,), include_synthetic_scenes=True)
    with pytest.raises(ValueError, match=rf"{stored.name}.*{message}"):
        Dataset(tmp_path, Split("test", wanted), maps=ROOT / "maps").scene(token)


class _Intruder:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return pathlib.Path.touch, (self.trace,)


def test_a_malicious_log_is_refused_by_name_and_nothing_of_it_runs(tmp_path):
    with pytest.raises(ValueError, match=rf"{LOG}\.pkl: refused pickle: it names pathlib"):
        _written(tmp_path, [_Intruder(tmp_path / "trace")])
    assert not (tmp_path / "trace").exists()
