"""Claims about the route ahead: a straight road eastwards, the ego beside its centre line (tests/straight_road.py)."""

from dataclasses import replace

import numpy as np
import pytest
from straight_road import road_scene

from irlvla.scenes.route_ahead import route_targets

SIDES = (-32.0, 32.0)


def test_the_route_runs_along_its_centre_line_and_ends_with_the_rectangle():
    scene = road_scene()
    aside = replace(scene, ego_poses=scene.ego_poses + [0, 1.0, 0])
    found = route_targets(aside, (-8.0, 41.0), SIDES)
    assert found["route"][:, 0] == pytest.approx(2.5 * np.arange(1, 21), abs=1e-4)
    assert found["route"][:, 1] == pytest.approx(np.full(20, -1.0), abs=1e-4)  # the ego drives a metre left of it
    assert found["route_inside"].tolist() == [True] * 16 + [False] * 4


def test_the_route_is_in_the_ego_frame_and_ends_where_the_map_does():
    scene = road_scene()
    end_m = max(lane.centerline[-1, 0] for lane in scene.town_map.lanes.values())
    late = replace(scene, ego_poses=scene.ego_poses + [end_m - 11.0, 0, np.pi / 2])
    found = route_targets(late, (-8.0, 56.0), SIDES)
    assert found["route"][:4] == pytest.approx(np.stack([np.zeros(4), -2.5 * np.arange(1, 5)], axis=1), abs=1e-4)
    assert found["route_inside"].tolist() == [True] * 4 + [False] * 16


def test_a_scene_without_a_route_is_named():
    with pytest.raises(ValueError, match="scene .*: the scene has no route"):
        route_targets(replace(road_scene(), route_roadblock_ids=()), (-8.0, 56.0), SIDES)
