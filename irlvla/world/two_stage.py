"""Second-stage scenes: what would have followed other plans of a recorded scene.

From the recorded present t0 the ego drives another plan for 4 s (faster, slower, to the side, towards the oncoming
lane, to the kerb); the traffic of the same seed reacts. A follow-up scene starts at t0 + 4.0 s, its predecessor at
t0 + 3.5 s. Then a simple driver brings the ego back to the recorded path, so that 8 future frames exist.

    t0         2.0   2.5        3.5   4.0                      8.0 s
    |--plan-----|-----|----------|-----|----driver back---------|
                [history of predecessor, now)  [future ...........]
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator

from irlvla import PLAN_POSES, vehicle
from irlvla.geometry import Array, box_corners, wrap_angle
from irlvla.scenes.town_map import TownMap
from irlvla.world.expert import ACCELERATION, STEP_S, Track
from irlvla.world.isolation import isolated
from irlvla.world.simulation import STEPS_PER_FRAME, Agents, Frame, Simulation

PLAN_STEPS = PLAN_POSES * STEPS_PER_FRAME  # until the follow-up starts
FOLLOW_UPS = 4
FIRST_FRAME = (PLAN_POSES - 4) * STEPS_PER_FRAME  # 2.0 s after t0: oldest history frame of the predecessor
RETURN_M = 14.0  # shortest way back to the recorded path
MIN_SPEED_MPS = 3.0
JERK = 3.0  # [m/s3]
HEADWAY_S, GAP_M, BRAKE, SIDE_M = 1.4, 2.5, 2.0, 1.9  # the simple driver: intelligent driver model, half corridor


@dataclass(frozen=True)
class Variant:
    """Another plan: end offset to the left, share of the speed kept, heading at the end relative to the path."""

    name: str
    left_m: float = 0.0
    speed: float = 1.0
    heading_rad: float = 0.0


VARIANTS = (
    Variant("slower", 0.0, 0.6),
    Variant("left", 0.9, 0.95, 0.04),
    Variant("faster", 0.0, 1.2),
    Variant("right", -0.8, 0.95, -0.04),
    Variant("oncoming", 3.3, 0.85, 0.05),
    Variant("kerb", -1.6, 0.8, -0.08),
    Variant("nearly_stopped", 0.0, 0.2),
    Variant("askew", 0.4, 0.9, 0.12),
)


@dataclass(frozen=True)
class Line:
    """The recorded path by distance, with the way back of a variant: left offset is a quintic in distance."""

    distance: Array
    poses: Array  # (P, 3), heading unwrapped
    begin_m: float
    turn_m: float  # where the variant's offset is reached
    end_m: float  # where the path is reached again
    out: Array  # coefficients of both quintics, in their own distance from 0
    back: Array

    def pose(self, s: float) -> Array:
        base = np.array([np.interp(s, self.distance, column) for column in self.poses.T])
        along, coefficients = (s - self.begin_m, self.out) if s < self.turn_m else (s - self.turn_m, self.back)
        left = slope = 0.0
        if s < self.end_m:
            left = np.polynomial.polynomial.polyval(along, coefficients)
            slope = np.polynomial.polynomial.polyval(along, np.polynomial.polynomial.polyder(coefficients))
        normal = np.array([-np.sin(base[2]), np.cos(base[2])])
        return np.array([*(base[:2] + left * normal), base[2] + np.arctan(slope)])


def _quintic(length: float, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Coefficients (6,) of offset over 0 ... length with (offset, slope) at both ends and no curvature there."""
    powers = np.arange(6)
    rows = [np.zeros(6) for _ in range(6)]
    for row, x in ((0, 0.0), (3, length)):
        rows[row] = x**powers
        rows[row + 1] = powers * x ** np.maximum(powers - 1, 0)
        rows[row + 2] = powers * (powers - 1) * x ** np.maximum(powers - 2, 0)
    return np.linalg.solve(np.array(rows), [start[0], start[1], 0.0, end[0], end[1], 0.0])


