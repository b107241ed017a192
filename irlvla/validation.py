"""Agents in single scenes of the validation towns, of whose two-stage groups there are too few to tell agents apart.

    python -m irlvla.validation SEED...     the main run and these seeds of `make study`

Scores the plans that notebook 07 made for all validation scenes: EPDMS of one stage with replayed traffic, extended
comfort where the frame before is a scene too; and says how many of them roll back. Changes of the project are chosen on
these towns, so the table is no measure of how good an agent is in new ones; it says whether agents differ. It is
`runs/study/validation.csv` (.md, .tex).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray

from irlvla.breakdown import SHORT
from irlvla.epdms.scores import SUB_SCORES
from irlvla.evaluation import clustered_interval
from irlvla.frame_pairs import FramePairs
from irlvla.models.reward_model import compose
from irlvla.progress import progress
from irlvla.reward_data import Candidates, score_candidates
from irlvla.rolling_back import rolls_back
from irlvla.saved_scenes import saved_plans
from irlvla.study import REFERENCE, evaluation_folders
from irlvla.tables import write_table

Plans = Mapping[str, NDArray[np.float64]]  # agent -> (n, T, 3)

SPLIT = "val"
MEANS = ["score", *SHORT.values(), "rolls_back"]


def single_scores(samples: pd.DataFrame, plans: Plans, contexts: Path, jobs: int) -> pd.DataFrame:
    """Sub-scores and score of the agents' plans in the n scenes of `samples`, a row per agent and token.

    EC is NaN, and left out of the score, where no other row of `samples` is the frame before.
    """
    tokens, agents = samples["token"].tolist(), tuple(plans)
    stacked = np.stack([plans[agent] for agent in agents], axis=1)  # (n, agents, T, 3)
    scenes = [Candidates(t, some.astype(np.float32), agents) for t, some in zip(tokens, stacked, strict=True)]
    work = (joblib.delayed(score_candidates)(scene, contexts, True) for scene in scenes)
    done = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
    tables = [table.drop_columns("plan").to_pandas() for table in progress(done, "scoring", len(scenes))]
    rows = pd.concat(tables).set_index(["source", "token"])
    pairs = FramePairs.load(samples, tokens, contexts)
    parts = []
    for agent in agents:
        some, extended = rows.loc[agent].loc[tokens], pairs.of_driven(torch.from_numpy(plans[agent]))
        score = compose({name: torch.tensor(some[name].to_numpy()) for name in SUB_SCORES}, extended)
        back = rolls_back(plans[agent])
        parts.append(some.assign(agent=agent, EC=extended.numpy(), score=score.numpy(), rolls_back=back))
    return pd.concat(parts).reset_index().rename(columns=SHORT)


def single_table(rows: pd.DataFrame, log_name: pd.Series, samples: int, seed: int) -> pd.DataFrame:
    """A row per agent: means over seeds and scenes, and its score minus imitation's with an interval over logs.

    Args:
        rows: `single_scores` of every seed, with a column seed.
        log_name: by token. A log's scenes are alike, so whole logs are drawn.
    """
    score = rows.groupby(["agent", "token"], sort=False)["score"].mean().unstack("agent", sort=False)
    logs = log_name[score.index].to_numpy()
    by_seed = rows.groupby(["agent", "seed"])["score"].mean().unstack("agent")
    lines = []
    for agent, some in rows.groupby("agent", sort=False):
        difference = (score[agent] - score[REFERENCE]).to_numpy()
        low, high = clustered_interval(difference, logs, samples, seed)
        of_seeds = by_seed[agent] - by_seed[REFERENCE]
        sizes = {"scenes": len(score), "logs": len(set(logs)), "seeds": len(by_seed)}
        line = {"agent": agent, **some[MEANS].mean(), "difference": difference.mean(), "low": low, "high": high}
        lines.append(line | {"least": of_seeds.min(), "most": of_seeds.max()} | sizes)
    return pd.DataFrame(lines).set_index("agent")


def main(arguments: list[str] | None = None) -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.validation", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    seeds = parser.parse_args(arguments).seeds
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, evaluation = Path(params["runs"]), params["evaluation"]
    folders, parts = evaluation_folders(runs, seeds), []
    samples = pd.read_csv(runs / "data" / "samples.csv").query("split == @SPLIT")
    for run, folder in enumerate(folders):
        plans = saved_plans(folder, samples["token"].tolist())
        parts.append(single_scores(samples, plans, runs / "data" / "contexts", evaluation["workers"]).assign(seed=run))
    log_name = samples.set_index("token")["log_name"]
    result = single_table(pd.concat(parts), log_name, evaluation["bootstrap_samples"], evaluation["seed"])
    shows = "EPDMS of single scenes with replayed traffic, difference from IRL-VLA-IL, 95 % intervals over logs"
    note = f"{len(samples)} scenes of {log_name.nunique()} logs of validation towns, {1 + len(seeds)} training seeds"
    write_table(result, runs / "study" / "validation", shows, note)
    print(result.round(3).to_string())


if __name__ == "__main__":
    main()
