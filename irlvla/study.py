"""Several seeds: the learning stages again with other seeds, and their results side by side.

    python -m irlvla.study run STAGE SEED        one stage's notebook with another seed, into runs/study/seed<SEED>
    python -m irlvla.study table SEED...         mean scores over main run and these seeds, differences of agents
    python -m irlvla.study closed_loop SEED...   all drivers on the whole suite of routes, mean over the same seeds

`make study` runs them as the matrix of notebooks/study/dvc.yaml. A seed counts for everything that learns or draws
plans: encoders, planners, candidates, reward model, PPO. Data, vision-language model, test scenes and routes are those
of the main run. The closed loop is driven with the main run's policies as well, because the mini run drives less.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import yaml

from irlvla.bench2drive import evaluate, read_records
from irlvla.breakdown import sub_score_table
from irlvla.evaluation import STAGES, available_groups, bootstrap_interval, group_scores
from irlvla.params import DriverName
from irlvla.plots import save_figure, set_style
from irlvla.plots_results import abilities_figure
from irlvla.prerequisites import PIPELINE, STUDY, require
from irlvla.route_suite import load_suite, route_scores
from irlvla.scenes.split import Group, load_split
from irlvla.tables import write_table

LEARNING = ("imitation", "reward_data", "reward_world_model", "reinforcement", "evaluation")
SHARED = ("data", "semantic_reasoning")
CLOSED_LOOP = "closed_loop"
MAIN_SEED = 0  # of params.yaml
WITHOUT_SEED = ("constant_velocity", "pdm_closed")  # drive alike with every seed: once is enough
REFERENCE, REINFORCED = "IRL-VLA-IL", "IRL-VLA"  # agents of the tables
IMITATION = "imitation"  # as a driver


def seeded(params: dict, seed: int, runs: str) -> dict:
    """The parameters with `seed` in every learning section but that of the evaluation, and results below `runs`.

    In the closed loop, all drivers and all routes.
    """
    with_seed = (*LEARNING[:-1], CLOSED_LOOP)
    changed = {name: section | {"seed": seed} for name, section in params.items() if name in with_seed}
    changed[CLOSED_LOOP] |= {"routes": None, "drivers": drivers(seed)}
    return params | changed | {"runs": runs}


def drivers(seed: int) -> list[str]:
    """Who drives with this seed."""
    return [name for name in get_args(DriverName) if seed == MAIN_SEED or name not in WITHOUT_SEED]


def seed_folder(runs: Path, seed: int) -> Path:
    """Where the study keeps what is run with a seed."""
    return runs / "study" / f"seed{seed}"


def run(stage: str, seed: int) -> None:
    """Run the notebook of a stage with another seed; the stages before it must be there.

    Raises FileNotFoundError if the main run lacks a shared stage, CalledProcessError if the notebook fails.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs = Path(params["runs"])
    folder = seed_folder(runs, seed)
    shared = (*SHARED, *LEARNING[:-1]) if seed == MAIN_SEED else SHARED
    require(PIPELINE, *(runs / name for name in shared))
    (folder / stage).mkdir(parents=True, exist_ok=True)
    for name in shared:
        if not (folder / name).exists():
            (folder / name).symlink_to(Path("..") / ".." / name)
    given = folder / f"{stage}.yaml"
    given.write_text(yaml.safe_dump(seeded(params, seed, folder.as_posix()), sort_keys=False))
    notebook = next(Path("notebooks").glob(f"*_{stage}.ipynb"))
    command = ["papermill", "--engine", "stage", "--log-level", "ERROR", "--no-request-save-on-cell-execute"]
    subprocess.run([*command, "--cwd", "notebooks", notebook, folder / stage / notebook.name, "-f", given], check=True)


