"""What a scenario is made of: things that stand or drive on the ego's way, and actions at fixed steps or places.

A log is driven twice: SUMO's own ego first, then the expert. What waits for the ego to come near happens at the same
step of the second run as of the first, so that both meet the same situation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import libsumo
import numpy as np
import shapely
import sumolib
from numpy.random import Generator

from irlvla.geometry import Array
from irlvla.scenes.town_map import TownMap
from irlvla.world.demand import EGO, EgoStart, vehicle_entry
from irlvla.world.expert import CALM, Manner
from irlvla.world.simulation import STEP_S, Frame, MapIds, Obstacle, Simulation, Walker

NEVER = -1
RAMP_M = 9.0


class Unsuitable(Exception):
    """The drawn start does not allow this scenario."""


def nothing() -> None:
    pass


@dataclass
class Cue:
    """What begins once the ego has come to a place."""

    ready: Callable[[], bool]  # asked before every step while the ego drives
    town: Callable[[], None] = nothing  # happens in both runs
    ego: Callable[[], None] = nothing  # what SUMO's own driver does
    step: int | None = None  # when it began

    def act(self, simulation: Simulation) -> None:
        if self.step is None and simulation.ego_is_driving() and self.ready():
            self.step = simulation.time_step
            if not simulation.ego_is_placed:
                self.ego()
        if self.step == simulation.time_step:
            self.town()


@dataclass(frozen=True)
class Crosser:
    """A pedestrian outside SUMO who waits at `kerb` (3,: x, y, walking direction, global) for a cue."""

    id: str
    kerb: Array
    walk_m: float
    speed_mps: float
    cue: Cue
    delay_steps: int = 0

    def walker(self) -> Walker:
        if self.cue.step is None or self.cue.step == NEVER:
            return Walker(self.id, self.kerb, 0.0, 0.0, 0)
        return Walker(self.id, self.kerb, self.speed_mps, self.walk_m, self.cue.step + self.delay_steps)


@dataclass(frozen=True)
class Swerve:
    """The ego's way around something narrow, within its lane or nearly so."""

    begin: tuple[float, float, float]  # global pose on the lane's centre line where the ego's centre is aside
    length_m: float  # for which it stays aside
    left_m: float

    def shifted(self, xy: Array) -> Array:
        """Points (K, 2) of the ego's way, moved aside; the turns to the side and back take RAMP_M each."""
        x, y, heading = self.begin
        along = (xy - (x, y)) @ (np.cos(heading), np.sin(heading))
        outside_m = np.maximum(np.maximum(-along, along - self.length_m), 0)
        share = (1 + np.cos(np.pi * np.minimum(outside_m / RAMP_M, 1))) / 2
        return xy + self.left_m * share[:, None] * (-np.sin(heading), np.cos(heading))


@dataclass
class Script:
    """One situation. `events` are (step, action); `happened` says whether the frames of a log show it."""

    entries: list[tuple[float, str]] = field(default_factory=list)  # departure time, XML of a vehicle or person
    obstacles: tuple[Obstacle, ...] = ()
    events: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    cues: list[Cue] = field(default_factory=list)
    crossers: tuple[Crosser, ...] = ()
    manner: Manner = CALM
    swerve: Swerve | None = None
    quiet: tuple[str, ...] = ()  # further edges without other traffic; the ego's first edge always is
    happened: Callable[[Sequence[Frame]], bool] = lambda frames: True

    def act(self, simulation: Simulation) -> None:
        """To be called before each step."""
        for step, action in self.events:
            if step == simulation.time_step:
                action()
        for cue in self.cues:
            cue.act(simulation)
        simulation.walkers = tuple(crosser.walker() for crosser in self.crossers)

    def cue_steps(self) -> list[int]:
        """When each cue came in the run that has just ended."""
        return [NEVER if cue.step is None else cue.step for cue in self.cues]

    def repeat(self, steps: Sequence[int]) -> None:
        """Let the cues of the next run come when they came before."""
        for cue, step in zip(self.cues, steps, strict=True):
            cue.step = step


