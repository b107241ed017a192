"""Reactive traffic: the official two-stage sub-scores, and what cars do on a straight road."""

from dataclasses import replace

import navsim_tiny
import numpy as np
import pytest
import shapely
from navsim_tiny import context, dataset
from straight_road import CAR, road_scene

from irlvla.epdms.build import scoring_context
from irlvla.epdms.forecast import box_polygons
from irlvla.epdms.scores import PRODUCT, SUB_SCORES
from irlvla.epdms.states import HEADING, NUM_STATES, STEP_S, VX
from irlvla.epdms.traffic import react, score_human_reactive, score_reactive

EGO_START_X = 0.0


def _driven(speed_mps: float, start=(EGO_START_X, -1.75, 0.0)) -> np.ndarray:
    """States (41, 11) of an ego that drives straight on."""
    states = np.zeros((NUM_STATES, 11))
    time_s = np.arange(NUM_STATES) * STEP_S
    states[:, :3] = start
    states[:, 0] += np.cos(start[2]) * speed_mps * time_s
    states[:, 1] += np.sin(start[2]) * speed_mps * time_s
    states[:, HEADING], states[:, VX] = start[2], speed_mps
    return states


def _moving(scene, column: int, speed_mps: float):
    """The scene with an object that drives along x in the log."""
    poses, velocity = scene.tracks.poses.copy(), scene.tracks.velocity_mps.copy()
    frames = np.arange(len(poses)) - scene.now
    poses[:, column, 0] += frames * 0.5 * speed_mps
    velocity[:, column] = [speed_mps, 0.0]
    return replace(scene, tracks=replace(scene.tracks, poses=poses, velocity_mps=velocity))


def _object(token: str, category: str = "vehicle", x: float = 20.0, y: float = -1.75, heading: float = 0.0) -> tuple:
    return (token, category, x, y, heading, *CAR[5:])


# ------------------------------------------------------------------ official answers


@pytest.mark.parametrize("agent", ["constant_velocity", "human", "plans"])
def test_sub_scores_in_reactive_traffic_are_the_official_ones(agent):
    answers = navsim_tiny.official("two", agent)
    plans = navsim_tiny.plans("two", agent)
    for token in dataset("two").tokens:
        columns = score_reactive(context("two", token), plans[token]).columns
        for name in (*SUB_SCORES, PRODUCT, "pdm_score"):
            assert columns[name][0] == pytest.approx(answers.loc[token, name], abs=1e-6), f"{token} {name}"


def test_reacting_and_replayed_traffic_differ_on_the_tiny_dataset():
    moved = [
        np.abs(react(built, _driven(8.0, built.ego_state[:3])).track_states - built.track_states).max()
        for built in (context("two", token) for token in dataset("two").tokens[:6])
    ]
    assert max(moved) > 1.0


def test_human_columns_may_be_given_instead_of_computed():
    token = dataset("two").tokens[0]
    built, plan = context("two", token), navsim_tiny.plans("two", "plans")[token]
    given = score_reactive(built, plan, human=score_human_reactive(built))
    for name, column in score_reactive(built, plan).columns.items():
        np.testing.assert_array_equal(given.columns[name], column, err_msg=name)


# ------------------------------------------------------------------ a straight road


def test_what_is_kept_from_one_ego_changes_nothing_for_the_next():
    scene = road_scene([_object(f"{i}", x=-8.0 * i) for i in range(1, 5)])
    egos = [_driven(speed_mps) for speed_mps in (0.0, 8.0, 0.0, 3.0)]
    built = scoring_context(scene)
    one_after_the_other = [react(built, ego) for ego in egos]
    for ego, found in zip(egos, one_after_the_other, strict=True):
        alone = react(scoring_context(scene), ego)
        assert np.array_equal(found.track_states, alone.track_states)
        assert np.array_equal(found.track_valid, alone.track_valid)


def test_the_present_frame_is_the_log_and_cars_are_on_their_rails_from_then_on():
    built = scoring_context(road_scene([_object("a", y=-1.0, heading=0.1)]))
    traffic = react(built, _driven(0.0))
    np.testing.assert_allclose(traffic.track_states[0, 0, :3], [20.0, -1.0, 0.1])
    np.testing.assert_allclose(traffic.track_states[1:, 0, 1:3], [[-1.75, 0.0]] * 40, atol=1e-9)
    assert traffic.track_valid.all()


def test_a_stopped_car_in_a_lane_starts_to_drive():
    traffic = react(scoring_context(road_scene([_object("a", x=-60.0)])), _driven(0.0, (-100.0, -1.75, 0.0)))
    speed = np.hypot(*traffic.track_states[:, 0, 3:].T)
    assert speed[0] == 0 and (np.diff(speed[1:]) > 0).all() and 3.5 < speed[-1] < 4.0


