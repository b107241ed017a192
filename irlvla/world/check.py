"""Validate a dataset in NAVSIM format: what is there, what is missing, what does not fit together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyogrio

from irlvla import HISTORY_FRAMES
from irlvla.scenes.maps import load_map
from irlvla.scenes.navsim import SYNTHETIC_SCENES, Dataset
from irlvla.scenes.scene import CAMERAS
from irlvla.scenes.split import load_split
from irlvla.scenes.town_map import TownMap
from irlvla.scenes.unpickle import load_data_pickle
from irlvla.world.geopackage import LAYERS, VERSION
from irlvla.world.town import MAP_OF_SPLIT, STUB_MAP

FRAME_KEYS = (
    "token", "frame_idx", "timestamp", "log_name", "log_token", "scene_name", "scene_token", "map_location",
    "roadblock_ids", "vehicle_name", "can_bus", "lidar_path", "ego2global_translation", "ego2global_rotation",
    "ego_dynamic_state", "traffic_lights", "driving_command", "cams", "anns", "sample_prev", "sample_next",
)  # fmt: skip
ANNOTATION_KEYS = ("gt_boxes", "gt_names", "gt_velocity_3d", "instance_tokens", "track_tokens")
FRAME_US = 500_000


class Report:
    """Counts checks; keeps the first problems of each kind."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.problems: dict[str, list[str]] = {}

    def expect(self, kind: str, holds: bool, problem: str) -> None:
        self.done[kind] += 1
        if not holds:
            self.problems.setdefault(kind, []).append(problem)

    def lines(self) -> list[str]:
        """One line per kind of check, N of M, then what is wrong."""
        lines = [f"{kind}: {n - len(self.problems.get(kind, ()))} of {n}" for kind, n in sorted(self.done.items())]
        for kind, problems in sorted(self.problems.items()):
            lines += [f"  {kind}: {problem}" for problem in problems[:5]]
            lines += [f"  {kind}: ... and {len(problems) - 5} more"] if len(problems) > 5 else []
        return lines


def check(root: Path) -> Report:
    """Examine the dataset in `root`; a damaged or missing file is a line of the report, not an exception."""
    report = Report()
    maps = _check_maps(root, report)
    tokens: Counter[str] = Counter()
    for path in sorted((root / "navsim_logs").glob("*/*.pkl")):
        _guarded(report, "logs readable", path, lambda path=path: _check_log(path, maps, tokens, report))
    report.expect("any log", bool(tokens), f"{root / 'navsim_logs'} holds no log")
    repeated = [token for token, times in tokens.items() if times > 1]
    report.expect("tokens unique", not repeated, f"{len(repeated)} tokens occur more than once, e.g. {repeated[:1]}")
    for path in sorted((root / "splits").glob("*.yaml")):
        _guarded(report, "splits readable", path, lambda path=path: _check_split(root, path, report))
    return report


def _guarded(report: Report, kind: str, path: Path, examine) -> None:
    try:
        examine()
        report.expect(kind, True, "")
    except (ValueError, KeyError, OSError, TypeError, IndexError) as error:
        report.expect(kind, False, f"{path}: {type(error).__name__}: {error}")


def _check_maps(root: Path, report: Report) -> dict[str, TownMap]:
    maps: dict[str, TownMap] = {}
    for name in (*MAP_OF_SPLIT.values(), STUB_MAP):
        path = root / "maps" / name / VERSION / "map.gpkg"
        report.expect("map files", path.exists(), f"{path} is missing")
        if path.exists() and len(pyogrio.list_layers(path)) > 2:
            _guarded(
                report, "maps readable", path, lambda name=name: maps.update({name: load_map(root / "maps", name)})
            )
            if name in maps:
                _check_map(path, maps[name], report)
    return maps


