"""Scenarios with something in the ego's way: it changes lanes, or swerves where there is one lane."""

from collections.abc import Callable

import libsumo
import numpy as np

from irlvla import vehicle
from irlvla.world.demand import BLOCKER, EGO
from irlvla.world.events import goes_around
from irlvla.world.script import RAMP_M, Cue, Draw, Script, Swerve, Unsuitable, change_lane, ego_reaches, slow
from irlvla.world.simulation import Obstacle

PARKED = "scripted_parked"
CONE_M, BARRIER_M, SIGN_M = (0.4, 0.4, 0.8), (0.5, 2.0, 1.0), (0.3, 0.8, 1.6)
CAR_M = (4.6, 1.85, 1.5)
INTRUSION_M = 0.9, 1.1  # of what stands half in the lane
PASSING_M = 0.6  # between it and the ego's side
CUT_M = 1.5  # of the way past it where the ego may come a little nearer
CHANGE_S = 4.0  # from the beginning of a movement to the next lane until it is done
CHANGE_MPS, SWERVE_MPS, SLOW_DOWN_M = 8.0, 5.5, 55.0
ONE_LANE_SHARE = 0.4  # of the starts without another lane that are taken: swerves are to be no more than lane changes
SWERVE_SHARE = 0.2  # of the starts in the right lane from which a lane change is possible, too
LEFT_LANE_SHARE = 0.6  # of the starts in other lanes that are taken: there the ego can only change to the right
WORKS_M, SHORT_WORKS_M = 16.0, 4.0


def parked_car(draw: Draw) -> Script:
    """A car stands in the ego's lane, or half on the pavement where the ego has no other lane."""
    position = draw.start.position_m + draw.rng.uniform(89, 97)
    beside = _lane_beside(draw)
    if beside is None:
        lane = _rightmost(draw)
        intrusion = draw.rng.uniform(*INTRUSION_M)
        pose = draw.pose(lane, position - CAR_M[0] / 2, _half_out(lane.getWidth(), CAR_M[1], intrusion))
        car = Obstacle(PARKED, "vehicle", pose, CAR_M)
        return _around(draw, (car,), position - CAR_M[0], CAR_M[0], intrusion)
    entry = draw.entry(PARKED, "car", draw.start.lane, position, "0")
    stay = (draw.step_after(-0.1, -0.1) + 1, lambda: slow(PARKED, 0.0, 0.1))
    return Script(
        [entry], events=[stay], cues=_change(draw, beside, position - CAR_M[0], position),
        happened=lambda frames: goes_around(frames, PARKED, 2.4),
    )  # fmt: skip


def construction(draw: Draw) -> Script:
    """Road works close the ego's lane, or reach into it where the ego has no other lane."""
    begin = draw.start.position_m + draw.rng.uniform(83, 90)
    if begin + WORKS_M + 6 > draw.edge.getLength():
        raise Unsuitable("the first edge is too short")
    beside = _lane_beside(draw)
    if beside is None:
        lane = _rightmost(draw)
        intrusion = draw.rng.uniform(*INTRUSION_M)
        middle = _half_out(lane.getWidth(), BARRIER_M[1], intrusion)
        obstacles = _works(draw, lane, begin, SHORT_WORKS_M, middle, middle + BARRIER_M[1] / 2 - CONE_M[1] / 2)
        return _around(draw, obstacles, begin, SHORT_WORKS_M, intrusion)
    side = np.sign(beside - draw.start.lane)
    obstacles = _works(draw, draw.lane, begin, WORKS_M, 0.0, side * 1.2)
    entry = draw.entry(BLOCKER, BLOCKER, draw.start.lane, begin + WORKS_M, "0")
    stay = (draw.step_after(-0.1, -0.1) + 1, lambda: slow(BLOCKER, 0.0, 0.1))
    return Script(
        [entry], obstacles, [stay], _change(draw, beside, begin, begin + WORKS_M),
        happened=lambda frames: goes_around(frames, "works_0", 2.4),
    )  # fmt: skip


def _lane_beside(draw: Draw) -> int | None:
    """The lane to change to; None where the ego shall swerve."""
    try:
        beside = draw.lane_beside()
    except Unsuitable:
        if draw.rng.random() > ONE_LANE_SHARE:
            raise
        return None
    if draw.start.lane != draw.car_lanes[0].getIndex():
        if draw.rng.random() > LEFT_LANE_SHARE:
            raise Unsuitable("another lane is to be closed")
        return beside
    return None if draw.rng.random() < SWERVE_SHARE else beside


