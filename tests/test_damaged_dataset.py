"""Bad input gives one clear error that names file, token and field."""

import pickle

import numpy as np
import pytest
from navsim_tiny import LOG, ROOT

from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import SceneFilter, Split


def _damaged(tmp_path, damage):
    """A dataset of one log whose frame 5 went through `damage`."""
    frames = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    damage(frames[5])
    folder = tmp_path / "navsim_logs/test"
    folder.mkdir(parents=True)
    (folder / f"{LOG}.pkl").write_bytes(pickle.dumps(frames))
    return Dataset(tmp_path, Split("test", SceneFilter(num_future_frames=8)), maps=ROOT / "maps"), frames[5]["token"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda frame: frame.pop("anns"), "key anns is missing"),
        (lambda frame: frame["anns"].pop("gt_boxes"), "anns: key gt_boxes is missing"),
        (lambda frame: frame["anns"].update(gt_names=["tram"] * len(frame["anns"]["gt_names"])), "category 'tram'"),
        (lambda frame: frame["anns"]["track_tokens"].pop(), "one distinct token per box"),
        (lambda frame: frame["anns"]["gt_boxes"].__setitem__((0, 0), np.nan), "gt_boxes: not finite"),
        (lambda frame: frame.update(ego_dynamic_state=[1.0]), "ego_dynamic_state: expected shape"),
        (lambda frame: frame.update(timestamp=0), "timestamp does not advance"),
        (lambda frame: frame.update(map_location="atlantis"), "no map 'atlantis'"),
        (lambda frame: frame["cams"]["CAM_F0"].pop("cam_intrinsic"), "CAM_F0: key cam_intrinsic is missing"),
    ],
)
def test_a_damaged_frame_is_named(tmp_path, damage, message):
    damaged, token = _damaged(tmp_path, damage)
    with pytest.raises(ValueError, match=message) as error:
        damaged.scene(token)
    assert "map" in message or (LOG in str(error.value) and token in str(error.value))