def test_the_first_step_by_hand():
    scene = _moving(road_scene([_object("a", x=-100.0)]), 0, 10.0)
    traffic = react(scoring_context(scene), _driven(0.0, (-30.0, 30.0, 0.0)))
    rail_end = np.linspace(-200, 60, 60)[-2]  # the last vertex of a rail is dropped
    gap = rail_end - (-100.0) - 4.6 / 2
    wanted = 1 + 15 + 10 * 10 / (2 * np.sqrt(2))
    acceleration = 1.0 * (1 - (10 / 13.9) ** 4 - (wanted / gap) ** 2)
    np.testing.assert_allclose(traffic.track_states[1, 0, 0], -99.0, atol=1e-9)
    np.testing.assert_allclose(traffic.track_states[1, 0, 3], 10 + 0.1 * acceleration, rtol=1e-9)


def test_a_car_behind_brakes_for_a_standing_ego_and_does_not_touch_it():
    scene = _moving(road_scene([_object("a", x=-30.0)]), 0, 8.0)
    standing, gone = _driven(0.0), _driven(0.0, (-30.0, 40.0, 0.0))
    behind, free = (react(scoring_context(scene), ego).track_states[:, 0] for ego in (standing, gone))
    assert behind[-1, 3] < 2.0 < free[-1, 3]
    ego_rear_as_cars_see_it = 0.0 - 5.176 / 2
    assert (behind[:, 0] + 2.3 < ego_rear_as_cars_see_it).all()


def test_cars_follow_each_other():
    scene = _moving(road_scene([_object("a", x=-50.0), _object("b", x=-25.0)]), 0, 8.0)
    traffic = react(scoring_context(scene), _driven(0.0, (-30.0, 40.0, 0.0)))
    gap = traffic.track_states[1:, 1, 0] - traffic.track_states[1:, 0, 0] - 4.6
    assert (gap > 0).all() and traffic.track_states[20, 0, 3] < 6.0


def test_cars_do_not_see_pedestrians_which_replay_the_log():
    walker = ("w", "pedestrian", -20.0, -1.75, 0.0, 0.6, 0.6, 1.7)
    scene = _moving(road_scene([_object("a", x=-30.0), walker]), 0, 8.0)
    alone = _moving(road_scene([_object("a", x=-30.0)]), 0, 8.0)
    ego = _driven(0.0, (-30.0, 40.0, 0.0))
    traffic, empty = react(scoring_context(scene), ego), react(scoring_context(alone), ego)
    np.testing.assert_array_equal(traffic.track_states[:, 0], empty.track_states[:, 0])
    np.testing.assert_allclose(traffic.track_states[:, 1, :2], [[-20.0, -1.75]] * NUM_STATES)


def test_off_the_road_the_parked_stay_and_the_moving_vanish():
    scene = _moving(road_scene([_object("p", y=20.0), _object("m", y=30.0)]), 1, 5.0)
    traffic = react(scoring_context(scene), _driven(0.0))
    assert traffic.track_valid[:, 0].all()
    assert traffic.track_valid[0, 1] and not traffic.track_valid[1:, 1].any()


def test_cars_out_of_range_vanish():
    scene = road_scene([_object("a", x=-150.0)])
    assert not react(scoring_context(scene), _driven(0.0)).track_valid[1:].any()
    near = react(scoring_context(scene), _driven(0.0, (-120.0, -1.75, 0.0)))
    assert near.track_valid.all()


def test_a_car_that_would_be_snapped_onto_another_or_the_ego_is_dropped():
    overlapping = _moving(road_scene([_object("a"), _object("b", x=22.0), _object("c", x=1.0)]), 1, 1.0)
    traffic = react(scoring_context(overlapping), _driven(0.0))
    assert traffic.track_valid[1:].any(axis=0).tolist() == [True, False, False]


def test_cars_that_appear_later_never_exist():
    scene = road_scene([_object("a"), _object("late", x=40.0)])
    valid = scene.tracks.valid.copy()
    valid[:5, 1] = False
    built = scoring_context(replace(scene, tracks=replace(scene.tracks, valid=valid)))
    assert built.track_valid[:, 1].any()
    assert not react(built, _driven(0.0)).track_valid[:, 1].any()


def test_the_end_of_a_lane_stops_cars_as_a_standing_car_does():
    scene = _moving(road_scene([_object("a", x=30.0)]), 0, 10.0)
    states = react(scoring_context(scene), _driven(0.0)).track_states[:, 0]
    assert states[-1, 3] < 4.0 and states[-1, 0] < 60.0


def test_simulated_cars_keep_their_size_and_never_overlap():
    for token in dataset("two").tokens[:8]:
        built = context("two", token)
        traffic = react(built, _driven(3.0, built.ego_state[:3]))
        cars = np.flatnonzero((built.track_types == "VEHICLE") & traffic.track_valid[1:].all(axis=0))
        for step in range(1, NUM_STATES, 5):
            boxes = box_polygons(traffic.track_states[step, cars, :3], built.track_lwh[cars])
            first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
            assert (first == second).all()


def test_without_rails_there_is_no_reactive_traffic():
    built = replace(scoring_context(road_scene()), rails=None)
    with pytest.raises(ValueError, match="has no rails"):
        react(built, _driven(0.0))
