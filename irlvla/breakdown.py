"""Where points are lost: sub-scores per stage, and each failure with the reason that the scorer gives.

A failure is a plan with a multiplier of 0 (collision, off the road, wrong direction, red light): it scores nothing,
whatever else it does. Input are rows of `evaluation.evaluate`, or of the `scores.csv` that notebook 07 writes.
"""

from pathlib import Path

import pandas as pd

from irlvla.epdms.aggregate import EXTENDED_COMFORT
from irlvla.epdms.scores import MULTIPLIERS, SUB_SCORES

# Short names as papers write them, for all nine sub-scores.
SHORT = dict(zip(SUB_SCORES, ("NC", "DAC", "DDC", "TLC", "EP", "TTC", "LK", "HC"), strict=True)) | {
    EXTENDED_COMFORT: "EC"
}
VARIANTS = {"score": "EPDMS", "score_no_filter": "no filter", "score_before_fix": "before fix"}  # of the human filter
FAILURES = {
    "drivable_area_compliance": "leaves the road",
    "driving_direction_compliance": "wrong direction",
    "no_at_fault_collisions": "collision",
    "traffic_light_compliance": "red light",
}
STARTS = {"oncoming": "starts in the oncoming lane", "kerb": "starts at the kerb"}  # of follow-ups' kinds


def sub_score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """The nine sub-scores and the score under the three filter variants, per (stage, agent).

    They are the official weighted means, from the summary rows.
    """
    parts = {}
    for stage in ("stage_one", "stage_two"):
        rows = scores[scores["token"] == f"extended_pdm_score_{stage}"].set_index("agent")
        parts[stage.replace("_", " ")] = rows[[*SHORT, *VARIANTS]].astype(float)
    return pd.concat(parts, names=["stage"]).rename(columns=SHORT | VARIANTS)


def scenario_table(scores: pd.DataFrame, scenario: pd.Series) -> pd.DataFrame:
    """As `sub_score_table`, per (scenario, stage, agent): unweighted means over `scenes`.

    `scenario` names the type of a scene, by token.
    """
    rows = scores[scores["stage"].notna()]
    stages = rows["stage"].map({1.0: "stage one", 2.0: "stage two"}).rename("stage")
    keys = [rows["token"].map(scenario).rename("scenario"), stages, rows["agent"]]
    grouped = rows[[*SHORT, *VARIANTS]].astype(float).groupby(keys, sort=False)
    table = grouped.mean().rename(columns=SHORT | VARIANTS)
    table.insert(0, "scenes", grouped.size())
    return table.sort_index(level=["scenario", "stage"], sort_remaining=False, kind="stable")


def follow_up_kinds(root: Path) -> dict[str, str]:
    """How the start of a follow-up differs from the log ("near", "kerb", "oncoming" ...), by token.

    From `follow_ups.csv` of the embedded world; empty for a dataset without this file, as NAVSIM's.
    """
    path = Path(root) / "follow_ups.csv"
    if not path.exists():
        return {}
    kinds = pd.read_csv(path)
    return {token: kind for column in ("token", "previous_token")
            for token, kind in zip(kinds[column], kinds["variant"], strict=True)}  # fmt: skip


def failure_table(scores: pd.DataFrame, scenario: pd.Series, starts: dict[str, str]) -> pd.DataFrame:
    """A row per (agent, token) with a multiplier of 0, in the order of `scores`.

    Columns: stage, log_name, scenario, start (kind of the follow-up), failed (sub-scores, space between), time_s (of
    the first of them), reason (those of the failed sub-scores, with time and track or area).
    """
    rows = scores[scores["stage"].notna()]
    failed = rows[rows[list(MULTIPLIERS)].eq(0).any(axis=1)].set_index(["agent", "token"])
    names = [" ".join(m for m in MULTIPLIERS if row[m] == 0) for _, row in failed.iterrows()]
    tokens = failed.index.get_level_values("token")
    table = failed[["stage", "log_name"]].astype({"stage": int})
    table["scenario"] = tokens.map(scenario)
    table["start"] = [starts.get(token, "") for token in tokens]
    table["failed"] = names
    reasons = [_of(text, lost.split()) for text, lost in zip(failed["reasons"], names, strict=True)]
    table["time_s"] = [float(parts[0].split()[1]) for parts in reasons]
    table["reason"] = ["; ".join(parts) for parts in reasons]
    return table


def _of(reasons: str, names: list[str]) -> list[str]:
    return [reason for reason in reasons.split("; ") if reason.split()[0] in names]


def failure_cases(failures: pd.DataFrame) -> dict[str, str]:
    """Tokens to show, by kind of failure: the first failure of each kind, of one agent's rows of `failure_table`.

    A plan that fails in two ways stands for neither. Those that start wrong are looked for first, and no log is shown
    twice, so that each case is another place. Kinds that do not occur are left out.
    """
    waiting, cases = failures.droplevel("agent"), {}
    conditions = [(STARTS[kind], "start", kind) for kind in STARTS]
    conditions += [(FAILURES[name], "failed", name) for name in FAILURES]
    for kind, column, value in conditions:
        found = waiting[waiting[column] == value]
        if len(found):
            cases[kind] = str(found.index[0])
            waiting = waiting[waiting["log_name"] != found["log_name"].iloc[0]]
    return cases
