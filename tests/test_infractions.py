"""Bench2Drive's bookkeeping on hand-made drives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irlvla import infractions
from irlvla.infractions import Tick

LENGTH_M = 100.0
CAR, OTHER_CAR, WALKER, CONE = ("v1", "vehicle"), ("v2", "vehicle"), ("p1", "pedestrian"), ("c1", "traffic_cone")


def ticks(count: int = 101, speed: float = 10.0, traffic: float | None = 5.0, **changes: dict) -> list[Tick]:
    """A straight drive along x, 0.1 s apart; `changes` maps a field to {index: value}."""
    drive = []
    for i in range(count):
        x = i * speed * 0.1
        fields = {
            "time_s": round(i * 0.1, 1), "x_m": x, "y_m": 0.0, "speed_mps": speed, "progress_m": float(int(x)),
            "route_distance_m": 0.0, "goal_distance_m": abs(LENGTH_M - x), "outside_lanes": False, "contacts": (),
            "red_line": None, "traffic_mps": traffic,
        }  # fmt: skip
        drive.append(Tick(**(fields | {name: values[i] for name, values in changes.items() if i in values})))
    return drive


def kinds(found) -> list[str]:
    return [infraction.kind for infraction in found]


def test_a_clean_drive_scores_100_and_is_recorded_with_its_speeds_only():
    record = infractions.route_record(0, "RouteScenario_0", ticks(), LENGTH_M, infractions.FINISHED)
    assert record["scores"] == {"score_route": 100.0, "score_penalty": 1.0, "score_composed": 100.0}
    assert record["status"] == "Completed"  # as in the benchmark, speed records keep it from "Perfect"
    assert {kind for kind, texts in record["infractions"].items() if texts} == {"min_speed_infractions"}


@pytest.mark.parametrize(
    ("contact", "kind"),
    [(WALKER, "collisions_pedestrian"), (CAR, "collisions_vehicle"), (("b", "bicycle"), "collisions_vehicle"),
     (CONE, "collisions_layout")],
)  # fmt: skip
def test_kind_of_a_collision_follows_the_object(contact, kind):
    found = infractions.collisions(ticks(contacts={20: (contact,)}))
    assert kinds(found) == [kind]
    assert found[0].time_s == 2.0 and found[0].x_m == 20.0
    assert "at (x=20.000, y=0.000, z=0.0) after 2.0 s" in found[0].text


def test_contacts_within_5_m_are_one_whatever_the_object():
    assert len(infractions.collisions(ticks(contacts={20: (CAR, WALKER), 24: (OTHER_CAR,), 25: (WALKER,)}))) == 1
    assert len(infractions.collisions(ticks(contacts={20: (CAR,), 26: (OTHER_CAR,)}))) == 2


def test_contacts_with_the_same_object_within_5_s_are_one():
    assert len(infractions.collisions(ticks(contacts={20: (CAR,), 70: (CAR,)}))) == 1
    assert len(infractions.collisions(ticks(contacts={20: (CAR,), 71: (CAR,)}))) == 2


def test_a_standing_ego_is_not_charged():
    assert infractions.collisions(ticks(speed=0.05, contacts={20: (CAR,)})) == []


def test_a_long_contact_is_charged_again_only_after_5_s_and_5_m():
    long = {i: (CAR,) for i in range(10, 80)}
    assert [c.time_s for c in infractions.collisions(ticks(contacts=long))] == [1.0, 6.1]


def test_a_red_light_counts_once_until_another_one():
    found = infractions.red_lights(ticks(red_line={10: "a", 12: "a", 30: "b", 50: "a"}))
    assert [f.time_s for f in found] == [1.0, 3.0, 5.0]


def test_leaving_the_lanes_multiplies_by_the_share_of_the_route():
    drive = ticks(outside_lanes={i: True for i in range(41, 61)})  # 20 of 100 m
    assert infractions.outside_lanes_m(drive) == 20
    found = infractions.infractions(drive, LENGTH_M, infractions.FINISHED)
    scores = infractions.scores(drive, found, LENGTH_M, infractions.FINISHED)
    assert scores["score_penalty"] == 0.8 and scores["score_composed"] == 80
    text = next(f.text for f in found if f.kind == "outside_route_lanes")
    assert text == "Agent went outside its route lanes for about 20.000 meters (20.00% of the completed route)"


def test_penalties_multiply_per_event():
    drive = ticks(contacts={10: (WALKER,), 30: (CAR,), 50: (CONE,)}, red_line={70: "a"})
    found = infractions.infractions(drive, LENGTH_M, infractions.FINISHED)
    assert infractions.scores(drive, found, LENGTH_M, infractions.FINISHED)["score_penalty"] == pytest.approx(
        0.5 * 0.6 * 0.65 * 0.7
    )


def test_speed_is_compared_with_the_traffic_at_20_checkpoints():
    checkpoints = infractions.speed_checkpoints(ticks(speed=10.0, traffic=5.0), LENGTH_M)
    assert [round(tick.progress_m) for tick, _ in checkpoints] == [*range(5, 100, 5), 100]
    assert {value for _, value in checkpoints} == {200.0}
    fine = infractions.speed_checkpoints(ticks(count=1001, speed=1.0, traffic=4.0), LENGTH_M)
    assert {value for _, value in fine} == {25.0}


def test_speed_counts_as_equal_where_traffic_is_missing_or_stands():
    assert {value for _, value in infractions.speed_checkpoints(ticks(traffic=None), LENGTH_M)} == {100.0}
    assert {value for _, value in infractions.speed_checkpoints(ticks(traffic=0.0), LENGTH_M)} == {100.0}


def test_an_unfinished_route_has_no_last_checkpoint():
    assert len(infractions.speed_checkpoints(ticks(count=51), LENGTH_M)) == 10


@pytest.mark.parametrize(
    ("count", "changes", "end"),
    [
        (50, {}, None),
        (100, {}, infractions.FINISHED),
        (100, {"goal_distance_m": {99: 10.0}}, None),
        (50, {"route_distance_m": {49: 30.1}}, infractions.DEVIATED),
        (50, {"route_distance_m": {i: 16.0 for i in range(25, 50)}}, None),  # far for 25 % of the route
        (60, {"route_distance_m": {i: 16.0 for i in range(25, 60)}}, infractions.DEVIATED),  # 35 %
    ],
)  # fmt: skip
def test_ends_of_a_drive(count, changes, end):
    assert infractions.ending(ticks(count=count, **changes), LENGTH_M, timeout_s=80) == end


def test_blockage_after_60_s_below_walking_speed_and_timeout():
    assert infractions.ending(ticks(count=600, speed=0.05), LENGTH_M, timeout_s=80) is None
    assert infractions.ending(ticks(count=602, speed=0.05), LENGTH_M, timeout_s=80) == infractions.BLOCKED
    assert infractions.ending(ticks(count=601, speed=0.15), LENGTH_M, timeout_s=60) == infractions.TIMED_OUT


def test_a_failure_is_recorded_with_its_completion_time_and_place():
    record = infractions.route_record(3, "RouteScenario_3", ticks(count=51), LENGTH_M, infractions.DEVIATED)
    assert record["status"] == "Failed - Agent deviated from the route"
    assert record["infractions"]["route_dev"] == [
        "Agent deviated from the route at (x=50.000, y=0.000, z=0.0) after 5.0 s"
    ]
    assert record["scores"]["score_route"] == 50.0


@given(
    contacts=st.dictionaries(st.integers(0, 100), st.tuples(st.sampled_from([CAR, OTHER_CAR, WALKER, CONE]))),
    outside=st.sets(st.integers(0, 100)),
    count=st.integers(3, 101),
)  # fmt: skip
def test_scores_stay_within_bounds_and_agree_with_their_product(contacts, outside, count):
    drive = ticks(count=count, contacts=contacts, outside_lanes={i: True for i in outside})
    end = infractions.FINISHED if count > 100 else infractions.TIMED_OUT
    record = infractions.route_record(0, "r", drive, LENGTH_M, end)
    scores = record["scores"]
    assert 0 <= scores["score_penalty"] <= 1 and 0 <= scores["score_route"] <= 100
    assert scores["score_composed"] == pytest.approx(scores["score_route"] * scores["score_penalty"], abs=1e-3)
    assert record["num_infractions"] == sum(map(len, record["infractions"].values()))
