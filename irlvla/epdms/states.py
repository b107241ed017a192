"""Columns of an ego state, the ego's box, and the form of a verdict: what the sub-scores share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irlvla import vehicle

Array = NDArray[np.float64]

NUM_STATES = 41  # scoring grid, t = 0 ... 4 s
STEP_S = 0.1

# Global rear-axle pose; velocity and acceleration in body axes at the rear axle; front wheel; body rotation.
X, Y, HEADING, VX, VY, AX, AY, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = range(11)
NUM_COLUMNS = 11


def check(name: str, array: Array, shape: tuple[int | None, ...]) -> Array:
    """`array` as float64.

    Raises ValueError naming the field if its shape is not `shape` (None: any size) or a value is not finite.
    """
    array = np.asarray(array, dtype=np.float64)
    if array.ndim != len(shape) or any(w not in (None, g) for w, g in zip(shape, array.shape, strict=True)):
        wanted = tuple("any" if size is None else size for size in shape)
        raise ValueError(f"{name}: shape {array.shape}, expected {wanted}")
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: not finite at index {first}: {array[first]}")
    return array


def box_corners(centers: Array, headings: Array, lengths_m: Array, widths_m: Array) -> Array:
    """Corners (..., 4, 2) of boxes at `centers` (..., 2): front left, rear left, rear right, front right.

    Contact of boxes is decided exactly on these numbers, so the order of operations follows nuPlan's:
    centre + (lateral part + longitudinal part), the lateral direction being heading + pi / 2.
    """
    ahead = np.stack([np.cos(headings), np.sin(headings)], axis=-1)[..., None, :]
    left = np.stack([np.cos(headings + np.pi / 2), np.sin(headings + np.pi / 2)], axis=-1)[..., None, :]
    half_length = np.asarray(lengths_m)[..., None, None] / 2 * np.array([1.0, -1.0, -1.0, 1.0])[:, None]
    half_width = np.asarray(widths_m)[..., None, None] / 2 * np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    return centers[..., None, :] + (half_width * left + half_length * ahead)


@dataclass(frozen=True)
class EgoBoxes:
    """Boxes of ego states (..., 11), global frame."""

    centers: Array  # (..., 2)
    corners: Array  # (..., 4, 2) in the order of `box_corners`

    @classmethod
    def from_states(cls, states: Array) -> "EgoBoxes":
        heading = states[..., HEADING]
        ahead = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        centers = states[..., [X, Y]] + vehicle.REAR_AXLE_TO_CENTER_M * ahead
        return cls(centers, box_corners(centers, heading, vehicle.LENGTH_M, vehicle.WIDTH_M))


@dataclass(frozen=True)
class Verdict:
    """A sub-score of N plans, and where it was first lost."""

    score: Array  # (N,)
    step: NDArray[np.int64]  # (N,) state that shows the infraction, -1: none
    cause: NDArray[np.int64]  # (N,) row of the track, polygon or comfort quantity that is to blame, -1: none

    @classmethod
    def clean(cls, num_plans: int) -> "Verdict":
        """Full marks, to be lowered."""
        return cls(np.ones(num_plans), np.full(num_plans, -1), np.full(num_plans, -1))

    @classmethod
    def of(cls, score: Array, infractions: NDArray[np.bool_]) -> "Verdict":
        """A verdict without causes; `infractions` (N, 41) are the states that show one."""
        step = np.where(infractions.any(axis=1), infractions.argmax(axis=1), -1)
        return cls(score, step, np.full(len(score), -1))

    @classmethod
    def concatenate(cls, parts: Sequence["Verdict"]) -> "Verdict":
        columns = zip(*((part.score, part.step, part.cause) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def after(self, skip: int) -> "Verdict":
        """Without the first `skip` plans."""
        return Verdict(self.score[skip:], self.step[skip:], self.cause[skip:])
