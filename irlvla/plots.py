"""Pictures of scenes and results in one style: column-wide figures, colours that colour-blind readers tell apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Polygon
from matplotlib.path import Path as VectorPath
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from irlvla.geometry import box_corners, local_from_global, rotate
from irlvla.scenes.scene import Scene
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

Array = NDArray[np.float64]

COLUMN_IN, PAGE_IN = 3.35, 6.9  # widths of one and of two columns of a paper
PALETTE = sns.color_palette("colorblind")

# One colour per kind of thing, the same in every figure.
AREA_COLOURS = {
    "road": "#dcdfe3",
    "route": "#cfe0ee",
    "walkway": "#f1ece2",
    "carpark": "#d3d6db",
    "crosswalk": "#ffffff",
}
OBJECT_COLOURS = {
    "vehicle": PALETTE[0], "pedestrian": PALETTE[1], "bicycle": PALETTE[4], "traffic_cone": PALETTE[8],
    "barrier": PALETTE[8], "czone_sign": PALETTE[8], "generic_object": PALETTE[7],
}  # fmt: skip
HUMAN_COLOUR, EGO_COLOUR, RED_LIGHT_COLOUR = PALETTE[2], "#222222", "#d3202a"
AGENT_COLOURS = {
    "human": HUMAN_COLOUR, "IRL-VLA": PALETTE[3], "IRL-VLA-IL": PALETTE[4], "PDM-Closed": PALETTE[7],
    "constant velocity": PALETTE[9], "ego-status MLP": PALETTE[8], "vocabulary scorer 256": PALETTE[5],
    "vocabulary scorer": PALETTE[5], "regression head": PALETTE[0], "IL without semantics": PALETTE[6],
    "RLVR": PALETTE[1], "IRL-VLA reranked": "#7a3600",
}  # fmt: skip
PLAN_COLOURS = (PALETTE[1], PALETTE[0], PALETTE[6], PALETTE[9], PALETTE[5], PALETTE[8])


def set_style() -> None:
    """Use the project's style for all figures made from here on."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font="DejaVu Sans", font_scale=0.85)
    plt.rcParams.update({
        "figure.dpi": 110, "savefig.dpi": 220, "savefig.bbox": "tight", "savefig.pad_inches": 0.03,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": "medium", "axes.titleweight": "bold",
        "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "lines.linewidth": 1.4, "pdf.fonttype": 42, "svg.hashsalt": "irlvla",
        "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.04,
        "figure.constrained_layout.w_pad": 0.02, "figure.constrained_layout.hspace": 0.0,
        "figure.constrained_layout.wspace": 0.0,
    })  # fmt: skip


