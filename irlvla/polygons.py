"""Exact plane predicates in Numba: orientation, contact of convex boxes, points in polygons.

Every decision is a sign of a 2x2 determinant of coordinate differences. It is taken in float64 when the rounding error
cannot change it and in doubled precision otherwise, so contact and boundary cases are decided as GEOS decides them,
also at UTM-sized coordinates.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

ORIENTATION_ERROR = 3.3306690738754716e-16  # (3 + 16 eps) eps with eps = 2^-53: Shewchuk's bound for the determinant
SPLITTER = 134217729.0  # 2^27 + 1, splits a float64 into halves whose products are exact


@njit(cache=True)
def _two_difference(a: float, b: float) -> tuple[float, float]:
    """a - b as rounded value and exact error (Knuth)."""
    x = a - b
    virtual = a - x
    return x, (a - (x + virtual)) + (virtual - b)


@njit(cache=True)
def _two_product(a: float, b: float) -> tuple[float, float]:
    """a * b as rounded value and exact error (Dekker)."""
    x = a * b
    t = SPLITTER * a
    a_high = t - (t - a)
    t = SPLITTER * b
    b_high = t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return x, ((a_high * b_high - x) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True)
def _doubled_orientation(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> float:
    dx, dx_low = _two_difference(ax, px)
    dy, dy_low = _two_difference(by, py)
    ex, ex_low = _two_difference(bx, px)
    ey, ey_low = _two_difference(ay, py)
    left, left_low = _two_product(dx, dy)
    right, right_low = _two_product(ey, ex)
    left_low += dx * dy_low + dx_low * dy
    right_low += ey * ex_low + ey_low * ex
    high, low = _two_difference(left, right)
    return high + (low + (left_low - right_low))


@njit(cache=True)
def orientation(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> float:
    """Positive if p lies left of the line a -> b, negative if right, zero if on it."""
    left = (ax - px) * (by - py)
    right = (ay - py) * (bx - px)
    determinant = left - right
    bound = ORIENTATION_ERROR * (abs(left) + abs(right))
    if determinant > bound or -determinant > bound:
        return determinant
    return _doubled_orientation(ax, ay, bx, by, px, py)


@njit(cache=True)
def _edge_separates(corners: Array, other: Array) -> bool:
    """Whether all of `other` lies strictly outside one edge of the counter-clockwise convex polygon `corners`."""
    size = len(corners)
    for i in range(size):
        ax, ay = corners[i]
        bx, by = corners[(i + 1) % size]
        outside = True
        for k in range(len(other)):
            if orientation(ax, ay, bx, by, other[k, 0], other[k, 1]) >= 0.0:
                outside = False
                break
        if outside:
            return True
    return False


@njit(cache=True)
def convex_touch(a: Array, b: Array) -> bool:
    """Whether two closed convex polygons (n, 2), counter-clockwise, share a point. Two points make a segment."""
    return not _edge_separates(a, b) and not _edge_separates(b, a)


@njit(cache=True)
def _on_segment(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> bool:
    """Whether p, known to be on the line a - b, lies between them."""
    return min(ax, bx) <= px <= max(ax, bx) and min(ay, by) <= py <= max(ay, by)


@njit(cache=True)
def _segments_touch(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether the closed segments a - b and c - d share a point."""
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    c_side = orientation(a[0], a[1], b[0], b[1], c[0], c[1])
    d_side = orientation(a[0], a[1], b[0], b[1], d[0], d[1])
    if (c_side > 0.0 and d_side > 0.0) or (c_side < 0.0 and d_side < 0.0):
        return False
    a_side = orientation(c[0], c[1], d[0], d[1], a[0], a[1])
    b_side = orientation(c[0], c[1], d[0], d[1], b[0], b[1])
    return not ((a_side > 0.0 and b_side > 0.0) or (a_side < 0.0 and b_side < 0.0))


