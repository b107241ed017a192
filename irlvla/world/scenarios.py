"""Scripted situations: what random traffic does not bring up by itself.

A script adds vehicles to the traffic, static objects to the town, and acts at fixed steps of the simulation, so that a
second run of the same seed meets the same situation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import libsumo
import numpy as np
import sumolib
from numpy.random import Generator

from irlvla.geometry import Array
from irlvla.world.demand import BLOCKER, EGO, EgoStart, vehicle_entry
from irlvla.world.simulation import STEP_S, Obstacle, Simulation, Walker

LEAD, CUTTER = "scripted_lead", "scripted_cutter"
BRAKING = 2.2  # [m/s2]
LEAD_DISTANCE_M = 24.0  # front bumper to front bumper at the start
CONE_M, BARRIER_M, SIGN_M = (0.4, 0.4, 0.8), (0.5, 2.0, 1.0), (0.3, 0.8, 1.6)
PARKED_M = (4.6, 1.85, 1.5)


class Unsuitable(Exception):
    """The drawn start does not allow this scenario."""


@dataclass
class Script:
    """One situation. `events` are (step, action); `jaywalk` waits for the ego in the first run."""

    entries: list[tuple[float, str]] = field(default_factory=list)
    obstacles: tuple[Obstacle, ...] = ()
    events: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    jaywalk: "Jaywalk | None" = None

    def act(self, simulation: Simulation) -> None:
        """To be called before each step."""
        for step, action in self.events:
            if step == simulation.time_step:
                action()
        if self.jaywalk is not None:
            self.jaywalk.act(simulation)


@dataclass
class Jaywalk:
    """A pedestrian who crosses the first edge when the ego comes near; the ego stops for them."""

    edge: str
    lane: int
    stop_m: float  # where the ego's front stops, along the lane
    kerb: Array  # (3,) where the pedestrian waits: x, y, walking direction, global
    walk_m: float
    margin_m: float  # between the ego's braking distance and the stop when they start to walk
    walker: Walker | None = None

    def act(self, simulation: Simulation) -> None:
        if self.walker is None and simulation.ego_is_driving():
            ahead_m = self.stop_m - libsumo.vehicle.getLanePosition(EGO)
            braking_m = libsumo.vehicle.getSpeed(EGO) ** 2 / (2 * BRAKING) + self.margin_m
            if libsumo.vehicle.getRoadID(EGO) == self.edge and ahead_m < braking_m:
                lane = libsumo.vehicle.getLaneIndex(EGO)
                libsumo.vehicle.setStop(EGO, self.edge, pos=self.stop_m, laneIndex=lane, duration=3.0)
                self.walker = Walker("jaywalker", self.kerb, 1.5, self.walk_m, simulation.time_step)
        waiting = Walker("jaywalker", self.kerb, 0.0, 0.0, 0)
        simulation.walkers = (self.walker or waiting,)


@dataclass(frozen=True)
class Draw:
    """What a scenario is made from."""

    net: "sumolib.net.Net"
    start: EgoStart
    offset: tuple[float, float]  # network -> global
    rng: Generator

    @property
    def edge(self) -> "sumolib.net.edge.Edge":
        return self.net.getEdge(self.start.edges[0])

    @property
    def car_lanes(self) -> list:
        return [lane for lane in self.edge.getLanes() if lane.allows("passenger")]

    def step_after(self, low_s: float, high_s: float) -> int:
        """Random step some seconds after the ego enters."""
        return round((self.start.depart_s + self.rng.uniform(low_s, high_s)) / STEP_S)

    def pose(self, lane: "sumolib.net.lane.Lane", position_m: float, left_m: float) -> tuple[float, float, float]:
        """Global pose beside a lane's centre line, along its direction."""
        shape = lane.getShape()
        scale = sumolib.geomhelper.polyLength(shape) / lane.getLength()
        at = [
            sumolib.geomhelper.positionAtShapeOffset(shape, scale * p)[:2] for p in (position_m - 0.5, position_m + 0.5)
        ]
        heading = np.arctan2(at[1][1] - at[0][1], at[1][0] - at[0][0])
        x, y = np.mean(at, axis=0) + self.offset + left_m * np.array([-np.sin(heading), np.cos(heading)])
        return float(x), float(y), float(heading)

    def entry(self, name: str, kind: str, lane: int, position_m: float, speed: str = "max") -> tuple[float, str]:
        """A vehicle on the ego's route that enters just before it."""
        if position_m > self.edge.getLength() - 2:
            raise Unsuitable("the first edge is too short")
        depart = self.start.depart_s - 0.1
        return depart, vehicle_entry(name, kind, depart, self.start.edges, lane, position_m, speed)


def free_drive(draw: Draw) -> Script:
    """Nothing scripted."""
    return Script()


def stopped_leader(draw: Draw) -> Script:
    """The car in front brakes to a halt and stays for some seconds."""
    entry = draw.entry(LEAD, "car", draw.start.lane, draw.start.position_m + LEAD_DISTANCE_M)
    brake = draw.step_after(3.5, 7.0)
    go = brake + round(draw.rng.uniform(7.0, 10.0) / STEP_S)
    events = [(brake, lambda: _slow(LEAD, 0.0, 3.5)), (go, lambda: _release(LEAD))]
    return Script([entry], events=events)


