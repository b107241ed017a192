"""Scene filters and splits, read from YAML files of NAVSIM's own shape.

A scene filter says which windows of which logs are scenes. A split names a filter and a data folder, and with
`reactive_all_mapping` the groups of the two-stage evaluation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from irlvla import HISTORY_FRAMES, PLAN_POSES

_HYDRA_KEYS = ("_target_", "_convert_")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml ten times as fast; lists of tokens are long


@dataclass(frozen=True)
class SceneFilter:
    """Which windows are scenes. None means no restriction."""

    num_history_frames: int = HISTORY_FRAMES
    num_future_frames: int = PLAN_POSES
    frame_interval: int | None = 1  # frames between the starts of windows; None: windows do not overlap
    has_route: bool = True
    max_scenes: int | None = None
    log_names: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None
    include_synthetic_scenes: bool = False
    synthetic_scene_tokens: tuple[str, ...] | None = None
    all_mapping: Any = None  # of older configurations; the split carries the mapping
    reactive_synthetic_initial_tokens: tuple[str, ...] | None = None
    non_reactive_synthetic_initial_tokens: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Group:
    """Tokens of a two-stage group: an original scene, the one 0.5 s earlier, K follow-ups with their predecessors."""

    now: str
    previous: str
    follow_ups: tuple[tuple[str, str], ...]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(frame, frame 0.5 s earlier), the first stage first."""
        return ((self.now, self.previous), *self.follow_ups)

    @property
    def sides(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(first-stage token, its follow-up tokens) of the current side and of the previous one."""
        return tuple((self.pairs[0][side], tuple(pair[side] for pair in self.follow_ups)) for side in range(2))

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(token for pair in self.pairs for token in pair)


@dataclass(frozen=True)
class Split:
    data_split: str  # name of the folder below `navsim_logs` and `sensor_blobs`
    scene_filter: SceneFilter
    groups: tuple[Group, ...] = ()  # empty: one stage

    @property
    def two_stage(self) -> bool:
        return bool(self.groups)


def load_split(path: str | Path) -> Split:
    """Split of an official YAML: the filter by value (`scene_filter: {...}`) or by name in Hydra's `defaults`.

    Raises ValueError naming the file and the key.
    """
    path = Path(path)
    content = _load_yaml(path)
    if "data_split" not in content:
        raise ValueError(f"{path}: key data_split is missing")
    groups = content.get("reactive_all_mapping") or []
    return Split(
        data_split=content["data_split"],
        scene_filter=_scene_filter(path, content),
        groups=tuple(_group(path, number, entry) for number, entry in enumerate(groups)),
    )


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(), _LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values")
    return content


def _scene_filter(path: Path, content: dict[str, Any]) -> SceneFilter:
    values = content.get("scene_filter")
    defaults = [entry for entry in content.get("defaults", []) if isinstance(entry, dict)]
    names = [entry["scene_filter"] for entry in defaults if "scene_filter" in entry]
    if isinstance(values, str):
        names, values = [values], None
    if values is None:
        if not names:
            raise ValueError(f"{path}: no scene_filter, neither by value nor by name under defaults")
        path = path.parent / "scene_filter" / f"{names[0]}.yaml"
        values = _load_yaml(path)
    values = {key: value for key, value in values.items() if key not in _HYDRA_KEYS}
    unknown = sorted(set(values) - set(SceneFilter.__dataclass_fields__))
    if unknown:
        raise ValueError(f"{path}: unknown keys in the scene filter: {', '.join(unknown)}")
    return SceneFilter(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _group(path: Path, number: int, entry: Any) -> Group:
    try:
        now, previous, pairs = entry
        return Group(now, previous, tuple((now_2, previous_2) for now_2, previous_2 in pairs))
    except (TypeError, ValueError) as error:
        message = f"{path}: reactive_all_mapping[{number}] is not [now, previous, [[now, previous], ...]]"
        raise ValueError(message) from error
