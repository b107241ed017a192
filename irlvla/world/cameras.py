"""Camera images of a `Scene`: projection in NumPy, painting with OpenCV, far to near.

The painter's order is: sky, ground, flat areas of the map in a fixed order, then solid objects from far to near with
their back faces left out. Only what crosses the near plane is clipped. The scenery is stylised and the road is flat.
Light, ground and paint colours are drawn from the names of log and track, so that no colour tells what will happen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from irlvla.geometry import box_corners, rotate
from irlvla.scenes.scene import Scene
from irlvla.world.looks import Look, grain, look_of, paints_of
from irlvla.world.rig import POSITION_M, camera_for_size
from irlvla.world.shapes import ACCENT, COLOURS, FIXED_COLOURS, LUMINOUS, MODELS, PAINT
from irlvla.world.street import (
    GROUND_LAYERS,
    RADIUS_M,
    SIGNAL_HEIGHT_M,
    SIGNAL_SIZE_M,
    Rings,
    Street,
    Things,
    street_near,
)  # fmt: skip

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

NEAR_M = 0.3
SHIFT = 4  # fractional bits of OpenCV's fixed-point pixel coordinates
MAX_PX = 2.0e6  # what is projected farther out is cut there: it would overflow the fixed point
HAZE_M = 260.0  # distance over which colours fade into the horizon
BRAKING_MPS2, STANDING_MPS = -0.6, 0.3  # brake lamps are on beyond either
TRUCK_LENGTH_M, TRUCK_HEIGHT_M = 6.3, 2.2  # vehicles above either get the box-shaped model
VISOR_RAD = np.deg2rad(50)  # a signal's lamps are hidden from farther off its axis, as by its visors
GRAIN_M = 0.12  # texture cell on the ground


@dataclass(frozen=True)
class Faces:
    """Q flat faces, global frame, of the objects `owner` names by index."""

    corners: Array  # (Q, CORNERS, 3)
    normals: Array  # (Q, 3) outward unit vectors
    rgb: Array  # (Q, 3)
    luminous: NDArray[np.bool_]  # (Q,)
    owner: NDArray[np.int64]  # (Q,)


def render(
    scene: Scene, cameras: Sequence[str] = ("CAM_F0", "CAM_L0", "CAM_R0"), height: int = 256, width: int = 704
) -> Image:
    """(C, height, width, 3) RGB views of the scene's present moment from its present ego pose."""
    look = look_of(scene.log_name)
    street = street_near(scene.town_map, scene.ego_pose[:2])
    moving = _road_users(scene)
    solids = [
        (street.scenery, _scenery_faces(street.scenery)),
        *((t, faces_of(t)) for t in (moving, _signals(scene, street))),
    ]
    ground = {**street.ground, "shadow": _shadows(moving)}
    return np.stack([_view(scene.ego_pose, name, height, width, look, ground, solids) for name in cameras])


def camera_from_global(ego_pose: Array, ego_from_camera: Array) -> Array:
    """(4, 4) transform of global points (z above the road) into a camera mounted on an ego at `ego_pose` (3,)."""
    cos, sin = np.cos(ego_pose[2]), np.sin(ego_pose[2])
    global_from_ego = np.array([[cos, -sin, 0, ego_pose[0]], [sin, cos, 0, ego_pose[1]], [0, 0, 1, 0], [0, 0, 0, 1]])
    return np.linalg.inv(global_from_ego @ ego_from_camera)


def project(points: Array, intrinsics: Array) -> Array:
    """Pixels (..., 2) of camera-frame points (..., 3) with positive depth; pixel i covers [i, i + 1]."""
    return points[..., :2] / points[..., 2:] * np.diag(intrinsics)[:2] + intrinsics[:2, 2]


def _view(ego_pose: Array, name: str, height: int, width: int, look: Look, ground: dict, solids: list) -> Image:
    intrinsics, ego_from_camera = camera_for_size(name, height, width)
    transform = camera_from_global(ego_pose, ego_from_camera)
    image = _backdrop(look, intrinsics, height, width)
    for layer in (*GROUND_LAYERS, "shadow"):
        _paint_rings(image, ground[layer], transform, intrinsics, look.layers[layer])
    _add_grain(image, ego_pose, name)
    position = np.linalg.inv(transform)[:3, 3]
    _paint_faces(
        image, [_facing(things, faces, position, transform) for things, faces in solids], transform, intrinsics, look
    )
    return image


