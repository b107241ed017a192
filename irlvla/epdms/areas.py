"""Where the ego box is on the map, state by state: in several lanes, off the drivable area, off the route.

Containment is strict: a point on a polygon's boundary is outside.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla.epdms.context import ScoringContext
from irlvla.epdms.states import EgoBoxes, X, Y
from irlvla.polygons import PolygonSet, contains

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LANE_LAYERS = ("LANE", "LANE_CONNECTOR")
DRIVABLE_LAYERS = ("ROADBLOCK", "INTERSECTION", "DRIVABLE_AREA", "CARPARK_AREA")


@dataclass(frozen=True)
class AreaMap:
    """Polygons of a scene and what each of the P means for the ego."""

    polygons: PolygonSet
    is_lane: Mask  # (P,) lane or lane connector
    on_route: Mask  # (P,) lane or lane connector of the route
    is_drivable: Mask  # (P,)
    is_intersection: Mask  # (P,)

    @classmethod
    def from_context(cls, context: ScoringContext) -> "AreaMap":
        layers = context.polygon_layers
        is_lane = np.isin(layers, LANE_LAYERS)
        return cls(
            polygons=PolygonSet.from_rings(context.polygon_xy, context.polygon_offsets),
            is_lane=is_lane,
            on_route=is_lane & np.isin(context.polygon_ids, context.route_lane_ids),
            is_drivable=np.isin(layers, DRIVABLE_LAYERS),
            is_intersection=layers == "INTERSECTION",
        )


@dataclass(frozen=True)
class EgoAreas:
    """Per plan and state, all (N, 41)."""

    multiple_lanes: Mask  # corners in more than one lane, none of which holds all four
    non_drivable: Mask  # some corner in no drivable polygon
    oncoming: Mask  # centre in no lane of the route
    center_in_intersection: Mask
    axle_in_intersection: Mask


def ego_areas(area_map: AreaMap, states: Array, boxes: EgoBoxes) -> EgoAreas:
    """Areas of driven states (N, 41, 11) with their boxes."""
    axles = states[..., [X, Y]]
    points = np.concatenate([boxes.corners, boxes.centers[..., None, :], axles[..., None, :]], axis=-2)
    flags = np.zeros((5, *states.shape[:2]), dtype=np.bool_)
    roles = np.stack([area_map.is_lane, area_map.on_route, area_map.is_drivable, area_map.is_intersection], axis=1)
    _areas(area_map.polygons.index, roles, points, flags)
    return EgoAreas(*flags)


@njit(cache=True)
def _areas(index: tuple, roles: Mask, points: Array, flags: Mask) -> None:
    """`flags` (5, N, 41) in the order of `EgoAreas`; `points` (N, 41, 6, 2): four corners, centre, rear axle."""
    bounds, axis, bins_per_m, bin_offsets, bin_starts, bin_edges = index
    near = np.empty(len(bounds), dtype=np.int64)
    has_corner = np.zeros(4, dtype=np.bool_)
    for n in range(len(points)):
        size = 0
        low_x, high_x = points[n, :, :, 0].min(), points[n, :, :, 0].max()
        low_y, high_y = points[n, :, :, 1].min(), points[n, :, :, 1].max()
        for p in range(len(bounds)):
            apart_x = bounds[p, 0] > high_x or bounds[p, 2] < low_x
            if not apart_x and bounds[p, 1] <= high_y and bounds[p, 3] >= low_y:
                near[size] = p
                size += 1
        for t in range(points.shape[1]):
            has_corner[:] = False
            lanes, single_lane, on_route = 0, False, False
            for k in range(size):
                p = near[k]
                inside = 0
                for i in range(6):
                    corner = i < 4 and (roles[p, 0] or (roles[p, 2] and not has_corner[i]))
                    center = i == 4 and ((roles[p, 1] and not on_route) or roles[p, 3])
                    if not (corner or center or (i == 5 and roles[p, 3])):
                        continue
                    x, y = points[n, t, i, 0], points[n, t, i, 1]
                    if not contains(bounds, axis, bins_per_m, bin_offsets, bin_starts, bin_edges, p, x, y):
                        continue
                    if i < 4:
                        inside += 1
                        has_corner[i] |= roles[p, 2]
                    elif roles[p, 3]:
                        flags[i - 1, n, t] = True
                    else:
                        on_route = True
                if roles[p, 0]:
                    lanes += inside > 0
                    single_lane |= inside == 4
            flags[0, n, t] = lanes > 1 and not single_lane
            flags[1, n, t] = not has_corner.all()
            flags[2, n, t] = not on_route
