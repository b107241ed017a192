"""One log: SUMO drives the ego once, the expert makes it comfortable, the same traffic meets the expert."""

import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import libsumo
import numpy as np
import shapely
import sumolib

from irlvla.geometry import box_corners
from irlvla.scenes.maps import load_map
from irlvla.scenes.town_map import TownMap
from irlvla.world.demand import EGO, EgoStart, ego_start, route_file
from irlvla.world.expert import Track, comfortable_track
from irlvla.world.geopackage import VERSION
from irlvla.world.isolation import isolated
from irlvla.world.junctions import green_at
from irlvla.world.route import Route
from irlvla.world.scenarios import SCENARIOS
from irlvla.world.script import Draw, Script, Unsuitable
from irlvla.world.simulation import STEP_S, STEPS_PER_FRAME, Frame, MapIds, Simulation
from irlvla.world.town import TOWNS, Town, network_offset
from irlvla.world.two_stage import FOLLOW_UPS, drivable_area, ego_box, first_stage_frame, follow_ups

LOG_FRAMES = 40
LEAD_IN_STEPS = 20  # the ego drives before the log begins
RUN_OUT_S = 1.0
TRAFFIC_S = 40.0  # vehicles go on entering for this long after the ego
LONGEST_WAIT_S = 8.0  # until the ego may enter
STARTS = 30  # drawn for one situation
MIN_GAP_M = 2.0  # between bumpers
CLEARANCE_M = 0.05
STOP_LINE_GAP_M = 0.7
STANDING_ROOM_M = 0.5  # ahead of where SUMO's own driver waits, for whatever reason
STANDING_MPS, MOST_STANDING = 0.2, 0.5


@dataclass(frozen=True)
class Place:
    """A town on disk."""

    town: Town
    network_path: Path
    maps_root: Path

    @classmethod
    def of(cls, root: Path, town_name: str) -> "Place":
        """A town of TOWNS in the dataset `root`."""
        return cls.at(root, TOWNS[town_name])

    @classmethod
    def at(cls, root: Path, town: Town) -> "Place":
        return cls(town, root / "sumo" / f"{town.name}.net.xml.gz", root / "maps")

    def net(self) -> "sumolib.net.Net":
        return _network(self.network_path)

    def ids(self) -> MapIds:
        return _ids(self.maps_root, self.town.map_name, self.town.name)

    def town_map(self) -> TownMap:
        return load_map(self.maps_root, self.town.map_name)

    def load(self) -> None:
        """Read everything once; it is kept for the process."""
        self.net(), self.ids(), self.town_map()


@cache
def _network(path: Path) -> "sumolib.net.Net":
    return sumolib.net.readNet(str(path))


@cache
def _ids(maps_root: Path, map_name: str, town_name: str) -> MapIds:
    return MapIds.read(maps_root / map_name / VERSION / "map.gpkg", town_name)


class Rejected(Exception):
    """This draw makes no log; the reason is the message."""


@dataclass(frozen=True)
class Recording:
    frames: list[Frame]
    track: Track
    roadblock_ids: tuple[str, ...]
    first_stage: int | None = None  # index of the frame that the follow-ups start from
    follow_ups: dict[str, list[Frame]] = field(default_factory=dict)  # 13 frames, 2.0 ... 8.0 s later


@dataclass(frozen=True)
class Situation:
    """Start, traffic and script of one log: everything that a run needs to be repeated."""

    place: Place
    seed: int
    start: EgoStart
    script: Script
    routes_xml: str

    @classmethod
    def draw(cls, place: Place, scenario: str, seed: int) -> "Situation":
        """Raises Rejected if the drawn start does not allow the scenario."""
        rng = np.random.default_rng(seed)
        start, script = _start(place, scenario, rng)
        town, until_s = place.town, start.depart_s + TRAFFIC_S
        xml = route_file(
            place.net(), start, town.cars_per_km, town.pedestrians, until_s, rng, script.entries,
            {start.edges[0], *script.quiet},
        )  # fmt: skip
        return cls(place, seed, start, script, xml)

    def open(self) -> Simulation:
        """A fresh simulation at time 0."""
        with tempfile.TemporaryDirectory() as folder:
            routes = Path(folder) / "routes.rou.xml"
            routes.write_text(self.routes_xml)
            return Simulation(
                self.place.network_path, routes, self.seed % 2**31, self.place.ids(), self.place.town_map(),
                self.script.obstacles,
            )  # fmt: skip


def _start(place: Place, scenario: str, rng: np.random.Generator) -> tuple[EgoStart, Script]:
    """A start that allows the scenario, and its script.

    Raises Rejected where none of STARTS draws does.
    """
    wanted, offset = SCENARIOS[scenario], network_offset(place.network_path)
    reason = "no start with this turn, road ahead and junction"
    for _ in range(STARTS):
        start = ego_start(place.net(), wanted.turn, rng, wanted.ahead_m, wanted.suits)
        if start is None:
            break
        try:
            draw = Draw(place.net(), start, offset, place.ids(), place.town_map(), rng)
            script = wanted.make(draw)
        except Unsuitable as error:
            reason = str(error)
            continue
        light = draw.first_light()
        if wanted.green and light is not None:
            script.events.append((1, green_at(light, start.depart_s + draw.distance_m(light) / 20)))
        return start, script
    raise Rejected(f"{place.town.name}, {scenario}: {reason}")


