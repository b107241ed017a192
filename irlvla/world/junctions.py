"""Scenarios that the junction ahead makes: lights, priority, rings, merging."""

from collections.abc import Callable

import libsumo
import numpy as np
import sumolib

from irlvla.world.demand import EGO, vehicle_entry
from irlvla.world.events import drives_along, is_close, seen, speeds, stands_at_red
from irlvla.world.expert import BRISK
from irlvla.world.script import Cue, Draw, Script, Unsuitable

ONCOMING = 3
QUIET_RINGS = 0.5  # share of the drives that find roundabouts empty


def red_light(draw: Draw) -> Script:
    """The light is red when the ego comes, and turns green after a while."""
    light = _light(draw)
    connector = _connector(draw, light)
    green_s = draw.start.depart_s + draw.distance_m(light) / 8.0 + draw.rng.uniform(6.0, 8.0)
    return Script(
        events=[(1, green_at(light, green_s))],
        quiet=draw.before(light),
        happened=lambda frames: stands_at_red(frames, connector).sum() >= 3,
    )


def green_start(draw: Draw) -> Script:
    """The ego stands at a red light that turns green; it starts briskly."""
    light = _light(draw)
    connector = _connector(draw, light)
    green_s = draw.start.depart_s + draw.rng.uniform(15.5, 16.5)

    def happened(frames: list) -> bool:
        stands = np.flatnonzero(stands_at_red(frames, connector))
        return len(stands) > 1 and speeds(frames)[stands[-1] :].max() > 5.0

    cue = Cue(lambda: True, ego=lambda: libsumo.vehicle.setAccel(EGO, 5.0))
    return Script(
        events=[(1, green_at(light, green_s))], cues=[cue], manner=BRISK, quiet=draw.before(light), happened=happened
    )


def _light(draw: Draw) -> "sumolib.net.connection.Connection":
    light = draw.first_light()
    if light is None:
        raise Unsuitable("no light on the way")
    return light


def _connector(draw: Draw, way: "sumolib.net.connection.Connection") -> str:
    """Map id of the lane connector of a way through a junction."""
    return draw.ids.connectors[way.getFromLane().getID(), way.getToLane().getID()]


def green_at(way: "sumolib.net.connection.Connection", time_s: float) -> Callable[[], None]:
    """Shift the signal programme so that the light over a way turns green at `time_s`; all phases keep their length."""
    tls, link = way.getTLSID(), way.getTLLinkIndex()

    def shift() -> None:
        phases = libsumo.trafficlight.getAllProgramLogics(tls)[0].phases
        green = [phase.state[link] in "gG" for phase in phases]
        first = next(i for i, now in enumerate(green) if now and not green[i - 1])
        # Back from the moment of green, over whole phases, to the one that runs now.
        left_s, index = time_s - libsumo.simulation.getTime(), first
        while left_s > 0:
            index = (index - 1) % len(phases)
            left_s -= phases[index].duration
        libsumo.trafficlight.setPhase(tls, index)
        libsumo.trafficlight.setPhaseDuration(tls, phases[index].duration + left_s)

    return shift


def unprotected_left(draw: Draw) -> Script:
    """Oncoming cars go first while the ego waits to turn left."""
    node, edge = draw.edge.getToNode(), draw.edge
    oncoming = [e for e in node.getIncoming() if e != edge and _opposite(e, edge)]
    ways = [(e, to) for e in oncoming for to in e.getOutgoing() if _straight(e, to)]
    if not ways:
        raise Unsuitable("nobody can come towards the ego")
    other, to = ways[draw.rng.integers(len(ways))]
    away_m = other.getLength() - draw.ahead_m - draw.rng.uniform(-5, 20)
    lane = next(lane.getIndex() for lane in reversed(other.getLanes()) if _leads(lane, to))
    names = [f"oncoming_{i}" for i in range(ONCOMING)]
    depart = draw.start.depart_s - 0.1
    entries = []
    for i, name in enumerate(names):
        time_s = depart + 2.4 * i
        text = vehicle_entry(name, "car", time_s, (other.getID(), to.getID()), lane, round(max(away_m, 5.0), 1))
        entries.append((time_s, text))
    light = draw.first_light()
    events = [(1, green_at(light, draw.start.depart_s + 2.0))] if light else []

    def happened(frames: list) -> bool:
        turned = np.abs(np.unwrap([f.ego_pose[2] for f in frames]) - frames[0].ego_pose[2]) > np.pi / 4
        if not turned.any():
            return False
        waiting = frames[: int(turned.argmax())]
        given_way = any(
            -2 < gap < 25 and frame.ego_velocity_mps[0] < 4.0 and v > 3.0
            for name in names for frame, gap, _, v in seen(waiting, name)
        )  # fmt: skip
        return given_way

    return Script(entries, events=events, quiet=(other.getID(),), happened=happened)