def _backdrop(look: Look, intrinsics: Array, height: int, width: int) -> Image:
    horizon = min(max(round(intrinsics[1, 2]), 0), height)
    share = np.linspace(0, 1, max(horizon, 1))[:horizon, None] ** 1.5
    rows = np.concatenate([look.sky + share * (look.horizon - look.sky), np.tile(look.ground, (height - horizon, 1))])
    fade = np.exp(-np.arange(height - horizon) / (0.04 * height))[:, None] * 0.6
    rows[horizon:] += fade * (look.horizon - rows[horizon:])
    return cv2.resize(rows[:, None].astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)


def clip_rings(points: Array, offsets: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Parts beyond NEAR_M of closed rings: camera-frame points (M, 3) with `offsets` (R + 1,), both as returned.

    Every edge through the near plane gets its crossing point; rings that lie in front of the plane become empty.
    """
    count = np.diff(offsets)
    ring = np.repeat(np.arange(len(count)), count)
    following = np.arange(1, len(points) + 1)
    following[offsets[1:][count > 0] - 1] = offsets[:-1][count > 0]
    depth = points[:, 2] - NEAR_M
    inside = depth > 0
    cut = np.flatnonzero(inside != inside[following])
    share = depth[cut] / (depth[cut] - depth[following[cut]])
    crossings = points[cut] + share[:, None] * (points[following[cut]] - points[cut])
    kept = np.flatnonzero(inside)
    order = np.argsort(np.concatenate([2 * kept, 2 * cut + 1]), kind="stable")
    owner = np.concatenate([ring[kept], ring[cut]])[order]
    return (
        np.concatenate([points[kept], crossings])[order],
        np.searchsorted(owner, np.arange(len(count) + 1)),
    )


def _paint_rings(image: Image, rings: Rings, transform: Array, intrinsics: Array, colour: Array) -> None:
    points = rings.xy @ transform[:3, :2].T + transform[:3, 3]
    points, offsets = clip_rings(points, rings.offsets)
    if not len(points):
        return
    pixels = project(points, intrinsics)
    starts = offsets[:-1][np.diff(offsets) > 0]
    ends = np.append(starts[1:], len(pixels))
    low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
    on_image = (high > 0).all(axis=1) & (low < (image.shape[1], image.shape[0])).all(axis=1)
    fixed = _fixed_point(pixels)
    polygons = [fixed[a:b] for a, b in zip(starts[on_image].tolist(), ends[on_image].tolist(), strict=True)]
    cv2.fillPoly(image, polygons, colour.tolist(), cv2.LINE_AA, SHIFT)


def _fixed_point(pixels: Array) -> NDArray[np.int32]:
    return np.rint((np.clip(pixels, -MAX_PX, MAX_PX) - 0.5) * 2**SHIFT).astype(np.int32)


def faces_of(things: Things) -> Faces:
    """Every face of the things' models, placed in the global frame."""
    models = [MODELS[name] for name in things.models]
    if not models:
        none = np.zeros((0, 3))
        return Faces(np.zeros((0, 1, 3)), none, none, np.zeros(0, dtype=bool), np.zeros(0, dtype=int))
    owner = np.repeat(np.arange(len(models)), [len(m.colours) for m in models])
    local = np.concatenate([m.corners for m in models]) * things.size_m[owner, None]
    xy = rotate(local[..., :2], things.poses[owner, None, 2]) + things.poses[owner, None, :2]
    corners = np.concatenate([xy, local[..., 2:] + things.bottom_m[owner, None, None]], axis=-1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colour = np.concatenate([m.colours for m in models])
    fixed = np.array([(0, 0, 0), (0, 0, 0), *FIXED_COLOURS.values()], dtype=float)
    rgb = fixed[colour]
    rgb[colour == PAINT] = things.paint[owner[colour == PAINT]]
    rgb[colour == ACCENT] = things.accent[owner[colour == ACCENT]]
    return Faces(corners, normals, rgb, np.isin(colour, [COLOURS.index(name) for name in LUMINOUS]), owner)


_scenery_faces = lru_cache(maxsize=64)(faces_of)


def _facing(things: Things, faces: Faces, position: Array, transform: Array) -> tuple[Faces, Array]:
    """Faces turned to a camera at `position` (3,), of objects in front of it, and each one's object's distance."""
    reach = np.linalg.norm(things.size_m, axis=1) / 2
    middles = np.column_stack([things.poses[:, :2], things.bottom_m])
    middles = middles @ transform[:3, :3].T + transform[:3, 3]
    in_front = (middles[:, 2] > -reach) & (np.abs(middles[:, 0]) < 1.2 * np.abs(middles[:, 2]) + 2 * reach)
    outwards = ((position - faces.corners[:, 0]) * faces.normals).sum(axis=1)
    shown = np.flatnonzero((outwards > 0) & in_front[faces.owner])
    # Distance to the nearest point of the footprint, which orders disjoint boxes better than that to the middle.
    offset = np.abs(rotate(position[:2] - things.poses[:, :2], -things.poses[:, 2])) - things.size_m[:, :2] / 2
    distance = np.linalg.norm(np.maximum(offset, 0), axis=1)
    chosen = Faces(*(getattr(faces, c)[shown] for c in ("corners", "normals", "rgb", "luminous", "owner")))
    return chosen, distance[chosen.owner]


def _paint_faces(
    image: Image, parts: list[tuple[Faces, Array]], transform: Array, intrinsics: Array, look: Look
) -> None:
    parts = [(faces, distance) for faces, distance in parts if len(distance)]
    if not parts:
        return
    # Later parts get higher owners so that faces of one object stay together and in their order.
    distance = np.concatenate([d for _, d in parts])
    owner = np.concatenate([faces.owner + 100_000 * index for index, (faces, _) in enumerate(parts)])
    order = np.lexsort((np.arange(len(owner)), owner, -distance))
    corners, normals, rgb, luminous = (
        np.concatenate([getattr(faces, column) for faces, _ in parts])[order]
        for column in ("corners", "normals", "rgb", "luminous")
    )
    light = look.ambient + (1 - look.ambient) * np.maximum(normals @ look.to_sun, 0)
    rgb = rgb * np.where(luminous, 1.0, light)[:, None]
    haze = np.where(luminous, 0.0, 1 - np.exp(-distance[order] / HAZE_M))[:, None]
    rgb = np.clip(rgb + haze * (look.horizon - rgb), 0, 255)
    points = corners @ transform[:3, :3].T + transform[:3, 3]
    for polygon, colour in zip(*_projected(points, rgb, intrinsics, image.shape), strict=True):
        cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, SHIFT)


def _projected(points: Array, rgb: Array, intrinsics: Array, shape: tuple) -> tuple[list, list]:
    """Fixed-point polygons on the image and their colours, of camera-frame faces (Q, CORNERS, 3), in order."""
    nearest = points[..., 2].min(axis=1)
    safe = np.where((nearest > NEAR_M)[:, None, None], points, [0.0, 0.0, 1.0])
    pixels = project(safe, intrinsics)
    on_image = (pixels.max(axis=1) > 0).all(axis=1) & (pixels.min(axis=1) < (shape[1], shape[0])).all(axis=1)
    crossing = (nearest <= NEAR_M) & (points[..., 2].max(axis=1) > NEAR_M)
    fixed = _fixed_point(pixels)
    polygons = {int(i): fixed[i] for i in np.flatnonzero(on_image & ~crossing & (nearest > NEAR_M))}
    for i in np.flatnonzero(crossing).tolist():
        visible, _ = clip_rings(points[i], np.array([0, len(points[i])]))
        polygons[i] = _fixed_point(project(visible, intrinsics))
    order = sorted(polygons)
    return [polygons[i] for i in order], rgb[order].tolist()


def _road_users(scene: Scene) -> Things:
    tracks, now = scene.tracks, scene.now
    position = scene.ego_pose[:2]
    near = np.linalg.norm(tracks.poses[now, :, :2] - position, axis=-1) < RADIUS_M
    seen = np.flatnonzero(tracks.valid[now] & near)
    speed = np.linalg.norm(tracks.velocity_mps, axis=-1)
    before = np.where(tracks.valid[now - 1], speed[now - 1], speed[now])
    interval_s = (scene.timestamp_us[now] - scene.timestamp_us[now - 1]) / 1e6
    braking = ((speed[now] - before) / interval_s < BRAKING_MPS2) | (speed[now] < STANDING_MPS)
    size = tracks.size_m[now]
    is_truck = (size[:, 0] > TRUCK_LENGTH_M) | (size[:, 2] > TRUCK_HEIGHT_M)
    models, colours = [], np.zeros((len(seen), 2, 3))
    for index, i in enumerate(seen.tolist()):
        kind = tracks.categories[i]
        model = kind if kind != "vehicle" else ("truck" if is_truck[i] else "car") + ("_braking" if braking[i] else "")
        models.append(model)
        colours[index] = paints_of(f"{scene.log_name}/{tracks.tokens[i]}", kind)
    bottom = tracks.z_m[now, seen] - size[seen, 2] / 2
    return Things(tuple(models), tracks.poses[now, seen], bottom, size[seen], colours[:, 0], colours[:, 1])


def _signals(scene: Scene, street: Street) -> Things:
    red = set(scene.red_connectors[scene.now])
    n = len(street.signal_connectors)
    to_ego = scene.ego_pose[:2] - street.signal_poses[:, :2]
    bearing = np.arctan2(to_ego[:, 1], to_ego[:, 0]) - street.signal_poses[:, 2]
    legible = np.cos(bearing) > np.cos(VISOR_RAD)
    lit = ["red" if connector in red else "green" for connector in street.signal_connectors]
    models = tuple(f"signal_{colour if shown else 'none'}" for colour, shown in zip(lit, legible, strict=True))
    size, none = np.tile(SIGNAL_SIZE_M, (n, 1)), np.zeros((n, 3))
    return Things(models, street.signal_poses, np.full(n, SIGNAL_HEIGHT_M), size, none, none)


def _shadows(things: Things) -> Rings:
    corners = box_corners(things.poses, things.size_m[:, 0] + 0.3, things.size_m[:, 1] + 0.3)
    return Rings(corners.reshape(-1, 2), np.arange(len(corners) + 1) * 4)


@lru_cache(maxsize=32)
def _ground_rays(name: str, height: int, width: int) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """First row below the horizon; from it on, ego-frame road points (2, rows, width) and strength of the grain."""
    intrinsics, ego_from_camera = camera_for_size(name, height, width)
    first = max(int(np.ceil(intrinsics[1, 2] + 1)), 0)
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(first, height) + 0.5)
    rays = np.stack(
        [(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1], np.ones_like(u)]
    )
    direction = np.einsum("ij,jhw->ihw", ego_from_camera[:3, :3], rays)
    distance = POSITION_M[2] / -direction[2]
    points = direction[:2] * distance + np.array(POSITION_M[:2])[:, None, None]
    return first, points.astype(np.float32), (0.11 / (1 + (distance / 14) ** 2)).astype(np.float32)


def _add_grain(image: Image, ego_pose: Array, name: str) -> None:
    """Roughen the ground with noise that is fixed to the world, in place."""
    first, (x, y), strength = _ground_rays(name, *image.shape[:2])
    cos, sin = np.float32(np.cos(ego_pose[2]) / GRAIN_M), np.float32(np.sin(ego_pose[2]) / GRAIN_M)
    start = np.float32(np.mod(ego_pose[:2] / GRAIN_M, 512))
    noise = cv2.remap(grain(), cos * x - sin * y + start[0], sin * x + cos * y + start[1], cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)  # fmt: skip
    ground = image[first:].astype(np.float32)
    ground *= (1 + noise * strength)[..., None]
    np.clip(ground, 0, 255, out=ground)
    image[first:] = ground