def save_figure(figure: Figure, path_without_suffix: str | Path, formats: Sequence[str] = ("png",)) -> None:
    """Write the figure, without the date and version that would make equal figures differ."""
    path = Path(path_without_suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    for suffix in formats:
        figure.savefig(path.with_name(f"{path.name}.{suffix}"), metadata=metadata[suffix])


def plan_colours(names: Sequence[str]) -> dict[str, tuple]:
    """A colour per plan or agent; agents of the tables have the same one everywhere."""
    others = [name for name in names if name not in AGENT_COLOURS]
    return {**AGENT_COLOURS, **{name: PLAN_COLOURS[i % len(PLAN_COLOURS)] for i, name in enumerate(others)}}


def draw_bev(
    ax: Axes,
    scene: Scene,
    plans: Mapping[str, Array] | None = None,
    ahead_m: float = 48.0,
    behind_m: float = 16.0,
    side_m: float = 24.0,
    colours: Mapping[str, tuple] | None = None,
) -> None:
    """The scene from above, ego frame, driving upwards: map, route, red lights, objects, past track and `plans`.

    `plans` maps a name (used in the legend) to poses (T, 3) in the ego frame; the human plan is one like any other.
    """
    reach_m = float(np.hypot(max(ahead_m, behind_m), side_m))
    _draw_areas(ax, scene, reach_m)
    _draw_lanes(ax, scene, reach_m)
    _draw_objects(ax, scene)
    _draw_box(ax, np.array([REAR_AXLE_TO_CENTER_M, 0, 0]), LENGTH_M, WIDTH_M, EGO_COLOUR, zorder=6)
    history = local_from_global(scene.ego_pose, scene.ego_poses[: scene.now + 1])
    ax.plot(*_upwards(history), color=EGO_COLOUR, linewidth=1, linestyle=":", zorder=5)
    draw_plan_lines(ax, plans or {}, colours)
    ax.set(xlim=(-side_m, side_m), ylim=(-behind_m, ahead_m), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)


def draw_plan_lines(ax: Axes, plans: Mapping[str, Array], colours: Mapping[str, tuple] | None = None) -> None:
    """Plans (T, 3) as lines with a dot per pose into a view from above, each with a label for the legend.

    The first are the widest, so that equal plans all show.
    """
    colours = colours or plan_colours(list(plans))
    for below, (name, plan) in zip(reversed(range(len(plans))), plans.items(), strict=True):
        path, width = np.concatenate([np.zeros((1, 2)), plan[:, :2]]), min(1.3 + 0.8 * below, 2.9)
        ax.plot(*_upwards(path), color=colours[name], marker="o", markersize=1.2 + width, linewidth=width, label=name,
                zorder=8)  # fmt: skip


def _upwards(xy: Array) -> tuple[Array, Array]:
    """Ego-frame points (..., >= 2) as axes coordinates: forward is up, left is left."""
    return -xy[..., 1], xy[..., 0]


def _to_ego(scene: Scene, xy: Array) -> Array:
    return rotate(xy - scene.ego_pose[:2], np.array(-scene.ego_pose[2]))


def _fill(ax: Axes, scene: Scene, area: shapely.Geometry, colour: str, zorder: float, **style) -> None:
    for polygon in shapely.get_parts(area):
        if polygon.geom_type != "Polygon" or polygon.is_empty:
            continue
        rings = [np.stack(_upwards(_to_ego(scene, shapely.get_coordinates(r))), -1) for r in shapely.get_rings(polygon)]
        path = VectorPath.make_compound_path(*(VectorPath(ring, closed=True) for ring in rings))
        ax.add_patch(PathPatch(path, facecolor=colour, linewidth=0, zorder=zorder, **style))


def _draw_areas(ax: Axes, scene: Scene, reach_m: float) -> None:
    layers, position = scene.town_map.layers, scene.ego_pose[:2]
    near = {name: layers[name].near(position, reach_m) for name in layers}
    area = {name: shapely.union_all(layers[name].polygons[index]) for name, index in near.items()}
    on_route = set(scene.route_roadblock_ids)
    route = [
        layers[name].polygons[i]
        for name in ("ROADBLOCK", "ROADBLOCK_CONNECTOR")
        for i in near[name]
        if layers[name].ids[i] in on_route
    ]
    _fill(ax, scene, area["WALKWAY"], AREA_COLOURS["walkway"], 0.5)
    road = shapely.union_all([area[name] for name in ("ROADBLOCK", "INTERSECTION", "GENERIC_DRIVABLE")])
    _fill(ax, scene, road, AREA_COLOURS["road"], 1)
    _fill(ax, scene, area["CARPARK_AREA"], AREA_COLOURS["carpark"], 1)
    _fill(ax, scene, shapely.union_all(route), AREA_COLOURS["route"], 1.5)
    _fill(ax, scene, area["CROSSWALK"], AREA_COLOURS["crosswalk"], 2, alpha=0.75, hatch="||||", edgecolor="#c4c8ce")


def _draw_lanes(ax: Axes, scene: Scene, reach_m: float) -> None:
    red = set(scene.red_connectors[scene.now])
    grey, stopped = [], []
    for name in ("LANE", "LANE_CONNECTOR"):
        layer = scene.town_map.layers[name]
        for index in layer.near(scene.ego_pose[:2], reach_m):
            line = scene.town_map.lanes[layer.ids[index]].centerline
            points = np.stack(_upwards(_to_ego(scene, line[:, :2])), axis=-1)
            (stopped if layer.ids[index] in red else grey).append(points)
    ax.add_collection(LineCollection(grey, colors="#b3b9c1", linewidths=0.5, zorder=2.5))
    ax.add_collection(LineCollection(stopped, colors=RED_LIGHT_COLOUR, linewidths=0.9, alpha=0.75, zorder=2.6))


def _draw_box(ax: Axes, pose: Array, length_m: float, width_m: float, colour: tuple | str, zorder: float) -> None:
    corners = np.stack(_upwards(box_corners(pose, length_m, width_m)), axis=-1)
    ax.add_patch(Polygon(corners, facecolor=colour, edgecolor="white", linewidth=0.5, zorder=zorder))
    nose = rotate(np.array([[length_m * 0.2, 0.0], [length_m * 0.5, 0.0]]), pose[2]) + pose[:2]
    ax.plot(*_upwards(nose), color="white", linewidth=0.7, zorder=zorder + 0.1)


def _draw_objects(ax: Axes, scene: Scene) -> None:
    tracks, now = scene.tracks, scene.now
    for i in np.flatnonzero(tracks.valid[now]):
        pose = local_from_global(scene.ego_pose, tracks.poses[now, i])
        length, width, _ = tracks.size_m[now, i]
        _draw_box(ax, pose, length, width, OBJECT_COLOURS[tracks.categories[i]], zorder=4)
        in_one_second = np.stack([tracks.poses[now, i, :2], tracks.poses[now, i, :2] + tracks.velocity_mps[now, i]])
        ax.plot(
            *_upwards(_to_ego(scene, in_one_second)),
            color=OBJECT_COLOURS[tracks.categories[i]],
            linewidth=0.8,
            zorder=3.9,
        )


def draw_classes(
    ax: Axes, grid: NDArray[np.uint8], classes: Sequence[str], x_range_m: Sequence[float], y_range_m: Sequence[float]
) -> None:
    """A grid (X, Y) of class ids from above, ego frame, driving upwards, with a legend of the classes."""
    colours = ["#ffffff", AREA_COLOURS["road"], AREA_COLOURS["walkway"], "#8d99a6", *(PALETTE[i] for i in (8, 0, 1))]
    extent = (-y_range_m[1], -y_range_m[0], x_range_m[0], x_range_m[1])
    ax.imshow(grid[::-1, ::-1], cmap=ListedColormap(colours), vmin=-0.5, vmax=len(classes) - 0.5, extent=extent,
              interpolation="nearest")  # fmt: skip
    handles = [
        Patch(facecolor=colour, edgecolor="#999999", label=name) for colour, name in zip(colours, classes, strict=True)
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)


def draw_curves(ax: Axes, log: pd.DataFrame, x: str, columns: Sequence[str], ylabel: str) -> None:
    """One line per column of a training log over `x`; rows where a column is empty are left out."""
    for colour, column in zip(sns.color_palette("colorblind", len(columns)), columns, strict=True):
        rows = log[[x, column]].dropna()
        ax.plot(rows[x], rows[column], label=column.replace("_", " "), color=colour)
    ax.set(xlabel=x.replace("_", " "), ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if len(columns) > 1:
        ax.legend(fontsize="small")
