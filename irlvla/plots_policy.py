"""Pictures of what the policy perceives and plans: predicted against true, from above, driving upwards."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from irlvla.geometry import box_corners
from irlvla.models.perception import detections
from irlvla.plots import EGO_COLOUR, HUMAN_COLOUR, PALETTE
from irlvla.scenes.targets import BOX_COLUMNS, NO_CLASS
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

LINE_COLOURS = ("#8d99a6", PALETTE[3], PALETTE[4])  # of MAP_CLASSES
CLASS_COLOURS = (PALETTE[0], PALETTE[1], PALETTE[4], PALETTE[8])  # of OBJECT_CLASSES


def frame(ax: Axes, x_range_m: Sequence[float], y_range_m: Sequence[float]) -> None:
    """Axes for a view from above with the ego's outline."""
    draw_boxes(ax, np.array([[REAR_AXLE_TO_CENTER_M, 0, 0]]), np.array([[LENGTH_M, WIDTH_M]]), [EGO_COLOUR])
    ax.set(xlim=(-y_range_m[1], -y_range_m[0]), ylim=tuple(x_range_m), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)


def draw_boxes(ax: Axes, poses: NDArray, sizes_m: NDArray, colours: Sequence) -> None:
    """Outlines of boxes with poses (n, 3) and length, width (n, 2) in the ego frame."""
    for corners, colour in zip(box_corners(poses, sizes_m[:, 0], sizes_m[:, 1]), colours, strict=True):
        closed = np.concatenate([corners, corners[:1]])
        ax.plot(-closed[:, 1], closed[:, 0], color=colour, linewidth=1.0)


def draw_objects_and_map(
    ax: Axes, boxes: NDArray, box_class: NDArray, polylines: NDArray, polyline_class: NDArray
) -> None:
    """Objects (A, 9) and map lines (M, P, 2); rows of NO_CLASS are left out."""
    for line, label in zip(polylines, polyline_class, strict=True):
        if label != NO_CLASS:
            ax.plot(-line[:, 1], line[:, 0], color=LINE_COLOURS[label], linewidth=1.0)
    rows = np.flatnonzero(box_class != NO_CLASS)
    pose_columns = [BOX_COLUMNS.index(name) for name in ("x", "y", "heading")]
    size_columns = [BOX_COLUMNS.index(name) for name in ("length", "width")]
    colours = [CLASS_COLOURS[label] for label in box_class[rows]]
    draw_boxes(ax, boxes[rows][:, pose_columns], boxes[rows][:, size_columns], colours)


def confident(predictions: Mapping[str, torch.Tensor], row: int, threshold: float) -> tuple[NDArray, ...]:
    """Boxes, their classes, map lines and their classes of one sample; NO_CLASS below the probability threshold."""
    boxes, label, probability = (x[row] for x in detections(predictions))
    line_probability, line_label = predictions["polyline_logits"][row].softmax(-1)[..., :-1].max(-1)
    box_class = torch.where(probability > threshold, label, NO_CLASS)
    line_class = torch.where(line_probability > threshold, line_label, NO_CLASS)
    return tuple(x.numpy() for x in (boxes, box_class, predictions["polylines"][row], line_class))


def draw_candidates(ax: Axes, plans: NDArray, human: NDArray | None, chosen: int | None = None) -> None:
    """K plans (K, T, 3) as thin lines, the chosen one and the human plan (T, 3) on top."""
    for plan in plans:
        ax.plot(-plan[:, 1], plan[:, 0], color=PALETTE[0], linewidth=0.8, alpha=0.6)
    if human is not None:
        ax.plot(-human[:, 1], human[:, 0], color=HUMAN_COLOUR, linewidth=2.2, label="human")
    if chosen is not None:
        ax.plot(-plans[chosen, :, 1], plans[chosen, :, 0], color=PALETTE[3], linewidth=1.6, label="chosen")
