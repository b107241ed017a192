"""Logs and second-stage scenes of a dataset: every frame is read as in scenes.

Second-stage scenes come first; what they expect of their logs is kept until those are read, so that every file is read
once and no log stays in memory.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irlvla import HISTORY_FRAMES
from irlvla.progress import progress
from irlvla.scenes.fields import require
from irlvla.scenes.frames import Frame, check_times, frame_of_log, frames_of_synthetic_scene
from irlvla.scenes.index import stamp
from irlvla.scenes.navsim import SYNTHETIC_SCENES, SYNTHETIC_SENSORS, SYNTHETIC_TOKEN_LENGTH, read_log, read_synthetic
from irlvla.scenes.split import SceneFilter
from irlvla.scenes.windows import LogFile, windows_of
from irlvla.world.check_images import check_images
from irlvla.world.findings import DAMAGE, Findings

READ_OFFICIALLY = ("log_name", "scene_token", "lidar_path")  # by the official reader alone
SECOND_STAGE_KEYS = ("scene_token", "corresponding_original_scene")
WINDOW = SceneFilter()
WINDOW_FRAMES = WINDOW.num_history_frames + WINDOW.num_future_frames
SCENES = f"scenes ({WINDOW_FRAMES} frames with a route)"


@dataclass(frozen=True)
class FollowUp:
    """A second-stage scene that starts at the time of a frame of a log."""

    path: Path
    first_stage_token: str
    timestamp_us: int


def check_second_stage(root: Path, findings: Findings) -> dict[str, list[FollowUp]]:
    """What the scenes expect of their logs, by log name."""
    expected: dict[str, list[FollowUp]] = defaultdict(list)
    paths = sorted((root / SYNTHETIC_SCENES).glob("*.pkl"))
    for path in progress(paths, "second stage") if paths else ():
        with findings.examining("second-stage scenes", path):
            content = read_synthetic(path)
            metadata = content["scene_metadata"]
            require(metadata, SECOND_STAGE_KEYS, f"{path}: scene_metadata")
            frames = frames_of_synthetic_scene(content["frames"], path)
            if len(frames) < HISTORY_FRAMES:
                raise ValueError(f"{path}: {len(frames)} frames, {HISTORY_FRAMES} are needed")
            check_times(frames)
            now = frames[HISTORY_FRAMES - 1]
            if metadata["scene_token"] != path.stem or metadata["initial_token"] != now.token:
                raise ValueError(f"{path}: scene_token is not the file's name, or initial_token not that of frame 3")
            if len(now.token) != SYNTHETIC_TOKEN_LENGTH:
                raise ValueError(f"{path}: initial_token {now.token} has not {SYNTHETIC_TOKEN_LENGTH} characters")
            first_stage = FollowUp(path, metadata["corresponding_original_scene"], now.timestamp_us)
            expected[metadata["log_name"]].append(first_stage)
            for frame in frames[:HISTORY_FRAMES]:
                check_images(frame.cameras, root / SYNTHETIC_SENSORS, frame.where, findings)
    return expected


def check_logs(
    root: Path, roadblocks: dict[str, set[str]], expected: dict[str, list[FollowUp]], findings: Findings
) -> None:
    """Logs of every folder below `navsim_logs`. `roadblocks`: ids by map."""
    folders = sorted(path for path in (root / "navsim_logs").glob("*") if path.is_dir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.pkl"))]
    findings.expect("data splits with logs", bool(paths), f"{root / 'navsim_logs'}: no <data_split>/<log>.pkl here")
    token_in: dict[tuple[str, str], str] = {}  # one folder may repeat a part of another
    for path in progress(paths, "logs"):
        with findings.examining("logs", path):
            frames = read_log(path)
            for number, frame in enumerate(frames):
                place = f"{path}, frame {number}"
                other = token_in.setdefault((path.parent.name, frame["token"]), place)
                findings.expect("tokens once", other == place, f"{place}: token {frame['token']} is also in {other}")
            _check_log(path, frames, root / "sensor_blobs" / path.parent.name, roadblocks, findings)
            for follow_up in expected.get(path.stem, ()):
                _check_follow_up(follow_up, frames, path, findings)
    read = {path.stem for path in paths}
    for name in sorted(set(expected) - read):
        problem = f"{root / 'navsim_logs'}: no log {name}, which {expected[name][0].path} goes on from"
        findings.expect("logs of second-stage scenes", False, problem)


def _check_log(
    path: Path, stored: list[dict[str, Any]], sensors: Path, roadblocks: dict[str, set[str]], findings: Findings
) -> None:
    """Counts frames, scenes and images; a broken frame ends no more than the scenes that it is in."""
    sound: list[Frame | None] = []
    tokens_with: dict[str, list[str]] = defaultdict(list)  # by what is wrong: often the same in every frame
    for content in stored:
        try:
            frame = frame_of_log(content, path)
            require(content, READ_OFFICIALLY, frame.where)
            if content["log_name"] != path.stem:
                raise ValueError(f"{frame.where}: log_name {content['log_name']!r} is not the file's name")
            if content["lidar_path"] is None:
                raise ValueError(f"{frame.where}: lidar_path is None; the official reader needs a text")
            _check_route(frame, content["map_location"], roadblocks)
            check_images(frame.cameras, sensors, frame.where, findings)
        except DAMAGE as error:
            tokens_with[str(error).removeprefix(f"{path}: frame {content['token']}: ")].append(content["token"])
            sound.append(None)
        else:
            sound.append(frame)
    findings.count("frames", len(sound) - sound.count(None), len(sound))
    for problem, tokens in tokens_with.items():
        others = f" (and in {len(tokens) - 1} other frames of this log)" if len(tokens) > 1 else ""
        findings.problems.setdefault("frames", []).append(f"{path}: frame {tokens[0]}: {problem}{others}")
    _check_scenes(path, stored, sound, findings)


def _check_route(frame: Frame, map_name: str, roadblocks: dict[str, set[str]]) -> None:
    if map_name not in roadblocks:
        raise ValueError(f"{frame.where}: map_location {map_name!r} is no map that can be read here")
    unknown = [id for id in frame.roadblock_ids if id not in roadblocks[map_name]]
    if unknown:
        raise ValueError(f"{frame.where}: roadblock_ids: {unknown[0]} is not in the map {map_name}")


def _check_scenes(path: Path, stored: list[dict[str, Any]], sound: list[Frame | None], findings: Findings) -> None:
    """Scenes are the windows with a route; time may jump between two recordings, not inside one."""
    broken = {index for index, frame in enumerate(sound) if frame is None}
    jumps = set()
    for index in range(1, len(sound)):
        before, frame = sound[index - 1 : index + 1]
        if before is None or frame is None:
            continue
        try:
            check_times([before, frame])
        except ValueError as error:
            jumps.add(index)
            goes_back = frame.timestamp_us <= before.timestamp_us
            if goes_back or stored[index]["scene_token"] == stored[index - 1]["scene_token"]:
                findings.problems.setdefault("frames", []).append(str(error))
    tokens = tuple(frame["token"] for frame in stored)
    log = LogFile(stamp(path), tokens, tuple(len(frame["roadblock_ids"]) > 0 for frame in stored))
    starts = [start for _, start in windows_of([log], WINDOW).values()]
    ends = [start + WINDOW_FRAMES for start in starts]
    fine = [
        broken.isdisjoint(range(start, end)) and jumps.isdisjoint(range(start + 1, end))
        for start, end in zip(starts, ends, strict=True)
    ]
    findings.count(SCENES, sum(fine), len(fine))


def _check_follow_up(follow_up: FollowUp, frames: list[dict[str, Any]], log: Path, findings: Findings) -> None:
    times = [frame.get("timestamp") for frame in frames if frame["token"] == follow_up.first_stage_token]
    problem = f"{follow_up.path}: corresponding_original_scene {follow_up.first_stage_token}: no such frame in {log}"
    if times:
        problem = f"{follow_up.path}: its present frame is not at the time of frame {follow_up.first_stage_token}"
    findings.expect("second-stage scenes at their time", times == [follow_up.timestamp_us], problem)
