"""The closed loop: what a tick sees, driving in hand-made and in living towns, suites that are killed and resumed."""

from functools import partial
from pathlib import Path

import libsumo
import numpy as np
import pytest
import shapely
from straight_road import road_scene

from irlvla import PLAN_POSES, bench2drive, closed_loop, infractions, suite
from irlvla.closed_loop import drive_route
from irlvla.epdms.states import HEADING, NUM_COLUMNS, VX, YAW_RATE, X, Y
from irlvla.geometry import local_from_global
from irlvla.routes import RouteLine, RouteSpec, route_suite
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import LAYERS, Lane, Layer, TownMap
from irlvla.suite import Driver, run_suite
from irlvla.vehicle import REAR_AXLE_TO_FRONT_M, REAR_AXLE_TO_REAR_M, WIDTH_M
from irlvla.world.demand import EGO
from irlvla.world.live import LiveWorld
from irlvla.world.recording import Place
from irlvla.world.route import Route
from irlvla.world.simulation import Agents, Frame

JUNCTION_M = 100.0  # lane "1" runs east to here, connector "2" across the junction, lane "3" on; lane "4" runs west


def lane(lane_id: str, start: float, end: float, y: float = 0.0, connector: bool = False, **links) -> Lane:
    x = np.linspace(start, end, round(abs(end - start)) + 1)
    heading = 0.0 if end > start else np.pi
    polygon = shapely.box(min(start, end), y - 1.75, max(start, end), y + 1.75)
    links = {"predecessors": (), "successors": ()} | links
    line = np.column_stack([x, np.full_like(x, y), np.full_like(x, heading)])
    return Lane(lane_id, connector, f"block {lane_id}", line, polygon, 10.0, has_traffic_light=connector, **links)


def street() -> TownMap:
    lanes = {
        "1": lane("1", 0, JUNCTION_M, successors=("2",)),
        "2": lane("2", JUNCTION_M, 120, connector=True, predecessors=("1",), successors=("3",)),
        "3": lane("3", 120, 300, predecessors=("2",)),
        "4": lane("4", JUNCTION_M, 0, y=3.5),
    }
    shapes = {name: [] for name in LAYERS}
    for item in lanes.values():
        shapes["LANE_CONNECTOR" if item.is_connector else "LANE"].append((item.id, item.polygon))
    shapes["INTERSECTION"].append(("9", shapely.box(JUNCTION_M, -10, 120, 10)))
    layers = {
        name: Layer(tuple(i for i, _ in rows), np.array([p for _, p in rows], dtype=object))
        for name, rows in shapes.items()
    }
    return TownMap("street", lanes, layers, {item.roadblock_id: (item.id,) for item in lanes.values()})


def state(x: float = 0.0, y: float = 0.0, heading: float = 0.0, speed: float = 10.0) -> np.ndarray:
    values = np.zeros(NUM_COLUMNS)
    values[[X, Y, HEADING, VX]] = x, y, heading, speed
    return values


def agents(*rows: tuple) -> Agents:
    """Agents of rows (id, category, x, y, length, width, speed)."""
    ids, categories, x, y, length, width, speed = zip(*rows, strict=True) if rows else ((),) * 7
    poses = np.column_stack([x, y, np.zeros(len(ids))]).reshape(-1, 3)
    return Agents(
        ids, categories, poses, np.column_stack([speed, np.zeros(len(ids))]).reshape(-1, 2),
        np.column_stack([length, width, np.ones(len(ids))]).reshape(-1, 3),
    )  # fmt: skip


class StreetWorld:
    """A straight street with whatever stands on it; nothing reacts."""

    def __init__(self, objects: Agents, start: np.ndarray, length_m: float, red: bool = False) -> None:
        self.town_map = street()
        self.route = Route(self.town_map, ("block 1", "block 2", "block 3"), start[:3])
        self.line = self.route.line[
            (self.route.line[:, 0] >= start[X]) & (self.route.line[:, 0] <= start[X] + length_m)
        ]
        self.objects, self.red = objects, red
        self.step(start)

    def step(self, ego_state: np.ndarray) -> None:
        self.ego_state = ego_state
        pose, still = ego_state[:3], np.zeros(2)
        self.frame = Frame(0, pose, still, still, np.array([0, 1, 0, 0]), self.objects, (("2", self.red),))

    def observe(self) -> Scene:
        return road_scene()


def straight_on(scene: Scene, speed: float = 8.0) -> np.ndarray:
    """Straight ahead along the ego's heading."""
    return np.outer(np.arange(1, PLAN_POSES + 1) * 0.5 * speed, [1, 0, 0])


