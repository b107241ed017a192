"""Who drives: every planner of the tables, over cached tokens (07) and live in a `Scene` (08).

A live agent is a function (scene, images (C, H, W, 3) uint8 in the order of its cameras) -> plan (T, 3) in the ego
frame. All are deterministic: the diffusion starts at the noise-free anchors, takes noise-free steps, and the candidate
with the highest score is driven. Imitation trains the score to find the candidate nearest to the human; reinforcement
learning trains it on to find the one of the highest reward. Who asks the reward model as well: `reranking.py`.

    n scenes   K candidates   V modes of a vocabulary   S denoising steps
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla import PLAN_POSES
from irlvla.epdms.context import ScoringContext
from irlvla.models import baselines
from irlvla.models.checks import checked, perceived_faults
from irlvla.models.policy import Policy, best_plan
from irlvla.models.regression import RegressionHead
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.semantic import CommandModel
from irlvla.scenes.dataset import normalize_images
from irlvla.scenes.scene import Scene
from irlvla.scenes.targets import camera_inputs
from irlvla.side_by_side import side_by_side
from irlvla.world.rig import fitted_intrinsics

Array = NDArray[np.float64]
Tokens = dict[str, Tensor]
Agent = Callable[[Scene, NDArray[np.uint8]], Array]

BATCH_SCENES = 32
COMMAND, VELOCITY = slice(0, 4), slice(4, 6)  # columns of `Scene.status`


def batches(cached: Tokens, scenes: int = BATCH_SCENES) -> Iterator[Tokens]:
    """Cached tokens of n scenes in single precision, so many at a time."""
    for rows in torch.arange(len(cached["status"])).split(scenes):
        yield {name: values[rows].float() for name, values in cached.items()}


# ------------------------------------------------------------------ over cached tokens


@torch.no_grad()
def policy_candidates(policy: Policy, cached: Tokens) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Denoised candidates (n, K, T, 3) in metres and radians, and their logits (n, K), without any noise."""
    results = [policy.plan(tokens) for tokens in batches(cached)]
    return tuple(torch.cat(parts).numpy() for parts in zip(*results, strict=True))


def policy_plans(policy: Policy, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) what the policy drives."""
    plans, logits = policy_candidates(policy, cached)
    return best_plan(torch.from_numpy(plans), torch.from_numpy(logits)).numpy()


@torch.no_grad()
def checked_plans(policy: Policy, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) what the policy drives if candidates with perceived faults come after all others (`checks.py`)."""
    area, chosen = (policy.planner.encoder.x_range_m, policy.planner.encoder.y_range_m), []
    for tokens in batches(cached):
        plans, logits = policy.plan(tokens)
        faults = perceived_faults(policy.read(tokens), plans, *area)
        chosen.append(best_plan(plans, checked(logits, faults)))
    return torch.cat(chosen).numpy()


@torch.no_grad()
def regression_plans(head: RegressionHead, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) plans of the head without diffusion."""
    return torch.cat([head(tokens) for tokens in batches(cached)]).numpy()


@torch.no_grad()
def policy_chains(
    policy: Policy, cached: Tokens, eta: float, std_floor: float, generator: torch.Generator
) -> NDArray[np.float32]:
    """(n, S + 1, K, T, 3) plans in metres and radians after 0 ... S denoising steps with fresh noise."""
    results = []
    for tokens in batches(cached):
        chain = policy.chain(tokens, policy.noise(len(tokens["status"]), generator), eta, std_floor)
        results.append(policy.normalizer.denormalize(chain.plans).transpose(1, 2))
    return torch.cat(results).numpy()


def vocabulary_plans(reward_model: RewardEnsemble, vocabulary: Array, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) plan of the vocabulary (V, T, 3) with the highest predicted reward.

    One scene at a time: thousands of plans in many scenes overflow the processor's caches.
    """
    plans = torch.as_tensor(vocabulary, dtype=torch.float32)
    jobs = {i: partial(_most_promising, reward_model, plans, scene) for i, scene in enumerate(batches(cached, 1))}
    return plans[torch.cat(list(side_by_side(jobs).values()))].numpy()


@torch.no_grad()
def _most_promising(reward_model: RewardEnsemble, plans: Tensor, tokens: Tokens) -> Tensor:
    """(1,) row of plans (V, T, 3) in a scene."""
    return reward_model.reward(tokens, plans[None]).argmax(dim=1)


def human_plan(context: ScoringContext) -> Array:
    """(T, 3) what the human drove."""
    return context.human_poses


def pdm_closed_plan(context: ScoringContext) -> Array:
    """(T, 3) PDM-Closed's plan, a planner that knows map and objects; it is EPDMS' reference for progress."""
    return context.reference_poses[::-1][: 5 * PLAN_POSES : 5][::-1]  # 4.0, 3.5 ... 0.5 s of 10 Hz poses


# ------------------------------------------------------------------ live


def constant_velocity_agent(scene: Scene, images: NDArray[np.uint8]) -> Array:
    return baselines.constant_velocity(scene.status()[None])[0]


def ego_status_agent(model: baselines.EgoStatusMLP) -> Agent:
    return lambda scene, images: model(scene.status()[None])[0]


def policy_agent(policy: Policy, command_model: CommandModel, checks: bool = False) -> Agent:
    """IRL-VLA after imitation or after reinforcement learning, by the policy given; with explicit checks if wanted."""
    plans = checked_plans if checks else policy_plans
    return lambda scene, images: plans(policy, encode_scene(policy, command_model, scene, images))[0]


def vocabulary_agent(
    policy: Policy, command_model: CommandModel, reward_model: RewardEnsemble, vocabulary: Array
) -> Agent:
    """The reward model as a planner: it scores a fixed vocabulary on the policy's tokens (Hydra-MDP, GTRS)."""
    return lambda scene, images: vocabulary_plans(
        reward_model, vocabulary, encode_scene(policy, command_model, scene, images)
    )[0]


@torch.no_grad()
def encode_scene(policy: Policy, command_model: CommandModel, scene: Scene, images: NDArray[np.uint8]) -> Tokens:
    """Tokens (1, L, D) of a live scene.

    `images` (C, H, W, 3) of `command_model.cameras`, in the size that the policy was trained with.
    """
    status = scene.status()
    command = torch.tensor([int(status[-1, COMMAND].argmax())])
    speed_mps = torch.tensor([float(np.linalg.norm(status[-1, VELOCITY]))])
    cameras = camera_inputs(scene, command_model.cameras)
    sizes = [tuple(size) for size in cameras["camera_size_px"].tolist()]
    intrinsics = [
        fitted_intrinsics(matrix, size, *images.shape[1:3])
        for matrix, size in zip(cameras["intrinsics"], sizes, strict=True)
    ]
    batch = {
        "images": normalize_images(images),
        "intrinsics": torch.from_numpy(np.stack(intrinsics)).float(),
        "ego_from_camera": torch.from_numpy(cameras["ego_from_camera"]),
        "status": torch.from_numpy(status).float(),
        "meta": command_model.meta_tokens(torch.from_numpy(images)[None], command, speed_mps)[0],
    }
    return policy.encode({name: values[None] for name, values in batch.items()})
