"""Second-stage scenes: what would have followed other plans of a recorded scene.

From the recorded present t0 the ego drives another plan for 4 s (faster, slower, to the side, into the oncoming
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
from irlvla.world.detour import Detour, detour, travelled
from irlvla.world.expert import ACCELERATION, STEP_S, Track
from irlvla.world.export import log_frames
from irlvla.world.isolation import isolated
from irlvla.world.quality import human_scores
from irlvla.world.simulation import STEPS_PER_FRAME, Agents, Frame, Simulation

PLAN_STEPS = PLAN_POSES * STEPS_PER_FRAME  # until the follow-up starts
FOLLOW_UPS = 4
FIRST_FRAME = (PLAN_POSES - 4) * STEPS_PER_FRAME  # 2.0 s after t0: oldest history frame of the predecessor
MIN_SPEED_MPS = 3.0
AHEAD_M = 15.0  # of recorded path that should be left when a follow-up ends
JERK = 3.0  # [m/s3]
HEADWAY_S, GAP_M, BRAKE, SIDE_M = 1.4, 2.5, 2.0, 1.9  # the simple driver: intelligent driver model, half corridor
CRUISE_MPS = 6.0  # or the speed at t0 if that is higher
CONTACT_M = 0.1

# What the way back must do without fault in both scenes of a pair. Lane keeping is not among them: EPDMS wants the
# ego within 0.5 m of the centre line after 2 s, which from an oncoming lane only a swerve does.
FAULTLESS = (
    "no_at_fault_collisions", "drivable_area_compliance", "traffic_light_compliance",
    "time_to_collision_within_bound", "history_comfort",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """Another plan: end offset to the left, share of the speed kept, heading at the end relative to the path.

    The offsets are tried in this order until one is on the road.
    """

    name: str
    lefts_m: tuple[float, ...] = (0.0,)
    speed: float = 1.0
    heading_rad: float = 0.0


ALONG = (Variant("slower", speed=0.65), Variant("faster", speed=1.25), Variant("nearly_stopped", speed=0.2))
ACROSS = (
    Variant("left", (0.9, 0.6), 0.95, 0.04),
    Variant("right", (-0.8, -0.5), 0.95, -0.04),
    Variant("askew", (0.4, 0.2), 0.9, 0.12),
)
ONCOMING = Variant("oncoming", (3.3, 2.8, 3.8, 2.4, 4.3), 0.85, 0.05)
KERB = Variant("kerb", tuple(-np.arange(2.4, 0.3, -0.15)), 0.8)
FAILURES = (ONCOMING, KERB)


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
    fork of this process. The first variant is near the recorded end, then comes one of ALONG, of ACROSS and of
    FAILURES, drawn and scaled at random; others fill the places of those that do not work. `on_road` is the drivable
    area. Fewer are returned if fewer work.
    """
    shapely.prepare(on_road)
    near = Variant("near", (rng.uniform(-0.2, 0.2),), rng.uniform(0.97, 1.03), rng.uniform(-0.02, 0.02))
    kinds = [[near]]
    for kind in (ALONG, ACROSS, FAILURES):
        kinds.append([kind[i] for i in rng.permutation(len(kind))])
    shares = rng.uniform(0.7, 1.0, size=2)
    kinds[1:3] = [[_scaled(v, share) for v in kind] for kind, share in zip(kinds[1:3], shares, strict=True)]
    found: dict[str, list[Frame]] = {}

    def works(variant: Variant) -> bool:
        frames = isolated(_follow, simulation, act, track, k, variant, on_road)
        if isinstance(frames, list):
            found[variant.name] = frames
        return isinstance(frames, list)

    spare: list[Variant] = []
    for kind in kinds:
        waiting = iter(kind)
        if not any(works(variant) for variant in waiting) and kind[0] is near:
            return {}
        spare += waiting
    for variant in spare:
        if len(found) < FOLLOW_UPS:
            works(variant)
    return found


def _scaled(variant: Variant, share: float) -> Variant:
    lefts = tuple(share * left for left in variant.lefts_m)
    return Variant(variant.name, lefts, 1 + share * (variant.speed - 1), share * variant.heading_rad)


def _follow(
    simulation: Simulation, act: Callable, track: Track, k: int, variant: Variant, on_road: shapely.Geometry
) -> list[Frame] | str:
    """13 frames of one variant, or why it does not work here."""
    planned, cruise = _planned(track, k, variant.speed), max(float(track.speed_mps[k]), CRUISE_MPS)
    way = _way(track, planned, cruise, variant, simulation.town_map, on_road)
    if isinstance(way, str):
        return way
    frames = _run(simulation, act, way, planned, float(track.speed_mps[k]), cruise)
    return frames if isinstance(frames, str) else _fault(frames, simulation) or frames


def _planned(track: Track, k: int, speed: float) -> Array:
    """(PLAN_STEPS + 1,) distance along the track from its state k on, gradually at another share of its speed."""
    moved = travelled(track)[k : k + PLAN_STEPS + 1]
    t = np.linspace(0, 1, PLAN_STEPS + 1)
    blend = t**3 * (10 - 15 * t + 6 * t**2)
    change = (speed - 1.0) * np.cumsum(blend * np.gradient(moved - moved[0]))
    return np.maximum.accumulate(moved + change)