def follow(line: RouteLine, speed: float, scene: Scene) -> np.ndarray:
    """Along the line at constant speed, blind to everything else."""
    here = np.hypot(*(line.points[:, :2] - scene.ego_pose[:2]).T).argmin()
    ahead = np.minimum(here + speed * 0.5 * np.arange(1, PLAN_POSES + 1), len(line.points) - 1)
    columns = (line.points[:, 0], line.points[:, 1], np.unwrap(line.points[:, 2]))
    poses = np.column_stack([np.interp(ahead, np.arange(len(line.points)), column) for column in columns])
    return local_from_global(scene.ego_pose, poses)


# --- a tick ---------------------------------------------------------------------------------------------------------


def test_boxes_that_touch_are_contacts_and_a_gap_is_none():
    front = REAR_AXLE_TO_FRONT_M
    car = ("a", "vehicle", front + 2.0, 0.0, 4.0, 2.0, 0.0)
    cone = ("b", "traffic_cone", -REAR_AXLE_TO_REAR_M - 0.26, 0.0, 0.5, 0.5, 0.0)
    walker = ("c", "pedestrian", 1.0, WIDTH_M / 2 + 0.2, 0.6, 0.6, 0.0)
    assert closed_loop.contacts(agents(car, cone, walker), state()) == (("a", "vehicle"), ("c", "pedestrian"))
    assert closed_loop.contacts(agents(), state()) == ()


@pytest.mark.parametrize(
    ("x", "y", "heading", "outside"),
    [
        (50, 0, 0, False),
        (50, -2.2, 0, False),  # half a lane and half a metre are allowed
        (50, -2.3, 0, True),
        (50, 2.0, 0, False),  # also over the oncoming lane, within reach of the own one
        (50, 3.5, 0, True),  # in the oncoming lane, against it
        (50, 3.5, np.pi, False),
        (110, 8, 0, False),  # a junction has no lanes to leave
        (200, 40, 0, True),
    ],
)
def test_outside_lanes(x, y, heading, outside):
    assert closed_loop.outside_lanes(street(), np.array([x, y]), heading) is outside


@pytest.mark.parametrize(
    ("red", "before", "after", "connector"),
    [
        ({"2"}, 100.5, 101.5, "2"),  # rear axle; the rear end is 1.127 m behind
        (set(), 100.5, 101.5, None),
        ({"2"}, 99.0, 100.0, None),  # the front has crossed, the rear end not yet
        ({"2"}, 101.5, 102.5, None),
    ],
)
def test_a_red_light_is_run_when_the_rear_end_passes_its_line(red, before, after, connector):
    passed = closed_loop.red_line_crossed(street(), red, ("block 2",), state(before), state(after))
    assert passed == connector


def test_the_line_of_the_next_lane_is_not_crossed():
    states = state(100.5, 3.5), state(101.5, 3.5)
    assert closed_loop.red_line_crossed(street(), {"2"}, ("block 2",), *states) is None


def test_traffic_speed_is_that_of_vehicles():
    rows = [("a", "vehicle", 0, 0, 4, 2, 6.0), ("b", "vehicle", 9, 0, 4, 2, 2.0), ("c", "pedestrian", 5, 0, 1, 1, 1.0)]
    assert closed_loop.traffic_speed_mps(agents(*rows)) == 4.0
    assert closed_loop.traffic_speed_mps(agents(rows[2])) is None


def test_metric_frames_of_a_steady_turn_hold_its_centripetal_acceleration():
    speed, yaw_rate, count = 5.0, 0.2, 30
    states = np.array([state(heading=yaw_rate * 0.1 * i, speed=speed) for i in range(count)])
    states[:, YAW_RATE] = yaw_rate
    frames = closed_loop.metric_frames(states)
    assert list(frames) == [str(i) for i in range(count - 1)]
    first = {name: np.array(value) for name, value in frames["10"].items()}
    assert first["acceleration"] @ first["right_vector"] == pytest.approx(-speed * yaw_rate, abs=0.02)  # to the left
    assert first["angular_velocity"][2] == yaw_rate
    assert first["forward_vector"] @ first["right_vector"] == pytest.approx(0)
    assert bench2drive.comfortable_share([bench2drive.Frame(**frame) for frame in frames.values()]) == 1.0


# --- routes ---------------------------------------------------------------------------------------------------------


