"""Each sub-score on hand-made scenes whose answer follows from the definition."""

from dataclasses import replace

import numpy as np
import pytest
from epdms_scenes import POLYGONS, cruise, front_x, rectangle, road, straight_plan, with_track

from irlvla.epdms import comfort
from irlvla.epdms.scores import evaluate, filter_by_human, score_plans, summarise, with_progress

NC, DAC, DDC = "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance"
TLC, TTC, LK = "traffic_light_compliance", "time_to_collision_within_bound", "lane_keeping"


def value(column, context, states):
    return evaluate(context, states)[column][0]


def touching_center(states):
    """Centre x of a 2 m box whose rear edge is exactly on the ego's front edge at the last step."""
    front = front_x(states)[-1]
    assert (front + 1.0) - 1.0 == front
    return front + 1.0


@pytest.mark.parametrize(("kind", "score"), [("VEHICLE", 0.0), ("PEDESTRIAN", 0.0), ("BICYCLE", 0.0), ("BARRIER", 0.5)])
def test_contact_with_a_standing_track_is_a_fault(kind, score):
    states = cruise(10.0)
    x = touching_center(states)
    assert value(NC, with_track(road(), x, 0.0, kind), states) == score
    assert value(NC, with_track(road(), np.nextafter(x, 99.0), 0.0, kind), states) == 1.0


def test_standing_ego_is_never_at_fault():
    assert value(NC, with_track(road(), 5.0, 0.0, velocity=np.full(41, 3.0)), cruise(0.05)) == 1.0
    assert value(NC, with_track(road(), 5.0, 0.0), cruise(0.05)) == 1.0
    assert value(NC, with_track(road(), 5.0, 0.0), cruise(0.0501)) == 0.0


def test_track_hit_without_fault_is_ignored_from_then_on():
    from_behind = with_track(road(), -5.0, 0.0, speed=20.0)  # runs through the ego and leaves at its front
    assert value(NC, from_behind, cruise(5.0)) == 1.0
    appears_at_front = with_track(road(), -5.0, 0.0, speed=20.0, first=6)
    assert appears_at_front.track_states[6, 0, 0] == 7.0
    assert value(NC, appears_at_front, cruise(5.0)) == 0.0


def test_stopped_is_decided_by_the_velocity_of_the_first_appearance():
    logged = np.zeros(41)
    logged[3:] = 20.0
    standing_first = with_track(road(), -5.0, 0.0, speed=20.0, velocity=logged)
    moving_first = with_track(road(), -5.0, 0.0, speed=20.0, velocity=logged, first=3)
    assert value(NC, standing_first, cruise(5.0)) == 0.0
    assert value(NC, moving_first, cruise(5.0, x=4.0)) == 1.0


def test_lateral_contact_is_a_fault_only_in_several_lanes_or_off_the_road():
    beside = with_track(road(), 1.5, 2.0, speed=5.0, size=(2.0, 2.0))
    assert value(NC, beside, cruise(5.0)) == 1.0
    narrow = POLYGONS | {("lane", "LANE"): rectangle(-100, 200, -2, 1)}
    beside = with_track(road(narrow), 1.5, 2.0, speed=5.0, size=(2.0, 2.0))
    assert value(NC, beside, cruise(5.0)) == 1.0  # corners in one lane only, the others in none
    between = POLYGONS | {
        ("lane", "LANE"): rectangle(-100, 200, -2, 0),
        ("oncoming_lane", "LANE"): rectangle(-100, 200, 0, 6),
    }
    assert value(NC, with_track(road(between), 1.5, 2.0, speed=5.0), cruise(5.0)) == 0.0
    off_road = {("lane", "LANE"): POLYGONS["lane", "LANE"]}
    assert value(NC, with_track(road(off_road), 1.5, 2.0, speed=5.0), cruise(5.0)) == 0.0


def test_a_corner_on_the_boundary_is_off_the_road():
    edge = 2.297 / 2
    on = {("lane", "LANE"): POLYGONS["lane", "LANE"], ("block", "ROADBLOCK"): rectangle(-100, 200, -5, edge)}
    inside = on | {("block", "ROADBLOCK"): rectangle(-100, 200, -5, np.nextafter(edge, 9.0))}
    assert value(DAC, road(on), cruise(10.0)) == 0.0
    assert value(DAC, road(inside), cruise(10.0)) == 1.0


