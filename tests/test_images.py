"""Images that are not what they should be are named, before anything is learnt from grey."""

import cv2
import numpy as np
import pytest

from irlvla.scenes.images import read_rgb, require_whole_image


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / "CAM_F0.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    return path


def test_a_whole_image_is_read_as_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / "red.jpg"), np.full((16, 16, 3), (0, 0, 255), np.uint8))
    require_whole_image(tmp_path / "red.jpg")
    assert (read_rgb(tmp_path / "red.jpg")[..., 0] > 250).all()


@pytest.mark.parametrize("read", [read_rgb, require_whole_image])
def test_a_truncated_image_is_named(jpeg, read):
    jpeg.write_bytes(jpeg.read_bytes()[:-1500])
    with pytest.raises(ValueError, match=r"CAM_F0\.jpg: truncated image of \d+ bytes; render or download it again"):
        read(jpeg)


@pytest.mark.parametrize("read", [read_rgb, require_whole_image])
@pytest.mark.parametrize("content", [None, b"", b"no image at all"])
def test_a_missing_or_corrupted_image_is_named(jpeg, read, content):
    jpeg.unlink()
    if content is not None:
        jpeg.write_bytes(content)
    with pytest.raises(ValueError, match=r"CAM_F0\.jpg: .*(render|download)"):
        read(jpeg)


def test_a_corrupted_jpeg_header_is_named(jpeg):
    content = jpeg.read_bytes()
    jpeg.write_bytes(content[:2] + bytes(600) + content[602:])
    with pytest.raises(ValueError, match=r"CAM_F0\.jpg: .*damaged"):
        read_rgb(jpeg)
