"""The test once more, in scenes that nobody has seen: the policies of a finished study on another dataset.

    python -m irlvla.replication OTHER SEED...     the main run and these seeds of `make study`

Scores differ more between 72 groups than between imitation and reinforcement, and a dataset of the embedded world is
made in minutes (`make study` builds `runs/study/towns`). Nothing is trained: the scenes of OTHER's two-stage test split
are prepared as by notebook 01, read by the vision-language model and by each seed's encoders, and planned by each
seed's policies. For all towns and for each, `runs/study/replication.csv` (.md, .tex) has the scores against imitation,
`replication_against_irl_vla.csv` against IRL-VLA.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray

from irlvla import agents
from irlvla.command_data import CommandDataset, answer_all
from irlvla.epdms.context import ScoringContext
from irlvla.evaluation import available_groups, evaluate
from irlvla.frame_pairs import FramePairs
from irlvla.models.baselines import constant_velocity
from irlvla.models.policy import Policy
from irlvla.models.pretrained_vlm import load_command_model
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.params import Data
from irlvla.reranking import rated_candidates, reranked_plans
from irlvla.reward_encoders import reward_encoders
from irlvla.scenes.dataset import SceneDataset
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.prepare import Recipe, prepare
from irlvla.scenes.samples import survey_two_stage
from irlvla.scenes.split import Group
from irlvla.scenes.targets import load_targets
from irlvla.study import MAIN_SEED, REFERENCE, REINFORCED, run_folders, seed_table
from irlvla.tables import write_table
from irlvla.tokens import encode_dataset

NEEDED = ("data", "semantic_reasoning", "imitation", "reward_world_model", "reinforcement")
SPLIT = "test"
BATCH_SIZE = 16
SHOWN = ["seeds", "groups", "score", "difference", "low", "high", "least", "most"]


def split_yaml(root: Path) -> Path:
    return root / "splits" / f"{SPLIT}_two_stage.yaml"


def prepared_samples(root: Path, out: Path, p: Data, known: pd.DataFrame) -> pd.DataFrame:
    """Samples of the two-stage test split of `root`, their images, targets and scoring contexts written below `out`.

    Raises ValueError naming a town that is a training or validation town in the table of samples `known`.
    """
    samples = survey_two_stage(root, split_yaml(root), SPLIT, None)
    seen = set(known.loc[known["split"] != SPLIT, "town"]) & set(samples["town"])
    if seen:
        raise ValueError(f"{split_yaml(root)}: policies were trained or chosen on {min(seen)}; use other towns")
    area = (tuple(p.x_range_m), tuple(p.y_range_m))
    recipe = Recipe(root, out, tuple(p.cameras), tuple(p.image_size), p.images, p.bev_cells, *area, p.seed)
    prepare(recipe, samples, {f"{SPLIT}_two_stage": split_yaml(root)}, p.workers)
    return samples


def encoded(policy: Policy, scenes: SceneDataset) -> agents.Tokens:
    """Tokens of all scenes, by the encoders of a policy."""
    arrays = encode_dataset(policy, scenes, BATCH_SIZE)
    return {kind: torch.from_numpy(values) for kind, values in arrays.items()}


def learned_plans(run: Path, scenes: SceneDataset, pairs: FramePairs) -> dict[str, NDArray[np.float32]]:
    """What the policies of a run drive in n scenes: (n, T, 3) by agent, as in notebook 07."""
    imitation, seeing = Policy.load(run / "imitation" / "policy.pt"), reward_encoders(run)
    cached = encoded(imitation, scenes)
    judged = cached if seeing == run / "imitation" else encoded(Policy.load(seeing / "policy.pt"), scenes)
    reward_model = RewardEnsemble.load(run / "reward_world_model" / "reward_model.pt")
    verified, reinforced = (Policy.load(run / "reinforcement" / name) for name in ("policy_rlvr.pt", "policy.pt"))
    rated = [rated_candidates(policy, reward_model, cached, judged) for policy in (imitation, reinforced)]
    return {
        "IRL-VLA-IL": agents.policy_plans(imitation, cached),
        "IL reranked": reranked_plans(rated[0], pairs),
        "RLVR": agents.policy_plans(verified, cached),
        "IRL-VLA": agents.policy_plans(reinforced, cached),
        "IRL-VLA reranked": reranked_plans(rated[1], pairs),
    }


def parts_of(groups: Sequence[Group], town: pd.Series, tested: Collection[str]) -> dict[str, list[Group]]:
    """Groups by what they are counted under: all, towns in which the main run is `tested` or further ones, each town.

    `town` by token.
    """
    parts: dict[str, list[Group]] = {}
    for group in groups:
        name = town[group.now]
        for part in ("all", "test towns" if name in tested else "further towns", name):
            parts.setdefault(part, []).append(group)
    return parts


def write_tables(
    scores: Sequence[pd.DataFrame], parts: Mapping[str, Sequence[Group]], runs: Path, samples: int, seed: int
) -> pd.DataFrame:
    """Write `seed_table` of every part, against imitation and against IRL-VLA; returns the former."""
    note, tables = f"{len(parts['all'])} groups, {len(scores)} training seeds", []
    for name, reference in {"replication": REFERENCE, "replication_against_irl_vla": REINFORCED}.items():
        found = {part: seed_table(scores, groups, samples, seed, reference) for part, groups in parts.items()}
        tables.append(pd.concat(found, names=["towns"]))
        shows = f"Two-stage EPDMS in scenes made afterwards, difference from {reference}, 95 % intervals over groups"
        write_table(tables[-1], runs / "study" / name, shows, note)
    return tables[0]


def replicate(root: Path, seeds: Sequence[int]) -> pd.DataFrame:
    """Plan and score the groups of `root` with the main run and the given seeds; `write_tables` of it.

    Below runs/study/replication: what notebook 01 would write, and the scores of every seed.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, p, evaluation = Path(params["runs"]), Data(**params["data"]), params["evaluation"]
    folders, out = run_folders(runs, seeds, NEEDED), runs / "study" / "replication"
    known = pd.read_csv(runs / "data" / "samples.csv")
    samples = prepared_samples(root, out, p, known)
    targets, tokens = load_targets(out / "scenes" / f"{SPLIT}.npz"), samples["token"].tolist()
    contexts, blobs, dataset = out / "contexts", out / "sensor_blobs", Dataset(root, split_yaml(root))
    groups = available_groups(dataset.split.groups, tokens)
    command_model = load_command_model(runs / "semantic_reasoning" / "vlm")
    meta = answer_all(command_model, CommandDataset(targets, blobs, p.cameras), BATCH_SIZE, "meta tokens")["meta"]
    scenes = SceneDataset(targets, blobs, Policy.load(runs / "imitation" / "policy.pt").image_hw, meta)
    pairs = FramePairs.load(samples, tokens, contexts)
    rules = (agents.pdm_closed_plan(ScoringContext.load(contexts / f"{token}.npz")) for token in tokens)
    marks = {"constant velocity": constant_velocity(targets["status"]), "PDM-Closed": np.stack(list(rules))}
    scores = []
    for seed, run in zip((MAIN_SEED, *seeds), folders, strict=True):
        driven = marks | learned_plans(run, scenes, pairs)
        plans = {agent: dict(zip(tokens, some, strict=True)) for agent, some in driven.items()}
        scores.append(evaluate(dataset, contexts, groups, plans, evaluation["workers"]))
        scores[-1].to_csv(out / f"scores_seed{seed}.csv", index=False, float_format="%.6f")
    tested = set(known.loc[known["split"] == SPLIT, "town"])
    parts = parts_of(groups, samples.set_index("token")["town"], tested)
    return write_tables(scores, parts, runs, evaluation["bootstrap_samples"], evaluation["seed"])


def main(arguments: list[str] | None = None) -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.replication", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="dataset in NAVSIM format with a two-stage test split")
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    options = parser.parse_args(arguments)
    print(replicate(options.root, options.seeds)[SHOWN].round(3).to_string())


if __name__ == "__main__":
    main()
