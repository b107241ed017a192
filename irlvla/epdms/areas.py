"""Where the ego box is on the map, state by state: in several lanes, off the drivable area, off the route.

Containment is strict: a point on a polygon's boundary is outside.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla.epdms.context import ScoringContext
from irlvla.epdms.states import X, Y, ego_centers, ego_corners
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


def ego_areas(area_map: AreaMap, states: Array) -> EgoAreas:
    """Areas of driven states (N, 41, 11)."""
    points = np.concatenate(
        [ego_corners(states), ego_centers(states)[..., None, :], states[..., None, [X, Y]]], axis=-2
    )  # (N, 41, 6, 2): four corners, centre, rear axle
    flags = np.zeros((5, *states.shape[:2]), dtype=np.bool_)
    roles = np.stack([area_map.is_lane, area_map.on_route, area_map.is_drivable, area_map.is_intersection], axis=1)
    _areas(area_map.polygons.arrays, roles, points, flags)
    return EgoAreas(*flags)


@njit(cache=True)
def _areas(polygons: tuple, roles: Mask, points: Array, flags: Mask) -> None:
    bounds = polygons[2]
    near = np.empty(len(bounds), dtype=np.int64)
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
            _state_areas(polygons, roles, near[:size], points[n, t], flags[:, n, t])


@njit(cache=True)
def _state_areas(polygons: tuple, roles: Mask, near: Array, points: Array, flags: Mask) -> None:
    """`flags` (5,) in the order of `EgoAreas`, for `points` (6, 2): four corners, centre, rear axle."""
    drivable_corners = np.zeros(4, dtype=np.bool_)
    lanes, single_lane, on_route = 0, False, False
    for p in near:
        is_lane, is_on_route, is_drivable, is_intersection = roles[p]
        if is_lane:
            inside = 0
            for i in range(4):
                inside += contains(polygons, p, points[i, 0], points[i, 1])
            lanes += inside > 0
            single_lane |= inside == 4
        if is_on_route and not on_route:
            on_route = contains(polygons, p, points[4, 0], points[4, 1])
        if is_drivable:
            for i in range(4):
                if not drivable_corners[i]:
                    drivable_corners[i] = contains(polygons, p, points[i, 0], points[i, 1])
        if is_intersection:
            flags[3] |= contains(polygons, p, points[4, 0], points[4, 1])
            flags[4] |= contains(polygons, p, points[5, 0], points[5, 1])
    flags[0] = lanes > 1 and not single_lane
    flags[1] = not drivable_corners.all()
    flags[2] = not on_route
