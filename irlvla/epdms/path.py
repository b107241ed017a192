"""A path: poses joined by straight pieces, addressed by the distance along it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.ops import substring

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    poses: Array  # (P, 3) x, y, heading, global frame

    @cached_property
    def progress_m(self) -> Array:
        """(P,) distance of every vertex from the start."""
        return np.append(0.0, np.cumsum(np.linalg.norm(np.diff(self.poses[:, :2], axis=0), axis=1)))

    @cached_property
    def line(self) -> shapely.LineString:
        return shapely.linestrings(self.poses[:, :2])

    @cached_property
    def _headings(self) -> Array:
        return np.unwrap(self.poses[:, 2])

    @property
    def length_m(self) -> float:
        return float(self.progress_m[-1])

    def shifted(self, offset_m: float) -> "Path":
        """The path with every vertex moved to its left, headings kept."""
        angle = self.poses[:, 2] + np.pi / 2
        moved = self.poses[:, :2] + offset_m * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return Path(np.column_stack([moved, self.poses[:, 2]]))

    def at(self, progress_m: Array) -> Array:
        """Poses (..., 3) at distances (...), which are clamped to [0, length]; headings wrapped."""
        x, y, heading = (
            np.interp(progress_m, self.progress_m, column)
            for column in (self.poses[:, 0], self.poses[:, 1], self._headings)
        )
        return np.stack([x, y, np.arctan2(np.sin(heading), np.cos(heading))], axis=-1)

    def between(self, start_m: float, end_m: float) -> shapely.LineString:
        """The line over the vertices between two distances, or exactly between them where that is a single vertex."""
        start_m, end_m = np.clip([start_m, end_m], 0.0, self.length_m)
        inside = (start_m <= self.progress_m) & (self.progress_m <= end_m)
        if inside.sum() > 1:
            return shapely.LineString(self.poses[inside, :2])
        return substring(self.line, start_m, end_m)