@dataclass(frozen=True)
class PolygonSet:
    """P simple polygons without holes, with an index of their edges for point queries.

    Along its longer side (`along`: x or y; the other one is `across`) each polygon is cut into bins; a bin holds the
    edges that reach it. A ray from a point towards greater `across` can only meet edges of the point's bin.
    """

    edges: Array  # (E, 4) x, y of both ends, polygon after polygon
    edge_offsets: Indices  # (P + 1,)
    bounds: Array  # (P, 4) least x, least y, greatest x, greatest y
    axis: Indices  # (P,) 0 where `along` is x, 1 where it is y
    bins_per_m: Array  # (P,)
    bin_offsets: Indices  # (P + 1,) first bin of each polygon, in bin_starts
    bin_starts: Indices  # (bins + 1,) slices of bin_edges
    bin_edges: Array  # (., 4) along, across of both ends

    def __len__(self) -> int:
        return len(self.bounds)

    @classmethod
    def from_rings(cls, xy: Array, offsets: Indices) -> "PolygonSet":
        """Polygon i is xy[offsets[i]:offsets[i + 1]]; rings may be closed or not."""
        xy = np.ascontiguousarray(xy, dtype=np.float64)
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        edges = np.empty((len(xy), 4))
        bounds = np.empty((len(offsets) - 1, 4))
        _ring_edges(xy, offsets, edges, bounds)
        size = bounds[:, 2:] - bounds[:, :2]
        axis = (size[:, 1] > size[:, 0]).astype(np.int64)
        num_bins = np.maximum(np.diff(offsets), 1)
        bin_offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(num_bins)])
        bins_per_m = num_bins / np.maximum(size.max(axis=1), 1e-9)
        spans = np.empty((len(edges), 2), dtype=np.int64)
        counts = np.zeros(bin_offsets[-1] + 1, dtype=np.int64)
        _edge_bins(edges, offsets, axis, bounds, bins_per_m, bin_offsets, spans, counts)
        bin_starts = np.cumsum(counts)
        bin_edges = np.empty((bin_starts[-1], 4))
        _fill_bins(edges, offsets, axis, spans, bin_starts[:-1].copy(), bin_edges)
        return cls(edges, offsets, bounds, axis, bins_per_m, bin_offsets, bin_starts, bin_edges)

    @property
    def index(self) -> tuple[Array, ...]:
        """The arrays that `contains` takes, in its order."""
        return self.bounds, self.axis, self.bins_per_m, self.bin_offsets, self.bin_starts, self.bin_edges


@njit(cache=True)
def _ring_edges(xy: Array, offsets: Indices, edges: Array, bounds: Array) -> None:
    for p in range(len(offsets) - 1):
        first, last = offsets[p], offsets[p + 1] - 1
        for i in range(first, last + 1):
            after = first if i == last else i + 1
            edges[i, 0], edges[i, 1] = xy[i, 0], xy[i, 1]
            edges[i, 2], edges[i, 3] = xy[after, 0], xy[after, 1]
        for d in range(2):
            bounds[p, d] = xy[first : last + 1, d].min()
            bounds[p, 2 + d] = xy[first : last + 1, d].max()


@njit(cache=True)
def _bin(value: float, least: float, bins_per_m: float, num_bins: int) -> int:
    """Bin of a coordinate; monotone in `value`, so an edge's bins include those of all its points."""
    return min(max(int((value - least) * bins_per_m), 0), num_bins - 1)


@njit(cache=True)
def _edge_bins(edges, offsets, axis, bounds, bins_per_m, bin_offsets, spans, counts) -> None:
    """First and last bin of every edge in `spans`; edges per bin in `counts`, shifted by one for a cumulative sum."""
    for p in range(len(bounds)):
        d, first, num_bins = axis[p], bin_offsets[p], bin_offsets[p + 1] - bin_offsets[p]
        for e in range(offsets[p], offsets[p + 1]):
            low, high = min(edges[e, d], edges[e, 2 + d]), max(edges[e, d], edges[e, 2 + d])
            spans[e, 0] = first + _bin(low, bounds[p, d], bins_per_m[p], num_bins)
            spans[e, 1] = first + _bin(high, bounds[p, d], bins_per_m[p], num_bins)
            for b in range(spans[e, 0], spans[e, 1] + 1):
                counts[b + 1] += 1


