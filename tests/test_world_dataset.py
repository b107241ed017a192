"""A tiny town through the whole path: network, map, traffic, expert, files."""

import dataclasses
import shutil
from pathlib import Path

import libsumo
import numpy as np
import pytest
import shapely
from tiny_town import TINY, digests

from irlvla.epdms.build import scoring_context
from irlvla.epdms.scores import score_plans
from irlvla.geometry import wrap_angle
from irlvla.scenes.maps import load_map
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.unpickle import load_data_pickle
from irlvla.vehicle import REAR_AXLE_TO_FRONT_M
from irlvla.world.build import build
from irlvla.world.check import check
from irlvla.world.demand import EGO
from irlvla.world.recording import Place
from irlvla.world.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "data"
    build(out, seed=5, towns=[TINY], workers=1)
    return out


def test_a_built_dataset_passes_its_own_check(root: Path) -> None:
    assert check(root).problems == {}


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", seed=5, towns=[dataclasses.replace(TINY, logs=1)], workers=1)
    again, first = digests(tmp_path / "again"), digests(root)
    same = [name for name in again if again[name] == first[name]]
    assert sum("synthetic_scene_pickles" in name for name in same) == 8
    assert {"maps/us-nv-las-vegas-strip/1.0.0/map.gpkg", "navsim_logs/test/tiny-000.pkl"} <= set(same)


def test_check_names_what_is_damaged(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    scene = next((copy / "navhard_two_stage/synthetic_scene_pickles").glob("*.pkl"))
    scene.unlink()
    (copy / "navsim_logs/test/tiny-001.pkl").write_bytes(b"not a pickle")
    problems = check(copy).problems
    assert any("tiny-001" in line for line in problems["logs"])
    assert any("test_two_stage" in line for line in problems["splits"])


def test_lane_graph_is_connected(root: Path) -> None:
    town_map = load_map(root / "maps", TINY.map_name)
    lanes = town_map.lanes
    reached, waiting = set(), [next(iter(lanes))]
    while waiting:
        id = waiting.pop()
        if id not in reached:
            reached.add(id)
            beside = town_map.roadblock_lanes[lanes[id].roadblock_id]  # a lane change away
            waiting += [*lanes[id].successors, *lanes[id].predecessors, *beside]
    assert reached == set(lanes)
    for lane in lanes.values():
        for successor in lane.successors:
            gap = np.linalg.norm(lanes[successor].centerline[0, :2] - lane.centerline[-1, :2])
            assert gap < 0.05, f"{lane.id} -> {successor}"


def test_areas_leave_no_sliver_along_any_lane(root: Path) -> None:
    town_map = load_map(root / "maps", TINY.map_name)
    road = shapely.union_all([*town_map.layers["ROADBLOCK"].polygons, *town_map.layers["INTERSECTION"].polygons])
    for lane in town_map.lanes.values():
        assert road.buffer(0.001).contains(lane.polygon.buffer(-0.02)), f"{lane.id} leaves roadblocks and intersections"
    intersections = shapely.union_all(town_map.layers["INTERSECTION"].polygons)
    for lane in town_map.lanes.values():
        if lane.is_connector:
            assert intersections.buffer(0.01).contains(lane.polygon), f"connector {lane.id} leaves its intersection"


def test_routes_alternate_between_lane_groups_and_connectors(root: Path) -> None:
    town_map = load_map(root / "maps", TINY.map_name)
    for path in (root / "navsim_logs/test").glob("*.pkl"):
        blocks = load_data_pickle(path)[0]["roadblock_ids"]
        kinds = [town_map.lanes[town_map.roadblock_lanes[block][0]].is_connector for block in blocks]
        assert kinds == [index % 2 == 1 for index in range(len(blocks))]
        for before, after in zip(blocks, blocks[1:], strict=False):
            successors = {s for id in town_map.roadblock_lanes[before] for s in town_map.lanes[id].successors}
            assert successors & set(town_map.roadblock_lanes[after])


def test_the_expert_is_comfortable_and_touches_nobody(root: Path) -> None:
    dataset = Dataset(root, root / "splits/test.yaml")
    for token in dataset.tokens[::7]:
        scene = dataset.scene(token)
        scores = score_plans(scoring_context(scene), scene.human_plan()[None], human_filter=False).columns
        assert scores["history_comfort"][0] == 1, token
        assert scores["no_at_fault_collisions"][0] == 1, token


def test_logged_velocity_is_the_change_of_place(root: Path) -> None:
    dataset = Dataset(root, root / "splits/test.yaml")
    for token in dataset.tokens[::5]:
        scene = dataset.scene(token)
        moved = np.linalg.norm(np.diff(scene.ego_poses[:, :2], axis=0), axis=1)
        speed = scene.ego_velocity_mps[:, 0]
        np.testing.assert_allclose(moved, (speed[:-1] + speed[1:]) / 4, atol=0.12)


def test_follow_ups_start_away_from_the_log_and_go_on_for_four_seconds(root: Path) -> None:
    dataset = Dataset(root, root / "splits/test_two_stage.yaml")
    for group in dataset.split.groups:
        assert len(group.follow_ups) == 4
        first = dataset.scene(group.now)
        starts = np.array([dataset.scene(now).ego_pose[:2] for now, _ in group.follow_ups])
        logged = first.ego_poses[first.now + 8, :2]
        assert np.linalg.norm(starts - logged, axis=1).max() > 0.3
        for now, previous in group.follow_ups:
            later, earlier = dataset.scene(now), dataset.scene(previous)
            assert later.num_future_frames == 8
            np.testing.assert_allclose(later.ego_poses[:-1], earlier.ego_poses[1:])


def test_an_ego_off_the_road_or_on_the_wrong_side_does_not_stop_the_town(root: Path) -> None:
    from irlvla.world.live import LiveWorld

    scenario = next(iter(SCENARIOS))
    with LiveWorld(Place.at(root, TINY), scenario, 3, 60.0, "astray") as world:
        state = world.ego_state.copy()
        for step in range(60):
            state[:2] += (0.0, 1.0)  # straight across roads, pavements and meadows
            state[2] += 0.1
            world.step(state)
            if step % 20 == 0:
                np.testing.assert_allclose(world.observe().ego_pose, [*state[:2], wrap_angle(state[2])])
        assert libsumo.simulation.getTime() > 0


def test_an_ego_off_every_lane_leaves_the_traffic_and_returns_with_its_driver(root: Path) -> None:
    from irlvla.world.live import LiveWorld

    scenario = next(iter(SCENARIOS))
    with LiveWorld(Place.at(root, TINY), scenario, 3, 60.0, "astray") as world:
        on_road, off_road = world.ego_state.copy(), world.ego_state.copy()
        off_road[:2] -= 5000.0
        seen = []
        for state in [on_road] * 3 + [off_road] * 3 + [on_road] * 3:
            world.step(state)
            seen.append(EGO in libsumo.vehicle.getIDList())
        assert all(seen[:3]) and not any(seen[4:6]) and all(seen[6:])
        heading = on_road[2]
        front = on_road[:2] + REAR_AXLE_TO_FRONT_M * np.array([np.cos(heading), np.sin(heading)])
        np.testing.assert_allclose(world.simulation.ego_front()[:2], front, atol=0.01)
