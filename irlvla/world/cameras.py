"""Camera images of a `Scene`: what stands where becomes coloured polygons, painted far to near.

The painter's order is: sky, ground, flat areas of the map in a fixed order, then solid objects from far to near with
their back faces left out. The scenery is stylised and the road is flat. Light, ground and paint colours are drawn from
the names of log and track, so that no colour tells what will happen; lamps and signals tell what they are for.
Every camera of the rig has the same mounting point, so that all but the projection is done once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from irlvla.geometry import box_corners, rotate
from irlvla.scenes.scene import Scene
from irlvla.world.furniture import BUILDINGS, FURNITURE, TREES
from irlvla.world.lamps import braking, indicating
from irlvla.world.looks import Look, dressed, grain, look_of, paints_of
from irlvla.world.painter import Image, Rings, paint_faces, paint_rings
from irlvla.world.rig import POSITION_M, camera_for_size
from irlvla.world.shapes import ACCENT, COLOURS, CORNERS, FIXED_COLOURS, LUMINOUS, PAINT
from irlvla.world.street import GROUND_LAYERS, RADIUS_M, SIGNAL_HEIGHT_M, SIGNAL_SIZE_M, Street, street_near
from irlvla.world.things import Things
from irlvla.world.vehicles import VEHICLES, bicycle, body_style, lit_name, pedestrian

Array = NDArray[np.float64]

MODELS = {**VEHICLES, "pedestrian": pedestrian(), "bicycle": bicycle(), **FURNITURE, **BUILDINGS, **TREES}
LAYERS = (*GROUND_LAYERS, "shadow")
HAZE_M = 260.0  # distance over which colours fade into the horizon
VISOR_RAD = np.deg2rad(50)  # a signal's lamps are hidden from farther off its axis, as by its visors
GRAIN_M = 0.12  # texture cell on the ground
GRAIN = 0.11  # strength of the texture right before the camera
GRAIN_FADES_M = 14.0


@dataclass(frozen=True)
class Faces:
    """Q flat faces, global frame, of the n objects that `owner` names by index."""

    corners: Array  # (Q, CORNERS, 3)
    normals: Array  # (Q, 3) outward unit vectors
    planes: Array  # (Q,) distance of the face's plane from the origin, along the normal
    rgb: Array  # (Q, 3)
    luminous: NDArray[np.bool_]  # (Q,)
    owner: NDArray[np.int64]  # (Q,)
    middles: Array  # (n, 3) of the objects
    reach_m: Array  # (n,) no part of an object is farther from its middle


@dataclass(frozen=True)
class View:
    """What one place shows in all directions: F faces, far to near, lit and facing it, of n objects; and the ground."""

    position: Array  # (3,)
    corners: Array  # (F, CORNERS, 3)
    rgb: Array  # (F, 3)
    owner: NDArray[np.int64]  # (F,)
    middles: Array  # (n, 3)
    reach_m: Array  # (n,)
    ground: Rings  # layers are indices into LAYERS


def render(
    scene: Scene, cameras: Sequence[str] = ("CAM_F0", "CAM_L0", "CAM_R0"), height: int = 256, width: int = 704
) -> Image:
    """(C, height, width, 3) RGB views of the scene's present moment from its present ego pose."""
    look = look_of(scene.log_name)
    view = _view(scene, look)
    return np.stack([_image(view, scene.ego_pose, name, height, width, look) for name in cameras])


def camera_from_global(ego_pose: Array, ego_from_camera: Array) -> Array:
    """(4, 4) transform of global points (z above the road) into a camera mounted on an ego at `ego_pose` (3,)."""
    cos, sin = np.cos(ego_pose[2]), np.sin(ego_pose[2])
    global_from_ego = np.array([[cos, -sin, 0, ego_pose[0]], [sin, cos, 0, ego_pose[1]], [0, 0, 1, 0], [0, 0, 0, 1]])
    return np.linalg.inv(global_from_ego @ ego_from_camera)