def _check_map(path: Path, town_map: TownMap, report: Report) -> None:
    layers = {str(name) for name, _ in pyogrio.list_layers(path)}
    fids: Counter[int] = Counter()
    for layer in LAYERS:
        report.expect("map layers", layer in layers, f"{path}: layer {layer} is missing")
        if layer in layers:
            fids.update(pyogrio.read_dataframe(path, layer=layer, read_geometry=False, fid_as_index=True).index)
    report.expect("fids unique", max(fids.values()) == 1, f"{path}: a fid occurs in two layers")
    for lane in town_map.lanes.values():
        gaps = np.linalg.norm(np.diff(lane.centerline[:, :2], axis=0), axis=1)
        fine = len(gaps) >= 2 and gaps.max() <= 1.01 and gaps.min() > 0 and lane.polygon.is_valid
        report.expect("lane geometry", bool(fine), f"{path}: lane {lane.id}")
        linked = not lane.is_connector or (lane.predecessors and lane.successors)
        report.expect("connectors linked", bool(linked), f"{path}: lane connector {lane.id} leads nowhere")


def _check_log(path: Path, maps: dict[str, TownMap], tokens: Counter[str], report: Report) -> None:
    frames = load_data_pickle(path)
    for index, frame in enumerate(frames):
        missing = [key for key in FRAME_KEYS if key not in frame]
        missing += [key for key in ANNOTATION_KEYS if key not in frame["anns"]]
        missing += [name for name in CAMERAS if name not in frame["cams"]]
        report.expect("frame keys", not missing, f"{path}: frame {index} lacks {', '.join(missing)}")
        sizes = {len(frame["anns"][key]) for key in ANNOTATION_KEYS}
        report.expect("annotation lengths", len(sizes) == 1, f"{path}: frame {index}: {sizes}")
        tokens[frame["token"]] += 1
        finite = all(np.isfinite(value).all() for value in (frame["anns"]["gt_boxes"], frame["ego2global_translation"]))
        report.expect("finite values", finite, f"{path}: frame {index}")
    report.expect(
        "log names", {frame["log_name"] for frame in frames} == {path.stem}, f"{path}: another log_name inside"
    )
    steps = np.diff([frame["timestamp"] for frame in frames])
    report.expect("frames 0.5 s apart", bool((steps == FRAME_US).all()), str(path))
    known = maps.get(frames[0]["map_location"])
    blocks = set(known.roadblock_lanes) if known else set()
    unknown = [id for id in frames[0]["roadblock_ids"] if id not in blocks]
    report.expect(
        "routes on the map", known is not None and not unknown, f"{path}: roadblocks {unknown} are not in its map"
    )


def _check_split(root: Path, path: Path, report: Report) -> None:
    split = load_split(path)
    dataset = Dataset(root, path)  # raises where a token of filter or mapping is missing
    report.expect("splits not empty", len(dataset) > 0, str(path))
    if not split.two_stage:
        return
    grouped = [token for group in split.groups for token in group.tokens]
    once = sorted(grouped) == sorted(dataset.tokens)
    report.expect("every token in one group", once, f"{path}: mapping and scenes are not the same tokens")
    logs = {path.stem: load_data_pickle(path) for path in dataset.logs.glob("*.pkl")}
    for file in sorted((root / SYNTHETIC_SCENES).glob("*.pkl")):
        scene = load_data_pickle(file)
        metadata, frames = scene["scene_metadata"], scene["frames"]
        if metadata["log_name"] not in logs:
            continue
        now = frames[HISTORY_FRAMES - 1]
        times = {frame["token"]: frame["timestamp"] for frame in logs[metadata["log_name"]]}
        named = metadata["scene_token"] == file.stem and metadata["initial_token"] == now["token"]
        report.expect("second-stage tokens", named and len(now["token"]) == 17, f"{file}: tokens do not fit the format")
        in_time = times.get(metadata["corresponding_original_scene"]) == now["timestamp"]
        report.expect("second-stage times", in_time, f"{file}: not at the time of its first-stage frame")