def seed_table(
    scores: Sequence[pd.DataFrame], groups: Sequence[Group], samples: int, seed: int, reference: str = REFERENCE
) -> pd.DataFrame:
    """A row per agent: mean score over the seeds per stage, its spread, and the difference from the `reference`.

    `difference` is the mean over seeds of agent minus reference in each group, with its bootstrap interval over
    groups; `least` and `most` are the differences of single seeds.
    """
    tables = [table.groupby("agent", sort=False) for table in scores]
    by_seed = [{name: group_scores(rows, groups) for name, rows in agents} for agents in tables]
    lines = []
    for agent in by_seed[0]:
        for stage in STAGES:
            values = np.array([getattr(found[agent], stage) for found in by_seed])  # (seeds, G)
            difference = values - np.array([getattr(found[reference], stage) for found in by_seed])
            low, high = bootstrap_interval(difference.mean(axis=0), samples, seed)
            means = difference.mean(axis=1)
            lines.append({
                "agent": agent, "stage": stage, "seeds": len(values), "groups": len(groups), "score": values.mean(),
                "score_std": values.mean(axis=1).std(ddof=1) if len(values) > 1 else 0.0,
                "difference": means.mean(), "low": low, "high": high, "least": means.min(), "most": means.max(),
            })  # fmt: skip
    return pd.DataFrame(lines).set_index(["agent", "stage"])


def run_folders(runs: Path, seeds: Sequence[int], stages: Sequence[str]) -> list[Path]:
    """The main run, then those of the given seeds. Raises FileNotFoundError naming a stage's folder that is missing."""
    others = [seed_folder(runs, seed) for seed in seeds]
    require(PIPELINE, *(runs / stage for stage in stages))
    require(STUDY, *(folder / stage for folder in others for stage in stages))
    return [runs, *others]


def evaluation_folders(runs: Path, seeds: Sequence[int]) -> list[Path]:
    """Where notebook 07 wrote its results: `run_folders` of its stage."""
    return [folder / "evaluation" for folder in run_folders(runs, seeds, ["evaluation"])]


def evaluated_groups(root: Path, tokens: Sequence[str], split: str = "test") -> tuple[Group, ...]:
    """The two-stage groups of the split's towns whose scenes are all among `tokens`."""
    return available_groups(load_split(root / "splits" / f"{split}_two_stage.yaml").groups, tokens)


