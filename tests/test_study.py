"""Claims about the table over several seeds."""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml

from irlvla import (
    ablation,
    exploitation,
    hesitation,
    logged_starts,
    replication,
    reward_towns,
    study,
    training_bench,
    unlabelled,
    validation,
)
from irlvla.params import ClosedLoop, DriverName
from irlvla.scenes.split import Group

ROOT = Path(__file__).resolve().parents[1]
GROUPS = (Group("a", "b", (("c", "d"),)), Group("e", "f", (("g", "h"),)))


def scores(**of_agent: tuple[float, float]) -> pd.DataFrame:
    """Rows of agents whose every scene of the first and of the second group has these scores."""
    names = {agent.replace("_", "-"): values for agent, values in of_agent.items()}
    return pd.DataFrame([
        {"agent": agent, "token": token, "score": value, "weight": 1.0}
        for agent, values in names.items()
        for group, value in zip(GROUPS, values, strict=True)
        for token in group.tokens
    ])  # fmt: skip


def test_scores_and_differences_are_means_over_the_seeds():
    first = scores(IRL_VLA_IL=(0.5, 0.5), IRL_VLA=(0.6, 0.8))
    second = scores(IRL_VLA_IL=(0.4, 0.4), IRL_VLA=(0.4, 0.6))
    table = study.seed_table([first, second], GROUPS, samples=200, seed=0)
    row = table.loc[("IRL-VLA", "stage_one")]
    assert row["score"] == pytest.approx((0.7 + 0.5) / 2)
    assert row["score_std"] == pytest.approx(0.2 / np.sqrt(2))
    assert row["difference"] == pytest.approx((0.2 + 0.1) / 2)
    assert (row["least"], row["most"]) == (pytest.approx(0.1), pytest.approx(0.2))
    assert (row["low"], row["high"]) == (pytest.approx(0.05), pytest.approx(0.25))  # both groups are one or the other
    assert table.loc[("IRL-VLA", "combined"), "score"] == pytest.approx((0.36 + 0.64 + 0.16 + 0.36) / 4)
    assert (table.loc["IRL-VLA-IL"][["difference", "low", "high"]] == 0).all(axis=None)


def test_a_seed_changes_what_learns_and_nothing_else():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    changed = study.seeded(params, 7, "runs/study/seed7")
    assert changed["runs"] == "runs/study/seed7"
    for name, section in params.items():
        if name in study.LEARNING[:-1]:
            assert changed[name] == section | {"seed": 7}
        elif name not in ("runs", "closed_loop"):
            assert changed[name] == section


def test_every_seed_drives_all_routes_and_drivers_without_a_seed_drive_once():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    main, other = (study.seeded(params, seed, "runs")["closed_loop"] for seed in (study.MAIN_SEED, 1))
    assert main["routes"] is None and ClosedLoop(**main) and ClosedLoop(**other)
    assert main["drivers"] == list(get_args(DriverName))
    assert set(main["drivers"]) - set(other["drivers"]) == set(study.WITHOUT_SEED)
    assert {key for key in main if main[key] != other[key]} == {"drivers", "seed"}


def test_the_matrix_runs_the_learning_stages_from_their_own_notebooks():
    stages = yaml.safe_load((ROOT / "notebooks" / "study" / "dvc.yaml").read_text())["stages"]
    ablations, driving = ("ablation", "ablation_main"), ("closed_loop_main", "closed_loop", "closed_loop_table")
    tables = ("table", "hesitation", "validation", "reward_towns", "exploitation")
    again = ("towns", "replication", "logged_starts", "unlabelled_towns", "unlabelled")
    assert tuple(stages) == (*study.LEARNING, *ablations, *tables, *again, *driving)
    made = {name: stages[name]["outs"][0] for name in ("towns", "unlabelled_towns")}
    assert all(f"build {folder} " in stages[name]["cmd"] for name, folder in made.items())
    for name, folder in {"replication": made["towns"], "logged_starts": made["towns"],
                         "unlabelled": f"{made['unlabelled_towns']} {made['towns']}"}.items():  # fmt: skip
        assert stages[name]["cmd"] == f"python -m irlvla.{name} {folder} 1 2"
    assert stages["closed_loop_main"]["cmd"] == f"python -m irlvla.study run closed_loop {study.MAIN_SEED}"
    for name in (*study.LEARNING, "closed_loop"):
        assert stages[name]["cmd"] == f"python -m irlvla.study run {name} ${{item.seed}}"
        assert stages[name]["params"] == [name]
        notebooks = [ROOT / dep for dep in stages[name]["deps"] if dep.endswith(".ipynb")]
        assert [path.stem.split("_", 1)[1] for path in notebooks] == [name] and notebooks[0].is_file()


