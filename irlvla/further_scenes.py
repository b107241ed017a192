"""Scenes of a dataset that was made after all training, planned by the policies of a finished study.

The scenes are prepared as by notebook 01, read by the vision-language model and by each seed's encoders, and planned by
each seed's policies. `replication.py` scores two-stage groups of them, `logged_starts.py` single scenes;
`unlabelled.py` trains in such scenes.

    n scenes   T plan poses
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from irlvla import agents
from irlvla.command_data import CommandDataset, answer_all
from irlvla.epdms.context import ScoringContext
from irlvla.frame_pairs import FramePairs
from irlvla.models.baselines import constant_velocity
from irlvla.models.policy import Policy
from irlvla.models.pretrained_vlm import load_command_model
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.params import Data
from irlvla.reranking import rated_candidates, reranked_plans
from irlvla.reward_encoders import reward_encoders
from irlvla.scenes.dataset import SceneDataset
from irlvla.scenes.prepare import Recipe, prepare
from irlvla.scenes.targets import load_targets
from irlvla.tokens import encode_dataset

Plans = dict[str, NDArray[np.float32]]  # agent -> (n, T, 3)

NEEDED = ("data", "semantic_reasoning", "imitation", "reward_world_model", "reinforcement")  # stages of each run
SPLIT = "test"
BATCH_SIZE = 16


def split_yaml(root: Path, split: str) -> Path:
    """Where a dataset lists the scenes of a split."""
    return root / "splits" / f"{split}.yaml"


def tested_towns(known: pd.DataFrame) -> set[str]:
    """Towns in which the main run is tested, by its table of samples."""
    return set(known.loc[known["split"] == SPLIT, "town"])


def kind_of_town(town: pd.Series, tested: Collection[str]) -> pd.Series:
    """What a town is counted under: those in which the main run is `tested`, or further ones."""
    return town.isin(tested).map({True: "test towns", False: "further towns"})


def recipe_of(root: Path, out: Path, p: Data) -> Recipe:
    """What notebook 01 would make of the scenes of `root`, below `out`."""
    area = (tuple(p.x_range_m), tuple(p.y_range_m))
    return Recipe(root, out, tuple(p.cameras), tuple(p.image_size), p.images, p.bev_cells, *area, p.seed)


def prepare_further(root: Path, split: str, samples: pd.DataFrame, out: Path, p: Data, known: pd.DataFrame) -> None:
    """Write images, targets and scoring contexts of the scenes `samples` of a split of `root` below `out`.

    Raises ValueError naming a town that is a training or validation town in the table of samples `known`.
    """
    seen = set(known.loc[known["split"] != SPLIT, "town"]) & set(samples["town"])
    if seen:
        raise ValueError(f"{split_yaml(root, split)}: policies were trained or chosen on {min(seen)}; use other towns")
    prepare(recipe_of(root, out, p), samples, {split: split_yaml(root, split)}, p.workers)


def read_scenes(out: Path, split: str, main_run: Path, p: Data) -> SceneDataset:
    """Prepared scenes of a split, read by the vision-language model of the main run, which all runs share."""
    targets, blobs = load_targets(out / "scenes" / f"{split}.npz"), out / "sensor_blobs"
    command_model = load_command_model(main_run / "semantic_reasoning" / "vlm")
    meta = answer_all(command_model, CommandDataset(targets, blobs, p.cameras), BATCH_SIZE, "meta tokens")["meta"]
    return SceneDataset(targets, blobs, Policy.load(main_run / "imitation" / "policy.pt").image_hw, meta)


def encoded(policy: Policy, scenes: SceneDataset) -> agents.Tokens:
    """Tokens of all scenes, by the encoders of a policy."""
    arrays = encode_dataset(policy, scenes, BATCH_SIZE)
    return {kind: torch.from_numpy(values) for kind, values in arrays.items()}


def judged_tokens(run: Path, scenes: SceneDataset, cached: agents.Tokens) -> agents.Tokens:
    """What the reward model of a run reads of all scenes: `cached`, the policy's, or by encoders of its own."""
    seeing = reward_encoders(run)
    return cached if seeing == run / "imitation" else encoded(Policy.load(seeing / "policy.pt"), scenes)


def learned_plans(run: Path, scenes: SceneDataset, pairs: FramePairs) -> Plans:
    """What the policies of a run drive in n scenes, as in notebook 07."""
    imitation = Policy.load(run / "imitation" / "policy.pt")
    cached = encoded(imitation, scenes)
    judged = judged_tokens(run, scenes, cached)
    reward_model = RewardEnsemble.load(run / "reward_world_model" / "reward_model.pt")
    verified, reinforced = (Policy.load(run / "reinforcement" / name) for name in ("policy_rlvr.pt", "policy.pt"))
    rated = [rated_candidates(policy, reward_model, cached, judged) for policy in (imitation, reinforced)]
    return {
        "IRL-VLA-IL": agents.policy_plans(imitation, cached),
        "IL reranked": reranked_plans(rated[0], pairs),
        "RLVR": agents.policy_plans(verified, cached),
        "IRL-VLA": agents.policy_plans(reinforced, cached),
        "IRL-VLA reranked": reranked_plans(rated[1], pairs),
    }


def plans_by_run(samples: pd.DataFrame, out: Path, p: Data, folders: Sequence[Path]) -> Iterator[Plans]:
    """Plans of the prepared scenes by constant velocity, PDM-Closed and the policies of each run in `folders`.

    The first is the main run, whose vision-language model all runs share.
    """
    scenes, tokens, contexts = read_scenes(out, SPLIT, folders[0], p), samples["token"].tolist(), out / "contexts"
    pairs = FramePairs.load(samples, tokens, contexts)
    rules = (agents.pdm_closed_plan(ScoringContext.load(contexts / f"{token}.npz")) for token in tokens)
    marks = {"constant velocity": constant_velocity(scenes.columns["status"]), "PDM-Closed": np.stack(list(rules))}
    for run in folders:
        yield marks | learned_plans(run, scenes, pairs)