def _view(scene: Scene, look: Look) -> View:
    x, y = rotate(np.array(POSITION_M[:2]), scene.ego_pose[2]) + scene.ego_pose[:2]
    position = np.array([x, y, POSITION_M[2]])
    street = street_near(scene.town_map, scene.ego_pose[:2])
    moving = _road_users(scene)
    parts = [(t, faces_of(t)) for t in (moving, _signals(scene, street))]
    parts.insert(0, (street.scenery, _scenery_faces(street.scenery, look)))
    distance = np.concatenate([_distance(things, position) for things, _ in parts])
    rank = np.empty(len(distance), dtype=int)
    rank[np.argsort(-distance, kind="stable")] = np.arange(len(distance))
    first = np.cumsum([0, *(len(things.models) for things, _ in parts)])
    shown = [np.flatnonzero(faces.normals @ position > faces.planes) for _, faces in parts]
    owner = np.concatenate([faces.owner[s] + n for (_, faces), s, n in zip(parts, shown, first, strict=False)])
    order = np.argsort(rank[owner], kind="stable")
    corners, normals, rgb, luminous = (
        np.concatenate([getattr(faces, column)[s] for (_, faces), s in zip(parts, shown, strict=True)])[order]
        for column in ("corners", "normals", "rgb", "luminous")
    )
    return View(
        position=position,
        corners=corners,
        rgb=_lit(rgb, normals, luminous, distance[owner[order]], look),
        owner=owner[order],
        middles=np.concatenate([faces.middles for _, faces in parts]),
        reach_m=np.concatenate([faces.reach_m for _, faces in parts]),
        ground=_with_shadows(street.ground, moving),
    )


def _distance(things: Things, position: Array) -> Array:
    """(n,) to the nearest point of each footprint, which orders disjoint boxes better than that to the middle."""
    offset = np.abs(rotate(position[:2] - things.poses[:, :2], -things.poses[:, 2])) - things.size_m[:, :2] / 2
    return np.linalg.norm(np.maximum(offset, 0), axis=1)


def _lit(rgb: Array, normals: Array, luminous: NDArray[np.bool_], distance: Array, look: Look) -> Array:
    """Colours (F, 3) of faces in the sun and through the haze."""
    light = look.ambient + (1 - look.ambient) * np.maximum(normals @ look.to_sun, 0)
    haze = (1 - np.exp(-distance / HAZE_M))[:, None]
    shaded = rgb * look.sunlight * light[:, None]
    shaded += haze * (look.horizon - shaded)
    return np.clip(np.where(luminous[:, None], rgb, shaded), 0, 255)


def _image(view: View, ego_pose: Array, name: str, height: int, width: int, look: Look) -> Image:
    intrinsics, ego_from_camera = camera_for_size(name, height, width)
    transform = camera_from_global(ego_pose, ego_from_camera)
    image = _backdrop(look, intrinsics, height, width)
    paint_rings(image, view.ground, transform, intrinsics, np.array([look.layers[layer] for layer in LAYERS]))
    _add_grain(image, ego_pose, name)
    turn, shift = transform[:3, :3].T, transform[:3, 3]
    x, _, z = (view.middles @ turn + shift).T
    slope = width / 2 / intrinsics[0, 0]  # of the rays at the image's sides
    beside_m = (np.abs(x) - slope * z) / np.hypot(1, slope)  # of the ray, to the outside
    in_front = (z > -view.reach_m) & (beside_m < view.reach_m)
    faces = np.flatnonzero(in_front[view.owner])
    paint_faces(image, view.corners[faces] @ turn + shift, view.rgb[faces], intrinsics)
    return image


def _backdrop(look: Look, intrinsics: Array, height: int, width: int) -> Image:
    horizon = min(max(round(intrinsics[1, 2]), 0), height)
    share = np.linspace(0, 1, max(horizon, 1))[:horizon, None] ** 1.5
    rows = np.concatenate([look.sky + share * (look.horizon - look.sky), np.tile(look.ground, (height - horizon, 1))])
    fade = np.exp(-np.arange(height - horizon) / (0.04 * height))[:, None] * 0.6
    rows[horizon:] += fade * (look.horizon - rows[horizon:])
    return cv2.resize(rows[:, None].astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)


