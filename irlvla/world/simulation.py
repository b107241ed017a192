"""The living town: SUMO stepped at 0.1 s, with the ego put where its driver wants it.

One simulation per process (libsumo's state is global). SUMO knows front bumpers, angles clockwise from north and its
own coordinates; everything that leaves this file is global, counter-clockwise, ego at the rear axle, others at the
box centre.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import libsumo
import numpy as np
import pyogrio
from numpy.typing import NDArray

from irlvla import vehicle
from irlvla.geometry import Array, wrap_angle
from irlvla.scenes.town_map import TownMap
from irlvla.world.demand import EGO, PEDESTRIAN_SIZE_M, VEHICLE_TYPES
from irlvla.world.route import Route
from irlvla.world.town import network_offset

STEP_S = 0.1
STEPS_PER_FRAME = 5
SIGHT_M = 70.0  # objects whose centre is farther from the ego's rear axle are not recorded
SIGNALS_M = 85.0
WHEEL_BASE_SHARE = 0.8  # wheel base / length of other vehicles, counted from the front bumper


@dataclass(frozen=True)
class Agents:
    """A objects at one instant, global frame."""

    ids: tuple[str, ...]
    categories: tuple[str, ...]
    poses: Array  # (A, 3) box centre
    velocity_mps: Array  # (A, 2)
    size_m: Array  # (A, 3)

    def within(self, xy: Array, radius_m: float) -> "Agents":
        keep = np.flatnonzero(np.linalg.norm(self.poses[:, :2] - xy, axis=1) <= radius_m)
        names = (tuple(column[i] for i in keep) for column in (self.ids, self.categories))
        return Agents(*names, self.poses[keep], self.velocity_mps[keep], self.size_m[keep])


@dataclass(frozen=True)
class Obstacle:
    """A static object that stands in the town from the start."""

    id: str
    category: str
    pose: tuple[float, float, float]  # box centre, global
    size_m: tuple[float, float, float]


@dataclass(frozen=True)
class Walker:
    """A pedestrian on a straight line at constant speed, outside SUMO."""

    id: str
    start: Array  # (3,) x, y, direction
    speed_mps: float
    walk_m: float
    start_step: int

    def state(self, step: int) -> tuple[tuple[float, float, float], tuple[float, float]]:
        """Pose and velocity at a step: waiting, walking, or arrived."""
        walked = self.speed_mps * STEP_S * max(step - self.start_step, 0)
        x, y, heading = self.start
        cos, sin = np.cos(heading), np.sin(heading)
        speed = self.speed_mps if step >= self.start_step and walked < self.walk_m else 0.0
        walked = min(walked, self.walk_m)
        return (x + walked * cos, y + walked * sin, heading), (speed * cos, speed * sin)


@dataclass(frozen=True)
class Frame:
    """What is recorded of one moment."""

    timestamp_us: int
    ego_pose: Array  # (3,) rear axle
    ego_velocity_mps: Array  # (2,) ego axes
    ego_acceleration_mps2: Array  # (2,) ego axes
    driving_command: NDArray[np.int64]  # (4,)
    agents: Agents
    lights: tuple[tuple[str, bool], ...]  # (lane connector id, is red) near the ego


@dataclass(frozen=True)
class MapIds:
    """Map ids (strings) of SUMO's names in one town."""

    lanes: dict[str, str]  # lane id
    blocks: dict[str, str]  # edge id
    connectors: dict[tuple[str, str], str]  # (from lane, to lane)
    block_connectors: dict[tuple[str, str], str]  # (from edge, to edge)

    @classmethod
    def read(cls, map_path: Path, town_name: str) -> "MapIds":
        tables = {
            layer: pyogrio.read_dataframe(map_path, layer=layer, read_geometry=False, fid_as_index=True)
            for layer in ("lanes_polygons", "lane_connectors", "lane_groups_polygons")
        }
        lanes, blocks, connectors, block_connectors = {}, {}, {}, {}
        for fid, name in tables["lanes_polygons"]["creator_id"].items():
            town, lane = name.split("/", 1)
            if town == town_name:
                lanes[lane] = str(fid)
        for fid, name in tables["lane_groups_polygons"]["creator_id"].items():
            town, edge = name.split("/", 1)
            if town == town_name:
                blocks[edge] = str(fid)
        table = tables["lane_connectors"]
        for fid, name, group in zip(table.index, table["creator_id"], table["lane_group_connector_fid"], strict=True):
            town, source, target = name.split("/")
            if town == town_name:
                connectors[source, target] = str(fid)
                edges = source.rsplit("_", 1)[0], target.rsplit("_", 1)[0]
                block_connectors[edges] = str(group)
        return cls(lanes, blocks, connectors, block_connectors)

    def route(self, edges: tuple[str, ...]) -> tuple[str, ...]:
        """Roadblock ids of a sequence of edges, lane groups and connectors alternating."""
        ids = [self.blocks[edges[0]]]
        for pair in zip(edges, edges[1:], strict=False):
            ids += [self.block_connectors[pair], self.blocks[pair[1]]]
        return tuple(ids)


