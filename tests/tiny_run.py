"""A finished run small enough for a test: policy, tokens, scoring contexts, scored plans and a reward model."""

from pathlib import Path

import numpy as np
import pandas as pd
import tiny_policy
import torch
from epdms_scenes import road, straight_plan, with_track

from irlvla.agents import policy_chains
from irlvla.models.policy import Policy
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.reward_data import scene_candidates, write_scored_plans
from irlvla.scenes.dataset import TARGETS
from irlvla.tokens import TokenStore, encode_dataset, save_tokens

SPLITS = {"train": 6, "val": 3, "test": 3}
VOCABULARY = np.stack([straight_plan(speed) for speed in (0.0, 4.0, 8.0, 12.0)])


def imitation(folder: Path, splits: dict[str, int]) -> Policy:
    """Targets of the scenes `<split><i>`, a policy and the tokens of all. Returns the policy.

    The last scene of each split is a moved start: it has no human plan.
    """
    (folder / "imitation").mkdir(parents=True)
    (folder / "data" / "scenes").mkdir(parents=True)
    policy, names, tokens = tiny_policy.policy().eval(), [], []
    for seed, (split, count) in enumerate(splits.items()):
        batch = tiny_policy.batch(count, seed)
        batch["has_plan"][-1] = False
        columns = {name: batch[name].numpy() for name in ("status", "intrinsics", *TARGETS)}
        columns |= {"tokens": np.array([f"{split}{i}" for i in range(count)]), "image_path": np.array(["-"] * count)}
        np.savez(folder / "data" / "scenes" / f"{split}.npz", **columns, x_range_m=np.array(tiny_policy.X_RANGE_M))
        names += columns["tokens"].tolist()
        tokens.append(encode_dataset(policy, tiny_policy.Rows(batch)))
    policy.save(folder / "imitation" / "policy.pt")
    every = {kind: np.concatenate([part[kind] for part in tokens]) for kind in tokens[0]}
    save_tokens(folder / "imitation" / "tokens.npz", names, every)
    return policy


def make(folder: Path) -> Path:
    """Write the whole run; in every second scene a car stands 15 m ahead on the straight road."""
    policy = imitation(folder, SPLITS)
    for name in ("data/contexts", "reward_data", "reward_world_model"):
        (folder / name).mkdir(parents=True)
    scenes = {f"{split}{i}": i for split, count in SPLITS.items() for i in range(count)}
    empty = road(scene_type="synthetic")  # where the human filter forgives nothing
    for scene, i in scenes.items():
        context = with_track(empty, 15.0, 0.0) if i % 2 else empty
        context.save(folder / "data" / "contexts" / f"{scene}.npz")
    pd.DataFrame({"token": list(scenes), "previous": None}).to_csv(folder / "data" / "samples.csv", index=False)
    _reward(folder, policy)
    return folder


def _reward(folder: Path, policy: Policy) -> None:
    """Scored plans of the training and validation scenes, and a reward model that has not learned."""
    store, rng, generator = TokenStore(folder / "imitation" / "tokens.npz"), np.random.default_rng(0), torch.Generator()
    np.savez(folder / "reward_data" / "vocabulary.npz", plans=VOCABULARY)
    for split in ("train", "val"):
        scenes = [f"{split}{i}" for i in range(SPLITS[split])]
        chains = policy_chains(policy, store.batch(scenes), 1.0, 0.1, generator.manual_seed(0))
        some = [
            scene_candidates(scene, VOCABULARY[2], chain, VOCABULARY, 3, 3, 0.25, rng)
            for scene, chain in zip(scenes, chains, strict=True)
        ]
        write_scored_plans(folder / "reward_data" / f"{split}.parquet", some, folder / "data" / "contexts", True, 1)
    torch.manual_seed(0)
    sizes = {"channels": 16, "heads": 2, "feedforward": 32, "blocks": 1}
    area = {"x_range_m": tiny_policy.X_RANGE_M, "y_range_m": tiny_policy.Y_RANGE_M}
    RewardEnsemble(members=2, **sizes, **area).save(folder / "reward_world_model" / "reward_model.pt")
