"""Where points are lost: tables of sub-scores, failures with their reasons, and the cases that are shown."""

import pandas as pd
import pytest

from irlvla.breakdown import (
    SHORT,
    VARIANTS,
    failure_cases,
    failure_table,
    follow_up_kinds,
    scenario_table,
    sub_score_table,
)

NC, DAC, DDC = "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance"
STARTS = {"c": "oncoming", "d": "kerb"}


def row(token: str, agent: str = "A", stage: float | None = 1.0, log: str = "elm-000", reasons: str = "", **values):
    """A row of the evaluation's table: everything is 1 but `values`."""
    columns = dict.fromkeys([*SHORT, *VARIANTS], 1.0)
    return {"token": token, "agent": agent, "stage": stage, "log_name": log, "reasons": reasons} | columns | values


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame([
        row("a"),
        row("b", log="elm-001", **{NC: 0.0, "score": 0.0},
            reasons=f"lane_keeping 2.0 s 0.7 m off; {NC} 2.4 s vehicle v1"),
        row("c", stage=2.0, log="elm-002", **{DDC: 0.0, DAC: 0.0},
            reasons=f"{DDC} 0.4 s in lane 7 off the route; {DAC} 3.0 s front left off the drivable area"),
        row("d", stage=2.0, log="elm-002", reasons=f"{DAC} 1.0 s front left off the drivable area", **{DAC: 0.0}),
        row("e", stage=2.0, log="elm-003", reasons=f"{DAC} 1.5 s rear left off the drivable area", **{DAC: 0.0}),
        row("f", stage=2.0, log="elm-004", reasons=f"{NC} 0.5 s barrier v2", **{NC: 0.5}),
        row("a", agent="B", score=0.5),
        row("extended_pdm_score_stage_one", stage=None, score=0.7, **{NC: 0.9}),
        row("extended_pdm_score_stage_two", stage=None, score=0.6),
        row("extended_pdm_score_combined", stage=None, score=0.4),
    ])  # fmt: skip


@pytest.fixture
def failures(scores) -> pd.DataFrame:
    return failure_table(scores, pd.Series("braking", index=list("abcdef")), STARTS)


def test_sub_scores_are_the_summary_rows_under_their_short_names(scores):
    table = sub_score_table(scores)
    assert list(table.columns) == ["NC", "DAC", "DDC", "TLC", "EP", "TTC", "LK", "HC", "EC", *VARIANTS.values()]
    assert table.loc[("stage one", "A"), "NC"] == 0.9 and table.loc[("stage two", "A"), "EPDMS"] == 0.6


def test_scenario_means_are_over_scenes_of_a_type_and_stage(scores):
    scenario = pd.Series({"a": "turn", "b": "turn"} | dict.fromkeys("cdef", "cruise"))
    table = scenario_table(scores, scenario)
    assert table.loc[("turn", "stage one", "A"), ["scenes", "NC", "EPDMS"]].tolist() == [2, 0.5, 0.5]
    assert table.loc[("cruise", "stage two", "A"), ["scenes", "DAC", "NC"]].tolist() == [4, 0.25, 0.875]
    assert ("cruise", "stage one", "A") not in table.index


def test_failures_are_the_plans_with_a_multiplier_of_zero(failures):
    assert failures.index.tolist() == [("A", token) for token in "bcde"]  # half a multiplier is no failure
    assert failures["failed"].tolist() == [NC, f"{DAC} {DDC}", DAC, DAC]


def test_a_failure_has_the_reasons_of_what_failed_and_the_time_of_the_first(failures):
    assert failures.loc[("A", "b"), "reason"] == f"{NC} 2.4 s vehicle v1"
    assert failures.loc[("A", "b"), "time_s"] == 2.4
    assert failures.loc[("A", "c"), "time_s"] == 0.4
    assert failures.loc[("A", "c"), "reason"].endswith("3.0 s front left off the drivable area")


def test_a_failure_knows_how_its_scene_starts(failures):
    assert failures["start"].tolist() == ["", "oncoming", "kerb", ""]


def test_cases_are_the_first_of_each_kind_from_different_logs(failures):
    cases = failure_cases(failures)
    assert cases == {"starts in the oncoming lane": "c", "leaves the road": "e", "collision": "b"}


def test_kinds_of_follow_ups_hold_for_both_frames_of_a_pair(tmp_path):
    pair = pd.DataFrame({"log_name": ["elm-000"], "token": ["t"], "previous_token": ["s"], "variant": ["kerb"]})
    pair.to_csv(tmp_path / "follow_ups.csv", index=False)
    assert follow_up_kinds(tmp_path) == {"t": "kerb", "s": "kerb"}


def test_a_dataset_without_kinds_of_follow_ups_has_none(tmp_path):
    assert follow_up_kinds(tmp_path) == {}
