"""PPO where nobody labelled anything: in towns made afterwards, on the reward model that a finished study has.

    python -m irlvla.unlabelled FRESH OTHER SEED...     the main run and these seeds of `make study`

EPDMS as a reward needs map and tracks of every scene that PPO visits. The reward model needs what the policy sees
anyway, so PPO may go on wherever there are images and the ego's own motion. Here each seed's imitation policy is
improved by its own reward model, with the settings of notebook 06, in the windows and moved starts of FRESH's training
split: as many as notebook 06 has, in towns that the study does not know. It is judged in the groups of OTHER that
`replication.py` has prepared and scored, beside imitation and IRL-VLA, whose PPO saw the scenes that its reward model
had learned from.

`runs/study/unlabelled.csv` (.md, .tex) has the scores against imitation, `unlabelled_against_irl_vla.csv` against
IRL-VLA, by towns as in the tables of the replication.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from irlvla import agents
from irlvla.frame_pairs import FramePairs
from irlvla.further_scenes import NEEDED, SPLIT, encoded, judged_tokens, read_scenes, recipe_of, split_yaml
from irlvla.models.policy import Policy
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.params import Data, Reinforcement
from irlvla.prerequisites import STUDY, require
from irlvla.progress import progress
from irlvla.reinforcement import Reward, Settings, Tokens, model_reward, train
from irlvla.replication import SHOWN, TwoStageTest, write_tables
from irlvla.scenes.prepare import Recipe, moved_starts, prepare
from irlvla.scenes.samples import log_names, stratified, survey
from irlvla.side_by_side import side_by_side
from irlvla.study import MAIN_SEED, REFERENCE, REINFORCED, run_folders

TRAIN = "train"
UNLABELLED = "IRL-VLA without labels"


def draw_scenes(recipe: Recipe, p: Data, taken: Collection[str]) -> pd.DataFrame:
    """Windows and moved starts of the recipe's dataset, as many as notebook 01 takes for training.

    Raises ValueError naming a town that is `taken`: known to the study, or what it is tested in.
    """
    listed, rng = split_yaml(recipe.root, TRAIN), np.random.default_rng(p.seed)
    windows = survey(recipe.root, listed, TRAIN, log_names(listed, None), p.workers)
    shared = set(windows["town"]) & set(taken)
    if shared:
        raise ValueError(f"{listed}: the study knows {min(shared)} or is tested there; use other towns")
    originals = stratified(windows, p.train_samples, rng)
    moved = moved_starts(recipe, listed, stratified(originals, p.perturbed_samples, rng), p.workers)
    return pd.concat([originals, moved], ignore_index=True)


def improved(policy: Policy, reward: Reward, cached: Tokens, pairs: FramePairs, s: Settings, seed: int) -> Policy:
    """The policy after PPO, as in notebook 06."""
    updates = train(policy, reward, cached, pairs, s, torch.Generator().manual_seed(seed))
    for _ in progress(updates, f"PPO, seed {seed}", s.iterations):
        pass
    return policy


def improve_all(
    root: Path, out: Path, p: Data, taken: Collection[str], folders: Mapping[int, Path], reinforcement: Reinforcement
) -> dict[int, Policy]:
    """The policies of the runs in `folders`, by seed, after PPO in scenes of `root`, which are prepared below `out`."""
    recipe = recipe_of(root, out, p)
    samples = draw_scenes(recipe, p, taken)
    prepare(recipe, samples, {TRAIN: split_yaml(root, TRAIN)}, p.workers)
    scenes = read_scenes(out, TRAIN, folders[MAIN_SEED], p)
    pairs = FramePairs.load(samples, samples["token"].tolist(), out / "contexts")
    settings, jobs = Settings(**reinforcement.ppo.model_dump()), {}
    for seed, run in folders.items():
        policy = Policy.load(run / "imitation" / "policy.pt")
        reward_model = RewardEnsemble.load(run / "reward_world_model" / "reward_model.pt")
        cached = encoded(policy, scenes)
        reward = model_reward(reward_model, judged_tokens(run, scenes, cached), reinforcement.pessimism)
        jobs[seed] = partial(improved, policy, reward, cached, pairs, settings, seed)
    return side_by_side(jobs)


def compare(fresh: Path, other: Path, seeds: Sequence[int]) -> pd.DataFrame:
    """Improve the policies of the main run and the given seeds in `fresh`, score them in `other`; `write_tables` of it.

    Below runs/study/unlabelled: what notebook 01 would write of `fresh`, the policies, and their scores.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, p, evaluation = Path(params["runs"]), Data(**params["data"]), params["evaluation"]
    folders = dict(zip((MAIN_SEED, *seeds), run_folders(runs, seeds, NEEDED), strict=True))
    out, tested = runs / "study" / "unlabelled", runs / "study" / "replication"
    scored = {seed: tested / f"scores_seed{seed}.csv" for seed in folders}
    require(STUDY, tested / "contexts", *scored.values())
    known, test = pd.read_csv(runs / "data" / "samples.csv"), TwoStageTest.load(other)
    taken = {*known["town"], *test.samples["town"]}
    policies = improve_all(fresh, out, p, taken, folders, Reinforcement(**params["reinforcement"]))
    scenes, scores = read_scenes(tested, SPLIT, folders[MAIN_SEED], p), []
    for seed, policy in policies.items():
        policy.save(out / f"policy_seed{seed}.pt")
        plans = {UNLABELLED: agents.policy_plans(policy, encoded(policy, scenes))}
        rows = test.score(plans, tested / "contexts", evaluation["workers"], out / f"scores_seed{seed}.csv")
        before = pd.read_csv(scored[seed])
        scores.append(pd.concat([before[before["agent"].isin((REFERENCE, REINFORCED))], rows]))
    drawn = (evaluation["bootstrap_samples"], evaluation["seed"])
    return write_tables(scores, test.parts(known), runs / "study" / "unlabelled", *drawn)


def main(arguments: list[str] | None = None) -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.unlabelled", description=__doc__.splitlines()[0])
    parser.add_argument("fresh", type=Path, help="dataset in NAVSIM format with a training split of other towns")
    parser.add_argument("other", type=Path, help="dataset that `irlvla.replication` has scored")
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    options = parser.parse_args(arguments)
    print(compare(options.fresh, options.other, options.seeds)[SHOWN].round(3).to_string())


if __name__ == "__main__":
    main()
