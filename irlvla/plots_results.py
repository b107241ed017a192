"""Figures of results: scenes with plans and sub-scores, failures with reasons, abilities, confusion, candidates."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from irlvla import PLAN_INTERVAL_S
from irlvla.breakdown import SHORT, VARIANTS
from irlvla.plots import COLUMN_IN, PAGE_IN, draw_plan_lines, plan_colours
from irlvla.plots_camera import draw_plan_bands, draw_saved_image
from irlvla.plots_context import draw_context
from irlvla.saved_scenes import SavedScene

Array = NDArray[np.float64]

SMALL = 6  # points; the smallest text of a figure
SCENES_PER_ROW = 3
VIEW_RATIO = 1.1  # width over height of a view from above
LEAST_AHEAD_M = 25.0
MARKERS = "osD^vPX*hp"
# Names of the closed loop's drivers in figures and tables.
DRIVERS = {
    "constant_velocity": "constant velocity", "ego_status_mlp": "ego-status MLP", "regression_head": "regression head",
    "vocabulary_scorer": "vocabulary scorer", "without_semantics": "IL without semantics", "imitation": "IRL-VLA-IL",
    "rlvr": "RLVR", "reinforcement": "IRL-VLA", "reinforcement_reranked": "IRL-VLA reranked",
    "pdm_closed": "PDM-Closed",
}  # fmt: skip


def scenes_figure(scenes: Mapping[str, SavedScene], titles: Mapping[str, str], scores: pd.DataFrame) -> Figure:
    """A column per scene: camera, view from above, and below them the sub-scores of each plan.

    `titles` are by token, in the order of the columns; `scores` are rows per agent and token of `evaluate`'s table.
    """
    figure = plt.figure(figsize=(PAGE_IN, 0.57 * PAGE_IN))
    parts = figure.subfigures(1, len(titles), squeeze=False)[0]
    for part, (token, title) in zip(parts, titles.items(), strict=True):
        table = _scene(part, scenes[token], title, below=0.24)
        of_plan = scores[scores["token"] == token].set_index("agent").loc[list(scenes[token].plans)]
        draw_sub_scores(table, of_plan[[*SHORT, "score"]].rename(columns=SHORT | VARIANTS))
    _legend(figure, parts[0].axes[1])
    return figure


def failures_figure(scenes: Mapping[str, SavedScene], cases: Mapping[str, str], failures: pd.DataFrame) -> Figure:
    """Three failures a row: camera, view from above with a cross at the place, and the scorer's reason below.

    `cases` are tokens by kind, `failures` rows of one agent of `breakdown.failure_table`. The cross lies on this
    agent's plan at the time of the reason; the car as driven may be a little beside it.
    """
    rows = -(-len(cases) // SCENES_PER_ROW)
    figure = plt.figure(figsize=(PAGE_IN, (0.06 + 0.475 * rows) * PAGE_IN))
    parts = figure.subfigures(rows, SCENES_PER_ROW, squeeze=False).ravel()
    agent = failures.index.get_level_values("agent")[0]
    for part, (kind, token) in zip(parts, cases.items(), strict=False):
        failure = failures.loc[(agent, token)]
        text = _scene(part, scenes[token], kind, below=0.14)
        draw_time(part.axes[1], scenes[token].plans[agent], failure["time_s"])
        words = f"{failure['log_name']}, stage {failure['stage']}: {_abbreviated(failure['reason'])}"
        text.text(0, 1, textwrap.fill(words, 46), fontsize=SMALL, va="top", transform=text.transAxes)
        text.set_axis_off()
    _legend(figure, parts[0].axes[1])
    return figure


def _scene(part: SubFigure, scene: SavedScene, title: str, below: float) -> Axes:
    """Camera and view from above into a part of a figure; returns empty axes below, `below` of the width high."""
    height, width = scene.image.shape[:2]
    camera, above, rest = part.subplots(3, 1, height_ratios=(height / width, 1 / VIEW_RATIO, below))
    colours = plan_colours(list(scene.plans))
    draw_saved_image(camera, scene.image)
    draw_plan_bands(camera, scene.plans, scene.intrinsics, scene.ego_from_camera, colours)
    camera.set_title(title, fontsize="small")
    draw_context(above, scene.context)
    draw_plan_lines(above, scene.plans, colours)
    ahead_m = max(LEAST_AHEAD_M, 1.15 * max(plan[:, 0].max() for plan in scene.plans.values()))
    behind_m = 0.25 * ahead_m
    side_m = VIEW_RATIO * (ahead_m + behind_m) / 2
    above.set(xlim=(-side_m, side_m), ylim=(-behind_m, ahead_m))
    above.grid(False)
    return rest


def draw_sub_scores(ax: Axes, table: pd.DataFrame) -> None:
    """Scores in [0, 1] as text, a line per agent (in its colour) and a column per score; ones are pale."""
    colours = plan_colours(list(table.index))
    across = np.append(np.linspace(0.26, 0.86, len(table.columns) - 1), 0.955)  # the last one, EPDMS, apart
    down = np.linspace(0.88, 0.08, len(table) + 1)
    for x, name in zip(across, table.columns, strict=True):
        ax.text(x, down[0], name, fontsize=SMALL - 1.5, weight="bold", ha="center", va="center")
    for y, (agent, row) in zip(down[1:], table.iterrows(), strict=True):
        ax.text(0, y, agent, fontsize=SMALL - 0.5, color=colours[agent], weight="bold", va="center")
        for x, value in zip(across, row.astype(float), strict=True):
            text, colour = f"{value:.2f}", "0.6" if value > 0.995 else "black"
            text = {"1.00": "1", "0.00": "0"}.get(text, text.lstrip("0"))
            ax.text(x, y, text, fontsize=SMALL, color=colour, ha="center", va="center")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()


def draw_time(ax: Axes, plan: Array, time_s: float) -> None:
    """A cross on a plan (T, 3) in a view from above, where it is after `time_s`."""
    times = PLAN_INTERVAL_S * np.arange(len(plan) + 1)
    x, y = (np.interp(time_s, times, np.append(0, plan[:, axis])) for axis in (0, 1))
    ax.plot(-y, x, marker="x", color="black", markersize=7, markeredgewidth=1.6, zorder=10)


def _abbreviated(reason: str) -> str:
    for name, short in SHORT.items():
        reason = reason.replace(name, short)
    return reason


def _legend(figure: Figure, ax: Axes) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")


def candidates_figure(table: pd.DataFrame) -> Figure:
    """Score with its interval against candidates per scene; vocabularies of several sizes are one curve.

    `table` is `evaluation.candidate_table`. Agents with the same number are drawn side by side.
    """
    families = [name.rsplit(" ", 1)[0] if name.startswith("vocabulary scorer") else name for name in table.index]
    colours = plan_colours(families)
    figure, ax = plt.subplots(figsize=(COLUMN_IN, 0.75 * COLUMN_IN))
    beside = table["candidates"] * 1.12 ** table.groupby("candidates").cumcount()
    for marker, family in zip(cycle(MARKERS), dict.fromkeys(families), strict=False):
        rows = table[np.array(families) == family]
        spread = (rows[["low", "high"]].T - rows["score"]).abs().to_numpy()
        ax.errorbar(beside[rows.index], rows["score"], spread, marker=marker, markersize=4, elinewidth=0.8,
                    color=colours[family], label=family)  # fmt: skip
    ax.set(xscale="log", xlabel="candidates per scene", ylabel="two-stage EPDMS")
    ax.xaxis.set_major_formatter(ScalarFormatter())
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="x-small")
    return figure


def abilities_figure(table: pd.DataFrame) -> Figure:
    """Radar of the success rate by ability, a line per driver; `routes` of each ability are in its label.

    `table` has columns driver, ability, routes, success_rate; the first driver's numbers of routes are shown.
    """
    abilities = table["ability"].unique()
    angles = np.linspace(0, 2 * np.pi, len(abilities), endpoint=False)
    rates = table.pivot(index="driver", columns="ability", values="success_rate")[abilities]
    routes = table.drop_duplicates("ability").set_index("ability")["routes"]
    names = rates.reindex(table["driver"].unique()).rename(DRIVERS)
    colours = plan_colours(list(names.index))
    figure, ax = plt.subplots(figsize=(COLUMN_IN, 1.15 * COLUMN_IN), subplot_kw={"projection": "polar"})
    for marker, (driver, row) in zip(cycle(MARKERS), names.iterrows(), strict=False):
        closed = np.append(row.to_numpy(float), row.iloc[0])
        ax.plot(np.append(angles, angles[0]), closed, marker=marker, markersize=3.5, color=colours[driver],
                label=driver, clip_on=False, linewidth=1.1)  # fmt: skip
    labels = [f"{ability}\n(n = {routes[ability]:.0f})".replace("_", "\n") for ability in abilities]
    ax.set_theta_offset(np.pi / 2)
    ax.set_theta_direction(-1)
    ax.set_xticks(angles, labels, fontsize=SMALL + 0.5)
    ax.tick_params(axis="x", pad=9)
    ax.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"], fontsize=SMALL)
    ax.set_rlabel_position(180 / len(abilities))
    ax.set_ylim(0, 1)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="x-small")
    return figure


def confusion_figure(matrices: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel per kind of command: rows are what the human did, columns what was said; colours are shares of a row.

    The numbers are counts, and n in the label of a row is its sum.
    """
    figure, axes = plt.subplots(1, len(matrices), figsize=(PAGE_IN, 0.52 * PAGE_IN), squeeze=False)
    for ax, (title, counts) in zip(axes[0], matrices.items(), strict=True):
        totals = counts.sum(axis=1)
        share = counts.div(totals.clip(lower=1), axis=0)
        words = counts.astype(str).where(counts > 0, "")
        rows = [f"{name} ({total})" for name, total in totals.items()]
        sns.heatmap(share, ax=ax, cmap="Blues", vmin=0, vmax=1, cbar=False, annot=words, fmt="",
                    annot_kws={"size": SMALL - 0.5}, yticklabels=rows, xticklabels=list(counts.columns),
                    linewidths=0.3, linecolor="#e6e6e6")  # fmt: skip
        ax.set(title=title, xlabel="said", ylabel="human (n)")
        ax.tick_params(labelsize=SMALL, length=0)
    return figure


