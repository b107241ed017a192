"""Street plans of the towns that are drawn by rule: nodes and one-way edges in netconvert's plain XML.

Plan coordinates are metres, x east, y north; an edge's shape is the left border of its lanes (traffic keeps right).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Cell = tuple[int, int]  # column, row of a block plan

LANE_M, PAVEMENT_M = 3.5, 2.5
MOTORWAY_MPS, RAMP_MPS, STREET_MPS = 22.2, 13.9, 13.9
RING_MPS = 8.3
TAPER_M = 90.0  # over which a lane merges into the next one: 1.2 m/s2 to the side at 22 m/s
MEDIAN_M = 5.0  # from the middle of the motorway to its lanes


@dataclass(frozen=True)
class Edge:
    """One direction of a street. `type` ends up in the network: street, roundabout, motorway, on_ramp or off_ramp."""

    id: str
    start: str
    end: str
    lanes: int
    speed_mps: float
    type: str = "street"
    shape: tuple[tuple[float, float], ...] = ()  # with both ends; empty: straight between the nodes
    pavement: bool = True
    lane_m: float = LANE_M

    def xml(self) -> str:
        shape = f' shape="{" ".join(f"{x:.2f},{y:.2f}" for x, y in self.shape)}"' if self.shape else ""
        pavement = f' sidewalkWidth="{PAVEMENT_M}"' if self.pavement else ' disallow="pedestrian bicycle"'
        priority = 9 if self.type in ("roundabout", "motorway") else 3 + self.lanes
        return (
            f'<edge id="{self.id}" from="{self.start}" to="{self.end}" numLanes="{self.lanes}" type="{self.type}"'
            f' speed="{self.speed_mps}" width="{self.lane_m}" priority="{priority}"{shape}{pavement}/>'
        )


@dataclass(frozen=True)
class Plan:
    nodes: Mapping[str, tuple[float, float, str]]  # x, y, SUMO's junction type
    edges: tuple[Edge, ...]
    connections: tuple[tuple[str, str, int, int], ...] = ()  # from and to edge, from and to lane; else netconvert's

    def write(self, folder: Path) -> list[str]:
        """Write the plain files; netconvert's options that read them."""
        nodes = [f'<node id="{id}" x="{x:.2f}" y="{y:.2f}" type="{kind}"/>' for id, (x, y, kind) in self.nodes.items()]
        connections = [
            f'<connection from="{a}" to="{b}" fromLane="{i}" toLane="{j}"/>' for a, b, i, j in self.connections
        ]
        contents = {"nodes": nodes, "edges": [edge.xml() for edge in self.edges], "connections": connections}
        options = []
        for name, lines in contents.items():
            path = folder / f"{name}.xml"
            path.write_text("\n".join([f"<{name}>", *lines, f"</{name}>\n"]))
            options += [f"--{name[:-1]}-files", str(path)]
        return options


