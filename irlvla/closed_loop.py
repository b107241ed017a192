"""The closed loop: an agent drives a route in the living world.

    every 0.5 s   world.observe() -> Scene -> agent -> plan (8, 3)
    every 0.1 s   LQR + bicycle along the plan -> ego state -> world.step(state), others react -> Tick

Tracker and vehicle are those of EPDMS (`epdms.drive`); steering and acceleration are carried over a replan. The vehicle
there has no lower bound of its speed, so it would roll backwards after braking to a stop; here it stands. There is no
physics of impacts: a contact is recorded and the ego drives on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import PLAN_INTERVAL_S
from irlvla.epdms import drive
from irlvla.epdms.states import HEADING, STEERING, VX, YAW_RATE, EgoBoxes, X, Y
from irlvla.geometry import box_corners, wrap_angle
from irlvla.infractions import TICK_S, Tick, ending
from irlvla.routes import RouteLine
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import Lane, TownMap
from irlvla.vehicle import REAR_AXLE_TO_CENTER_M, REAR_AXLE_TO_REAR_M
from irlvla.world.route import Route
from irlvla.world.simulation import Agents, Frame

Array = NDArray[np.float64]
Agent = Callable[[Scene], Array]  # scene -> plan (8, 3), ego frame

TICKS_PER_PLAN = round(PLAN_INTERVAL_S / TICK_S)
LANE_TOLERANCE_M = 0.5
WRONG_WAY_RAD = np.radians(120)
NEAR_M = 15.0  # boxes and stop lines farther from the ego cannot touch it
STOP_LINE_SHARE = 0.6  # half of a stop line, in lane widths
TIMEOUT_S_PER_M, MIN_TIMEOUT_S = 0.8, 30.0
PASSABLE_LAYERS = ("INTERSECTION", "LANE_CONNECTOR", "CARPARK_AREA")  # no lanes to leave there


class World(Protocol):
    """What the loop needs of the living world; `world.live.LiveWorld` is it."""

    town_map: TownMap
    route: Route
    line: Array  # (n, 3) route ahead at the start
    ego_state: Array  # (11,) columns of `epdms.states`
    frame: Frame  # the present moment

    def observe(self) -> Scene:
        """The present moment with its past at 2 Hz."""

    def step(self, ego_state: Array) -> None:
        """Put the ego at `ego_state` and let 0.1 s pass."""


@dataclass(frozen=True)
class Drive:
    """A driven route: F ticks, R replans."""

    line: RouteLine
    end: str  # as `infractions.ending`
    ticks: list[Tick]
    states: Array  # (F, 11)
    plans: Array  # (R, 8, 3) ego frames at every fifth tick


def timeout_s(length_m: float) -> float:
    """Time allowed for a route."""
    return max(TIMEOUT_S_PER_M * length_m, MIN_TIMEOUT_S)


def drive_route(world: World, agent: Agent) -> Drive:
    """Drive until the route ends by success, deviation, blockage or timeout.

    Raises ValueError if the agent's plan has a wrong shape or is not finite.
    """
    line = RouteLine.along(world.line)
    states, plans = [world.ego_state], []
    ticks = [_tick(world, line, states[0], None)]
    while True:
        plans.append(np.asarray(agent(world.observe()), dtype=np.float64))
        for state in forwards(drive.simulate(plans[-1][None], states[-1])[0, : TICKS_PER_PLAN + 1])[1:]:
            world.step(state)
            ticks.append(_tick(world, line, states[-1], ticks[-1]))
            states.append(state)
            if end := ending(ticks, line.length_m, timeout_s(line.length_m)):
                return Drive(line, end, ticks, np.array(states), np.array(plans))


def forwards(states: Array) -> Array:
    """States (F, 11) in which the ego stands from the first moment on at which it would move backwards.

    It keeps its pose and its steering angle there; speeds, accelerations and rates are zero.
    """
    backwards = np.flatnonzero(states[1:, VX] < 0) + 1
    if not len(backwards):
        return states
    standing = np.zeros_like(states[0])
    kept = [X, Y, HEADING, STEERING]
    standing[kept] = states[backwards[0] - 1, kept]
    states = states.copy()
    states[backwards[0] :] = standing
    return states


def _tick(world: World, line: RouteLine, last_state: Array, last: Tick | None) -> Tick:
    state, frame = world.ego_state, world.frame
    center = EgoBoxes.from_states(state).centers
    index = line.advance(round(last.progress_m) if last else 0, center)
    red = {connector for connector, is_red in frame.lights if is_red}
    return Tick(
        time_s=round(last.time_s + TICK_S, 1) if last else 0.0,
        x_m=float(center[0]),
        y_m=float(center[1]),
        speed_mps=abs(float(state[VX])),
        progress_m=float(index),
        route_distance_m=line.distance_m(center),
        goal_distance_m=float(np.hypot(*(line.goal - center))),
        outside_lanes=outside_lanes(world.town_map, center, float(state[HEADING])),
        contacts=contacts(frame.agents, state),
        red_line=red_line_crossed(world.town_map, red, world.route.roadblock_ids, last_state, state),
        traffic_mps=traffic_speed_mps(frame.agents),
    )


def contacts(agents: Agents, state: Array) -> tuple[tuple[str, str], ...]:
    """Id and category of every object whose box meets the ego's (closed boxes)."""
    reach_m = NEAR_M + agents.size_m[:, :2].max(axis=1, initial=0.0)
    near = np.flatnonzero(np.hypot(*(agents.poses[:, :2] - state[:2]).T) < reach_m)
    boxes = shapely.polygons(box_corners(agents.poses[near], agents.size_m[near, 0], agents.size_m[near, 1]))
    touching = near[shapely.intersects(boxes, shapely.Polygon(EgoBoxes.from_states(state).corners))]
    return tuple((agents.ids[i], agents.categories[i]) for i in touching)