def slow_leader(draw: Draw) -> Script:
    """A slow truck in front."""
    entry = draw.entry(LEAD, "truck", draw.start.lane, draw.start.position_m + LEAD_DISTANCE_M)
    speed = float(draw.rng.uniform(3.0, 5.5))
    return Script([entry], events=[(draw.step_after(0.5, 1.0), lambda: _slow(LEAD, speed, 2.0))])


def cut_in(draw: Draw) -> Script:
    """A car from the next lane moves in front of the ego."""
    lanes = [lane.getIndex() for lane in draw.car_lanes if abs(lane.getIndex() - draw.start.lane) == 1]
    if not lanes:
        raise Unsuitable("the first edge has one lane")
    lane = lanes[draw.rng.integers(len(lanes))]
    entry = draw.entry(CUTTER, "compact", lane, draw.start.position_m + 9.0)
    step, to = draw.step_after(3.0, 5.0), draw.start.lane
    return Script(
        [entry], events=[(step, lambda: _change_lane(CUTTER, to)), (step + 15, lambda: _slow(CUTTER, 5.0, 3.0))]
    )


def jaywalker(draw: Draw) -> Script:
    """A pedestrian steps off the kerb between junctions."""
    right = draw.car_lanes[0]
    position = draw.start.position_m + draw.rng.uniform(60, 75)
    if position > draw.edge.getLength() - 6:
        raise Unsuitable("the first edge is too short")
    x, y, heading = draw.pose(right, position + 4.0, -right.getWidth() / 2 - 0.8)
    road = sum(lane.getWidth() for lane in draw.car_lanes)
    kerb = np.array([x, y, heading + np.pi / 2])
    jaywalk = Jaywalk(
        draw.start.edges[0], draw.start.lane, position, kerb, 2 * road + 1.5, float(draw.rng.uniform(3, 7))
    )
    return Script(jaywalk=jaywalk)


def construction(draw: Draw) -> Script:
    """Cones and barriers close the next lane, or stand along the road where there is one lane."""
    lanes = [lane for lane in draw.car_lanes if abs(lane.getIndex() - draw.start.lane) == 1]
    begin = draw.start.position_m + draw.rng.uniform(35, 50)
    if begin + 22 > draw.edge.getLength():
        raise Unsuitable("the first edge is too short")
    lane = lanes[0] if lanes else draw.car_lanes[0]
    side = 1.0 if lanes and lane.getIndex() > draw.start.lane else -1.0
    middle = 0.0 if lanes else side * (lane.getWidth() / 2 + 1.1)
    near = middle - side * 1.1  # edge of the closed area towards the ego
    objects = [("traffic_cone", CONE_M, draw.pose(lane, begin + 4.0 * k, near)) for k in range(5)]
    objects += [("barrier", BARRIER_M, draw.pose(lane, begin + d, middle)) for d in (3.0, 16.0)]
    objects += [("czone_sign", SIGN_M, draw.pose(lane, begin - 1.0, middle))]
    obstacles = tuple(Obstacle(f"works_{i}", kind, pose, size) for i, (kind, size, pose) in enumerate(objects))
    if not lanes:
        return Script(obstacles=obstacles)
    entry = draw.entry(BLOCKER, BLOCKER, lane.getIndex(), begin + 16.0, "0")
    return Script([entry], obstacles, [(draw.step_after(-0.1, -0.1) + 1, lambda: _slow(BLOCKER, 0.0, 0.1))])


def parked_cars(draw: Draw) -> Script:
    """A row of cars parked half on the pavement, along the first edge."""
    lane = draw.car_lanes[0]
    left = -(lane.getWidth() / 2 + PARKED_M[1] / 2 + 0.25)
    last = min(draw.edge.getLength() - 8, draw.start.position_m + 110)
    places = np.arange(draw.start.position_m + 12, last, 6.2)
    kept = [p for p in places if draw.rng.random() < 0.7]
    if len(kept) < 3:
        raise Unsuitable("the first edge is too short")
    cars = enumerate(draw.pose(lane, p, left + draw.rng.uniform(-0.1, 0.1)) for p in kept)
    return Script(obstacles=tuple(Obstacle(f"parked_{i}", "vehicle", pose, PARKED_M) for i, pose in cars))


def _slow(name: str, speed: float, duration_s: float) -> None:
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setSpeedMode(name, 31)
        libsumo.vehicle.slowDown(name, speed, duration_s)
        libsumo.vehicle.setMaxSpeed(name, max(speed, 0.01))


def _release(name: str) -> None:
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setMaxSpeed(name, 40.0)


def _change_lane(name: str, lane: int) -> None:
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setLaneChangeMode(name, 0)
        libsumo.vehicle.changeLane(name, lane, 8.0)


@dataclass(frozen=True)
class Scenario:
    turn: str  # of the ego at the first junction: s, l or r
    make: Callable[[Draw], Script]
    ahead_m: float | None = None  # length of road that the script needs before the junction


# Half of the logs turn at once; more than half hold a scripted situation.
SCENARIOS = {
    "left_turn": Scenario("l", free_drive),
    "stopped_leader": Scenario("s", stopped_leader, 90.0),
    "right_turn": Scenario("r", free_drive),
    "jaywalker": Scenario("s", jaywalker, 95.0),
    "straight": Scenario("s", free_drive),
    "cut_in": Scenario("s", cut_in, 90.0),
    "left_turn_parked_cars": Scenario("l", parked_cars, 70.0),
    "construction": Scenario("r", construction, 90.0),
    "slow_leader": Scenario("l", slow_leader, 50.0),
}
