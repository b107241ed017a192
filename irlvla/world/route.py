"""The way ahead: lanes along a sequence of roadblocks, and the driving command that follows from them."""

import numpy as np
from numpy.typing import NDArray

from irlvla.geometry import Array, local_from_global
from irlvla.scenes.town_map import TownMap

COMMAND_DISTANCE_M = 20.0
COMMAND_SIDE_M = 2.0


class Route:
    """Roadblocks in driving order, with one line (P, 3) of lanes and connectors through them."""

    def __init__(self, town_map: TownMap, roadblock_ids: tuple[str, ...], near: Array) -> None:
        self.roadblock_ids = roadblock_ids
        self.lane_ids = _lane_sequence(town_map, roadblock_ids, near)
        self.line = np.concatenate([town_map.lanes[id].centerline for id in self.lane_ids])
        steps = np.linalg.norm(np.diff(self.line[:, :2], axis=0), axis=1)
        self.distance = np.append(0, np.cumsum(steps))

    def nearest(self, pose: Array) -> int:
        """Index of the vertex nearest to `pose` that does not point against it."""
        gap = np.linalg.norm(self.line[:, :2] - pose[:2], axis=1)
        against = np.cos(self.line[:, 2] - pose[2]) < 0
        return int(np.argmin(gap + 50.0 * against))

    def command(self, pose: Array) -> NDArray[np.int64]:
        """(4,) one-hot over COMMANDS: the route's side 20 m ahead; unknown where the route ends or is far away."""
        here = self.nearest(pose)
        ahead = int(np.searchsorted(self.distance, self.distance[here] + COMMAND_DISTANCE_M))
        if ahead >= len(self.line) or np.linalg.norm(self.line[here, :2] - pose[:2]) > 15:
            return np.array([0, 0, 0, 1])
        y = local_from_global(pose, self.line[ahead])[1]
        return np.array(
            [y >= COMMAND_SIDE_M, -COMMAND_SIDE_M < y < COMMAND_SIDE_M, y <= -COMMAND_SIDE_M, False]
        ).astype(int)


def _lane_sequence(town_map: TownMap, roadblock_ids: tuple[str, ...], near: Array) -> list[str]:
    """Lanes through all roadblocks: from the lane nearest to `near` if it leads on, changing lanes where none does."""
    reach = {id: 0 for id in town_map.roadblock_lanes[roadblock_ids[-1]]}  # how many blocks a lane leads on for
    for block in reversed(roadblock_ids[:-1]):
        for id in town_map.roadblock_lanes[block]:
            ahead = [reach[s] + 1 for s in town_map.lanes[id].successors if s in reach]
            reach[id] = max(ahead, default=0)

    def key(id: str) -> tuple[float, float]:
        line = town_map.lanes[id].centerline
        return -min(reach[id], 4), float(np.min(np.linalg.norm(line[:, :2] - near[:2], axis=1)))

    sequence = [min(town_map.roadblock_lanes[roadblock_ids[0]], key=key)]
    for block in roadblock_ids[1:]:
        on = [s for s in town_map.lanes[sequence[-1]].successors if s in town_map.roadblock_lanes[block]]
        options = on or town_map.roadblock_lanes[block]
        near = town_map.lanes[sequence[-1]].centerline[-1]
        sequence.append(min(options, key=key))
    return sequence
