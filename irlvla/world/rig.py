"""Calibration of the eight NAVSIM cameras of the embedded world (1920x1080 pixels, no distortion), and other sizes.

The forward camera has the focal length and mounting point commonly seen in NAVSIM logs; every other camera is the same
camera turned about the vertical axis through the same mounting point.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 1920, 1080
FOCAL_PX = 1545.0
CENTER_PX = (960.0, 560.0)
POSITION_M = (1.7, 0.0, 1.5)  # ego frame; z above the road
HORIZON = 0.45  # where cropping puts the horizon, in image heights from the top: road below, signal heads above

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


def fitted_size(native_hw: tuple[int, int], center_y_px: float, height: int, width: int) -> tuple[int, int, int, int]:
    """How an image of `native_hw` becomes `height` x `width`: (resized height, resized width, top, left) in pixels.

    The image is resized until it covers the target, then cropped: columns about the middle, rows so that the horizon
    (`center_y_px` of a level camera) lies at HORIZON of the target's height.
    """
    native_height, native_width = native_hw
    scale = max(width / native_width, height / native_height)
    resized_height, resized_width = max(round(native_height * scale), height), max(round(native_width * scale), width)
    top = round(center_y_px * resized_height / native_height - HORIZON * height)
    top = min(max(top, 0), resized_height - height)
    return resized_height, resized_width, top, (resized_width - width) // 2


def fitted_intrinsics(native: Array, native_hw: tuple[int, int], height: int, width: int) -> Array:
    """(3, 3) pinhole matrix after resizing and cropping as `fit_image` does.

    Pixel coordinates are continuous: the image spans [0, width] x [0, height], pixel i covers [i, i + 1].
    """
    resized_height, resized_width, top, left = fitted_size(native_hw, native[1, 2], height, width)
    matrix = native.astype(float).copy()
    matrix[0] *= resized_width / native_hw[1]
    matrix[1] *= resized_height / native_hw[0]
    matrix[:2, 2] -= left, top
    return matrix


def fit_image(image: NDArray[np.uint8], center_y_px: float, height: int, width: int) -> NDArray[np.uint8]:
    """A recorded image (h, w, 3) resized and cropped to (height, width, 3); `fitted_intrinsics` belongs to it."""
    resized_height, resized_width, top, left = fitted_size(image.shape[:2], center_y_px, height, width)
    resized = cv2.resize(image, (resized_width, resized_height), interpolation=cv2.INTER_AREA)
    return resized[top : top + height, left : left + width]


def camera_for_size(name: str, height: int, width: int) -> tuple[Array, Array]:
    """(intrinsics (3, 3), ego_from_camera (4, 4)) of a camera of RIG for images of `height` x `width`."""
    native, pose = RIG[name]
    return fitted_intrinsics(native, (HEIGHT_PX, WIDTH_PX), height, width), pose
