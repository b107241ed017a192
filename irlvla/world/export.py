"""NAVSIM files: log pickles and split YAMLs. Plain containers and NumPy arrays only.

A pickle stores an object once, however often it is referred to. So what is equal in many frames is one object here.
"""

import hashlib
import os
import pickle
import pickletools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from irlvla import HISTORY_FRAMES, PLAN_POSES
from irlvla.geometry import Array, local_from_global, rotate
from irlvla.world.rig import RIG
from irlvla.world.simulation import Agents, Frame

EPOCH_US = 1_893_456_000_000_000  # 2030-01-01: obviously not a recording
LOG_INTERVAL_US = 3_600_000_000  # logs never overlap in time


def token(*names: object, length: int = 16) -> str:
    """Lower-case hex digest of the names."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:length]


NO_DISTORTION = np.zeros(5)
IDENTITY, NO_TRANSLATION, NO_ROTATION = np.eye(4), np.zeros(3), [1.0, 0.0, 0.0, 0.0]
CALIBRATION = {
    name: {
        "sensor2lidar_rotation": np.ascontiguousarray(pose[:3, :3]),
        "sensor2lidar_translation": np.ascontiguousarray(pose[:3, 3]),
        "cam_intrinsic": intrinsics,
        "distortion": NO_DISTORTION,
    }
    for name, (intrinsics, pose) in RIG.items()
}

NO_CAMERAS: dict[str, dict] = {name: {} for name in RIG}  # the format's way to say that nothing was recorded
DRIVING_COMMANDS = tuple(np.array(row) for row in np.eye(4, dtype=np.int64))  # one-hot


def cameras(folder: str, frame_token: str) -> dict[str, dict]:
    """Camera entries of a frame, with image paths relative to the sensor root."""
    return {
        name: {"data_path": f"{folder}/{name}/{frame_token}.jpg", **calibration}
        for name, calibration in CALIBRATION.items()
    }


class Lights(dict[tuple[tuple[str, bool], ...], list[tuple[int, bool]]]):
    """Traffic lights as stored, by those of the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[tuple[str, bool], tuple[int, bool]] = {}

    def __missing__(self, lights: tuple[tuple[str, bool], ...]) -> list[tuple[int, bool]]:
        self[lights] = [self.pairs.setdefault(light, (int(light[0]), bool(light[1]))) for light in lights]
        return self[lights]


class TrackTokens(dict[str, str]):
    """Token of each object of a log by its name in the simulation."""

    def __init__(self, log_name: str) -> None:
        super().__init__()
        self.log_name = log_name

    def __missing__(self, name: str) -> str:
        self[name] = token(self.log_name, name)
        return self[name]


def annotations(agents: Agents, ego_pose: Array, frame_token: str, tracks: TrackTokens) -> dict[str, object]:
    """Boxes in the ego frame, and the names and tokens that go with them."""
    poses = local_from_global(ego_pose, agents.poses)
    height = agents.size_m[:, 2:3]
    boxes = np.hstack([poses[:, :2], height / 2, agents.size_m, poses[:, 2:3]]).astype(np.float32)
    velocity = rotate(agents.velocity_mps, np.full(len(agents.ids), -ego_pose[2]))
    return {
        "boxes": boxes,
        "names": np.array(agents.categories, dtype=object),  # not of fixed width: then each name is one object
        "velocity_3d": np.hstack([velocity, np.zeros((len(velocity), 1))]).astype(np.float32),
        "instance_tokens": [token(frame_token, id) for id in agents.ids],
        "track_tokens": [tracks[id] for id in agents.ids],
    }


def log_frames(
    log_name: str, log_index: int, map_name: str, roadblock_ids: Sequence[str], frames: Sequence[Frame]
) -> list[dict]:
    """Frame dicts of one log, in time order."""
    tokens = [token(log_name, index) for index in range(len(frames))]
    tracks, lights = TrackTokens(log_name), Lights()
    shared = {
        "log_name": log_name, "log_token": token(log_name, "log"), "scene_name": f"{log_name}-scene-0000",
        "scene_token": token(log_name, "scene"), "map_location": map_name, "roadblock_ids": list(roadblock_ids),
        "vehicle_name": "sumo", "lidar2ego_translation": NO_TRANSLATION, "lidar2ego_rotation": NO_ROTATION,
        "lidar2ego": IDENTITY,
    }  # fmt: skip
    start_us = EPOCH_US + log_index * LOG_INTERVAL_US - frames[0].timestamp_us
    return [
        _log_frame(frame, index, tokens, tracks, lights, start_us + frame.timestamp_us, shared)
        for index, frame in enumerate(frames)
    ]


