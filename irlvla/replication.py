"""The test once more, in scenes that nobody has seen: the policies of a finished study on another dataset.

    python -m irlvla.replication OTHER SEED...     the main run and these seeds of `make study`

Scores differ more between 72 groups than between imitation and reinforcement, and a dataset of the embedded world is
made in minutes (`make study` builds `runs/study/towns`). The scenes are those of OTHER's two-stage test split
(`further_scenes.py`). For all towns and for each, `runs/study/replication.csv` (.md, .tex) has the scores against
imitation, `replication_against_irl_vla.csv` against IRL-VLA.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from irlvla.evaluation import available_groups, evaluate
from irlvla.further_scenes import (
    NEEDED,
    SPLIT,
    Plans,
    kind_of_town,
    plans_by_run,
    prepare_further,
    split_yaml,
    tested_towns,
)
from irlvla.params import Data
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.samples import survey_two_stage
from irlvla.scenes.split import Group
from irlvla.study import MAIN_SEED, REFERENCE, REINFORCED, run_folders, seed_table
from irlvla.tables import write_table

TWO_STAGE = f"{SPLIT}_two_stage"
SHOWN = ["seeds", "groups", "score", "difference", "low", "high", "least", "most"]


def parts_of(groups: Sequence[Group], town: pd.Series, tested: Collection[str]) -> dict[str, list[Group]]:
    """Groups by what they are counted under: all, towns in which the main run is `tested` or further ones, each town.

    `town` by token.
    """
    parts: dict[str, list[Group]] = {}
    kind = kind_of_town(town, tested)
    for group in groups:
        for part in ("all", kind[group.now], town[group.now]):
            parts.setdefault(part, []).append(group)
    return parts


def write_tables(
    scores: Sequence[pd.DataFrame], parts: Mapping[str, Sequence[Group]], path_without_suffix: Path, samples: int,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Write `seed_table` of every part, against imitation and, as `..._against_irl_vla`, against IRL-VLA.

    Returns the former.
    """
    note, tables = f"{len(parts['all'])} groups, {len(scores)} training seeds", []
    for suffix, reference in {"": REFERENCE, "_against_irl_vla": REINFORCED}.items():
        found = {part: seed_table(scores, groups, samples, seed, reference) for part, groups in parts.items()}
        tables.append(pd.concat(found, names=["towns"]))
        shows = f"Two-stage EPDMS in scenes made afterwards, difference from {reference}, 95 % intervals over groups"
        write_table(tables[-1], path_without_suffix.with_name(path_without_suffix.name + suffix), shows, note)
    return tables[0]


@dataclass(frozen=True)
class TwoStageTest:
    """The two-stage groups of a dataset's test split."""

    samples: pd.DataFrame  # their scenes, as in `samples.py`
    dataset: Dataset
    groups: tuple[Group, ...]

    @classmethod
    def load(cls, root: Path) -> "TwoStageTest":
        """Those of the dataset `root`."""
        listed = split_yaml(root, TWO_STAGE)
        samples, dataset = survey_two_stage(root, listed, SPLIT, None), Dataset(root, listed)
        return cls(samples, dataset, available_groups(dataset.split.groups, samples["token"].tolist()))

    def score(self, plans: Plans, contexts: Path, workers: int, path: Path) -> pd.DataFrame:
        """Scores of the agents' plans in the order of `samples`, also written to `path`."""
        driven = {agent: dict(zip(self.samples["token"], some, strict=True)) for agent, some in plans.items()}
        scores = evaluate(self.dataset, contexts, self.groups, driven, workers)
        scores.to_csv(path, index=False, float_format="%.6f")
        return scores

    def parts(self, known: pd.DataFrame) -> dict[str, list[Group]]:
        """`parts_of` the groups, by the towns of the main run's table of samples `known`."""
        return parts_of(self.groups, self.samples.set_index("token")["town"], tested_towns(known))


def replicate(root: Path, seeds: Sequence[int]) -> pd.DataFrame:
    """Plan and score the groups of `root` with the main run and the given seeds; `write_tables` of it.

    Below runs/study/replication: what notebook 01 would write, and the scores of every seed.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, p, evaluation = Path(params["runs"]), Data(**params["data"]), params["evaluation"]
    folders, out = run_folders(runs, seeds, NEEDED), runs / "study" / "replication"
    known = pd.read_csv(runs / "data" / "samples.csv")
    test = TwoStageTest.load(root)
    prepare_further(root, TWO_STAGE, test.samples, out, p, known)
    scores = [
        test.score(plans, out / "contexts", evaluation["workers"], out / f"scores_seed{seed}.csv")
        for seed, plans in zip((MAIN_SEED, *seeds), plans_by_run(test.samples, out, p, folders), strict=True)
    ]
    drawn = (evaluation["bootstrap_samples"], evaluation["seed"])
    return write_tables(scores, test.parts(known), runs / "study" / "replication", *drawn)


def main(arguments: list[str] | None = None) -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.replication", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="dataset in NAVSIM format with a two-stage test split")
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    options = parser.parse_args(arguments)
    print(replicate(options.root, options.seeds)[SHOWN].round(3).to_string())


if __name__ == "__main__":
    main()
