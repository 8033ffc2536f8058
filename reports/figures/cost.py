"""What methods cost and what pre-training brings: memory-time curves, accuracy against cost, transfer gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    TALLEST,
    WIDTH,
    grid,
    label,
    labels,
    new_figure,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import INK, MUTED, OTHERS, Look
from medpodium.reports.figures.raw import boxes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_PAGE = 12
"""Submissions per figure of memory-time curves."""
_LETTERS = 52
"""Letters that fit side by side below the panel of accuracy against cost."""
_DISC = 13.0
"""Width of a disc in points in which two digits can be read; beside a smaller one its number stands."""
_LISTED = 32
"""Submissions that one column of the list beside the panel names."""
_APART = (11.5, 10.0)
"""Points between the middles of two numbers, across and up, from which on they do not touch."""


def memory_curves(curves: pd.DataFrame, order: Sequence[str], look: Look) -> Figure:
    """Draw memory against time, one panel per submission, one line per case.

    Parameters
    ----------
    curves : pandas.DataFrame
        ``submission, case, seconds, megabytes``.
    order : sequence of str
        Submissions of this page, at most :data:`PER_PAGE`.
    """
    figure, panels = grid(
        len(order), min(3, len(order)), WIDTH, 1.75 if len(order) > 1 else 3.0, sharex=True, sharey=True
    )
    for axes, name in zip(panels, order, strict=True):
        mine = curves[curves["submission"] == name]
        cases = mine["case"].nunique()
        for _, run in mine.groupby("case", sort=True):
            axes.plot(
                run["seconds"], run["megabytes"] / 1000, color=look.colour(name), linewidth=0.8,
                alpha=max(0.15, min(0.9, 6 / cases)), drawstyle="steps-post",
            )  # fmt: skip
        axes.set_title(label(name, 24), fontsize=8)
        axes.grid()
    panels[0].set_ylim(0, 1.05 * float(curves["megabytes"].max()) / 1000)
    figure.supxlabel("time (s)", fontsize=8.5)
    figure.supylabel("memory (GB)", fontsize=8.5)
    return figure


def accuracy_cost(
    points: pd.DataFrame, order: Sequence[str], look: Look, axes_names: tuple[str, str], better: str
) -> Figure:
    """Draw mean accuracy against mean cost, each point numbered by the list beside it, where the numbers have room.

    Parameters
    ----------
    points : pandas.DataFrame
        Indexed by submission: ``cost`` (lower is better), ``accuracy`` and, where discs have areas, ``memory``.
    axes_names : (str, str)
        Names of the cost and the accuracy axis.
    better : {"higher", "lower"}
        Direction of the accuracy axis.
    """
    shown = [
        name
        for name in order
        if name in points.index and np.isfinite(points.loc[name, ["cost", "accuracy"]].to_numpy(float)).all()
    ]
    columns = 1 + (len(shown) > _LISTED)
    rows = max(-(-len(shown) // columns), 14)
    height = min(TALLEST, max(3.6, 0.8 + 0.155 * rows))
    figure = new_figure(WIDTH, height)
    axes, side = figure.subplots(1, 2, width_ratios=(1, 0.44 if columns == 1 else 0.62))
    figure.subplots_adjust(wspace=0.04)
    cost = points.loc[shown, "cost"].to_numpy(float)
    accuracy = points.loc[shown, "accuracy"].to_numpy(float)
    front = pareto(cost, accuracy if better == "higher" else -accuracy)
    axes.plot(cost[front], accuracy[front], color=MUTED, linewidth=1, linestyle="--", zorder=1)
    if shown and 0 < 20 * cost.min() < cost.max():
        _decades(axes, float(cost.min()), float(cost.max()))
    sizes = _sizes(points.loc[shown])
    for at, name in enumerate(shown):
        axes.plot(
            cost[at],
            accuracy[at],
            "o",  # a disc, not the mark of the submission: a number has no room in a triangle
            markersize=sizes[at],
            color=look.colour(name),
            markeredgecolor="#ffffff",
            zorder=2,
        )
        tell(axes, name, cost[at], accuracy[at])
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    axes.grid()
    if better == "lower":
        axes.invert_yaxis()
    _numbers(axes, cost, accuracy, sizes, [look.colour(name) for name in shown])
    side.set_axis_off()
    side.set_ylim(rows + 0.5, 0.5)
    side.set_xlim(0, columns)
    for at, text in enumerate(labels(shown, 22 if columns == 1 else 14)):
        left, row = at // rows, at % rows + 1
        side.plot(left + 0.05, row, "o", color=look.colour(shown[at]), markersize=5)
        side.text(
            left + 0.08 + 0.03 * columns, row, f"{at + 1}  {text}", va="center",
            fontsize=min(7.5, row_font(rows, height)), color=INK,
        )  # fmt: skip
    return figure


def _numbers(
    axes: Axes, cost: np.ndarray, accuracy: np.ndarray, sizes: Sequence[float], colours: Sequence[str]
) -> None:
    """Write the numbers of the discs, the first of the ranking first: in the disc, or beside it where it is small."""
    axes.autoscale_view()  # until then nothing knows where it will stand
    placed: list[np.ndarray] = []
    points: np.ndarray = axes.transData.transform(np.column_stack([cost, accuracy])) * 72 / axes.figure.dpi
    for at, point in enumerate(points):
        inside = sizes[at] >= _DISC
        away = 0.0 if inside else sizes[at] / 2 + 2.5
        spot = point + away
        others = np.delete(points, at, axis=0) if away else np.empty((0, 2))
        if any((np.abs(spot - other) < _APART).all() for other in [*placed, *others]):
            continue  # numbers on each other, or on discs, cannot be read: pages name the disc under the pointer
        placed.append(spot)
        axes.annotate(
            str(at + 1), (cost[at], accuracy[at]), (away, away), textcoords="offset points", ha="center", va="center",
            fontsize=7.5, color=_readable(colours[at]) if inside else INK, zorder=3, fontweight="bold",
        )  # fmt: skip


def _decades(axes: Axes, low: float, high: float) -> None:
    """Give a panel a logarithmic axis with as many labels as fit beside each other."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("log")
    span = high / low
    low, high = low / span**0.05, high * span**0.05
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Decades alone can leave an axis with one label or none.
    for steps, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        spots = [step * 10.0**power for power in powers if power % every == 0 for step in steps]
        spots = [spot for spot in spots if low <= spot <= high]
        texts = [f"{spot:,.0f}" if spot >= 1 else f"{spot:g}" for spot in spots]
        if sum(len(text) + 2 for text in texts) <= _LETTERS:
            break
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(spots))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.xaxis.set_minor_locator(NullLocator())