def test_progress_counts_points_passed_and_never_decreases():
    line = RouteLine.along(np.array([[0.0, 0.0], [0.0, 0.0], [20.0, 0.0], [20.0, 10.0]]))
    assert line.length_m == 30
    assert line.advance(0, np.array([4.5, 1.0])) == 4
    assert line.advance(4, np.array([2.0, 0.0])) == 4
    assert line.advance(18, np.array([20.5, 5.5])) == 25
    assert line.distance_m(np.array([10.0, 3.0])) == 3


def test_a_suite_is_the_same_for_the_same_seed_and_takes_turns():
    suites = [route_suite(("a", "b"), ("x", "y", "z"), 6, (100.0, 200.0), seed) for seed in (1, 1, 2)]
    assert suites[0] == suites[1] != suites[2]
    assert {(spec.town, spec.scenario) for spec in suites[0]} == {(town, case) for town in "ab" for case in "xyz"}
    assert all(100 <= spec.length_m <= 200 for spec in suites[0])


# --- a street -------------------------------------------------------------------------------------------------------


def test_a_straight_drive_completes_without_penalty():
    drive = drive_route(StreetWorld(agents(), state(5.0, speed=8.0), 150), straight_on)
    assert drive.end == infractions.FINISHED
    assert (
        infractions.route_record(0, "r", drive.ticks, drive.line.length_m, drive.end)["scores"]["score_composed"] == 100
    )
    assert drive.ticks[-1].time_s == pytest.approx(150 / 8, abs=1.5)
    assert len(drive.plans) == int(np.ceil((len(drive.states) - 1) / 5))


def test_a_red_light_and_a_parked_car_are_found_on_the_way():
    parked = ("a", "vehicle", 60.0, 1.0, 4.0, 2.0, 0.0)
    drive = drive_route(StreetWorld(agents(parked), state(5.0, speed=8.0), 150, red=True), straight_on)
    found = [i for i in infractions.infractions(drive.ticks, 150, drive.end) if i.kind != "min_speed_infractions"]
    assert [i.kind for i in found] == ["collisions_vehicle", "red_light"]
    assert found[0].x_m == pytest.approx(60 - 2 - 2.6, abs=1) and found[1].x_m == pytest.approx(103, abs=1)


def test_turning_away_ends_with_a_deviation():
    drive = drive_route(StreetWorld(agents(), state(5.0, heading=-0.7, speed=8.0), 150), straight_on)
    assert drive.end == infractions.DEVIATED
    assert infractions.outside_lanes_share(drive.ticks) > 0.5


def test_standing_ends_with_a_blockage_or_a_timeout(monkeypatch):
    stand = partial(straight_on, speed=0.0)
    assert drive_route(StreetWorld(agents(), state(5.0, speed=0.0), 150), stand).end == infractions.BLOCKED
    assert drive_route(StreetWorld(agents(), state(5.0, speed=0.0), 30), stand).end == infractions.TIMED_OUT


def test_a_plan_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="plans: not finite"):
        drive_route(StreetWorld(agents(), state(5.0), 150), lambda scene: np.full((PLAN_POSES, 3), np.nan))


# --- a living town --------------------------------------------------------------------------------------------------


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


SPEC = RouteSpec("RouteScenario_0", "fir", "straight", 7, 60.0)


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
    specs = [SPEC, RouteSpec("RouteScenario_1", "fir", "right_turn", 8, 60.0)]
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


def test_another_version_or_another_suite_is_driven_anew(data_root, tmp_path):
    good = Driver("straight", partial(make_follower, 6.0), "1")
    run_suite([SPEC], [good], data_root, tmp_path, workers=1)
    assert suite.is_done(tmp_path / "straight", SPEC, good, data_root)
    assert not suite.is_done(tmp_path / "straight", SPEC, Driver("straight", good.make, "2"), data_root)
    other = RouteSpec("RouteScenario_9", "fir", "right_turn", 8, 60.0)
    run_suite([other], [good], data_root, tmp_path, workers=1)
    assert [p.name for p in (tmp_path / "straight" / "results").iterdir()] == ["RouteScenario_9.json"]


def test_a_recorded_drive_can_be_watched(data_root, tmp_path):
    run_suite([SPEC], [Driver("straight", partial(make_follower, 6.0), "1")], data_root, tmp_path, workers=1)
    town_map = Place.of(data_root, "fir").town_map()
    pictures = list(suite.film(tmp_path / "straight", SPEC.id, town_map))
    scene, plan = pictures[3]
    assert plan.shape == (PLAN_POSES, 3)
    np.testing.assert_allclose(pictures[0][0].ego_poses[-1], scene.ego_poses[0], atol=1e-6)
