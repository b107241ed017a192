"""Two-stage evaluation of several agents: tables and bootstrap."""

import navsim_tiny
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from navsim_tiny import dataset

from irlvla.evaluation import (
    available_groups,
    bootstrap_interval,
    by_scenario,
    candidate_table,
    clustered_interval,
    evaluate,
    group_scores,
    most_different_scene,
    paired_difference,
    summary,
)

AGENTS = ("human", "constant_velocity", "plans")


@pytest.fixture(scope="module")
def groups():
    return dataset("two").split.groups


@pytest.fixture(scope="module")
def scores(groups, tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("contexts")
    for token in dataset("two").tokens:
        navsim_tiny.context("two", token).save(folder / f"{token}.npz")
    plans = {agent: navsim_tiny.plans("two", agent) for agent in AGENTS}
    return evaluate(dataset("two"), folder, groups, plans, workers=1)


@pytest.mark.parametrize("agent", AGENTS)
def test_all_agents_at_once_score_as_the_official_script_scores_each(scores, agent):
    answers = navsim_tiny.official("two", agent)
    table = scores[scores["agent"] == agent].set_index("token")
    assert set(table.index) == set(answers.index)
    for name in ("score", "weight", "ego_progress", "two_frame_extended_comfort", "pdm_score"):
        got = table.loc[answers.index, name].astype(float)
        np.testing.assert_allclose(got, answers[name].astype(float), atol=1e-6, err_msg=name)


def test_group_scores_average_to_the_official_summary(scores, groups):
    for agent in AGENTS:
        by_group = group_scores(scores[scores["agent"] == agent], groups)
        answers = navsim_tiny.official("two", agent)["score"]
        for stage in ("combined", "stage_one", "stage_two"):
            assert getattr(by_group, stage).shape == (3,)
            assert getattr(by_group, stage).mean() == pytest.approx(answers[f"extended_pdm_score_{stage}"], abs=1e-6)


def test_the_table_has_a_line_per_agent_with_intervals_around_the_means(scores, groups):
    table = summary(scores, groups, samples=500, seed=0)
    assert tuple(table.index) == AGENTS and (table["scenes"] == 24).all()
    for stage in ("combined", "stage_one", "stage_two"):
        assert (table[f"{stage}_low"] <= table[stage] + 1e-12).all()
        assert (table[stage] <= table[f"{stage}_high"] + 1e-12).all()
    assert table.loc["human", "no_at_fault_collisions_stage_one"] == 1.0
    pd.testing.assert_frame_equal(table, summary(scores, groups, samples=500, seed=0))


def test_an_agent_does_not_differ_from_itself(scores, groups):
    same = paired_difference(scores, groups, "human", "human", samples=100, seed=0)
    assert not same[["difference", "low", "high", "groups_better", "groups_worse"]].any(axis=None)
    better = paired_difference(scores, groups, "human", "plans", samples=100, seed=0)
    worse = paired_difference(scores, groups, "plans", "human", samples=100, seed=0)
    assert better.loc["combined", "low"] > 0 and better.loc["combined", "groups_better"] == 3
    np.testing.assert_allclose(better["difference"], -worse["difference"])


def test_the_scene_shown_is_where_the_gain_is_largest(scores):
    token = most_different_scene(scores, "human", "plans")
    one = scores[scores["stage"] == 1].set_index(["agent", "token"])["score"].astype(float)
    gains = one["human"] - one["plans"]
    assert gains[token] == gains.max() > 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_an_interval_holds_between_the_extremes(values, seed):
    low, high = bootstrap_interval(np.array(values), 200, seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_the_interval_narrows_with_the_root_of_the_groups():
    values = np.random.default_rng(0).random(400)
    few, many = (np.diff(bootstrap_interval(values[:count], 2000, 0))[0] for count in (25, 400))
    assert 2.5 < few / many < 6.5  # sqrt(16) = 4
    assert many == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_an_interval_over_clusters_of_one_row_is_that_over_rows():
    values = np.random.default_rng(0).random(20)
    got = clustered_interval(values, np.arange(20), 500, 3)
    assert got == pytest.approx(bootstrap_interval(values, 500, 3))


def test_scenes_that_repeat_within_their_group_do_not_narrow_the_interval():
    values, clusters = np.random.default_rng(0).random(12), np.arange(12)
    once = clustered_interval(values, clusters, 1000, 0)
    assert clustered_interval(np.repeat(values, 5), np.repeat(clusters, 5), 1000, 0) == pytest.approx(once)


def test_scenario_types_share_out_all_scenes_and_their_means_add_up(scores, groups):
    tokens = scores.loc[scores["stage"].notna(), "token"].unique()
    scenario = pd.Series(np.where(np.arange(len(tokens)) % 3 == 0, "turn", "cruise"), tokens)
    table = by_scenario(scores, groups, scenario, "human", "plans", samples=200, seed=0)
    assert set(table.index) == {"turn", "cruise"} and table["scenes"].sum() == 24
    np.testing.assert_allclose(table["difference"], table["human"] - table["plans"])
    assert (table["low"] <= table["difference"]).all() and (table["difference"] <= table["high"]).all()
    rows = scores[(scores["agent"] == "plans") & scores["stage"].notna()]
    assert np.average(table["plans"], weights=table["scenes"]) == pytest.approx(rows["score"].mean())


def test_candidates_have_the_combined_score_of_their_agent(scores, groups):
    result = summary(scores, groups, samples=100, seed=0)
    table = candidate_table(result, {"plans": 20, "human": 1})
    assert table["candidates"].tolist() == [20, 1]
    assert table.loc["plans", "score"] == result.loc["plans", "combined"]


def test_groups_without_all_their_scenes_are_left_out(groups):
    assert available_groups(groups, dataset("two").tokens) == groups
    assert available_groups(groups, groups[1].tokens) == (groups[1],)
    with pytest.raises(ValueError, match="none of 3 two-stage groups"):
        available_groups(groups, groups[1].tokens[1:])


def test_a_missing_plan_names_agent_and_scene(groups, tmp_path):
    plans = dict(navsim_tiny.plans("two", "human"))
    del plans[groups[0].now]
    with pytest.raises(ValueError, match=f"agent human: no plan for scene {groups[0].now}"):
        evaluate(dataset("two"), tmp_path, groups, {"human": plans}, workers=1)
