"""Routes in a living town, and suites of them that are killed and resumed."""

from functools import partial
from pathlib import Path

import libsumo
import numpy as np
import pytest
from PIL import Image
from straight_road import straight_on

from irlvla import PLAN_POSES, bench2drive, closed_loop, infractions, suite
from irlvla.closed_loop import drive_route
from irlvla.epdms.states import HEADING, VX
from irlvla.geometry import local_from_global
from irlvla.route_video import main as film_route
from irlvla.routes import RouteLine, RouteSpec
from irlvla.scenes.scene import Scene
from irlvla.suite import Driver, run_suite
from irlvla.vehicle import REAR_AXLE_TO_REAR_M
from irlvla.world.demand import EGO
from irlvla.world.live import LiveWorld
from irlvla.world.recording import Place


def follow(line: RouteLine, speed: float, scene: Scene) -> np.ndarray:
    """Along the line at constant speed, blind to everything else."""
    here = np.hypot(*(line.points[:, :2] - scene.ego_pose[:2]).T).argmin()
    ahead = np.minimum(here + speed * 0.5 * np.arange(1, PLAN_POSES + 1), len(line.points) - 1)
    columns = (line.points[:, 0], line.points[:, 1], np.unwrap(line.points[:, 2]))
    poses = np.column_stack([np.interp(ahead, np.arange(len(line.points)), column) for column in columns])
    return local_from_global(scene.ego_pose, poses)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """A generated town on disk."""
    from irlvla.world.geopackage import VERSION, write_index, write_map
    from irlvla.world.network_map import Extraction
    from irlvla.world.town import TOWNS, build_network

    root, town = tmp_path_factory.mktemp("data"), TOWNS["fir"]
    network = root / "sumo" / "fir.net.xml.gz"
    network.parent.mkdir()
    build_network(town, network)
    rows = Extraction(network, town.name, town.first_fid).layers()
    write_map(root / "maps" / town.map_name / VERSION / "map.gpkg", rows)
    write_index(root / "maps")
    return root


SPEC = RouteSpec("RouteScenario_0", "fir", "red_light", 7, 60.0)


def open_world(data_root: Path, spec: RouteSpec = SPEC) -> LiveWorld:
    return LiveWorld(Place.of(data_root, spec.town), spec.scenario, spec.seed, spec.length_m, spec.id)


def test_following_the_line_completes_a_route_and_the_scenes_are_whole(data_root):
    with open_world(data_root) as world:
        scene = world.observe()
        np.testing.assert_allclose(scene.ego_pose, world.ego_state[:3])
        moved = np.hypot(*np.diff(scene.ego_poses[:, :2], axis=0).T)
        np.testing.assert_allclose(moved, 0.5 * scene.ego_velocity_mps[1:, 0], atol=1.0)
        assert set(scene.route_roadblock_ids) <= set(world.town_map.roadblock_lanes)
        drive = drive_route(world, partial(follow, RouteLine.along(world.line), 6.0))
    assert drive.end == infractions.FINISHED
    assert max(tick.route_distance_m for tick in drive.ticks) < 1.0
    assert not any(tick.outside_lanes for tick in drive.ticks)


def test_the_same_seed_is_the_same_world(data_root):
    drives = []
    for _ in range(2):
        with open_world(data_root) as world:
            drive = drive_route(world, partial(follow, RouteLine.along(world.line), 6.0))
            drives.append((drive.ticks, world.frames[-1].agents.poses.tolist()))
    assert drives[0] == drives[1]


@pytest.mark.parametrize(("heading", "sideways_m"), [(0.0, 40.0), (np.pi, 0.0), (np.pi / 2, 400.0)])
def test_an_ego_off_the_road_or_against_the_traffic_does_not_stop_the_world(data_root, heading, sideways_m):
    with open_world(data_root) as world:
        ego = world.ego_state.copy()
        ego[HEADING] += heading
        ego[:2] += sideways_m * np.array([-np.sin(ego[HEADING]), np.cos(ego[HEADING])])
        for _ in range(50):
            ego[:2] += 0.5 * np.array([np.cos(ego[HEADING]), np.sin(ego[HEADING])])
            world.step(ego)
        np.testing.assert_allclose(local_from_global(ego[:3], world.observe().ego_pose), 0, atol=1e-6)