def faces_of(things: Things) -> Faces:
    """Every face of the things' models, placed in the global frame."""
    middles = np.column_stack([things.poses[:, :2], things.bottom_m + things.size_m[:, 2] / 2])
    reach = np.linalg.norm(things.size_m, axis=1) / 2 * 1.05  # a roof may stick out of its box
    models = [MODELS[name] for name in things.models]
    owner = np.repeat(np.arange(len(models)), np.array([len(m.colours) for m in models], dtype=int))
    local = np.concatenate([np.zeros((0, CORNERS, 3)), *(m.corners for m in models)]) * things.size_m[owner, None]
    xy = rotate(local[..., :2], things.poses[owner, None, 2]) + things.poses[owner, None, :2]
    corners = np.concatenate([xy, local[..., 2:] + things.bottom_m[owner, None, None]], axis=-1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colour = np.concatenate([np.zeros(0, dtype=int), *(m.colours for m in models)])
    rgb = np.array([(0, 0, 0), (0, 0, 0), *FIXED_COLOURS.values()], dtype=float)[colour]
    rgb[colour == PAINT] = things.paint[owner[colour == PAINT]]
    rgb[colour == ACCENT] = things.accent[owner[colour == ACCENT]]
    luminous = np.isin(colour, [COLOURS.index(name) for name in LUMINOUS])
    return Faces(corners, normals, (corners[:, 0] * normals).sum(axis=1), rgb, luminous, owner, middles, reach)


@lru_cache(maxsize=64)
def _scenery_faces(things: Things, look: Look) -> Faces:
    return faces_of(dressed(things, look))


def _road_users(scene: Scene) -> Things:
    tracks, now = scene.tracks, scene.now
    near = np.linalg.norm(tracks.poses[now, :, :2] - scene.ego_pose[:2], axis=-1) < RADIUS_M
    seen = np.flatnonzero(tracks.valid[now] & near)
    size, brakes, sides = tracks.size_m[now], braking(scene), indicating(scene)
    models, colours = [], np.zeros((len(seen), 2, 3))
    for index, i in enumerate(seen.tolist()):
        name, kind = f"{scene.log_name}/{tracks.tokens[i]}", tracks.categories[i]
        colours[index], draw = paints_of(name, kind)
        models.append(lit_name(body_style(size[i], draw), brakes[i], sides[i]) if kind == "vehicle" else kind)
    bottom = tracks.z_m[now, seen] - size[seen, 2] / 2
    return Things(tuple(models), tracks.poses[now, seen], bottom, size[seen], colours[:, 0], colours[:, 1])


def _signals(scene: Scene, street: Street) -> Things:
    red = set(scene.red_connectors[scene.now])
    n = len(street.signal_connectors)
    to_ego = scene.ego_pose[:2] - street.signal_poses[:, :2]
    bearing = np.arctan2(to_ego[:, 1], to_ego[:, 0]) - street.signal_poses[:, 2]
    legible = np.cos(bearing) > np.cos(VISOR_RAD)
    models = tuple(
        f"signal_{('red' if connector in red else 'green') if shown else 'none'}_{turn}"
        for connector, turn, shown in zip(street.signal_connectors, street.signal_turns, legible, strict=True)
    )
    size, none = np.tile(SIGNAL_SIZE_M, (n, 1)), np.zeros((n, 3))
    return Things(models, street.signal_poses, np.full(n, SIGNAL_HEIGHT_M), size, none, none)


def _with_shadows(ground: Rings, things: Things) -> Rings:
    """The ground and, as its last layer, what lies below the things."""
    corners = box_corners(things.poses, things.size_m[:, 0] + 0.3, things.size_m[:, 1] + 0.3)
    return Rings(
        np.concatenate([ground.xy, corners.reshape(-1, 2)]),
        np.concatenate([ground.offsets, ground.offsets[-1] + 4 * np.arange(1, len(corners) + 1)]),
        np.concatenate([ground.layer, np.full(len(corners), LAYERS.index("shadow"))]),
    )


@lru_cache(maxsize=32)
def _ground_rays(name: str, height: int, width: int) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """First row below the horizon; from it on, ego-frame road points (2, rows, columns) and strength of the grain.

    Points are those of every second pixel: the texture is soft.
    """
    intrinsics, ego_from_camera = camera_for_size(name, height, width)
    first = max(int(np.ceil(intrinsics[1, 2] + 1)), 0)
    rows, columns = (height - first + 1) // 2, (width + 1) // 2
    u, v = np.meshgrid(
        (np.arange(columns) + 0.5) * width / columns, first + (np.arange(rows) + 0.5) * (height - first) / rows
    )
    rays = np.stack(
        [(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1], np.ones_like(u)]
    )
    direction = np.einsum("ij,jhw->ihw", ego_from_camera[:3, :3], rays)
    distance = POSITION_M[2] / -direction[2]
    points = direction[:2] * distance + np.array(POSITION_M[:2])[:, None, None]
    strength = 128 * GRAIN / (1 + (distance / GRAIN_FADES_M) ** 2)
    return first, (points / GRAIN_M).astype(np.float32), strength.astype(np.float32)


def _add_grain(image: Image, ego_pose: Array, name: str) -> None:
    """Roughen the ground with noise that is fixed to the world, in place."""
    first, (x, y), strength = _ground_rays(name, *image.shape[:2])
    cos, sin = np.float32(np.cos(ego_pose[2])), np.float32(np.sin(ego_pose[2]))
    start = np.float32(np.mod(ego_pose[:2] / GRAIN_M, 512))
    noise = cv2.remap(grain(), cos * x - sin * y + start[0], sin * x + cos * y + start[1], cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)  # fmt: skip
    gain = (128.5 + noise * strength).astype(np.uint8)  # 128 leaves a pixel as it is
    gain = cv2.resize(gain, (image.shape[1], image.shape[0] - first), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(image[first:], cv2.cvtColor(gain, cv2.COLOR_GRAY2RGB), dst=image[first:], scale=1 / 128)
