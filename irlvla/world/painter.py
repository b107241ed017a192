"""Projection and painting of polygons: NumPy for the geometry, OpenCV for the pixels.

Camera frame: x to the right, y down, z forward [m]. Only what crosses the near plane is clipped. Q faces, R rings with
M points in all, N objects.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

NEAR_M = 0.3
SHIFT = 4  # fractional bits of OpenCV's fixed-point pixel coordinates
MAX_PX = 2.0e6  # what is projected farther out is cut there: it would overflow the fixed point
SMALLEST_PX = 0.7  # a face without a longer side than this leaves no trace worth its time


@dataclass(frozen=True)
class Rings:
    """R closed rings in M points; those of a layer are filled together by the even-odd rule: holes are rings too."""

    xy: Array  # (M, 2) on the ground, global frame
    offsets: NDArray[np.int64]  # (R + 1,)
    layer: NDArray[np.int64]  # (R,) ascending; higher layers are painted over lower ones


def project(points: Array, intrinsics: Array) -> Array:
    """Pixels (..., 2) of camera-frame points (..., 3) with positive depth; pixel i covers [i, i + 1]."""
    return points[..., :2] / points[..., 2:] * np.diag(intrinsics)[:2] + intrinsics[:2, 2]


def clip_rings(points: Array, offsets: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Parts beyond NEAR_M of closed rings: camera-frame points (M, 3) with `offsets` (R + 1,), both as returned.

    Every edge through the near plane gets its crossing point; rings that lie in front of the plane become empty.
    """
    depth = points[:, 2] - NEAR_M
    inside = depth > 0
    if inside.all():
        return points, offsets
    following = np.arange(1, len(points) + 1)
    full = np.diff(offsets) > 0
    following[offsets[1:][full] - 1] = offsets[:-1][full]
    cut = inside != inside[following]
    ends = np.cumsum(inside.astype(np.int64) + cut)  # of what each vertex leaves: itself, then a crossing point
    clipped = np.empty((ends[-1], 3))
    clipped[ends[inside] - 1 - cut[inside]] = points[inside]
    start, end = np.flatnonzero(cut), following[cut]
    share = depth[start] / (depth[start] - depth[end])
    clipped[ends[cut] - 1] = points[start] + share[:, None] * (points[end] - points[start])
    return clipped, np.concatenate([[0], ends])[offsets]


def paint_rings(image: Image, rings: Rings, transform: Array, intrinsics: Array, colours: Array) -> None:
    """Fill the rings, layer l in `colours[l]`; `transform` (4, 4) leads from the global to the camera frame."""
    count = np.diff(rings.offsets)
    depth = rings.xy @ transform[2, :2] + transform[2, 3]
    ahead = np.zeros(len(count), dtype=bool)
    ahead[count > 0] = np.maximum.reduceat(depth, rings.offsets[:-1][count > 0]) > NEAR_M
    if not ahead.any():
        return
    xy, layer = rings.xy[np.repeat(ahead, count)], rings.layer[ahead]
    offsets = np.concatenate([[0], np.cumsum(count[ahead])])
    points, offsets = clip_rings(xy @ transform[:3, :2].T + transform[:3, 3], offsets)
    pixels = project(points, intrinsics)
    starts = offsets[:-1]
    low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
    shown = (high > 0).all(axis=1) & (low < (image.shape[1], image.shape[0])).all(axis=1)
    shown &= (high - low).max(axis=1) > SMALLEST_PX
    fixed = _fixed_point(pixels)
    polygons = [fixed[a:b] for a, b in zip(starts[shown].tolist(), offsets[1:][shown].tolist(), strict=True)]
    bounds = np.searchsorted(layer[shown], np.arange(len(colours) + 1)).tolist()
    for first, last, colour in zip(bounds, bounds[1:], colours.tolist(), strict=False):
        if last > first:
            cv2.fillPoly(image, polygons[first:last], colour, cv2.LINE_AA, SHIFT)


def paint_faces(image: Image, points: Array, rgb: Array, intrinsics: Array) -> None:
    """Fill convex faces, camera frame (Q, CORNERS, 3), in the order given and in their colours (Q, 3)."""
    depth = points[..., 2]
    beyond, before = depth.min(axis=1) > NEAR_M, depth.max(axis=1) <= NEAR_M
    pixels = project(np.where(beyond[:, None, None], points, [0.0, 0.0, 1.0]), intrinsics)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    shown = (high > 0).all(axis=1) & (low < (image.shape[1], image.shape[0])).all(axis=1)
    shown &= (high - low).max(axis=1) > SMALLEST_PX
    crossing = ~beyond & ~before
    fixed = _fixed_point(pixels)
    painted = np.flatnonzero((shown & beyond) | crossing)
    for index, is_cut, colour in zip(painted.tolist(), crossing[painted].tolist(), rgb[painted].tolist(), strict=True):
        polygon = fixed[index]
        if is_cut:
            visible, _ = clip_rings(points[index], np.array([0, points.shape[1]]))
            polygon = _fixed_point(project(visible, intrinsics))
        cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, SHIFT)


def _fixed_point(pixels: Array) -> NDArray[np.int32]:
    return np.rint((np.clip(pixels, -MAX_PX, MAX_PX) - 0.5) * 2**SHIFT).astype(np.int32)
