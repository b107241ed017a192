"""The closed loop on a hand-made street: what a tick sees, and how drives end."""

from functools import partial

import numpy as np
import pytest
import shapely
from straight_road import road_scene, straight_on

from irlvla import PLAN_POSES, bench2drive, closed_loop, infractions
from irlvla.closed_loop import drive_route
from irlvla.epdms.states import HEADING, NUM_COLUMNS, VX, YAW_RATE, X, Y
from irlvla.routes import RouteLine
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import LAYERS, Lane, Layer, TownMap
from irlvla.vehicle import REAR_AXLE_TO_FRONT_M, REAR_AXLE_TO_REAR_M, WIDTH_M
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


def test_the_ego_stands_instead_of_rolling_backwards():
    states = np.array(
        [state(x=0.0, speed=0.4), state(x=0.04, speed=0.1), state(x=0.03, speed=-0.2), state(x=0.05, speed=0.3)]
    )
    states[:, YAW_RATE] = 0.1
    driven = closed_loop.forwards(states)
    np.testing.assert_array_equal(driven[:2], states[:2])
    np.testing.assert_array_equal(driven[2:], np.tile(state(x=0.04, speed=0.0), (2, 1)))
    np.testing.assert_array_equal(closed_loop.forwards(states[:2]), states[:2])
    assert states[2, VX] == -0.2  # the plan's own rollout is left as it is


def test_a_plan_that_lies_behind_brakes_and_then_holds_the_car():
    world = StreetWorld(agents(), state(x=20.0, speed=2.0), 60.0)
    back = np.column_stack([-np.arange(1.0, 9.0), np.zeros((8, 2))])
    driven = drive_route(world, lambda scene: back)
    assert driven.end == infractions.TIMED_OUT and driven.states[:, VX].min() == 0
    assert (np.diff(driven.states[:, X]) >= 0).all()