def record(situation: Situation, with_follow_ups: bool = False) -> Recording:
    """A log of LOG_FRAMES frames, on demand with the second-stage scenes of one of them.

    Both runs are forks of one warm simulation, which is exact, unlike saving and loading SUMO's state.
    Raises Rejected where the situation cannot make one.
    """
    rng = np.random.default_rng([situation.seed, 2])
    with situation.open() as simulation:
        while simulation.time_s < situation.start.depart_s - 0.5:
            situation.script.act(simulation)
            simulation.step()
        drive = isolated(_drive, simulation, situation)
        if isinstance(drive, str):
            raise Rejected(drive)
        if np.mean(drive.track.speed_mps < STANDING_MPS) > MOST_STANDING:
            raise Rejected("the ego stands most of the time")
        situation.script.repeat(drive.cue_steps)
        if not with_follow_ups:
            return _replay(simulation, situation, drive, None, rng)
        index = first_stage_frame(drive.track, LEAD_IN_STEPS, LOG_FRAMES, rng)
        if index is None:
            raise Rejected("no frame has room for both stages")
        return _replay(simulation, situation, drive, index, rng)


@dataclass(frozen=True)
class Drive:
    """What the first run gives to the second."""

    track: Track
    edges: tuple[str, ...]  # of the route, as far as the log may need it
    first_step: int  # of the simulation, at state 0 of the track
    cue_steps: list[int]


def _drive(simulation: Simulation, situation: Situation) -> Drive:
    """First run: SUMO drives the ego."""
    states, limits, room, edges = [], [], [], []
    start = situation.start
    length = LEAD_IN_STEPS + (LOG_FRAMES - 1) * STEPS_PER_FRAME + round(RUN_OUT_S / STEP_S) + 1
    while len(states) < length:
        situation.script.act(simulation)
        simulation.step()
        if not simulation.ego_is_driving():
            if simulation.time_s > start.depart_s + LONGEST_WAIT_S or states:
                raise Rejected("the ego could not enter or left too early")
            continue
        if not states:
            first_step = simulation.time_step
        states.append(simulation.ego_front())
        room.append(_room())
        limits.append(libsumo.vehicle.getAllowedSpeed(EGO))
        edge = libsumo.vehicle.getRoadID(EGO)
        if not edge.startswith(":") and (not edges or edges[-1] != edge):
            edges.append(edge)
    states = np.array(states)
    if situation.script.swerve is not None:
        states[:, :2] = situation.script.swerve.shifted(states[:, :2])
    try:
        track = comfortable_track(
            states[:, :2], states[:, 2], states[:, 3], np.array(limits), np.array(room), situation.script.manner
        )
    except RuntimeError as error:
        raise Rejected(str(error)) from error
    last = start.edges.index(edges[-1])
    return Drive(track, start.edges[: last + 3], first_step, situation.script.cue_steps())


def _room() -> float:
    """How far ahead of its place the ego could be without touching its leader or a red light's stop line [m]."""
    room = [50.0 if libsumo.vehicle.getSpeed(EGO) > STANDING_MPS else STANDING_ROOM_M]
    leader = libsumo.vehicle.getLeader(EGO, 60.0)
    if leader and leader[0]:
        room.append(leader[1] + libsumo.vehicle.getMinGap(EGO) - MIN_GAP_M)
    signals = libsumo.vehicle.getNextTLS(EGO)
    if signals and signals[0][3] in "ru":
        room.append(signals[0][2] - STOP_LINE_GAP_M)
    return max(min(room), 0.0)


def _replay(
    simulation: Simulation, situation: Situation, drive: Drive, first_stage: int | None, rng: np.random.Generator
) -> Recording:
    """Second run: the same traffic meets the expert; a frame every 0.5 s after the lead-in."""
    place, track = situation.place, drive.track
    roadblock_ids = place.ids().route(drive.edges)
    simulation.route = Route(place.town_map(), roadblock_ids, track.poses[LEAD_IN_STEPS])
    frames: list[Frame] = []
    scenes: dict[str, list[Frame]] = {}
    while len(frames) < LOG_FRAMES:
        k = simulation.time_step + 1 - drive.first_step
        situation.script.act(simulation)
        if k >= 1:
            simulation.place_ego(track.poses[k])
        simulation.step()
        if k >= LEAD_IN_STEPS and (k - LEAD_IN_STEPS) % STEPS_PER_FRAME == 0:
            if len(frames) == first_stage:
                area = drivable_area(place.town_map(), track.poses[k, :2])
                scenes = follow_ups(simulation, situation.script.act, track, k, rng, area)
                if len(scenes) < FOLLOW_UPS:
                    raise Rejected("too few other plans work")
            frames.append(simulation.frame(track.poses[k], track.velocity(k), track.acceleration(k)))
            _check(frames[-1])
    if not situation.script.happened(frames):
        raise Rejected("the event did not happen")
    return Recording(frames, track, roadblock_ids, first_stage, scenes)


def _check(frame: Frame) -> None:
    """Raises Rejected if the ego touches something."""
    agents = frame.agents
    boxes = shapely.polygons(box_corners(agents.poses, agents.size_m[:, 0], agents.size_m[:, 1]))
    hit = np.flatnonzero(shapely.dwithin(boxes, ego_box(frame.ego_pose), CLEARANCE_M))
    if len(hit):
        raise Rejected(f"contact with {agents.ids[hit[0]]}")
