"""A part left out after the fact: another planner on the stored tokens of a finished run, and its score.

    python -m irlvla.ablation runs runs/study/seed0/ablation --seed 0

The planner is trained as notebook 03 trains its `ablations`, with the same tokens, loss, epochs and seed; only here it
does not lengthen `make repro`. As there, it gets as many epochs as the whole planner has in joint and own training, and
the encoders stay those of the whole policy.
"""

import argparse
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from irlvla.agents import policy_plans
from irlvla.evaluation import available_groups, evaluate
from irlvla.imitation import imitation_data, planner_beside, planner_loss
from irlvla.models.policy import Policy
from irlvla.params import Imitation
from irlvla.prerequisites import PIPELINE, STUDY, require
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.targets import load_targets
from irlvla.side_by_side import side_by_side
from irlvla.study import MAIN_SEED
from irlvla.tokens import TokenStore
from irlvla.training import Optimization, discard_checkpoints, fit

LEFT_OUT = {  # kinds of tokens that are still looked at, beside the BEV under a plan and the ego status
    "without objects and map": ("bev", "meta"),
    "without attention": (),
}
TRAINED = ("trajectory", "score")  # terms of the loss


def train_without(runs: Path, sources: tuple[str, ...], p: Imitation, out: Path) -> Policy:
    """A planner that looks at these kinds of tokens only, trained below `out`; `runs/imitation` must be there."""
    policy = planner_beside(Policy.load(runs / "imitation" / "policy.pt"), sources, p.seed)
    train, val = (imitation_data(runs, split) for split in ("train", "val"))
    rival = Optimization(p.epochs + p.planner_epochs, p.planner_learning_rate, p.planner_batch_size, keep="best")
    weights = {name: p.weights[name] for name in TRAINED}
    fit(policy, planner_loss, weights, train, val, rival, out, "planner", p.seed)
    return policy.eval()


def ablate(runs: Path, out: Path, p: Imitation, root: Path, workers: int) -> pd.DataFrame:
    """Train and score every planner of LEFT_OUT on the test groups; writes `out/scores.csv`, as notebook 07 does.

    Raises FileNotFoundError if `runs` lacks data or imitation.
    """
    require(PIPELINE if p.seed == MAIN_SEED else STUDY, runs / "data", runs / "imitation")
    out.mkdir(parents=True, exist_ok=True)
    dataset = Dataset(root, root / "splits" / "test_two_stage.yaml")
    prepared = load_targets(runs / "data" / "scenes" / "test.npz")["tokens"].tolist()
    groups = available_groups(dataset.split.groups, prepared)
    tokens = [token for group in groups for token in group.tokens]
    cached = TokenStore(runs / "imitation" / "tokens.npz").batch(tokens)
    jobs = {
        name: partial(train_without, runs, sources, p, out / name.replace(" ", "_"))
        for name, sources in LEFT_OUT.items()
    }
    driven = {f"IL {name}": policy_plans(policy, cached) for name, policy in side_by_side(jobs).items()}
    plans = {agent: dict(zip(tokens, some, strict=True)) for agent, some in driven.items()}
    scores = evaluate(dataset, runs / "data" / "contexts", groups, plans, workers)
    scores.to_csv(out / "scores.csv", index=False, float_format="%.6f")
    for name in LEFT_OUT:
        discard_checkpoints(out / name.replace(" ", "_"))
    return scores


def main(arguments: list[str] | None = None) -> None:
    """Train, score, and print the summary rows of each planner."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of a finished run, with data and imitation")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True, help="of the run's imitation")
    options = parser.parse_args(arguments)
    params = yaml.safe_load(Path("params.yaml").read_text())
    p, evaluation = Imitation(**params["imitation"] | {"seed": options.seed}), params["evaluation"]
    scores = ablate(options.runs, options.out, p, Path(evaluation["root"]), evaluation["workers"])
    summary = scores[scores["stage"].isna()].pivot(index="agent", columns="token", values="score")
    print(summary.round(4).to_string())


if __name__ == "__main__":
    main()
