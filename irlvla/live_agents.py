"""Drivers of the closed loop: the planners of `agents` with the camera images that they need.

Each `make_*` returns an agent, scene -> plan (T, 3) in the ego frame, and is called in the process where it drives.
"""

from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from irlvla import PLAN_POSES
from irlvla.agents import constant_velocity_agent, pdm_closed_plan, policy_agent
from irlvla.closed_loop import Agent
from irlvla.epdms.build import scoring_context
from irlvla.models.policy import Policy
from irlvla.models.pretrained_vlm import load_command_model
from irlvla.scenes.scene import Scene
from irlvla.suite import Driver, file_version
from irlvla.world.cameras import render

Array = NDArray[np.float64]


def driver(name: str, runs: Path, checks: bool) -> Driver:
    """constant_velocity, pdm_closed, or the policy of the stage `name` below `runs`, with explicit checks if wanted.

    Raises FileNotFoundError if there is no such policy.
    """
    if name == "constant_velocity":
        return Driver(name, make_constant_velocity, "1")
    if name == "pdm_closed":
        return Driver(name, make_pdm_closed, "1")
    policy, vlm = runs / name / "policy.pt", runs / "semantic_reasoning" / "vlm"
    version = f"{file_version(policy, vlm / 'model.safetensors')}{' checked' if checks else ''}"
    return Driver(name, partial(make_policy, policy, vlm, checks), version)


@cache
def make_policy(policy_path: Path, command_model_folder: Path, checks: bool) -> Agent:
    """IRL-VLA: the images of its cameras are rendered at each replan, in the size that it was trained with."""
    torch.set_num_threads(1)  # routes are driven in parallel
    policy, command_model = Policy.load(policy_path), load_command_model(command_model_folder)
    agent = policy_agent(policy, command_model, checks)
    return lambda scene: agent(scene, render(scene, command_model.cameras, *policy.image_hw))


def make_constant_velocity() -> Agent:
    """Straight on at the present speed."""
    return lambda scene: constant_velocity_agent(scene, np.zeros((0, 0, 0, 3), dtype=np.uint8))


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
