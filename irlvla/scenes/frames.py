"""Frames of NAVSIM pickles -> `Scene`.

Log frames and synthetic frames carry the same facts under different keys. Each becomes a `Frame` first, then
the frames of a window become one `Scene`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from irlvla import PLAN_INTERVAL_S
from irlvla.geometry import global_from_local, rotate, wrap_angle
from irlvla.scenes.fields import array, cameras_by_name, integer, red_connectors, require, text, texts, yaw
from irlvla.scenes.scene import CAMERAS, CATEGORIES, Array, Camera, Scene, Tracks
from irlvla.scenes.town_map import TownMap

MOVING_CATEGORIES = ("vehicle", "pedestrian", "bicycle")
OFFICIAL_IMAGE_SIZE = (1920, 1080)  # width, height; the principal point is off the middle, so it cannot tell the size
OFFICIAL_CENTER_X = (900.0, 1020.0)
INTERVAL_US = round(PLAN_INTERVAL_S * 1e6)
INTERVAL_TOLERANCE_US = 100_000  # logs are thinned out from 20 Hz, where a sweep or two may be missing

_LOG_KEYS = (
    "token", "timestamp", "map_location", "roadblock_ids", "ego2global_translation", "ego2global_rotation",
    "ego_dynamic_state", "traffic_lights", "driving_command", "cams", "anns",
)  # fmt: skip
_SYNTHETIC_KEYS = ("token", "timestamp", "roadblock_ids", "traffic_lights", "annotations", "ego_status", "camera_dict")
_CAMERA_KEYS = ("data_path", "sensor2lidar_rotation", "sensor2lidar_translation", "cam_intrinsic")


@dataclass(frozen=True)
class Frame:
    """One moment of a log. Boxes (A, 7): x y z of the centre, length, width, height, heading in the ego frame."""

    where: str  # file and frame, for messages
    token: str
    timestamp_us: int
    ego_pose: Array  # (3,) global
    ego_velocity_mps: Array  # (2,) ego axes
    ego_acceleration_mps2: Array  # (2,) ego axes
    driving_command: Array  # (4,) one-hot
    roadblock_ids: tuple[str, ...]
    red_connectors: tuple[str, ...]
    boxes: Array
    velocity_mps: Array  # (A, 3) over ground, ego axes
    categories: tuple[str, ...]
    track_tokens: tuple[str, ...]
    cameras: dict[str, dict[str, Any]]  # as stored, upper-case names, recorded cameras only
    ego_is_known: bool = True  # False: a future frame of objects and lights only


def frames_of_log(frames: Sequence[dict[str, Any]], path: Path) -> list[Frame]:
    """Frames of a window of a log pickle. Raises ValueError naming file, token and key."""
    return [frame_of_log(frame, path) for frame in frames]


def frames_of_synthetic_scene(frames: Sequence[dict[str, Any]], path: Path) -> list[Frame]:
    """Frames of a second-stage pickle. Raises ValueError naming file, token and key."""
    return [_synthetic_frame(frame, path) for frame in frames]


def frame_of_log(frame: dict[str, Any], path: Path) -> Frame:
    """One frame of a log pickle. Raises ValueError naming file, token and key."""
    require(frame, ("token",), f"{path}: frame")
    where = f"{path}: frame {frame['token']}"
    require(frame, _LOG_KEYS, where)
    text(frame["map_location"], f"{where}: map_location")
    # The official reader keeps velocity and acceleration of logs in single precision; their sixth digit shows in plans.
    dynamics = array(frame["ego_dynamic_state"], (4,), f"{where}: ego_dynamic_state").astype(np.float32).astype(float)
    translation = array(frame["ego2global_translation"], (3,), f"{where}: ego2global_translation")
    rotation = array(frame["ego2global_rotation"], (4,), f"{where}: ego2global_rotation")
    ego_pose = np.array([translation[0], translation[1], yaw(rotation, f"{where}: ego2global_rotation")])
    return _frame(frame, where, ego_pose, dynamics[:2], dynamics[2:], frame["driving_command"], "anns", "gt_", "cams")


def _synthetic_frame(frame: dict[str, Any], path: Path) -> Frame:
    require(frame, ("token",), f"{path}: frame")
    where = f"{path}: frame {frame['token']}"
    require(frame, _SYNTHETIC_KEYS, where)
    ego = frame["ego_status"]
    require(ego, ("ego_pose", "ego_velocity", "ego_acceleration", "driving_command", "in_global_frame"), where)
    if not isinstance(ego["in_global_frame"], bool | np.bool_) or not ego["in_global_frame"]:
        raise ValueError(f"{where}: ego_status is not in the global frame")
    return _frame(
        frame,
        where,
        array(ego["ego_pose"], (3,), f"{where}: ego_pose"),
        array(ego["ego_velocity"], (2,), f"{where}: ego_velocity"),
        array(ego["ego_acceleration"], (2,), f"{where}: ego_acceleration"),
        ego["driving_command"],
        "annotations",
        "",
        "camera_dict",
    )


def _frame(
    frame: dict[str, Any], where: str, ego_pose: Array, velocity: Array, acceleration: Array, command: Any,
    boxes_key: str, prefix: str, cameras_key: str,
) -> Frame:  # fmt: skip
    """The part that both kinds of frames share; `prefix` is that of the box arrays' names."""
    boxes = frame[boxes_key]
    names = (f"{prefix}boxes", f"{prefix}names", f"{prefix}velocity_3d", "track_tokens")
    require(boxes, names, f"{where}: {boxes_key}")
    tokens = texts(boxes["track_tokens"], f"{where}: track_tokens")
    categories = texts(boxes[names[1]], f"{where}: {names[1]}")
    unknown = sorted(set(categories) - set(CATEGORIES))
    if unknown:
        raise ValueError(f"{where}: {names[1]}: unknown category {unknown[0]!r}, known are {', '.join(CATEGORIES)}")
    if len(categories) != len(tokens) or len(set(tokens)) != len(tokens):
        raise ValueError(f"{where}: track_tokens: one distinct token per box is needed")
    moving = np.array([category in MOVING_CATEGORIES for category in categories], dtype=bool)
    shape = (len(tokens), 3)
    ground_velocity = array(boxes[names[2]], shape, f"{where}: {names[2]}", finite=moving)
    return Frame(
        where=where,
        token=text(frame["token"], f"{where}: token"),
        timestamp_us=integer(frame["timestamp"], f"{where}: timestamp"),
        ego_pose=ego_pose,
        ego_velocity_mps=velocity,
        ego_acceleration_mps2=acceleration,
        driving_command=array(command, (4,), f"{where}: driving_command"),
        roadblock_ids=texts(frame["roadblock_ids"], f"{where}: roadblock_ids"),
        red_connectors=red_connectors(frame["traffic_lights"], f"{where}: traffic_lights"),
        boxes=array(boxes[names[0]], (len(tokens), 7), f"{where}: {names[0]}"),
        velocity_mps=np.where(moving[:, None], ground_velocity, 0.0),
        categories=categories,
        track_tokens=tokens,
        cameras=cameras_by_name(frame[cameras_key], f"{where}: {cameras_key}"),
    )