def mean_sub_scores(scores: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`breakdown.sub_score_table`, mean over the seeds: sub-scores and filter variants per (stage, agent)."""
    tables = pd.concat([sub_score_table(table) for table in scores])
    return tables.groupby(level=["stage", "agent"], sort=False).mean()


def table(seeds: Sequence[int]) -> pd.DataFrame:
    """`seed_table` of the main run and the given seeds, with their ablations.

    Written below runs/study: `table`, against imitation; `table_against_irl_vla`; `sub_scores`; `table_val`, against
    imitation on the few groups of validation towns, without the ablations.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, evaluation = Path(params["runs"]), params["evaluation"]
    folders = evaluation_folders(runs, seeds)
    ablations = [seed_folder(runs, seed) / "ablation" for seed in (MAIN_SEED, *seeds)]
    require(STUDY, *ablations)
    parts = zip(folders, ablations, strict=True)
    scores = [pd.concat([pd.read_csv(folder / "scores.csv") for folder in pair]) for pair in parts]
    validation = [pd.read_csv(folder / "scores_val.csv") for folder in folders]
    root, drawn = Path(evaluation["root"]), (evaluation["bootstrap_samples"], evaluation["seed"])
    groups = evaluated_groups(root, scores[0]["token"].tolist())
    val_groups = evaluated_groups(root, validation[0]["token"].tolist(), "val")
    note = f"{len(groups)} groups of test towns, {len(scores)} training seeds"
    against = {"table": REFERENCE, "table_against_irl_vla": REINFORCED}
    tables = {name: seed_table(scores, groups, *drawn, reference) for name, reference in against.items()}
    shows = "Two-stage EPDMS and difference from {}, 95 % intervals over groups"
    for name, reference in against.items():
        write_table(tables[name], runs / "study" / name, shows.format(reference), note)
    val_note = f"{len(val_groups)} groups of validation towns, {len(scores)} training seeds"
    found = seed_table(validation, val_groups, *drawn)
    write_table(found, runs / "study" / "table_val", shows.format(REFERENCE), val_note)
    shows = "Sub-scores and filter variants of EPDMS per stage"
    write_table(mean_sub_scores(scores), runs / "study" / "sub_scores", shows, note)
    return tables["table"]


def driving_table(scores: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """A row per driver and ability, first over `all` of them: driving score [%] and success rate.

    Both are means over seeds and routes, with a bootstrap interval over routes; `driving_score_std` is the spread of
    the seeds' means. `difference` is the driving score minus the imitation policy's on the same routes, and
    `success_difference` that of the success rate.

    Args:
        scores: a row per driver, seed and route: `route_scores` with columns driver and seed.
    """
    lines = []
    scores = scores.rename(columns={"success": "success_rate"})
    measures, differences = ["driving_score", "success_rate"], ["difference", "success_difference"]
    imitated = scores[scores["driver"] == IMITATION].groupby("route")[measures].mean()
    everything = pd.concat([scores.assign(ability="all"), scores])
    for (driver, ability), rows in everything.groupby(["driver", "ability"], sort=False):
        by_route = rows.groupby("route")[measures].mean()  # over the seeds
        by_route[differences] = by_route - imitated
        by_seed = rows.groupby("seed")["driving_score"].mean()
        line = {"driver": driver, "ability": ability, "seeds": len(by_seed), "routes": len(by_route)}
        for name, values in by_route.items():
            low, high = bootstrap_interval(values.to_numpy(), samples, seed)
            line |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
        lines.append(line | {"driving_score_std": by_seed.std(ddof=1) if len(by_seed) > 1 else 0.0})
    return pd.DataFrame(lines).set_index(["driver", "ability"])


def closed_loop(seeds: Sequence[int]) -> pd.DataFrame:
    """`driving_table` of the main seed and the given ones, written to runs/study/closed_loop.csv (.md, .tex).

    Bench2Drive's four metrics, means over the seeds, and the median of the seconds that a simulated second took go to
    runs/study/closed_loop_metrics, the radar of abilities to runs/study/abilities.pdf and .png.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, evaluation = Path(params["runs"]), params["evaluation"]
    suite, parts, metrics = load_suite(Path(params[CLOSED_LOOP]["suite"])), [], []
    folders = {seed: seed_folder(runs, seed) / CLOSED_LOOP for seed in (MAIN_SEED, *seeds)}
    require(STUDY, *folders.values())
    for seed, folder in folders.items():
        seconds = pd.Series(json.loads((folder / "timing.json").read_text()))
        for name in drivers(seed):
            drives = folder / "drives" / name
            parts.append(route_scores(read_records(drives / "results"), suite).assign(driver=name, seed=seed))
            cost = seconds[seconds.index.str.startswith(f"{name}/")].median()
            metrics.append({"driver": name} | evaluate(drives, len(suite)) | {"seconds_per_simulated_second": cost})
    result = driving_table(pd.concat(parts), evaluation["bootstrap_samples"], evaluation["seed"])
    note = f"nor with published Bench2Drive scores; {len(suite)} routes in test towns, {1 + len(seeds)} training seeds"
    shows = "Driving score and success rate in the closed loop by ability, 95 % intervals over routes"
    write_table(result, runs / "study" / "closed_loop", shows, note)
    means = pd.DataFrame(metrics).groupby("driver", sort=False).mean().drop(columns=["eval_num", "routes"])
    write_table(means, runs / "study" / "closed_loop_metrics", "Bench2Drive's metrics in the closed loop", note)
    set_style()
    radar = abilities_figure(result.drop(index="all", level="ability").reset_index())
    save_figure(radar, runs / "study" / "abilities", ("pdf", "png"))
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run a stage with another seed, or print a table."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.study", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    once = commands.add_parser("run", help="one stage with another seed")
    once.add_argument("stage", choices=(*LEARNING, CLOSED_LOOP))
    once.add_argument("seed", type=int)
    commands.add_parser("table", help="all seeds side by side").add_argument("seeds", type=int, nargs="+")
    commands.add_parser(CLOSED_LOOP, help="drivers over all seeds").add_argument("seeds", type=int, nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "run":
        run(options.stage, options.seed)
    else:
        tables = {"table": table, CLOSED_LOOP: closed_loop}
        print(tables[options.command](options.seeds).round(3).to_string())


if __name__ == "__main__":
    main()
