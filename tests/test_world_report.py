"""The figures of a dataset's report, on scenes whose answers are plain."""

from dataclasses import replace

import numpy as np
import pytest
from straight_road import road_scene

from irlvla.world.report import human_row, slips


@pytest.mark.parametrize("slip", [0.0, 20.0])
def test_slip_is_the_angle_of_the_heading_against_velocity_and_against_the_way_gone(slip):
    scene = road_scene()
    frames = len(scene.ego_poses)
    poses = np.zeros((frames, 1, 3))
    poses[:, 0, 0] = 4.0 * np.arange(frames)
    poses[..., 2] = np.deg2rad(slip)
    tracks = replace(
        scene.tracks, tokens=("a",), categories=("vehicle",), poses=poses, z_m=np.zeros((frames, 1)),
        velocity_mps=np.tile([8.0, 0.0], (frames, 1, 1)), size_m=np.tile([4.5, 1.8, 1.5], (frames, 1, 1)),
        valid=np.ones((frames, 1), bool),
    )  # fmt: skip
    table = slips(replace(scene, tracks=tracks))
    np.testing.assert_allclose(table[["velocity", "way"]], [[slip, slip]], atol=1e-9)


def test_a_human_who_keeps_his_lane_and_speed_is_within_every_bound():
    row = human_row(road_scene(), "train")
    assert row["no_at_fault_collisions"] == row["lane_keeping"] == row["history_comfort"] == 1
    assert (row["speed"], row["path"]) == ("Constant Speed Strict", "Straight Strict")
    assert all(excess < 0 for name, excess in row.items() if name.startswith("excess of "))
