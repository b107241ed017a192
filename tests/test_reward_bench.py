"""What a reward costs: time per plan, and factors to the official scorer."""

import time

import torch

from irlvla.plots_results import costs_figure
from irlvla.reward_bench import OFFICIAL_MS, REPEATS, milliseconds_per_plan, reward_costs


def test_the_time_of_a_call_is_shared_by_its_plans_and_the_first_call_is_not_counted(monkeypatch):
    ticks = iter([0.0, 9.0] + [t for i in range(REPEATS) for t in (10.0 * i, 10.0 * i + 0.6)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    calls = []
    plans = torch.zeros(3, 20, 8, 3)
    ms = milliseconds_per_plan(lambda scenes, rewarded: calls.append((scenes.tolist(), rewarded.shape)), plans)
    assert abs(ms - 10.0) < 1e-9  # 0.6 s for 60 plans
    assert calls == [([0, 1, 2], plans.shape)] * (REPEATS + 1)


def test_costs_quote_the_official_scorer_first_and_compare_with_its_slower_use():
    costs = reward_costs({"reward model": 0.06})
    assert costs.index.tolist() == [*OFFICIAL_MS, "reward model"]
    assert costs.loc["reward model"].round(6).tolist() == [0.06, round(1e3 / 0.06, 6), 1000.0]
    assert costs["times_faster"].iloc[:2].tolist() == [1.0, 3.75]


def test_the_figure_has_a_bar_for_each_reward():
    figure = costs_figure(reward_costs({"reward model": 0.06}))
    assert len(figure.axes[0].patches) == 3 and figure.axes[0].get_xscale() == "log"
