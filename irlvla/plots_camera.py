"""Camera images with what is known about the scene drawn into them, and the view from above beside them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from irlvla.geometry import box_corners, local_from_global
from irlvla.plots import OBJECT_COLOURS, PAGE_IN, draw_bev, plan_colours
from irlvla.scenes.scene import Scene
from irlvla.world.rig import fitted_intrinsics

Array = NDArray[np.float64]

BOX_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
BAND_M = 1.0  # width of a plan on the road
NEAR_M = 0.3  # nearer points cannot be drawn in a camera image


def draw_camera(
    ax: Axes,
    image: NDArray[np.uint8],
    scene: Scene,
    camera: str,
    plans: Mapping[str, Array] | None = None,
    colours: Mapping[str, tuple] | None = None,
    boxes: bool = True,
) -> None:
    """A camera image (H, W, 3) with the scene's objects as wire boxes and `plans` (T, 3) as bands on the road."""
    height, width = image.shape[:2]
    draw_saved_image(ax, image)
    native = scene.cameras[camera]
    intrinsics = fitted_intrinsics(native.intrinsics, (native.height_px, native.width_px), height, width)
    if boxes:
        for i in np.flatnonzero(scene.tracks.valid[scene.now]):
            lines = wire_box(scene, int(i), intrinsics, native.ego_from_camera)
            colour = OBJECT_COLOURS[scene.tracks.categories[i]]
            ax.add_collection(LineCollection(lines, colors=[colour], linewidths=0.7))
    draw_plan_bands(ax, plans or {}, intrinsics, native.ego_from_camera, colours)


def draw_plan_bands(
    ax: Axes,
    plans: Mapping[str, Array],
    intrinsics: Array,
    ego_from_camera: Array,
    colours: Mapping[str, tuple] | None = None,
) -> None:
    """Plans (T, 3) as bands on the road into a camera image; `intrinsics` (3, 3) belong to the image as shown.

    The first are the widest, so that equal plans all show.
    """
    colours = colours or plan_colours(list(plans))
    for below, (name, plan) in zip(reversed(range(len(plans))), plans.items(), strict=True):
        width_m = min(BAND_M + 0.5 * below, 2.5)
        quads = [Polygon(quad) for quad in _plan_band(plan, intrinsics, ego_from_camera, width_m)]
        ax.add_collection(PatchCollection(quads, facecolor=colours[name], alpha=0.55, linewidth=0))


def draw_contact_sheet(images: Sequence[tuple[str, NDArray[np.uint8]]], columns: int = 5) -> Figure:
    """Named images of one size (H, W, 3) in rows, each with its name below."""
    height, width = images[0][1].shape[:2]
    rows = -(-len(images) // columns)
    row_in = PAGE_IN / columns * height / width + 0.16
    figure, axes = plt.subplots(rows, columns, figsize=(PAGE_IN, rows * row_in), squeeze=False, layout="none")
    for ax in axes.flat:
        ax.axis("off")
        ax.set_anchor("N")
    for ax, (name, image) in zip(axes.flat, images, strict=False):
        draw_saved_image(ax, image)
        ax.text(width / 2, height * 1.04, name, fontsize="xx-small", ha="center", va="top")
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.02, hspace=0)
    return figure


def draw_saved_image(ax: Axes, image: NDArray[np.uint8]) -> None:
    """An image (H, W, 3) whose axes are its pixel coordinates."""
    ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0), interpolation="lanczos")
    _as_image(ax, *image.shape[:2])


def _as_image(ax: Axes, height: int, width: int) -> None:
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)


def _pixels(points: Array, intrinsics: Array) -> Array:
    return points[..., :2] / points[..., 2:] * np.diag(intrinsics)[:2] + intrinsics[:2, 2]


def _to_camera(points: Array, ego_from_camera: Array) -> Array:
    return (points - ego_from_camera[:3, 3]) @ ego_from_camera[:3, :3]


def wire_box(scene: Scene, index: int, intrinsics: Array, ego_from_camera: Array) -> list[Array]:
    """Edges (2, 2) in pixels of an object's box; edges through the near plane are cut, those before it left out."""
    tracks, now = scene.tracks, scene.now
    pose = local_from_global(scene.ego_pose, tracks.poses[now, index])
    length, width, height = tracks.size_m[now, index]
    footprint = box_corners(pose, length, width)
    corners = np.concatenate(
        [np.column_stack([footprint, np.full(4, tracks.z_m[now, index] + s * height / 2)]) for s in (-1, 1)]
    )
    corners = _to_camera(corners, ego_from_camera)
    lines = []
    for start, end in BOX_EDGES:
        a, b = sorted((corners[start], corners[end]), key=lambda point: point[2])
        if b[2] <= NEAR_M:
            continue
        if a[2] < NEAR_M:
            a = a + (NEAR_M - a[2]) / (b[2] - a[2]) * (b - a)
        lines.append(_pixels(np.stack([a, b]), intrinsics))
    return lines


def _plan_band(plan: Array, intrinsics: Array, ego_from_camera: Array, width_m: float) -> list[Array]:
    """Quads (4, 2) in pixels of a plan drawn as a band on the road, as far as it lies ahead of the camera."""
    path = np.concatenate([np.zeros((1, 3)), plan])
    steps = np.linspace(0, len(plan), 4 * len(plan) + 1)
    poses = np.stack(
        [np.interp(steps, np.arange(len(path)), column) for column in (path[:, 0], path[:, 1], np.unwrap(path[:, 2]))],
        -1,
    )
    across = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], axis=-1) * width_m / 2
    edges = [np.column_stack([poses[:, :2] + side * across, np.zeros(len(poses))]) for side in (1, -1)]
    left, right = (_to_camera(edge, ego_from_camera) for edge in edges)
    ahead = (left[:, 2] > 1.0) & (right[:, 2] > 1.0)
    left, right = (_pixels(np.where(ahead[:, None], edge, 1.0), intrinsics) for edge in (left, right))
    return [
        np.stack([left[i], left[i + 1], right[i + 1], right[i]])
        for i in range(len(poses) - 1)
        if ahead[i] and ahead[i + 1]
    ]


def draw_scene(
    images: Mapping[str, NDArray[np.uint8]], scene: Scene, plans: Mapping[str, Array] | None = None, boxes: bool = True
) -> Figure:
    """A page-wide figure: the cameras one above the other, in the order given, and the view from above beside them."""
    height, width = next(iter(images.values())).shape[:2]
    ratios = (width / height / len(images), 0.75)  # widths over the figure's height; `draw_bev` shows 48 x 64 m
    figure = plt.figure(figsize=(PAGE_IN, PAGE_IN / sum(ratios)))
    grid = figure.add_gridspec(len(images), 2, width_ratios=ratios)
    colours = plan_colours(list(plans or {}))
    for row, (camera, image) in enumerate(images.items()):
        ax = figure.add_subplot(grid[row, 0])
        draw_camera(ax, image, scene, camera, plans, colours, boxes)
        ax.text(0.01, 0.96, camera, transform=ax.transAxes, va="top", fontsize="x-small", color="white", weight="bold")
    ax = figure.add_subplot(grid[:, 1])
    draw_bev(ax, scene, plans, colours=colours)
    if plans:
        ax.legend(loc="lower left", fontsize="x-small", frameon=True, framealpha=0.85, edgecolor="none")
    return figure