def _log_frame(
    frame: Frame, index: int, tokens: list[str], tracks: TrackTokens, lights: Lights, timestamp_us: int, shared: dict
) -> dict:
    name, log_name = tokens[index], shared["log_name"]
    x, y, heading = frame.ego_pose
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
    pose[:2, 3] = x, y
    rotation = np.array([np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2)])
    velocity, acceleration = frame.ego_velocity_mps, frame.ego_acceleration_mps2
    boxes = annotations(frame.agents, frame.ego_pose, name, tracks)
    return {
        **shared,
        "token": name,
        "frame_idx": index,
        "timestamp": timestamp_us,
        "can_bus": np.array([x, y, 0, *rotation, *acceleration, 0, *velocity, 0, 0, 0, 0, 0, 0]),
        "lidar_path": f"{log_name}/MergedPointCloud/{name}.pcd",
        "ego2global_translation": np.array([x, y, 0.0]),
        "ego2global_rotation": rotation,
        "ego2global": pose,
        "lidar2global": pose,
        "ego_dynamic_state": [float(value) for value in (*velocity, *acceleration)],
        "traffic_lights": lights[frame.lights],
        "driving_command": DRIVING_COMMANDS[frame.driving_command.argmax()],
        "cams": cameras(log_name, name),
        "anns": {
            "gt_boxes": boxes["boxes"], "gt_names": boxes["names"], "gt_velocity_3d": boxes["velocity_3d"],
            "instance_tokens": boxes["instance_tokens"], "track_tokens": boxes["track_tokens"],
        },
        "sample_prev": tokens[index - 1] if index else None,
        "sample_next": tokens[index + 1] if index + 1 < len(tokens) else None,
    }  # fmt: skip


def synthetic_scene(log: Sequence[dict], first: int, name: str, frames: Sequence[Frame], frame_zero: Frame) -> dict:
    """A second-stage scene of 12 frames, its present in the place of frame `first + PLAN_POSES` of the log.

    The future frames have no cameras.

    Args:
        log: frame dicts of the first-stage log.
        first: index of the first-stage frame (`now`, or its predecessor).
        name: of the variant, part of the tokens.
        frames: HISTORY_FRAMES + PLAN_POSES frames of the simulation.
        frame_zero: the log's first frame as simulated, which ties both clocks together.
    """
    log_name, present = log[0]["log_name"], first + PLAN_POSES
    scene = token(log_name, first, name, "follow-up")
    tokens = [token(scene, index, length=17) for index in range(len(frames))]
    tracks, lights = TrackTokens(log_name), Lights()
    offset_us = log[0]["timestamp"] - frame_zero.timestamp_us
    if frames[HISTORY_FRAMES - 1].timestamp_us + offset_us != log[present]["timestamp"]:
        raise ValueError(f"{log_name}: follow-up {name} is not where frame {present} is in time")
    return {
        "scene_metadata": {
            "log_name": log_name, "scene_token": scene, "map_name": log[0]["map_location"],
            "initial_token": tokens[HISTORY_FRAMES - 1], "num_history_frames": HISTORY_FRAMES,
            "num_future_frames": PLAN_POSES, "corresponding_original_scene": log[present]["token"],
            "corresponding_original_initial_token": log[first]["token"],
        },
        "frames": [
            {
                "token": name,
                "timestamp": frame.timestamp_us + offset_us,
                "roadblock_ids": log[0]["roadblock_ids"],
                "traffic_lights": lights[frame.lights],
                "annotations": annotations(frame.agents, frame.ego_pose, name, tracks),
                "ego_status": {
                    "ego_pose": frame.ego_pose, "ego_velocity": frame.ego_velocity_mps,
                    "ego_acceleration": frame.ego_acceleration_mps2,
                    "driving_command": DRIVING_COMMANDS[frame.driving_command.argmax()], "in_global_frame": True,
                },
                "lidar_path": None,
                "camera_dict": cameras(scene, name) if index < HISTORY_FRAMES else NO_CAMERAS,
            }
            for index, (name, frame) in enumerate(zip(tokens, frames, strict=True))
        ],
        "extended_traffic_light_data": None,
        "extended_detections_tracks": None,
    }  # fmt: skip


def pickled(content: object) -> bytes:
    """A small pickle that NumPy 1.26 (the official devkit's) reads too: it lacks what protocol 5 refers to."""
    return pickletools.optimize(pickle.dumps(content, protocol=4))


def write_file(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_pickle(path: Path, content: object) -> None:
    """Write a pickle under a temporary name, then rename."""
    write_file(path, pickled(content))


def scene_tokens(frames: Sequence[dict]) -> list[str]:
    """Tokens of all scenes of a log: the present frame of each full window."""
    return [frame["token"] for frame in frames[HISTORY_FRAMES - 1 : len(frames) - PLAN_POSES]]


class _SplitDumper(yaml.SafeDumper):
    """Quotes tokens of digits and one `e`: OmegaConf reads them as floats, PyYAML would leave them bare."""


_SplitDumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[0-9]+(e[0-9]+)?$"), list("0123456789"))


def write_split(root: Path, name: str, data_split: str, log_names: list[str], tokens: list[str],
                synthetic: list[str] | None = None, mapping: list | None = None) -> None:  # fmt: skip
    """Official split YAML `<root>/<name>.yaml` and its scene filter."""
    scene_filter = {
        "_target_": "navsim.common.dataclasses.SceneFilter", "_convert_": "all", "num_history_frames": HISTORY_FRAMES,
        "num_future_frames": PLAN_POSES, "frame_interval": 1, "has_route": True, "max_scenes": None,
        "log_names": log_names, "tokens": tokens, "include_synthetic_scenes": synthetic is not None,
        "reactive_synthetic_initial_tokens": synthetic,
    }  # fmt: skip
    split = {"defaults": [{"scene_filter": name}], "data_split": data_split}
    if mapping is not None:
        split["reactive_all_mapping"] = mapping
    for path, content in ((root / "scene_filter" / f"{name}.yaml", scene_filter), (root / f"{name}.yaml", split)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.dump(content, Dumper=_SplitDumper, sort_keys=False))