def outside_lanes(town_map: TownMap, center: Array, heading: float) -> bool:
    """Whether the box centre is more than 0.5 m from every lane, or only on lanes that run the other way.

    Junctions and car parks have no outside.
    """
    layers = town_map.layers
    if any(len(layers[name].near(center, LANE_TOLERANCE_M)) for name in PASSABLE_LAYERS):
        return False
    lanes = [town_map.lanes[layers["LANE"].ids[i]].centerline for i in layers["LANE"].near(center, LANE_TOLERANCE_M)]
    directions = np.array([line[np.hypot(*(line[:, :2] - center).T).argmin(), 2] for line in lanes])
    return bool(np.all(np.abs(wrap_angle(directions - heading)) > WRONG_WAY_RAD))


def red_line_crossed(
    town_map: TownMap, red: set[str], route_ids: tuple[str, ...], last_state: Array, state: Array
) -> str | None:
    """Connector whose stop line the ego's rear end passed in this tick while it was red.

    Of the connectors that leave one lane, those of the route count; off the route, all of them must be red.
    """
    lanes = town_map.lanes
    rear = (_rear_end(last_state), _rear_end(state))
    for connector in (lanes[i] for i in sorted(red)):
        if np.hypot(*(connector.centerline[0, :2] - state[:2])) > NEAR_M or not _crosses(connector, *rear):
            continue
        siblings = [sibling for lane in connector.predecessors for sibling in lanes[lane].successors]
        chosen = [sibling for sibling in siblings if lanes[sibling].roadblock_id in route_ids] or siblings
        if connector.id in chosen and red.issuperset(chosen):
            return connector.id
    return None


def _rear_end(state: Array) -> Array:
    return state[:2] - REAR_AXLE_TO_REAR_M * np.array([np.cos(state[HEADING]), np.sin(state[HEADING])])


def _crosses(connector: Lane, before: Array, after: Array) -> bool:
    """Whether the step from `before` to `after` (2,) passes the stop line at the connector's start, forwards."""
    x, y, heading = connector.centerline[0]
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    line = np.array([x, y])
    length_m = np.hypot(*np.diff(connector.centerline[:, :2], axis=0).T).sum()
    half_width_m = STOP_LINE_SHARE * connector.polygon.area / length_m
    return (before - line) @ ahead <= 0 < (after - line) @ ahead and abs((after - line) @ left) <= half_width_m


def traffic_speed_mps(agents: Agents) -> float | None:
    """Mean speed of the vehicles around; None without any."""
    vehicles = [i for i, category in enumerate(agents.categories) if category == "vehicle"]
    return float(np.hypot(*agents.velocity_mps[vehicles].T).mean()) if vehicles else None


def metric_frames(states: Array) -> dict[str, dict[str, list[float]]]:
    """Frames of Bench2Drive's `metric_info.json` for states (F, 11), from the second one on.

    The acceleration is the change of the box centre's velocity over 0.1 s, so that it has the centripetal part, which
    the tracker's own state leaves out. Global axes, right-handed; rates in rad/s.
    """
    heading = states[:, HEADING]
    forward = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=-1)
    velocity = states[:, [VX]] * forward + REAR_AXLE_TO_CENTER_M * states[:, [YAW_RATE]] * left
    acceleration = np.diff(velocity, axis=0) / TICK_S
    centers = EgoBoxes.from_states(states).centers
    return {
        str(i - 1): {
            "acceleration": [*acceleration[i - 1].tolist(), 0.0],
            "angular_velocity": [0.0, 0.0, float(states[i, YAW_RATE])],
            "forward_vector": [*forward[i].tolist(), 0.0],
            "right_vector": [*(-left[i]).tolist(), 0.0],
            "location": [*centers[i].tolist(), 0.0],
            "rotation": [0.0, float(np.degrees(heading[i])), 0.0],
        }
        for i in range(1, len(states))
    }
