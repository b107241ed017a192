"""Drivers of the closed loop."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny_policy
import torch
from straight_road import road_scene

from irlvla import PLAN_POSES
from irlvla.live_agents import POLICIES, driver, make_constant_velocity, make_pdm_closed, with_empty_future
from irlvla.models.regression import RegressionHead
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.semantic import CommandModel
from irlvla.params import DriverName

AHEAD = ("a", "vehicle", 20.0, -1.75, 0.0, 4.0, 2.0, 1.5)


def present_only(scene):
    """As the living world gives it: no frame after the present one."""
    from dataclasses import fields, replace

    names = (
        "timestamp_us",
        "ego_poses",
        "ego_velocity_mps",
        "ego_acceleration_mps2",
        "driving_command",
        "red_connectors",
    )
    past = slice(0, scene.now + 1)
    tracks = {f.name: getattr(scene.tracks, f.name)[past] for f in fields(scene.tracks)[2:]}
    cut = {name: getattr(scene, name)[past] for name in names}
    return replace(scene, tracks=replace(scene.tracks, **tracks), **cut)


def test_constant_velocity_goes_straight_on():
    plan = make_constant_velocity()(present_only(road_scene()))
    np.testing.assert_allclose(plan[:, 0], 4.0 * np.arange(1, PLAN_POSES + 1), atol=1e-6)
    np.testing.assert_allclose(plan[:, 1:], 0, atol=1e-6)


def test_pdm_closed_needs_no_future_drives_on_and_stops_behind_a_standing_car():
    free = make_pdm_closed()(present_only(road_scene()))
    behind = make_pdm_closed()(present_only(road_scene([AHEAD])))
    assert free.shape == behind.shape == (PLAN_POSES, 3)
    assert free[-1, 0] > 30
    assert behind[-1, 0] < 20 - 2 - 4.049  # its front stays behind the car's rear


def test_the_empty_future_holds_nothing_and_leaves_the_scene_alone():
    scene = present_only(road_scene([AHEAD]))
    padded = with_empty_future(scene)
    assert padded.num_future_frames == PLAN_POSES and scene.num_future_frames == 0
    assert padded.tracks.valid[: scene.now + 1].all() and not padded.tracks.valid[scene.now + 1 :].any()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """What the stages leave for the drivers, of the smallest models."""
    runs = tmp_path_factory.mktemp("runs")
    for name in ("semantic_reasoning", "imitation/ablations", "reinforcement", "reward_world_model", "data/scenes"):
        (runs / name).mkdir(parents=True)
    torch.manual_seed(0)
    sizes = {"tokens_per_view": 2, "vision_dim": 32, "vision_layers": 1, "text_dim": 32, "text_layers": 1}
    CommandModel.small(tiny_policy.CAMERAS, (32, 96), **sizes).save(runs / "semantic_reasoning" / "vlm")
    policy = tiny_policy.policy(meta_channels=32)
    for path in POLICIES.values():
        policy.save(runs / path)
    head = RegressionHead(channels=16, heads=2, feedforward=32, plan_blocks=1)
    head.normalizer.load_state_dict(policy.normalizer.state_dict())
    head.save(runs / "imitation" / "regression.pt")
    shape = {name: policy.arguments[name] for name in ("channels", "heads", "feedforward", "x_range_m", "y_range_m")}
    RewardEnsemble(members=1, **shape, blocks=1).save(runs / "reward_world_model" / "reward_model.pt")
    unused = ("boxes", "polylines", "bev", "route", "light", "intrinsics", "image_path", "x_range_m")
    np.savez(
        runs / "data" / "scenes" / "train.npz", tokens=np.arange(30).astype(str), status=np.zeros((30, 4, 8)),
        plan=tiny_policy.human_plans(30), has_plan=np.ones(30, bool), **{name: np.zeros(30) for name in unused},
    )  # fmt: skip
    return runs


@pytest.mark.parametrize("name", get_args(DriverName))
def test_every_driver_of_the_parameters_plans_from_what_the_stages_wrote(runs, name):
    scene = present_only(road_scene([AHEAD]))
    made = driver(name, runs, checks=False, seed=0)
    plan = made.make()(scene)
    assert made.name == name and plan.shape == (PLAN_POSES, 3) and np.isfinite(plan).all()
    np.testing.assert_array_equal(driver(name, runs, checks=False, seed=0).make()(scene), plan)


def test_the_version_of_a_driver_changes_with_its_files_its_checks_and_its_seed(runs):
    def version(name: str, checks: bool = False, seed: int = 0) -> str:
        return driver(name, runs, checks, seed).version

    assert version("imitation") == version("imitation", seed=1) != version("imitation", checks=True)
    assert version("ego_status_mlp") != version("ego_status_mlp", seed=1)
    assert version("vocabulary_scorer") != version("vocabulary_scorer", seed=1)
    reranked, reward_model = version("reinforcement_reranked"), runs / "reward_world_model" / "reward_model.pt"
    RewardEnsemble(**RewardEnsemble.load(reward_model).arguments).save(reward_model)  # other weights
    assert version("reinforcement_reranked") != reranked
    before = version("rlvr"), version("regression_head")
    tiny_policy.policy(seed=1, meta_channels=32).save(runs / POLICIES["rlvr"])
    assert version("rlvr") != before[0] and version("regression_head") == before[1]


def test_a_policy_that_was_not_trained_and_an_unknown_driver_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="imitation/policy.pt"):
        driver("imitation", tmp_path, checks=False, seed=0)
    with pytest.raises(ValueError, match="'chauffeur'"):
        driver("chauffeur", tmp_path, checks=False, seed=0)
