"""Scenes of a dataset in NAVSIM format agree with the official reader and with the files."""

import pickle

import navsim_tiny
import numpy as np
import pytest
from navsim_tiny import LOG, ROOT, dataset

from irlvla.geometry import global_from_local
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.scene import CAMERAS
from irlvla.scenes.split import SceneFilter, Split, load_split


@pytest.mark.parametrize("stage", navsim_tiny.STAGES)
def test_the_logged_future_ends_where_the_official_reader_says(stage):
    answers = navsim_tiny.official(stage, "human")
    for scene in dataset(stage):
        row = answers.loc[scene.token]
        end = global_from_local(scene.ego_pose, scene.human_plan())[-1]
        np.testing.assert_allclose(end[:2], row[["endpoint_x", "endpoint_y"]].astype(float), atol=1e-6)
        np.testing.assert_allclose(scene.ego_pose[:2], row[["start_point_x", "start_point_y"]].astype(float), atol=1e-9)
        assert scene.timestamp_us[scene.now] * 1e-6 == pytest.approx(row["start_time"], abs=1e-6)
        assert scene.log_name == row["log_name"] and scene.is_synthetic == (row["stage"] == 2)


def test_tokens_are_those_of_the_filter():
    split = load_split(navsim_tiny.split_yaml("two"))
    wanted = {*split.scene_filter.tokens, *split.scene_filter.reactive_synthetic_initial_tokens}
    assert set(dataset("two").tokens) == wanted == {token for group in split.groups for token in group.tokens}
    assert [len(group.follow_ups) for group in split.groups] == [3, 3, 3]


def test_without_tokens_every_window_that_fits_is_a_scene():
    everything = Dataset(ROOT, Split("test", SceneFilter(num_future_frames=8)))
    assert len(everything) == 2 * (41 - 12 + 1)
    apart = Dataset(ROOT, Split("test", SceneFilter(num_future_frames=8, frame_interval=None)))
    assert len(apart) == 2 * (41 // 12)
    assert len(Dataset(ROOT, Split("test", SceneFilter(max_scenes=5)))) == 5


def test_a_scene_has_its_window_in_one_frame_of_reference():
    scene = dataset("one").scene("99a0274ba8fbc517")
    log = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    now = next(i for i, frame in enumerate(log) if frame["token"] == scene.token)
    assert scene.now == 3 and scene.ego_poses.shape == (14, 3) and scene.num_future_frames == 10
    assert scene.route_roadblock_ids == tuple(log[now]["roadblock_ids"])
    assert scene.red_connectors[3] == tuple(str(id) for id, red in log[now]["traffic_lights"] if red)
    for row, frame in enumerate(log[now - 3 : now + 11]):
        boxes = frame["anns"]["gt_boxes"]
        for box, token in zip(boxes, frame["anns"]["track_tokens"], strict=True):
            column = scene.tracks.tokens.index(token)
            pose = scene.tracks.poses[row, column]
            offset = pose[:2] - scene.ego_poses[row, :2]
            assert scene.tracks.valid[row, column] and np.hypot(*offset) == pytest.approx(np.hypot(*box[:2]))
            np.testing.assert_allclose(scene.tracks.size_m[row, column], box[3:6])
            assert -np.pi <= pose[2] <= np.pi
    assert scene.tracks.tokens[: len(boxes)] == tuple(log[now]["anns"]["track_tokens"])  # the order of reactive traffic


def test_velocities_turn_with_the_ego_and_stand_still_for_static_objects():
    for scene in dataset("one"):
        moving = np.array([category in ("vehicle", "pedestrian", "bicycle") for category in scene.tracks.categories])
        assert not scene.tracks.velocity_mps[:, ~moving].any()
        fast = np.linalg.norm(scene.tracks.velocity_mps, axis=-1) > 1
        steps = np.diff(scene.tracks.poses[..., :2], axis=0) / 0.5
        both = fast[1:] & fast[:-1] & scene.tracks.valid[1:] & scene.tracks.valid[:-1]
        assert np.abs(steps - scene.tracks.velocity_mps[:-1])[both].max() < 1.5  # positions agree with the velocities


def test_image_size_is_that_of_the_file_else_of_the_calibration(tmp_path):
    scene = dataset("one").scene("99a0274ba8fbc517")
    assert dataset("one").image_path(scene, "CAM_F0").is_file()
    assert (scene.cameras["CAM_F0"].width_px, scene.cameras["CAM_F0"].height_px) == (96, 54)
    elsewhere = Dataset(ROOT, navsim_tiny.split_yaml("one"), sensor_blobs=tmp_path)
    other = elsewhere.scene("99a0274ba8fbc517").cameras["CAM_F0"]
    assert (other.width_px, other.height_px) == (96, 54)
    forward = other.ego_from_camera[:3, 2]
    np.testing.assert_allclose(forward, [1, 0, 0], atol=1e-12)


def test_cameras_that_were_not_recorded_are_left_out():
    scene = dataset("one").scene("99a0274ba8fbc517")
    assert set(scene.cameras) == {"CAM_F0"} < set(CAMERAS)


def test_a_second_stage_scene_knows_its_first_stage():
    split = dataset("two").split
    for group in split.groups:
        for now, previous in group.follow_ups:
            scene, before = dataset("two").scene(now), dataset("two").scene(previous)
            assert scene.is_synthetic and len(scene.token) == 17
            assert {scene.original_token, before.original_token} == {group.now, group.previous}
            assert scene.timestamp_us[3] - before.timestamp_us[3] == 500_000