def _sizes(points: pd.DataFrame) -> list[float]:
    """Return the width of every mark in points; areas follow the memory, where it is told."""
    if "memory" not in points:
        return [_DISC if len(points) <= _LISTED else 7.0] * len(points)
    memory = points["memory"].to_numpy(float)
    largest = np.nanmax(memory, initial=0.0) or 1.0
    widths = 24 * np.sqrt(np.nan_to_num(memory, nan=0.0) / largest)
    return [float(width) for width in np.clip(widths, 5.0, 24.0)]


def _readable(colour: str) -> str:
    """Return black or white, whichever reads better on a colour (relative luminance of WCAG 2.2)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#101418" if luminance > 0.24 else "#ffffff"


def pareto(cost: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the indices of the points no other point beats in both cost (lower) and gain (higher), by cost."""
    order = np.lexsort((-gain, cost))
    best, kept = -np.inf, []
    for at in order:
        if gain[at] > best:
            best = gain[at]
            kept.append(at)
    return np.array(kept, dtype=int)


def transfer_gains(gains: pd.DataFrame, axis: str) -> Figure:
    """Draw the gain of fine-tuning over training from scratch, per data set, one row of panels per model.

    Parameters
    ----------
    gains : pandas.DataFrame
        ``model, case, group, gain``; each row one data set.
    """
    models = list(dict.fromkeys(gains["model"]))
    groups = list(dict.fromkeys(gains["group"]))
    colours = {group: OTHERS[at % len(OTHERS)] for at, group in enumerate(groups)}
    figure, panels = grid(len(models), 1, WIDTH, 1.75, sharex=True, sharey=True)
    figure.subplots_adjust(hspace=0.24)
    for axes, model in zip(panels, models, strict=True):
        mine = gains[gains["model"] == model].sort_values("gain", ascending=False, kind="stable")
        axes.bar(
            np.arange(len(mine)), mine["gain"], 0.82, color=[colours[group] for group in mine["group"]], linewidth=0
        )
        axes.axhline(0, color=INK, linewidth=0.9)
        up, down = int((mine["gain"] > 0).sum()), int((mine["gain"] < 0).sum())
        axes.set_title(f"{label(model)}: {up} up, {down} down, median {mine['gain'].median():+.4f}", fontsize=8)
        axes.grid(axis="y")
        axes.set_xticks([])
    figure.supylabel(axis, fontsize=8.5)
    panels[-1].set_xlabel("data sets, sorted by gain")
    from matplotlib.patches import Patch

    figure.legend(
        handles=[Patch(color=colours[group], label=label(str(group) or "unknown", 24)) for group in groups],
        loc="outside upper center",
        ncol=min(5, len(groups)),
    )
    return figure


def transfer_by_group(gains: pd.DataFrame, axis: str) -> Figure:
    """Draw the distribution of the gain per group of data sets and model.

    Parameters
    ----------
    gains : pandas.DataFrame
        ``model, case, group, gain``.
    """
    models = list(dict.fromkeys(gains["model"]))
    groups = list(dict.fromkeys(gains["group"]))
    height = rows_height(len(groups) * len(models), margin=1.0, each=0.24)
    figure, axes = single(WIDTH, height)
    random = np.random.default_rng(38)
    names, spots, spot = [], [], 0.0
    for group in groups:
        for at, model in enumerate(models):
            values = gains.loc[(gains["group"] == group) & (gains["model"] == model), "gain"].to_numpy(float)
            axes.plot(
                values,
                spot + random.uniform(-0.18, 0.18, values.size),
                "o",
                markersize=3,
                alpha=0.6,
                color=OTHERS[at],
                markeredgewidth=0,
            )
            boxes(axes, [values], [spot], 0.5)
            names.append(f"{label(str(group) or 'unknown', 18)} (n = {values.size}), {label(model, 16)}")
            spots.append(spot)
            spot += 1
        spot += 0.5
    axes.set_yticks(spots, names, fontsize=row_font(int(spot) + 1, height))
    axes.set_ylim(spot - 0.4, -0.8)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel(axis)
    axes.grid(axis="x")
    return figure