def _rightmost(draw: Draw):  # noqa: ANN202
    if draw.start.lane != draw.car_lanes[0].getIndex():
        raise Unsuitable("the ego is not in the right lane and no lane beside leads on")
    return draw.car_lanes[0]


def _half_out(lane_width_m: float, width_m: float, intrusion_m: float) -> float:
    """Offset to the left of something that reaches into the lane from the right."""
    return -lane_width_m / 2 - width_m / 2 + intrusion_m


def _works(draw: Draw, lane: object, begin_m: float, length_m: float, middle_m: float, edge_m: float) -> tuple:
    """Two barriers, a sign and cones along the edge of a closed area; offsets to the left."""
    objects = [("barrier", BARRIER_M, draw.pose(lane, begin_m + d, middle_m)) for d in (1.0, length_m - 1.0)]
    places = np.linspace(begin_m, begin_m + length_m, 6)
    objects += [("traffic_cone", CONE_M, draw.pose(lane, p, edge_m)) for p in places]
    objects += [("czone_sign", SIGN_M, draw.pose(lane, begin_m - 0.5, middle_m))]
    return tuple(Obstacle(f"works_{i}", kind, pose, size) for i, (kind, size, pose) in enumerate(objects))


def _change(draw: Draw, lane: int, begin_m: float, end_m: float) -> list[Cue]:
    """The ego slows down and moves to `lane` in time before an obstacle between two places of the first edge.

    SUMO takes a change as done once the ego is within the lane; the third cue leads it on to the middle.
    """
    edge = draw.start.edges[0]
    return [
        Cue(lambda: True, ego=lambda: libsumo.vehicle.slowDown(EGO, CHANGE_MPS, 4.0)),
        Cue(_in_time(draw, begin_m - 4.0, CHANGE_S), ego=lambda: (_drive_at(CHANGE_MPS), change_lane(EGO, lane, 1536))),
        Cue(lambda: libsumo.vehicle.getLaneID(EGO) == f"{edge}_{lane}", ego=_to_the_middle),
        Cue(ego_reaches(edge, end_m), ego=lambda: _drive_at(40.0)),
    ]


def _around(draw: Draw, obstacles: tuple, begin_m: float, length_m: float, intrusion_m: float) -> Script:
    """The ego slows down and swerves around what reaches into its lane from the right."""
    lane, half_m = draw.lane, vehicle.LENGTH_M / 2
    aside = -lane.getWidth() / 2 + intrusion_m + PASSING_M + vehicle.WIDTH_M / 2
    edge, end_m = draw.start.edges[0], begin_m + length_m + half_m
    beside = lane.getWidth() / 2 + obstacles[0].size_m[1] / 2 - intrusion_m + 0.5  # from middle to middle
    cues = [
        Cue(ego_reaches(edge, begin_m - SLOW_DOWN_M), ego=lambda: libsumo.vehicle.slowDown(EGO, SWERVE_MPS, 4.0)),
        Cue(ego_reaches(edge, begin_m - half_m - RAMP_M - 3.0), ego=lambda: _drive_at(SWERVE_MPS)),
        Cue(ego_reaches(edge, min(end_m + RAMP_M + 2.0, draw.edge.getLength() - 1.0)), ego=lambda: _drive_at(40.0)),
    ]
    return Script(
        obstacles=obstacles, cues=cues,
        swerve=Swerve(draw.pose(lane, begin_m - half_m + CUT_M, 0.0), length_m + 2 * (half_m - CUT_M), aside),
        happened=lambda frames: goes_around(frames, obstacles[0].id, beside),
    )  # fmt: skip


def _in_time(draw: Draw, position_m: float, needed_s: float) -> Callable[[], bool]:
    """Whether the ego's front is `needed_s` at CHANGE_MPS before a place of the first edge.

    A faster ego slows down first: its change would else be over before the log begins.
    """
    edge = draw.start.edges[0]

    def ready() -> bool:
        ahead_m = position_m - libsumo.vehicle.getLanePosition(EGO)
        return (
            libsumo.vehicle.getRoadID(EGO) == edge
            and ahead_m < np.clip(libsumo.vehicle.getSpeed(EGO), 5.0, CHANGE_MPS) * needed_s
        )

    return ready


def _to_the_middle() -> None:
    libsumo.vehicle.changeSublane(EGO, -libsumo.vehicle.getLateralLanePosition(EGO))


def _drive_at(speed_mps: float) -> None:
    libsumo.vehicle.setMaxSpeed(EGO, speed_mps)
