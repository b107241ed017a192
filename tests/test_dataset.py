"""Claims about the data set and the batch contract."""

import cv2
import numpy as np
import pytest
import torch
from straight_road import CAR, road_scene

from irlvla.scenes.dataset import (
    INPUTS,
    MEAN_RGB,
    STD_RGB,
    TARGETS,
    SceneDataset,
    check_batch,
    meta_for,
    normalize_images,
    select_rows,
)
from irlvla.scenes.route_ahead import route_targets
from irlvla.scenes.targets import load_targets, save_targets, scene_targets
from irlvla.world.rig import camera_for_size

CAMERAS = ("CAM_F0", "CAM_L0")
COLOUR = (200, 100, 50)  # RGB


@pytest.fixture
def columns(tmp_path):
    """Targets of two scenes, and plain images under their paths."""
    scene, area = road_scene([CAR]), ((-32.0, 32.0), (-32.0, 32.0))
    save_targets(tmp_path / "t.npz", ["a", "b"], [scene_targets(scene, CAMERAS, 16) | route_targets(scene, *area)] * 2)
    write_images(tmp_path, (64, 176))
    return load_targets(tmp_path / "t.npz")


def write_images(folder, size) -> None:
    for name in CAMERAS:
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((*size, 3), COLOUR[::-1], np.uint8))


def collated(dataset) -> dict[str, torch.Tensor]:
    return torch.utils.data.default_collate([dataset[row] for row in range(len(dataset))])


@pytest.mark.parametrize("stored", [(64, 176), (128, 352), (1080, 1920)])
def test_batches_keep_the_contract_whatever_size_the_images_are_stored_in(columns, tmp_path, stored):
    write_images(tmp_path, stored)
    batch = collated(SceneDataset(columns, tmp_path, (64, 176), np.zeros((2, 3, 5))))
    check_batch(batch, INPUTS | TARGETS)
    assert batch["images"].shape == (2, 2, 3, 64, 176) and batch["bev"].dtype == torch.long
    expected = (np.array(COLOUR) - MEAN_RGB) / STD_RGB
    assert batch["images"][0, 0].mean(dim=(1, 2)).numpy() == pytest.approx(expected, abs=0.1)


def test_intrinsics_are_those_of_the_resized_images(columns, tmp_path):
    sample = SceneDataset(columns, tmp_path, (64, 176), np.zeros((2, 3, 5)))[0]
    for camera, matrix in zip(CAMERAS, sample["intrinsics"], strict=True):
        assert matrix.numpy() == pytest.approx(camera_for_size(camera, 64, 176)[0], rel=1e-5)


def test_normalisation_moves_the_channels_to_the_front_and_can_be_undone():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    back = normalize_images(images).movedim(-3, -1).numpy() * STD_RGB + MEAN_RGB
    assert np.round(back).astype(np.uint8).tolist() == images.tolist()


def test_a_missing_image_is_named(columns, tmp_path):
    (tmp_path / "CAM_L0.jpg").unlink()
    with pytest.raises(ValueError, match="CAM_L0.jpg"):
        SceneDataset(columns, tmp_path, (64, 176), np.zeros((2, 3, 5)))[0]


def test_an_image_of_another_shape_is_refused(columns, tmp_path):
    write_images(tmp_path, (64, 64))
    with pytest.raises(ValueError, match=r"CAM_F0.jpg: \(64, 64\)"):
        SceneDataset(columns, tmp_path, (64, 176), np.zeros((2, 3, 5)))[0]


def test_a_broken_contract_names_the_field(columns, tmp_path):
    batch = collated(SceneDataset(columns, tmp_path, (64, 176), np.zeros((2, 3, 5))))
    with pytest.raises(ValueError, match="no 'status'"):
        check_batch({name: tensor for name, tensor in batch.items() if name != "status"}, INPUTS)
    with pytest.raises(ValueError, match="'intrinsics'.*3 cameras|'intrinsics'"):
        check_batch(batch | {"intrinsics": torch.zeros(2, 3, 3, 3)}, INPUTS)  # two cameras have images
    with pytest.raises(ValueError, match="'plan'.*not finite"):
        check_batch(batch | {"plan": batch["plan"] * float("nan")}, TARGETS)


def test_meta_tokens_are_found_by_scene_token():
    cache = {"tokens": np.array(["x", "y"]), "meta": np.arange(4.0).reshape(2, 1, 2)}
    assert meta_for(["y", "x", "y"], cache)[:, 0, 0].tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match="meta tokens of z"):
        meta_for(["x", "z"], cache)


def test_selected_rows_keep_the_ranges(columns):
    chosen = select_rows(columns, [1])
    assert chosen["tokens"].tolist() == ["b"] and chosen["x_range_m"].tolist() == [-32, 32]
