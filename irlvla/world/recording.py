"""One log: SUMO drives the ego once, the expert makes it comfortable, the same traffic meets the expert."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libsumo
import numpy as np
import sumolib

from irlvla import vehicle
from irlvla.geometry import Array
from irlvla.scenes.maps import load_map
from irlvla.world.demand import EGO, EgoStart, ego_start, route_file
from irlvla.world.expert import Track, comfortable_track
from irlvla.world.route import Route
from irlvla.world.simulation import STEP_S, STEPS_PER_FRAME, Frame, MapIds, Simulation
from irlvla.world.town import TOWNS, Town

LOG_FRAMES = 40
LEAD_IN_S = 2.0  # the ego drives before the log begins
RUN_OUT_S = 1.0
MIN_GAP_M = 1.5  # between bumpers
STOP_LINE_GAP_M = 0.7


@dataclass(frozen=True)
class Place:
    """A town on disk."""

    town: Town
    network_path: Path
    maps_root: Path

    @classmethod
    def of(cls, root: Path, town_name: str) -> "Place":
        town = TOWNS[town_name]
        return cls(town, root / "sumo" / f"{town_name}.net.xml.gz", root / "maps")

    def net(self) -> "sumolib.net.Net":
        return _network(self.network_path)

    def ids(self) -> MapIds:
        return _ids(self.maps_root, self.town.map_name, self.town.name)

    def town_map(self):
        return load_map(self.maps_root, self.town.map_name)


@cache
def _network(path: Path) -> "sumolib.net.Net":
    return sumolib.net.readNet(str(path))


@cache
def _ids(maps_root: Path, map_name: str, town_name: str) -> MapIds:
    from irlvla.world.geopackage import VERSION

    return MapIds.read(maps_root / map_name / VERSION / "map.gpkg", town_name)


class Rejected(Exception):
    """This draw makes no log; the reason is the message."""


@dataclass(frozen=True)
class Recording:
    frames: list[Frame]
    track: Track
    roadblock_ids: tuple[str, ...]
    scenario: str


def record(place: Place, turn: str, seed: int) -> Recording:
    """A log of LOG_FRAMES frames.

    Raises Rejected where the draw cannot make one.
    """
    rng = np.random.default_rng(seed)
    start = ego_start(place.net(), turn, rng)
    until = start.depart_s + 40
    with tempfile.TemporaryDirectory() as folder:
        routes = Path(folder) / "routes.rou.xml"
        routes.write_text(route_file(place.net(), start, place.town.cars_per_km, place.town.pedestrians, until, rng))
        track, edges, first_step = _drive(place, routes, seed, start)
        frames = _replay(place, routes, seed, edges, track, first_step)
    return Recording(frames, track, place.ids().route(edges), turn)


def _open(place: Place, routes: Path, seed: int) -> Simulation:
    return Simulation(place.network_path, routes, seed % 2**31, place.ids(), place.town_map())


def _drive(place: Place, routes: Path, seed: int, start: EgoStart) -> tuple[Track, tuple[str, ...], int]:
    """First run: SUMO's own ego. Track from some steps after it entered, the edges it visits, the step of state 0."""
    states, room, edges = [], [], []
    length = round(LEAD_IN_S / STEP_S) + (LOG_FRAMES - 1) * STEPS_PER_FRAME + round(RUN_OUT_S / STEP_S) + 1
    with _open(place, routes, seed) as sim:
        while len(states) < length:
            sim.step()
            if not sim.ego_is_driving():
                if sim.time_s > start.depart_s + 8 or states:
                    raise Rejected("the ego could not enter or left too early")
                continue
            if not states:
                first_step = sim.time_step
            states.append(sim.ego_front())
            room.append(_room())
            edge = libsumo.vehicle.getRoadID(EGO)
            if not edge.startswith(":") and (not edges or edges[-1] != edge):
                edges.append(edge)
    states = np.array(states)
    heading = states[:, 2]
    rear = states[:, :2] - vehicle.REAR_AXLE_TO_FRONT_M * np.column_stack([np.cos(heading), np.sin(heading)])
    track = comfortable_track(rear, heading, states[:, 3], np.array(room))
    last = start.edges.index(edges[-1])
    return track, start.edges[: last + 3], first_step


def _room() -> float:
    """How far ahead of its place the ego could be without touching its leader or a red light's stop line [m]."""
    room = [50.0]
    leader = libsumo.vehicle.getLeader(EGO, 60.0)
    if leader and leader[0]:
        room.append(leader[1] + libsumo.vehicle.getMinGap(EGO) - MIN_GAP_M)
    signals = libsumo.vehicle.getNextTLS(EGO)
    if signals and signals[0][3] in "ru":
        room.append(signals[0][2] - STOP_LINE_GAP_M)
    return max(min(room), 0.0)


def _replay(
    place: Place, routes: Path, seed: int, edges: tuple[str, ...], track: Track, first_step: int
) -> list[Frame]:
    """Second run: same seed, the ego on its track; a frame every 0.5 s after the lead-in."""
    lead_in = round(LEAD_IN_S / STEP_S)
    frames = []
    with _open(place, routes, seed) as sim:
        sim.route = Route(place.town_map(), place.ids().route(edges), track.poses[lead_in])
        while len(frames) < LOG_FRAMES:
            k = sim.time_step + 1 - first_step
            if k >= 1:
                sim.place_ego(track.poses[k])
            sim.step()
            if k >= lead_in and (k - lead_in) % STEPS_PER_FRAME == 0:
                frames.append(sim.frame(track.poses[k], track.velocity(k), track.acceleration(k)))
    return frames