def scene_of_frames(
    frames: Sequence[Frame],
    now: int,
    town_map: TownMap,
    sensor_root: Path,
    log_name: str,
    is_synthetic: bool = False,
    original_token: str | None = None,
) -> Scene:
    """One scene of a window of frames with the present one at index `now`.

    Raises ValueError naming the frame where the window is too short or its frames are not 0.5 s apart.
    """
    if len(frames) <= now:
        raise ValueError(f"{frames[0].where if frames else log_name}: {len(frames)} frames, {now + 1} are needed")
    time_us = np.array([frame.timestamp_us for frame in frames], dtype=np.int64)
    check_times(frames)
    present = frames[now]
    with_ego = [frame for frame in frames if frame.ego_is_known]
    return Scene(
        token=present.token,
        log_name=log_name,
        is_synthetic=is_synthetic,
        timestamp_us=time_us,
        ego_poses=np.stack([frame.ego_pose for frame in with_ego]),
        ego_velocity_mps=np.stack([frame.ego_velocity_mps for frame in with_ego]),
        ego_acceleration_mps2=np.stack([frame.ego_acceleration_mps2 for frame in with_ego]),
        driving_command=np.stack([frame.driving_command for frame in with_ego]).astype(np.int64),
        tracks=_tracks(frames, now),
        red_connectors=tuple(frame.red_connectors for frame in frames),
        route_roadblock_ids=present.roadblock_ids,
        cameras={name: _camera(name, present, sensor_root) for name in CAMERAS if name in present.cameras},
        town_map=town_map,
        original_token=original_token,
        now=now,
    )


