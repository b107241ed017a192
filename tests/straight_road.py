"""A scene for tests: a straight road eastwards with a junction, and any objects on it."""

import numpy as np
import shapely

from irlvla import PLAN_POSES
from irlvla.scenes.scene import Camera, Scene, Tracks
from irlvla.scenes.town_map import LAYERS, Lane, Layer, TownMap
from irlvla.world.rig import RIG


def straight_road(signals: bool = False) -> TownMap:
    """Two lanes eastwards, y in [-3.5, 3.5], x in [-200, 60], a connector to x = 80 and a lane beyond it."""
    pieces = {"1": (-200, 60, "in"), "2": (60, 80, "across"), "3": (80, 200, "out")}
    neighbours = {"1": ((), ("2",)), "2": (("1",), ("3",)), "3": (("2",), ())}
    lanes, polygons = {}, {name: [] for name in LAYERS}
    for id, (start, end, block) in pieces.items():
        x = np.linspace(start, end, 60)
        line = np.column_stack([x, np.full(60, -1.75), np.zeros(60)])
        polygon = shapely.box(start, -3.5, end, 0)
        connector = id == "2"
        lanes[id] = Lane(id, connector, block, line, polygon, 13.9, *neighbours[id], connector and signals)
        polygons["LANE_CONNECTOR" if connector else "LANE"].append((id, polygon))
        polygons["INTERSECTION" if connector else "ROADBLOCK"].append((block, shapely.box(start, -3.5, end, 3.5)))
    layers = {
        name: Layer(tuple(id for id, _ in items), np.array([p for _, p in items], dtype=object))
        for name, items in polygons.items()
    }
    return TownMap("straight", lanes, layers, {"in": ("1",), "across": ("2",), "out": ("3",)})


def road_scene(objects: list[tuple] = (), signals: bool = False, red: tuple[str, ...] = ()) -> Scene:
    """4 + 8 frames at 8 m/s, now at x = 0; objects: (token, category, x, y, heading, length, width, height)."""
    frames, n = 12, len(objects)
    times = (np.arange(frames) - 3) * 0.5
    poses = np.column_stack([8 * times, np.full(frames, -1.75), np.zeros(frames)])
    table = np.array([row[2:] for row in objects], dtype=float).reshape(n, 6)
    tracks = Tracks(
        tokens=tuple(row[0] for row in objects),
        categories=tuple(row[1] for row in objects),
        poses=np.tile(table[:, :3], (frames, 1, 1)),
        z_m=np.tile(table[:, 5] / 2, (frames, 1)),
        velocity_mps=np.zeros((frames, n, 2)),
        size_m=np.tile(table[:, 3:], (frames, 1, 1)),
        valid=np.ones((frames, n), dtype=bool),
    )
    return Scene(
        token="0" * 16,
        log_name="straight-000",
        is_synthetic=False,
        timestamp_us=(times * 1e6).astype(np.int64) + 10**9,
        ego_poses=poses,
        ego_velocity_mps=np.tile([8.0, 0.0], (frames, 1)),
        ego_acceleration_mps2=np.zeros((frames, 2)),
        driving_command=np.tile([0, 1, 0, 0], (frames, 1)),
        tracks=tracks,
        red_connectors=(red,) * frames,
        route_roadblock_ids=("in", "across", "out"),
        cameras={name: Camera(name, f"{name}.jpg", k, pose, 1920, 1080) for name, (k, pose) in RIG.items()},
        town_map=straight_road(signals),
    )


CAR = ("a", "vehicle", 20.0, -1.75, 0.0, 4.6, 1.9, 1.6)


def straight_on(scene: Scene, speed: float = 8.0) -> np.ndarray:
    """Straight ahead along the ego's heading."""
    return np.outer(np.arange(1, PLAN_POSES + 1) * 0.5 * speed, [1, 0, 0])