def blocks(
    columns_m: tuple[float, ...],
    rows_m: tuple[float, ...],
    seed: int,
    jitter_m: float = 18.0,
    bend_m: float = 0.0,
    column_lanes: Mapping[int, int] | None = None,
    row_lanes: Mapping[int, int] | None = None,
    lights: tuple[Cell, ...] = (),
    roundabouts: Mapping[Cell, float] | None = None,
    closed: tuple[tuple[Cell, Cell], ...] = (),
) -> Plan:
    """Streets around irregular blocks: every node of a grid is moved by up to `jitter_m` in x and y, and every street
    bends by up to `bend_m` to one side.

    Rows and columns have one lane per direction or as many as given; rows of three lanes are faster. A node of
    `roundabouts` becomes a one-way ring of that radius [m]. The streets in `closed` are left out.
    """
    rng = np.random.default_rng(seed)
    lanes = ({} if row_lanes is None else row_lanes, {} if column_lanes is None else column_lanes)
    rings = roundabouts or {}
    xy = {
        (i, j): np.array([x, y]) + rng.uniform(-jitter_m, jitter_m, 2)
        for i, x in enumerate(columns_m)
        for j, y in enumerate(rows_m)
    }
    streets = [
        (a, b, lanes[axis].get(a[1 - axis], 1))
        for a in xy
        for axis, b in enumerate(((a[0] + 1, a[1]), (a[0], a[1] + 1)))
        if b in xy and (a, b) not in closed
    ]
    nodes = {
        _name(cell): (*point, "traffic_light" if cell in lights else "priority")
        for cell, point in xy.items()
        if cell not in rings
    }
    edges = []
    arms: dict[Cell, list[tuple[float, str]]] = {cell: [] for cell in rings}
    for a, b, count in streets:
        ends = []
        for cell, other in ((a, b), (b, a)):
            ends.append(_name(cell))
            if cell in rings:
                angle = float(np.arctan2(*(xy[other] - xy[cell])[::-1]) % (2 * np.pi))
                ends[-1] = f"{_name(cell)}{_name(other)}"
                arms[cell].append((angle, ends[-1]))
                point = xy[cell] + rings[cell] * np.array([np.cos(angle), np.sin(angle)])
                nodes[ends[-1]] = (*point, "priority")
        speed = 16.7 if count > 2 else STREET_MPS if count > 1 else 11.1
        line = _bow(*(np.array(nodes[end][:2]) for end in ends), bend_m * rng.uniform(-1, 1))
        edges += [
            Edge(f"{s}_{e}", s, e, count, speed, shape=tuple(map(tuple, shape)))
            for (s, e), shape in ((ends, line), (ends[::-1], line[::-1]))
        ]
    for cell, radius in rings.items():
        edges += _ring(xy[cell], radius, sorted(arms[cell]))
    return Plan(nodes, tuple(edges))


def _name(cell: Cell) -> str:
    return f"{'abcdefgh'[cell[0]]}{cell[1]}"


def _bow(a: Array, b: Array, height_m: float) -> Array:
    """Parabola (9, 2) from a to b that rises by `height_m` to the left in the middle."""
    t = np.linspace(0, 1, 9)[:, None]
    left = np.array([a[1] - b[1], b[0] - a[0]]) / np.linalg.norm(b - a)
    return a + t * (b - a) + 4 * t * (1 - t) * height_m * left


def _ring(center: Array, radius: float, arms: list[tuple[float, str]]) -> list[Edge]:
    """Counter-clockwise edges between the nodes of a roundabout's arms, each (angle, node)."""
    edges = []
    for (start, a), (end, b) in zip(arms, arms[1:] + arms[:1], strict=True):
        angle = np.linspace(start, end if end > start else end + 2 * np.pi, 13)
        arc = center + radius * np.column_stack([np.cos(angle), np.sin(angle)])
        edges.append(Edge(f"ring_{a}_{b}", a, b, 1, RING_MPS, "roundabout", tuple(map(tuple, arc))))
    return edges


def lengthened(arms: Mapping[str, tuple[tuple, tuple, tuple[float, float]]], lane_m: float, speed_mps: float) -> Plan:
    """Streets that carry the arms of a cut-out network on.

    An arm has a name, the edge that leaves the network and the one that enters it, each as (node at the border,
    number of lanes, x and y of their left border), and the way (dx, dy) from there to the arm's new end.
    """
    nodes, edges = {}, []
    for name, ((leaving, lanes_out, start), (entering, lanes_in, end), way) in arms.items():
        out_end, in_start = np.add(start, way), np.add(end, way)
        nodes[name] = (*(out_end + in_start) / 2, "priority")
        edges += [
            Edge(f"{name}_out", leaving, name, lanes_out, speed_mps, shape=(start, tuple(out_end)), lane_m=lane_m),
            Edge(f"{name}_in", name, entering, lanes_in, speed_mps, shape=(tuple(in_start), end), lane_m=lane_m),
        ]
    return Plan(nodes, tuple(edges))


def motorway(length_m: float, street_m: float) -> Plan:
    """A motorway of two lanes per direction between two junctions, a street on either side, an exit and an entry each.

    `street_m` is from the motorway's middle to the streets. An entry gets a lane of its own for 200 m, which then
    merges into the next one in turn (SUMO's zipper).
    """
    nodes: dict[str, tuple[float, float, str]] = {}
    edges: list[Edge] = []
    connections: list[tuple[str, str, int, int]] = []
    for side, sign in (("s", 1.0), ("n", -1.0)):  # south drives east; north is the same turned by 180 degrees
        _carriageway(side, sign, length_m, street_m, nodes, edges, connections)
    return Plan(nodes, tuple(edges), tuple(connections))


