"""The ego box against other traffic and red lights: NC, TTC and TLC.

Tracks do not influence each other, so each (plan, track) pair is followed through time on its own; the "ignore set" of
the definition is then one flag per pair.
"""

from dataclasses import dataclass
from math import acos, cos, hypot, nan, sin, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla.epdms.areas import AreaMap, EgoAreas
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.states import HEADING, NUM_STATES, STEP_S, VX, VY, EgoBoxes, Verdict, X, Y, box_corners
from irlvla.polygons import box_touches, convex_touch
from irlvla.vehicle import LENGTH_M, WIDTH_M

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

AGENT_TYPES = ("VEHICLE", "PEDESTRIAN", "BICYCLE")
OBJECT_TYPES = ("TRAFFIC_CONE", "BARRIER", "CZONE_SIGN", "GENERIC_OBJECT")
STOPPED_SPEED_MPS = 0.05  # at-fault rules
TTC_STOPPED_SPEED_MPS = 0.005
TTC_STEPS = 32  # states looked ahead from
TTC_LOOK_AHEAD = (0, 3, 6, 9)  # steps
AHEAD_RAD = np.deg2rad(30.0)
BEHIND_RAD = np.deg2rad(150.0)
EGO_RADIUS_M = hypot(LENGTH_M, WIDTH_M) / 2


@dataclass(frozen=True)
class Traffic:
    """Boxes of the Q tracks over the 41 states; what is fixed at a track's first appearance."""

    centers: Array  # (Q, 41, 2)
    corners: Array  # (Q, 41, 4, 2)
    valid: Mask  # (Q, 41)
    radius_m: Array  # (Q,) of the circle around a box
    is_agent: Mask  # (Q,) vehicle, pedestrian or bicycle; else a static object
    is_stopped: Mask  # (Q,)

    @classmethod
    def from_context(cls, context: ScoringContext) -> "Traffic":
        states = np.ascontiguousarray(context.track_states.swapaxes(0, 1))
        valid = np.ascontiguousarray(context.track_valid.T)
        length, width = context.track_lwh[:, 0], context.track_lwh[:, 1]
        is_agent = np.isin(context.track_types, AGENT_TYPES)
        first_states = states[np.arange(len(states)), valid.argmax(axis=1)]
        first_speed = np.hypot(first_states[:, 3], first_states[:, 4])
        return cls(
            centers=np.ascontiguousarray(states[..., :2]),
            corners=box_corners(states[..., :2], states[..., 2], length[:, None], width[:, None]),
            valid=valid,
            radius_m=np.hypot(length, width) / 2,
            is_agent=is_agent,
            is_stopped=~is_agent | (first_speed <= STOPPED_SPEED_MPS),
        )

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.centers, self.corners, self.valid, self.radius_m, self.is_agent, self.is_stopped


def tracks_touching_ego(context: ScoringContext) -> Mask:
    """(Q,) tracks whose box touches the ego's at t = 0."""
    traffic = Traffic.from_context(context)
    ego = EgoBoxes.from_states(context.ego_state).corners
    touching = [
        valid[0] and convex_touch(ego, box[0]) for valid, box in zip(traffic.valid, traffic.corners, strict=True)
    ]
    return np.array(touching, dtype=bool)


def no_at_fault_collisions(traffic: Traffic, areas: EgoAreas, states: Array, boxes: EgoBoxes) -> Verdict:
    """NC of driven states (N, 41, 11): 1, 1/2 (at fault with an object) or 0 (with an agent); causes are tracks."""
    verdict = Verdict.clean(len(states))
    exposed = areas.multiple_lanes | areas.non_drivable
    _collisions(traffic.arrays, exposed, states, boxes.corners, verdict.score, verdict.step, verdict.cause)
    return verdict


def time_to_collision_within_bound(traffic: Traffic, areas: EgoAreas, states: Array, boxes: EgoBoxes) -> Verdict:
    """TTC of driven states (N, 41, 11): 1 or 0; the step is the one looked ahead from, causes are tracks."""
    verdict = Verdict.clean(len(states))
    exposed = areas.multiple_lanes | areas.non_drivable | areas.axle_in_intersection
    speed, heading = np.hypot(states[..., VX], states[..., VY]), states[..., HEADING]
    velocity = np.stack([np.cos(heading) * speed, np.sin(heading) * speed], axis=-1)
    moving = speed >= TTC_STOPPED_SPEED_MPS
    _time_to_collision(
        traffic.arrays, exposed, moving, velocity, states, boxes.corners, verdict.score, verdict.step, verdict.cause
    )
    return verdict


def traffic_light_compliance(area_map: AreaMap, context: ScoringContext, boxes: EgoBoxes) -> Verdict:
    """TLC of driven ego boxes (N, 41): 0 if the box touches a red connector of the route, else 1; causes are polygons.

    A red connector that is not among the polygons lies outside the map window, out of reach.
    """
    verdict = Verdict.clean(len(boxes.corners))
    rows = np.flatnonzero(area_map.on_route & (context.polygon_layers == "LANE_CONNECTOR"))
    lights, connectors = np.nonzero(context.red_light_ids[:, None] == context.polygon_ids[rows])
    red = np.ascontiguousarray(context.red_light_on[:, lights].T)
    polygons = area_map.polygons
    _red_lights(
        polygons.edges, polygons.edge_offsets, polygons.index, rows[connectors], red, boxes.corners,
        verdict.score, verdict.step, verdict.cause,
    )  # fmt: skip
    return verdict


