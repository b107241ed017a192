"""Which scenes become samples, and that the files made of them agree with the scenes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from straight_road import CAR, road_scene

from irlvla.scenes.prepare import Recipe, moved_start, moved_starts
from irlvla.scenes.samples import COLUMNS, SCENARIOS, combined, commands_of, scenario_of, stratified


def table(scenarios: list[str], split: str = "train", town: str = "a") -> pd.DataFrame:
    rows = [
        (f"{split}{i}", split, "original", f"{town}-000", town, s, "Full Stop", "Straight Strict", f"{split}{i}", "", 1)
        for i, s in enumerate(scenarios)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def recipe(tmp_path, images: str = "rendered") -> Recipe:
    return Recipe(tmp_path, tmp_path, ("CAM_F0",), (96, 264), images, 16, (-8.0, 56.0), (-32.0, 32.0), 0)


def test_rare_scenarios_are_taken_whole_and_the_rest_is_shared():
    chosen = stratified(table(["cruising"] * 50 + ["left turn"] * 2 + ["standing"] * 30), 12, np.random.default_rng(0))
    assert chosen["scenario"].value_counts().to_dict() == {"cruising": 5, "standing": 5, "left turn": 2}


@given(st.lists(st.sampled_from(SCENARIOS), max_size=60), st.integers(1, 40), st.integers(0, 5))
def test_stratified_draws_distinct_rows_in_order_and_no_scenario_is_short_while_another_has_more(names, limit, seed):
    chosen = stratified(table(names), limit, np.random.default_rng(seed))
    assert len(chosen) == min(limit, len(names)) and chosen.index.is_monotonic_increasing and chosen.index.is_unique
    taken, there = chosen["scenario"].value_counts(), pd.Series(names, dtype=str).value_counts()
    exhausted = [name for name in taken.index if taken[name] == there[name]]
    open_counts = [taken.get(name, 0) for name in there.index if name not in exhausted]
    if open_counts:
        assert max(open_counts) - min(open_counts) <= 1
        assert max(taken) <= max(open_counts) + 1


def test_a_town_in_two_splits_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="town b is in the splits"):
        combined([table(["cruising"], "train", "b"), table(["cruising"], "test", "b")])


def test_a_scene_in_two_tables_is_kept_as_the_last_has_it():
    staged = table(["cruising"]).assign(kind="first_stage")
    assert combined([table(["cruising", "standing"]), staged])["kind"].tolist() == ["original", "first_stage"]


@pytest.mark.parametrize(
    "speed_mps, turn_rad, scenario",
    [(8.0, 0.0, "cruising"), (8.0, 0.2, "left turn"), (8.0, -0.2, "right turn"), (0.0, 0.0, "standing")],
)
def test_scenario_of_simple_drives(speed_mps, turn_rad, scenario):
    scene = road_scene()
    heading = np.concatenate([np.zeros(4), turn_rad * np.arange(1, 9)])
    steps = speed_mps * 0.5 * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    poses = np.column_stack([np.cumsum(steps, axis=0), heading])
    velocity = np.tile([speed_mps, 0.0], (12, 1))
    driven = replace(scene, ego_poses=poses, ego_velocity_mps=velocity)
    assert scenario_of(*commands_of(driven), speed_mps) == scenario


def test_moved_start_depends_on_scene_and_seed_alone(tmp_path):
    scene = road_scene([CAR])
    first, second = (moved_start(scene, recipe(tmp_path)) for _ in range(2))
    other = moved_start(scene, replace(recipe(tmp_path), seed=1))
    assert first.token == second.token != other.token
    np.testing.assert_array_equal(first.ego_poses, second.ego_poses)
    assert first.cameras["CAM_F0"].image_path == f"{scene.log_name}/CAM_F0/{first.token}.jpg"


def test_moved_starts_of_recorded_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="perturbed_samples"):
        moved_starts(recipe(tmp_path, "recorded"), tmp_path / "train.yaml", table(["cruising"]), 1)
