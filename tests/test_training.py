"""Claims about training: it can fit, it is reproducible, and a kill costs nothing but time."""

import pandas as pd
import pytest
import tiny_policy
import torch
from torch import nn

from irlvla import losses
from irlvla.imitation import planner_loss
from irlvla.models.policy import Policy
from irlvla.training import EpochSampler, Optimization, discard_checkpoints, fit, training_key

torch.set_num_threads(1)

PERCEPTION = ("object_class", "object_box", "map_class", "map_points", "segmentation", "route", "light")
WEIGHTS = {"trajectory": 1.0, **dict.fromkeys(("score", *PERCEPTION), 0.1)}


def imitation(policy: Policy, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tokens = policy.encode(batch)
    return planner_loss(policy, batch | tokens) | losses.perception(policy.read(tokens), batch)


def train(
    policy: Policy, folder, loss=imitation, epochs: int = 4, keep: str = "last", processes: int = 1, **changes
) -> pd.DataFrame:
    rows = tiny_policy.Rows(tiny_policy.batch(6))
    optimization = Optimization(epochs, 2e-3, batch_size=2, keep=keep, processes=processes, slow=("encoder.backbone",))
    return fit(policy, loss, WEIGHTS, rows, rows, optimization, folder, "joint", seed=0, accelerator="cpu", **changes)


def same_weights(a: Policy, b: Policy) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_one_batch_can_be_overfitted_to_the_human_plans():
    policy, batch = tiny_policy.policy(channels=32, plan_blocks=2), tiny_policy.batch(3)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    torch.manual_seed(0)
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 250)
        terms = planner_loss(policy, batch | policy.encode(batch))
        optimizer.zero_grad()
        losses.weighted(terms, {"trajectory": 1.0, "score": 0.3}).backward()
        optimizer.step()
    tokens = policy.encode(batch)
    plans, logits = policy.plan(tokens, policy.noise(3, torch.Generator().manual_seed(1)))
    chosen = plans[torch.arange(3), logits.argmax(dim=1)]
    assert terms["trajectory"] < 0.2  # metres, with noise; the plans are up to 48 m long
    assert losses.plan_distance(chosen, batch["plan"]).mean() < 0.3


def test_perception_losses_fall_on_one_batch():
    policy, batch = tiny_policy.policy(), tiny_policy.batch(2)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    totals = []
    for _ in range(40):
        terms = losses.perception(policy.read(policy.encode(batch)), batch)
        totals.append({name: float(value.detach()) for name, value in terms.items()})
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert all(totals[-1][name] < totals[0][name] for name in totals[0])


@pytest.mark.parametrize(
    ("keep", "workers", "processes"), [("last", 0, 1), ("best", 0, 1), ("last", 1, 1), ("last", 0, 2), ("best", 0, 2)]
)
def test_a_killed_training_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path, keep, workers, processes):
    calls = {"left": 1000}

    def until_killed(policy, batch):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise InterruptedError("killed")
        return imitation(policy, batch)

    uninterrupted = tiny_policy.policy()
    settings = {"keep": keep, "workers": workers, "processes": processes}
    expected = train(uninterrupted, tmp_path / "whole", until_killed, **settings)
    calls["left"] = 13  # each process takes 3 training and 3 validation steps an epoch: killed in the third
    with pytest.raises(Exception, match="killed"):
        train(tiny_policy.policy(), tmp_path / "cut", until_killed, **settings)
    calls["left"] = 12  # two of four epochs are left
    resumed = tiny_policy.policy()
    history = train(resumed, tmp_path / "cut", until_killed, **settings)
    assert same_weights(resumed, uninterrupted)
    pd.testing.assert_frame_equal(history, expected)
    assert (tmp_path / "cut" / "joint.csv").read_bytes() == (tmp_path / "whole" / "joint.csv").read_bytes()


def test_processes_that_share_batches_follow_the_gradient_of_the_whole_batch(tmp_path):
    rows = tiny_policy.Rows({"inputs": torch.randn(12, 3), "plan": torch.randn(12, 1)})

    def loss(model, batch):
        return {"error": (model(batch["inputs"]) - batch["plan"]).square().mean()}

    ended = []
    for processes in (1, 2):
        torch.manual_seed(0)
        model, optimization = nn.Linear(3, 1), Optimization(3, 0.1, batch_size=4, processes=processes)
        folder = tmp_path / str(processes)
        history = fit(model, loss, {"error": 1.0}, rows, rows, optimization, folder, "line", 0, accelerator="cpu")
        ended.append((model.weight, history["val_loss"]))
    torch.testing.assert_close(ended[1][0], ended[0][0])
    pd.testing.assert_series_equal(ended[1][1], ended[0][1], rtol=1e-4)


def test_a_checkpoint_serves_the_same_training_only(tmp_path):
    rows = tiny_policy.Rows(tiny_policy.batch(6))
    key = training_key(tiny_policy.policy(), imitation, rows, {"seed": 0})
    assert key == training_key(tiny_policy.policy(), imitation, rows, {"seed": 0})
    changed_rows = tiny_policy.Rows(tiny_policy.batch(6) | {"plan": tiny_policy.batch(6)["plan"] + 1})
    changed_policy = tiny_policy.policy()
    next(changed_policy.parameters()).data.add_(1)
    others = [
        training_key(tiny_policy.policy(), imitation, rows, {"seed": 1}),
        training_key(tiny_policy.policy(), losses.perception, rows, {"seed": 0}),
        training_key(tiny_policy.policy(), imitation, changed_rows, {"seed": 0}),
        training_key(changed_policy, imitation, rows, {"seed": 0}),
    ]
    assert len({key, *others}) == 5


def test_a_stage_with_a_saved_result_keeps_no_checkpoint(tmp_path):
    train(tiny_policy.policy(), tmp_path, epochs=1)
    assert list((tmp_path / "checkpoints").glob("*.ckpt"))
    discard_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_history_has_a_row_per_epoch_with_every_term(tmp_path):
    history = train(tiny_policy.policy(), tmp_path, epochs=2)
    assert history["epoch"].tolist() == [0, 1]
    assert {f"{part}_{name}" for part in ("train", "val") for name in ("loss", *WEIGHTS)} < set(history.columns)


def test_the_order_of_samples_depends_on_seed_and_epoch_only():
    sampler = EpochSampler(20, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == sorted(first)
    sampler.set_epoch(0)
    assert list(sampler) == first and list(EpochSampler(20, seed=4)) != first


def test_the_best_epoch_is_kept_when_asked_for(tmp_path):
    rows, states = tiny_policy.Rows(tiny_policy.batch(4)), []

    def loss(policy, batch):
        if not policy.training:
            states.append({name: tensor.clone() for name, tensor in policy.state_dict().items()})
            zero = dict.fromkeys(WEIGHTS, torch.tensor(0.0))
            return zero | {"trajectory": torch.tensor([3.0, 1.0, 2.0][len(states) - 1])}
        return imitation(policy, batch)

    policy = tiny_policy.policy()
    optimization = Optimization(epochs=3, learning_rate=1e-2, batch_size=4, keep="best")
    fit(policy, loss, WEIGHTS, rows, rows, optimization, tmp_path, "joint", seed=0, accelerator="cpu")
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in policy.state_dict().items())
    assert any(not torch.equal(tensor, states[2][name]) for name, tensor in policy.state_dict().items())
