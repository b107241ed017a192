"""Two-stage evaluation of several agents on the same scenes: tables, and intervals by bootstrap over groups.

A group (an original scene, its predecessor, and their follow-ups) is the unit that is drawn independently; its scenes
share a place and a moment. So intervals come from drawing groups with replacement, and two agents are compared by the
differences in the same groups.

    G groups   R rows (scenes) of an agent   N plans, one per scene
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irlvla.epdms.aggregate import EXTENDED_COMFORT
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.score_dataset import ScoredPlan, scored_plan, table
from irlvla.epdms.scores import SUB_SCORES
from irlvla.epdms.traffic import score_human_reactive
from irlvla.progress import progress
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import Group

Array = NDArray[np.float64]

COLUMNS = (*SUB_SCORES, EXTENDED_COMFORT)
STAGES = ("combined", "stage_one", "stage_two")
LEVEL = 0.95  # of all intervals


def available_groups(groups: Sequence[Group], tokens: Sequence[str]) -> tuple[Group, ...]:
    """The groups whose scenes are all among `tokens`. Raises ValueError if there is none."""
    known = set(tokens)
    found = tuple(group for group in groups if known.issuperset(group.tokens))
    if not found:
        raise ValueError(f"none of {len(groups)} two-stage groups has all its scenes among the {len(known)} samples")
    return found


def evaluate(
    dataset: Dataset,
    contexts: Path,
    groups: Sequence[Group],
    plans: Mapping[str, Mapping[str, Array]],
    workers: int,
) -> pd.DataFrame:
    """Scores of all agents in reactive traffic, in both stages, as the official two-stage evaluation has it.

    Args:
        contexts: folder with `<token>.npz` scoring contexts.
        plans: agent -> token -> plan (8, 3), ego frame.

    Returns: one row per agent and scene, and three summary rows per agent; columns of `score_dataset` and `agent`.
    Raises ValueError naming agent and token where a plan is missing.
    """
    tokens = [token for group in groups for token in group.tokens]
    for agent, of_token in plans.items():
        if missing := [token for token in tokens if token not in of_token]:
            raise ValueError(f"agent {agent}: no plan for scene {missing[0]} ({len(missing)} of {len(tokens)} missing)")
    tasks = [
        joblib.delayed(_score_scene)(dataset, contexts, token, {agent: plans[agent][token] for agent in plans})
        for token in tokens
    ]
    done = joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)
    scored = list(progress(done, "scoring", len(tasks)))
    tables = [table([of_agent[agent] for of_agent in scored], groups).assign(agent=agent) for agent in plans]
    return pd.concat(tables, ignore_index=True)


def _score_scene(dataset: Dataset, contexts: Path, token: str, plans: Mapping[str, Array]) -> dict[str, ScoredPlan]:
    scene = dataset.scene(token)
    context = ScoringContext.load(contexts / f"{token}.npz")
    human = score_human_reactive(context) if context.scene_type == "original" else None
    time_s = float(scene.timestamp_us[scene.now]) * 1e-6
    return {
        agent: scored_plan(token, scene.log_name, time_s, context, np.asarray(plan, float), reactive=True, human=human)
        for agent, plan in plans.items()
    }


@dataclass(frozen=True)
class GroupScores:
    """A column of one agent, group by group: what the summary rows are the means of."""

    combined: Array  # (G,) mean over both sides of first stage x weighted follow-ups
    stage_one: Array  # (G,)
    stage_two: Array  # (G,)


def group_scores(rows: pd.DataFrame, groups: Sequence[Group], column: str = "score") -> GroupScores:
    """Group by group values of one agent's rows (a part of `evaluate`'s table)."""
    values = rows.set_index("token")[[column, "weight"]].astype(float)
    sides = []
    for group in groups:
        for first, followers in group.sides:
            second = values.loc[list(followers)]
            weighted = (second[column] * second["weight"]).sum() / second["weight"].sum()
            sides.append((values.loc[first, column] * weighted, values.loc[first, column], weighted))
    means = np.array(sides).reshape(len(groups), 2, 3).mean(axis=1)
    return GroupScores(*means.T)


def bootstrap_interval(values: Array, samples: int, seed: int) -> tuple[float, float]:
    """Interval of the mean of `values` (G,), by the percentiles of means of G values drawn with replacement."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(samples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clustered_interval(values: Array, clusters: Array, samples: int, seed: int) -> tuple[float, float]:
    """Interval of the mean of `values` (R,), drawn by whole clusters: `clusters` (R,) names the group of each row."""
    _, cluster = np.unique(clusters, return_inverse=True)
    total, count = np.bincount(cluster, values), np.bincount(cluster)
    drawn = np.random.default_rng(seed).integers(len(total), size=(samples, len(total)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summary(scores: pd.DataFrame, groups: Sequence[Group], samples: int, seed: int) -> pd.DataFrame:
    """One row per agent: the score combined and per stage with intervals, filter variants, sub-scores per stage.

    `seeds` counts the training runs behind the plans: a `scores` table is of one.
    """
    lines = []
    for agent, rows in scores.groupby("agent", sort=False):
        by_group = group_scores(rows, groups)
        line: dict[str, object] = {"agent": agent, "groups": len(groups), "scenes": int(rows["stage"].notna().sum()),
                                   "seeds": 1}  # fmt: skip
        for stage in STAGES:
            values = getattr(by_group, stage)
            low, high = bootstrap_interval(values, samples, seed)
            line |= {stage: values.mean(), f"{stage}_low": low, f"{stage}_high": high}
        of_summary = rows.set_index("token")
        for variant in ("score_no_filter", "score_before_fix"):
            line[variant] = float(of_summary.loc["extended_pdm_score_combined", variant])
        for column in COLUMNS:
            for stage in STAGES[1:]:
                line[f"{column}_{stage}"] = float(of_summary.loc[f"extended_pdm_score_{stage}", column])
        lines.append(line)
    return pd.DataFrame(lines).set_index("agent")


def paired_difference(
    scores: pd.DataFrame, groups: Sequence[Group], agent: str, other: str, samples: int, seed: int
) -> pd.DataFrame:
    """Agent minus other, combined and per stage: mean over groups, its interval, and the groups it is better in."""
    first, second = (group_scores(scores[scores["agent"] == name], groups) for name in (agent, other))
    lines = []
    for stage in STAGES:
        difference = getattr(first, stage) - getattr(second, stage)
        low, high = bootstrap_interval(difference, samples, seed)
        better, worse = int((difference > 0).sum()), int((difference < 0).sum())
        lines.append({"stage": stage, "difference": difference.mean(), "low": low, "high": high,
                      "groups_better": better, "groups_worse": worse})  # fmt: skip
    return pd.DataFrame(lines).set_index("stage")


def by_scenario(
    scores: pd.DataFrame, groups: Sequence[Group], scenario: pd.Series, agent: str, other: str, samples: int, seed: int
) -> pd.DataFrame:
    """Mean score over scenes per scenario type, a column per agent, and `agent` minus `other` with its interval.

    Means are unweighted, over both stages; intervals come from drawing groups, as a group's scenes are alike.
    `scenario` names the type of a scene, by token.
    """
    rows = scores[scores["stage"].notna()]
    values = rows.pivot(index="token", columns="agent", values="score")[rows["agent"].unique()].astype(float)
    group_of = pd.Series({token: i for i, group in enumerate(groups) for token in group.tokens})
    lines = []
    for name, tokens in values.index.groupby(scenario[values.index]).items():
        difference, clusters = (values[agent] - values[other])[tokens], group_of[tokens].to_numpy()
        low, high = clustered_interval(difference.to_numpy(), clusters, samples, seed)
        line = {"scenario": name, "scenes": len(tokens), "groups": len(np.unique(clusters))}
        lines.append(line | {**values.loc[tokens].mean(), "difference": difference.mean(), "low": low, "high": high})
    return pd.DataFrame(lines).set_index("scenario")


def candidate_table(result: pd.DataFrame, numbers: Mapping[str, int]) -> pd.DataFrame:
    """Two-stage score with its interval against the candidates per scene; `numbers` of them by agent of `summary`."""
    table = result.loc[list(numbers), ["combined", "combined_low", "combined_high"]]
    table = table.set_axis(["score", "low", "high"], axis=1)
    table.insert(0, "candidates", list(numbers.values()))
    return table


def most_different_scene(scores: pd.DataFrame, agent: str, other: str) -> str:
    """Token of the first-stage scene where the score of `agent` exceeds that of `other` most."""
    first_stage = scores[scores["stage"] == 1].pivot(index="token", columns="agent", values="score")
    return str((first_stage[agent] - first_stage[other]).idxmax())
