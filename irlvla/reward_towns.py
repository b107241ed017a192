"""How well the reward model ranks plans in towns that neither it nor its encoders have seen: test towns, all seeds.

    python -m irlvla.reward_towns SEED...     the main run and these seeds of `make study`

Notebook 05 asks the same on validation towns, of which it keeps the best epoch. Here the plans are drawn for the test
scenes from the sources of notebook 04 and scored by EPDMS; nothing is trained or chosen. Beside the model stand rewards
that know no scene: the mean score of training plans near the same mode of the vocabulary, and a constant. The table is
`runs/study/reward_model.csv` (.md, .tex).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from irlvla.agents import policy_chains
from irlvla.epdms.scores import SUB_SCORES
from irlvla.models.policy import Policy
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.params import RewardData
from irlvla.prerequisites import JUDGED
from irlvla.progress import progress
from irlvla.reward_data import (
    SCORE,
    SHORT,
    Candidates,
    ScoredPlans,
    load_scored_plans,
    scene_candidates,
    write_scored_plans,
)
from irlvla.reward_encoders import reward_encoders
from irlvla.reward_training import (
    nearest_anchor_mean,
    predict,
    ranking_by_source,
    ranking_quality,
    sub_score_quality,
)
from irlvla.scenes.targets import load_targets
from irlvla.study import MAIN_SEED, run_folders
from irlvla.tables import write_table
from irlvla.tokens import TokenStore

SPLIT = "test"


def candidates(folder: Path, p: RewardData) -> Iterator[Candidates]:
    """Plans of every test scene, drawn as notebook 04 draws those of training scenes; `folder` is that of a seed."""
    targets = load_targets(folder / "data" / "scenes" / f"{SPLIT}.npz")
    tokens = targets["tokens"].tolist()
    policy = Policy.load(folder / "imitation" / "policy.pt")
    cached = TokenStore(folder / "imitation" / "tokens.npz").batch(tokens)
    generator, rng = torch.Generator().manual_seed(p.seed), np.random.default_rng(p.seed)
    chains = policy_chains(policy, cached, p.eta, p.std_floor, generator)
    vocabulary = np.load(folder / "reward_data" / "vocabulary.npz")["plans"]
    rows = zip(tokens, targets["plan"], chains, strict=True)
    for token, human, chain in progress(rows, f"score {SPLIT}", total=len(tokens)):
        yield scene_candidates(token, human, chain, vocabulary, p.vocabulary_plans, p.noisy_plans, p.noise_scale, rng)


def quality(folder: Path, data: ScoredPlans) -> pd.DataFrame:
    """A row per reward and source of plans: ranking of plans, then AUC, calibration error and R2 per sub-score.

    The sub-scores are the reward model's, over all sources.
    """
    ensemble = RewardEnsemble.load(folder / "reward_world_model" / "reward_model.pt")
    cached = TokenStore(reward_encoders(folder) / "tokens.npz").batch(data.tokens.tolist())
    predicted, reward, _ = predict(ensemble, cached, torch.from_numpy(data.plans))
    train = load_scored_plans(folder / "reward_data" / "train.parquet")
    vocabulary, truth = np.load(folder / "reward_data" / "vocabulary.npz")["plans"], data.scores[SCORE]
    nearest = nearest_anchor_mean(train.plans, train.scores[SCORE], data.plans, vocabulary)
    rewards = {"RWM": reward, "nearest anchor": nearest, "constant": np.full_like(truth, train.scores[SCORE].mean())}
    count = {"scenes": len(data.tokens), "plans": truth.size}
    rows = {(name, "all"): count | ranking_quality(values, truth) for name, values in rewards.items()}
    for name, figures in sub_score_quality(predicted, data.scores).items():
        rows["RWM", "all"] |= {f"{figure}_{SHORT[name]}": value for figure, value in figures.items()}
    for source, figures in ranking_by_source(reward, truth, data.sources).items():
        plans = len(data.tokens) * int((data.sources == source).sum())
        rows["RWM", source] = count | {"plans": plans} | figures
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["reward", "source"])


def judged(folder: Path, p: RewardData) -> pd.DataFrame:
    """`quality` of a seed on freshly scored plans, which are kept in `folder/reward_test.parquet`."""
    path = folder / f"reward_{SPLIT}.parquet"
    write_scored_plans(path, candidates(folder, p), folder / "data" / "contexts", p.human_filter, p.workers)
    return quality(folder, load_scored_plans(path))


def main(arguments: list[str] | None = None) -> None:
    """Write the table of all seeds, and print its main columns."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.reward_towns", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    params = yaml.safe_load(Path("params.yaml").read_text())
    seeds = parser.parse_args(arguments).seeds
    runs, parts = Path(params["runs"]), {}
    for seed, folder in zip((MAIN_SEED, *seeds), run_folders(runs, seeds, JUDGED), strict=True):
        parts[seed] = judged(folder, RewardData(**params["reward_data"] | {"seed": seed}))
    table = pd.concat(parts, names=["seed"])
    shows = "How well rewards rank plans of test scenes, and how well the reward model knows each sub-score"
    ranking = ["scenes", "plans", "spearman_within", "spearman_overall", "good_choice", "chosen_score"]
    write_table(table, runs / "study" / "reward_model", shows, f"{len(parts)} training seeds", ranking)
    auc = [f"auc_{SHORT[name]}" for name in SUB_SCORES]
    print(table[ranking].round(3).to_string())
    print(table.xs(("RWM", "all"), level=("reward", "source"))[auc].round(3).to_string())


if __name__ == "__main__":
    main()
