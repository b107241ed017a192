"""The reward model judged on test towns, on a tiny run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
import yaml

from irlvla import reward_towns
from irlvla.params import RewardData

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]
SMALL = {"vocabulary_size": 4, "vocabulary_plans": 3, "noisy_plans": 3, "workers": 1}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with `params.yaml` and a finished run."""
    folder = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["reward_data"] |= SMALL
    (folder / "params.yaml").write_text(json.dumps(params))
    tiny_run.make(folder / params["runs"])
    return folder


def test_every_reward_and_every_source_is_judged_on_the_test_scenes(project, monkeypatch):
    monkeypatch.chdir(project)
    reward_towns.main([])
    table = pd.read_csv("runs/study/reward_model.csv").set_index(["seed", "reward", "source"]).sort_index()
    scenes, plans = tiny_run.SPLITS["test"], 3 + 3 * 4 + 1 + 3
    whole = table.loc[(0, "RWM", "all")]
    assert (whole["scenes"], whole["plans"]) == (scenes, scenes * plans)
    assert table.loc[(0, "constant", "all"), "spearman_within"] == 0  # it ranks nothing
    sources = set(table.loc[(0, "RWM")].index)
    assert sources == {"all", "vocabulary", "chain_0", "chain_1", "chain_2", "human_noise"}  # a single plan has no rank
    assert 0 <= whole["auc_NC"] <= 1 and np.isfinite(whole["calibration_error_DAC"])


def test_the_test_scenes_plans_are_those_of_the_seed(project):
    section = yaml.safe_load((project / "params.yaml").read_text())["reward_data"]
    runs, drawn = project / "runs", []
    for seed in (0, 0, 1):
        some = reward_towns.candidates(runs, RewardData(**section | {"seed": seed}))
        drawn.append(np.stack([scene.plans for scene in some]))
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
