"""Who drives and walks where: the route file of one simulation."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np
import sumolib
from numpy.random import Generator

from irlvla import vehicle

EGO = "ego"
BLOCKER = "scripted_blocker"  # holds a lane closed; not recorded

# Length, width, height [m], share of the traffic, SUMO class; other attributes of the car-following model.
VEHICLE_TYPES = {
    "car": (4.6, 1.9, 1.55, 0.46, "passenger", 'sigma="0.3" accel="2.2" decel="3.5"'),
    "compact": (3.9, 1.75, 1.5, 0.22, "passenger", 'sigma="0.3" accel="2.3" decel="3.5"'),
    "van": (5.6, 2.05, 2.3, 0.14, "passenger", 'sigma="0.3" accel="1.8" decel="3.2"'),
    "truck": (8.2, 2.4, 3.1, 0.06, "truck", 'sigma="0.2" accel="1.2" decel="3.0" maxSpeed="22"'),
    "bicycle": (1.8, 0.65, 1.75, 0.12, "bicycle", 'accel="1.0" decel="2.5" maxSpeed="5.5"'),
}
PEDESTRIAN_SIZE_M = (0.6, 0.6, 1.75)
WARM_UP_S = 40.0
TRAFFIC_RADIUS_M = 400.0
MOST_CARS = 100


@dataclass(frozen=True)
class EgoStart:
    """Where and when the ego enters, and the edges it drives."""

    edges: tuple[str, ...]
    position_m: float  # of the front bumper on the first edge
    lane: int  # index on the first edge, SUMO counts from the right
    depart_s: float = WARM_UP_S


def drivable(edge: "sumolib.net.edge.Edge") -> bool:
    return any(lane.allows("passenger") for lane in edge.getLanes())


def following(edge: "sumolib.net.edge.Edge") -> list[tuple["sumolib.net.edge.Edge", str]]:
    """Edges a car can drive on to, each with the direction of the turn (s, l, r, L, R), in a fixed order."""
    turns = {}
    for lane in edge.getLanes():
        for connection in lane.getOutgoing() if lane.allows("passenger") else ():
            if connection.getDirection() != "t" and drivable(connection.getTo()):
                turns.setdefault(connection.getTo().getID(), (connection.getTo(), connection.getDirection()))
    return [turns[key] for key in sorted(turns)]


def random_walk(
    start: "sumolib.net.edge.Edge", length_m: float, turn: str, rng: Generator, without: Collection = ()
) -> list:
    """Edges from `start` on, without repeats, about `length_m` long; `turn` (s, l, r) comes first where possible."""
    edges, length = [start], start.getLength()
    while length < length_m:
        options = [(e, way) for e, way in following(edges[-1]) if e not in edges and e not in without]
        if not options:
            break
        wanted = [edge for edge, way in options if len(edges) == 1 and way.lower() == turn]
        choice = wanted or [edge for edge, _ in options]
        edges.append(choice[rng.integers(len(choice))])
        length += edges[-1].getLength()
    return edges


def ego_start(
    net: "sumolib.net.Net",
    turns: str,
    rng: Generator,
    ahead_m: float | None = None,
    suits: Callable[..., bool] = lambda net, edge, onto: True,
) -> EgoStart | None:
    """A random start before a junction where the ego turns in one of the ways `turns` (s, l, r).

    The first edge goes on for at least `ahead_m`, by default for some 40-130 m; `suits` of network, first and second
    edge must hold. None if the network has no such start.
    """
    candidates = [
        (e, onto) for e in net.getEdges(withInternal=False) if drivable(e) and e.getLength() > 25 + (ahead_m or 20)
        for onto, way in following(e) if way.lower() in turns and suits(net, e, onto)
    ]  # fmt: skip
    for _ in range(50 if candidates else 0):
        start, onto = candidates[rng.integers(len(candidates))]
        edges = [start, *random_walk(onto, 700.0, "", rng, {start})]
        if sum(e.getLength() for e in edges) > 400:
            gap = rng.uniform(40, 130) if ahead_m is None else ahead_m + rng.uniform(0, 30)
            position = max(vehicle.LENGTH_M + 1, start.getLength() - gap)
            lanes = lanes_that_lead_on(edges)
            return EgoStart(tuple(e.getID() for e in edges), float(position), lanes[rng.integers(len(lanes))])
    return None


def lanes_that_lead_on(edges: list) -> list[int]:
    """Lanes of the first edge from which most of the route can be driven without changing lanes."""
    reach: dict[str, int] = {lane.getID(): 0 for lane in edges[-1].getLanes()}
    for edge, following_edge in reversed(list(zip(edges, edges[1:], strict=False))):
        for lane in edge.getLanes():
            targets = [c.getToLane().getID() for c in lane.getOutgoing() if c.getTo() == following_edge]
            reach[lane.getID()] = max((reach[target] + 1 for target in targets), default=0)
    lanes = [lane for lane in edges[0].getLanes() if lane.allows("passenger")]
    best = max(min(reach[lane.getID()], 3) for lane in lanes)  # three junctions are more than a log passes
    return [lane.getIndex() for lane in lanes if min(reach[lane.getID()], 3) == best]


def route_file(
    net: "sumolib.net.Net", start: EgoStart, cars_per_km: float, pedestrians: int, until_s: float, rng: Generator,
    scripted: Iterable[tuple[float, str]] = (), quiet: Collection[str] = (),
) -> str:  # fmt: skip
    """XML text: vehicle types, trips and walks that start around the ego's start, the ego, and scripted vehicles.

    Trips keep off the edges `quiet`, so that a script finds there what it expects.
    """
    first = net.getEdge(start.edges[0])
    x, y = first.getToNode().getCoord()
    near = [
        e
        for e in net.getEdges(withInternal=False)
        if np.hypot(*np.subtract(e.getFromNode().getCoord(), (x, y))) < TRAFFIC_RADIUS_M
    ]
    near = sorted(near, key=lambda e: e.getID())
    roads = [e for e in near if drivable(e) and e.getID() not in quiet]
    pavements = [e for e in near if any(lane.allows("pedestrian") for lane in e.getLanes())]
    lines = ["<routes>", *_types()]
    entries = (
        [(start.depart_s, _ego(start)), *scripted]
        + _trips(roads, cars_per_km, until_s, rng, {net.getEdge(id) for id in quiet})
        + _walks(pavements, pedestrians, until_s, rng)
    )
    lines += [text for _, text in sorted(entries)]
    return "\n".join([*lines, "</routes>"])


def _types() -> list[str]:
    sublane = 'laneChangeModel="SL2015" latAlignment="center" carFollowModel="EIDM" minGap="2" tau="1.2"'
    types = [
        f'<vType id="{name}" length="{length}" width="{width}" height="{height}" vClass="{vclass}" {model} {sublane}'
        f' speedFactor="normc(0.95,0.1,0.75,1.1)"/>'
        for name, (length, width, height, _, vclass, model) in VEHICLE_TYPES.items()
    ]
    ego = (
        f'<vType id="{EGO}" length="{vehicle.LENGTH_M}" width="{vehicle.WIDTH_M}" height="{vehicle.HEIGHT_M}"'
        f' accel="1.8" decel="2.8" sigma="0" speedFactor="0.97" lcSpeedGain="0" lcKeepRight="0" maxSpeedLat="2.2"'
        f' lcAccelLat="1.6" {sublane}/>'
    )
    blocker = f'<vType id="{BLOCKER}" length="18" width="2.4" vClass="passenger" {sublane}/>'
    length, width, height = PEDESTRIAN_SIZE_M
    walker = f'<vType id="walker" vClass="pedestrian" length="{length}" width="{width}" height="{height}"/>'
    return [*types, ego, blocker, walker]


def vehicle_entry(name: str, kind: str, depart_s: float, edges: Iterable[str], lane: int | str, position: float | str,
                  speed: str = "max") -> str:  # fmt: skip
    """XML text of one vehicle and its route."""
    return (
        f'<vehicle id="{name}" type="{kind}" depart="{depart_s:.1f}" departLane="{lane}" departSpeed="{speed}"'
        f' departPos="{position}"><route edges={quoteattr(" ".join(edges))}/></vehicle>'
    )


def person_entry(name: str, depart_s: float, start: tuple[str, float], end: tuple[str, float]) -> tuple[float, str]:
    """Departure and XML text of a walk between two places (edge, position)."""
    depart = round(depart_s, 1)
    walk = f'<walk from={quoteattr(start[0])} to={quoteattr(end[0])} arrivalPos="{end[1]:.1f}"/>'
    return depart, (f'<person id="{name}" type="walker" depart="{depart}" departPos="{start[1]:.1f}">{walk}</person>')


def _ego(start: EgoStart) -> str:
    return vehicle_entry(EGO, EGO, start.depart_s, start.edges, start.lane, round(start.position_m, 2))


def _trips(
    roads: list, cars_per_km: float, until_s: float, rng: Generator, without: Collection
) -> list[tuple[float, str]]:
    lengths = np.array([e.getLength() * sum(lane.allows("passenger") for lane in e.getLanes()) for e in roads])
    number = min(int(round(cars_per_km * lengths.sum() / 1000)), MOST_CARS)
    names, shares = list(VEHICLE_TYPES), np.array([t[3] for t in VEHICLE_TYPES.values()])
    entries = []
    for index in range(int(number * 1.5)):  # the last third enters later, in place of those that left
        depart = rng.uniform(0, 0.5 * WARM_UP_S) if index < number else rng.uniform(0.5 * WARM_UP_S, until_s)
        start = roads[rng.choice(len(roads), p=lengths / lengths.sum())]
        edges = random_walk(start, 900.0, "s", rng, without)
        kind = names[rng.choice(len(names), p=shares / shares.sum())]
        text = vehicle_entry(f"v{index}", kind, depart, (e.getID() for e in edges), "best", "random_free")
        entries.append((round(depart, 1), text))
    return entries


def _walks(pavements: list, number: int, until_s: float, rng: Generator) -> list[tuple[float, str]]:
    entries = []
    for index in range(number if pavements else 0):
        depart = round(rng.uniform(0, 0.8 * until_s), 1)
        a, b = (pavements[rng.integers(len(pavements))].getID() for _ in range(2))
        walk = f"<walk from={quoteattr(a)} to={quoteattr(b)}/>"
        position = f'departPos="{rng.uniform(1, 30):.1f}"'
        entries.append((depart, f'<person id="p{index}" type="walker" depart="{depart}" {position}>{walk}</person>'))
    return entries
