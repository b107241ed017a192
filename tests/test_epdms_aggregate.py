"""The final score and the two-stage aggregation on small tables."""

from dataclasses import replace

import numpy as np
import pytest
from epdms_scenes import cruise, road, straight_plan, with_track

from irlvla.epdms.aggregate import (
    Group,
    Rows,
    extended_comfort_of_pair,
    filter_variants,
    final_score,
    follow_up_weights,
    two_stage,
)
from irlvla.epdms.scores import SUB_SCORES, score_plans

GROUP = Group("now", "previous", (("a", "a0"), ("b", "b0")))
TOKENS = ("now", "previous", "a", "a0", "b", "b0")


def rows(**columns):
    ones = {name: np.ones(6) for name in SUB_SCORES}
    return Rows(
        tokens=TOKENS,
        start_time_s=np.array([0.0, -0.5, 4.0, 3.5, 4.0, 3.5]),
        start_point=np.zeros((6, 2)),
        endpoint=np.zeros((6, 2)),
        columns=ones | columns,
        states=np.repeat(cruise(10.0), 6, axis=0),
    )


def test_score_counts_in_sixteenths():
    columns = {name: np.ones(5) for name in SUB_SCORES}
    for i, name in enumerate(("ego_progress", "time_to_collision_within_bound", "lane_keeping", "history_comfort")):
        columns[name] = np.where(np.arange(5) == i, 0.0, 1.0)
    assert (16 * final_score(columns, np.ones(5))).tolist() == [11.0, 11.0, 14.0, 14.0, 16.0]
    assert (16 * final_score(columns, np.zeros(5))).tolist() == [9.0, 9.0, 12.0, 12.0, 14.0]
    assert (14 * final_score(columns, None))[4] == 14.0


def test_filter_variants_differ_where_the_filter_acts():
    context = with_track(road(), 30.0, 0.0, kind="PEDESTRIAN")
    variants = filter_variants(score_plans(context, straight_plan(10.0)[None]), np.ones(1))
    assert variants["score"][0] == 1.0
    assert variants["score_no_filter"][0] == variants["score_before_fix"][0] == 0.0


def test_weights_follow_the_kernel_and_are_uniform_far_away():
    weights = follow_up_weights(np.zeros(2), np.array([[0.0, 0.0], [0.3, 0.4]]))
    np.testing.assert_allclose(weights, np.array([1.0, np.exp(-1.25)]) / (1.0 + np.exp(-1.25)))
    assert follow_up_weights(np.zeros(2), np.array([[9.0, 0.0], [0.0, 8.0]])).tolist() == [0.5, 0.5]


def test_combined_score_is_the_mean_of_products_of_both_sides():
    result = two_stage(rows(no_at_fault_collisions=np.array([1.0, 0.5, 1.0, 1.0, 0.0, 1.0])), [GROUP])
    assert result.weight.tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert result.columns["score"].tolist() == [1.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    assert result.combined["score"] == (1.0 * 0.5 + 0.5 * 1.0) / 2
    assert (result.stage_one["score"], result.stage_two["score"]) == (0.75, 0.75)


def test_missing_and_superfluous_tokens_are_errors():
    with pytest.raises(ValueError, match="no row, first c"):
        two_stage(rows(), [replace(GROUP, follow_ups=(*GROUP.follow_ups, ("c", "c0")))])
    with pytest.raises(ValueError, match="in no group, first b"):
        two_stage(rows(), [replace(GROUP, follow_ups=GROUP.follow_ups[:1])])
    with pytest.raises(ValueError, match="occurs twice"):
        two_stage(replace(rows(), tokens=("now",) * 6), [GROUP])


@pytest.mark.parametrize("interval_s", [0.0, -0.5, 0.55, 1.0])
def test_frames_of_a_pair_must_be_half_a_second_apart(interval_s):
    with pytest.raises(ValueError, match="interval_s"):
        extended_comfort_of_pair(cruise(5.0)[0], cruise(5.0)[0], interval_s)
