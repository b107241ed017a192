"""Several seeds: the learning stages again with other seeds, and their results side by side.

    python -m irlvla.study run STAGE SEED    one stage's notebook with another seed, into runs/study/seed<SEED>
    python -m irlvla.study table SEED...     mean scores over the main run and these seeds, and differences of agents

`make study` runs them as the matrix of notebooks/study/dvc.yaml. A seed counts for everything that learns or draws
plans: encoders, planners, candidates, reward model, PPO. Data, vision-language model and test scenes are those of the
main run.
"""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from irlvla.evaluation import STAGES, available_groups, bootstrap_interval, group_scores
from irlvla.scenes.split import Group, load_split

LEARNING = ("imitation", "reward_data", "reward_world_model", "reinforcement", "evaluation")
SHARED = ("data", "semantic_reasoning")
REFERENCE = "IRL-VLA-IL"


def seeded(params: dict, seed: int, runs: str) -> dict:
    """The parameters with `seed` in every learning section but that of the evaluation, and results below `runs`."""
    changed = {name: section | {"seed": seed} for name, section in params.items() if name in LEARNING[:-1]}
    return params | changed | {"runs": runs}


def run(stage: str, seed: int) -> None:
    """Run the notebook of a learning stage with another seed; the stages before it must be there.

    Raises FileNotFoundError if the main run lacks the shared stages, CalledProcessError if the notebook fails.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    folder = Path(params["runs"]) / "study" / f"seed{seed}"
    (folder / stage).mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if not (Path(params["runs"]) / name).is_dir():
            raise FileNotFoundError(f"{Path(params['runs']) / name} is missing: run `dvc repro` first")
        if not (folder / name).exists():
            (folder / name).symlink_to(Path("..") / ".." / name)
    given = folder / f"{stage}.yaml"
    given.write_text(yaml.safe_dump(seeded(params, seed, folder.as_posix()), sort_keys=False))
    notebook = next(Path("notebooks").glob(f"*_{stage}.ipynb"))
    command = ["papermill", "--engine", "stage", "--log-level", "ERROR", "--no-request-save-on-cell-execute"]
    subprocess.run([*command, "--cwd", "notebooks", notebook, folder / stage / notebook.name, "-f", given], check=True)


def seed_table(scores: Sequence[pd.DataFrame], groups: Sequence[Group], samples: int, seed: int) -> pd.DataFrame:
    """A row per agent: mean score over the seeds per stage, its spread, and the difference from imitation.

    `difference` is the mean over seeds of agent minus IRL-VLA-IL in each group, with its bootstrap interval over
    groups; `least` and `most` are the differences of single seeds.
    """
    tables = [table.groupby("agent", sort=False) for table in scores]
    by_seed = [{name: group_scores(rows, groups) for name, rows in agents} for agents in tables]
    lines = []
    for agent in by_seed[0]:
        for stage in STAGES:
            values = np.array([getattr(found[agent], stage) for found in by_seed])  # (seeds, G)
            imitation = np.array([getattr(found[REFERENCE], stage) for found in by_seed])
            difference = values - imitation
            low, high = bootstrap_interval(difference.mean(axis=0), samples, seed)
            means = difference.mean(axis=1)
            lines.append({
                "agent": agent, "stage": stage, "seeds": len(values), "groups": len(groups), "score": values.mean(),
                "score_std": values.mean(axis=1).std(ddof=1) if len(values) > 1 else 0.0,
                "difference": means.mean(), "low": low, "high": high, "least": means.min(), "most": means.max(),
            })  # fmt: skip
    return pd.DataFrame(lines).set_index(["agent", "stage"])


def table(seeds: Sequence[int]) -> pd.DataFrame:
    """`seed_table` of the main run and the given seeds, written to runs/study/table.csv."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, evaluation = Path(params["runs"]), params["evaluation"]
    folders = [runs / "evaluation", *(runs / "study" / f"seed{seed}" / "evaluation" for seed in seeds)]
    scores = [pd.read_csv(folder / "scores.csv") for folder in folders]
    split = load_split(Path(evaluation["root"]) / "splits" / "test_two_stage.yaml")
    groups = available_groups(split.groups, scores[0]["token"].tolist())
    result = seed_table(scores, groups, evaluation["bootstrap_samples"], evaluation["seed"])
    result.to_csv(runs / "study" / "table.csv", float_format="%.6f")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run a stage with another seed, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.study", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    once = commands.add_parser("run", help="one stage with another seed")
    once.add_argument("stage", choices=LEARNING)
    once.add_argument("seed", type=int)
    commands.add_parser("table", help="all seeds side by side").add_argument("seeds", type=int, nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "run":
        run(options.stage, options.seed)
    else:
        print(table(options.seeds).round(3).to_string())


if __name__ == "__main__":
    main()
