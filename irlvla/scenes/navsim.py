"""Reader of datasets in NAVSIM's on-disk format: logs, second-stage scenes, splits -> `Scene`.

ROOT/navsim_logs/<data_split>/<log_name>.pkl                     a list of frames 0.5 s apart
ROOT/navhard_two_stage/synthetic_scene_pickles/<scene>.pkl       second-stage scenes
ROOT/sensor_blobs/<data_split>/, ROOT/navhard_two_stage/sensor_blobs/    images
MAPS/nuplan-maps-v1.0.json, MAPS/<name>/<version>/map.gpkg
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from irlvla.scenes.extended import extended_frames
from irlvla.scenes.fields import require, text, texts
from irlvla.scenes.frames import frames_of_log, frames_of_synthetic_scene, scene_of_frames
from irlvla.scenes.index import Stamp, Summary, summaries
from irlvla.scenes.maps import load_map
from irlvla.scenes.scene import Scene
from irlvla.scenes.split import Split, load_split
from irlvla.scenes.town_map import TownMap
from irlvla.scenes.unpickle import load_data_pickle
from irlvla.scenes.windows import LogFile, why_no_window, windows_of

SYNTHETIC_SCENES = "navhard_two_stage/synthetic_scene_pickles"
SYNTHETIC_SENSORS = "navhard_two_stage/sensor_blobs"
SYNTHETIC_TOKEN_LENGTH = 17


def read_log(path: Path) -> list[dict[str, Any]]:
    """Frames of a log pickle, each with its token. Raises ValueError naming the file and the frame."""
    frames = load_data_pickle(path)
    if not isinstance(frames, list) or not frames:
        raise ValueError(
            f"{path}: expected a list of frames, found {type(frames).__name__}; write or download it again"
        )
    for number, frame in enumerate(frames):
        require(frame, ("token", "roadblock_ids"), f"{path}: frame {number}")
        text(frame["token"], f"{path}: frame {number}: token")
    return frames


def read_synthetic(path: Path) -> dict[str, Any]:
    """Content of a second-stage pickle. Raises ValueError naming the file and the key."""
    content = load_data_pickle(path)
    require(content, ("scene_metadata", "frames"), str(path))
    for key in ("log_name", "initial_token", "map_name"):
        require(content["scene_metadata"], (key,), f"{path}: scene_metadata")
        text(content["scene_metadata"][key], f"{path}: scene_metadata: {key}")
    if not isinstance(content["frames"], list) or not content["frames"]:
        raise ValueError(f"{path}: frames: expected a list of frames; write or download it again")
    return content


def _log_summary(path: Path) -> Summary:
    frames = read_log(path)
    routes = [texts(f["roadblock_ids"], f"{path}: frame {f['token']}: roadblock_ids") for f in frames]
    return {"tokens": [f["token"] for f in frames], "routed": [bool(route) for route in routes]}


def _synthetic_summary(path: Path) -> Summary:
    metadata = read_synthetic(path)["scene_metadata"]
    return {"token": metadata["initial_token"], "log_name": metadata["log_name"]}


@lru_cache(maxsize=4)  # scenes of a log are asked for together; a real log is tens of megabytes
def _load_log(log: Stamp) -> list[dict[str, Any]]:
    return read_log(log.path)


class Dataset:
    """Scenes of one split, by token.

    Building it needs the tokens of every log, which `index` remembers between runs; scenes are made when asked for,
    and no more than four logs are held. A first-stage token is that of the present frame (16 characters), a
    second-stage one the `initial_token` (17 characters).

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
        self._logs = self._index_logs()
        self._windows = windows_of(self._logs, self.split.scene_filter)
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
        log, start = self._windows[token]
        wanted, path = self.split.scene_filter, log.path
        window = _load_log(log)[start : start + wanted.num_history_frames + wanted.num_future_frames]
        if len(window) < wanted.num_history_frames or window[wanted.num_history_frames - 1]["token"] != token:
            raise ValueError(f"{path}: frame {token}: the log was changed since the dataset was opened; open it again")
        frames = frames_of_log(window, path)
        return scene_of_frames(
            frames,
            wanted.num_history_frames - 1,
            self._map(window[wanted.num_history_frames - 1]["map_location"], f"{path}: frame {token}: map_location"),
            self.sensor_blobs,
            log_name=path.stem,
        )

    def image_path(self, scene: Scene, camera: str) -> Path:
        """Where the recorded image of a camera lies. Raises KeyError if that camera was not recorded."""
        root = self.synthetic_sensor_blobs if scene.is_synthetic else self.sensor_blobs
        return root / scene.cameras[camera].image_path

    def _synthetic_scene(self, path: Path) -> Scene:
        content = read_synthetic(path)
        metadata = content["scene_metadata"]
        history = self.split.scene_filter.num_history_frames
        length = history + self.split.scene_filter.num_future_frames
        frames = frames_of_synthetic_scene(content["frames"][:length], path)
        frames += extended_frames(content, frames[-1])[: length - len(frames)]
        return scene_of_frames(
            frames,
            history - 1,
            self._map(metadata["map_name"], f"{path}: scene_metadata: map_name"),
            self.synthetic_sensor_blobs,
            log_name=metadata["log_name"],
            is_synthetic=True,
            original_token=metadata.get("corresponding_original_initial_token"),
        )

    def _map(self, name: str, where: str) -> TownMap:
        try:
            return load_map(self.maps, name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

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

    def _index_logs(self) -> list[LogFile]:
        found = summaries(self._log_paths(), _log_summary)
        return [LogFile(log, tuple(known["tokens"]), tuple(known["routed"])) for log, known in found]

    def _index_synthetic(self) -> dict[str, Path]:
        """Second-stage token -> file, of the logs and tokens that the filter wants."""
        logs = {log.name for log in self._logs}
        wanted = self.split.scene_filter.reactive_synthetic_initial_tokens
        initial = None if wanted is None else set(wanted)
        return {
            known["token"]: scene.path
            for scene, known in summaries(sorted((self.root / SYNTHETIC_SCENES).glob("*.pkl")), _synthetic_summary)
            if known["log_name"] in logs and (initial is None or known["token"] in initial)
        }

    def _check_tokens(self) -> None:
        """Raises ValueError naming the first token that the filter or a group names and that is no scene."""
        wanted = self.split.scene_filter
        if wanted.max_scenes is None:
            self._require(wanted.tokens or (), self._windows)
        if wanted.include_synthetic_scenes:
            self._require(wanted.reactive_synthetic_initial_tokens or (), self._synthetic)
        self._require([t for group in self.split.groups for t in group.tokens], {**self._windows, **self._synthetic})

    def _require(self, wanted: Sequence[str], found: Mapping[str, Any]) -> None:
        missing = [token for token in wanted if token not in found]
        if missing:
            folder = self.root / SYNTHETIC_SCENES
            is_synthetic = len(missing[0]) == SYNTHETIC_TOKEN_LENGTH
            why = f"{folder}: second-stage scene {missing[0]} is in none of its files of the filter's logs"
            why = why if is_synthetic else why_no_window(missing[0], self._logs, self.split.scene_filter)
            raise ValueError(f"{why} ({len(missing)} of {len(wanted)} wanted tokens are missing)")
