"""SUMO network -> the layers of a nuPlan map.

| nuPlan                | SUMO                                                                |
|-----------------------|---------------------------------------------------------------------|
| lane, lane group      | lane for cars, edge                                                 |
| lane connector        | chain of internal lanes between two lanes                           |
| lane-group connector  | all lane connectors between two edges                               |
| intersection          | junction, enlarged by what its connectors cover                     |
| crosswalk, walkway    | crossing; pavement lanes and walking areas                          |
| stop polygon          | last metre of a lane whose connectors have a light                  |
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import shapely
import sumolib
from numpy.typing import NDArray

from irlvla.world.town import network_offset

Array = NDArray[np.float64]
Rows = dict[str, list[dict]]  # layer name -> rows, each with "fid", "geometry" and the layer's columns

GUTTER_M = 0.5  # what a car can use of the road beyond its lane
OVERLAP_M = 0.1  # neighbouring areas overlap a little: a sliver between them would count as off the road
BASELINE_SPACING_M = 1.0
TURN_TYPES = {"s": 0, "l": 1, "L": 1, "r": 2, "R": 2, "t": 3}  # straight, left, right, turn-around


def resampled(xy: Array, spacing_m: float, at_least: int) -> Array:
    """Polyline (P, 2) with evenly spaced vertices, at most `spacing_m` apart and `at_least` many."""
    distance = np.append(0, np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1)))
    grid = np.linspace(0, distance[-1], max(at_least, int(np.ceil(distance[-1] / spacing_m)) + 1))
    return np.column_stack([np.interp(grid, distance, xy[:, axis]) for axis in range(2)])


def _clean(points: list, offset: Array) -> Array:
    """Vertices (P, 2) in the global frame without repeats."""
    xy = np.array([p[:2] for p in points], dtype=float) + offset
    keep = np.append(True, np.linalg.norm(np.diff(xy, axis=0), axis=1) > 1e-3)
    xy = xy[keep]
    return xy if len(xy) > 1 else np.vstack([xy, xy + [0.01, 0.0]])


def _strip(xy: Array, width_m: float) -> shapely.Polygon:
    return shapely.LineString(xy).buffer(width_m / 2, cap_style="flat", join_style="mitre", mitre_limit=2.0)


def _largest(geometry: shapely.Geometry) -> shapely.Polygon:
    """A polygon without holes: the largest part of what a buffer or union gave."""
    parts = [part for part in shapely.get_parts(shapely.make_valid(geometry)) if part.geom_type == "Polygon"]
    return shapely.Polygon(max(parts, key=lambda part: part.area).exterior)


def _side(xy: Array, offset_m: float) -> shapely.LineString:
    """Line beside `xy`, positive to the left, vertex by vertex."""
    tangent = np.gradient(xy, axis=0)
    normal = np.column_stack([-tangent[:, 1], tangent[:, 0]]) / np.linalg.norm(tangent, axis=1, keepdims=True)
    return shapely.LineString(xy + offset_m * normal).simplify(0.02)


class Extraction:
    """Walks a network once and fills the layers; ids count up from `first_fid`."""

    def __init__(self, network_path: Path, town_name: str, first_fid: int) -> None:
        self.net = sumolib.net.readNet(str(network_path), withInternal=True, withPedestrianConnections=True)
        self.offset = np.array(network_offset(network_path))
        self.town_name = town_name
        self.fids: Iterator[int] = count(first_fid)
        self.rows: Rows = defaultdict(list)
        self.lane_fids: dict[str, int] = {}
        self.group_fids: dict[str, int] = {}
        self.intersection_fids: dict[str, int] = {}
        self.stop_fids: dict[str, int] = {}

    def layers(self) -> Rows:
        """Rows of every layer."""
        edges = [
            e for e in self.net.getEdges(withInternal=False) if any(lane.allows("passenger") for lane in e.getLanes())
        ]
        for edge in edges:
            self._edge(edge)
        connections = self._connections(edges)
        self._intersections(connections)
        self._stop_lines(connections)
        for pair, members in connections.items():
            self._connector_group(pair, members)
        self._pedestrian_areas()
        return self.rows

    def _add(self, layer: str, geometry: shapely.Geometry, **columns: object) -> int:
        fid = next(self.fids)
        self.rows[layer].append({"fid": fid, "geometry": geometry, **columns})
        return fid

    def _boundaries(self, xy: Array, width_m: float) -> tuple[int, int]:
        left = self._add("boundaries", _side(xy, width_m / 2), boundary_type_fid=0)
        right = self._add("boundaries", _side(xy, -width_m / 2), boundary_type_fid=0)
        return left, right

    def _edge(self, edge: "sumolib.net.edge.Edge") -> None:
        lanes = [lane for lane in reversed(edge.getLanes()) if lane.allows("passenger")]  # leftmost first
        lines = [_clean(lane.getShape(), self.offset) for lane in lanes]
        polygons = [_largest(_strip(xy, lane.getWidth() + 0.02)) for lane, xy in zip(lanes, lines, strict=True)]
        block = _largest(shapely.union_all(polygons).buffer(GUTTER_M, join_style="mitre"))
        group = self._add("lane_groups_polygons", block, creator_id=f"{self.town_name}/{edge.getID()}")
        self.group_fids[edge.getID()] = group
        for index, (lane, xy, polygon) in enumerate(zip(lanes, lines, polygons, strict=True)):
            left, right = self._boundaries(resampled(xy, 5.0, 3), lane.getWidth())
            fid = self._add(
                "lanes_polygons", polygon, lane_group_fid=group, lane_index=index, left_boundary_fid=left,
                right_boundary_fid=right, speed_limit_mps=lane.getSpeed(),
                creator_id=f"{self.town_name}/{lane.getID()}",
            )  # fmt: skip
            self.rows["lanes_polygons"][-1]["lane_fid"] = fid
            self.lane_fids[lane.getID()] = fid
            self._baseline(xy, lane_fid=fid, lane_connector_fid=None)

    def _baseline(self, xy: Array, **owner: int | None) -> None:
        line = shapely.LineString(resampled(xy, BASELINE_SPACING_M, 4))
        self._add("baseline_paths", line, path_type_fid=0, **owner)

    def _connections(self, edges: list) -> dict[tuple[str, str], list]:
        """Connections between car lanes, each with its path and width, by (from edge, to edge)."""
        groups: dict[tuple[str, str], list] = defaultdict(list)
        for edge in edges:
            for lane in edge.getLanes():
                for connection in lane.getOutgoing():
                    ends = connection.getFromLane().getID(), connection.getToLane().getID()
                    if all(end in self.lane_fids for end in ends) and connection.getDirection() != "t":
                        groups[edge.getID(), connection.getTo().getID()].append((connection, self._path(connection)))
        return groups

    def _path(self, connection: "sumolib.net.connection.Connection") -> Array:
        """Centre line (P, 2) of a connection: its chain of internal lanes, from lane end to lane start."""
        points = [connection.getFromLane().getShape()[-1]]
        via = connection.getViaLaneID()
        while via:
            lane = self.net.getLane(via)
            points.extend(lane.getShape())
            following = [c.getViaLaneID() for c in lane.getOutgoing()]
            via = following[0] if following else ""
        points.append(connection.getToLane().getShape()[0])
        return _clean(points, self.offset)

    def _intersections(self, connections: dict) -> None:
        covered: dict[str, list] = defaultdict(list)
        for members in connections.values():
            for connection, xy in members:
                node = connection.getFrom().getToNode()
                covered[node.getID()].append(_strip(xy, connection.getFromLane().getWidth()))
        for node_id, strips in covered.items():
            shape = self.net.getNode(node_id).getShape()
            outline = shapely.Polygon(np.array([p[:2] for p in shape]) + self.offset) if len(shape) > 2 else None
            area = shapely.union_all([*strips, shapely.make_valid(outline)] if outline is not None else strips)
            polygon = _largest(area.buffer(1.0, join_style="mitre").buffer(OVERLAP_M - 1.0, join_style="mitre"))
            self.intersection_fids[node_id] = self._add("intersections", polygon, intersection_type_fid=1)

    def _stop_lines(self, connections: dict) -> None:
        """The last metre of every lane with a light."""
        for members in connections.values():
            for connection, _ in members:
                lane = connection.getFromLane()
                if connection.getTLSID() and lane.getID() not in self.stop_fids:
                    xy = _clean(lane.getShape(), self.offset)
                    line = shapely.LineString(xy)
                    last = shapely.get_coordinates(shapely.ops.substring(line, max(line.length - 1.0, 0), line.length))
                    node = connection.getFrom().getToNode().getID()
                    self.stop_fids[lane.getID()] = self._add(
                        "stop_polygons", _largest(_strip(last, lane.getWidth())), stop_polygon_type_fid=2,
                        intersection_fid=self.intersection_fids[node],
                    )  # fmt: skip

    def _connector_group(self, pair: tuple[str, str], members: list) -> None:
        intersection = self.intersection_fids[members[0][0].getFrom().getToNode().getID()]
        strips = [_largest(_strip(xy, connection.getFromLane().getWidth())) for connection, xy in members]
        ends = {"from_lane_group_fid": self.group_fids[pair[0]], "to_lane_group_fid": self.group_fids[pair[1]]}
        block = _largest(shapely.union_all(strips).buffer(0.3, join_style="mitre").buffer(-0.29, join_style="mitre"))
        block = _largest(block.simplify(0.05))
        group = self._add("lane_group_connectors", block, intersection_fid=intersection, **ends)
        for (connection, xy), strip in zip(members, strips, strict=True):
            self._connector(connection, xy, strip, group, intersection)

    def _connector(self, connection, xy: Array, strip: shapely.Polygon, group: int, intersection: int) -> None:
        source, target = connection.getFromLane(), connection.getToLane()
        via = connection.getViaLaneID()
        limit = self.net.getLane(via).getSpeed() if via else min(source.getSpeed(), target.getSpeed())
        stop = self.stop_fids.get(source.getID()) if connection.getTLSID() else None
        fid = self._add(
            "lane_connectors", shapely.LineString(xy).simplify(0.05),
            exit_lane_fid=self.lane_fids[source.getID()], entry_lane_fid=self.lane_fids[target.getID()],
            exit_lane_group_fid=self.group_fids[source.getEdge().getID()],
            entry_lane_group_fid=self.group_fids[target.getEdge().getID()],
            lane_group_connector_fid=group, speed_limit_mps=limit, intersection_fid=intersection,
            turn_type_fid=TURN_TYPES[connection.getDirection()], traffic_light_stop_line_fids=str(stop) if stop else "",
            creator_id=f"{self.town_name}/{source.getID()}/{target.getID()}",
        )  # fmt: skip
        left, right = self._boundaries(resampled(xy, 1.0, 3), source.getWidth())
        self._add(
            "gen_lane_connectors_scaled_width_polygons", strip, lane_connector_fid=fid, left_boundary_fid=left,
            right_boundary_fid=right, intersection_fid=intersection, lane_group_connector_fid=group,
        )  # fmt: skip
        self._baseline(xy, lane_fid=None, lane_connector_fid=fid)

    def _pedestrian_areas(self) -> None:
        for edge in self.net.getEdges(withInternal=True):
            function = edge.getFunction()
            for lane in edge.getLanes():
                if function == "walkingarea":
                    area = shapely.make_valid(shapely.Polygon(np.array([p[:2] for p in lane.getShape()]) + self.offset))
                    if area.area > 0.1:
                        self._add("walkways", _largest(area))
                elif function == "crossing":
                    self._add("crosswalks", _largest(_strip(_clean(lane.getShape(), self.offset), lane.getWidth())))
                elif function == "" and lane.allows("pedestrian") and not lane.allows("passenger"):
                    self._add("walkways", _largest(_strip(_clean(lane.getShape(), self.offset), lane.getWidth())))
