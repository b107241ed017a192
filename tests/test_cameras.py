"""Calibration, projection, painting order and moved starts, on a straight road with one or two objects."""

from dataclasses import replace

import numpy as np
import pytest
from straight_road import CAR, road_scene

from irlvla.geometry import local_from_global
from irlvla.scenes.perturb import draw_perturbation, perturb, starts_clear
from irlvla.scenes.scene import Scene
from irlvla.world.cameras import camera_from_global, render
from irlvla.world.painter import clip_rings, project
from irlvla.world.rig import RIG, camera_for_size, fit_image

HEIGHT, WIDTH = 256, 704


def changed(scene: Scene, other: Scene, camera: str) -> np.ndarray:
    """(H, W) where the images of two scenes differ."""
    first, second = (render(s, (camera,), HEIGHT, WIDTH)[0].astype(int) for s in (scene, other))
    return np.abs(first - second).max(axis=-1) > 0


def test_point_lands_on_the_pixel_computed_by_hand():
    """10 m ahead of the forward camera, 2 m to its left, 1.5 m below: u = 960 - 1545 * 0.2, v = 560 + 1545 * 0.15."""
    intrinsics, ego_from_camera = RIG["CAM_F0"]
    ego_pose = np.array([100.0, 50.0, np.pi / 2])
    point = np.array([100.0 - 2.0, 50.0 + 11.7, 0.0, 1.0])
    camera_point = camera_from_global(ego_pose, ego_from_camera) @ point
    np.testing.assert_allclose(camera_point[:3], [-2, 1.5, 10], atol=1e-9)
    np.testing.assert_allclose(project(camera_point[:3], intrinsics), [960 - 309, 560 + 231.75], atol=1e-9)


# Sine and cosine of 35, 55 and 70 degrees from a table: 10 m along each camera's axis, 2 m to its left, ego frame.
AHEAD_AND_LEFT = [
    ("CAM_F0", 11.7, 2.0), ("CAM_B0", -8.3, -2.0),
    ("CAM_L0", 5.7975, 9.3387), ("CAM_L1", -3.5996, 8.7129), ("CAM_L2", -7.6387, 4.0975),
    ("CAM_R0", 9.0741, -7.0444), ("CAM_R1", 0.1592, -10.0810), ("CAM_R2", -5.3444, -7.3741),
]  # fmt: skip


@pytest.mark.parametrize(("name", "x", "y"), AHEAD_AND_LEFT)
def test_the_same_place_before_each_of_the_eight_cameras_is_the_same_pixel(name, x, y):
    intrinsics, ego_from_camera = RIG[name]
    camera_point = camera_from_global(np.zeros(3), ego_from_camera) @ [x, y, 0.0, 1.0]
    np.testing.assert_allclose(project(camera_point[:3], intrinsics), [960 - 309, 560 + 231.75], atol=0.02)


def test_smaller_image_keeps_the_ray_of_every_pixel():
    """Width 704 of 1920 gives 396 rows, 90 of them cut off above: v = (560 + 231.75) * 396 / 1080 - 90."""
    intrinsics, _ = camera_for_size("CAM_F0", HEIGHT, WIDTH)
    pixel = project(np.array([-2.0, 1.5, 10.0]), intrinsics)
    np.testing.assert_allclose(pixel, [651 * 704 / 1920, 791.75 * 396 / 1080 - 90], atol=1e-9)


def test_recorded_image_is_cropped_where_the_intrinsics_say():
    image = np.zeros((1080, 1920, 3), np.uint8)
    image[780:804, 640:662] = 255  # centre (651, 792)
    fitted = fit_image(image, 560.0, HEIGHT, WIDTH)
    rows, columns = np.nonzero(fitted[..., 0] > 127)
    expected = project(np.array([-2.0, 232 / 154.5, 10.0]), camera_for_size("CAM_F0", HEIGHT, WIDTH)[0])
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.5)


@pytest.mark.parametrize("name, axis", [("CAM_L0", 1), ("CAM_R0", -1), ("CAM_B0", 0)])
def test_side_cameras_look_to_their_side(name, axis):
    forward = RIG[name][1][:3, 2]
    assert np.sign(np.round(forward[1], 9)) == axis
    assert (forward[0] < 0) == (name == "CAM_B0")


def test_car_changes_just_the_pixels_of_its_projected_box():
    differs = changed(road_scene([CAR]), road_scene(), "CAM_F0")
    rows, columns = np.nonzero(differs)
    intrinsics, _ = camera_for_size("CAM_F0", HEIGHT, WIDTH)
    rear = 20.0 - 2.3 - 1.7  # depth of the rear face
    left, right = (project(np.array([x, 0.0, rear]), intrinsics)[0] for x in (-0.95, 0.95))
    top, bottom = (project(np.array([0.0, y, rear]), intrinsics)[1] for y in (1.5 - 1.6, 1.5))
    shadow = 8  # pixels: the contact shadow's 0.15 m and two of edge smoothing
    assert left - shadow <= columns.min() <= left + 2 and right - 2 <= columns.max() <= right + shadow
    assert top - 2 <= rows.min() <= top + 3 and bottom - 2 <= rows.max() <= bottom + shadow