def check_times(frames: Sequence[Frame]) -> None:
    """Raises ValueError naming the first frame that is not 0.5 s after the one before it.

    The official loader takes such a window as if no time were missing.
    """
    for before, frame in zip(frames, frames[1:], strict=False):
        step_us = frame.timestamp_us - before.timestamp_us
        if step_us <= 0:
            raise ValueError(f"{frame.where}: timestamp does not advance: {step_us * 1e-6:.3f} s after {before.token}")
        if abs(step_us - INTERVAL_US) > INTERVAL_TOLERANCE_US:
            raise ValueError(
                f"{frame.where}: timestamp is {step_us * 1e-6:.3f} s after frame {before.token}, expected "
                f"{PLAN_INTERVAL_S} s: frames are missing; leave the scenes across this gap out of the filter's tokens"
            )


def _tracks(frames: Sequence[Frame], now: int) -> Tracks:
    """Objects of a window: those of the present frame in its own order first (the order in which reactive traffic
    takes them), then by first sighting in the future, then in the past. Type of a track: its first sighting there.
    """
    reading_order = [*frames[now:], *frames[:now]]
    category_of: dict[str, str] = {}
    for frame in reading_order:
        for token, category in zip(frame.track_tokens, frame.categories, strict=True):
            category_of.setdefault(token, category)
    column = {token: index for index, token in enumerate(category_of)}
    shape = (len(frames), len(column))
    tracks = Tracks(
        tokens=tuple(category_of),
        categories=tuple(category_of.values()),
        poses=np.zeros((*shape, 3)),
        z_m=np.zeros(shape),
        velocity_mps=np.zeros((*shape, 2)),
        size_m=np.zeros((*shape, 3)),
        valid=np.zeros(shape, dtype=bool),
    )
    for row, frame in enumerate(frames):
        columns = [column[token] for token in frame.track_tokens]
        tracks.poses[row, columns] = global_from_local(frame.ego_pose, frame.boxes[:, [0, 1, 6]])
        tracks.poses[row, columns, 2] = wrap_angle(tracks.poses[row, columns, 2])
        tracks.z_m[row, columns] = frame.boxes[:, 2]
        tracks.velocity_mps[row, columns] = rotate(frame.velocity_mps[:, :2], frame.ego_pose[2])
        tracks.size_m[row, columns] = frame.boxes[:, 3:6]
        tracks.valid[row, columns] = True
    return tracks


def _camera(name: str, frame: Frame, sensor_root: Path) -> Camera:
    stored = frame.cameras[name]
    where = f"{frame.where}: {name}"
    require(stored, _CAMERA_KEYS, where)
    intrinsics = array(stored["cam_intrinsic"], (3, 3), f"{where}: cam_intrinsic")
    ego_from_camera = np.eye(4)
    ego_from_camera[:3, :3] = array(stored["sensor2lidar_rotation"], (3, 3), f"{where}: sensor2lidar_rotation")
    ego_from_camera[:3, 3] = array(stored["sensor2lidar_translation"], (3,), f"{where}: sensor2lidar_translation")
    path = text(stored["data_path"], f"{where}: data_path")
    width, height = _image_size(sensor_root / path, intrinsics, where)
    return Camera(name, path, intrinsics, ego_from_camera, width, height)


def _image_size(path: Path, intrinsics: Array, where: str) -> tuple[int, int]:
    """Width and height of the image file, or without one of the images that the intrinsics belong to."""
    if path.exists():
        try:
            with Image.open(path) as image:
                return image.size
        except OSError as error:
            raise ValueError(f"{where}: {path}: no readable image; download or render it again: {error}") from error
    if OFFICIAL_CENTER_X[0] <= intrinsics[0, 2] <= OFFICIAL_CENTER_X[1]:
        return OFFICIAL_IMAGE_SIZE
    return round(2 * intrinsics[0, 2]), round(2 * intrinsics[1, 2])
