"""The route's centreline: progress along it and distance from it."""

from math import inf, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla.epdms.states import Verdict

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

KEEPING_LIMIT_M = 0.5
KEEPING_STEPS = 20  # consecutive states beyond the limit that break lane keeping
CHUNK = 8  # segments that share a bounding box


def progress_m(centerline: Array, centers: Array) -> Array:
    """(N,) metres along `centerline` (C, 3) from the first to the last of the ego centres (N, 41, 2), at least 0."""
    return np.maximum(_project(np.ascontiguousarray(centerline[:, :2]), centers[:, [0, -1]]), 0.0)


def lane_keeping(centerline: Array, in_intersection: Mask, centers: Array) -> Verdict:
    """LK: 0 after 20 consecutive states with the centre more than 0.5 m off; intersection states are skipped."""
    line = np.ascontiguousarray(centerline[:, :2])
    starts = np.arange(0, len(line) - 1, CHUNK)
    low = np.minimum.reduceat(np.minimum(line[:-1], line[1:]), starts)
    high = np.maximum.reduceat(np.maximum(line[:-1], line[1:]), starts)
    bounds = np.concatenate([low, high], axis=1)
    verdict = Verdict.clean(len(centers))
    _lane_keeping(line, bounds, centers, in_intersection, verdict.score, verdict.step)
    return verdict


def distance_m(centerline: Array, point: Array) -> float:
    """Distance of a point (2,) from `centerline` (C, 3)."""
    line = centerline[:, :2]
    return min(_segment_distance(*a, *b, *point)[0] for a, b in zip(line, line[1:], strict=False))


@njit(cache=True)
def _segment_distance(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> tuple[float, float]:
    """Distance of p from the closed segment a - b, and the metres from a to the nearest point."""
    dx, dy = bx - ax, by - ay
    square = dx * dx + dy * dy
    along = ((px - ax) * dx + (py - ay) * dy) / square if square > 0.0 else 0.0
    if along <= 0.0:
        return sqrt((px - ax) ** 2 + (py - ay) ** 2), 0.0
    if along >= 1.0:
        return sqrt((px - bx) ** 2 + (py - by) ** 2), sqrt(square)
    return abs((ay - py) * dx - (ax - px) * dy) / square * sqrt(square), along * sqrt(square)


@njit(cache=True)
def _project(line: Array, ends: Array) -> Array:
    """(N,) arc length of the line's point nearest to ends[n, 1] minus that of ends[n, 0]; the first wins a tie."""
    difference = np.zeros(len(ends))
    for n in range(len(ends)):
        for end in range(2):
            px, py = ends[n, end]
            least, arc, best = inf, 0.0, 0.0
            for i in range(len(line) - 1):
                ax, ay = line[i]
                bx, by = line[i + 1]
                distance, along = _segment_distance(ax, ay, bx, by, px, py)
                if distance < least:
                    least, best = distance, arc + along
                arc += sqrt((bx - ax) ** 2 + (by - ay) ** 2)
            difference[n] += best if end else -best
    return difference


@njit(cache=True)
def _is_off(line: Array, bounds: Array, px: float, py: float, recent: int) -> tuple[bool, int]:
    """Whether p is beyond the limit, and the segment that showed it is not; `recent` is tried first."""
    if (
        _segment_distance(line[recent, 0], line[recent, 1], line[recent + 1, 0], line[recent + 1, 1], px, py)[0]
        <= KEEPING_LIMIT_M
    ):
        return False, recent
    reach = KEEPING_LIMIT_M + 1e-3
    for c in range(len(bounds)):
        if (
            px < bounds[c, 0] - reach
            or px > bounds[c, 2] + reach
            or py < bounds[c, 1] - reach
            or py > bounds[c, 3] + reach
        ):
            continue
        for i in range(c * CHUNK, min((c + 1) * CHUNK, len(line) - 1)):
            if _segment_distance(line[i, 0], line[i, 1], line[i + 1, 0], line[i + 1, 1], px, py)[0] <= KEEPING_LIMIT_M:
                return False, i
    return True, recent


@njit(cache=True)
def _lane_keeping(line: Array, bounds: Array, centers: Array, in_intersection: Mask, score: Array, step: Array) -> None:
    for n in range(len(centers)):
        off_steps, recent = 0, 0
        for t in range(centers.shape[1]):
            if in_intersection[n, t]:
                continue
            is_off, recent = _is_off(line, bounds, centers[n, t, 0], centers[n, t, 1], recent)
            off_steps = off_steps + 1 if is_off else 0
            if off_steps >= KEEPING_STEPS:
                score[n], step[n] = 0.0, t
                break
