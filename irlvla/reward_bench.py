"""What a reward costs: the reward world model beside the simulator's EPDMS, on the scenes of a finished run.

    python -m irlvla.reward_bench runs

Both score the same plans of the same scenes. EPDMS is ours, exact and batched; the official scorer is quoted from
measurements on one core: 60 ms a plan as its scripts call it, 16 ms in its best batched use of 256 plans.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import joblib
import pandas as pd
import torch

from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.reinforcement import model_reward, simulator_reward
from irlvla.reward_data import load_scored_plans
from irlvla.reward_encoders import reward_encoders
from irlvla.tokens import TokenStore

OFFICIAL_MS = {"official scorer, as its scripts call it (quoted)": 60.0, "official scorer, batched (quoted)": 16.0}
REPEATS = 5


def milliseconds_per_plan(reward: Callable, plans: torch.Tensor) -> float:
    """Median over repetitions of the time to reward plans (n, N, T, 3) of the first n scenes, per plan."""
    times, scenes = [], torch.arange(len(plans))
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        reward(scenes, plans)
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[1:]) / plans.shape[:2].numel()


def reward_costs(measured_ms: Mapping[str, float]) -> pd.DataFrame:
    """Milliseconds a plan, plans a second and the factor to the official scorer, by reward; quoted ones first."""
    costs = pd.Series(OFFICIAL_MS | dict(measured_ms), name="ms_per_plan").rename_axis("reward").to_frame()
    costs["plans_per_second"] = 1e3 / costs["ms_per_plan"]
    costs["times_faster"] = max(OFFICIAL_MS.values()) / costs["ms_per_plan"]
    return costs


def main(arguments: list[str] | None = None) -> None:
    """Print milliseconds per plan, plans per second, and factors to the official scorer."""
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


if __name__ == "__main__":
    main()
