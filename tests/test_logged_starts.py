"""The policies of a tiny study on single scenes of the small dataset in NAVSIM format."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_study
import torch
from navsim_tiny import dataset

from irlvla import hesitation, logged_starts
from irlvla.scenes.samples import town_of

torch.set_num_threads(1)
NUM_SCENES = 8


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return tiny_study.make(tmp_path_factory.mktemp("project"))


def test_every_scene_counts_where_every_plan_is_short_and_both_tables_agree(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(hesitation, "SHORT_M", np.inf)
    monkeypatch.setattr(hesitation, "FREE_M", -1.0)
    stopping = logged_starts.score_logged_starts(Path("other"), [1], NUM_SCENES)
    whole = pd.read_csv("runs/study/logged_starts.csv", index_col=[0, 1])
    assert set(whole.index.unique("towns")) == {"all", "further towns"}
    assert (whole["scenes"] == NUM_SCENES).all() and (whole["seeds"] == 2).all()
    assert (stopping.loc["all", "scenes"] == 2 * NUM_SCENES).all()  # of both seeds
    for name in ("EP", "NC", "score"):
        expected = whole.loc["all", name]
        np.testing.assert_allclose(stopping.loc["all", name].loc[expected.index], expected, atol=1e-6)
    assert (stopping.loc[("all", "IRL-VLA"), ["EP_difference", "score_difference"]] == 0).all()  # the same policy
    scenarios = set(stopping.index.unique("scenes of")) - {"all", "further towns"}
    counts = stopping.xs("IRL-VLA-IL", level="agent")["scenes"]
    assert counts.loc[sorted(scenarios)].sum() == 2 * NUM_SCENES
    assert len(list(Path("runs/study/logged_starts/contexts").iterdir())) == NUM_SCENES


def test_towns_in_which_the_main_run_is_tested_are_counted_apart():
    samples = pd.DataFrame({"token": ["a", "b", "c"], "town": ["fir", "alder", "fir"]})
    parts = {name: list(tokens) for name, tokens in logged_starts.parts_of(samples, {"fir"}).items()}
    assert parts == {"all": ["a", "b", "c"], "test towns": ["a", "c"], "further towns": ["b"]}


def test_towns_that_were_trained_on_are_refused(project, monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text())
    (tmp_path / "other").symlink_to(project / "other")
    runs = tmp_path / "runs"
    runs.mkdir()
    for name in logged_starts.NEEDED[1:]:
        (runs / name).symlink_to(project / "runs" / name)
    (runs / "data").mkdir()
    town = town_of(next(iter(dataset("one"))).log_name)
    pd.DataFrame({"split": ["train"], "town": [town]}).to_csv(runs / "data" / "samples.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"chosen on {town}; use other towns"):
        logged_starts.main(["other"])
    assert not (runs / "study").exists()
