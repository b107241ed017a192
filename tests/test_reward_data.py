"""Candidate plans and their labels: sources, smooth noise, the table's contents and what happens to bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from straight_road import CAR, road_scene

from irlvla import PLAN_POSES, reward_data
from irlvla.epdms.build import scoring_context
from irlvla.epdms.scores import SUB_SCORES
from irlvla.params import RewardData
from irlvla.reinforcement import simulator_reward

ROOT = Path(__file__).resolve().parents[1]
STRAIGHT = np.column_stack([np.arange(1, PLAN_POSES + 1) * 4.0, np.zeros(PLAN_POSES), np.zeros(PLAN_POSES)])
VOCABULARY = np.stack([scale * STRAIGHT for scale in np.linspace(0, 1.5, 12)])


def candidates(token: str, seed: int = 0) -> reward_data.Candidates:
    chain = np.stack([np.stack([STRAIGHT, 0.5 * STRAIGHT])] * 3)  # two steps, two anchors
    rng = np.random.default_rng(seed)
    return reward_data.scene_candidates(token, STRAIGHT, chain, VOCABULARY, 5, 4, 0.2, rng)


@pytest.fixture
def contexts(tmp_path) -> Path:
    """Two scenes at 8 m/s on a straight road: free, and with a car standing in the lane."""
    for token, objects in (("free", ()), ("blocked", (CAR,))):
        scoring_context(replace(road_scene(objects), token=token)).save(tmp_path / f"{token}.npz")
    return tmp_path


def test_a_scene_has_plans_from_every_source():
    scene = candidates("free")
    names, counts = np.unique(scene.sources, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "vocabulary": 5, "chain_0": 2, "chain_1": 2, "chain_2": 2, "human": 1, "human_noise": 4,
    }  # fmt: skip
    assert scene.plans.shape == (16, PLAN_POSES, 3)


def test_vocabulary_plans_are_drawn_without_repetition_and_by_seed():
    drawn = [candidates("free", seed).plans[:5, -1, 0].tolist() for seed in (0, 0, 1)]
    assert len(set(drawn[0])) == 5 and drawn[0] == drawn[1] and drawn[0] != drawn[2]


def test_noise_of_scale_zero_is_the_plan_itself_and_larger_noise_grows_along_the_plan():
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(reward_data.noisy_plans(STRAIGHT, 3, 0.0, rng), np.stack([STRAIGHT] * 3), atol=1e-12)
    deviation = np.abs(reward_data.noisy_plans(STRAIGHT, 200, 0.2, rng) - STRAIGHT)[..., :2].mean(axis=(0, 2))
    assert (np.diff(deviation) > 0).all()


def test_noisy_plans_head_where_they_go():
    plans = reward_data.noisy_plans(STRAIGHT, 50, 0.15, np.random.default_rng(0))
    step = np.diff(plans[..., :2], axis=1)
    np.testing.assert_allclose(np.arctan2(step[..., 1], step[..., 0]), plans[:, 1:, 2], atol=0.02)


def test_a_standing_plan_keeps_its_heading_under_noise_of_speed():
    plans = reward_data.noisy_plans(np.zeros((PLAN_POSES, 3)), 20, 0.2, np.random.default_rng(0))
    assert np.abs(plans[..., 0]).max() < 1 and np.isfinite(plans).all()


def test_the_table_says_which_plans_hit_the_standing_car(contexts, tmp_path):
    path = tmp_path / "plans.parquet"
    scenes = [candidates("free"), candidates("blocked")]
    reward_data.write_scored_plans(path, iter(scenes), contexts, human_filter=False, jobs=1)
    data = reward_data.load_scored_plans(path)
    assert data.tokens.tolist() == ["free", "blocked"] and data.plans.shape == (2, 16, PLAN_POSES, 3)
    np.testing.assert_array_equal(data.plans[1], scenes[1].plans)
    no_collision = data.scores["no_at_fault_collisions"]
    reaches_car = data.plans[1, :, -1, 0] > 20
    assert (no_collision[0] == 1).all()
    assert reaches_car.any() and (no_collision[1, reaches_car] == 0).all()
    assert (data.scores["score"][1, reaches_car] == 0).all() and (data.scores["score"][0] > 0).any()


def test_two_processes_write_the_same_bytes_as_one(contexts, tmp_path):
    paths = [tmp_path / f"{jobs}.parquet" for jobs in (1, 2)]
    for jobs, path in enumerate(paths, start=1):
        scenes = [candidates(token) for token in ("free", "blocked")]
        reward_data.write_scored_plans(path, scenes, contexts, human_filter=True, jobs=jobs)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_balance_gives_the_mean_of_every_score_by_source(contexts, tmp_path):
    path = tmp_path / "plans.parquet"
    reward_data.write_scored_plans(path, [candidates("blocked")], contexts, human_filter=False, jobs=1)
    data = reward_data.load_scored_plans(path)
    table = reward_data.balance(data)
    assert list(table.columns) == [*SUB_SCORES, "score"] and table.index[-1] == "all"
    vocabulary = data.scores["no_at_fault_collisions"][:, data.sources == "vocabulary"]
    assert table.loc["vocabulary", "no_at_fault_collisions"] == pytest.approx(vocabulary.mean())


def test_a_scene_without_context_or_with_a_bad_plan_is_an_error_that_names_it_and_writes_nothing(contexts, tmp_path):
    path = tmp_path / "plans.parquet"
    with pytest.raises(ValueError, match="elsewhere"):
        reward_data.write_scored_plans(path, [candidates("elsewhere")], contexts, human_filter=True, jobs=1)
    bad = candidates("free")
    bad.plans[3, 2, 0] = np.nan
    with pytest.raises(ValueError, match="free"):
        reward_data.write_scored_plans(path, [bad], contexts, human_filter=True, jobs=1)
    assert not path.exists()


def test_scenes_with_different_sources_are_refused_when_read(contexts, tmp_path):
    path = tmp_path / "plans.parquet"
    other = candidates("blocked")
    other = replace(other, sources=tuple("x" for _ in other.sources))
    reward_data.write_scored_plans(path, [candidates("free"), other], contexts, human_filter=True, jobs=1)
    with pytest.raises(ValueError, match="same sources"):
        reward_data.load_scored_plans(path)


def test_the_simulators_reward_is_the_true_score_of_each_plan(contexts):
    reward = simulator_reward(["free", "blocked"], contexts, human_filter=False, jobs=1)
    plans = torch.from_numpy(candidates("free").plans)
    rewards = reward(torch.tensor([1, 0]), torch.stack([plans, plans]))
    for row, token in enumerate(("blocked", "free")):
        each = [reward_data.score_single_plans([token], plan[None].numpy(), contexts, 1, False) for plan in plans]
        np.testing.assert_allclose(rewards[row].numpy(), [table["score"].iloc[0] for table in each])


def test_a_vocabulary_of_32_modes_gives_no_44_plans_a_scene_and_sources_can_be_switched_off():
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["reward_data"]
    with pytest.raises(ValueError, match=r"vocabulary_plans: 44 .* 32 of vocabulary_size"):
        RewardData(**section | {"vocabulary_size": 32})
    p = RewardData(**section | {"vocabulary_size": 32, "vocabulary_plans": 0, "noisy_plans": 0})
    human, chain = np.zeros((8, 3)), np.zeros((3, 2, 8, 3))
    rng = np.random.default_rng(0)
    some = reward_data.scene_candidates(
        "a", human, chain, np.zeros((32, 8, 3)), p.vocabulary_plans, p.noisy_plans, p.noise_scale, rng
    )
    assert set(some.sources) == {"chain_0", "chain_1", "chain_2", "human"} and some.plans.shape == (7, 8, 3)
