"""What a reward costs: time per plan, and factors to the official scorer."""

import time
from pathlib import Path

import tiny_run
import torch

from irlvla import reward_bench
from irlvla.plots_results import costs_figure
from irlvla.reward_bench import OFFICIAL_MS, REPEATS, milliseconds_per_plan, reward_costs

ROOT = Path(__file__).resolve().parents[1]


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


def test_the_command_prints_costs_of_rewards_and_of_choosing_among_few_and_2048_plans(tmp_path, monkeypatch, capsys):
    runs = tiny_run.make(tmp_path / "run")
    monkeypatch.chdir(ROOT)
    reward_bench.main([str(runs), "--scenes", "2"])
    rewards, choosing = capsys.readouterr().out.split("choosing a plan")
    assert "EPDMS, ours, 1 core(s)" in rewards and "reward model of 2, 1 core(s)" in rewards
    rows = [line.split()[-2:] for line in choosing.splitlines()[2:]]
    assert [int(candidates) for candidates, _ in rows] == [4, 32, 256, 2048]
    assert all(float(ms) >= 0 for _, ms in rows)