def _line(track: Track, k: int, variant: Variant, left_m: float) -> tuple[Line, Array]:
    """Line of a variant that starts at state k of the track, and the planned distance (PLAN_STEPS + 1,) along it."""
    moved = np.append(0, np.cumsum(np.linalg.norm(np.diff(track.poses[:, :2], axis=0), axis=1)))
    keep = np.append(True, np.diff(moved) > 1e-6)
    distance, poses = moved[keep], track.poses[keep]
    t = np.linspace(0, 1, PLAN_STEPS + 1)
    recorded = moved[k : k + PLAN_STEPS + 1] - moved[k]
    blend = t**3 * (10 - 15 * t + 6 * t**2)
    change = (variant.speed - 1.0) * np.cumsum(blend * np.gradient(recorded))
    planned = moved[k] + np.maximum.accumulate(recorded + change)
    turn = planned[-1]
    back = max(RETURN_M, 3.0 * (planned[-1] - planned[-11]))
    slope = np.tan(variant.heading_rad)
    line = Line(
        distance, poses, moved[k], turn, turn + back,
        _quintic(max(turn - moved[k], 1.0), (0.0, 0.0), (left_m, slope)), _quintic(back, (left_m, slope), (0.0, 0.0)),
    )  # fmt: skip
    return line, planned


def follow_ups(
    simulation: Simulation,
    act: Callable[[Simulation], None],
    track: Track,
    k: int,
    rng: Generator,
    on_road: shapely.Geometry,
) -> dict[str, list[Frame]]:
    """Frames from t0 + 2.0 s to t0 + 8.0 s (13) of FOLLOW_UPS variants, by name.

    The simulation stands at state k of the track, `act` is what the script does before a step; every variant runs in a
    fork of this process. The first variant is
    near the recorded end, the others are drawn. `on_road` is the drivable area. Fewer are returned if fewer work.
    """
    nearby = Variant("near", *rng.uniform((-0.3, 0.95, -0.02), (0.3, 1.05, 0.02)))
    order = [nearby, *(VARIANTS[i] for i in rng.permutation(len(VARIANTS)))]
    found: dict[str, list[Frame]] = {}
    for variant in order:
        frames = isolated(_follow, simulation, act, track, k, variant, on_road)
        if isinstance(frames, list):
            found[variant.name] = frames
        if len(found) == FOLLOW_UPS:
            break
    return found


def _follow(
    simulation: Simulation, act: Callable, track: Track, k: int, variant: Variant, on_road: shapely.Geometry
) -> list[Frame] | str:
    """13 frames of one variant, or why it does not work here."""
    for share in (1.0, 0.5, 0.25):  # the start must be on the road: where it is narrow, a smaller offset
        line, planned = _line(track, k, variant, share * variant.left_m)
        starts = [line.pose(s) for s in (planned[-1], planned[-1 - STEPS_PER_FRAME])]
        if all(on_road.contains(ego_box(pose)) for pose in starts):
            break
    else:
        return "off the road"
    if planned[-1] + 30 > line.distance[-1] and variant.speed > 1:
        return "the recorded path is too short"
    return _run(simulation, act, line, planned, float(track.speed_mps[k]))


def _run(simulation: Simulation, act: Callable, line: Line, planned: Array, speed_start: float) -> list[Frame] | str:
    frames: list[Frame] = []
    s, v, a = planned[0], speed_start, 0.0
    cruise = max(speed_start, 6.0)
    last_pose, last_v = line.pose(s), speed_start
    for step in range(1, 2 * PLAN_STEPS + 1):
        if step <= PLAN_STEPS:
            before, s = s, float(planned[step])
            a, v = ((s - before) / STEP_S - v) / STEP_S, (s - before) / STEP_S
            a = float(np.clip(a, *ACCELERATION))
        else:
            wanted = _idm(simulation, line, s, v, cruise)
            a = float(np.clip(wanted, a - JERK * STEP_S, a + JERK * STEP_S))
            v = max(v + a * STEP_S, 0.0)
            s = min(s + v * STEP_S, line.distance[-1] - 0.5)
        pose = line.pose(s)
        act(simulation)
        simulation.place_ego(pose)
        simulation.step()
        speed = float(np.linalg.norm(pose[:2] - last_pose[:2])) / STEP_S
        if step >= FIRST_FRAME and _contact(pose, simulation.agents(pose[:2], 20.0)):
            return "contact"
        if step >= FIRST_FRAME and step % STEPS_PER_FRAME == 0:
            turning = speed * wrap_angle(pose[2] - last_pose[2]) / STEP_S
            acceleration = np.array([np.clip((speed - last_v) / STEP_S, -4, 3), turning])
            frames.append(simulation.frame(pose, np.array([speed, 0.0]), acceleration))
        last_pose, last_v = pose, speed
    return frames


