"""What the figures of results show: rules that pick scenes, reasons, marks at the right place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from epdms_scenes import road

from irlvla.breakdown import SHORT
from irlvla.plots import set_style
from irlvla.plots_results import (
    abilities_figure,
    bars_figure,
    candidates_figure,
    confusion_figure,
    draw_time,
    failures_figure,
    scenes_figure,
)
from irlvla.saved_scenes import SavedScene, largest_median_loss, load_saved_scenes
from irlvla.world.rig import camera_for_size

AGENTS = ("human", "IRL-VLA-IL", "IRL-VLA")


@pytest.fixture(autouse=True)
def closed_figures():
    set_style()
    yield
    plt.close("all")


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def scene() -> SavedScene:
    plan = np.column_stack([np.arange(1, 9) * 4.0, np.zeros(8), np.zeros(8)])
    image = np.zeros((32, 88, 3), np.uint8)
    return SavedScene(image, *camera_for_size("CAM_F0", 32, 88), road(), dict.fromkeys(AGENTS, plan))


def test_scenes_have_the_sub_scores_of_every_plan_below_them():
    rows = [{"token": "t", "agent": agent, **dict.fromkeys(SHORT, 1.0), "score": 0.25} for agent in AGENTS]
    figure = scenes_figure({"t": scene()}, {"t": "largest gain"}, pd.DataFrame(rows))
    found = texts(figure).split("\n")
    assert "largest gain" in found and found.count(".25") == 3 and found.count("1") >= 27
    assert {"NC", "DAC", "DDC", "TLC", "EP", "TTC", "LK", "HC", "EC", "EPDMS", *AGENTS} <= set(found)


def test_failures_have_their_reasons_below_them():
    index = pd.MultiIndex.from_tuples([("IRL-VLA", "t")], names=["agent", "token"])
    reason = "no_at_fault_collisions 2.0 s vehicle v1"
    failures = pd.DataFrame({"log_name": "elm-000", "stage": 2, "reason": reason, "time_s": 2.0}, index=index)
    found = texts(failures_figure({"t": scene()}, {"collision": "t"}, failures))
    assert "elm-000, stage 2: NC 2.0 s vehicle v1" in found and "collision" in found


def test_the_cross_is_where_the_plan_is_at_that_time():
    ax = plt.subplots()[1]
    draw_time(ax, np.column_stack([np.arange(1, 9) * 4.0, np.arange(1, 9) * 0.5, np.zeros(8)]), 1.25)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[-1.25, 10.0]])  # forward is up, left is left


def test_the_rule_finds_largest_gain_median_of_what_changed_and_largest_loss():
    gains = {"a": 0.5, "b": 0.0, "c": -0.2, "d": 0.1, "e": 0.0}
    rows = [{"token": t, "agent": "IL", "score": 0.4} for t in gains]
    rows += [{"token": t, "agent": "RL", "score": 0.4 + gain} for t, gain in gains.items()]
    assert largest_median_loss(pd.DataFrame(rows), "IL", "RL") == {
        "largest gain": "a", "median": "d", "largest loss": "c",
    }  # fmt: skip


def test_scenes_come_from_what_the_stages_saved_and_a_missing_one_is_named(tmp_path):
    for folder in ("scenes", "contexts", "sensor_blobs"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "evaluation").mkdir()
    intrinsics, pose = camera_for_size("CAM_F0", 64, 176)
    columns = {"tokens": ["t", "u"], "image_path": [["t.png"], ["u.png"]], "intrinsics": [[intrinsics]] * 2,
               "ego_from_camera": [[pose]] * 2, "camera_size_px": [[[64, 176]]] * 2}  # fmt: skip
    columns |= dict.fromkeys(
        ("status", "plan", "boxes", "polylines", "bev", "route", "light", "x_range_m"), [0.0]
    )  # not looked at
    np.savez(tmp_path / "data" / "scenes" / "test.npz", **{name: np.array(rows) for name, rows in columns.items()})
    plans = np.arange(72.0).reshape(3, 8, 3)
    np.savez(tmp_path / "evaluation" / "plans.npz", tokens=np.array(["u", "t", "w"]), human=plans)
    plt.imsave(tmp_path / "data" / "sensor_blobs" / "t.png", np.zeros((32, 88, 3), np.uint8))
    road().save(tmp_path / "data" / "contexts" / "t.npz")
    scene = load_saved_scenes(tmp_path, ["t"], AGENTS)["t"]
    assert list(scene.plans) == ["human"]  # the only one of AGENTS that was evaluated
    np.testing.assert_array_equal(scene.plans["human"], plans[1])
    np.testing.assert_allclose(scene.intrinsics[:2], intrinsics[:2] / 2)  # the picture is half as large as the camera's
    with pytest.raises(FileNotFoundError, match="scene u: picture .*u.png"):
        load_saved_scenes(tmp_path, ["u"], AGENTS)
    with pytest.raises(ValueError, match="no plan for scene v"):
        load_saved_scenes(tmp_path, ["v"], AGENTS)
    with pytest.raises(ValueError, match="scene w: not among"):
        load_saved_scenes(tmp_path, ["w"], AGENTS)


def test_vocabularies_of_several_sizes_are_one_curve():
    table = pd.DataFrame(
        {"candidates": [20, 20, 32, 256], "score": 0.5, "low": 0.4, "high": 0.6},
        index=["IRL-VLA-IL", "IRL-VLA", "vocabulary scorer 32", "vocabulary scorer 256"],
    )
    ax = candidates_figure(table).axes[0]
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["IRL-VLA-IL", "IRL-VLA", "vocabulary scorer"]
    first, second = (ax.containers[i][0].get_xdata()[0] for i in range(2))
    assert first == 20 and second > first  # side by side


def test_the_radar_has_a_closed_line_per_driver_and_the_routes_of_each_ability():
    drivers, abilities = ("imitation", "reinforcement"), ("Merging", "Give_Way", "Overtaking")
    rows = [{"driver": d, "ability": a, "routes": 4, "success_rate": 0.5} for d in drivers for a in abilities]
    figure = abilities_figure(pd.DataFrame(rows))
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["IRL-VLA-IL", "IRL-VLA"]
    assert all(len(line.get_xdata()) == 4 for line in lines) and "Give\nWay\n(n = 4)" in texts(figure)


def test_a_row_of_a_confusion_matrix_is_shares_of_its_sum():
    counts = pd.DataFrame([[3, 1], [0, 0]], ["go", "stop"], ["go", "stop"])
    figure = confusion_figure({"speed": counts})
    np.testing.assert_allclose(figure.axes[0].collections[0].get_array().ravel(), [0.75, 0.25, 0, 0])
    assert {"go (4)", "stop (0)"} <= set(texts(figure).split("\n"))


def test_bars_have_whiskers_only_where_there_is_an_interval():
    table = pd.DataFrame({"x": [1.0], "x_low": [0.5], "x_high": [1.5], "y": [2.0]}, index=["IRL-VLA"])
    first, second = bars_figure(table, {"x": "X", "y": "Y"}, 0.2).axes
    assert len(first.collections) == 1 and not second.collections
