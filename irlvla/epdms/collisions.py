"""The ego box against other traffic and red lights: NC, TTC and TLC.

Tracks do not influence each other, so each (plan, track) pair is followed through time on its own; the "ignore set" of
the definition is then one flag per pair.
"""

from dataclasses import dataclass
from math import acos, cos, hypot, inf, nan, sin, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla.epdms.areas import AreaMap, EgoAreas
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.states import HEADING, NUM_STATES, STEP_S, VX, VY, EgoBoxes, Verdict, X, Y, box_corners
from irlvla.polygons import box_touches, convex_touch
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

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
    """Boxes of Q tracks over the 41 states; what is fixed at a track's first appearance."""

    rows: Array  # (Q,) of the tracks in the context
    centers: Array  # (Q, 41, 2)
    corners: Array  # (Q, 41, 4, 2)
    valid: Mask  # (Q, 41)
    radius_m: Array  # (Q,) of the circle around a box
    bounds: Array  # (Q, 4) least x, least y, greatest x, greatest y of that circle over time
    is_agent: Mask  # (Q,) vehicle, pedestrian or bicycle; else a static object
    is_stopped: Mask  # (Q,)

    @classmethod
    def near(cls, context: ScoringContext, states: Array) -> "Traffic":
        """The tracks that come near enough to matter to an ego driven through any of `states` (..., 11)."""
        radius_m = np.hypot(context.track_lwh[:, 0], context.track_lwh[:, 1]) / 2
        bounds = _bounds(context.track_states, context.track_valid, radius_m)
        speed_mps = np.hypot(states[..., VX], states[..., VY]).max(initial=0.0)
        reach_m = REAR_AXLE_TO_CENTER_M + EGO_RADIUS_M + speed_mps * TTC_LOOK_AHEAD[-1] * STEP_S + 1e-3
        xy = states[..., [X, Y]].reshape(-1, 2)
        low, high = xy.min(axis=0, initial=inf) - reach_m, xy.max(axis=0, initial=-inf) + reach_m
        rows = np.flatnonzero((bounds[:, :2] <= high).all(axis=1) & (bounds[:, 2:] >= low).all(axis=1))
        tracks = np.ascontiguousarray(context.track_states[:, rows].swapaxes(0, 1))
        valid = np.ascontiguousarray(context.track_valid[:, rows].T)
        length, width = context.track_lwh[rows, 0], context.track_lwh[rows, 1]
        is_agent = np.isin(context.track_types[rows], AGENT_TYPES)
        first_states = tracks[np.arange(len(rows)), valid.argmax(axis=1)]
        first_speed = np.hypot(first_states[:, 3], first_states[:, 4])
        return cls(
            rows=rows,
            centers=np.ascontiguousarray(tracks[..., :2]),
            corners=box_corners(tracks[..., :2], tracks[..., 2], length[:, None], width[:, None]),
            valid=valid,
            radius_m=radius_m[rows],
            bounds=bounds[rows],
            is_agent=is_agent,
            is_stopped=~is_agent | (first_speed <= STOPPED_SPEED_MPS),
        )

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.centers, self.corners, self.valid, self.radius_m, self.bounds, self.is_agent, self.is_stopped

    def blame(self, verdict: Verdict) -> Verdict:
        """The verdict with causes as rows of the context."""
        cause = verdict.cause.copy()
        cause[cause >= 0] = self.rows[cause[cause >= 0]]
        return Verdict(verdict.score, verdict.step, cause)


@njit(cache=True)
def _bounds(states: Array, valid: Mask, radius_m: Array) -> Array:
    """(Q, 4) of tracks (41, Q, 5) where they are valid; nowhere for a track that never is."""
    bounds = np.empty((len(radius_m), 4))
    bounds[:, :2], bounds[:, 2:] = inf, -inf
    for t in range(len(states)):
        for q in range(len(radius_m)):
            if valid[t, q]:
                x, y = states[t, q, 0], states[t, q, 1]
                bounds[q, 0], bounds[q, 1] = min(bounds[q, 0], x), min(bounds[q, 1], y)
                bounds[q, 2], bounds[q, 3] = max(bounds[q, 2], x), max(bounds[q, 3], y)
    bounds[:, :2] -= radius_m[:, None]
    bounds[:, 2:] += radius_m[:, None]
    return bounds


def tracks_touching_ego(context: ScoringContext) -> Mask:
    """(Q,) tracks whose box touches the ego's at t = 0."""
    traffic, touching = Traffic.near(context, context.ego_state), np.zeros(len(context.track_tokens), dtype=bool)
    ego = EgoBoxes.from_states(context.ego_state).corners
    for row, valid, box in zip(traffic.rows, traffic.valid, traffic.corners, strict=True):
        touching[row] = valid[0] and convex_touch(ego, box[0])
    return touching


def no_at_fault_collisions(traffic: Traffic, areas: EgoAreas, states: Array, boxes: EgoBoxes) -> Verdict:
    """NC of driven states (N, 41, 11): 1, 1/2 (at fault with an object) or 0 (with an agent); causes are tracks."""
    verdict = Verdict.clean(len(states))
    exposed = areas.multiple_lanes | areas.non_drivable
    _collisions(traffic.arrays, exposed, states, boxes.corners, verdict.score, verdict.step, verdict.cause)
    return traffic.blame(verdict)


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
    return traffic.blame(verdict)


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
def _area(ego: Array, reach_m: float) -> tuple[float, float, float, float]:
    """Bounds of all boxes (41, 4, 2) of one plan, widened by `reach_m` and a millimetre."""
    reach = reach_m + 1e-3
    low_x, low_y = ego[:, :, 0].min() - reach, ego[:, :, 1].min() - reach
    return low_x, low_y, ego[:, :, 0].max() + reach, ego[:, :, 1].max() + reach


@njit(cache=True)
def _is_apart(area: tuple, bounds: Array) -> bool:
    """Whether a track stays out of an area at all times."""
    return bounds[0] > area[2] or bounds[2] < area[0] or bounds[1] > area[3] or bounds[3] < area[1]


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
    centers, corners, valid, radius_m, bounds, is_agent, is_stopped = traffic
    for n in range(len(states)):
        area = _area(ego[n], 0.0)
        for q in range(len(centers)):
            if _is_apart(area, bounds[q]):
                continue
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
        fastest = np.abs(velocity[n]).max()
        area = _area(ego[n], fastest * TTC_LOOK_AHEAD[-1] * STEP_S)
        for q in range(len(traffic[0])):
            if _is_apart(area, traffic[4][q]):
                continue
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
