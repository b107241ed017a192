"""The planners of the tables live in a `Scene` (08): from what the cameras see to a plan.

An agent is a function (scene, images (C, H, W, 3) uint8 in the order of its cameras) -> plan (T, 3) in the ego frame.
It plans as `agents.py` and `reranking.py` do over cached tokens.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla.agents import Tokens, checked_plans, policy_plans, regression_plans, vocabulary_plans
from irlvla.epdms.build import ego_states
from irlvla.frame_pairs import comfort_after
from irlvla.models import baselines
from irlvla.models.policy import Policy
from irlvla.models.regression import RegressionHead
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.semantic import CommandModel
from irlvla.reranking import REWARD_TEMPERATURE, rated_candidates
from irlvla.scenes.dataset import normalize_images
from irlvla.scenes.scene import STATUS_COMMAND, STATUS_VELOCITY, Scene
from irlvla.scenes.targets import camera_inputs
from irlvla.world.rig import fitted_intrinsics

Array = NDArray[np.float64]
Agent = Callable[[Scene, NDArray[np.uint8]], Array]


@torch.no_grad()
def encode_scene(policy: Policy, command_model: CommandModel, scene: Scene, images: NDArray[np.uint8]) -> Tokens:
    """Tokens (1, L, D) of a live scene.

    `images` (C, H, W, 3) of `command_model.cameras`, in the size that the policy was trained with.
    """
    status = scene.status()
    command = torch.tensor([int(status[-1, STATUS_COMMAND].argmax())])
    speed_mps = torch.tensor([float(np.linalg.norm(status[-1, STATUS_VELOCITY]))])
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


def regression_agent(policy: Policy, command_model: CommandModel, head: RegressionHead) -> Agent:
    """The head without diffusion, on the policy's tokens."""
    return lambda scene, images: regression_plans(head, encode_scene(policy, command_model, scene, images))[0]


def reranked_agent(
    policy: Policy, command_model: CommandModel, reward_model: RewardEnsemble, seeing: Policy | None = None
) -> Agent:
    """`reranked_plans` live: it remembers its last plan, and forgets it when the next scene is not half a second later.

    `seeing` encodes for the reward model if it does not read the policy's own tokens.
    """
    last: dict[tuple[str, int], Tensor] = {}  # the last plan (T, 3), by drive and time [us]

    def agent(scene: Scene, images: NDArray[np.uint8]) -> Array:
        cached = encode_scene(policy, command_model, scene, images)
        judged = encode_scene(seeing, command_model, scene, images) if seeing else cached
        rated = rated_candidates(policy, reward_model, cached, judged)
        extended = torch.full_like(rated.logits, torch.nan)
        before, now = ((scene.log_name, int(time)) for time in scene.timestamp_us[scene.now - 1 : scene.now + 1])
        if before in last:
            extended[0] = comfort_after(rated.plans[0], last[before], *ego_states(scene)[[scene.now, scene.now - 1]])
        plan = rated.chosen(torch.tensor([0]), extended, REWARD_TEMPERATURE)[0]
        last.clear()
        last[now] = plan
        return plan.numpy()

    return agent