def test_connectors_alone_are_not_drivable_and_car_parks_are():
    lane = {("lane", "LANE_CONNECTOR"): POLYGONS["lane", "LANE"]}
    assert value(DAC, road(lane), cruise(10.0)) == 0.0
    assert value(DAC, road(lane | {("park", "CARPARK_AREA"): rectangle(-100, 200, -9, 9)}), cruise(10.0)) == 1.0


@pytest.mark.parametrize(("speed", "score"), [(1.8, 1.0), (1.9, 0.5), (5.4, 0.5), (5.5, 0.0)])
def test_direction_counts_eleven_steps_off_the_route(speed, score):
    assert value(DDC, road(), cruise(speed, y=4.0)) == score
    junction = POLYGONS | {("junction", "INTERSECTION"): rectangle(-100, 200, -2, 6)}
    assert value(DDC, road(junction), cruise(speed, y=4.0)) == 1.0
    assert value(DDC, road(route=("lane", "oncoming_lane")), cruise(speed, y=4.0)) == 1.0


def test_red_light_counts_on_contact_while_it_is_red_and_on_the_route():
    states = cruise(10.0)
    front = front_x(states)[-1]
    lit = np.zeros((41, 1), dtype=bool)
    lit[40] = True
    changes = dict(red_light_ids=np.array(["turn"]), red_light_on=lit)

    def junction(x):
        return POLYGONS | {("turn", "LANE_CONNECTOR"): rectangle(x, x + 30, -2, 2)}

    assert value(TLC, road(junction(front), ("lane", "turn"), **changes), states) == 0.0
    assert value(TLC, road(junction(np.nextafter(front, 99.0)), ("lane", "turn"), **changes), states) == 1.0
    assert value(TLC, road(junction(front), **changes), states) == 1.0
    off = changes | {"red_light_on": ~lit}
    assert value(TLC, road(junction(front), ("lane", "turn"), **off), states) == 1.0


def test_ego_wholly_inside_a_red_connector_runs_the_light():
    inside = POLYGONS | {("turn", "LANE_CONNECTOR"): rectangle(-50, 150, -2, 2)}
    changes = dict(red_light_ids=np.array(["turn"]), red_light_on=np.ones((41, 1), dtype=bool))
    assert value(TLC, road(inside, ("lane", "turn"), **changes), cruise(10.0)) == 0.0


def test_ttc_looks_nine_tenths_of_a_second_ahead_from_the_first_32_states():
    states = cruise(10.0)
    reach = front_x(states)[31] + 9.0
    assert value(TTC, with_track(road(), reach + 0.99, 0.0), states) == 0.0
    assert value(TTC, with_track(road(), reach + 1.01, 0.0), states) == 1.0
    assert value(TTC, with_track(road(), 6.0, 0.0), cruise(0.004)) == 1.0


def test_ttc_of_a_track_beside_counts_only_where_the_ego_is_exposed():
    beside = with_track(road(), 1.5, 2.0, speed=5.0)
    assert value(TTC, beside, cruise(5.0)) == 1.0
    junction = POLYGONS | {("junction", "INTERSECTION"): rectangle(-100, 200, -2, 6)}
    assert value(TTC, with_track(road(junction), 1.5, 2.0, speed=5.0), cruise(5.0)) == 0.0
    behind = with_track(road(junction), -2.0, 0.0, speed=5.0)
    assert value(TTC, behind, cruise(5.0)) == 1.0


def test_lane_keeping_breaks_at_twenty_consecutive_states_beyond_half_a_metre():
    y = np.zeros(41)
    y[:19] = 0.51
    assert value(LK, road(), cruise(10.0, y=y)) == 1.0
    y[19] = -0.51
    assert value(LK, road(), cruise(10.0, y=y)) == 0.0
    assert value(LK, road(), cruise(10.0, y=0.5)) == 1.0


def test_lane_keeping_skips_intersection_states_without_resetting():
    y = np.full(41, 0.51)
    y[25:] = 0.0
    junction = POLYGONS | {("junction", "INTERSECTION"): rectangle(10.0, 15.0, -2, 6)}
    assert value(LK, road(junction), cruise(10.0, y=y)) == 0.0  # 25 states off, 5 of them skipped
    y[24:] = 0.0
    assert value(LK, road(junction), cruise(10.0, y=y)) == 1.0


