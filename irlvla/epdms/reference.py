"""Check the scorer against a folder of scenes with official answers, laid out as `tests/data/epdms_reference`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irlvla.epdms.aggregate import Group, Rows, two_stage
from irlvla.epdms.comfort import extended_comfort
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.scores import SUB_SCORES, Scores, score_plans
from irlvla.epdms.states import HEADING
from irlvla.geometry import wrap_angle

Array = NDArray[np.float64]

TOLERANCE = 1e-6  # of numbers; flags and classes must be equal
NUMBERS = ("ego_progress", "pdm_score", "score", "weight")
STATE_COLUMNS = (
    "x", "y", "heading", "vx", "vy", "ax", "ay", "steering_angle", "steering_rate", "yaw_rate", "yaw_acceleration",
)  # fmt: skip


@dataclass
class Comparison:
    """Running tally of one column."""

    name: str
    tolerance: float
    compared: int = 0
    differing: int = 0
    largest: float = 0.0

    def add(self, difference: Array) -> None:
        difference = np.abs(np.asarray(difference, dtype=np.float64)).ravel()
        self.compared += difference.size
        self.differing += int((~(difference <= self.tolerance)).sum())  # a NaN differs
        self.largest = float(np.max(difference, initial=self.largest))


@dataclass
class Report:
    """Comparisons by name, in order of appearance."""

    comparisons: dict[str, Comparison] = field(default_factory=dict)

    def add(self, name: str, difference: Array, tolerance: float) -> None:
        self.comparisons.setdefault(name, Comparison(name, tolerance)).add(difference)

    def lines(self) -> list[str]:
        """A line per column: name, compared, differing, largest difference."""
        return [f"{c.name} {c.compared} {c.differing} {c.largest:.3g}" for c in self.comparisons.values()]

    @property
    def agrees(self) -> bool:
        return all(c.differing == 0 for c in self.comparisons.values())


def check_reference(folder: Path) -> Report:
    """Compare everything in `folder`: scenes/*.npz with their *.expected.npz, and two_stage.npz where it exists.

    Raises FileNotFoundError if there is nothing to compare or an answer is missing.
    """
    report = Report()
    for scene in scene_files(folder):
        _compare_scene(report, scene)
    if (folder / "two_stage.npz").exists():
        _compare_two_stage(report, folder / "two_stage.npz")
    return report


def scene_files(folder: Path) -> list[Path]:
    """Scene files of a reference folder, in order. Raises FileNotFoundError if there are none."""
    scenes = sorted(p for p in (folder / "scenes").glob("*.npz") if not p.name.endswith(".expected.npz"))
    if not scenes:
        raise FileNotFoundError(f"{folder}: no scenes/*.npz")
    return scenes


def load_proposals(scene: Path) -> Array:
    """(N, 8, 3) plans of a scene file."""
    with np.load(scene, allow_pickle=False) as arrays:
        return arrays["proposals"]


def _compare_scene(report: Report, scene: Path) -> None:
    scores = score_plans(ScoringContext.load(scene), load_proposals(scene))
    with np.load(scene.with_suffix(".expected.npz"), allow_pickle=False) as expected:
        for name, difference in _column_differences(expected, scores):
            report.add(name, difference, _tolerance(name))
        states = scores.states - expected["simulated_states"]
        states[..., HEADING] = wrap_angle(states[..., HEADING])
        for i, name in enumerate(STATE_COLUMNS):
            report.add(f"simulated_states.{name}", states[..., i], TOLERANCE)
        extended = extended_comfort(scores.states[:, None], scores.states[None])
        report.add("extended_comfort", extended - expected["extended_comfort"], 0.0)


def _column_differences(expected: np.lib.npyio.NpzFile, scores: Scores) -> Iterator[tuple[str, Array]]:
    for table, columns in (("plain", scores.plain), ("human_filtered", scores.columns)):
        for i, name in enumerate(expected["columns"]):
            yield f"{table}.{name}", columns[str(name)] - expected[table][:, i]


def _tolerance(name: str) -> float:
    return TOLERANCE if name.split(".")[-1] in NUMBERS else 0.0


def _compare_two_stage(report: Report, path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        table = dict(arrays)
    sub_scores = dict(zip(table["sub_columns"].tolist(), table["sub_scores"].T, strict=True))
    rows = Rows(
        tokens=table["tokens"].tolist(),
        start_time_s=table["start_time"],
        start_point=table["start_point"],
        endpoint=table["endpoint"],
        columns={name: sub_scores[name] for name in SUB_SCORES},
        states=table["simulated_states"],
    )
    result = two_stage(rows, groups_from_mapping(table["mapping"]))
    extended = result.columns["two_frame_extended_comfort"]
    report.add("two_stage.extended_comfort", extended - table["expected_extended_comfort"], 0.0)
    report.add("two_stage.weight", result.weight - table["expected_weight"], TOLERANCE)
    report.add("two_stage.score", result.columns["score"] - table["expected_score"], TOLERANCE)
    for summary in ("combined", "stage_one", "stage_two"):
        ours = [getattr(result, summary)[str(name)] for name in table["expected_columns"]]
        report.add(f"two_stage.{summary}", np.array(ours) - table[f"expected_{summary}"], TOLERANCE)


def groups_from_mapping(mapping: NDArray[np.str_]) -> list[Group]:
    """Groups of a table (F, 4): original, its predecessor, follow-up, its predecessor."""
    follow_ups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for now, previous, follow_up, before in mapping.tolist():
        follow_ups.setdefault((now, previous), []).append((follow_up, before))
    return [Group(now, previous, tuple(pairs)) for (now, previous), pairs in follow_ups.items()]
