"""What a reward costs: the reward world model beside the simulator's EPDMS, on the scenes of a finished run.

    python -m irlvla.reward_bench runs

Both score the same plans of the same scenes. EPDMS is ours, exact and batched; the official scorer is quoted from
measurements on one core: 60 ms a plan as its scripts call it, 16 ms in its best batched use of 256 plans.

Then what it costs to choose the plan of one scene from its tokens: the policy with its few candidates, and the reward
model as a scorer of vocabularies (`evaluation.vocabulary_sizes` of params.yaml).
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import joblib
import pandas as pd
import torch
import yaml

from irlvla.models.policy import Policy, best_plan
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.reinforcement import Tokens, model_reward, simulator_reward
from irlvla.reward_data import load_scored_plans
from irlvla.reward_encoders import reward_encoders
from irlvla.tokens import TokenStore

OFFICIAL_MS = {"official scorer, as its scripts call it (quoted)": 60.0, "official scorer, batched (quoted)": 16.0}
REPEATS = 5


def milliseconds(run: Callable[[], object]) -> float:
    """Median time of a call over REPEATS, after one to warm up; a GPU is waited for."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[1:])


def milliseconds_per_plan(reward: Callable, plans: torch.Tensor) -> float:
    """Median over repetitions of the time to reward plans (n, N, T, 3) of the first n scenes, per plan."""
    scenes = torch.arange(len(plans))
    return milliseconds(lambda: reward(scenes, plans)) / plans.shape[:2].numel()


def reward_costs(measured_ms: Mapping[str, float]) -> pd.DataFrame:
    """Milliseconds a plan, plans a second and the factor to the official scorer, by reward; quoted ones first."""
    costs = pd.Series(OFFICIAL_MS | dict(measured_ms), name="ms_per_plan").rename_axis("reward").to_frame()
    costs["plans_per_second"] = 1e3 / costs["ms_per_plan"]
    costs["times_faster"] = max(OFFICIAL_MS.values()) / costs["ms_per_plan"]
    return costs


@torch.no_grad()
def choosing_ms(policy: Policy, ensemble: RewardEnsemble, tokens: Tokens, sizes: Sequence[int]) -> pd.Series:
    """Milliseconds to choose a plan in the scene `tokens` (one scene), by agent and number of candidates."""
    anchors = policy.anchors
    choices = {("policy", len(anchors)): lambda: best_plan(*policy.plan(tokens))}
    for size in sizes:  # which plans they are makes no difference to the time
        vocabulary = anchors[torch.arange(size) % len(anchors)][None]
        choices["vocabulary scorer", size] = partial(ensemble.reward, tokens, vocabulary)
    ms = {key: milliseconds(choose) for key, choose in choices.items()}
    return pd.Series(ms, name="ms_per_scene").rename_axis(["agent", "candidates"])


def main(arguments: list[str] | None = None) -> None:
    """Print milliseconds per plan, plans per second, factors to the official scorer; milliseconds to choose a plan."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.reward_bench", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of a finished run, with data, imitation, reward_data, ...")
    parser.add_argument("--scenes", type=int, default=64)
    options = parser.parse_args(arguments)
    data = load_scored_plans(options.runs / "reward_data" / "val.parquet")
    tokens, plans = data.tokens[: options.scenes].tolist(), torch.from_numpy(data.plans[: options.scenes])
    cached = TokenStore(reward_encoders(options.runs) / "tokens.npz").batch(tokens)
    ensemble = RewardEnsemble.load(options.runs / "reward_world_model" / "reward_model.pt")
    contexts, cores = options.runs / "data" / "contexts", joblib.cpu_count()
    found = {}
    for jobs in sorted({1, cores}):
        simulator = simulator_reward(tokens, contexts, human_filter=True, jobs=jobs)
        found[f"EPDMS, ours, {jobs} core(s)"] = milliseconds_per_plan(simulator, plans)
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        model = model_reward(ensemble, cached)
        found[f"reward model of {len(ensemble.members)}, {threads} core(s)"] = milliseconds_per_plan(model, plans)
    print(f"{plans.shape[1]} plans in each of {len(plans)} scenes")
    print(reward_costs(found).to_string(float_format="{:.4g}".format))
    policy = Policy.load(options.runs / "imitation" / "policy.pt")
    one = TokenStore(options.runs / "imitation" / "tokens.npz").batch(tokens[:1])
    sizes = yaml.safe_load(Path("params.yaml").read_text())["evaluation"]["vocabulary_sizes"]
    print(f"choosing a plan, {cores} core(s)")
    print(choosing_ms(policy, ensemble, one, sizes).round(1).reset_index().to_string(index=False))


if __name__ == "__main__":
    main()
