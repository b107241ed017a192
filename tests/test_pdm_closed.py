"""Routes, PDM-Closed and scoring contexts, against the official answers and on small hand-made roads."""

from dataclasses import replace

import navsim_tiny
import numpy as np
import pytest
import shapely
from navsim_tiny import ROOT, STAGES, context, dataset
from straight_road import CAR, road_scene

from irlvla import vehicle
from irlvla.epdms.build import scoring_context
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.path import Path
from irlvla.epdms.pdm_closed import MAX_DECELERATION_MPS2, Surroundings, idm_acceleration, leaders_of
from irlvla.epdms.route import find_route
from irlvla.geometry import global_from_local, wrap_angle
from irlvla.scenes.town_map import LAYERS, Lane, Layer, TownMap

# ------------------------------------------------------------------ official answers


@pytest.mark.parametrize("stage", STAGES)
def test_reference_plans_are_the_official_ones(stage):
    with np.load(ROOT / "official" / f"{stage}_stage_reference.npz") as answers:
        for token, states in zip(answers["tokens"], answers["reference_states"], strict=True):
            scene = context(stage, str(token))
            difference = global_from_local(scene.ego_state[:3], scene.reference_poses) - states
            difference[:, 2] = wrap_angle(difference[:, 2])
            assert np.abs(difference).max() < 1e-6, token


@pytest.mark.parametrize("stage", STAGES)
def test_routes_and_centrelines_are_the_official_ones(stage):
    with np.load(ROOT / "official" / f"{stage}_stage_reference.npz") as answers:
        tokens = {name.split("/")[0] for name in answers.files if "/" in name}
        assert tokens
        for token in tokens:
            scene = context(stage, token)
            np.testing.assert_allclose(scene.centerline, answers[f"{token}/centerline"], atol=1e-9)
            assert set(scene.route_lane_ids) == set(answers[f"{token}/route_lane_ids"])


# ------------------------------------------------------------------ PDM-Closed


def test_every_proposal_brakes_in_the_first_step():
    start, speed = np.array([10.0]), np.array([8.0])
    empty_leader = np.zeros((1, 3))  # what the official planner has at step 1
    assert idm_acceleration(start, speed, empty_leader, np.array([13.0])) == -MAX_DECELERATION_MPS2


def test_idm_accelerates_on_a_free_road_and_keeps_the_wanted_speed():
    far = np.array([[1e6, 0.0, 0.0]])
    assert idm_acceleration(np.zeros(1), np.zeros(1), far, np.array([10.0])) == pytest.approx(1.5, abs=1e-6)
    assert idm_acceleration(np.zeros(1), np.array([10.0]), far, np.array([10.0])) == pytest.approx(0.0, abs=1e-6)


def test_idm_by_hand():
    # v 4, leader at 30 with 2 m/s: s* = 1 + 6 + 4 * 2 / (2 sqrt 4.5), s = 20
    wanted = 1 + 6 + 8 / (2 * np.sqrt(4.5))
    by_hand = 1.5 * (1 - 0.4**10 - (wanted / 20) ** 2)
    got = idm_acceleration(np.array([10.0]), np.array([4.0]), np.array([[30.0, 2.0, 0.0]]), np.array([10.0]))
    assert got == pytest.approx(by_hand, rel=1e-12)


def test_the_reference_passes_a_free_road_and_stops_behind_a_standing_car():
    free = scoring_context(road_scene())
    assert free.reference_poses[-1, 0] > 30
    blocked = scoring_context(road_scene([CAR]))  # rear bumper at 17.7 m
    assert blocked.reference_poses[-1, 0] < 17.7 - 4.049
    np.testing.assert_allclose(blocked.reference_poses[0], 0, atol=1e-9)


def test_the_reference_stops_at_a_red_light_of_the_route():
    red = scoring_context(road_scene(red=("2",)))
    green = scoring_context(road_scene())
    assert red.red_light_ids.tolist() == ["2"] and red.red_light_on.all()
    assert green.red_light_ids.size == 0 and green.red_light_on.shape == (41, 0)
    assert red.reference_poses[-1, 0] < green.reference_poses[-1, 0]


def test_what_touches_the_ego_now_is_ignored_by_the_planner():
    inside = ("a", "generic_object", 2.0, -1.75, 0.0, 1.0, 1.0, 1.0)
    with_object, without = scoring_context(road_scene([inside])), scoring_context(road_scene())
    np.testing.assert_array_equal(with_object.reference_poses, without.reference_poses)


# ------------------------------------------------------------------ contexts