@dataclass(frozen=True)
class Draw:
    """What a scenario is made from."""

    net: "sumolib.net.Net"
    start: EgoStart
    offset: tuple[float, float]  # network -> global
    ids: MapIds
    town_map: TownMap
    rng: Generator

    @property
    def edge(self) -> "sumolib.net.edge.Edge":
        return self.net.getEdge(self.start.edges[0])

    @property
    def next_edge(self) -> "sumolib.net.edge.Edge":
        return self.net.getEdge(self.start.edges[1])

    @property
    def lane(self) -> "sumolib.net.lane.Lane":
        return self.edge.getLanes()[self.start.lane]

    @property
    def car_lanes(self) -> list:
        return [lane for lane in self.edge.getLanes() if lane.allows("passenger")]

    @property
    def ahead_m(self) -> float:
        """Road from the ego's start to the first junction."""
        return self.edge.getLength() - self.start.position_m

    def first_light(self) -> "sumolib.net.connection.Connection | None":
        """The way of the ego's lane, or the lane nearest to it, through the first light; it may be two edges away."""
        edges = [self.net.getEdge(id) for id in self.start.edges[:4]]
        for edge, onto in zip(edges, edges[1:], strict=False):
            found = [c for c in edge.getConnections(onto) if c.getTLSID() and c.getFromLane().allows("passenger")]
            if found:
                return min(found, key=lambda c: abs(c.getFromLane().getIndex() - self.start.lane))
        return None

    def before(self, way: "sumolib.net.connection.Connection") -> tuple[str, ...]:
        """Edges of the ego's route up to a way through a junction."""
        return self.start.edges[: self.start.edges.index(way.getFrom().getID()) + 1]

    def distance_m(self, way: "sumolib.net.connection.Connection") -> float:
        """Road from the ego's start to a way through a junction."""
        return sum(self.net.getEdge(id).getLength() for id in self.before(way)) - self.start.position_m

    def lane_beside(self) -> int:
        """Index of a lane next to the ego's from which its route goes on as well."""
        beside = [lane for lane in self.car_lanes if abs(lane.getIndex() - self.start.lane) == 1]
        lanes = [lane.getIndex() for lane in beside if any(c.getTo() == self.next_edge for c in lane.getOutgoing())]
        if not lanes:
            raise Unsuitable("no lane beside the ego's leads on")
        return lanes[self.rng.integers(len(lanes))]

    def step_after(self, low_s: float, high_s: float) -> int:
        """Random step some seconds after the ego enters."""
        return round((self.start.depart_s + self.rng.uniform(low_s, high_s)) / STEP_S)

    def pose(self, lane: "sumolib.net.lane.Lane", position_m: float, left_m: float) -> tuple[float, float, float]:
        """Global pose beside a lane's centre line, along its direction; the line goes on straight beyond its ends."""
        line = shapely.LineString(lane.getShape())
        at = line.length * position_m / lane.getLength()
        middle = np.clip(at, 0.5, line.length - 0.5)
        before, after = (np.array(line.interpolate(middle + d).coords[0][:2]) for d in (-0.5, 0.5))
        along = (after - before) / np.linalg.norm(after - before)
        x, y = (before + after) / 2 + (at - middle) * along + self.offset + left_m * np.array([-along[1], along[0]])
        return float(x), float(y), float(np.arctan2(along[1], along[0]))

    def entry(self, name: str, kind: str, lane: int, position_m: float, speed: str = "max") -> tuple[float, str]:
        """A vehicle on the ego's route that enters just before it."""
        if position_m > self.edge.getLength() - 2:
            raise Unsuitable("the first edge is too short")
        depart = self.start.depart_s - 0.1
        return depart, vehicle_entry(name, kind, depart, self.start.edges, lane, position_m, speed)


def ego_reaches(edge: str, position_m: float) -> Callable[[], bool]:
    """Whether the ego's front has come to this place of an edge."""
    return lambda: libsumo.vehicle.getRoadID(EGO) == edge and libsumo.vehicle.getLanePosition(EGO) >= position_m


def ego_comes_near(edge: str, stop_m: float, margin_m: float, braking_mps2: float) -> Callable[[], bool]:
    """Whether the ego is as far from a place of an edge as it needs to stop there, and a margin."""

    def ready() -> bool:
        needed_m = libsumo.vehicle.getSpeed(EGO) ** 2 / (2 * braking_mps2) + margin_m
        on_edge = libsumo.vehicle.getRoadID(EGO) == edge
        return on_edge and 0 < stop_m - libsumo.vehicle.getLanePosition(EGO) < needed_m

    return ready


def stop_ego(edge: str, position_m: float, duration_s: float) -> Callable[[], None]:
    """The ego halts there in its lane."""

    def stop() -> None:
        lane = libsumo.vehicle.getLaneIndex(EGO)
        libsumo.vehicle.setStop(EGO, edge, pos=position_m, laneIndex=lane, duration=duration_s)

    return stop


def slow(name: str, speed_mps: float, duration_s: float, decel_mps2: float = 3.5) -> None:
    """A vehicle slows down within `duration_s` and stays so."""
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setSpeedMode(name, 31)
        libsumo.vehicle.setDecel(name, decel_mps2)
        libsumo.vehicle.slowDown(name, speed_mps, duration_s)
        libsumo.vehicle.setMaxSpeed(name, max(speed_mps, 0.01))


def release(name: str) -> None:
    """A vehicle drives on as it likes."""
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setMaxSpeed(name, 40.0)


def change_lane(name: str, lane: int, mode: int = 0) -> None:
    """A vehicle moves to a lane. Of SUMO's lane-change modes 0 minds nobody; 1536 keeps off the others."""
    if name in libsumo.vehicle.getIDList():
        libsumo.vehicle.setLaneChangeMode(name, mode)
        libsumo.vehicle.changeLane(name, lane, 8.0)
