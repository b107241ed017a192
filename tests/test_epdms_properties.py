"""Properties that hold for any scene, and inputs that must be refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from epdms_scenes import road, straight_plan, with_track
from hypothesis import given, settings
from hypothesis import strategies as st

from irlvla.epdms.context import ScoringContext
from irlvla.epdms.drive import simulate, simulate_10hz
from irlvla.epdms.reference import load_proposals
from irlvla.epdms.scores import score_plans
from irlvla.epdms.states import box_corners
from irlvla.geometry import rotate
from irlvla.polygons import PolygonSet, box_touches, contains, convex_touch

SCENES = sorted((Path(__file__).parent / "data" / "epdms_reference" / "scenes").glob("scene????.npz"))
CONTEXTS = {path: (ScoringContext.load(path), load_proposals(path)) for path in SCENES}
scenes = st.sampled_from(SCENES).map(CONTEXTS.get)
few = settings(max_examples=8, deadline=None)


def assert_same(ours, theirs, rows=slice(None)):
    for name, column in ours.columns.items():
        np.testing.assert_allclose(column, theirs.columns[name][rows], atol=1e-6, err_msg=name)


def moved(context, angle, shift):
    """The whole scene turned about the origin and shifted; plans are in the ego frame and stay."""

    def move(poses, velocity=False):
        poses = poses.copy()
        poses[..., :2] = rotate(poses[..., :2], np.asarray(angle)) + shift
        poses[..., 2] += angle
        if velocity:
            poses[..., 3:5] = rotate(poses[..., 3:5], np.asarray(angle))
        return poses

    return replace(
        context,
        ego_state=move(context.ego_state),
        ego_history=move(context.ego_history),
        polygon_xy=rotate(context.polygon_xy, np.asarray(angle)) + shift,
        centerline=move(context.centerline),
        track_states=move(context.track_states, velocity=True),
    )


@few
@given(scenes, st.floats(-7, 7), st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_scores_do_not_change_under_a_rigid_motion(scene, angle, x, y):
    context, plans = scene
    assert_same(score_plans(moved(context, angle, np.array([x, y])), plans), score_plans(context, plans))


@few
@given(scenes, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_plans(scene, random):
    context, plans = scene
    order = random.sample(range(len(plans)), len(plans))
    assert_same(score_plans(context, plans[order]), score_plans(context, plans), order)


@few
@given(scenes, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_tracks_and_polygons(scene, random):
    context, plans = scene
    tracks = random.sample(range(len(context.track_tokens)), len(context.track_tokens))
    polygons = random.sample(range(len(context.polygon_ids)), len(context.polygon_ids))
    rings = np.split(context.polygon_xy, context.polygon_offsets[1:-1])
    shuffled = replace(
        context,
        track_tokens=context.track_tokens[tracks],
        track_types=context.track_types[tracks],
        track_lwh=context.track_lwh[tracks],
        track_states=context.track_states[:, tracks],
        track_valid=context.track_valid[:, tracks],
        polygon_xy=np.concatenate([rings[i] for i in polygons]),
        polygon_offsets=np.cumsum([0, *(len(rings[i]) for i in polygons)]),
        polygon_ids=context.polygon_ids[polygons],
        polygon_layers=context.polygon_layers[polygons],
    )
    assert_same(score_plans(shuffled, plans), score_plans(context, plans))


@few
@given(scenes, st.integers(1, 23))
def test_a_plan_scores_the_same_alone_and_in_a_batch(scene, row):
    context, plans = scene
    assert_same(score_plans(context, plans[row : row + 1]), score_plans(context, plans), slice(row, row + 1))


@few
@given(scenes, st.floats(0, 6.3))
def test_far_objects_do_not_matter(scene, direction):
    context, plans = scene
    far = context.ego_state[:2] + 500.0 * np.array([np.cos(direction), np.sin(direction)])
    assert_same(score_plans(with_track(context, *far), plans), score_plans(context, plans))


coordinates = st.one_of(st.integers(-6, 6).map(float), st.floats(-6, 6))


def test_the_humans_own_plan_passes_its_filter():
    own = ("no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance",
           "traffic_light_compliance", "time_to_collision_within_bound", "lane_keeping")  # fmt: skip
    originals = [context for context, _ in CONTEXTS.values() if context.scene_type == "original"]
    assert originals
    for context in originals:
        columns = score_plans(context, context.human_poses[None]).columns
        assert all(columns[name][0] > 0.0 for name in own)


@few
@given(scenes)
def test_a_plan_scored_twice_is_equal(scene):
    context, plans = scene
    once, again = score_plans(context, plans), score_plans(context, plans)
    assert all((once.columns[name] == again.columns[name]).all() for name in once.columns)


@settings(max_examples=200, deadline=None)
@given(coordinates, coordinates, st.sampled_from([0.0, np.pi / 2, 0.3, 2.0]), st.sampled_from([0.0, 4e6]))
def test_contact_and_containment_agree_with_geos(x, y, angle, offset):
    ring = np.array([[0, 0], [4, 0], [4, 3], [2, 1], [0, 3]], dtype=float) + offset
    index = PolygonSet.from_rings(ring, np.array([0, 5]))
    polygon, point = shapely.Polygon(ring), np.array([x, y]) + offset
    box, other = box_corners(point, angle, 2.0, 1.0), box_corners(np.full(2, offset), 0.0, 4.0, 2.0)
    assert contains(*index.index, 0, *point) == polygon.contains(shapely.Point(point))
    touches = box_touches(index.edges, index.edge_offsets, index.index, 0, box)
    assert touches == polygon.intersects(shapely.Polygon(box))
    assert convex_touch(box, other) == shapely.Polygon(box).intersects(shapely.Polygon(other))


def test_driving_a_standing_plan_at_rest_stays_put():
    states = simulate(np.zeros((1, 8, 3)), np.zeros(11))
    assert np.array_equal(states, np.zeros((1, 41, 11)))


def test_plans_at_2_and_at_10_hz_drive_alike_when_they_are_the_same_path():
    ego = road().ego_state
    ours = simulate(straight_plan(9.0)[None], ego)
    np.testing.assert_allclose(simulate_10hz(straight_plan(9.0, 40, 0.1)[None], ego), ours, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pose_that_is_not_finite_is_refused(bad):
    plans = straight_plan(5.0)[None].copy()
    plans[0, 4, 2] = bad
    with pytest.raises(ValueError, match=r"plans: not finite at index \(0, 4, 2\)"):
        score_plans(road(), plans)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ego_state", np.zeros(10)),
        ("ego_history", np.full((4, 11), np.nan)),
        ("centerline", np.zeros((1, 3))),
        ("track_states", np.zeros((40, 0, 5))),
        ("scene_type", "both"),
        ("polygon_offsets", np.array([0, 4, 8, 11])),
        ("red_light_on", np.zeros((41, 2), dtype=bool)),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        score_plans(replace(road(), **{field: value}), straight_plan(5.0)[None])


def test_plans_of_a_wrong_shape_and_unknown_types_are_refused():
    with pytest.raises(ValueError, match="plans: shape"):
        score_plans(road(), np.zeros((2, 7, 3)))
    with pytest.raises(ValueError, match="track_types: unknown TRAM"):
        score_plans(with_track(road(), 50.0, 0.0, kind="TRAM"), straight_plan(5.0)[None])
