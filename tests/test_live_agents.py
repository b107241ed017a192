"""Drivers of the closed loop."""

import numpy as np
import pytest
from straight_road import road_scene

from irlvla import PLAN_POSES
from irlvla.live_agents import driver, make_constant_velocity, make_pdm_closed, with_empty_future

AHEAD = ("a", "vehicle", 20.0, -1.75, 0.0, 4.0, 2.0, 1.5)


def present_only(scene):
    """As the living world gives it: no frame after the present one."""
    from dataclasses import fields, replace

    names = (
        "timestamp_us",
        "ego_poses",
        "ego_velocity_mps",
        "ego_acceleration_mps2",
        "driving_command",
        "red_connectors",
    )
    past = slice(0, scene.now + 1)
    tracks = {f.name: getattr(scene.tracks, f.name)[past] for f in fields(scene.tracks)[2:]}
    cut = {name: getattr(scene, name)[past] for name in names}
    return replace(scene, tracks=replace(scene.tracks, **tracks), **cut)


def test_constant_velocity_goes_straight_on():
    plan = make_constant_velocity()(present_only(road_scene()))
    np.testing.assert_allclose(plan[:, 0], 4.0 * np.arange(1, PLAN_POSES + 1), atol=1e-6)
    np.testing.assert_allclose(plan[:, 1:], 0, atol=1e-6)


def test_pdm_closed_needs_no_future_drives_on_and_stops_behind_a_standing_car():
    free = make_pdm_closed()(present_only(road_scene()))
    behind = make_pdm_closed()(present_only(road_scene([AHEAD])))
    assert free.shape == behind.shape == (PLAN_POSES, 3)
    assert free[-1, 0] > 30
    assert behind[-1, 0] < 20 - 2 - 4.049  # its front stays behind the car's rear


def test_the_empty_future_holds_nothing_and_leaves_the_scene_alone():
    scene = present_only(road_scene([AHEAD]))
    padded = with_empty_future(scene)
    assert padded.num_future_frames == PLAN_POSES and scene.num_future_frames == 0
    assert padded.tracks.valid[: scene.now + 1].all() and not padded.tracks.valid[scene.now + 1 :].any()


def test_a_policy_that_was_not_trained_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="imitation/policy.pt"):
        driver("imitation", tmp_path, checks=False)
