"""What the reward world model learns from: many plans of each scene, good and bad, with their EPDMS sub-scores.

Sources of plans, each a part of the name in the column `source`:

    vocabulary     a random part of K-means modes of human plans: what cars do, mostly elsewhere
    chain_i        the policy's plans after i denoising steps, with noise, as reinforcement learning explores
    human          the logged plan
    human_noise    the logged plan with smooth noise

Scenes whose ego start was moved have the same sources, so the model sees how one gets back on the road. The table is
written scene by scene as Parquet: token, source, plan (24 numbers: T poses of x, y, heading; ego frame; m, rad), the
eight sub-scores, and `score`, their EPDMS without extended comfort.

    N plans of a scene   T plan poses   V modes of the vocabulary
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from irlvla import PLAN_POSES
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.scores import PRODUCT, SUB_SCORES, score_plans

Array = NDArray[np.float64]

SCORE = "score"
LATERAL_SHARE = 0.2  # of a plan's length: 4 m at 5 m/s
SHORT = dict(zip(SUB_SCORES, ("NC", "DAC", "DDC", "TLC", "EP", "TTC", "LK", "HC"), strict=True))  # as papers write
PLAN_TYPE = pa.list_(pa.float32(), PLAN_POSES * 3)
SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("source", pa.string()),
        ("plan", PLAN_TYPE),
        *((name, pa.float32()) for name in (*SUB_SCORES, SCORE)),
    ]
)


@dataclass(frozen=True)
class Candidates:
    """N plans of one scene."""

    token: str
    plans: NDArray[np.float32]  # (N, T, 3)
    sources: tuple[str, ...]  # (N,)


def noisy_plans(plan: Array, count: int, scale: float, rng: np.random.Generator) -> Array:
    """`count` smooth variations (count, T, 3) of a plan (T, 3): its speed and its course change as time goes on.

    Distances along the plan are stretched by a factor that drifts to exp(scale n), and the plan is bent by a lateral
    offset that grows to scale n LATERAL_SHARE of its length and by the heading that goes with it; n is standard normal.
    """
    time = np.arange(1, PLAN_POSES + 1) / PLAN_POSES
    stretch = np.exp(scale * rng.standard_normal((count, 1)) * time)  # (count, T)
    step = np.diff(plan, axis=0, prepend=np.zeros((1, 3)))
    reach_m = LATERAL_SHARE * np.linalg.norm(step[:, :2], axis=-1).sum()
    lateral_m = reach_m * scale * rng.standard_normal((count, 1)) * time**2
    xy = np.cumsum(step[None, :, :2] * stretch[..., None], axis=1)
    heading = plan[:, 2] + np.zeros((count, 1))
    xy = xy + lateral_m[..., None] * np.stack([-np.sin(heading), np.cos(heading)], axis=-1)
    length_m = np.maximum(np.linalg.norm(np.diff(xy, axis=1, prepend=0), axis=-1), 0.5)  # a standing car does not turn
    heading = heading + np.arctan2(np.diff(lateral_m, axis=1, prepend=0), length_m)
    return np.concatenate([xy, heading[..., None]], axis=-1)


def scene_candidates(
    token: str,
    human: Array,
    chain: Array,
    vocabulary: Array,
    num_vocabulary: int,
    num_noisy: int,
    noise_scale: float,
    rng: np.random.Generator,
) -> Candidates:
    """All plans of one scene.

    Args:
        human: (T, 3) logged plan, seen from the ego's start in this scene.
        chain: (S + 1, K, T, 3) the policy's plans after 0 ... S denoising steps, metres.
        vocabulary: (V, T, 3), of which `num_vocabulary` are drawn without repetition.
    """
    chosen = rng.choice(len(vocabulary), num_vocabulary, replace=False)
    groups = {
        "vocabulary": vocabulary[np.sort(chosen)],
        **{f"chain_{step}": plans for step, plans in enumerate(chain)},
        "human": human[None],
        "human_noise": noisy_plans(human, num_noisy, noise_scale, rng),
    }
    sources = tuple(name for name, plans in groups.items() for _ in plans)
    return Candidates(token, np.concatenate(list(groups.values())).astype(np.float32), sources)


def score_candidates(candidates: Candidates, contexts: Path, human_filter: bool) -> pa.Table:
    """Rows of the table for one scene.

    Raises ValueError naming the scene if its context is missing or a plan is not finite.
    """
    path = contexts / f"{candidates.token}.npz"
    if not path.is_file():
        raise ValueError(f"{path}: no scoring context of scene {candidates.token}; run 01_data again")
    try:
        columns = score_plans(ScoringContext.load(path), candidates.plans, human_filter=human_filter).columns
    except ValueError as error:
        raise ValueError(f"scene {candidates.token}: {error}") from error
    score = columns[PRODUCT] * columns["weighted"]  # unlike `pdm_score`, from the filtered columns
    table = {
        "token": pa.array([candidates.token] * len(score)),
        "source": pa.array(candidates.sources),
        "plan": pa.FixedSizeListArray.from_arrays(pa.array(candidates.plans.ravel()), type=PLAN_TYPE),
        **{name: pa.array(columns[name].astype(np.float32)) for name in SUB_SCORES},
        SCORE: pa.array(score.astype(np.float32)),
    }
    return pa.table(table, schema=SCHEMA)


def write_scored_plans(
    path: str | Path, scenes: Iterable[Candidates], contexts: Path, human_filter: bool, jobs: int
) -> None:
    """Score the candidates of many scenes in `jobs` processes and write one Parquet file, or nothing.

    Scenes are drawn from the iterator as they are needed: memory holds only those being scored.
    """
    work = (joblib.delayed(score_candidates)(scene, contexts, human_filter) for scene in scenes)
    temporary = Path(path).with_suffix(".partial")
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd", use_dictionary=["token", "source"]) as writer:
        for table in joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4 * n_jobs")(work):
            writer.write_table(table)
    os.replace(temporary, path)


@dataclass(frozen=True)
class ScoredPlans:
    """The table as arrays: n scenes of N plans each."""

    tokens: NDArray[np.str_]  # (n,)
    sources: NDArray[np.str_]  # (N,) the same in every scene
    plans: NDArray[np.float32]  # (n, N, T, 3)
    scores: dict[str, NDArray[np.float32]]  # SUB_SCORES and SCORE, (n, N)


def load_scored_plans(path: str | Path) -> ScoredPlans:
    """Read what `write_scored_plans` wrote.

    Raises ValueError naming the file if a column is missing, a value is not finite, or the scenes differ in sources.
    """
    table = pq.read_table(path)
    if missing := set(SCHEMA.names) - set(table.column_names):
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; run 04_reward_data again")
    token = table["token"].to_numpy()
    tokens = token[np.sort(np.unique(token, return_index=True)[1])]
    sources = table["source"].to_numpy().reshape(len(tokens), -1)
    if (token.reshape(sources.shape) != tokens[:, None]).any() or (sources != sources[0]).any():
        raise ValueError(f"{path}: the scenes do not have the same sources of plans in the same order")
    # Copies, since Arrow's own buffers are read-only and torch wants to be able to write.
    plans = np.array(table["plan"].combine_chunks().flatten()).reshape(*sources.shape, PLAN_POSES, 3)
    scores = {name: np.array(table[name]).reshape(sources.shape) for name in (*SUB_SCORES, SCORE)}
    for name, values in {"plan": plans, **scores}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: column {name}: a value is not finite")
    return ScoredPlans(tokens.astype(np.str_), sources[0].astype(np.str_), plans, scores)


def balance(data: ScoredPlans) -> pd.DataFrame:
    """Mean of every sub-score and of the score by source of plans, and over all."""
    kinds = pd.Index(data.sources, name="source")
    frame = pd.DataFrame({name: values.mean(axis=0) for name, values in data.scores.items()}, index=kinds)
    means = frame.groupby(level="source", sort=False).mean()
    means.loc["all"] = frame.mean()
    return means


def score_single_plans(
    tokens: Sequence[str], plans: Array, contexts: Path, jobs: int, human_filter: bool = True
) -> pd.DataFrame:
    """True sub-scores and score of one plan (n, T, 3) per scene, a row per token."""
    scenes = [
        Candidates(token, np.asarray(plan, np.float32)[None], ("driven",))
        for token, plan in zip(tokens, plans, strict=True)
    ]
    work = (joblib.delayed(score_candidates)(scene, contexts, human_filter) for scene in scenes)
    tables = pa.concat_tables(joblib.Parallel(n_jobs=jobs)(work))
    return tables.drop_columns(["plan", "source"]).to_pandas().set_index("token")
