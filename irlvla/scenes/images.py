"""Recorded and rendered images as arrays, or one clear error."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from irlvla.world.rig import fit_image

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
TRAILER_BYTES = 1024  # some writers leave padding behind the end marker


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file that is there and complete.

    Decoders fill up a truncated JPEG with grey and only warn, so its end marker is looked for here.
    Raises ValueError naming the file.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: missing or no readable image ({error.strerror}); render or download the sensor blobs first"
        ) from error
    if encoded.startswith(JPEG_START) and JPEG_END not in encoded[-TRAILER_BYTES:]:
        raise ValueError(f"{path}: truncated image of {len(encoded)} bytes; render or download it again")
    return encoded


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of an image file. Raises ValueError naming the file if it is missing, truncated or no image."""
    encoded = np.frombuffer(read_image_file(path), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if image is None:
        raise ValueError(f"{path}: missing or no readable image: damaged; render or download it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_fitted(
    path: Path, center_y_px: float, native_hw: tuple[int, int], height: int, width: int
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a file that holds the native image, or one already fitted to the wanted shape, perhaps larger.

    Raises ValueError naming the file if it is missing, unreadable or of another shape.
    """
    image = read_rgb(path)
    if image.shape[:2] == native_hw:
        return fit_image(image, center_y_px, height, width)
    if image.shape[0] * width != image.shape[1] * height:
        raise ValueError(f"{path}: {image.shape[:2]} pixels, expected {native_hw} or the shape of {(height, width)}")
    return image if image.shape[0] == height else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
