"""Films of recorded drives."""

import cv2
import numpy as np
import pytest
from PIL import Image
from straight_road import CAR, road_scene

from irlvla.route_video import RATE_HZ, picture, route_pictures, write_video


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((41, 60, 3), 60 * i, np.uint8) for i in range(count)]


def test_a_moment_shows_camera_and_view_from_above_in_one_size_whatever_the_plan():
    scene = road_scene([CAR])
    first = picture(scene, scene.human_plan(), "a")
    other = picture(scene, np.zeros((8, 3)), "b")
    assert first.shape == other.shape and first.shape[2] == 3 and first.dtype == np.uint8
    assert (first != other).any()


def test_an_mp4_holds_every_picture_in_order(tmp_path):
    write_video(tmp_path / "film.mp4", pictures(4))
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    means = [video.read()[1].mean() for _ in range(4)]
    assert np.allclose(means, [0, 60, 120, 180], atol=6) and not video.read()[0]
    assert video.get(cv2.CAP_PROP_FPS) == RATE_HZ


def test_a_gif_holds_every_picture(tmp_path):
    write_video(tmp_path / "film.gif", pictures(3))
    assert Image.open(tmp_path / "film.gif").n_frames == 3


def test_other_endings_empty_drives_and_unknown_routes_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"film\.avi"):
        write_video(tmp_path / "film.avi", pictures(1))
    with pytest.raises(ValueError, match="no replan"):
        write_video(tmp_path / "film.mp4", [])
    with pytest.raises(FileNotFoundError, match="RouteScenario_9"):
        list(route_pictures(tmp_path, "RouteScenario_9", tmp_path))