class Simulation:
    """SUMO with one ego. `step()` advances 0.1 s; `place_ego` sets the pose that holds at the end of the next step."""

    def __init__(
        self, network_path: Path, route_path: Path, seed: int, ids: MapIds, town_map: TownMap,
        obstacles: tuple[Obstacle, ...] = (),
    ) -> None:  # fmt: skip
        self.offset = network_offset(network_path)
        self.ids, self.town_map, self.obstacles = ids, town_map, obstacles
        self.walkers: tuple[Walker, ...] = ()
        self.ego_is_placed = False  # someone else than SUMO drives it
        self.time_step = 0
        self.route: Route | None = None
        self._rear: dict[str, tuple[float, float]] = {}
        self._kinds: dict[str, tuple[str, float]] = {}  # vehicle type and wheel base
        self._fronts: dict[str, tuple] = {}
        options = (
            "--step-length", str(STEP_S), "--lateral-resolution", "0.4", "--time-to-teleport", "-1",
            "--seed", str(seed), "--no-step-log", "true", "--no-warnings", "true", "--collision.action", "none",
            "--ignore-route-errors", "true", "--pedestrian.striping.jamtime", "-1", "--xml-validation", "never",
            "--collision.check-junctions", "false", "--default.speeddev", "0.1",
        )  # fmt: skip
        libsumo.start(["sumo", "-n", str(network_path), "-r", str(route_path), *options])
        self._lights = {
            tls: [self._connectors(links) for links in libsumo.trafficlight.getControlledLinks(tls)]
            for tls in libsumo.trafficlight.getIDList()
        }

    def _connectors(self, links: list) -> list[str]:
        pairs = [(source, target) for source, target, _ in links]
        return [self.ids.connectors[pair] for pair in pairs if pair in self.ids.connectors]

    def close(self) -> None:
        libsumo.close()

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def time_s(self) -> float:
        return self.time_step * STEP_S

    def step(self) -> None:
        """Advance 0.1 s."""
        libsumo.simulationStep()
        self.time_step += 1
        self._read_vehicles()

    def ego_is_driving(self) -> bool:
        return EGO in self._fronts

    def ego_front(self) -> Array:
        """(4,) of SUMO's own ego: x, y of the front bumper, heading, speed; global."""
        x, y, heading, speed, _ = self._fronts[EGO]
        return np.array([x, y, heading, speed])

    def place_ego(self, pose: Array) -> None:
        """Put the ego's rear axle at `pose` (3,) at the end of the next step, wherever that is.

        SUMO's ego that has left every lane is taken away until it is back on one. Nobody could see it there, and SUMO
        (1.28) crashes in the step after a vehicle was moved from a junction to nowhere.
        """
        self.ego_is_placed = True
        front = pose[:2] + vehicle.REAR_AXLE_TO_FRONT_M * np.array([np.cos(pose[2]), np.sin(pose[2])])
        is_there = EGO in libsumo.vehicle.getIDList()
        if is_there and not libsumo.vehicle.getLaneID(EGO):
            libsumo.vehicle.remove(EGO)
            return
        if not is_there:
            if not self._on_lane(front):
                return
            self._restore_ego()
        x, y = front - np.array(self.offset)
        angle = np.degrees(np.pi / 2 - pose[2]) % 360
        libsumo.vehicle.moveToXY(EGO, "", -1, float(x), float(y), float(angle), keepRoute=2)

    def _on_lane(self, xy: Array) -> bool:
        """Whether `xy` (2,), global, lies on a lane or on a way across a junction."""
        return any(len(self.town_map.layers[name].near(xy, 0.0)) for name in ("LANE", "LANE_CONNECTOR"))

    def _restore_ego(self) -> None:
        """SUMO has no ego (its route ended, or it was off the road): give it a new one-edge route."""
        name = f"restored_{self.time_step}"
        edge = next(iter(self.ids.blocks))
        libsumo.route.add(name, [edge])
        libsumo.vehicle.add(EGO, name, typeID=EGO, departPos="0")

    def _read_vehicles(self) -> None:
        """Front bumpers as SUMO has them; rear axles dragged behind on a tractrix, so that no box slips sideways.

        Nothing is read while the town warms up, before the ego enters.
        """
        v = libsumo.vehicle
        names = v.getIDList()
        if not self._fronts and EGO not in names:
            return
        fronts, rears = {}, {}
        for id in names:
            x, y = v.getPosition(id)
            if not abs(x) < 1e6:  # not on the road yet
                continue
            x, y = x + self.offset[0], y + self.offset[1]
            if id not in self._kinds:
                kind = v.getTypeID(id).split("@")[0]  # SUMO gives a vehicle whose attributes change a type of its own
                self._kinds[id] = kind, WHEEL_BASE_SHARE * v.getLength(id)
            kind, base = self._kinds[id]
            rear = self._rear.get(id)
            if rear is None or not 0.5 * base < math.hypot(x - rear[0], y - rear[1]) < 2 * base:
                heading = math.pi / 2 - math.radians(v.getAngle(id))
                rear = x - base * math.cos(heading), y - base * math.sin(heading)
            heading = math.atan2(y - rear[1], x - rear[0])
            rears[id] = x - base * math.cos(heading), y - base * math.sin(heading)
            fronts[id] = (x, y, heading, v.getSpeed(id), kind)
        self._fronts, self._rear = fronts, rears

    def agents(self, xy: Array, radius_m: float = SIGHT_M) -> Agents:
        """Vehicles, bicycles, pedestrians and obstacles within `radius_m` of `xy` (2,), without the ego."""
        rows = []
        for id, (x, y, heading, speed, kind) in self._fronts.items():
            if id != EGO and kind in VEHICLE_TYPES and abs(x - xy[0]) + abs(y - xy[1]) < 2 * radius_m:
                length, width, height = VEHICLE_TYPES[kind][:3]
                cos, sin = np.cos(heading), np.sin(heading)
                pose = x - length / 2 * cos, y - length / 2 * sin, heading
                category = "bicycle" if kind == "bicycle" else "vehicle"
                rows.append((id, category, pose, (speed * cos, speed * sin), (length, width, height)))
        for id in libsumo.person.getIDList():
            x, y = np.add(libsumo.person.getPosition(id), self.offset)
            if abs(x - xy[0]) + abs(y - xy[1]) < 2 * radius_m:
                heading = np.pi / 2 - np.radians(libsumo.person.getAngle(id))
                speed = libsumo.person.getSpeed(id)
                velocity = speed * np.cos(heading), speed * np.sin(heading)
                rows.append((id, "pedestrian", (x, y, heading), velocity, PEDESTRIAN_SIZE_M))
        rows += [(w.id, "pedestrian", *w.state(self.time_step), PEDESTRIAN_SIZE_M) for w in self.walkers]
        rows += [(o.id, o.category, o.pose, (0.0, 0.0), o.size_m) for o in self.obstacles]
        if not rows:
            return Agents((), (), np.zeros((0, 3)), np.zeros((0, 2)), np.zeros((0, 3)))
        ids, categories, *columns = zip(*rows, strict=True)
        poses, velocity, size = (np.array(column, dtype=float) for column in columns)
        poses[:, 2] = wrap_angle(poses[:, 2])
        return Agents(ids, categories, poses, velocity, size).within(xy, radius_m)

    def lights(self, xy: Array) -> tuple[tuple[str, bool], ...]:
        """(lane connector, is red) of the signals around `xy`."""
        found = []
        for tls, links in self._lights.items():
            state = libsumo.trafficlight.getRedYellowGreenState(tls)
            for connectors, colour in zip(links, state, strict=False):
                for id in connectors:
                    if np.linalg.norm(self.town_map.lanes[id].centerline[0, :2] - xy) < SIGNALS_M:
                        found.append((id, colour in "ru"))
        return tuple(sorted(found, key=lambda light: int(light[0])))

    def frame(self, ego_pose: Array, velocity: Array, acceleration: Array) -> Frame:
        """Record the present moment around an ego with this state."""
        command = self.route.command(ego_pose)
        return Frame(
            timestamp_us=round(self.time_step * STEP_S * 1e6),
            ego_pose=np.array([*ego_pose[:2], wrap_angle(ego_pose[2])]),
            ego_velocity_mps=np.asarray(velocity),
            ego_acceleration_mps2=np.asarray(acceleration),
            driving_command=command,
            agents=self.agents(ego_pose[:2]),
            lights=self.lights(ego_pose[:2]),
        )
