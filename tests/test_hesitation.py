"""Claims about the table of scenes where imitation nearly stops."""

import numpy as np
import pandas as pd
import pytest

from irlvla.hesitation import COLUMNS, group_of, hesitant_rows, hesitates, hesitation_table
from irlvla.scenes.split import Group

TOKENS = ["a", "b", "c"]
GROUPS = (Group("a", "b", ()), Group("c", "d", ()))
LONG_NAMES = ("ego_progress", "no_at_fault_collisions", "drivable_area_compliance", "traffic_light_compliance")


def straight(*lengths_m: float) -> np.ndarray:
    """Plans (n, 8, 3) straight on, of these lengths."""
    plans = np.zeros((len(lengths_m), 8, 3))
    plans[:, :, 0] = np.outer(lengths_m, np.linspace(0.125, 1, 8))
    return plans


PLANS = {"IRL-VLA-IL": straight(1, 1, 30), "IRL-VLA": straight(9, 1, 30), "PDM-Closed": straight(20, 2, 40)}


def scores(**progress: tuple[float, ...]) -> pd.DataFrame:
    """EP of agents in the three scenes; all else is 1."""
    names = {agent.replace("_", "-"): values for agent, values in progress.items()}
    rows = [(agent, token, value) for agent, some in names.items() for token, value in zip(TOKENS, some, strict=True)]
    table = pd.DataFrame(rows, columns=["agent", "token", "ego_progress"]).assign(stage=2.0, score=0.5)
    return table.assign(**dict.fromkeys((*LONG_NAMES[1:], "time_to_collision_within_bound"), 1.0))


def test_imitation_hesitates_where_it_nearly_stops_and_the_way_is_free():
    assert hesitates(PLANS).tolist() == [True, False, False]


def test_only_hesitant_scenes_count_with_the_length_of_each_plan():
    rows = hesitant_rows(scores(IRL_VLA_IL=(0.1, 1, 1), IRL_VLA=(0.6, 1, 1)), TOKENS, PLANS)
    assert rows["token"].unique().tolist() == ["a"]
    assert dict(zip(rows["agent"], rows["length_m"], strict=True)) == {"IRL-VLA-IL": 1.0, "IRL-VLA": 9.0}


def test_differences_are_paired_by_scene_and_seed_and_vary_by_group():
    def of_seed(seed: int, first: float, second: float) -> pd.DataFrame:
        table = scores(IRL_VLA_IL=(0.1, 0, 0.3), IRL_VLA=(first, 0, second)).rename(columns={"ego_progress": "EP"})
        short = dict(zip(LONG_NAMES[1:], ("NC", "DAC", "TLC"), strict=True)) | {"time_to_collision_within_bound": "TTC"}
        return table[table["token"] != "b"].rename(columns=short).assign(seed=seed, length_m=2.0)

    table = hesitation_table(
        pd.concat([of_seed(0, 0.3, 0.3), of_seed(1, 0.5, 0.3)]), group_of(GROUPS), samples=400, seed=0
    )
    row = table.loc["IRL-VLA"]
    assert (row["scenes"], row["groups"]) == (4, 2)
    assert row["EP_difference"] == pytest.approx((0.2 + 0.4 + 0 + 0) / 4)
    assert (row["EP_low"], row["EP_high"]) == (pytest.approx(0.0), pytest.approx(0.3))
    assert (table.loc["IRL-VLA-IL", ["EP_difference", "score_difference"]] == 0).all()
    assert set(COLUMNS) <= set(table.columns)
