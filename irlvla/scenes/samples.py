"""Which scenes of a dataset become samples: the windows of a split, spread over manoeuvres, and the two-stage groups.

A table of samples has one row per scene:

    token      of the sample; names its scoring context
    split      train, val or test
    kind       one of KINDS; `perturbed` scenes are train scenes with the ego moved off its track
    log_name, town
    speed, path   meta-action of the human plan
    scenario   of SCENARIOS
    source     token of the scene in the dataset: another one than `token` for moved starts
    previous   token of the scene half a second earlier, empty if the survey did not meet it or the start was moved
    human      1 if the logged plan is what should be imitated
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import pandas as pd

from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS, label
from irlvla.progress import progress
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.scene import Scene
from irlvla.scenes.split import Split, load_split

T = TypeVar("T")

KINDS = ("original", "perturbed", "first_stage", "follow_up")
SCENARIOS = ("standing", "braking", "accelerating", "cruising", "left turn", "right turn", "lane change")
STANDING_MPS = 2.0  # slower now, and not faster within the plan, is standing rather than braking
COLUMNS = ["token", "split", "kind", "log_name", "town", "scenario", "speed", "path", "source", "previous", "human"]


def town_of(log_name: str) -> str:
    """Town of a log of the embedded world, `<town>-<nnn>`; other logs are their own."""
    return log_name.rsplit("-", 1)[0]


def commands_of(scene: Scene) -> tuple[str, str]:
    """Speed and path command of the human plan."""
    speed_id, path_id = label(scene.human_plan()[None], scene.ego_velocity_mps[scene.now, :1])
    return SPEED_COMMANDS[speed_id[0]], PATH_COMMANDS[path_id[0]]


def scenario_of(speed: str, path: str, speed_mps: float) -> str:
    """The manoeuvre of a plan with these commands, one of SCENARIOS: turns first, then lane changes, then speed."""
    if "Turn" in path:
        return "left turn" if "Left" in path else "right turn"
    if "LaneChange" in path or path == "Swerving":
        return "lane change"
    if speed in ("Full Stop", "Creeping"):
        return "standing" if speed_mps < STANDING_MPS else "braking"
    if "Accel" in speed:
        return "accelerating"
    return "cruising" if "Constant" in speed else "braking"


@lru_cache(maxsize=4)
def _split(split_yaml: Path) -> Split:
    """Read once by each worker: a file that lists all tokens takes as long as a log of 20 s."""
    return load_split(split_yaml)


@lru_cache(maxsize=4)
def dataset_of_log(root: Path, split_yaml: Path, log_name: str) -> Dataset:
    """The scenes of one log of a split; a worker takes up one log after the other."""
    split = _split(split_yaml)
    return Dataset(root, Split(split.data_split, replace(split.scene_filter, log_names=(log_name,), tokens=None)))


@lru_cache(maxsize=2)
def two_stage_dataset(root: Path, split_yaml: Path) -> Dataset:
    """All scenes of a two-stage split."""
    return Dataset(root, split_yaml)


def log_names(split_yaml: Path, limit: int | None) -> tuple[str, ...]:
    """Logs that a split's filter names, or `limit` of them spread over the list.

    Raises ValueError if the filter names none.
    """
    names = load_split(split_yaml).scene_filter.log_names
    if not names:
        raise ValueError(f"{split_yaml}: the scene filter must list log_names")
    if limit is None or limit >= len(names):
        return tuple(names)
    return tuple(names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int))


def _row(scene: Scene, split: str, kind: str, previous: str) -> dict:
    speed, path = commands_of(scene)
    return {
        "token": scene.token,
        "split": split,
        "kind": kind,
        "log_name": scene.log_name,
        "town": town_of(scene.log_name),
        "speed": speed,
        "path": path,
        "scenario": scenario_of(speed, path, float(scene.ego_velocity_mps[scene.now, 0])),
        "source": scene.token,
        "previous": previous,
        "human": int(kind != "follow_up"),
    }


def _survey_log(root: Path, split_yaml: Path, log_name: str, split: str) -> list[dict]:
    dataset = dataset_of_log(root, split_yaml, log_name)
    wanted = _split(split_yaml).scene_filter.tokens
    kept = set(dataset.tokens if wanted is None else wanted)
    rows, earlier = [], {}  # present time of a scene [us] -> its token
    for token in dataset.tokens:
        if token in kept:
            scene = dataset.scene(token)
            previous = earlier.get(int(scene.timestamp_us[scene.now - 1]), "")
            rows.append(_row(scene, split, "original", previous))
            earlier[int(scene.timestamp_us[scene.now])] = token
    return rows


def in_parallel(work: Sequence[Callable[[], T]], workers: int, desc: str) -> Iterator[T]:
    """Results of `joblib.delayed` calls in their order, from processes of one thread each, with a progress bar."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        done = joblib.Parallel(n_jobs=workers, return_as="generator")(work)
        yield from progress(done, desc, len(work))


def survey(root: Path, split_yaml: Path, split: str, logs: Sequence[str], workers: int) -> pd.DataFrame:
    """Table of all windows of the logs, kind `original`."""
    work = [joblib.delayed(_survey_log)(root, split_yaml, name, split) for name in logs]
    rows = [row for part in in_parallel(work, workers, f"reading {split}") for row in part]
    return pd.DataFrame(rows, columns=COLUMNS)


def survey_two_stage(root: Path, split_yaml: Path, split: str, groups: int | None) -> pd.DataFrame:
    """Table of the scenes of a two-stage split, or of its first `groups` groups."""
    kinds, previous = {}, {}
    for group in load_split(split_yaml).groups[:groups]:
        kinds |= {group.now: "first_stage", group.previous: "first_stage"}
        kinds |= {token: "follow_up" for pair in group.follow_ups for token in pair}
        previous |= dict(group.pairs)
    dataset = two_stage_dataset(root, split_yaml)
    rows = [
        _row(dataset.scene(token), split, kind, previous.get(token, ""))
        for token, kind in progress(kinds.items(), f"reading {split} groups")
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def stratified(table: pd.DataFrame, limit: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most `limit` rows, spread over the scenarios as evenly as their counts allow, in the table's order."""
    groups = [rng.permutation(rows) for rows in table.groupby("scenario").indices.values()]
    # Taking the first of every group, then the second of every group, ... uses up small groups completely.
    turns = sorted((turn, group, row) for group, rows in enumerate(groups) for turn, row in enumerate(rows))
    return table.iloc[sorted(row for *_, row in turns[:limit])]


def combined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of all; a scene in several of them is kept as the last one has it.

    Raises ValueError if a town is in two splits: the test towns must never be seen in training.
    """
    table = pd.concat(tables).drop_duplicates("token", keep="last").reset_index(drop=True)
    splits_of_town = table.groupby("town")["split"].unique()
    shared = splits_of_town[splits_of_town.map(len) > 1]
    if len(shared):
        raise ValueError(f"town {shared.index[0]} is in the splits {', '.join(shared.iloc[0])}")
    return table
