"""A planner without some kinds of tokens, trained on the stored tokens of a run."""

from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
import yaml

from irlvla.ablation import LEFT_OUT, imitation_data, train_without
from irlvla.models.decoder import SOURCES
from irlvla.models.policy import Policy
from irlvla.params import Imitation
from irlvla.tokens import TokenStore

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]
SCENES = {"train": 12, "val": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A finished imitation, tiny: the last scene of each split is a moved start, without a human plan."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_run.imitation(folder, SCENES)
    return folder


def test_moved_starts_without_a_human_plan_are_no_imitation_data(runs):
    data = imitation_data(runs, "train")
    assert len(data) == SCENES["train"] - 1 and data.columns["has_plan"].all()
    stored = TokenStore(runs / "imitation" / "tokens.npz").batch(["train3"])
    assert np.array_equal(data[3]["bev"], stored["bev"][0])


@pytest.mark.parametrize(
    ("name", "seen"), [("without objects and map", {"bev", "meta"}), ("without attention", {"bev"})]
)
def test_the_planner_learns_and_does_not_look_at_what_is_left_out(runs, tmp_path, name, seen):
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["imitation"]
    p = Imitation(**section | {"planner_epochs": 40, "planner_batch_size": 4})
    policy = train_without(runs, LEFT_OUT[name], p, tmp_path)
    history = np.genfromtxt(tmp_path / "planner.csv", delimiter=",", names=True)
    assert history["train_loss"][-1] < 0.7 * history["train_loss"][0]
    whole = Policy.load(runs / "imitation" / "policy.pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.encoder.parameters(), policy.encoder.parameters(), strict=True))
    tokens = TokenStore(runs / "imitation" / "tokens.npz").batch(["val0", "val1"])
    with torch.no_grad():
        plans, _ = policy.plan(tokens)
        for kind in SOURCES:
            others, _ = policy.plan(tokens | {kind: tokens[kind] + 1.0})
            assert torch.equal(plans, others) != (kind in seen), kind