def _carriageway(
    side: str, sign: float, length_m: float, street_m: float, nodes: dict, edges: list[Edge], connections: list
) -> None:
    half = length_m / 2
    begin, end = ("west", "east") if sign > 0 else ("east", "west")
    left = -MEDIAN_M  # y of the left border of the lanes
    ramp = left - 2 * LANE_M  # the same of the third lane
    places = {
        begin: (-half, 0.0, "traffic_light"), f"{side}_exit": (150 - half, left, "priority"),
        f"{side}_entry": (530 - half, left, "priority"), f"{side}_zip": (750 - half, left, "zipper"),
        f"{side}_slow": (length_m - 130 - half, left, "priority"), f"{side}_down": (285 - half, -street_m, "priority"),
        f"{side}_up": (375 - half, -street_m, "priority"), f"{side}{begin}": (-half, -street_m, "priority"),
        f"{side}{end}": (half, -street_m, "priority"),
    }  # fmt: skip
    nodes.update({id: (sign * x, sign * y, kind) for id, (x, y, kind) in places.items()})

    def add(start: str, stop: str, lanes: int, speed_mps: float, kind: str, *shape: tuple[float, float]) -> str:
        turned = tuple((sign * x, sign * y) for x, y in shape)
        edges.append(Edge(f"{start}_{stop}", start, stop, lanes, speed_mps, kind, turned, kind == "street"))
        return edges[-1].id

    x = {name: places[f"{side}_{name}"][0] for name in ("exit", "entry", "zip", "slow", "down", "up")}
    taper = (x["zip"] - TAPER_M / 2, left), (x["zip"] + TAPER_M / 2, left)
    road = [
        add(begin, f"{side}_exit", 2, MOTORWAY_MPS, "motorway", (-half, left), (x["exit"], left)),
        add(f"{side}_exit", f"{side}_entry", 2, MOTORWAY_MPS, "motorway"),
        add(f"{side}_entry", f"{side}_zip", 3, MOTORWAY_MPS, "motorway", (x["entry"], left), taper[0]),
        add(f"{side}_zip", f"{side}_slow", 2, MOTORWAY_MPS, "motorway", taper[1], (x["slow"], left)),
    ]
    add(f"{side}_slow", end, 2, STREET_MPS, "motorway", (x["slow"], left), (half, left))
    off = add(f"{side}_exit", f"{side}_down", 1, RAMP_MPS, "off_ramp", *_bezier(
        (x["exit"], left - LANE_M), (x["exit"] + 60, left - LANE_M), (x["down"] - 35, 25 - street_m),
        (x["down"], -street_m)))  # fmt: skip
    on = add(f"{side}_up", f"{side}_entry", 1, RAMP_MPS, "on_ramp", *_bezier(
        (x["up"], -street_m), (x["up"] + 35, 25 - street_m), (x["entry"] - 70, ramp), (x["entry"], ramp)))  # fmt: skip
    connections += [(road[0], road[1], lane, lane) for lane in (0, 1)] + [(road[0], off, 0, 0)]
    connections += [(road[1], road[2], 0, 1), (road[1], road[2], 1, 2), (on, road[2], 0, 0)]
    connections += [(road[2], road[3], lane, max(lane - 1, 0)) for lane in range(3)]
    street = [f"{side}{begin}", f"{side}_down", f"{side}_up", f"{side}{end}"]
    for a, b in zip(street, street[1:], strict=False):
        add(a, b, 1, STREET_MPS, "street"), add(b, a, 1, STREET_MPS, "street")
    add(f"{side}{begin}", begin, 1, STREET_MPS, "street"), add(begin, f"{side}{begin}", 1, STREET_MPS, "street")
    add(f"{side}{end}", end, 1, STREET_MPS, "street"), add(end, f"{side}{end}", 1, STREET_MPS, "street")


def _bezier(a: tuple, b: tuple, c: tuple, d: tuple) -> list[tuple[float, float]]:
    t = np.linspace(0, 1, 13)[:, None]
    points = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    return [(float(x), float(y)) for x, y in points]
