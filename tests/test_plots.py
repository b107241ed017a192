"""What the pictures show: boxes on their cars, nothing behind the camera, equal bytes for equal figures."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from straight_road import CAR, road_scene
from test_cameras import HEIGHT, WIDTH, changed

from irlvla.plots import draw_bev, draw_curves, plan_colours, save_figure, set_style
from irlvla.plots_camera import draw_camera, draw_contact_sheet, draw_scene, wire_box
from irlvla.world.cameras import render
from irlvla.world.rig import camera_for_size


@pytest.fixture(autouse=True)
def closed_figures():
    set_style()
    yield
    plt.close("all")


def test_wire_box_encloses_the_painted_car():
    scene = road_scene([CAR])
    edges = np.concatenate(wire_box(scene, 0, *camera_for_size("CAM_F0", HEIGHT, WIDTH)))
    rows, columns = np.nonzero(changed(scene, road_scene(), "CAM_F0"))
    shadow = 8  # pixels around the box, as in test_cameras
    assert np.abs(edges[:, 0].min() - columns.min()) < shadow and np.abs(edges[:, 0].max() - columns.max()) < shadow
    assert np.abs(edges[:, 1].min() - rows.min()) < 3 and np.abs(edges[:, 1].max() - rows.max()) < shadow


def test_box_behind_the_camera_has_no_edges():
    scene = road_scene([("a", "vehicle", -15.0, -1.75, 0.0, 4.6, 1.9, 1.6)])
    assert wire_box(scene, 0, *camera_for_size("CAM_F0", HEIGHT, WIDTH)) == []


def test_box_across_the_near_plane_loses_its_rear_edges():
    scene = road_scene([("a", "vehicle", 2.0, 3.0, 0.0, 4.6, 1.9, 1.6)])
    edges = wire_box(scene, 0, *camera_for_size("CAM_F0", HEIGHT, WIDTH))
    assert 0 < len(edges) < 12 and np.isfinite(edges).all()


def test_view_from_above_puts_what_is_ahead_up_and_what_is_left_left():
    figure, ax = plt.subplots()
    plan = np.column_stack([np.arange(1, 9) * 4.0, np.arange(1, 9) * 0.5, np.zeros(8)])
    draw_bev(ax, road_scene([CAR]), {"left": plan})
    line = next(line for line in ax.lines if line.get_label() == "left")
    np.testing.assert_allclose(line.get_xydata()[-1], [-4.0, 32.0])


def test_camera_axes_are_the_pixels_of_the_image():
    scene = road_scene([CAR])
    figure, ax = plt.subplots()
    image = render(scene, ("CAM_F0",), 96, 264)[0]
    draw_camera(ax, image, scene, "CAM_F0", {"human": scene.human_plan()})
    assert ax.get_xlim() == (0, 264) and ax.get_ylim() == (96, 0)
    assert len(ax.collections) == 2  # the box and the plan


def test_human_keeps_its_colour_whatever_else_is_drawn():
    assert plan_colours(["a", "human", "b"])["human"] == plan_colours(["human"])["human"]


def test_curve_skips_rows_without_a_value():
    figure, ax = plt.subplots()
    draw_curves(ax, pd.DataFrame({"step": [0, 1, 2], "loss": [3.0, None, 1.0]}), "step", ["loss"], "loss")
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0, 3], [2, 1]])


def test_equal_figures_are_equal_bytes(tmp_path):
    scene = road_scene([CAR])
    for name in ("a", "b"):
        images = {"CAM_F0": render(scene, ("CAM_F0",), 96, 264)[0]}
        save_figure(draw_scene(images, scene, {"human": scene.human_plan()}), tmp_path / name, ("png", "pdf"))
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_contact_sheet_shows_every_image_with_its_name():
    images = [(f"scene {i}", np.full((32, 88, 3), 20 * i, np.uint8)) for i in range(7)]
    figure = draw_contact_sheet(images, columns=5)
    names = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert names == [name for name, _ in images]
    assert [int(ax.images[0].get_array().mean()) for ax in figure.axes[:7]] == [20 * i for i in range(7)]