def test_a_track_seen_once_stands_there_all_the_time_and_holes_are_bridged():
    scene = road_scene([CAR, (*("b", "vehicle"), *CAR[2:]), (*("c", "vehicle"), *CAR[2:])])
    valid, poses = scene.tracks.valid.copy(), scene.tracks.poses.copy()
    valid[:, 1] = False
    valid[7, 1] = True  # only at 2.0 s
    valid[:, 2] = False
    valid[[4, 8], 2] = True  # 0.5 s and 2.5 s
    poses[8, 2, 0] += 20.0
    built = scoring_context(replace(scene, tracks=replace(scene.tracks, valid=valid, poses=poses)))
    assert built.track_valid[:, 1].all() and np.ptp(built.track_states[:, 1], axis=0).max() == 0
    assert np.flatnonzero(built.track_valid[:, 2]).tolist() == list(range(5, 26))
    np.testing.assert_allclose(built.track_states[15, 2, 0], 30.0)
    assert built.rails.seen_now.tolist() == [True, False, False]


def test_headings_are_interpolated_the_short_way_round():
    scene = road_scene([CAR])
    poses = scene.tracks.poses.copy()
    poses[3, 0, 2], poses[4:, 0, 2] = 3.1, -3.1
    built = scoring_context(replace(scene, tracks=replace(scene.tracks, poses=poses)))
    assert np.abs(built.track_states[:6, 0, 2]).min() > 3.09


def test_tracks_of_the_past_are_not_in_the_context():
    scene = road_scene([CAR])
    valid = scene.tracks.valid.copy()
    valid[3:] = False
    assert len(scoring_context(replace(scene, tracks=replace(scene.tracks, valid=valid))).track_tokens) == 0


def test_contexts_survive_the_disk(tmp_path):
    built = context("one", dataset("one").tokens[0])
    built.save(tmp_path / "context.npz")
    loaded = ScoringContext.load(tmp_path / "context.npz")
    for name in vars(built):
        if name != "rails":
            np.testing.assert_array_equal(getattr(loaded, name), getattr(built, name), err_msg=name)
    for name in vars(built.rails):
        np.testing.assert_array_equal(getattr(loaded.rails, name), getattr(built.rails, name), err_msg=name)
    assert [path.name for path in tmp_path.iterdir()] == ["context.npz"]


def test_a_scene_that_cannot_be_scored_is_named():
    scene = road_scene()
    with pytest.raises(ValueError, match=f"scene {scene.token}: .*no route"):
        scoring_context(replace(scene, route_roadblock_ids=()))
    with pytest.raises(ValueError, match=f"scene {scene.token}: roadblock 77"):
        scoring_context(replace(scene, route_roadblock_ids=("77",)))
    with pytest.raises(ValueError, match="7 future frames stored, scoring needs 8"):
        scoring_context(replace(scene, ego_poses=scene.ego_poses[:-1]))


# ------------------------------------------------------------------ routes


def _grid(links: dict[str, tuple[str, ...]], lines: dict[str, tuple], connectors: set[str]) -> TownMap:
    """One lane per roadblock, `<id>L`; `lines` are (x0, y0, x1, y1)."""
    lanes, rows = {}, {name: [] for name in LAYERS}
    before = {id: tuple(f"{other}L" for other, after in links.items() if id in after) for id in lines}
    for id, (x0, y0, x1, y1) in lines.items():
        t = np.linspace(0, 1, 20)
        heading = np.full(20, np.arctan2(y1 - y0, x1 - x0))
        line = np.column_stack([x0 + t * (x1 - x0), y0 + t * (y1 - y0), heading])
        polygon = shapely.LineString(line[:, :2]).buffer(2, cap_style="flat")
        connector = id in connectors
        lanes[f"{id}L"] = Lane(
            f"{id}L", connector, id, line, polygon, 10.0, before[id], tuple(f"{after}L" for after in links.get(id, ()))
        )
        rows["LANE_CONNECTOR" if connector else "LANE"].append((f"{id}L", polygon))
        rows["ROADBLOCK_CONNECTOR" if connector else "ROADBLOCK"].append((id, polygon))
    layers = {
        name: Layer(tuple(id for id, _ in items), np.array([polygon for _, polygon in items], dtype=object))
        for name, items in rows.items()
    }
    return TownMap("grid", lanes, layers, {id: (f"{id}L",) for id in lines})


LINES = {
    "1": (0, 0, 50, 0), "2": (50, 0, 60, 0), "3": (60, 0, 110, 0),  # straight on
    "4": (50, 0, 60, 10), "5": (60, 10, 60, 60),  # left
    "6": (110, 0, 120, 0), "7": (120, 0, 170, 0),  # further straight on
}  # fmt: skip
TOWN = _grid({"1": ("2", "4"), "2": ("3",), "4": ("5",), "3": ("6",), "6": ("7",)}, LINES, {"2", "4", "6"})
EGO = np.array([20.0, 0.5, 0.1])


