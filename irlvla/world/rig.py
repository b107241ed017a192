"""Calibration of the eight NAVSIM cameras of the embedded world, for images of 1920x1080 pixels without distortion.

The forward camera has the focal length and mounting point commonly seen in NAVSIM logs; every other camera is the same
camera turned about the vertical axis through the same mounting point.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 1920, 1080
FOCAL_PX = 1545.0
CENTER_PX = (960.0, 560.0)
POSITION_M = (1.7, 0.0, 1.5)  # ego frame; z above the road

# Viewing direction, counter-clockwise from straight ahead [degrees], in the order of `scenes.scene.CAMERAS`.
YAW_DEG = {
    "CAM_F0": 0.0, "CAM_L0": 55.0, "CAM_L1": 110.0, "CAM_L2": 145.0,
    "CAM_R0": -55.0, "CAM_R1": -110.0, "CAM_R2": -145.0, "CAM_B0": 180.0,
}  # fmt: skip


def intrinsics() -> Array:
    """(3, 3) pinhole matrix in pixels, shared by all cameras."""
    return np.array([[FOCAL_PX, 0, CENTER_PX[0]], [0, FOCAL_PX, CENTER_PX[1]], [0, 0, 1]])


def ego_from_camera(yaw_rad: float) -> Array:
    """(4, 4) pose of a level camera at POSITION_M that looks along `yaw_rad`; its columns are the camera axes."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    matrix = np.eye(4)
    matrix[:3, 0] = sin, -cos, 0  # camera x: to the right
    matrix[:3, 1] = 0, 0, -1  # camera y: down
    matrix[:3, 2] = cos, sin, 0  # camera z: forward
    matrix[:3, 3] = POSITION_M
    return matrix


RIG: dict[str, tuple[Array, Array]] = {
    name: (intrinsics(), ego_from_camera(np.deg2rad(yaw_deg))) for name, yaw_deg in YAW_DEG.items()
}
