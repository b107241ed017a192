"""Score plans on a dataset in NAVSIM format: a table with one row per token, as the official scripts write it."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irlvla import PLAN_POSES
from irlvla.epdms.aggregate import (
    EXTENDED_COMFORT,
    MAX_INTERVAL_S,
    Rows,
    extended_comfort_of_pair,
    final_score,
    two_stage,
)
from irlvla.epdms.build import scoring_context
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.reasons import Reason, reasons
from irlvla.epdms.scores import PRODUCT, PROGRESS_M, SUB_SCORES, Columns, Scores, score_plans
from irlvla.epdms.traffic import score_reactive
from irlvla.geometry import global_from_local
from irlvla.progress import progress
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import Group

Array = NDArray[np.float64]

COLUMNS = (
    "token", "stage", "log_name", "valid", *SUB_SCORES, EXTENDED_COMFORT, "score", "weight", PRODUCT, "pdm_score",
    "start_time", "start_point_x", "start_point_y", "endpoint_x", "endpoint_y",
    "score_no_filter", "score_before_fix", "set_by_human_filter", "infractions", "reasons", PROGRESS_M,
)  # fmt: skip
MEANS = (*SUB_SCORES, EXTENDED_COMFORT, "score", "score_no_filter", "score_before_fix")  # what summary rows hold


@dataclass(frozen=True)
class ScoredPlan:
    """One plan of one scene, scored."""

    token: str
    stage: int  # 1: original scene, 2: synthetic
    log_name: str
    start_time_s: float
    start_point: Array  # (2,) rear axle, global
    endpoint: Array  # (2,) last pose of the plan, global
    scores: Scores  # columns of length 1
    reasons: list[Reason]


def load_plans(path: str | Path) -> dict[str, Array]:
    """Plans by token from an `.npz` file {tokens (N,), poses (N, 8, 3)}, ego frame, 2 Hz.

    Raises ValueError naming the file and the token where one occurs twice, has another horizon, or is not finite.
    """
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in ("tokens", "poses") if name not in arrays]
        if missing:
            raise ValueError(f"{path}: missing {', '.join(missing)}")
        tokens, poses = [str(token) for token in arrays["tokens"]], np.asarray(arrays["poses"], dtype=float)
    if len(tokens) != len(poses):
        raise ValueError(f"{path}: {len(tokens)} tokens, but {len(poses)} plans")
    if poses.shape[1:] != (PLAN_POSES, 3):
        first = tokens[0] if tokens else "?"
        raise ValueError(f"{path}: token {first}: plan of shape {poses.shape[1:]}, ({PLAN_POSES}, 3) at 2 Hz is needed")
    plans: dict[str, Array] = {}
    for token, plan in zip(tokens, poses, strict=True):
        if token in plans:
            raise ValueError(f"{path}: token {token} occurs twice")
        if not np.isfinite(plan).all():
            raise ValueError(f"{path}: token {token}: the plan is not finite")
        plans[token] = plan
    return plans


def score_dataset(dataset: Dataset, plans: Mapping[str, Array], reactive: bool, workers: int) -> pd.DataFrame:
    """Table of all tokens of the dataset, with summary rows at the end; columns `COLUMNS`.

    Raises ValueError naming the token without a plan.
    """
    missing = [token for token in dataset.tokens if token not in plans]
    if missing:
        raise ValueError(f"token {missing[0]} has no plan ({len(missing)} of {len(dataset)} tokens have none)")
    tasks = (joblib.delayed(_score_token)(dataset, token, plans[token], reactive) for token in dataset.tokens)
    scored = joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)
    return table(list(progress(scored, "scenes", len(dataset))), dataset.split.groups)


def _score_token(dataset: Dataset, token: str, plan: Array, reactive: bool) -> ScoredPlan:
    scene = dataset.scene(token)
    time_s = float(scene.timestamp_us[scene.now]) * 1e-6
    return scored_plan(token, scene.log_name, time_s, scoring_context(scene), plan, reactive)


def scored_plan(
    token: str, log_name: str, start_time_s: float, context: ScoringContext, plan: Array, reactive: bool,
    human: Columns | None = None,
) -> ScoredPlan:  # fmt: skip
    """One plan (8, 3) in replayed or reactive traffic; `human` as in `score_reactive`."""
    scores = score_reactive(context, plan, human=human) if reactive else score_plans(context, plan[None])
    start = context.ego_state[:3]
    stage = 2 if context.scene_type == "synthetic" else 1
    return ScoredPlan(
        token, stage, log_name, start_time_s, start[:2], global_from_local(start, plan[-1])[:2], scores,
        reasons(context, scores, 0),
    )  # fmt: skip


def table(scored: Sequence[ScoredPlan], groups: Sequence[Group]) -> pd.DataFrame:
    """One row per scored plan and the summary rows; with groups it is the two-stage evaluation."""
    rows = pd.DataFrame([_row(plan) for plan in scored], columns=list(COLUMNS))
    filtered = _columns(scored, "columns")
    plain = _columns(scored, "plain")
    if not groups:
        extended = _extended_comfort_of_neighbours(scored)
        rows[EXTENDED_COMFORT] = extended
        rows["score"] = _final_score(filtered, extended)
        rows["score_no_filter"] = rows["score_before_fix"] = _final_score(plain, extended)
        return pd.concat([rows, _summary("average_all_frames", rows[list(MEANS)].mean())], ignore_index=True)
    with_filter = two_stage(_rows(scored, filtered), groups)
    without_filter = two_stage(_rows(scored, plain), groups)
    for name in (EXTENDED_COMFORT, "score"):
        rows[name] = with_filter.columns[name]
    rows["score_no_filter"] = rows["score_before_fix"] = without_filter.columns["score"]
    rows["weight"] = with_filter.weight
    summaries = []
    for stage in ("stage_one", "stage_two", "combined"):
        means = dict(getattr(with_filter, stage)) if stage != "combined" else {"score": with_filter.combined["score"]}
        means["score_no_filter"] = means["score_before_fix"] = getattr(without_filter, stage)["score"]
        summaries.append(_summary(f"extended_pdm_score_{stage}", pd.Series(means)))
    return pd.concat([rows, *summaries], ignore_index=True)


def _row(plan: ScoredPlan) -> dict[str, object]:
    columns, plain = plan.scores.columns, plan.scores.plain
    names = (*SUB_SCORES, PRODUCT, "pdm_score", PROGRESS_M)
    return {
        "token": plan.token,
        "stage": float(plan.stage),
        "log_name": plan.log_name,
        "valid": True,
        "start_time": plan.start_time_s,
        "start_point_x": plan.start_point[0],
        "start_point_y": plan.start_point[1],
        "endpoint_x": plan.endpoint[0],
        "endpoint_y": plan.endpoint[1],
        "set_by_human_filter": " ".join(name for name in SUB_SCORES if columns[name][0] != plain[name][0]),
        "infractions": " ".join(name for name in SUB_SCORES if name != "ego_progress" and columns[name][0] < 1.0),
        "reasons": "; ".join(str(reason) for reason in plan.reasons),
        **{name: float(columns[name][0]) for name in names},
    }


def _summary(token: str, means: pd.Series) -> pd.DataFrame:
    return pd.DataFrame([{"token": token, **means}], columns=list(COLUMNS)).dropna(axis=1, how="all")


def _columns(scored: Sequence[ScoredPlan], variant: str) -> Columns:
    """Sub-scores (R,) of all rows; variant "columns" (human filter applied) or "plain"."""
    return {name: np.array([getattr(plan.scores, variant)[name][0] for plan in scored]) for name in SUB_SCORES}


def _rows(scored: Sequence[ScoredPlan], columns: Columns) -> Rows:
    return Rows(
        tokens=[plan.token for plan in scored],
        start_time_s=np.array([plan.start_time_s for plan in scored]),
        start_point=np.array([plan.start_point for plan in scored]),
        endpoint=np.array([plan.endpoint for plan in scored]),
        columns=columns,
        states=np.concatenate([plan.scores.states for plan in scored]),
    )


def _final_score(columns: Columns, extended: Array) -> Array:
    """Score (R,), with EC where it is known (not NaN) and without it elsewhere."""
    known = np.isfinite(extended)
    return np.where(known, final_score(columns, np.where(known, extended, 0.0)), final_score(columns, None))


def _extended_comfort_of_neighbours(scored: Sequence[ScoredPlan]) -> Array:
    """(R,) EC of rows whose log has another row at most 0.55 s earlier, NaN elsewhere: the one-stage rule."""
    extended = np.full(len(scored), np.nan)
    originals = [row for row, plan in enumerate(scored) if plan.stage == 1]
    order = sorted(originals, key=lambda row: (scored[row].log_name, scored[row].start_time_s))
    for previous, now in zip(order, order[1:], strict=False):
        interval_s = scored[now].start_time_s - scored[previous].start_time_s
        if scored[now].log_name == scored[previous].log_name and interval_s < MAX_INTERVAL_S:
            states = scored[now].scores.states[0], scored[previous].scores.states[0]
            extended[now] = extended_comfort_of_pair(*states, interval_s)
    return extended


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table; the file appears complete or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        frame.to_csv(file, index=False)
    os.replace(file.name, path)


def summary_lines(frame: pd.DataFrame) -> Iterable[str]:
    """Token and score of the summary rows."""
    summaries = frame[frame["valid"].isna()]
    return (f"{token} {score:.6f}" for token, score in zip(summaries["token"], summaries["score"], strict=True))