def ego_box(pose: Array) -> shapely.Polygon:
    """The ego's outline with its rear axle at `pose` (3,)."""
    center = pose[:2] + vehicle.REAR_AXLE_TO_CENTER_M * np.array([np.cos(pose[2]), np.sin(pose[2])])
    return shapely.Polygon(box_corners(np.array([*center, pose[2]]), vehicle.LENGTH_M, vehicle.WIDTH_M))


def _contact(pose: Array, agents: Agents) -> bool:
    boxes = shapely.polygons(box_corners(agents.poses, agents.size_m[:, 0], agents.size_m[:, 1]))
    return bool(np.any(shapely.dwithin(boxes, ego_box(pose), 0.1)))


def _idm(simulation: Simulation, line: Line, s: float, v: float, cruise_mps: float) -> float:
    """Acceleration behind whatever is nearest ahead on the line: a road user, a red light, the line's end."""
    pose = line.pose(s)
    gaps = [(line.distance[-1] - s - vehicle.REAR_AXLE_TO_FRONT_M, 0.0)]
    agents = simulation.agents(pose[:2], 60.0)
    ahead = np.arange(s, min(s + 55.0, line.distance[-1]), 1.0)
    points = np.array([line.pose(x)[:2] for x in ahead])
    if len(points):
        apart = np.linalg.norm(agents.poses[:, None, :2] - points, axis=-1)
        for row, size, velocity in zip(apart, agents.size_m, agents.velocity_mps, strict=True):
            j = int(row.argmin())
            if row[j] < SIDE_M + (0.5 if size[0] < 1 else 0.0) and ahead[j] > s + 1.5:
                heading = line.pose(ahead[j])[2]
                along = float(velocity @ [np.cos(heading), np.sin(heading)])
                gaps.append((ahead[j] - s - size[0] / 2 - vehicle.REAR_AXLE_TO_FRONT_M, max(along, 0.0)))
        gaps += _red_lines(simulation, points, ahead, s)
    gap, lead = min(gaps)
    gap = max(gap - 0.5, 0.3)
    want = GAP_M + max(v * HEADWAY_S + v * (v - lead) / (2 * np.sqrt(-ACCELERATION[0] * BRAKE / 2)), 0.0)
    return float(np.clip(1.5 * (1 - (v / cruise_mps) ** 4 - (want / gap) ** 2), *ACCELERATION))


def _red_lines(simulation: Simulation, points: Array, ahead: Array, s: float) -> list[tuple[float, float]]:
    """Gap to the stop lines of red connectors of the route that the line passes."""
    on_route = set(simulation.route.lane_ids)
    gaps = []
    for id, red in simulation.lights(points[0]):
        if red and id in on_route:
            apart = np.linalg.norm(points - simulation.town_map.lanes[id].centerline[0, :2], axis=1)
            j = int(apart.argmin())
            gap = ahead[j] - s - vehicle.REAR_AXLE_TO_FRONT_M
            if apart[j] < 3.0 and gap > -1.0:
                gaps.append((gap, 0.0))
    return gaps


def drivable_area(town_map: TownMap, center: Array, radius_m: float = 120.0) -> shapely.Geometry:
    """Union of roadblocks and intersections around a place."""
    parts = []
    for name in ("ROADBLOCK", "INTERSECTION"):
        layer = town_map.layers[name]
        parts.extend(layer.polygons[layer.near(center, radius_m)])
    return shapely.union_all(parts)


def first_stage_frame(track: Track, lead_in: int, frames: int, rng: Generator) -> int | None:
    """Index of a frame with room for both stages where the ego moves; None if there is none."""
    states = lead_in + STEPS_PER_FRAME * np.arange(frames)
    fits = np.arange(4, frames - 2 * PLAN_POSES - 1)
    ends = states[fits] + PLAN_STEPS
    good = fits[(track.speed_mps[states[fits]] > MIN_SPEED_MPS) & (track.speed_mps[ends] > 1.0)]
    return int(good[rng.integers(len(good))]) if len(good) else None