def _opposite(a: "sumolib.net.edge.Edge", b: "sumolib.net.edge.Edge") -> bool:
    """Whether two edges come to their node from opposite sides, within 40 degrees."""
    ways = []
    for edge in (a, b):
        (x0, y0), (x1, y1) = edge.getShape()[-2:]
        ways.append(np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0))
    return float(ways[0] @ ways[1]) < -np.cos(np.deg2rad(40))


def _straight(a: "sumolib.net.edge.Edge", b: "sumolib.net.edge.Edge") -> bool:
    return any(c.getDirection() == "s" and c.getFromLane().allows("passenger") for c in a.getConnections(b))


def _leads(lane: "sumolib.net.lane.Lane", to: "sumolib.net.edge.Edge") -> bool:
    return lane.allows("passenger") and any(c.getTo() == to and c.getDirection() == "s" for c in lane.getOutgoing())


def roundabout(draw: Draw) -> Script:
    """The ego drives through a ring."""
    ring = next(ring for ring in draw.net.getRoundabouts() if draw.start.edges[1] in ring.getEdges())
    nodes = np.array([draw.net.getNode(id).getCoord() for id in ring.getNodes()]) + draw.offset
    sides = nodes[1:3] - nodes[0]  # the centre is on the perpendicular bisectors of two chords
    center = nodes[0] + np.linalg.solve(sides, (sides**2).sum(axis=1) / 2)
    radius = np.linalg.norm(nodes[0] - center) + draw.next_edge.getLanes()[-1].getWidth() / 2
    angle = np.linspace(0, 2 * np.pi, 200)
    line = center + radius * np.column_stack([np.cos(angle), np.sin(angle)])  # much of a ring belongs to its junctions
    quiet = tuple(ring.getEdges()) if draw.rng.random() < QUIET_RINGS else ()
    return Script(quiet=quiet, happened=lambda frames: drives_along(frames, line, 4))


def _every_metre(line: np.ndarray) -> np.ndarray:
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    at = np.arange(0, along[-1] + 0.5)
    return np.column_stack([np.interp(at, along, column) for column in line.T])


def merge(draw: Draw) -> Script:
    """The ego's lane and the next one become one; cars are in both."""
    joined = [ways for ways in _joined(draw.edge, draw.next_edge) if draw.start.lane in ways[1]]
    if not joined:
        raise Unsuitable("the ego's lane goes on alone")
    lane, sources = joined[0]
    line = _every_metre(np.array(lane.getShape())[:, :2]) + draw.offset
    beside = next(index for index in sources if index != draw.start.lane)
    names = ["merging_0", "merging_1"]
    places = draw.start.position_m + np.array([draw.rng.uniform(6, 12), draw.rng.uniform(24, 32)])
    entries = [draw.entry(name, "car", beside, at) for name, at in zip(names, places, strict=True)]
    return Script(
        entries, happened=lambda frames: drives_along(frames, line, 2) and any(is_close(frames, id) for id in names)
    )


def has_light(net: "sumolib.net.Net", edge: "sumolib.net.edge.Edge", onto: "sumolib.net.edge.Edge") -> bool:
    """Whether a light rules the way from one edge to the next, or from that one on, if it is short."""
    near = [edge.getConnections(onto), *onto.getOutgoing().values()] if onto.getLength() < 60 else []
    return any(c.getTLSID() for ways in (edge.getConnections(onto), *near) for c in ways)


def has_no_light(net: "sumolib.net.Net", edge: "sumolib.net.edge.Edge", onto: "sumolib.net.edge.Edge") -> bool:
    return not any(c.getTLSID() for c in edge.getConnections(onto))


def enters_ring(net: "sumolib.net.Net", edge: "sumolib.net.edge.Edge", onto: "sumolib.net.edge.Edge") -> bool:
    """Whether the ego comes into a roundabout."""
    rings = {id for ring in net.getRoundabouts() for id in ring.getEdges()}
    return onto.getID() in rings and edge.getID() not in rings


def joins(net: "sumolib.net.Net", edge: "sumolib.net.edge.Edge", onto: "sumolib.net.edge.Edge") -> bool:
    """Whether two lanes of an edge become one without a light."""
    return bool(_joined(edge, onto))


def _joined(edge: "sumolib.net.edge.Edge", onto: "sumolib.net.edge.Edge") -> list[tuple[object, list[int]]]:
    """Lanes of `onto` that more than one car lane of `edge` leads into, with the indices of those."""
    ways = [c for c in edge.getConnections(onto) if c.getFromLane().allows("passenger") and not c.getTLSID()]
    found = [(lane, [c.getFromLane().getIndex() for c in ways if c.getToLane() == lane]) for lane in onto.getLanes()]
    return [(lane, sources) for lane, sources in found if len(sources) > 1]
