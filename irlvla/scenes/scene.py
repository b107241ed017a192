"""`Scene`: one moment of driving with its past and future, independent of any file format.

Readers and the live world produce it; datasets, scorers, renderers and plots consume it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from irlvla import HISTORY_FRAMES, PLAN_POSES
from irlvla.geometry import local_from_global
from irlvla.scenes.town_map import TownMap

Array = NDArray[np.float64]

CATEGORIES = ("vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object")
COMMANDS = ("left", "forward", "right", "unknown")  # order of the one-hot driving command
STATUS_COMMAND, STATUS_VELOCITY = slice(0, 4), slice(4, 6)  # columns of `Scene.status`
CAMERAS = ("CAM_F0", "CAM_L0", "CAM_L1", "CAM_L2", "CAM_R0", "CAM_R1", "CAM_R2", "CAM_B0")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. `ego_from_camera`'s columns are the camera axes (x right, y down, z forward)."""

    name: str
    image_path: str | None  # relative to the sensor root; None for a camera that was not recorded
    intrinsics: Array  # (3, 3) pixels, for images of `width_px` x `height_px`
    ego_from_camera: Array  # (4, 4) metres
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Tracks:
    """A objects over F frames, global frame. Where `valid` is False the other columns hold zeros."""

    tokens: tuple[str, ...]  # (A,) constant per object over a log
    categories: tuple[str, ...]  # (A,) of CATEGORIES
    poses: Array  # (F, A, 3) box centre x, y, heading
    z_m: Array  # (F, A) height of the box centre above the rear axle's plane
    velocity_mps: Array  # (F, A, 2) over ground, global axes; zero for static categories
    size_m: Array  # (F, A, 3) length, width, height
    valid: NDArray[np.bool_]  # (F, A)


@dataclass(frozen=True)
class Scene:
    """F frames 0.5 s apart, the present one at index `now`; frames after it are the logged future (may be absent).

    Second-stage scenes of the real navhard data know the future of objects and lights, but none of the ego: there the
    ego's columns end with the present frame.
    """

    token: str  # of the present frame: 16 characters, 17 of a synthetic scene
    log_name: str
    is_synthetic: bool
    timestamp_us: NDArray[np.int64]  # (F,)
    ego_poses: Array  # (F, 3) rear axle, global
    ego_velocity_mps: Array  # (F, 2) ego axes
    ego_acceleration_mps2: Array  # (F, 2) ego axes
    driving_command: NDArray[np.int64]  # (F, 4) one-hot over COMMANDS
    tracks: Tracks
    red_connectors: tuple[tuple[str, ...], ...]  # (F) ids of lane connectors whose light is red
    route_roadblock_ids: tuple[str, ...]  # in driving order, of the present frame
    cameras: dict[str, Camera]  # of the present frame, by name of CAMERAS
    town_map: TownMap = field(repr=False)
    original_token: str | None = None  # synthetic scenes: token of their first-stage scene
    now: int = HISTORY_FRAMES - 1

    @property
    def ego_pose(self) -> Array:
        """(3,) rear axle, global, at the present moment."""
        return self.ego_poses[self.now]

    @property
    def num_future_frames(self) -> int:
        return len(self.ego_poses) - self.now - 1

    def human_plan(self) -> Array:
        """(T, 3) logged future in the ego frame.

        Raises ValueError if fewer than T future frames are stored.
        """
        if self.num_future_frames < PLAN_POSES:
            found = self.num_future_frames
            raise ValueError(f"scene {self.token}: {found} future frames stored, a plan needs {PLAN_POSES}")
        future = self.ego_poses[self.now + 1 : self.now + 1 + PLAN_POSES]
        return local_from_global(self.ego_pose, future)

    def status(self) -> Array:
        """(H, 8) of the history frames: driving command (4), velocity (2), acceleration (2) in ego axes."""
        past = slice(self.now + 1 - HISTORY_FRAMES, self.now + 1)
        columns = (self.driving_command[past], self.ego_velocity_mps[past], self.ego_acceleration_mps2[past])
        return np.concatenate(columns, axis=1).astype(float)
