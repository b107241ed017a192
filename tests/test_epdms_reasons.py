"""Reasons name the first infraction: when, where, and which track or area is to blame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from epdms_scenes import POLYGONS, cruise, rectangle, road, straight_plan, with_track

from irlvla.epdms.context import ScoringContext
from irlvla.epdms.reasons import reasons
from irlvla.epdms.reference import load_proposals
from irlvla.epdms.scores import judge, score_plans

NC, DAC, DDC = "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance"
TLC, TTC, LK, HC = (
    "traffic_light_compliance", "time_to_collision_within_bound", "lane_keeping", "history_comfort",
)  # fmt: skip
SCENES = sorted((Path(__file__).parent / "data" / "epdms_reference" / "scenes").glob("scene????.npz"))


def reasons_of(context, plan=None):
    """By sub-score, of a plan that goes straight at 10 m/s."""
    scores = score_plans(context, straight_plan(10.0)[None] if plan is None else plan[None], human_filter=False)
    return {reason.sub_score: reason for reason in reasons(context, scores, 0)}


def test_a_clean_plan_has_no_reasons():
    assert reasons_of(road()) == {}


def test_a_collision_names_the_first_track_and_the_time_of_contact():
    context = with_track(with_track(road(), 30.0, 0.0), 20.0, 0.0, kind="PEDESTRIAN")
    reason = reasons_of(context)[NC]
    assert reason.cause == "pedestrian track1"  # it stands before track0
    assert reason.time_s == pytest.approx(1.5)  # the front bumper, 4.049 m ahead, reaches x = 19 after 14.951 m
    assert reason.center == pytest.approx((16.461, 0.0), abs=0.01)


def test_the_blame_goes_to_the_earlier_fault_though_a_later_one_scores_lower():
    context = with_track(with_track(road(), 30.0, 0.0), 20.0, 0.0, kind="BARRIER")
    columns, verdicts = judge(context, cruise(10.0))
    assert columns[NC][0] == 0.0
    assert (verdicts[NC].step[0], verdicts[NC].cause[0]) == (15, 1)


def test_time_to_collision_names_the_state_looked_ahead_from():
    reason = reasons_of(with_track(road(), 20.0, 0.0))[TTC]
    assert reason.cause == "vehicle track0"
    assert reason.time_s == pytest.approx(0.6)  # 9 m = 0.9 s before the contact at 15 m


def test_leaving_the_road_names_the_corners():
    narrow = {("lane", "LANE"): POLYGONS["lane", "LANE"], ("block", "ROADBLOCK"): rectangle(-100, 20, -2, 2)}
    reason = reasons_of(road(narrow))[DAC]
    assert reason.cause == "front left, front right off the drivable area"
    assert reason.time_s == pytest.approx(1.6)  # 20 m - 4.049 m at 10 m/s


def test_the_wrong_way_names_the_lane():
    reason = reasons_of(road(route=("elsewhere",)))[DDC]
    assert reason.cause == "in lane lane off the route"
    assert reason.time_s == pytest.approx(0.2)  # 2 m at 10 m/s
    no_lanes = {("block", "ROADBLOCK"): POLYGONS["block", "ROADBLOCK"]}
    assert reasons_of(road(no_lanes))[DDC].cause == "outside all lanes"


def test_a_red_light_names_the_connector_and_the_first_touch_while_it_is_red():
    crossing = POLYGONS | {("crossing", "LANE_CONNECTOR"): rectangle(14.0, 24.0, -2, 2)}
    red = np.zeros((41, 1), dtype=bool)
    red[12:] = True  # the ego touches it from 1.0 s on
    context = road(crossing, route=("lane", "crossing"), red_light_ids=np.array(["crossing"]), red_light_on=red)
    reason = reasons_of(context)[TLC]
    assert reason.cause == "red lane connector crossing"
    assert reason.time_s == pytest.approx(1.2)


def test_lane_keeping_names_the_offset():
    context = road()
    aside = replace(context, centerline=context.centerline + [0.0, 0.75, 0.0])
    reason = reasons_of(aside)[LK]
    assert reason.cause == "0.75 m off the centreline"
    assert reason.time_s == pytest.approx(1.9)  # the 20th state


def test_discomfort_names_the_quantity_and_its_value():
    context = road()
    braking = np.cumsum(np.linspace(5.0, 0.0, 8))[:, None] * [1.0, 0.0, 0.0]
    hard = np.minimum(braking, 6.0)
    reason = reasons_of(context, hard)[HC]
    quantity, value = reason.cause.rsplit(" ", 1)
    assert quantity in ("longitudinal acceleration [m/s2]", "longitudinal jerk [m/s3]")
    assert float(value) < -4.0


@pytest.mark.parametrize("path", SCENES[::8], ids=lambda path: path.stem)
def test_there_is_a_reason_for_every_lost_sub_score_and_for_no_other(path):
    context, plans = ScoringContext.load(path), load_proposals(path)
    scores = score_plans(context, plans)
    for row in range(len(plans)):
        found = reasons(context, scores, row)
        assert [reason.time_s for reason in found] == sorted(reason.time_s for reason in found)
        lost = {name for name in scores.verdicts if scores.plain[name][row] < 1.0}
        assert {reason.sub_score for reason in found} == lost
