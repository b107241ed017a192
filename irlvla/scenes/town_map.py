"""`TownMap`: lanes, areas and their graph, in the global frame, with fast look-up by place."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

Array = NDArray[np.float64]

LAYERS = (
    "LANE", "LANE_CONNECTOR", "ROADBLOCK", "ROADBLOCK_CONNECTOR", "INTERSECTION", "CARPARK_AREA",
    "CROSSWALK", "WALKWAY", "GENERIC_DRIVABLE", "STOP_LINE",
)  # fmt: skip


@dataclass(frozen=True)
class Lane:
    """A lane or, inside a junction, a lane connector."""

    id: str
    is_connector: bool
    roadblock_id: str  # lane group or lane-group connector it belongs to
    centerline: Array  # (P, 3) x, y, heading in driving direction
    polygon: shapely.Polygon
    speed_limit_mps: float  # NaN where the map has none
    predecessors: tuple[str, ...]  # connectors of a lane, the lane of a connector
    successors: tuple[str, ...]
    has_traffic_light: bool = False  # connectors: a light governs it (the map names its stop line)


@dataclass(frozen=True)
class Layer:
    """Polygons of one kind, with a spatial index."""

    ids: tuple[str, ...]
    polygons: NDArray[np.object_]  # (n,) shapely polygons

    @cached_property
    def tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)

    def near(self, xy: Array, radius_m: float) -> NDArray[np.int64]:
        """Sorted indices of the polygons within `radius_m` of the point `xy` (2,)."""
        return np.sort(self.tree.query(shapely.Point(xy), predicate="dwithin", distance=radius_m))


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, so that caches can be keyed by the map
class TownMap:
    """One map. `layers` has every name of LAYERS (empty layers included)."""

    name: str
    lanes: dict[str, Lane] = field(repr=False)
    layers: dict[str, Layer] = field(repr=False)
    roadblock_lanes: dict[str, tuple[str, ...]] = field(
        repr=False
    )  # of roadblocks and their connectors, leftmost first
