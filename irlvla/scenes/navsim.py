"""Reader of datasets in NAVSIM's on-disk format: logs, second-stage scenes, splits -> `Scene`.

ROOT/navsim_logs/<data_split>/<log_name>.pkl                     a list of frames 0.5 s apart
ROOT/navhard_two_stage/synthetic_scene_pickles/<scene>.pkl       second-stage scenes
ROOT/sensor_blobs/<data_split>/, ROOT/navhard_two_stage/sensor_blobs/    images
MAPS/nuplan-maps-v1.0.json, MAPS/<name>/<version>/map.gpkg
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from irlvla.scenes.extended import extended_frames
from irlvla.scenes.frames import frames_of_log, frames_of_synthetic_scene, require, scene_of_frames
from irlvla.scenes.maps import load_map
from irlvla.scenes.scene import Scene
from irlvla.scenes.split import Split, load_split
from irlvla.scenes.unpickle import load_data_pickle

SYNTHETIC_SCENES = "navhard_two_stage/synthetic_scene_pickles"
SYNTHETIC_SENSORS = "navhard_two_stage/sensor_blobs"


@lru_cache(maxsize=4)  # scenes of a log are asked for together; a real log is tens of megabytes
def _load_log(path: Path) -> list[dict[str, Any]]:
    frames = load_data_pickle(path)
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path}: expected a list of frames")
    return frames


@lru_cache(maxsize=16)
def _load_synthetic(path: Path) -> dict[str, Any]:
    content = load_data_pickle(path)
    require(content, ("scene_metadata", "frames"), str(path))
    require(content["scene_metadata"], ("log_name", "initial_token", "map_name"), f"{path}: scene_metadata")
    return content


class Dataset:
    """Scenes of one split, by token.

    Building it reads each log of the filter once, for its tokens; scenes are made when asked for. A first-stage
    token is that of the present frame (16 characters), a second-stage one the `initial_token` (17 characters).

    Args:
        root: folder in NAVSIM's layout.
        split: a `Split` or the path of its YAML file.
        maps: maps folder, `root/maps` by default.
        sensor_blobs, synthetic_sensor_blobs: image folders where they are not the ones below `root`.

    Raises ValueError naming file and token where a wanted token is in no log, or a file is not what it should be.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split | str | Path,
        maps: str | Path | None = None,
        sensor_blobs: str | Path | None = None,
        synthetic_sensor_blobs: str | Path | None = None,
    ):
        self.root = Path(root)
        self.split = split if isinstance(split, Split) else load_split(split)
        self.maps = Path(maps) if maps else self.root / "maps"
        self.logs = self.root / "navsim_logs" / self.split.data_split
        self.sensor_blobs = Path(sensor_blobs or self.root / "sensor_blobs" / self.split.data_split)
        self.synthetic_sensor_blobs = Path(synthetic_sensor_blobs or self.root / SYNTHETIC_SENSORS)
        self._windows = self._index_logs()
        self._synthetic = self._index_synthetic() if self.split.scene_filter.include_synthetic_scenes else {}
        self._check_tokens()

    @property
    def tokens(self) -> tuple[str, ...]:
        """Tokens of all scenes: first stage in the order of the logs, then second stage."""
        return (*self._windows, *self._synthetic)

    def __len__(self) -> int:
        return len(self._windows) + len(self._synthetic)

    def __iter__(self) -> Iterator[Scene]:
        return (self.scene(token) for token in self.tokens)

    def scene(self, token: str) -> Scene:
        """The scene of a token. Raises KeyError with the token if the split does not hold it."""
        if token in self._synthetic:
            return self._synthetic_scene(self._synthetic[token])
        path, start = self._windows[token]
        wanted = self.split.scene_filter
        window = _load_log(path)[start : start + wanted.num_history_frames + wanted.num_future_frames]
        return scene_of_frames(
            frames_of_log(window, path),
            wanted.num_history_frames - 1,
            load_map(self.maps, window[wanted.num_history_frames - 1]["map_location"]),
            self.sensor_blobs,
            log_name=path.stem,
        )

    def image_path(self, scene: Scene, camera: str) -> Path:
        """Where the recorded image of a camera lies. Raises KeyError if that camera was not recorded."""
        root = self.synthetic_sensor_blobs if scene.is_synthetic else self.sensor_blobs
        return root / scene.cameras[camera].image_path

    def _synthetic_scene(self, path: Path) -> Scene:
        content = _load_synthetic(path)
        metadata = content["scene_metadata"]
        history = self.split.scene_filter.num_history_frames
        length = history + self.split.scene_filter.num_future_frames
        frames = frames_of_synthetic_scene(content["frames"][:length], path)
        frames += extended_frames(content, frames[-1])[: length - len(frames)]
        return scene_of_frames(
            frames,
            history - 1,
            load_map(self.maps, metadata["map_name"]),
            self.synthetic_sensor_blobs,
            log_name=metadata["log_name"],
            is_synthetic=True,
            original_token=metadata.get("corresponding_original_initial_token"),
        )

    def _log_paths(self) -> list[Path]:
        names = self.split.scene_filter.log_names
        if names is None:
            paths = sorted(self.logs.glob("*.pkl"))
            if not paths:
                raise ValueError(f"{self.logs}: no logs (*.pkl) here")
            return paths
        paths = [self.logs / f"{name}.pkl" for name in names]
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise ValueError(f"{missing[0]}: log is missing ({len(missing)} of the {len(paths)} that the filter names)")
        return paths

    def _index_logs(self) -> dict[str, tuple[Path, int]]:
        """First-stage token -> (log, index of the window's first frame)."""
        wanted = self.split.scene_filter
        length = wanted.num_history_frames + wanted.num_future_frames
        now = wanted.num_history_frames - 1
        tokens = None if wanted.tokens is None else set(wanted.tokens)
        windows: dict[str, tuple[Path, int]] = {}
        for path in self._log_paths():
            frames = _load_log(path)
            for start in range(0, len(frames) - length + 1, wanted.frame_interval or length):
                frame = frames[start + now]
                require(frame, ("token", "roadblock_ids"), f"{path}: frame {start + now}")
                if wanted.has_route and not frame["roadblock_ids"]:
                    continue
                if tokens is not None and frame["token"] not in tokens:
                    continue
                if frame["token"] in windows:
                    raise ValueError(f"{path}: token {frame['token']} is also in {windows[frame['token']][0]}")
                windows[frame["token"]] = (path, start)
                if len(windows) == wanted.max_scenes:
                    return windows
        return windows

    def _index_synthetic(self) -> dict[str, Path]:
        """Second-stage token -> file, of the logs and tokens that the filter wants."""
        wanted = self.split.scene_filter
        logs = {path.stem for path in self._log_paths()}
        initial = wanted.reactive_synthetic_initial_tokens
        files: dict[str, Path] = {}
        for path in sorted((self.root / SYNTHETIC_SCENES).glob("*.pkl")):
            metadata = _load_synthetic(path)["scene_metadata"]
            token = metadata["initial_token"]
            if metadata["log_name"] in logs and (initial is None or token in initial):
                files[token] = path
        return files

    def _check_tokens(self) -> None:
        wanted = self.split.scene_filter
        if wanted.max_scenes is None:
            self._require_tokens(wanted.tokens or (), self._windows, self.logs)
        if wanted.include_synthetic_scenes:
            folder = self.root / SYNTHETIC_SCENES
            self._require_tokens(wanted.reactive_synthetic_initial_tokens or (), self._synthetic, folder)
        grouped = [token for group in self.split.groups for token in group.tokens]
        self._require_tokens(grouped, {**self._windows, **self._synthetic}, self.root)

    @staticmethod
    def _require_tokens(wanted: tuple[str, ...] | list[str], found: dict[str, Any], where: Path) -> None:
        missing = [token for token in wanted if token not in found]
        if missing:
            raise ValueError(
                f"{where}: token {missing[0]} is in no complete window with a route "
                f"({len(missing)} of {len(wanted)} wanted tokens are missing)"
            )
