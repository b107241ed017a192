"""The policies of a tiny study on the two-stage groups of the small dataset in NAVSIM format."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_study
import torch
from navsim_tiny import ROOT as TINY
from navsim_tiny import split_yaml

from irlvla import replication
from irlvla.scenes.split import Group, load_split

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return tiny_study.make(tmp_path_factory.mktemp("project"))


def test_each_seed_drives_all_groups_and_a_policy_saved_twice_scores_the_same(project, monkeypatch):
    monkeypatch.chdir(project)
    table = replication.replicate(Path("other"), [1])
    groups = len(load_split(split_yaml("two")).groups)
    whole = table.loc["all"]
    assert (whole["seeds"] == 2).all() and (whole["groups"] == groups).all()
    assert (whole.loc["IRL-VLA", ["difference", "least", "most"]] == 0).all(axis=None)
    assert (whole.loc["RLVR", "most"] != 0).any()
    scores = [pd.read_csv(f"runs/study/replication/scores_seed{seed}.csv").set_index("agent") for seed in (0, 1)]
    by_seed = [table.loc["PDM-Closed", "score"].to_numpy() for table in scores]
    np.testing.assert_array_equal(*by_seed)  # a rule has no seed
    assert not np.array_equal(*(table.loc["IRL-VLA-IL", "score"].to_numpy() for table in scores))
    pd.testing.assert_frame_equal(pd.read_csv("runs/study/replication.csv")["score"].to_frame(),
                                  table.reset_index()["score"].to_frame(), atol=1e-6)  # fmt: skip
    again = replication.replicate(Path("other"), [1])
    pd.testing.assert_frame_equal(again, table)


def test_towns_that_were_trained_on_are_refused_before_anything_is_written(project, monkeypatch, tmp_path):
    shutil.copy(project / "params.yaml", tmp_path)
    (tmp_path / "other").symlink_to(project / "other")
    shutil.copytree(project / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("replication*"))
    towns = replication.survey_two_stage(TINY, split_yaml("two"), "test", None)["town"]
    pd.DataFrame({"split": ["val"], "town": towns[:1]}).to_csv(tmp_path / "runs" / "data" / "samples.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"chosen on {towns[0]}; use other towns"):
        replication.main(["other"])
    assert not (tmp_path / "runs" / "study" / "replication").exists()


def test_groups_are_counted_for_all_towns_for_known_and_further_ones_and_for_each(tmp_path):
    tokens = ["a", "b", "c", "d", "e", "f", "g", "h"]
    groups = (Group("a", "b", (("c", "d"),)), Group("e", "f", (("g", "h"),)))
    rows = [
        {"agent": agent, "token": token, "score": score, "weight": 1.0}
        for agent, values in {"IRL-VLA-IL": (0.5, 0.5), "IRL-VLA": (0.6, 0.8)}.items()
        for token, score in zip(tokens, np.repeat(values, 4), strict=True)
    ]
    parts = replication.parts_of(groups, pd.Series(np.repeat(["fir", "alder"], 4), index=tokens), {"fir", "hazel"})
    table = replication.write_tables([pd.DataFrame(rows)], parts, tmp_path / "table", 50, 0)
    gains = table.xs(("IRL-VLA", "stage_one"), level=("agent", "stage"))["difference"]
    expected = {"all": 0.2, "test towns": 0.1, "fir": 0.1, "further towns": 0.3, "alder": 0.3}
    assert gains.to_dict() == pytest.approx(expected)
    against = pd.read_csv(tmp_path / "table_against_irl_vla.csv", index_col=[0, 1, 2])
    assert against.loc[("alder", "IRL-VLA-IL", "stage_one"), "difference"] == pytest.approx(-0.3)