@njit(cache=True)
def _fill_bins(edges, offsets, axis, spans, cursor, bin_edges) -> None:
    for p in range(len(axis)):
        d = axis[p]
        for e in range(offsets[p], offsets[p + 1]):
            for b in range(spans[e, 0], spans[e, 1] + 1):
                k = cursor[b]
                bin_edges[k, 0], bin_edges[k, 1] = edges[e, d], edges[e, 1 - d]
                bin_edges[k, 2], bin_edges[k, 3] = edges[e, 2 + d], edges[e, 3 - d]
                cursor[b] += 1


@njit(cache=True)
def contains(
    bounds: Array,
    axis: Indices,
    bins_per_m: Array,
    bin_offsets: Indices,
    bin_starts: Indices,
    bin_edges: Array,
    p: int,
    x: float,
    y: float,
) -> bool:
    """Whether polygon `p` of a `PolygonSet.index` strictly contains the point: its boundary is outside."""
    if x < bounds[p, 0] or x > bounds[p, 2] or y < bounds[p, 1] or y > bounds[p, 3]:
        return False
    along, across, least = (x, y, bounds[p, 0]) if axis[p] == 0 else (y, x, bounds[p, 1])
    b = bin_offsets[p] + _bin(along, least, bins_per_m[p], bin_offsets[p + 1] - bin_offsets[p])
    inside = False
    for k in range(bin_starts[b], bin_starts[b + 1]):
        a_along, a_across, b_along, b_across = bin_edges[k, 0], bin_edges[k, 1], bin_edges[k, 2], bin_edges[k, 3]
        a_after, b_after = a_along > along, b_along > along
        if (a_after and b_after) or (a_along < along and b_along < along) or (across > a_across and across > b_across):
            continue  # the edge is wholly before or after the ray, or on the other side of the point
        if across < a_across and across < b_across:
            inside ^= a_after != b_after
            continue
        side = orientation(a_along, a_across, b_along, b_across, along, across)
        if side == 0.0:
            return False  # on the boundary: on the edge's line and within its bounds
        # Left of an edge that runs towards smaller `along`, or right of the others: the edge is beyond the point.
        if a_after != b_after and (side > 0.0) == a_after:
            inside = not inside
    return inside


@njit(cache=True)
def box_touches(edges: Array, edge_offsets: Indices, index: tuple, p: int, corners: Array) -> bool:
    """Whether the closed polygon `p` and the closed box `corners` (4, 2), counter-clockwise, share a point.

    `edges`, `edge_offsets` and `index` are those of the `PolygonSet`.
    """
    bounds = index[0]
    least_x, greatest_x = corners[:, 0].min(), corners[:, 0].max()
    least_y, greatest_y = corners[:, 1].min(), corners[:, 1].max()
    if greatest_x < bounds[p, 0] or least_x > bounds[p, 2] or greatest_y < bounds[p, 1] or least_y > bounds[p, 3]:
        return False
    for e in range(edge_offsets[p], edge_offsets[p + 1]):
        a, b = edges[e, :2], edges[e, 2:]
        if max(a[0], b[0]) < least_x or min(a[0], b[0]) > greatest_x:
            continue
        if max(a[1], b[1]) < least_y or min(a[1], b[1]) > greatest_y:
            continue
        inside = True
        for i in range(4):
            c, d = corners[i], corners[(i + 1) % 4]
            if _segments_touch(a, b, c, d):
                return True
            inside &= orientation(c[0], c[1], d[0], d[1], a[0], a[1]) >= 0.0
        if inside:
            return True
    return contains(*index, p, corners[0, 0], corners[0, 1])
