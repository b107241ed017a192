"""The data stage on the small dataset in NAVSIM format: one log, four scenes, all files."""

import cv2
import numpy as np
import pytest
from navsim_tiny import LOG, ROOT, dataset, split_yaml

from irlvla.epdms.context import ScoringContext
from irlvla.scenes.perturb import SPREADS
from irlvla.scenes.prepare import Recipe, moved_starts, prepare
from irlvla.scenes.samples import combined, survey, survey_two_stage
from irlvla.scenes.split import load_split
from irlvla.scenes.targets import load_targets
from irlvla.world.rig import RIG, fit_image

SIZE = (24, 66)
RECORDED = "99a0274ba8fbc517"  # the only scene whose image is there


def recipe(out, images: str = "rendered") -> Recipe:
    return Recipe(ROOT, out, ("CAM_F0",), SIZE, images, 16, (-8.0, 56.0), (-32.0, 32.0), 0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    originals = survey(ROOT, split_yaml("one"), "train", [LOG], workers=1).head(2)
    moved = moved_starts(recipe(out), split_yaml("one"), originals.head(1), workers=1)
    staged = survey_two_stage(ROOT, split_yaml("two"), "train", groups=1).groupby("kind").head(1)
    samples = combined([originals, moved, staged])
    prepare(recipe(out), samples, {"train": split_yaml("one"), "train_two_stage": split_yaml("two")}, workers=1)
    return out, samples


def test_every_sample_has_its_row_context_and_images(prepared):
    out, samples = prepared
    targets = load_targets(out / "scenes" / "train.npz")
    assert targets["tokens"].tolist() == samples["token"].tolist()
    assert set(samples["kind"]) == {"original", "perturbed", "first_stage", "follow_up"}
    for path in targets["image_path"].ravel():
        assert cv2.imread(str(out / "sensor_blobs" / path)).shape == (*SIZE, 3)
    assert not [path for path in out.rglob("*") if path.suffix in (".partial", ".tmp")]


def test_rendered_images_come_with_the_calibration_they_were_rendered_with(prepared):
    targets = load_targets(prepared[0] / "scenes" / "train.npz")
    intrinsics, ego_from_camera = RIG["CAM_F0"]
    np.testing.assert_allclose(targets["intrinsics"][:, 0], np.tile(intrinsics, (len(targets["tokens"]), 1, 1)))
    np.testing.assert_allclose(targets["ego_from_camera"][0, 0], ego_from_camera, atol=1e-6)


def test_only_logged_starts_are_imitation_targets(prepared):
    out, samples = prepared
    has_plan = load_targets(out / "scenes" / "train.npz")["has_plan"]
    assert has_plan.tolist() == samples["kind"].isin(["original", "first_stage"]).tolist()


def test_moved_start_is_scored_from_where_it_is_without_human_filter(prepared):
    out, samples = prepared
    row = samples[samples["kind"] == "perturbed"].iloc[0]
    moved, logged = (ScoringContext.load(out / "contexts" / f"{token}.npz") for token in (row["token"], row["source"]))
    assert moved.scene_type == "synthetic" and logged.scene_type == "original"
    assert 0 < np.linalg.norm(moved.ego_state[:2] - logged.ego_state[:2]) <= max(spread.lateral_m for spread in SPREADS)
    np.testing.assert_array_equal(moved.track_states, logged.track_states)


def test_contexts_that_exist_are_kept(prepared):
    out, samples = prepared
    path = out / "contexts" / f"{samples['token'].iloc[0]}.npz"
    before = path.stat().st_mtime_ns
    prepare(recipe(out), samples.head(1), {"train": split_yaml("one")}, workers=1)
    assert path.stat().st_mtime_ns == before


def test_recorded_images_are_fitted_to_the_size(tmp_path):
    samples = survey(ROOT, split_yaml("one"), "train", [LOG], workers=1)
    scene = dataset("one").scene(RECORDED)
    chosen = samples[samples["token"] == RECORDED]
    prepare(recipe(tmp_path, "recorded"), chosen, {"train": split_yaml("one")}, workers=1)
    written = cv2.imread(str(tmp_path / "sensor_blobs" / scene.cameras["CAM_F0"].image_path))
    native = cv2.imread(str(dataset("one").image_path(scene, "CAM_F0")))
    expected = fit_image(native, scene.cameras["CAM_F0"].intrinsics[1, 2], *SIZE)
    assert np.abs(written.astype(int) - expected).mean() < 3  # JPEG loss


def test_a_missing_recorded_image_is_named(tmp_path):
    samples = survey(ROOT, split_yaml("one"), "train", [LOG], workers=1)
    samples = samples[samples["token"] != RECORDED].head(1)
    with pytest.raises(ValueError, match=rf"scene {samples.token.iloc[0]}, CAM_F0: .*\.jpg: missing or no readable"):
        prepare(recipe(tmp_path, "recorded"), samples, {"train": split_yaml("one")}, workers=1)


def test_previous_scenes_are_half_a_second_earlier_in_the_same_log_and_moved_starts_have_none(prepared):
    surveyed = survey(ROOT, split_yaml("one"), "train", [LOG], workers=1).set_index("token")["previous"]
    scenes = {token: dataset("one").scene(token) for token in surveyed.index}
    token_at = {int(scene.timestamp_us[scene.now]): token for token, scene in scenes.items()}
    half_a_second_ago = {token: int(scene.timestamp_us[scene.now - 1]) for token, scene in scenes.items()}
    assert surveyed.to_dict() == {token: token_at.get(time, "") for token, time in half_a_second_ago.items()}
    assert 0 < (surveyed != "").sum() < len(surveyed)  # the log holds a few scenes apart, and a few in a row
    staged = survey_two_stage(ROOT, split_yaml("two"), "train", groups=1).set_index("token")["previous"]
    assert dict(staged[staged != ""]) == dict(load_split(split_yaml("two")).groups[0].pairs)
    samples = prepared[1]
    assert (samples.loc[samples["kind"] == "perturbed", "previous"] == "").all()