def costs_figure(costs: pd.DataFrame) -> Figure:
    """Milliseconds per plan (column `ms_per_plan`) of each reward (rows), on a logarithmic axis."""
    figure, ax = plt.subplots(figsize=(COLUMN_IN, 0.5 * COLUMN_IN))
    colours = plan_colours(list(costs.index))
    bars = ax.barh(costs.index, costs["ms_per_plan"], color=[colours[name] for name in costs.index])
    ax.bar_label(bars, fmt=" %.3g", fontsize=SMALL)
    ax.set(xscale="log", xlabel="milliseconds per plan", xlim=(None, 4 * costs["ms_per_plan"].max()))
    ax.tick_params(axis="y", labelsize=SMALL)
    ax.invert_yaxis()
    return figure


def bars_figure(
    table: pd.DataFrame, columns: Mapping[str, str], height: float, limits: Sequence[float] | None = None
) -> Figure:
    """Horizontal bars of agents (rows), a panel per column under its title; `<column>_low`, `_high` are whiskers.

    `height` is in widths of a page.
    """
    figure, axes = plt.subplots(1, len(columns), figsize=(PAGE_IN, height * PAGE_IN), sharey=True)
    colours = plan_colours(list(table.index))
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        bounds = [f"{column}_low", f"{column}_high"]
        spread = (table[bounds].T - table[column]).abs().to_numpy() if bounds[0] in table else None
        ax.barh(table.index, table[column], xerr=spread, color=[colours[name] for name in table.index],
                error_kw={"elinewidth": 0.8})  # fmt: skip
        ax.set(title=title, xlim=limits)
        ax.tick_params(axis="y", labelsize=SMALL + 1)
    axes[0].invert_yaxis()
    return figure
