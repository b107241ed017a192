"""Validate a dataset in NAVSIM format, ours or the real one: what is there out of how much, and what is broken."""

from pathlib import Path

from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import load_split
from irlvla.world.check_logs import SCENES, check_logs, check_second_stage
from irlvla.world.check_maps import check_maps
from irlvla.world.findings import Findings


def check(root: Path, maps: Path | None = None) -> Findings:
    """Examine all files of the dataset in `root`; `maps` is `root/maps` by default.

    A damaged or missing file is a line of the findings, not an exception. Splits are checked where `root/splits` has
    some; the real data come with none.
    """
    findings = Findings()
    for kind in ("logs", "frames", SCENES, "second-stage scenes", "images there", "maps"):
        findings.count(kind, 0, 0)  # what is asked for first is told first
    maps = maps or root / "maps"
    roadblocks = check_maps(maps, findings)
    expected = check_second_stage(root, findings)
    check_logs(root, roadblocks, expected, findings)
    for path in sorted((root / "splits").glob("*.yaml")):
        with findings.examining("splits", path):
            _check_split(root, path, maps)
    return findings


def _check_split(root: Path, path: Path, maps: Path) -> None:
    split = load_split(path)
    dataset = Dataset(root, path, maps)  # raises where a token of filter or mapping is missing
    if not dataset:
        raise ValueError(f"{path}: no scene in the data passes its filter")
    grouped = [token for group in split.groups for token in group.tokens]
    if grouped and sorted(grouped) != sorted(dataset.tokens):
        odd = sorted(set(dataset.tokens) ^ set(grouped)) or sorted({t for t in grouped if grouped.count(t) > 1})
        raise ValueError(f"{path}: reactive_all_mapping: token {odd[0]} of {len(odd)} is not in exactly one group")
