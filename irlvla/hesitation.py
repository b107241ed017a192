"""Where imitation nearly stops although the way is free: does reinforcement go, and at what price?

    python -m irlvla.hesitation SEED...     the main run and these seeds of `make study`

Tables go to runs/study: `hesitation`, and `hesitation_by_scenario` for each type of scenario by itself.

Imitation hesitates in a scene if its plan ends less than SHORT_M from its start while PDM-Closed's, which knows map,
objects and lights, ends more than FREE_M from it. So no other agent has a say in which scenes count.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from irlvla.breakdown import SHORT
from irlvla.evaluation import clustered_interval
from irlvla.saved_scenes import saved_plans
from irlvla.scenes.split import Group
from irlvla.study import REFERENCE, evaluated_groups, evaluation_folders
from irlvla.tables import write_table

SHORT_M, FREE_M = 5.0, 8.0
FREE_DRIVER = "PDM-Closed"
COLUMNS = ["EP", "NC", "DAC", "TLC", "TTC", "score", "length_m"]


def length_m(plans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (n,) between start and end of plans (n, T, 3) in the ego frame."""
    return np.hypot(*plans[:, -1, :2].T)


def hesitates(plans: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Scenes (n,) where imitation nearly stops and PDM-Closed drives on; `plans` (n, T, 3) by agent.

    Raises KeyError if one of the two has no plans.
    """
    return (length_m(plans[REFERENCE]) < SHORT_M) & (length_m(plans[FREE_DRIVER]) > FREE_M)


def hesitant_rows(
    scores: pd.DataFrame, tokens: Sequence[str], plans: Mapping[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """Rows of `scores` in the scenes where imitation hesitates, with short names and the lengths of the plans.

    `scores` have columns agent, token, score and the sub-scores; `plans` (n, T, 3) by agent, of the scenes `tokens`.
    """
    chosen = [token for token, is_so in zip(tokens, hesitates(plans), strict=True) if is_so]
    lengths = {agent: pd.Series(length_m(array), index=tokens) for agent, array in plans.items()}
    rows = scores[scores["token"].isin(chosen)]
    found = [lengths[agent][token] for agent, token in zip(rows["agent"], rows["token"], strict=True)]
    return rows.rename(columns=SHORT).assign(length_m=found)


def group_of(groups: Sequence[Group]) -> pd.Series:
    """Number of a scene's group, by token."""
    return pd.Series({token: i for i, group in enumerate(groups) for token in group.tokens}, name="groups")


def hesitation_table(rows: pd.DataFrame, cluster: pd.Series, samples: int, seed: int) -> pd.DataFrame:
    """A row per agent: means over scenes and seeds, and the differences of some from imitation with intervals.

    `rows` are those of `hesitant_rows` with a column seed. Intervals come from drawing whole clusters of scenes:
    `cluster` by token, named as its members are called (groups, logs).
    """
    of_agent = {agent: some.set_index(["seed", "token"]) for agent, some in rows.groupby("agent", sort=False)}
    imitation = of_agent[REFERENCE]
    clusters = cluster[imitation.index.get_level_values("token")].to_numpy()
    lines = []
    for agent, some in of_agent.items():
        values = some.loc[imitation.index, COLUMNS].astype(float)
        line = {"agent": agent, "scenes": len(values), cluster.name: len(np.unique(clusters)), **values.mean()}
        for name in ("EP", "NC", "DAC", "score"):
            difference = (values[name] - imitation[name].astype(float)).to_numpy()
            low, high = clustered_interval(difference, clusters, samples, seed)
            line |= {f"{name}_difference": difference.mean(), f"{name}_low": low, f"{name}_high": high}
        lines.append(line)
    return pd.DataFrame(lines).set_index("agent")


def main(arguments: list[str] | None = None) -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.hesitation", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, evaluation = Path(params["runs"]), params["evaluation"]
    seeds = parser.parse_args(arguments).seeds
    parts = []
    for run, folder in enumerate(evaluation_folders(runs, seeds)):
        scores = pd.read_csv(folder / "scores.csv").dropna(subset="stage")
        tokens = scores["token"].unique().tolist()
        parts.append(hesitant_rows(scores, tokens, saved_plans(folder, tokens)).assign(seed=run))
    rows, groups = pd.concat(parts), evaluated_groups(Path(evaluation["root"]), tokens)
    settings = group_of(groups), evaluation["bootstrap_samples"], evaluation["seed"]
    scenario = rows["token"].map(pd.read_csv(runs / "data" / "samples.csv").set_index("token")["scenario"])
    result = hesitation_table(rows, *settings)
    by_scenario = pd.concat(
        {name: hesitation_table(some, *settings) for name, some in rows.groupby(scenario)}, names=["scenario"]
    )
    shows = "Scenes where imitation nearly stops and PDM-Closed drives on"
    note = f"test towns, {1 + len(seeds)} training seeds"
    write_table(result, runs / "study" / "hesitation", shows, note)
    write_table(by_scenario, runs / "study" / "hesitation_by_scenario", f"{shows}, by type of scenario", note)
    print(result.round(3).to_string())


if __name__ == "__main__":
    main()