def test_the_centreline_runs_from_the_start_lane_to_the_last_roadblock():
    route = find_route(TOWN, EGO, ("1", "4", "5"))
    assert route.roadblock_ids == ("1", "4", "5") and route.start_lane.id == "1L"
    np.testing.assert_allclose(route.centerline[[0, -1], :2], [[0, 0], [60, 60]])


def test_gaps_of_the_route_are_filled():
    assert find_route(TOWN, EGO, ("1", "3", "7")).roadblock_ids == ("1", "2", "3", "6", "7")


def test_an_ego_before_the_route_is_joined_to_it():
    assert find_route(TOWN, EGO, ("3", "6", "7")).roadblock_ids == ("1", "2", "3", "6", "7")


def test_an_ego_beyond_the_first_roadblocks_starts_where_it_stands():
    route = find_route(TOWN, np.array([80.0, 0.0, 0.0]), ("1", "2", "3", "6", "7"))
    assert route.roadblock_ids == ("1", "2", "3", "6", "7") and route.start_lane.id == "3L"
    np.testing.assert_allclose(route.centerline[0, :2], [60, 0])


def test_repeated_roadblocks_count_once():
    assert find_route(TOWN, EGO, ("1", "2", "3", "1", "2")).roadblock_ids == ("1", "2", "3")


def test_a_route_is_cut_before_a_connector_that_overlaps_an_earlier_one():
    route = find_route(TOWN, EGO, ("1", "2", "3", "4"))  # 4 starts where 2 does
    assert route.roadblock_ids == ("1", "2", "3")


def test_where_no_lane_leads_to_the_end_the_longest_way_is_taken():
    route = find_route(TOWN, EGO, ("1", "2", "3", "5"))  # nothing leads from 3 to 5
    np.testing.assert_allclose(route.centerline[[0, -1], :2], [[0, 0], [110, 0]])


def test_the_lane_with_the_better_heading_is_the_start():
    lines = {"1": (0, 0, 50, 0), "2": (50, 0.5, 0, 0.5)}
    town = _grid({}, lines, set())
    assert find_route(town, np.array([25.0, 0.2, 3.1]), ("1", "2")).start_lane.id == "2L"
    assert find_route(town, np.array([25.0, 0.2, 0.1]), ("1", "2")).start_lane.id == "1L"


def test_an_unknown_roadblock_is_an_error():
    with pytest.raises(ValueError, match="roadblock 99 of the route is not in map grid"):
        find_route(TOWN, EGO, ("1", "99"))


# ------------------------------------------------------------------ paths


def test_paths_are_addressed_by_distance():
    path = Path(np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [3.0, 10.0, 1.0]]))
    assert path.length_m == 11.0
    np.testing.assert_allclose(
        path.at(np.array([-1.0, 2.5, 8.0, 99.0])), [[0, 0, 0], [1.5, 2, 0], [3, 7, 0.5], [3, 10, 1]]
    )
    left = Path(np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])).shifted(1.0)
    np.testing.assert_allclose(left.poses, [[0, 1, 0], [5, 1, 0]], atol=1e-15)
    assert path.between(6.0, 9.0).length == pytest.approx(3.0)  # no vertex there: cut exactly
    assert path.between(0.0, 6.0).length == 5.0  # over the vertices only


def test_reference_answers_are_complete():
    for stage in STAGES:
        with np.load(ROOT / "official" / f"{stage}_stage_reference.npz") as answers:
            assert set(answers["tokens"]) == set(navsim_tiny.dataset(stage).tokens)


def test_a_proposal_with_nothing_ahead_sees_the_paths_end_move_like_the_leader_of_the_proposal_before():
    """The official planner's one entry for all proposals of a path, by hand; a red light has no speed to write."""
    box = np.full((1, 2), shapely.box(0, 0, 1, 1), dtype=object)
    car_and_light = Surroundings(box, np.array([5.0, 0.0]), np.zeros(2), np.array([False, True]))
    gap_m = np.array([[np.inf, np.inf], [10.0, np.inf], [np.inf, np.inf], [20.0, 3.0]])
    end, half = 100.0, vehicle.LENGTH_M / 2
    expected = [[end, 0.0, half], [12.0, 5.0, half], [end, 5.0, half], [7.0, 5.0, half]]
    found = leaders_of(end, np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4), gap_m, car_and_light, np.array([0, 1]))
    np.testing.assert_allclose(found, expected)
