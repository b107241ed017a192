"""Pictures of scored plans on their scoring context, from above in the ego frame, driving upwards."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from irlvla.epdms.context import ScoringContext
from irlvla.geometry import box_corners, rotate
from irlvla.plots import OBJECT_COLOURS
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

Array = NDArray[np.float64]

SCORE_COLOURS = plt.get_cmap("RdYlBu")
AREA_COLOURS = {"ROADBLOCK": "#dfe3e8", "INTERSECTION": "#d3d8df", "CARPARK_AREA": "#dfe3e8"}
RED_COLOUR = "#efc4c6"
AHEAD_M, BEHIND_M, SIDE_M = 50.0, 12.0, 22.0


def draw_context(ax: Axes, context: ScoringContext) -> None:
    """Road, route centreline, red connectors of the route and the objects of t = 0; the ego is outlined."""
    pose = context.ego_state[:3]
    for layer, colour in AREA_COLOURS.items():
        chosen = np.flatnonzero(context.polygon_layers == layer)
        rings = [context.polygon_xy[slice(*context.polygon_offsets[i : i + 2])] for i in chosen]
        ax.add_collection(PolyCollection([_upwards(pose, ring) for ring in rings], facecolors=colour, linewidths=0))
    red = np.flatnonzero(np.isin(context.polygon_ids, context.red_light_ids[context.red_light_on[0]]))
    rings = [context.polygon_xy[slice(*context.polygon_offsets[i : i + 2])] for i in red]
    ax.add_collection(PolyCollection([_upwards(pose, ring) for ring in rings], facecolors=RED_COLOUR, linewidths=0))
    ax.plot(*_upwards(pose, context.centerline[:, :2]).T, color="white", linewidth=1.2)
    present = np.flatnonzero(context.track_valid[0])
    boxes = box_corners(context.track_states[0, present, :3], *context.track_lwh[present, :2].T)
    colours = [OBJECT_COLOURS[name.lower()] for name in context.track_types[present]]
    ax.add_collection(PolyCollection([_upwards(pose, box) for box in boxes], facecolors=colours, linewidths=0))
    ego = box_corners(np.array([0.0, REAR_AXLE_TO_CENTER_M, np.pi / 2]), LENGTH_M, WIDTH_M)  # drawn upwards already
    ax.add_collection(PolyCollection([ego], facecolors="none", edgecolors="black", linewidths=1.0))
    ax.set(xlim=(-SIDE_M, SIDE_M), ylim=(-BEHIND_M, AHEAD_M), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_plans(ax: Axes, plans: Array, scores: Sequence[float] | Array) -> ScalarMappable:
    """Plans (N, T, 3) as lines coloured by score in [0, 1], the best on top; returns what a colour bar needs."""
    paths = np.concatenate([np.zeros((len(plans), 1, 2)), plans[..., :2]], axis=1)
    order = np.argsort(scores, kind="stable")
    lines = LineCollection(paths[order][..., ::-1] * [-1, 1], linewidths=0.8, alpha=0.85)
    lines.set(array=np.asarray(scores)[order], cmap=SCORE_COLOURS, norm=Normalize(0, 1))
    ax.add_collection(lines)
    return lines


def _upwards(pose: Array, xy: Array) -> Array:
    """Global points (..., 2) as axes coordinates around the ego: forward is up, left is left."""
    local = rotate(xy - pose[:2], np.full(xy.shape[:-1], -pose[2]))
    return np.stack([-local[..., 1], local[..., 0]], axis=-1)
