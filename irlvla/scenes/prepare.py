"""From a dataset in NAVSIM format to what the later stages read: images, targets, scoring contexts and their list.

Work is dealt out by log to `joblib` processes. Every file appears complete or not at all; scoring contexts that are
there already are kept, so that an interrupted run goes on where it stopped.
"""

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irlvla.epdms.build import scoring_context
from irlvla.scenes.images import read_rgb
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.perturb import draw_perturbation
from irlvla.scenes.route_ahead import route_targets
from irlvla.scenes.samples import dataset_of_log, in_parallel, two_stage_dataset
from irlvla.scenes.scene import Scene
from irlvla.scenes.targets import save_targets, scene_targets
from irlvla.world.cameras import render
from irlvla.world.rig import HEIGHT_PX, RIG, WIDTH_PX, fit_image

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
TWO_STAGE_KINDS = ("first_stage", "follow_up")


@dataclass(frozen=True)
class Recipe:
    """What is made of every scene."""

    root: Path  # dataset in NAVSIM format
    out: Path
    cameras: tuple[str, ...]
    image_hw: tuple[int, int]
    images: Literal["rendered", "recorded"]
    bev_cells: int
    x_range_m: tuple[float, float]
    y_range_m: tuple[float, float]
    seed: int


def prepare(recipe: Recipe, samples: pd.DataFrame, split_yamls: dict[str, Path], workers: int) -> None:
    """Write images, `contexts/<token>.npz` and `scenes/<split>.npz` for every row of `samples`.

    `samples` is a table as in `samples.py`; `split_yamls` maps the name of every split and, where there are such
    samples, `<split>_two_stage` to its YAML file.
    """
    for folder in ("contexts", "scenes"):
        (recipe.out / folder).mkdir(parents=True, exist_ok=True)
    for split, rows in samples.groupby("split", sort=False):
        work = [
            joblib.delayed(_prepare_log)(recipe, split_yamls[yaml], log_name, part)
            for yaml, chosen in rows.groupby(_yaml_of(rows), sort=False)
            for log_name, part in chosen.groupby("log_name", sort=False)
        ]
        targets = {token: row for part in in_parallel(work, workers, f"preparing {split}") for token, row in part}
        ordered = [targets[token] for token in rows["token"]]
        ranges = {"x_range_m": recipe.x_range_m, "y_range_m": recipe.y_range_m}
        save_targets(recipe.out / "scenes" / f"{split}.npz", rows["token"].tolist(), ordered, **ranges)


def _yaml_of(rows: pd.DataFrame) -> pd.Series:
    return rows["split"] + np.where(rows["kind"].isin(TWO_STAGE_KINDS), "_two_stage", "")


def _prepare_log(
    recipe: Recipe, split_yaml: Path, log_name: str, rows: pd.DataFrame
) -> list[tuple[str, dict[str, NDArray]]]:
    cv2.setNumThreads(1)
    staged = rows["kind"].isin(TWO_STAGE_KINDS).any()
    root = recipe.root
    dataset = two_stage_dataset(root, split_yaml) if staged else dataset_of_log(root, split_yaml, log_name)
    made = []
    for row in rows.itertuples():
        recorded = dataset.scene(row.source)
        scene = moved_start(recorded, recipe) if row.kind == "perturbed" else recorded
        if scene is None or scene.token != row.token:
            raise ValueError(f"sample {row.token}: scene {row.source} of {log_name} no longer gives it")
        if recipe.images == "rendered":
            scene = on_rig(scene)
        write_images(recipe, dataset, scene)
        context_path = recipe.out / "contexts" / f"{row.token}.npz"
        if not context_path.exists():
            scoring_context(scene).save(context_path)
        area = (recipe.x_range_m, recipe.y_range_m)
        targets = scene_targets(scene, recipe.cameras, recipe.bev_cells, *area) | route_targets(scene, *area)
        made.append((row.token, targets | {"has_plan": np.array(bool(row.human))}))
    return made


def on_rig(scene: Scene) -> Scene:
    """The scene with the calibration that it is rendered with."""
    size = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX}
    cameras = {
        name: replace(camera, intrinsics=RIG[name][0], ego_from_camera=RIG[name][1], **size)
        for name, camera in scene.cameras.items()
    }
    return replace(scene, cameras=cameras)


def moved_start(scene: Scene, recipe: Recipe) -> Scene | None:
    """The scene with the ego moved off the log, the same for the same scene and seed; None where there is no room.

    Its images get paths of their own, beside those of the scene.
    """
    rng = np.random.default_rng((recipe.seed, zlib.crc32(scene.token.encode())))
    moved = draw_perturbation(scene, rng)
    if moved is None:
        return None
    paths = {name: f"{scene.log_name}/{name}/{moved.token}.jpg" for name in recipe.cameras}
    return replace(moved, cameras={name: replace(moved.cameras[name], image_path=path) for name, path in paths.items()})


def moved_starts(recipe: Recipe, split_yaml: Path, table: pd.DataFrame, workers: int) -> pd.DataFrame:
    """A row of kind `perturbed` per row of `table` whose start could be moved.

    Raises ValueError where images are recorded: nobody took one from the moved place.
    """
    if len(table) and recipe.images == "recorded":
        raise ValueError("moved starts need rendered images: set perturbed_samples to 0 for recorded ones")
    parts = [part for _, part in table.groupby("log_name", sort=False)]
    work = [joblib.delayed(_moved_starts_of_log)(recipe, split_yaml, part) for part in parts]
    return pd.concat([table.iloc[:0], *in_parallel(work, workers, "moving starts")])


def _moved_starts_of_log(recipe: Recipe, split_yaml: Path, rows: pd.DataFrame) -> pd.DataFrame:
    dataset = dataset_of_log(recipe.root, split_yaml, rows["log_name"].iloc[0])
    moved = [moved_start(dataset.scene(token), recipe) for token in rows["source"]]
    found = rows.assign(token=[scene and scene.token for scene in moved], kind="perturbed", previous="", human=0)
    return found[found["token"].notna()]


def write_images(recipe: Recipe, dataset: Dataset, scene: Scene) -> None:
    """Write the scene's views at the recipe's size below `sensor_blobs`, rendered or from the recorded images."""
    if recipe.images == "rendered":
        views = render(scene, recipe.cameras, *recipe.image_hw)
    else:
        views = [_recorded(dataset, scene, name, recipe.image_hw) for name in recipe.cameras]
    for name, view in zip(recipe.cameras, views, strict=True):
        path = recipe.out / "sensor_blobs" / scene.cameras[name].image_path
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(view, cv2.COLOR_RGB2BGR), JPEG)[1]
        temporary = path.with_suffix(".partial")
        temporary.write_bytes(encoded.tobytes())
        os.replace(temporary, path)


def _recorded(dataset: Dataset, scene: Scene, name: str, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    path = dataset.image_path(scene, name)
    try:
        image = read_rgb(path)
    except ValueError as error:
        raise ValueError(f"scene {scene.token}, {name}: {error}") from error
    camera = scene.cameras[name]
    if image.shape[:2] != (camera.height_px, camera.width_px):
        found, wanted = image.shape[:2], (camera.height_px, camera.width_px)
        raise ValueError(f"{path}: image of {found} pixels, the calibration is for {wanted}")
    return fit_image(image, camera.intrinsics[1, 2], *image_hw)