def test_a_car_behind_stops_for_an_ego_that_stands(data_root):
    with open_world(data_root) as world:
        ego = world.ego_state.copy()
        ego[VX] = 0.0
        edge, position = libsumo.vehicle.getRoadID(EGO), libsumo.vehicle.getLanePosition(EGO)
        libsumo.route.add("behind", [edge])
        lane = libsumo.vehicle.getLaneIndex(EGO)
        libsumo.vehicle.add(
            "behind", "behind", "car", departLane=str(lane), departPos=str(position - 30), departSpeed="8"
        )
        libsumo.vehicle.setLaneChangeMode("behind", 0)  # it would overtake
        for _ in range(100):
            world.step(ego)
            assert not closed_loop.contacts(world.frame.agents, ego)
        car = world.frame.agents.ids.index("behind")
        gap_m = -local_from_global(ego[:3], world.frame.agents.poses[car])[0] - 2.3 - REAR_AXLE_TO_REAR_M
    assert 0.5 < gap_m < 10 and np.hypot(*world.frame.agents.velocity_mps[car]) < 0.1


class Killed(Exception):
    pass


def make_follower(speed: float):
    """Follows the route's roadblocks by their lanes' centrelines, straight ahead being good enough for some metres."""
    return partial(straight_on, speed=speed)


def make_killer():
    raise Killed


def test_a_killed_suite_resumes_at_the_next_route_and_ends_as_if_it_had_not_been_killed(data_root, tmp_path):
    specs = [SPEC, RouteSpec("RouteScenario_1", "fir", "cut_in", 8, 60.0)]
    good = Driver("straight", partial(make_follower, 6.0), "1")
    run_suite(specs, [good], data_root, tmp_path / "whole", workers=1)

    run_suite(specs[:1], [good], data_root, tmp_path / "killed", workers=1)
    with pytest.raises(Killed):
        run_suite(specs, [Driver("straight", make_killer, "1")], data_root, tmp_path / "killed", workers=1)
    first = tmp_path / "killed" / "straight" / "results" / "RouteScenario_0.json"
    written = first.stat().st_mtime_ns
    run_suite(specs, [good], data_root, tmp_path / "killed", workers=1)
    assert first.stat().st_mtime_ns == written  # the finished route was not driven again

    files = [
        sorted(p for p in (tmp_path / name / "straight").rglob("*") if p.is_file()) for name in ("whole", "killed")
    ]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    metrics = bench2drive.evaluate(tmp_path / "killed" / "straight", routes=2)
    assert metrics["eval_num"] == 2 and 0 <= metrics["driving_score"] <= 100


def test_another_version_other_code_or_another_suite_is_driven_anew(data_root, tmp_path, monkeypatch):
    good = Driver("straight", partial(make_follower, 6.0), "1")
    run_suite([SPEC], [good], data_root, tmp_path, workers=1)
    assert suite.is_done(tmp_path / "straight", SPEC, good, data_root)
    assert not suite.is_done(tmp_path / "straight", SPEC, Driver("straight", good.make, "2"), data_root)
    with monkeypatch.context() as patched:
        patched.setattr(suite, "_code_version", lambda: "another")
        assert not suite.is_done(tmp_path / "straight", SPEC, good, data_root)
    other = RouteSpec("RouteScenario_9", "fir", "cut_in", 8, 60.0)
    run_suite([other], [good], data_root, tmp_path, workers=1)
    assert [p.name for p in (tmp_path / "straight" / "results").iterdir()] == ["RouteScenario_9.json"]


def test_a_recorded_drive_can_be_watched(data_root, tmp_path):
    run_suite([SPEC], [Driver("straight", partial(make_follower, 6.0), "1")], data_root, tmp_path, workers=1)
    town_map = Place.of(data_root, "fir").town_map()
    pictures = list(suite.film(tmp_path / "straight", SPEC.id, town_map))
    scene, plan = pictures[3]
    assert plan.shape == (PLAN_POSES, 3)
    np.testing.assert_allclose(pictures[0][0].ego_poses[-1], scene.ego_poses[0], atol=1e-6)
    out = tmp_path / "film.gif"
    film_route([str(tmp_path / "straight"), SPEC.id, str(out), "--root", str(data_root)])
    assert Image.open(out).n_frames == len(pictures)
