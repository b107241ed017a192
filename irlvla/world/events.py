"""What a log shows: the questions that a scenario asks of the frames of its log."""

from collections.abc import Iterator, Sequence

import numpy as np

from irlvla import vehicle
from irlvla.geometry import Array, local_from_global
from irlvla.world.simulation import Frame

STANDING_MPS = 0.3
LANE_HALF_M = 1.6


def speeds(frames: Sequence[Frame]) -> Array:
    """(F,) of the ego [m/s]."""
    return np.array([frame.ego_velocity_mps[0] for frame in frames])


def seen(frames: Sequence[Frame], id: str) -> Iterator[tuple[Frame, float, float, float]]:
    """(frame, gap ahead of the ego's front [m], offset to the left [m], speed [m/s]) wherever an agent is recorded."""
    for frame in frames:
        if id in frame.agents.ids:
            k = frame.agents.ids.index(id)
            x, y, _ = local_from_global(frame.ego_pose, frame.agents.poses[k])
            gap = x - vehicle.REAR_AXLE_TO_FRONT_M - frame.agents.size_m[k, 0] / 2
            yield frame, float(gap), float(y), float(np.hypot(*frame.agents.velocity_mps[k]))


def follows(frames: Sequence[Frame], id: str, within_m: float, below_mps: float, moments: int) -> bool:
    """Whether an agent that is no faster than `below_mps` is ahead in the ego's lane at so many moments."""
    rows = seen(frames, id)
    return sum(0 < gap < within_m and abs(y) < LANE_HALF_M and v <= below_mps for _, gap, y, v in rows) >= moments


def is_close(frames: Sequence[Frame], id: str) -> bool:
    """Whether an agent ends up in the ego's lane less than 30 m ahead or behind."""
    rows = [(gap, abs(y)) for _, gap, y, _ in seen(frames, id)]
    return any(y < LANE_HALF_M and abs(gap + vehicle.LENGTH_M / 2) < 30 for gap, y in rows)


def brakes_hard(frames: Sequence[Frame], least_mps2: float) -> bool:
    """Whether the ego's speed falls by `least_mps2` at least within one second."""
    v = speeds(frames)
    return bool((v[:-2] - v[2:]).max() >= least_mps2)


def brakes_for(frames: Sequence[Frame], id: str) -> bool:
    """Whether the ego brakes or waits while someone is on its way, less than 25 m ahead."""
    return any(
        -1 < gap < 25 and abs(y) < 2.5 and (frame.ego_acceleration_mps2[0] < -1.0 or frame.ego_velocity_mps[0] < 1.0)
        for frame, gap, y, _ in seen(frames, id)
    )


def cuts_in(frames: Sequence[Frame], id: str) -> bool:
    """Whether an agent comes from the next lane to less than 18 m ahead of the ego."""
    rows = [(gap, abs(y)) for _, gap, y, _ in seen(frames, id)]
    beside = [i for i, (gap, y) in enumerate(rows) if y > 2.2]
    before = [i for i, (gap, y) in enumerate(rows) if y < 1.2 and 0 < gap < 18]
    return bool(beside and before) and beside[0] < before[-1]


def goes_around(frames: Sequence[Frame], id: str, beside_m: float) -> bool:
    """Whether something stands well ahead of the ego, then beside it, its middle at least so far from the ego's."""
    rows = [(gap, y) for _, gap, y, _ in seen(frames, id)]
    beside = [abs(y) for gap, y in rows if -vehicle.LENGTH_M - 3 < gap < 0]
    return any(gap > 12 for gap, _ in rows) and bool(beside) and min(beside) >= beside_m


def stands_at_red(frames: Sequence[Frame], connector: str) -> Array:
    """(F,) whether the ego stands while the light over its way, a lane connector, is red."""
    red = np.array([dict(frame.lights).get(connector, False) for frame in frames])
    return red & (speeds(frames) < STANDING_MPS)


def drives_along(frames: Sequence[Frame], line: Array, moments: int) -> bool:
    """Whether the ego is within 3 m of a line (P, 2), global, at so many moments."""
    centers = np.array([frame.ego_pose[:2] for frame in frames])
    apart = np.linalg.norm(centers[:, None] - line, axis=-1).min(axis=1)
    return int((apart < 3.0).sum()) >= moments
