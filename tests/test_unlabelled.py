"""The policies of a tiny study after PPO in a town that nobody labelled, on the groups of another dataset."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_study
import torch
from tiny_town import TINY

from irlvla import replication, unlabelled
from irlvla.models.policy import Policy
from irlvla.world.build import build

torch.set_num_threads(1)
NUM_SCENES, NUM_MOVED = 5, 2
PPO = {"iterations": 2, "scenes_per_iteration": 4, "anchors": 3, "samples": 2, "epochs": 1, "minibatch_scenes": 2}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A tiny study whose policies the replication has scored, and `fresh`: a training town of its own."""
    folder = tiny_study.make(tmp_path_factory.mktemp("project"))
    params = json.loads((folder / "params.yaml").read_text())
    params["data"] |= {"train_samples": NUM_SCENES, "perturbed_samples": NUM_MOVED}
    params["reinforcement"]["ppo"] |= PPO
    (folder / "params.yaml").write_text(json.dumps(params))
    build(folder / "fresh", 5, [dataclasses.replace(TINY, split="train", groups=0)], workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        replication.replicate(Path("other"), [1])
    return folder


def test_each_seeds_planner_learns_in_the_new_town_and_is_scored_beside_imitation(project, monkeypatch):
    monkeypatch.chdir(project)
    table = unlabelled.compare(Path("fresh"), Path("other"), [1])
    out, before = Path("runs/study/unlabelled"), pd.read_csv("runs/study/replication.csv", index_col=[0, 1, 2])
    assert len(list((out / "contexts").iterdir())) == NUM_SCENES + NUM_MOVED
    whole = table.loc["all"]
    assert list(whole.index.unique("agent")) == ["IRL-VLA-IL", "IRL-VLA", unlabelled.UNLABELLED]
    assert (whole["seeds"] == 2).all()
    pd.testing.assert_frame_equal(whole.loc[["IRL-VLA-IL", "IRL-VLA"], ["score"]].sort_index(),
                                  before.loc["all"].loc[["IRL-VLA-IL", "IRL-VLA"], ["score"]].sort_index(),
                                  atol=2e-6)  # fmt: skip
    for seed, run in enumerate((Path("runs"), Path("runs/study/seed1"))):
        learned = Policy.load(out / f"policy_seed{seed}.pt").state_dict()
        imitated = Policy.load(run / "imitation" / "policy.pt").state_dict()
        changed = {name.split(".")[0] for name, value in learned.items() if not torch.equal(value, imitated[name])}
        assert changed == {"planner"}
        assert set(pd.read_csv(out / f"scores_seed{seed}.csv")["agent"]) == {unlabelled.UNLABELLED}


@pytest.mark.parametrize("split", ["train", "test"])
def test_towns_that_the_study_knows_are_refused_before_anything_is_written(split, project, monkeypatch, tmp_path):
    shutil.copy(project / "params.yaml", tmp_path)
    for name in ("fresh", "other"):
        (tmp_path / name).symlink_to(project / name)
    shutil.copytree(project / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("unlabelled*"))
    pd.DataFrame({"split": [split], "town": ["tiny"]}).to_csv(tmp_path / "runs" / "data" / "samples.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the study knows tiny or is tested there; use other towns"):
        unlabelled.main(["fresh", "other", "1"])
    assert not (tmp_path / "runs" / "study" / "unlabelled").exists()


def test_without_the_replication_there_is_nothing_to_compare_with(project, monkeypatch, tmp_path):
    shutil.copy(project / "params.yaml", tmp_path)
    shutil.copytree(project / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("unlabelled*", "replication*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="runs/study/replication/contexts is missing: run `make study` first"):
        unlabelled.main(["fresh", "other", "1"])