def test_car_behind_the_camera_is_absent():
    behind = ("a", "vehicle", -15.0, -1.75, 0.0, 4.6, 1.9, 1.6)
    assert not changed(road_scene([behind]), road_scene(), "CAM_F0").any()
    assert changed(road_scene([behind]), road_scene(), "CAM_B0").any()


def test_near_car_hides_a_far_one_in_either_order():
    bus = ("near", "vehicle", 12.0, -1.75, 0.0, 8.0, 2.6, 3.2)
    far = ("far", "vehicle", 40.0, -1.75, 0.0, 4.6, 1.9, 1.6)
    alone = road_scene([bus])
    assert not changed(road_scene([bus, far]), alone, "CAM_F0").any()
    assert not changed(road_scene([far, bus]), alone, "CAM_F0").any()


def test_car_across_the_near_plane_is_drawn_without_overflow():
    beside = ("a", "vehicle", 1.7, 1.0, 0.0, 12.0, 2.0, 3.0)
    differs = changed(road_scene([beside]), road_scene(), "CAM_L0")
    assert differs.mean() > 0.5


@pytest.mark.parametrize("size", [(256, 704), (96, 264)])
def test_red_light_is_visible(size):
    signal = {red: render(road_scene(signals=True, red=red), ("CAM_F0",), *size)[0].astype(int) for red in ((), ("2",))}
    red, green = signal[("2",)], signal[()]
    lit = np.abs(red - green).max(axis=-1) > 60
    assert lit.sum() >= 4
    assert (red[lit][:, 0] > red[lit][:, 1]).any() and (green[lit][:, 1] > green[lit][:, 0]).any()


def test_moved_ego_sees_the_car_on_the_other_side():
    scene = road_scene([CAR])
    columns = [
        np.nonzero(changed(perturb(scene, lateral, 0, 1), perturb(road_scene(), lateral, 0, 1), "CAM_F0"))[1].mean()
        for lateral in (1.0, -1.0)
    ]
    assert columns[0] > WIDTH / 2 > columns[1]


def test_clip_cuts_a_triangle_at_the_near_plane_and_drops_one_in_front_of_it():
    triangle = np.array([[0.0, 0, 1.3], [1, 0, 1.3], [0, 0, -0.7]])
    points, offsets = clip_rings(np.concatenate([triangle - [0, 0, 9], triangle]), np.array([0, 3, 6]))
    assert offsets.tolist() == [0, 0, 4]
    np.testing.assert_allclose(points, [[0, 0, 1.3], [1, 0, 1.3], [0.5, 0, 0.3], [0, 0, 0.3]], atol=1e-12)


def test_rendering_twice_gives_the_same_bytes():
    scene = road_scene([CAR], signals=True)
    np.testing.assert_array_equal(render(scene, height=96, width=264), render(scene, height=96, width=264))


def test_perturbed_start_keeps_poses_and_speeds_consistent():
    scene = road_scene()
    moved = perturb(scene, 0.5, 0.1, 0.75)
    np.testing.assert_allclose(local_from_global(scene.ego_pose, moved.ego_pose), [0, 0.5, 0.1], atol=1e-12)
    travelled = np.linalg.norm(np.diff(moved.ego_poses[:4, :2], axis=0), axis=1)
    np.testing.assert_allclose(travelled, moved.ego_velocity_mps[3, 0] * 0.5)
    np.testing.assert_array_equal(moved.ego_poses[4:], scene.ego_poses[4:])
    assert moved.token != scene.token and moved.original_token == scene.token


def test_perturbing_by_nothing_moves_nothing():
    scene = road_scene()
    np.testing.assert_allclose(perturb(scene, 0, 0, 1).ego_poses, scene.ego_poses, atol=1e-12)


def test_drawn_starts_are_clear_and_blocked_ones_are_found():
    scene = road_scene([("a", "vehicle", 1.0, 1.5, 0.0, 4.6, 1.9, 1.6)])
    moved = draw_perturbation(scene, np.random.default_rng(0))
    assert moved is not None and starts_clear(moved)
    assert not starts_clear(perturb(scene, 1.0, 0, 1))
    assert not starts_clear(perturb(scene, -1.2, 0, 1))  # off the road


def test_about_a_sixth_of_the_drawn_starts_is_exactly_at_rest_and_none_drives_backwards():
    scene, rng = road_scene(), np.random.default_rng(0)
    drawn = [draw_perturbation(scene, rng) for _ in range(200)]
    speeds = np.array([moved.ego_velocity_mps[moved.now, 0] for moved in drawn])
    assert (speeds >= 0).all() and 0.1 < (speeds == 0).mean() < 0.25
    at_rest = drawn[int(np.flatnonzero(speeds == 0)[0])]
    np.testing.assert_allclose(at_rest.ego_poses[: at_rest.now + 1], np.tile(at_rest.ego_pose, (at_rest.now + 1, 1)))


def test_colours_come_from_names_alone():
    other = replace(road_scene([CAR]), log_name="straight-001")
    assert changed(road_scene([CAR]), other, "CAM_F0").any()