@njit(cache=True)
def _relative_angle(state: Array, x: float, y: float) -> float:
    """Angle [rad] at the rear axle between the heading and the point; NaN for the axle itself."""
    dx, dy = x - state[X], y - state[Y]
    distance = sqrt(dx * dx + dy * dy)
    if distance == 0.0:
        return nan
    return acos(min(max((cos(state[HEADING]) * dx + sin(state[HEADING]) * dy) / distance, -1.0), 1.0))


@njit(cache=True)
def _is_far(ego: Array, x: float, y: float, radius_m: float) -> bool:
    """Whether two boxes cannot touch, by their circles; a millimetre covers the rounding."""
    dx, dy = (ego[0, 0] + ego[2, 0]) / 2 - x, (ego[0, 1] + ego[2, 1]) / 2 - y
    reach = EGO_RADIUS_M + radius_m + 1e-3
    return dx * dx + dy * dy > reach * reach


@njit(cache=True)
def _is_at_fault(state: Array, ego: Array, box: Array, x: float, y: float, is_stopped: bool, exposed: bool) -> bool:
    """The at-fault rules for a box that touches the ego's; `exposed`: in several lanes or off the drivable area."""
    if hypot(state[VX], state[VY]) <= STOPPED_SPEED_MPS:
        return False
    if is_stopped:
        return True
    if _relative_angle(state, x, y) > BEHIND_RAD:
        return False
    front = ego[::3]  # front left and front right corner
    return convex_touch(front, box) or exposed


@njit(cache=True)
def _collisions(
    traffic: tuple, exposed: Mask, states: Array, ego: Array, score: Array, step: Array, cause: Array
) -> None:
    centers, corners, valid, radius_m, is_agent, is_stopped = traffic
    for n in range(len(states)):
        for q in range(len(centers)):
            for t in range(NUM_STATES):
                x, y = centers[q, t]
                if (
                    not valid[q, t]
                    or _is_far(ego[n, t], x, y, radius_m[q])
                    or not convex_touch(ego[n, t], corners[q, t])
                ):
                    continue
                if _is_at_fault(states[n, t], ego[n, t], corners[q, t], x, y, is_stopped[q], exposed[n, t]):
                    score[n] = min(score[n], 0.0 if is_agent[q] else 0.5)
                    if step[n] < 0 or t < step[n]:
                        step[n], cause[n] = t, q
                break  # at fault: decided for this track; else it is ignored from now on


@njit(cache=True)
def _time_to_collision(
    traffic: tuple, exposed: Mask, moving: Mask, velocity: Array, states: Array, ego: Array,
    score: Array, step: Array, cause: Array,
) -> None:  # fmt: skip
    for n in range(len(states)):
        until = TTC_STEPS
        for q in range(len(traffic[0])):
            t = _ttc_infraction(traffic, q, exposed[n], moving[n], velocity[n], states[n], ego[n], until)
            if t < until:
                score[n], step[n], cause[n], until = 0.0, t, q, t


@njit(cache=True)
def _ttc_infraction(
    traffic: tuple, q: int, exposed: Mask, moving: Mask, velocity: Array, states: Array, ego: Array, until: int
) -> int:
    """First of the states before `until` at which track `q` counts against one plan, or `until`.

    `exposed` (41,) here includes the rear axle in an intersection. `velocity` (41, 2) is global and along the heading,
    also for an ego that rolls backwards.
    """
    centers, corners, valid, radius_m = traffic[:4]
    moved = np.empty((4, 2))
    for t in range(until):
        if not moving[t]:
            continue
        for steps in TTC_LOOK_AHEAD:
            if not valid[q, t + steps]:
                continue
            x, y = centers[q, t + steps, 0], centers[q, t + steps, 1]
            dx, dy = velocity[t, 0] * (steps * STEP_S), velocity[t, 1] * (steps * STEP_S)
            if _is_far(ego[t], x - dx, y - dy, radius_m[q]):
                continue
            moved[:, 0] = ego[t, :, 0] + dx
            moved[:, 1] = ego[t, :, 1] + dy
            if not convex_touch(moved, corners[q, t + steps]):
                continue
            angle = _relative_angle(states[t], x, y)
            if angle < AHEAD_RAD or (exposed[t] and not angle > BEHIND_RAD):
                return t
            return until  # not to blame: ignored from now on
    return until


@njit(cache=True)
def _red_lights(
    edges: Array, edge_offsets: Array, index: tuple, connectors: Array, red: Mask, ego: Array,
    score: Array, step: Array, cause: Array,
) -> None:  # fmt: skip
    for n in range(len(ego)):
        until = NUM_STATES
        for k in range(len(connectors)):
            for t in range(until):
                if red[k, t] and box_touches(edges, edge_offsets, index, connectors[k], ego[n, t]):
                    score[n], step[n], cause[n], until = 0.0, t, connectors[k], t
                    break
