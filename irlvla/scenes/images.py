"""Recorded and rendered images as arrays, or one clear error."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from irlvla.world.rig import fit_image

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG"
TRAILER_BYTES = 1024  # some writers leave padding behind the end marker


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file that is there and complete.

    Decoders fill up a truncated JPEG with grey and only warn, so its end marker is looked for here.
    Raises ValueError naming the file.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    _require_end(path, encoded[:2], encoded[-TRAILER_BYTES:])
    return encoded


def require_whole_image(path: Path) -> None:
    """Raises ValueError naming the file unless it starts and ends as an image does. Its pixels are not decoded."""
    try:
        with path.open("rb") as file:
            start = file.read(len(PNG_START))
            file.seek(max(0, path.stat().st_size - TRAILER_BYTES))
            end = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not start.startswith((JPEG_START, PNG_START)):
        raise ValueError(f"{path}: neither JPEG nor PNG; render or download it again")
    _require_end(path, start, end)


def _require_end(path: Path, start: bytes, end: bytes) -> None:
    if start.startswith(JPEG_START) and JPEG_END not in end:
        raise ValueError(f"{path}: truncated image of {path.stat().st_size} bytes; render or download it again")


def _unreadable(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"{path}: missing or no readable image ({error.strerror}); render or download the sensor blobs first"
    )


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
