"""The route ahead: corrected roadblocks, their lanes, and the centreline that progress and lane keeping refer to.

The rules are those of PDM-Closed, the planner whose route the official evaluation uses: the roadblocks of the log
are joined to where the ego stands, gaps are filled, loops are cut, and a shortest lane path from the ego's lane to
the last roadblock becomes the centreline. There are no lane changes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.epdms.states import EgoBoxes
from irlvla.scenes.town_map import Lane, TownMap

Array = NDArray[np.float64]

MAX_HEADING_ERROR_RAD = np.pi / 4
MAX_DISPLACEMENT_M = 3.0
ROADBLOCK_REACH_M = 1.0  # half-size of the box around the rear axle
BACKWARD_DEPTH, FORWARD_DEPTH = 15, 30  # levels of the roadblock searches
LOOKAHEAD_ROADBLOCKS = 30
LOOP_AREA_M2 = 1.0
MAP_REACH_M = 100.0  # half-size of the box around the ego's centre in which lanes are considered


@dataclass(frozen=True)
class Route:
    roadblock_ids: tuple[str, ...]
    lane_ids: tuple[str, ...]  # all lanes and connectors of the roadblocks
    start_lane: Lane
    centerline: Array  # (C, 3) x, y, heading; begins at the beginning of the start lane


def find_route(town_map: TownMap, ego_pose: Array, roadblock_ids: tuple[str, ...]) -> Route:
    """Route and centreline for an ego at `ego_pose` (3,) whose log drives over `roadblock_ids`.

    Raises ValueError naming the roadblock that is not in the map, or saying that the route is empty.
    """
    roadblocks = list(dict.fromkeys(roadblock_ids))
    if not roadblocks:
        raise ValueError("the scene has no route (roadblock_ids is empty)")
    for roadblock in roadblocks:
        if roadblock not in town_map.roadblock_lanes:
            raise ValueError(f"roadblock {roadblock} of the route is not in map {town_map.name}")
    roadblocks = list(dict.fromkeys(_correct(town_map, ego_pose, roadblocks)))
    lane_ids = tuple(lane for roadblock in roadblocks for lane in _lanes_of(town_map, roadblock))
    start = _start_lane(town_map, ego_pose, lane_ids)
    first = roadblocks.index(start.roadblock_id)
    target = roadblocks[first : first + LOOKAHEAD_ROADBLOCKS][-1]
    path = _lane_path(town_map, start.id, set(lane_ids), target)
    centerline = np.concatenate([town_map.lanes[lane].centerline for lane in path])
    return Route(tuple(roadblocks), lane_ids, start, centerline)


def _map_order(id: str) -> tuple[int, str]:
    """Feature ids ascend in the map's tables; ties of the searches below are broken in that order."""
    return len(id), id


def _lanes_of(town_map: TownMap, roadblock: str) -> list[str]:
    return sorted(town_map.roadblock_lanes[roadblock], key=_map_order)


def _neighbours(town_map: TownMap, roadblock: str, forward: bool) -> list[str]:
    """Roadblocks that the lanes of `roadblock` lead to (`forward`) or come from."""
    lanes = [town_map.lanes[id] for id in town_map.roadblock_lanes[roadblock]]
    linked = [id for lane in lanes for id in (lane.successors if forward else lane.predecessors)]
    return sorted({town_map.lanes[id].roadblock_id for id in linked if id in town_map.lanes}, key=_map_order)


@lru_cache(maxsize=4)
def _roadblock_polygons(town_map: TownMap) -> dict[str, shapely.Geometry]:
    layers = (town_map.layers["ROADBLOCK"], town_map.layers["ROADBLOCK_CONNECTOR"])
    return {id: polygon for layer in layers for id, polygon in zip(layer.ids, layer.polygons, strict=True)}


def _correct(town_map: TownMap, ego_pose: Array, route: list[str]) -> list[str]:
    start, candidates = _current_roadblocks(town_map, ego_pose, route)
    if start not in route:
        back = _search(town_map, route[0], candidates, BACKWARD_DEPTH, forward=False)
        if back is not None:
            route = [*back[::-1][:-1], *route]
        else:
            onto = _search(town_map, start, route[:3], FORWARD_DEPTH, forward=True)
            if onto is not None:
                route = [*onto, *route[route.index(onto[-1]) + 1 :]]
    return _without_loops(town_map, _filled(town_map, route))


def _filled(town_map: TownMap, route: list[str]) -> list[str]:
    """The route with the roadblocks between two consecutive ones that are not neighbours."""
    filled = route[:1]
    for previous, following in zip(route, route[1:], strict=False):
        if previous not in _neighbours(town_map, following, forward=False):
            path = _search(town_map, previous, [following], FORWARD_DEPTH, forward=True)
            filled += path[1:-1] if path is not None else []
        filled.append(following)
    return filled


def _without_loops(town_map: TownMap, route: list[str]) -> list[str]:
    """The route up to the first roadblock connector that overlaps an earlier one."""
    polygons = _roadblock_polygons(town_map)
    connectors = set(town_map.layers["ROADBLOCK_CONNECTOR"].ids)
    crossed: list[shapely.Geometry] = []
    for index, roadblock in enumerate(route):
        if roadblock in connectors:
            polygon = polygons[roadblock]
            if any(shapely.intersection(other, polygon).area > LOOP_AREA_M2 for other in crossed):
                return route[:index]
            crossed.append(polygon)
    return route


