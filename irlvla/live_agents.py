"""Drivers of the closed loop: the planners of `seeing_agents` with the camera images that they need.

Each `make_*` returns an agent, scene -> plan (T, 3) in the ego frame, and is called in the process where it drives.
"""

from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from irlvla import PLAN_POSES
from irlvla.agents import pdm_closed_plan
from irlvla.closed_loop import Agent
from irlvla.diffusion import fit_anchors
from irlvla.epdms.build import scoring_context
from irlvla.models.baselines import fit_ego_status_mlp
from irlvla.models.policy import Policy
from irlvla.models.pretrained_vlm import load_command_model
from irlvla.models.regression import RegressionHead
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.semantic import CommandModel
from irlvla.reward_encoders import reward_encoders
from irlvla.scenes.scene import Scene
from irlvla.scenes.targets import load_targets
from irlvla.seeing_agents import Agent as SeeingAgent
from irlvla.seeing_agents import (
    constant_velocity_agent,
    ego_status_agent,
    policy_agent,
    regression_agent,
    reranked_agent,
    vocabulary_agent,
)
from irlvla.suite import Driver, file_version
from irlvla.world.cameras import render

Array = NDArray[np.float64]

NO_IMAGES = np.zeros((0, 0, 0, 3), dtype=np.uint8)
POLICIES = {
    "without_semantics": "imitation/ablations/without_semantics.pt",
    "imitation": "imitation/policy.pt",
    "rlvr": "reinforcement/policy_rlvr.pt",
    "reinforcement": "reinforcement/policy.pt",
}
VOCABULARY_SIZE = 256


def driver(name: str, runs: Path, checks: bool, seed: int) -> Driver:
    """A driver by name, from what the stages wrote below `runs`.

    constant_velocity, ego_status_mlp, regression_head, vocabulary_scorer, reinforcement_reranked, pdm_closed, or one of
    POLICIES: with explicit checks if wanted. `seed` is that of the network on the ego status and of the vocabulary.
    Raises FileNotFoundError if a stage's file is missing, ValueError for another name.
    """
    vlm, policy = runs / "semantic_reasoning" / "vlm", runs / POLICIES["imitation"]
    train = runs / "data" / "scenes" / "train.npz"
    encoders = (policy, vlm / "model.safetensors")
    if name in POLICIES:
        own = runs / POLICIES[name]
        version = f"{file_version(own, *encoders[1:])}{' checked' if checks else ''}"
        return Driver(name, partial(make_policy, own, vlm, checks), version)
    if name == "regression_head":
        head = runs / "imitation" / "regression.pt"
        return Driver(name, partial(make_regression_head, head, policy, vlm), file_version(head, *encoders))
    reward_model, seeing = runs / "reward_world_model" / "reward_model.pt", reward_encoders(runs) / "policy.pt"
    if name == "reinforcement_reranked":
        own, judge = runs / POLICIES["reinforcement"], None if seeing == policy else seeing
        version = file_version(own, reward_model, seeing, *encoders[1:])
        return Driver(name, partial(make_reranked_policy, own, reward_model, judge, vlm), version)
    if name == "vocabulary_scorer":
        version = f"{file_version(reward_model, train, seeing, *encoders[1:])} {seed}"
        return Driver(name, partial(make_vocabulary_scorer, reward_model, train, seed, seeing, vlm), version)
    if name == "ego_status_mlp":
        return Driver(name, partial(make_ego_status_mlp, train, seed), f"{file_version(train)} {seed}")
    if name == "constant_velocity":
        return Driver(name, make_constant_velocity, "1")
    if name == "pdm_closed":
        return Driver(name, make_pdm_closed, "1")
    raise ValueError(f"no driver is called {name!r}")


@cache
def make_policy(policy_path: Path, command_model_folder: Path, checks: bool) -> Agent:
    """IRL-VLA: the images of its cameras are rendered at each replan, in the size that it was trained with."""
    policy, command_model = _encoders(policy_path, command_model_folder)
    return _seeing(policy_agent(policy, command_model, checks), policy, command_model)


@cache
def make_regression_head(head_path: Path, policy_path: Path, command_model_folder: Path) -> Agent:
    """One plan straight from the tokens of the imitation policy's encoders."""
    policy, command_model = _encoders(policy_path, command_model_folder)
    return _seeing(regression_agent(policy, command_model, RegressionHead.load(head_path)), policy, command_model)


@cache
def make_reranked_policy(
    policy_path: Path, reward_model_path: Path, seeing_path: Path | None, command_model_folder: Path
) -> Agent:
    """A policy whose candidates the reward model judges, on tokens of another policy's encoders if that is given."""
    policy, command_model = _encoders(policy_path, command_model_folder)
    seeing = Policy.load(seeing_path) if seeing_path else None
    reward_model = RewardEnsemble.load(reward_model_path)
    return _seeing(reranked_agent(policy, command_model, reward_model, seeing), policy, command_model)


@cache
def make_vocabulary_scorer(
    reward_model_path: Path, train_path: Path, seed: int, policy_path: Path, command_model_folder: Path
) -> Agent:
    """The reward model chooses among VOCABULARY_SIZE modes of human plans, as in notebook 07."""
    policy, command_model = _encoders(policy_path, command_model_folder)
    targets = load_targets(train_path)
    human = targets["plan"][targets["has_plan"]]
    vocabulary = fit_anchors(human, min(VOCABULARY_SIZE, len(human)), seed)
    reward_model = RewardEnsemble.load(reward_model_path)
    return _seeing(vocabulary_agent(policy, command_model, reward_model, vocabulary), policy, command_model)


@cache
def make_ego_status_mlp(train_path: Path, seed: int) -> Agent:
    """The blind network of notebook 07."""
    targets = load_targets(train_path)
    known = targets["has_plan"]
    agent = ego_status_agent(fit_ego_status_mlp(targets["status"][known], targets["plan"][known], seed))
    return lambda scene: agent(scene, NO_IMAGES)


def _encoders(policy_path: Path, command_model_folder: Path) -> tuple[Policy, CommandModel]:
    torch.set_num_threads(1)  # routes are driven in parallel
    return Policy.load(policy_path), load_command_model(command_model_folder)


def _seeing(agent: SeeingAgent, policy: Policy, command_model: CommandModel) -> Agent:
    return lambda scene: agent(scene, render(scene, command_model.cameras, *policy.image_hw))


def make_constant_velocity() -> Agent:
    """Straight on at the present speed."""
    return lambda scene: constant_velocity_agent(scene, NO_IMAGES)


def make_pdm_closed() -> Agent:
    """PDM-Closed, privileged: it knows map, objects and lights, and forecasts constant velocities."""
    return lambda scene: pdm_closed_plan(scoring_context(with_empty_future(scene)))


def with_empty_future(scene: Scene) -> Scene:
    """The scene and T frames in which the ego stands and nothing is seen: PDM-Closed looks at the present only."""

    def padded(values: NDArray) -> NDArray:
        return np.concatenate([values, np.repeat(values[-1:], PLAN_POSES, axis=0)])

    columns = ("timestamp_us", "ego_poses", "ego_velocity_mps", "ego_acceleration_mps2", "driving_command")
    tracks = replace(scene.tracks, **{f.name: padded(getattr(scene.tracks, f.name)) for f in fields(scene.tracks)[2:]})
    tracks.valid[len(scene.ego_poses) :] = False
    return replace(
        scene,
        tracks=tracks,
        red_connectors=scene.red_connectors + scene.red_connectors[-1:] * PLAN_POSES,
        **{name: padded(getattr(scene, name)) for name in columns},
    )
