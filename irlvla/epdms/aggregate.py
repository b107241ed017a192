"""From sub-scores to the score: EC between frames, the final score, and the two-stage aggregation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irlvla.epdms.comfort import extended_comfort
from irlvla.epdms.scores import MULTIPLIERS, SUB_SCORES, Columns, Scores, weighted_mean
from irlvla.epdms.states import STEP_S, check
from irlvla.scenes.split import Group

Array = NDArray[np.float64]

EXTENDED_COMFORT = "two_frame_extended_comfort"
KERNEL_VARIANCE_M2 = 0.1
MAX_INTERVAL_S = 0.55


def final_score(columns: Columns, extended: Array | None) -> Array:
    """(N,) product of the multipliers x weighted mean of the five terms; without EC (`extended` None) of four."""
    product = np.prod([columns[name] for name in MULTIPLIERS], axis=0)
    return product * weighted_mean(columns, extended)


def filter_variants(scores: Scores, extended: Array | None) -> dict[str, Array]:
    """The final score (N,) under the official human filter and under the two historic variants.

    `score`: filtered, everything recomputed; `score_no_filter`; `score_before_fix`: as the code before September 2025,
    which filtered the columns and recomputed neither product nor sum, so that its score is the unfiltered one while
    the columns it reports are filtered.
    """
    unfiltered = final_score(scores.plain, extended)
    return {
        "score": final_score(scores.columns, extended),
        "score_no_filter": unfiltered,
        "score_before_fix": unfiltered,
    }


def extended_comfort_of_pair(states: Array, previous_states: Array, interval_s: float) -> float:
    """EC of the driven states (41, 11) of two frames `interval_s` apart; both frames carry this value.

    Raises ValueError if the interval is not in (0, 0.55) s.
    """
    if not 0.0 < interval_s < MAX_INTERVAL_S:
        raise ValueError(f"interval_s: {interval_s}, two frames must be less than {MAX_INTERVAL_S} s apart, in order")
    return float(extended_comfort(states, previous_states, round(interval_s / STEP_S)))


def follow_up_weights(endpoint: Array, start_points: Array) -> Array:
    """(K,) weights of K follow-ups starting at (K, 2), for a first stage planned to end at `endpoint` (2,).

    exp(-d^2 / (2 x 0.1)), normalised; uniform where the sum is about 0.
    """
    endpoint = check("endpoint", endpoint, (2,))
    start_points = check("start_points", start_points, (None, 2))
    kernel = np.exp(-((start_points - endpoint) ** 2).sum(axis=1) / (2.0 * KERNEL_VARIANCE_M2))
    if np.isclose(kernel.sum(), 0.0):
        return np.full(len(kernel), 1.0 / len(kernel))
    return kernel / kernel.sum()


@dataclass(frozen=True)
class Rows:
    """What the aggregation needs of R scored plans, one per token."""

    tokens: Sequence[str]
    start_time_s: Array  # (R,)
    start_point: Array  # (R, 2) rear axle, global
    endpoint: Array  # (R, 2) last planned pose, global
    columns: Columns  # eight sub-scores, (R,) each
    states: Array  # (R, 41, 11) driven

    def index(self) -> dict[str, int]:
        """Row of each token. Raises ValueError for a token that occurs twice."""
        rows = {str(token): row for row, token in enumerate(self.tokens)}
        if len(rows) != len(self.tokens):
            raise ValueError("tokens: some token occurs twice")
        return rows


@dataclass(frozen=True)
class TwoStage:
    """Columns of the rows (eight sub-scores, EC, score), their weights, and the three summaries."""

    columns: Columns  # (R,) each
    weight: Array  # (R,)
    combined: Mapping[str, float]
    stage_one: Mapping[str, float]
    stage_two: Mapping[str, float]


def two_stage(rows: Rows, groups: Sequence[Group]) -> TwoStage:
    """EC, weights, score per row, and the means over groups.

    Per side of a group: first-stage value x weighted mean of its follow-ups; then the mean of both sides, then of all
    groups, column by column (so the combined score is a mean of products). Raises ValueError for a token that groups
    name and the rows lack, or the reverse: nothing is skipped.
    """
    index = rows.index()
    _check_complete(index, groups)
    extended, weight = np.empty(len(index)), np.empty(len(index))
    for group in groups:
        for now, previous in group.pairs:
            i, k = index[now], index[previous]
            interval_s = float(rows.start_time_s[i] - rows.start_time_s[k])
            extended[[i, k]] = extended_comfort_of_pair(rows.states[i], rows.states[k], interval_s)
        for first, followers in group.sides:
            second = [index[token] for token in followers]
            weight[index[first]] = 1.0
            weight[second] = follow_up_weights(rows.endpoint[index[first]], rows.start_point[second])
    columns = {name: rows.columns[name] for name in SUB_SCORES}
    columns |= {EXTENDED_COMFORT: extended, "score": final_score(columns, extended)}
    means = {name: _means(column, weight, index, groups) for name, column in columns.items()}
    return TwoStage(columns, weight, *({name: mean[k] for name, mean in means.items()} for k in range(3)))


def _means(column: Array, weight: Array, index: Mapping[str, int], groups: Sequence[Group]) -> tuple[float, ...]:
    """Combined, first-stage and second-stage mean of a column over groups and their two sides."""
    ones, twos = [], []
    for group in groups:
        for first, followers in group.sides:
            second = [index[token] for token in followers]
            ones.append(column[index[first]])
            twos.append((column[second] * weight[second]).sum() / weight[second].sum())
    one, two = np.array(ones), np.array(twos)
    return float((one * two).mean()), float(one.mean()), float(two.mean())


def _check_complete(index: Mapping[str, int], groups: Sequence[Group]) -> None:
    if not groups:
        raise ValueError("groups: none given")
    named = [token for group in groups for pair in group.pairs for token in pair]
    if len(set(named)) != len(named):
        raise ValueError("groups: some token occurs in two places")
    if any(not group.follow_ups for group in groups):
        raise ValueError("groups: a group has no follow-ups")
    if missing := sorted(set(named) - set(index)):
        raise ValueError(f"tokens: {len(missing)} of {len(named)} tokens of the groups have no row, first {missing[0]}")
    if extra := sorted(set(index) - set(named)):
        raise ValueError(f"tokens: {len(extra)} rows are in no group, first {extra[0]}")
