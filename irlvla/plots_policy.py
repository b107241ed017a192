"""Pictures of what the policy perceives and plans: predicted against true, from above, driving upwards."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from irlvla.geometry import box_corners
from irlvla.models.perception import detections
from irlvla.models.policy import Policy, best_plan
from irlvla.plots import EGO_COLOUR, HUMAN_COLOUR, PAGE_IN, PALETTE, draw_classes
from irlvla.scenes.targets import BEV_CLASSES, BOX_COLUMNS, NO_CLASS
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

LINE_COLOURS = ("#8d99a6", PALETTE[3], PALETTE[4])  # of MAP_CLASSES
CONFIDENT = 0.4  # predictions of a lower probability are not drawn
ROUTE_COLOUR = PALETTE[2]
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


def draw_route(ax: Axes, points: NDArray) -> None:
    """Points (R, 2) of the route ahead, from the ego on."""
    x, y = np.concatenate([np.zeros((1, 2)), points]).T
    ax.plot(-y, x, color=ROUTE_COLOUR, linewidth=1.0)


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


def plan_panels(plan_sets: Mapping[str, NDArray], x_range_m: Sequence[float], y_range_m: Sequence[float]) -> Figure:
    """A panel per set of plans (n, T, 3), under its title."""
    figure, axes = plt.subplots(1, len(plan_sets), figsize=(PAGE_IN, 3.2))
    for ax, (title, plans) in zip(axes, plan_sets.items(), strict=True):
        frame(ax, x_range_m, y_range_m)
        draw_candidates(ax, plans, None)
        ax.set_title(title)
    return figure


def objects_and_map_panels(
    batch: Mapping[str, torch.Tensor],
    predictions: Mapping[str, torch.Tensor],
    x_range_m: Sequence[float],
    y_range_m: Sequence[float],
) -> Figure:
    """True objects, map lines and route of each sample of the batch; below them the predicted ones over the true, now
    pale.
    """
    names = ("boxes", "box_class", "polylines", "polyline_class")
    figure, axes = plt.subplots(2, len(batch["boxes"]), figsize=(PAGE_IN, 3.8))
    for row, (true, predicted) in enumerate(axes.T):
        for ax in (true, predicted):
            draw_objects_and_map(ax, *(batch[name][row].numpy() for name in names))
            draw_route(ax, batch["route"][row].numpy()[batch["route_inside"][row].numpy()])
        plt.setp(predicted.lines, alpha=0.25, linewidth=3.0)
        draw_objects_and_map(predicted, *confident(predictions, row, CONFIDENT))
        draw_route(predicted, predictions["route"][row].numpy())
        for ax, title in ((true, "true"), (predicted, "predicted over true")):
            frame(ax, x_range_m, y_range_m)
            ax.set_title(title)
    return figure


def segmentation_panels(
    true: NDArray, predicted: NDArray, x_range_m: Sequence[float], y_range_m: Sequence[float]
) -> Figure:
    """True (n, X, Y) and predicted (n, X', Y') BEV classes of n samples side by side."""
    figure, axes = plt.subplots(1, 2 * len(true), figsize=(PAGE_IN, 1.9))
    for pair, *grids in zip(axes.reshape(-1, 2), true, predicted, strict=True):
        for ax, grid, title in zip(pair, grids, ("true", "predicted"), strict=True):
            draw_classes(ax, grid, BEV_CLASSES, x_range_m, y_range_m)
            ax.set_title(title)
            ax.get_legend().set_visible(ax is axes[-1])
    return figure


@torch.no_grad()
def attention_over_bev(policy: Policy, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B, K, side, side) where candidates look in the BEV tokens, x-major: last step and block, mean over heads."""
    look, seen = policy.planner.blocks[-1].looks["bev"], []
    hook = look.register_forward_pre_hook(lambda module, given: seen.append(given))
    policy.plan(tokens)
    hook.remove()
    features, (keys, _) = seen[-1]
    queries = look.queries(features)
    weights = (queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])).softmax(dim=-1).mean(dim=1)
    side = math.isqrt(keys.shape[2])
    return weights.unflatten(2, (side, side))


def attention_panels(
    policy: Policy,
    tokens: dict[str, torch.Tensor],
    human: NDArray,
    x_range_m: Sequence[float],
    y_range_m: Sequence[float],
) -> Figure:
    """For each scene where the driven candidate looks in the BEV tokens, with it and the human plan (B, T, 3)."""
    plans, logits = policy.plan(tokens)
    driven, chosen = best_plan(plans, logits).detach().numpy(), logits.argmax(dim=1)
    weights = attention_over_bev(policy, tokens)[torch.arange(len(chosen)), chosen].numpy()
    figure, axes = plt.subplots(1, len(weights), figsize=(PAGE_IN, 2.1))
    for ax, weight, plan, other in zip(axes, weights, driven, human, strict=True):
        extent = (-y_range_m[0], -y_range_m[1], *x_range_m)  # columns run with y, to the left
        ax.imshow(weight, origin="lower", extent=extent, cmap="Blues", vmin=0)
        frame(ax, x_range_m, y_range_m)
        draw_candidates(ax, plan[None], other, 0)
    return figure