def _current_roadblocks(town_map: TownMap, ego_pose: Array, route: list[str]) -> tuple[str, list[str]]:
    """The roadblock the ego most likely stands on, and all candidates of the same kind (on the route if possible)."""
    on_route: dict[str, float] = {}
    off_route: dict[str, float] = {}
    nearest: dict[str, float] = {}
    for roadblock in _roadblocks_here(town_map, ego_pose[:2]):
        nearest[roadblock] = np.inf
        for lane in _lanes_of(town_map, roadblock):
            displacement, heading_error = _offset(town_map.lanes[lane].centerline, ego_pose)
            nearest[roadblock] = min(nearest[roadblock], displacement)
            if heading_error < MAX_HEADING_ERROR_RAD and displacement < MAX_DISPLACEMENT_M:
                found = on_route if roadblock in route else off_route
                found[roadblock] = min(found.get(roadblock, np.inf), displacement)
    candidates = on_route or off_route or nearest
    return min(candidates, key=candidates.__getitem__), list(candidates)


def _roadblocks_here(town_map: TownMap, xy: Array) -> list[str]:
    box = shapely.box(*(xy - ROADBLOCK_REACH_M), *(xy + ROADBLOCK_REACH_M))
    layers = (town_map.layers["ROADBLOCK"], town_map.layers["ROADBLOCK_CONNECTOR"])
    found = [layer.ids[i] for layer in layers for i in np.sort(layer.tree.query(box, predicate="intersects"))]
    if not found:
        found = [layer.ids[layer.tree.nearest(shapely.Point(xy))] for layer in layers if layer.ids]
    return [roadblock for roadblock in found if roadblock in town_map.roadblock_lanes]


def _offset(centerline: Array, ego_pose: Array) -> tuple[float, float]:
    """Distance [m] to the nearest vertex and the heading error [rad] there."""
    distance = np.linalg.norm(centerline[:, :2] - ego_pose[:2], axis=1)
    nearest = np.argmin(distance)
    error = centerline[nearest, 2] - ego_pose[2]
    return float(distance[nearest]), float(abs(np.arctan2(np.sin(error), np.cos(error))))


def _search(town_map: TownMap, start: str, targets: list[str], max_depth: int, forward: bool) -> list[str] | None:
    """Breadth-first path of roadblocks from `start` to the first of `targets` met, both included; None without one.

    Where several parents lead to a roadblock of the next level the last one visited counts, as in the official
    search; `first` and `last` hold a level's roadblocks by their first and last place in its queue.
    """
    first, last = [start], [start]
    parents: list[dict[str, str]] = []
    for _ in range(max_depth):
        goal = next((roadblock for roadblock in first if roadblock in targets), None)
        if goal is not None:
            path = [goal]
            for level in reversed(parents):
                path.append(level[path[-1]])
            return path[::-1]
        neighbours = {roadblock: _neighbours(town_map, roadblock, forward) for roadblock in first}
        parents.append({child: parent for parent in last for child in neighbours[parent]})
        first = list(dict.fromkeys(child for parent in first for child in neighbours[parent]))
        last = list(dict.fromkeys(child for parent in reversed(last) for child in reversed(neighbours[parent])))[::-1]
        if not first:
            return None
    return None


def _start_lane(town_map: TownMap, ego_pose: Array, lane_ids: tuple[str, ...]) -> Lane:
    """The lane of the route under the rear axle, with the least heading error; else the nearest lane of the route."""
    lanes = [town_map.lanes[id] for id in lane_ids]
    polygons = np.array([lane.polygon for lane in lanes], dtype=object)
    here = np.flatnonzero(shapely.intersects(polygons, shapely.Point(ego_pose[:2])))
    if len(here):
        return lanes[min(here, key=lambda index: _offset(lanes[index].centerline, ego_pose)[1])]
    ego = EgoBoxes.from_states(ego_pose)
    under = np.flatnonzero(shapely.contains_xy(polygons, *ego.centers))
    if len(under):
        return lanes[under[0]]
    return lanes[int(np.argmin(shapely.distance(polygons, shapely.polygons(ego.corners))))]


def _lane_path(town_map: TownMap, start: str, allowed: set[str], target_roadblock: str) -> list[str]:
    """Shortest path (Dijkstra, by centreline length) over `allowed` lanes to any lane of the target roadblock.

    If none leads there: the path over most lanes, the shortest of those.
    """
    cost, depth, parent = {start: 1.0}, {start: 1}, {start: ""}
    open_lanes, closed = [start], []
    while open_lanes:
        current = min(open_lanes, key=cost.__getitem__)  # the earliest queued of equals
        if town_map.lanes[current].roadblock_id == target_roadblock:
            return _back_track(parent, current)
        open_lanes.remove(current)
        closed.append(current)
        for following in town_map.lanes[current].successors:
            if following not in allowed or following in closed:
                continue
            length = shapely.LineString(town_map.lanes[following].centerline[:, :2]).length
            if cost[current] + length < cost.get(following, np.inf):
                if following not in cost:
                    open_lanes.append(following)
                cost[following] = cost[current] + length
                depth[following] = depth[current] + 1
                parent[following] = current
    deepest = max(depth[lane] for lane in closed)
    return _back_track(parent, min((lane for lane in closed if depth[lane] == deepest), key=cost.__getitem__))


def _back_track(parent: dict[str, str], end: str) -> list[str]:
    path = [end]
    while parent[path[-1]]:
        path.append(parent[path[-1]])
    return path[::-1]
