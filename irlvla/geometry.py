"""Plane geometry: SE(2) poses and oriented boxes, in NumPy, vectorised over leading axes."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wrap_angle(angle: Array) -> Array:
    """Angle [rad] wrapped into [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def rotate(xy: Array, angle: Array) -> Array:
    """Vectors (..., 2) turned counter-clockwise by `angle` (...)."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def global_from_local(origin: Array, poses: Array) -> Array:
    """Poses (..., 3) given in the frame of `origin` (..., 3), expressed in the frame of `origin` itself.

    The heading is the plain sum of both headings, not wrapped.
    """
    xy = rotate(poses[..., :2], origin[..., 2]) + origin[..., :2]
    return np.concatenate([xy, (poses[..., 2] + origin[..., 2])[..., None]], axis=-1)


def local_from_global(origin: Array, poses: Array) -> Array:
    """Inverse of `global_from_local`; the heading is wrapped."""
    xy = rotate(poses[..., :2] - origin[..., :2], -origin[..., 2])
    return np.concatenate([xy, wrap_angle(poses[..., 2] - origin[..., 2])[..., None]], axis=-1)


def box_corners(center_pose: Array, length_m: Array, width_m: Array) -> Array:
    """Corners (..., 4, 2) of boxes with centre poses (..., 3): front left, rear left, rear right, front right."""
    half = np.stack([np.asarray(length_m) / 2, np.asarray(width_m) / 2], axis=-1)
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=float)
    offsets = half[..., None, :] * signs
    return rotate(offsets, np.asarray(center_pose[..., 2])[..., None]) + center_pose[..., None, :2]
