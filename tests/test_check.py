"""`python -m irlvla.world check` says what is there and names what is broken, on other people's data too."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
from navsim_tiny import LOG, ROOT

from irlvla.scenes.scene import CAMERAS
from irlvla.world.__main__ import main
from irlvla.world.check import check
from irlvla.world.check_logs import SCENES

MAP_NAME = "us-nv-las-vegas-strip"
JPEG = b"\xff\xd8 pixels \xff\xd9"


@pytest.fixture
def root(tmp_path):
    """The tiny dataset with the keys that only the official reader reads, and no map that is listed but not there."""
    copy = tmp_path / "tiny"
    shutil.copytree(ROOT, copy)
    index = copy / "maps/nuplan-maps-v1.0.json"
    index.write_text(json.dumps({MAP_NAME: json.loads(index.read_text())[MAP_NAME]}))
    for path in (copy / "navsim_logs/test").glob("*.pkl"):
        frames = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps([frame | {"scene_token": "s", "lidar_path": "none.pcd"} for frame in frames]))
    return copy


def changed(root, change):
    """Applies `change` to the frames of the first log."""
    path = root / "navsim_logs/test" / f"{LOG}.pkl"
    frames = pickle.loads(path.read_bytes())
    change(frames)
    path.write_bytes(pickle.dumps(frames))


def test_a_sound_dataset_is_counted(root):
    found = check(root)
    assert found.problems == {}
    lines = found.lines()
    for line in ("logs: 2 of 2", "maps: 1 of 1", "frames: 82 of 82", "second-stage scenes: 18 of 18", "broken: 0"):
        assert line in lines
    assert "scenes (12 frames with a route): 60 of 60" in lines


def test_maps_may_lie_elsewhere_and_splits_be_absent_as_in_the_real_data(root, tmp_path):
    shutil.move(root / "maps", tmp_path / "nuplan_maps")
    shutil.rmtree(root / "splits")
    assert check(root, tmp_path / "nuplan_maps").problems == {}
    assert "no index of maps here" in check(root).problems["map index"][0]


def test_the_exit_status_tells_whether_anything_is_broken(root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["irlvla.world", "check", str(root), "--maps", str(root / "maps")])
    assert main() == 0 and "logs: 2 of 2" in capsys.readouterr().out
    changed(root, lambda frames: frames[7]["cams"].pop("CAM_L1"))
    token = pickle.loads((root / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())[7]["token"]
    assert main() == 1 and f"frame {token}: cams: key CAM_L1 is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[7].update(ego2global_translation=[np.nan, 0, 0]), "ego2global_translation: not finite"),
        (lambda frames: frames[7].update(timestamp=0), "timestamp does not advance"),
        (lambda frames: frames.pop(7), "timestamp is 1.000 s after"),
        (lambda frames: frames[7].update(roadblock_ids=["0"]), "roadblock_ids: 0 is not in the map"),
        (lambda frames: frames[7].update(map_location="atlantis"), "'atlantis' is no map"),
        (lambda frames: frames[7].update(log_name="other"), "log_name 'other'"),
        (lambda frames: frames[7].update(lidar_path=None), "lidar_path is None"),
    ],
)
def test_a_broken_frame_is_named_and_ends_only_its_own_scenes(root, change, message):
    changed(root, change)
    found = check(root)
    (problem,) = [line for line in found.problems["frames"] if message in line]
    assert LOG in problem
    assert 0 < found.sound[SCENES] < found.of[SCENES]


def test_what_is_wrong_in_every_frame_of_a_log_is_said_once(root):
    changed(root, lambda frames: [frame.pop("driving_command") for frame in frames])
    (problem,) = check(root).problems["frames"]
    assert "key driving_command is missing (and in 40 other frames of this log)" in problem


def test_files_that_cannot_be_read_are_named(root):
    (root / "navsim_logs/test" / f"{LOG}.pkl").write_bytes(b"no pickle")
    scene = min((root / "navhard_two_stage/synthetic_scene_pickles").glob("*.pkl"))
    scene.write_bytes(scene.read_bytes()[:1000])
    gpkg = next((root / "maps").rglob("map.gpkg"))
    gpkg.write_bytes(gpkg.read_bytes()[:50_000])
    problems = check(root).problems
    assert str(root / "navsim_logs/test" / LOG) in problems["logs"][0]
    assert str(scene) in problems["second-stage scenes"][0]
    assert "truncated GeoPackage" in problems["maps"][0]


def test_a_second_stage_scene_needs_its_log_and_its_frame(root):
    changed(root, lambda frames: [frame.update(token=f"{i:016x}") for i, frame in enumerate(frames)])
    other = next(path for path in (root / "navsim_logs/test").glob("*.pkl") if path.stem != LOG)
    other.unlink()
    problems = check(root).problems
    assert "no such frame" in problems["second-stage scenes at their time"][0]
    assert f"no log {other.stem}" in problems["logs of second-stage scenes"][0]


def test_a_token_that_occurs_twice_is_named_with_both_places(root):
    changed(root, lambda frames: frames[9].update(token=frames[3]["token"]))
    (problem,) = check(root).problems["tokens once"]
    assert "frame 9" in problem and "frame 3" in problem


def test_images_may_be_absent_by_the_frame_but_not_one_by_one(root):
    shutil.rmtree(root / "sensor_blobs")

    def record_all(frames):
        for frame in frames:
            for name in CAMERAS:
                camera = frame["cams"]["CAM_F0"] | {"data_path": f"{LOG}/{name}/{frame['token']}.jpg"}
                frame["cams"][name] = camera

    changed(root, record_all)
    frames = pickle.loads((root / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    paths = [root / "sensor_blobs/test" / frames[0]["cams"][name]["data_path"] for name in CAMERAS]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(JPEG)
    found = check(root)
    assert found.problems == {} and found.sound["images there"] == 8 < found.of["images there"]
    paths[0].write_bytes(JPEG[:5])
    paths[1].write_bytes(b"")
    paths[2].unlink()
    problems = check(root).problems
    assert "truncated image of 5 bytes" in problems["images whole"][0]
    assert f"{paths[1]}: neither JPEG nor PNG" in problems["images whole"][1]
    assert f"{paths[2]} is missing" in problems["images there"][0] and frames[0]["token"] in problems["images there"][0]
