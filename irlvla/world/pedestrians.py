"""Scenarios with people on foot before the ego."""

import numpy as np
import shapely
import sumolib

from irlvla.geometry import Array
from irlvla.world.demand import person_entry
from irlvla.world.events import brakes_for
from irlvla.world.junctions import green_at
from irlvla.world.script import Crosser, Cue, Draw, Script, Unsuitable, ego_comes_near, stop_ego

BRAKING_MPS2 = 2.2
KERB_M = 0.8  # between the lane's edge and who waits
CROSSING_M = 2.2  # from a lane's end to the middle of the crossing beyond it
STREAM = 4  # people on the crossing that a right turn meets


def jaywalker(draw: Draw) -> Script:
    """A pedestrian steps off the kerb between junctions."""
    position = draw.start.position_m + draw.rng.uniform(55, 75)
    if position > draw.edge.getLength() - 6:
        raise Unsuitable("the first edge is too short")
    return _crossing(draw, position, 4.0, [(1.5, 10, 1.0)], float(draw.rng.uniform(2, 6)))


def crosswalk_pedestrian(draw: Draw) -> Script:
    """People on the zebra crossing before a junction without lights."""
    end = draw.edge.getLength()
    x, y, _ = draw.pose(draw.lane, end + CROSSING_M, 0.0)
    if not _is_crosswalk(draw, x, y):
        raise Unsuitable("no crossing at the end of the first edge")
    people = [(float(draw.rng.uniform(1.2, 1.6)), 8 + 8 * i, (-1.0) ** i) for i in range(draw.rng.integers(1, 4))]
    return _crossing(draw, end - 1.0, 1.0 + CROSSING_M, people, float(draw.rng.uniform(8, 12)))


def _is_crosswalk(draw: Draw, x: float, y: float) -> bool:
    layer = draw.town_map.layers["CROSSWALK"]
    return any(area.contains(shapely.Point(x, y)) for area in layer.polygons[layer.near(np.array([x, y]), 3.0)])


def _first_car_lane(edge: "sumolib.net.edge.Edge") -> "sumolib.net.lane.Lane":
    return next(lane for lane in edge.getLanes() if lane.allows("passenger"))


def _crossing(draw: Draw, stop_m: float, beyond_m: float, people: list, margin_m: float) -> Script:
    """People (speed, delay in steps, 1 from the right or -1 from the left) cross `beyond_m` after the ego's stop."""
    edge, right = draw.start.edges[0], draw.car_lanes[0]
    road_m = _road_width(draw.edge)
    cue = Cue(ego_comes_near(edge, stop_m, margin_m, BRAKING_MPS2))
    crossers = []
    for i, (speed, delay, side) in enumerate(people):
        to_left = -right.getWidth() / 2 + (-KERB_M if side > 0 else road_m + KERB_M)
        x, y, heading = draw.pose(right, stop_m + beyond_m + 0.5 * i, to_left)
        kerb = np.array([x, y, heading + side * np.pi / 2])
        crossers.append(Crosser(f"crosser_{i}", kerb, road_m + 2 * KERB_M, speed, cue, delay))
    away_s = max((delay * 0.1 + (road_m + 2 * KERB_M) / speed for speed, delay, _ in people))
    cue.ego = stop_ego(edge, stop_m, max(away_s - 5.0, 1.0))  # braking takes five seconds
    names = [crosser.id for crosser in crossers]
    return Script(
        cues=[cue], crossers=tuple(crossers),
        happened=lambda frames: any(brakes_for(frames, name) for name in names),
    )  # fmt: skip


def _road_width(edge: "sumolib.net.edge.Edge") -> float:
    """Width of the car lanes of a road, both ways."""
    back = [e for e in edge.getToNode().getOutgoing() if e.getToNode() == edge.getFromNode()]
    lanes = [lane for e in (edge, *back[:1]) for lane in e.getLanes() if lane.allows("passenger")]
    return sum(lane.getWidth() for lane in lanes)


def right_turn_pedestrians(draw: Draw) -> Script:
    """People cross the street that the ego turns into."""
    target = draw.next_edge
    back = [e for e in target.getToNode().getOutgoing() if e.getToNode() == target.getFromNode()]
    if not back or not all(e.getLanes()[0].allows("pedestrian") for e in (target, back[0])):
        raise Unsuitable("no pavements on both sides of the second edge")
    near, far = (target.getID(), 5.0), (back[0].getID(), max(back[0].getLength() - 5.0, 1.0))
    x, y, _ = draw.pose(_first_car_lane(target), -CROSSING_M, 0.0)
    if not _is_crosswalk(draw, x, y):
        raise Unsuitable("no crossing at the beginning of the second edge")
    arrival_s = draw.start.depart_s + draw.ahead_m / 8.0
    entries, names = [], []
    for i in range(STREAM):
        ways = (near, far) if i % 2 else (far, near)
        names.append(f"walker_{i}")
        entries.append(person_entry(names[-1], arrival_s - 7.0 + 1.2 * i, *ways))
    light = draw.first_light()
    events = [(1, green_at(light, arrival_s - 3.0))] if light else []
    return Script(entries, events=events, happened=lambda frames: _turns_behind(frames, names))


def _turns_behind(frames: list, names: list[str]) -> bool:
    """Whether the ego waits for one of the people, and has turned in the end."""
    turned = _turned(np.array([frame.ego_pose[2] for frame in frames]))
    return turned and any(brakes_for(frames, name) for name in names)


def _turned(headings: Array) -> bool:
    return bool(np.abs(np.unwrap(headings) - headings[0]).max() > np.pi / 4)