def drives(**scores: list[float]) -> pd.DataFrame:
    """Rows of driver_seed: a score per route r0, r1, ...; a full one is a success. Odd routes: another ability."""
    return pd.DataFrame([
        {"driver": name[:-1], "seed": int(name[-1]), "route": f"r{i}", "ability": ("merging", "give_way")[i % 2],
         "driving_score": value, "success": int(value == 100)}
        for name, values in scores.items()
        for i, value in enumerate(values)
    ])  # fmt: skip


def test_the_closed_loop_is_averaged_over_seeds_and_drawn_by_routes():
    table = study.driving_table(drives(a0=[100.0, 0.0], imitation0=[50.0, 50.0], a1=[100.0, 20.0]), samples=200, seed=0)
    row = table.loc[("a", "all")]
    assert (row["seeds"], row["routes"]) == (2, 2)
    assert row["driving_score"] == 55 and row["success_rate"] == 0.5
    assert (row["driving_score_low"], row["driving_score_high"]) == (10, 100)  # both routes are one or the other
    assert row["driving_score_std"] == pytest.approx(10 / np.sqrt(2))
    assert table.loc[("a", "give_way"), "driving_score"] == 10 and table.loc[("a", "merging"), "success_rate"] == 1
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (5, -40, 50)
    assert (row["success_difference"], row["success_difference_low"], row["success_difference_high"]) == (0.5, 0, 1)
    once = table.loc[("imitation", "all")]
    assert (once["seeds"], once["driving_score_std"]) == (1, 0) and once["difference_high"] == 0
    assert list(table.index[:2]) == [("a", "all"), ("imitation", "all")]


def test_without_a_main_run_a_seed_says_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"runs/data is missing: run `dvc repro`"):
        study.run("imitation", 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("main", "arguments", "missing"),
    [
        (validation.main, ["1"], "runs/evaluation"),
        (hesitation.main, ["1"], "runs/evaluation"),
        (study.main, ["table", "1"], "runs/evaluation"),
        (reward_towns.main, ["1"], "runs/data"),
        (replication.main, ["other", "1"], "runs/data"),
        (logged_starts.main, ["other", "1"], "runs/data"),
        (unlabelled.main, ["fresh", "other", "1"], "runs/data"),
        (exploitation.main, ["runs"], "runs/data"),
        (training_bench.main, ["runs"], "runs/data"),
        (ablation.main, ["runs", "out", "--seed", "0"], "runs/data"),
    ],
)
def test_without_a_main_run_no_table_is_begun(main, arguments, missing, tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{missing} is missing: run `dvc repro` first"):
        main(arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_missing_seed_of_the_study_is_made_by_the_study(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="runs/study/seed1/data is missing: run `make study` first"):
        ablation.main(["runs/study/seed1", "out", "--seed", "1"])


@pytest.mark.parametrize("command", ["table", "closed_loop"])
def test_a_table_over_seeds_names_the_seed_that_was_not_run(command, tmp_path, monkeypatch):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["closed_loop"]["suite"] = str(ROOT / params["closed_loop"]["suite"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for folder in ("runs/evaluation", "runs/study/seed0/closed_loop"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="runs/study/seed4/.* is missing: run `make study` first"):
        study.main([command, "4"])
