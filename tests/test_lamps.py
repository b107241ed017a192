"""Brake lamps and indicators: when they are lit, and that the picture shows it."""

from dataclasses import replace

import numpy as np
import pytest
from straight_road import CAR, road_scene

from irlvla.scenes.scene import Scene
from irlvla.world.cameras import render
from irlvla.world.lamps import LEFT, NONE, RIGHT, braking, indicating, only_turn


def driving(now_mps: float, before_mps: float) -> Scene:
    """A car ahead with these speeds now and in the frame before."""
    scene = road_scene([CAR])
    velocity = np.zeros_like(scene.tracks.velocity_mps)
    velocity[scene.now - 1, 0, 0], velocity[scene.now, 0, 0] = before_mps, now_mps
    return replace(scene, tracks=replace(scene.tracks, velocity_mps=velocity))


@pytest.mark.parametrize(
    ("now_mps", "before_mps", "lit"), [(8.0, 8.0, False), (7.5, 8.0, True), (7.8, 8.0, False), (0.0, 0.0, True)]
)
def test_brake_lamps_are_lit_while_slowing_or_standing(now_mps, before_mps, lit):
    assert braking(driving(now_mps, before_mps)).tolist() == [lit]


@pytest.mark.parametrize("size", [(256, 704), (96, 264)])
def test_brake_lamps_are_seen_from_behind_as_brighter_red(size):
    on, off = (render(scene, ("CAM_F0",), *size)[0].astype(int) for scene in (driving(7.0, 8.0), driving(8.0, 8.0)))
    brighter = (on - off)[..., 0] > 40
    assert brighter.sum() >= 3 and (on[brighter][:, 0] > 1.5 * on[brighter][:, 1]).all()


def turning(left_rad: float) -> Scene:
    """A car before the junction that stands on its connector, turned, three seconds later."""
    scene = road_scene([("a", "vehicle", 55.0, -1.75, 0.0, 4.6, 1.9, 1.6)])
    poses = scene.tracks.poses.copy()
    poses[scene.now + 3 :, 0] = (68.0, -1.75, 0.5 * left_rad)
    poses[scene.now + 6 :, 0] = (72.0, -1.75, left_rad)
    return replace(scene, tracks=replace(scene.tracks, poses=poses))


@pytest.mark.parametrize(("left_rad", "side"), [(0.8, LEFT), (-0.8, RIGHT), (0.1, NONE)])
def test_a_driver_indicates_the_turn_that_he_will_make(left_rad, side):
    assert indicating(turning(left_rad)).tolist() == [side]


def test_pedestrians_and_cars_that_go_straight_on_do_not_indicate():
    walker = ("b", "pedestrian", 10.0, -3.0, 0.0, 0.6, 0.6, 1.7)
    assert indicating(road_scene([CAR, walker])).tolist() == [NONE, NONE]
    assert only_turn(road_scene().town_map, "1") == NONE


def test_an_indicator_is_seen_from_behind_on_its_side():
    left, right = (render(turning(side), ("CAM_F0",), 256, 704)[0].astype(int) for side in (0.8, -0.8))
    columns = np.nonzero(np.abs(left - right).max(axis=-1) > 30)[1]
    more_red = (left - right)[..., 0].sum(axis=0)
    assert len(columns) and np.average(np.arange(704), weights=np.maximum(more_red, 0)) < np.average(
        np.arange(704), weights=np.maximum(-more_red, 0)
    )
