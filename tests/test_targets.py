"""Claims about targets: a straight road eastwards, the ego at x = 0, y = -1.75, 8 m/s (tests/straight_road.py)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight_road import CAR, road_scene

from irlvla.geometry import global_from_local
from irlvla.scenes.route_ahead import route_targets
from irlvla.scenes.scene import Scene
from irlvla.scenes.targets import (
    BEV_CLASSES,
    DEFAULT_X_RANGE_M,
    DEFAULT_Y_RANGE_M,
    LIGHTS,
    NO_CLASS,
    load_targets,
    save_targets,
    scene_targets,
)

CAMERAS = ("CAM_F0", "CAM_L0")
PEDESTRIAN = ("p", "pedestrian", 10.0, 6.25, 0.5, 0.6, 0.6, 1.7)
CONE = ("c", "traffic_cone", 5.0, -4.0, 0.0, 0.4, 0.4, 0.8)
FAR = ("f", "vehicle", 33.0, -1.75, 0.0, 4.6, 1.9, 1.6)


def targets(scene: Scene, **changes) -> dict[str, np.ndarray]:
    found = scene_targets(scene, CAMERAS, **({"grid_cells": 64} | changes))
    return found | route_targets(scene, DEFAULT_X_RANGE_M, DEFAULT_Y_RANGE_M)


def test_objects_are_in_the_ego_frame_nearest_first_and_only_those_inside():
    found = targets(road_scene([CAR, FAR, PEDESTRIAN, CONE]))
    assert found["box_class"][:4].tolist() == [3, 1, 0, NO_CLASS]  # static, pedestrian, vehicle
    assert found["boxes"][2] == pytest.approx([20, 0, 0.8, 4.6, 1.9, 1.6, 0, 0, 0], abs=1e-5)
    assert found["boxes"][1, :3] == pytest.approx([10, 8, 0.85], abs=1e-5)
    assert not found["boxes"][3:].any()


def test_the_rectangle_decides_what_is_inside():
    found = targets(road_scene([CAR, FAR]), x_range_m=(-8.0, 56.0))
    assert (found["box_class"] == 0).sum() == 2


def test_plan_and_status_are_those_of_the_scene():
    scene = road_scene()
    found = targets(scene)
    assert found["plan"] == pytest.approx(scene.human_plan(), abs=1e-5) and found["has_plan"]
    assert found["status"][-1] == pytest.approx([0, 1, 0, 0, 8, 0, 0, 0])


def test_a_scene_without_stored_future_has_no_plan():
    scene = road_scene()
    columns = ("timestamp_us", "ego_poses", "ego_velocity_mps", "ego_acceleration_mps2", "driving_command")
    cut = replace(scene, **{name: getattr(scene, name)[:4] for name in columns})
    found = targets(cut)
    assert not found["has_plan"] and not found["plan"].any()


def test_map_lines_are_the_lane_and_the_two_edges_of_the_road():
    found = targets(road_scene())
    assert found["polyline_class"][:4].tolist() == [0, 1, 1, NO_CLASS]
    lane, right, left = found["polylines"][:3]
    assert lane[[0, -1]] == pytest.approx(np.array([[-32, 0], [32, 0]]), abs=1e-4)  # in driving direction
    assert right[:, 1] == pytest.approx(np.full(20, -1.75), abs=1e-4)
    assert left[:, 1] == pytest.approx(np.full(20, 5.25), abs=1e-4)
    assert np.diff(np.sort(right[:, 0])) == pytest.approx(np.full(19, 64 / 19), abs=1e-3)


def test_each_cell_of_the_grid_has_the_class_at_its_centre():
    grid = targets(road_scene([CAR, PEDESTRIAN]))["bev"]

    def at(x: float, y: float) -> str:
        return BEV_CLASSES[grid[int(x + 32), int(y + 32)]]

    assert at(20.5, 0.5) == "vehicle" and at(10.5, 8.5) in ("pedestrian", "background")
    assert at(0.5, 3.5) == "road" and at(-20.5, 4.5) == "road"
    assert at(0.5, 7.5) == "background" and at(0.5, -3.5) == "background"
    assert "centerline" in (at(0.5, 0.5), at(0.5, -0.5))


@pytest.mark.parametrize("cells", [16, 32, 128])
def test_the_road_covers_the_same_area_on_every_grid(cells):
    grid = targets(road_scene(), grid_cells=cells)["bev"]
    assert (grid != 0).mean() == pytest.approx(7 / 64, abs=1.5 / cells)


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3), st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_targets_do_not_depend_on_where_in_the_world_the_objects_are(turn, x, y):
    scene = road_scene([CAR, PEDESTRIAN])
    move = np.array([x, y, turn])
    poses = global_from_local(move, scene.tracks.poses)
    moved = replace(
        scene, ego_poses=global_from_local(move, scene.ego_poses), tracks=replace(scene.tracks, poses=poses)
    )
    assert targets(moved)["boxes"] == pytest.approx(targets(scene)["boxes"], abs=1e-3)
    assert targets(moved)["plan"] == pytest.approx(targets(scene)["plan"], abs=1e-3)


@pytest.mark.parametrize(
    ("x_m", "signals", "red", "shown"),
    [
        (0.0, True, (), "none"),  # the stop line at x = 60 m lies beyond the rectangle
        (30.0, True, (), "green"),
        (30.0, True, ("2",), "red"),
        (30.0, True, ("3",), "green"),  # another connector's light
        (30.0, False, (), "none"),
        (59.0, True, ("2",), "red"),
        (61.0, True, ("2",), "none"),  # passed
    ],
)
def test_the_light_is_that_of_the_next_stop_line_on_the_route(x_m, signals, red, shown):
    scene = road_scene(signals=signals, red=red)
    there = replace(scene, ego_poses=scene.ego_poses + [x_m, 0, 0])
    assert LIGHTS[targets(there)["light"]] == shown


def test_a_light_off_the_route_does_not_count():
    scene = road_scene(signals=True, red=("2",))
    there = replace(scene, ego_poses=scene.ego_poses + [30, 0, 0], route_roadblock_ids=("in", "out"))
    assert LIGHTS[targets(there)["light"]] == "none"


def test_a_missing_camera_is_named():
    with pytest.raises(ValueError, match="CAM_X"):
        scene_targets(road_scene(), ("CAM_F0", "CAM_X"), 16)


def test_saved_targets_load_as_they_were(tmp_path):
    rows = [targets(road_scene([CAR])), targets(road_scene())]
    save_targets(tmp_path / "train.npz", ["a", "b"], rows, x_range_m=(-8.0, 56.0))
    loaded = load_targets(tmp_path / "train.npz")
    assert loaded["tokens"].tolist() == ["a", "b"] and loaded["x_range_m"].tolist() == [-8, 56]
    assert all(np.array_equal(loaded[name], np.stack([row[name] for row in rows])) for name in rows[0])
    assert [path.name for path in tmp_path.iterdir()] == ["train.npz"]


def test_a_value_that_is_not_finite_is_refused_with_its_token_and_column(tmp_path):
    rows = [targets(road_scene()), targets(road_scene())]
    rows[1]["plan"][2, 0] = np.nan
    save_targets(tmp_path / "train.npz", ["a", "b"], rows)
    with pytest.raises(ValueError, match="plan.* b "):
        load_targets(tmp_path / "train.npz")