def test_progress_is_measured_along_the_centreline_and_not_negative():
    columns = evaluate(road(), np.concatenate([cruise(3.0, y=1.0), cruise(-3.0)]))
    np.testing.assert_allclose(columns["progress_m"], [12.0, 0.0], atol=1e-12)


def test_progress_is_relative_to_the_best_where_someone_gets_far():
    columns = {"progress_m": np.array([2.0, 4.0, 10.0])}
    assert with_progress(columns, 8.0)["ego_progress"].tolist() == [0.25, 0.5, 1.0]
    assert with_progress(columns, 5.0)["ego_progress"].tolist() == [1.0, 1.0, 1.0]


def test_progress_of_a_plan_depends_on_the_reference_only():
    scores = score_plans(road(), np.stack([straight_plan(5.0), straight_plan(15.0)]), human_filter=False)
    alone = score_plans(road(), straight_plan(5.0)[None], human_filter=False)
    assert scores.columns["ego_progress"][0] == alone.columns["ego_progress"][0] < 1.0
    assert scores.columns["ego_progress"][1] == 1.0


@pytest.mark.parametrize(("acceleration", "score"), [(2.3, 1.0), (2.4, 0.0), (-4.0, 1.0), (-4.05, 0.0)])
def test_comfort_bounds_of_acceleration_are_open(acceleration, score):
    states, history = cruise(10.0), road().ego_history.copy()
    states[..., 5], history[:, 5] = acceleration, acceleration
    assert comfort.history_comfort(history, states).score[0] == score


def test_history_has_fourteen_samples_up_to_a_fifth_of_a_second_before_now():
    samples = comfort.history_samples(road().ego_history)
    np.testing.assert_allclose(samples[:, 0], np.linspace(-15.0, -2.0, 14), atol=1e-12)


def test_yaw_rate_beyond_the_bound_is_uncomfortable_also_across_the_wrap():
    def comfortable(radians_per_step):
        history = road().ego_history.copy()
        history[:, 2] = np.pi + radians_per_step * np.array([-15, -10, -5, 0])
        turning = cruise(10.0, heading=-np.pi + radians_per_step * np.arange(41))
        return comfort.history_comfort(history, turning).score[0]

    assert (comfortable(0.02), comfortable(0.096)) == (1.0, 0.0)


def test_extended_comfort_compares_the_overlap_with_closed_bounds():
    states = cruise(10.0)
    states[..., 5] = np.linspace(0.0, 1.0, 41)
    earlier = states.copy()
    earlier[:, 5:] = states[:, :-5]
    assert comfort.extended_comfort(states, earlier)[0] == 1.0
    earlier[..., 5] += 0.69
    assert comfort.extended_comfort(states, earlier)[0] == 1.0
    earlier[..., 5] += 0.02
    assert comfort.extended_comfort(states, earlier)[0] == 0.0


def test_replay_removes_tracks_that_touch_the_ego_at_the_start():
    context = with_track(road(), 1.5, 0.0)
    plans = straight_plan(10.0)[None]
    assert score_plans(context, plans, human_filter=False).columns[NC][0] == 1.0
    kept = score_plans(context, plans, human_filter=False, keep_overlapping_tracks=True)
    assert kept.columns[NC][0] == 0.0


def test_human_filter_forgives_what_the_human_did_on_original_scenes_only():
    context = with_track(road(), 30.0, 0.0, kind="PEDESTRIAN")
    plans = straight_plan(10.0)[None]
    scores = score_plans(context, plans)
    assert (scores.plain[NC][0], scores.columns[NC][0]) == (0.0, 1.0)
    assert scores.columns["multiplicative_metrics_prod"][0] == 1.0
    assert scores.columns["pdm_score"][0] == scores.plain["pdm_score"][0] == 0.0
    synthetic = score_plans(replace(context, scene_type="synthetic"), plans)
    assert synthetic.columns[NC][0] == 0.0


def test_human_half_is_not_filtered():
    names = (NC, DAC, DDC, TLC, TTC, LK, "ego_progress", "history_comfort")
    plain = summarise({name: np.array([0.0]) for name in names})
    human = {name: np.array([0.5 if name == NC else 0.0]) for name in names}
    filtered = filter_by_human(plain, human)
    assert filtered[NC][0] == 0.0 and all(filtered[name][0] == 1.0 for name in names[1:])
