"""Scenarios with a road user ahead of the ego, in its lane or on the way into it."""

import libsumo

from irlvla.world.demand import EGO
from irlvla.world.events import brakes_hard, cuts_in, follows
from irlvla.world.expert import HARD
from irlvla.world.script import Cue, Draw, Script, Unsuitable, change_lane, ego_reaches, release, slow
from irlvla.world.simulation import STEP_S

LEADER = "scripted_leader"
LEADER_DISTANCE_M = 24.0  # front bumper to front bumper at the start
LEADER_BRAKES_MPS2 = 7.0
HARD_MPS2 = 4.1  # of the ego behind it


def stopped_leader(draw: Draw) -> Script:
    """The car in front brakes to a halt and stays for some seconds."""
    entry = draw.entry(LEADER, "car", draw.start.lane, draw.start.position_m + LEADER_DISTANCE_M)
    brake = draw.step_after(3.5, 6.5)
    go = brake + round(draw.rng.uniform(6.5, 9.0) / STEP_S)
    events = [(brake, lambda: slow(LEADER, 0.0, 3.5)), (go, lambda: release(LEADER))]
    return Script([entry], events=events, happened=lambda frames: follows(frames, LEADER, 12.0, 0.3, 4))


def slow_leader(draw: Draw) -> Script:
    """A slow truck in front."""
    entry = draw.entry(LEADER, "truck", draw.start.lane, draw.start.position_m + LEADER_DISTANCE_M)
    speed = float(draw.rng.uniform(3.0, 5.5))
    events = [(draw.step_after(0.5, 1.0), lambda: slow(LEADER, speed, 2.0))]
    return Script([entry], events=events, happened=lambda frames: follows(frames, LEADER, 25.0, speed + 0.3, 12))


def braking_leader(draw: Draw) -> Script:
    """The car in front brakes as hard as it can, then drives on; the ego is close behind."""
    entry = draw.entry(LEADER, "car", draw.start.lane, draw.start.position_m + LEADER_DISTANCE_M - 7.0)
    brake = draw.step_after(4.5, 6.0)
    go = brake + round(draw.rng.uniform(4.0, 5.0) / STEP_S)
    events = [
        (draw.step_after(0.5, 0.5), _be_caught_up),
        (brake, lambda: slow(LEADER, 0.0, _speed(LEADER) / LEADER_BRAKES_MPS2, 8.0)),
        (go, lambda: release(LEADER)),
    ]
    return Script(
        [entry], events=events, cues=[Cue(lambda: True, ego=_follow_closely)], manner=HARD,
        happened=lambda frames: follows(frames, LEADER, 15.0, 2.0, 2) and brakes_hard(frames, HARD_MPS2),
    )  # fmt: skip


def _be_caught_up() -> None:
    libsumo.vehicle.setSpeedFactor(LEADER, 0.93 * libsumo.vehicle.getSpeedFactor(EGO))


def _follow_closely() -> None:
    libsumo.vehicle.setTau(EGO, 0.4)
    libsumo.vehicle.setDecel(EGO, 7.5)
    libsumo.vehicle.setMinGap(EGO, 5.5)


def cut_in(draw: Draw) -> Script:
    """A car from the next lane moves in front of the ego and slows down."""
    lanes = [lane.getIndex() for lane in draw.car_lanes if abs(lane.getIndex() - draw.start.lane) == 1]
    if not lanes:
        raise Unsuitable("the first edge has one lane")
    lane = lanes[draw.rng.integers(len(lanes))]
    entry = draw.entry(LEADER, "compact", lane, draw.start.position_m + draw.rng.uniform(11.0, 14.0))
    step, to = draw.step_after(3.0, 4.5), draw.start.lane
    events = [
        (draw.step_after(0.5, 0.5), _keep_up), (step, lambda: change_lane(LEADER, to)),
        (step + 25, lambda: slow(LEADER, 0.5 * _speed(LEADER), 3.0)), (step + 80, lambda: release(LEADER)),
    ]  # fmt: skip
    return Script([entry], events=events, happened=lambda frames: cuts_in(frames, LEADER))


def _keep_up() -> None:
    """As fast as the ego, and quick to the side."""
    libsumo.vehicle.setSpeedFactor(LEADER, 1.02 * libsumo.vehicle.getSpeedFactor(EGO))
    libsumo.vehicle.setMaxSpeedLat(LEADER, 1.8)


def _speed(name: str) -> float:
    return libsumo.vehicle.getSpeed(name) if name in libsumo.vehicle.getIDList() else 0.0


def cyclist(draw: Draw) -> Script:
    """A bicycle ahead on the ego's lane: passed in the next lane where there is one, else followed."""
    position = draw.start.position_m + 30.0
    entry = draw.entry(LEADER, "bicycle", draw.start.lane, position)
    speed = float(draw.rng.uniform(3.2, 4.6))
    events = [(draw.step_after(0.0, 0.1), lambda: slow(LEADER, speed, 1.0))]
    followed = Script([entry], events=events, happened=lambda frames: follows(frames, LEADER, 20.0, speed + 0.5, 8))
    try:
        beside = draw.lane_beside()
    except Unsuitable:
        return followed
    if beside < draw.start.lane or draw.rng.random() < 0.5:
        return followed
    cue = Cue(ego_reaches(draw.start.edges[0], draw.start.position_m + 14), ego=lambda: change_lane(EGO, beside, 1536))
    return Script([entry], events=events, cues=[cue], happened=lambda frames: follows(frames, LEADER, 40.0, 6.0, 2))
