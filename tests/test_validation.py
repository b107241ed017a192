"""Claims about the table of single validation scenes."""

import numpy as np
import pandas as pd
import pytest
import tiny_run
from epdms_scenes import straight_plan

from irlvla.reward_data import score_single_plans
from irlvla.saved_scenes import saved_plans
from irlvla.validation import MEANS, single_scores, single_table

PLANS = {"IRL-VLA-IL": 4.0, "IRL-VLA": 8.0}  # m/s, straight on


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with plans of two agents in its three validation scenes; the second follows the first."""
    runs = tiny_run.make(tmp_path_factory.mktemp("validation") / "runs")
    tokens = ["val0", "val1", "val2"]
    plans = {agent: np.stack([straight_plan(speed)] * 3) for agent, speed in PLANS.items()}
    (runs / "evaluation").mkdir()
    np.savez(runs / "evaluation" / "plans.npz", tokens=np.array(["test0", *tokens]),
             **{agent: np.concatenate([some[:1], some]) for agent, some in plans.items()})  # fmt: skip
    return runs, pd.DataFrame({"token": tokens, "previous": [None, "val0", None]}), plans


def test_each_agent_has_the_scores_of_its_own_plan_and_comfort_where_the_frame_before_is_known(run):
    runs, samples, plans = run
    contexts, tokens = runs / "data" / "contexts", samples["token"].tolist()
    rows = single_scores(samples, plans, contexts, 1).set_index(["agent", "token"])
    for agent in PLANS:
        alone = score_single_plans(tokens, plans[agent], contexts, 1)
        assert rows.loc[agent, "EP"].tolist() == pytest.approx(alone["ego_progress"].tolist())
        assert rows.loc[agent, "EC"].isna().tolist() == [True, False, True]
        without = alone["score"].to_numpy()[[0, 2]]  # no extended comfort there
        assert rows.loc[agent, "score"].to_numpy()[[0, 2]] == pytest.approx(without)


def test_plans_are_found_by_token_and_a_scene_without_is_named(run):
    runs, samples, plans = run
    found = saved_plans(runs / "evaluation", ["val2", "val0"])
    np.testing.assert_array_equal(found["IRL-VLA"], plans["IRL-VLA"][[2, 0]])
    with pytest.raises(ValueError, match="no plan for scene val9"):
        saved_plans(runs / "evaluation", ["val9"])


def test_differences_are_paired_by_scene_averaged_over_seeds_and_vary_by_log():
    def of(agent: str, seed: int, *scores: float) -> pd.DataFrame:
        table = pd.DataFrame({"token": ["a", "b", "c"], "score": scores, "agent": agent, "seed": seed})
        return table.assign(**dict.fromkeys(MEANS[1:], 1.0))

    rows = pd.concat([
        of("IRL-VLA-IL", 0, 0.5, 0.5, 0.2), of("IRL-VLA", 0, 0.6, 0.5, 0.2),
        of("IRL-VLA-IL", 1, 0.5, 0.5, 0.2), of("IRL-VLA", 1, 0.8, 0.7, 0.2),
    ])  # fmt: skip
    log_name = pd.Series({"a": "first", "b": "first", "c": "second"})
    row = single_table(rows, log_name, samples=500, seed=0).loc["IRL-VLA"]
    assert row["difference"] == pytest.approx((0.2 + 0.1 + 0.0) / 3)
    assert (row["low"], row["high"]) == (pytest.approx(0.0), pytest.approx(0.15))  # the second log alone, the first
    assert (row["least"], row["most"]) == (pytest.approx(0.1 / 3), pytest.approx(0.5 / 3))
    assert (row["scenes"], row["logs"], row["seeds"]) == (3, 2, 2)