def _way(
    track: Track, planned: Array, cruise_mps: float, variant: Variant, town_map: TownMap, on_road: shapely.Geometry
) -> Detour | str:
    """The detour of a variant with the first of its offsets that is what its name says; or why there is none."""
    speed = (cruise_mps + (planned[-1] - planned[-11])) / 2  # on the way back; the plan's last second
    for number, left_m in enumerate(variant.lefts_m):
        way = detour(track, planned[0], planned[-1], left_m, variant.heading_rad, speed)
        poses = [way.pose(s) for s in planned[FIRST_FRAME::STEPS_PER_FRAME]]
        if not all(on_road.contains(ego_box(pose)) for pose in poses):
            continue
        if variant.name == KERB.name and number == 0:
            return "no kerb near"
        if variant.name != ONCOMING.name or _against_traffic(poses[-1], town_map):
            return way
    return "off the road"


def _against_traffic(pose: Array, town_map: TownMap) -> bool:
    """Whether the middle of an ego at `pose` (3,) is on a lane of the other direction."""
    middle, layer = ego_box(pose).centroid, town_map.layers["LANE"]
    lanes = [town_map.lanes[layer.ids[i]] for i in layer.near(np.array([middle.x, middle.y]), 0.0)]
    nearest = [np.argmin(np.linalg.norm(lane.centerline[:, :2] - pose[:2], axis=1)) for lane in lanes]
    headings = np.array([lane.centerline[i, 2] for lane, i in zip(lanes, nearest, strict=True)])
    return bool(np.any(np.cos(headings - pose[2]) < -0.7))


def _fault(frames: list[Frame], simulation: Simulation) -> str | None:
    """What the driver back gets wrong in one of both scenes; None if nothing."""
    log = log_frames("follow-up", 0, simulation.town_map.name, simulation.route.roadblock_ids, frames)
    for window in (log[:-1], log[1:]):
        scores = human_scores(window, simulation.town_map)
        for name in FAULTLESS:
            if scores[name] < 1:
                return f"{name} of the way back is {scores[name]:.2f}"
    return None


def _run(
    simulation: Simulation, act: Callable, way: Detour, planned: Array, speed_start: float, cruise: float
) -> list[Frame] | str:
    """Drive the plan, then the way back; or the contact that ends it."""
    frames: list[Frame] = []
    s, v, a = planned[0], speed_start, 0.0
    last_pose, last_v = way.pose(s), speed_start
    for step in range(1, 2 * PLAN_STEPS + 1):
        if step <= PLAN_STEPS:
            before, s = s, float(planned[step])
            a, v = ((s - before) / STEP_S - v) / STEP_S, (s - before) / STEP_S
            a = float(np.clip(a, *ACCELERATION))
        else:
            wanted = _idm(simulation, way, s, v, min(cruise, way.limit(s)))
            a = float(np.clip(wanted, a - JERK * STEP_S, a + JERK * STEP_S))
            v = max(v + a * STEP_S, 0.0)
            s = min(s + v * STEP_S, way.distance[-1] - 0.5)
        pose = way.pose(s)
        act(simulation)
        simulation.place_ego(pose)
        simulation.step()
        speed = float(np.linalg.norm(pose[:2] - last_pose[:2])) / STEP_S
        if _contact(pose, simulation.agents(pose[:2], 20.0)):
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
    return bool(np.any(shapely.dwithin(boxes, ego_box(pose), CONTACT_M)))


def _idm(simulation: Simulation, way: Detour, s: float, v: float, cruise_mps: float) -> float:
    """Acceleration behind whatever is nearest ahead on the line: a road user, a red light, the line's end."""
    pose = way.pose(s)
    gaps = [(way.distance[-1] - s - vehicle.REAR_AXLE_TO_FRONT_M, 0.0)]
    agents = simulation.agents(pose[:2], 60.0)
    ahead = np.arange(s, min(s + 55.0, way.distance[-1]), 1.0)
    points = np.array([way.pose(x)[:2] for x in ahead])
    if len(points):
        apart = np.linalg.norm(agents.poses[:, None, :2] - points, axis=-1)
        for row, size, velocity in zip(apart, agents.size_m, agents.velocity_mps, strict=True):
            j = int(row.argmin())
            if row[j] < SIDE_M + (0.5 if size[0] < 1 else 0.0) and ahead[j] > s + 1.5:
                heading = way.pose(ahead[j])[2]
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
    """Index of a frame with room for both stages where the ego moves; None if there is none.

    Where possible so much of the path is left that a faster plan and its way back stay on it.
    """
    states = lead_in + STEPS_PER_FRAME * np.arange(frames)
    fits = np.arange(4, frames - 2 * PLAN_POSES - 1)
    ends, moved = states[fits] + PLAN_STEPS, travelled(track)
    moves = (track.speed_mps[states[fits]] > MIN_SPEED_MPS) & (track.speed_mps[ends] > 1.0)
    further = PLAN_STEPS * STEP_S * np.maximum(track.speed_mps[states[fits]], CRUISE_MPS)
    roomy = moves & (moved[ends] + 1.2 * further + AHEAD_M < moved[-1])
    good = fits[roomy] if roomy.any() else fits[moves]
    return int(good[rng.integers(len(good))]) if len(good) else None
