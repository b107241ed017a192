"""Agents in single scenes of a dataset made afterwards: from where the human was, and where imitation nearly stops.

    python -m irlvla.logged_starts OTHER SEED...     the main run and these seeds of `make study`

In two-stage groups imitation nearly stops in follow-ups only, which begin while the ego brakes beside the logged way.
In the logs it nearly stops where cars do: at rest, before a light that turns green or behind a car that starts. So
windows of OTHER's test split, spread over manoeuvres as those for training (notebook 01), are scored as one stage with
replayed traffic. Tables go to runs/study, for all towns, those in which the main run is tested, and further ones:
`logged_starts`, EPDMS of all windows, and `logged_starts_hesitation`, of those where imitation nearly stops and
PDM-Closed drives on, by scenario as well.
"""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from irlvla.further_scenes import NEEDED, SPLIT, kind_of_town, plans_by_run, prepare_further, split_yaml, tested_towns
from irlvla.hesitation import hesitant_rows, hesitation_table
from irlvla.params import Data
from irlvla.scenes.samples import log_names, stratified, survey
from irlvla.study import MAIN_SEED, run_folders
from irlvla.tables import write_table
from irlvla.validation import single_scores, single_table

NUM_SCENES = 2400
SHOWN = ["scenes", "logs", "EP", "NC", "DAC", "score", "EP_difference", "EP_low", "EP_high"]


def parts_of(samples: pd.DataFrame, tested: Collection[str]) -> dict[str, pd.Series]:
    """Tokens by what they are counted under: all, towns in which the main run is `tested`, further ones."""
    by_kind = samples.groupby(kind_of_town(samples["town"], tested), sort=False)["token"]
    return {"all": samples["token"], **dict(list(by_kind))}


def score_logged_starts(root: Path, seeds: Sequence[int], num_scenes: int = NUM_SCENES) -> pd.DataFrame:
    """Plan and score windows of `root` with the main run and the given seeds; writes both tables, returns the second.

    Below runs/study/logged_starts: what notebook 01 would write. Raises ValueError if imitation nearly stops nowhere.
    """
    params = yaml.safe_load(Path("params.yaml").read_text())
    runs, p, evaluation = Path(params["runs"]), Data(**params["data"]), params["evaluation"]
    folders, out = run_folders(runs, seeds, NEEDED), runs / "study" / "logged_starts"
    known = pd.read_csv(runs / "data" / "samples.csv")
    listed = split_yaml(root, SPLIT)
    windows = survey(root, listed, SPLIT, log_names(listed, None), p.workers)
    samples = stratified(windows, num_scenes, np.random.default_rng(p.seed)).reset_index(drop=True)
    prepare_further(root, SPLIT, samples, out, p, known)
    scored, hesitant, tokens = [], [], samples["token"].tolist()
    for seed, plans in zip((MAIN_SEED, *seeds), plans_by_run(samples, out, p, folders), strict=True):
        scored.append(single_scores(samples, plans, out / "contexts", evaluation["workers"]).assign(seed=seed))
        hesitant.append(hesitant_rows(scored[-1], tokens, plans).assign(seed=seed))
    rows, few = pd.concat(scored), pd.concat(hesitant)
    if few.empty:
        raise ValueError(f"{listed}: imitation nearly stops in none of {len(samples)} scenes; nothing to compare")
    of_token = samples.set_index("token")
    logs, drawn = of_token["log_name"].rename("logs"), (evaluation["bootstrap_samples"], evaluation["seed"])
    parts = parts_of(samples, tested_towns(known))
    whole = {name: single_table(rows[rows["token"].isin(part)], logs, *drawn) for name, part in parts.items()}
    among = {name: few[few["token"].isin(part)] for name, part in parts.items()}
    among |= dict(list(few.groupby(few["token"].map(of_token["scenario"]))))
    stopping = {name: hesitation_table(some, logs, *drawn) for name, some in among.items() if len(some)}
    note = f"{len(samples)} scenes of {logs.nunique()} logs made afterwards, {len(scored)} training seeds"
    write_table(pd.concat(whole, names=["towns"]), runs / "study" / "logged_starts",
                "EPDMS of single scenes, difference from IRL-VLA-IL, 95 % intervals over logs", note)  # fmt: skip
    result = pd.concat(stopping, names=["scenes of"])
    write_table(result, runs / "study" / "logged_starts_hesitation",
                "Single scenes where imitation nearly stops and PDM-Closed drives on", note)  # fmt: skip
    return result


def main(arguments: list[str] | None = None) -> None:
    """Write the tables and print the second."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.logged_starts", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="dataset in NAVSIM format with a test split")
    parser.add_argument("seeds", type=int, nargs="*", help="of the study, beside the main run")
    options = parser.parse_args(arguments)
    print(score_logged_starts(options.root, options.seeds)[SHOWN].round(3).to_string())


if __name__ == "__main__":
    main()
