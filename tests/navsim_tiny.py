"""The small dataset in NAVSIM format of `tests/data/navsim_tiny`, with the official answers on it."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from irlvla.epdms.build import scoring_context
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.score_dataset import load_plans
from irlvla.models.baselines import constant_velocity
from irlvla.scenes.navsim import Dataset

ROOT = Path(__file__).parent / "data" / "navsim_tiny"
LOG = "2030.01.01.00.00.00_veh-01_00000_00020"
STAGES = ("one", "two")


def split_yaml(stage: str) -> Path:
    return ROOT / "splits" / f"tiny_{stage}_stage.yaml"


@cache
def dataset(stage: str) -> Dataset:
    return Dataset(ROOT, split_yaml(stage))


@cache
def context(stage: str, token: str) -> ScoringContext:
    return scoring_context(dataset(stage).scene(token))


@cache
def plans(stage: str, agent: str) -> dict[str, np.ndarray]:
    """Plans of the agent behind `official/<stage>_stage_<agent>.csv`."""
    if agent == "plans":
        return load_plans(ROOT / "official" / f"{stage}_stage_plans.npz")
    if agent == "human":
        return {scene.token: scene.human_plan() for scene in dataset(stage)}
    return {scene.token: constant_velocity(scene.status()[None])[0] for scene in dataset(stage)}


def official(stage: str, agent: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "official" / f"{stage}_stage_{agent}.csv").set_index("token")
