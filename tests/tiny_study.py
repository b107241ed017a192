"""A finished study of tiny policies, and the small dataset in NAVSIM format as another dataset beside it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import tiny_policy
import torch
import yaml
from navsim_tiny import ROOT as TINY
from navsim_tiny import dataset, split_yaml

from irlvla.models.semantic import CommandModel
from irlvla.world.export import write_split

PROJECT = Path(__file__).resolve().parents[1]
SIZE = (tiny_policy.HEIGHT, tiny_policy.WIDTH)
SEMANTIC = {"tokens_per_view": 2, "vision_dim": 32, "vision_layers": 1, "text_dim": 32, "text_layers": 2}


def save_policies(run: Path, seed: int) -> None:
    """Imitation, a reward model, the same policy again as IRL-VLA, and another one as RLVR."""
    for name in ("imitation", "reward_world_model", "reinforcement"):
        (run / name).mkdir(parents=True)
    policy, other = (tiny_policy.policy(s, meta_channels=SEMANTIC["text_dim"]) for s in (seed, seed + 10))
    policy.save(run / "imitation" / "policy.pt")
    policy.save(run / "reinforcement" / "policy.pt")
    other.save(run / "reinforcement" / "policy_rlvr.pt")
    tiny_policy.reward_ensemble(policy, 2).save(run / "reward_world_model" / "reward_model.pt")


def make(folder: Path) -> Path:
    """`params.yaml`, a finished main run and seed 1, and `other`: a dataset with few groups and single scenes."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["data"] |= {"cameras": ["CAM_F0"], "image_size": list(SIZE), "bev_cells": tiny_policy.CELLS, "workers": 1}
    params["evaluation"] |= {"bootstrap_samples": 50, "workers": 1}
    (folder / "params.yaml").write_text(json.dumps(params))
    runs, second = folder / params["runs"], folder / params["runs"] / "study" / "seed1"
    save_policies(runs, 0), save_policies(second, 1)
    torch.manual_seed(0)
    CommandModel.small(("CAM_F0",), (32, 64), **SEMANTIC).save(runs / "semantic_reasoning" / "vlm")
    for run in (runs, second):
        (run / "data").mkdir()
        (run / "semantic_reasoning").mkdir(exist_ok=True)
    pd.DataFrame({"split": ["train", "test"], "town": ["berlin", "fir"]}).to_csv(runs / "data" / "samples.csv")
    other = folder / "other"
    shutil.copytree(TINY / "splits", other / "splits")
    for part in ("maps", "navhard_two_stage", "navsim_logs"):
        (other / part).symlink_to(TINY / part)
    shutil.copy(split_yaml("two"), other / "splits" / "test_two_stage.yaml")
    scenes = dataset("one")
    write_split(other / "splits", "test", "test", sorted({scene.log_name for scene in scenes}), list(scenes.tokens))
    return folder
