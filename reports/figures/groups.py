"""Differences between groups of cases: domain gap and subgroup plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    WIDTH,
    colour_scale,
    label,
    labels,
    name_rows,
    records,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import BETTER, INK, MARKERS, MUTED, OTHERS, SEQUENTIAL, WORSE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LEVELS = 6
"""With more levels than this, a subgroup plot becomes a coloured table: so many dots cannot be told apart."""


def domain_gap(gaps: pd.DataFrame, order: Sequence[str], axis: str, level: str) -> Figure:
    """Draw, per submission, the mean in one level minus the mean in all other cases, with its interval.

    Parameters
    ----------
    gaps : pandas.DataFrame
        Indexed by submission: ``gap``, ``low``, ``high``, ``better_in`` ("level", "rest" or "").
    """
    height = rows_height(len(order))
    figure, axes = single(WIDTH, height)
    colours = {"level": BETTER, "rest": WORSE, "": MUTED}
    axes.axvline(0, color=INK, linewidth=0.9)
    for row, name in enumerate(order):
        if name not in gaps.index:
            continue
        gap = gaps.loc[name]
        colour = colours.get(str(gap["better_in"]), MUTED)
        axes.plot([gap["low"], gap["high"]], [row, row], color=colour, linewidth=1.6)
        axes.plot(gap["gap"], row, "o", color=colour, markersize=4.6)
        tell(axes, name, gap["gap"], row, says=[f"{gap['gap']:.3g} [{gap['low']:.3g}, {gap['high']:.3g}]"])
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlabel(f"{axis}: mean in {label(level)} minus mean in the other cases")
    axes.grid(axis="x")
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", color=BETTER, label=f"better in {label(level)}"),
        Line2D([], [], marker="o", color=WORSE, label="better elsewhere"),
        Line2D([], [], marker="o", color=MUTED, label="interval contains zero"),
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3)
    return figure


def subgroups(cells: pd.DataFrame, order: Sequence[str], axis: str, better: str) -> Figure:
    """Draw the mean of every submission in every level of a group.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``level, submission, cases, mean, lower, upper``; levels in printing order.
    better : {"higher", "lower"}
        Which values are better.
    """
    levels = list(dict.fromkeys(cells["level"]))
    if len(levels) > MOST_LEVELS:
        return _coloured_table(cells, order, levels, axis, better)
    height = rows_height(len(order), margin=1.1, each=0.24 if len(levels) < 4 else 0.3)
    figure, axes = single(WIDTH, height)
    rows = {name: at for at, name in enumerate(order)}
    step = 0.66 / len(levels)
    shown: list[Any] = []
    for index, level in enumerate(levels):
        mine = cells[(cells["level"] == level) & cells["submission"].isin(rows)]
        spots = mine["submission"].map(rows).to_numpy(float) + (index - (len(levels) - 1) / 2) * step
        colour = OTHERS[index]
        axes.hlines(spots, mine["lower"], mine["upper"], color=colour, linewidth=1.1, alpha=0.75)
        size = int(mine["cases"].max()) if len(mine) else 0
        for spot, own in zip(spots, records(mine), strict=True):
            tell(axes, own.submission, own.mean, spot, says=[_said(own)])
        shown += axes.plot(
            mine["mean"], spots, linestyle="", marker=MARKERS[index % len(MARKERS)], color=colour,
            markersize=max(2.2, min(4.2, 100 * step / len(order) * 4)), label=f"{label(str(level), 22)} (n = {size})",
        )  # fmt: skip
    for row in range(1, len(order)):
        axes.axhline(row - 0.5, color=MUTED, linewidth=0.25)
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlabel(axis)
    axes.grid(axis="x")
    axes.legend(handles=shown, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3, handletextpad=0.3)
    return figure


def _said(own: Any) -> str:
    """Return what a mean of a group says, with its interval where it has one."""
    ends = f" [{own.lower:.3g}, {own.upper:.3g}]" if own.lower == own.lower and own.upper == own.upper else ""
    return f"{own.level}: {own.mean:.3g}{ends}, {own.cases:,.0f} cases"


def _coloured_table(cells: pd.DataFrame, order: Sequence[str], levels: Sequence[str], axis: str, better: str) -> Figure:
    height = rows_height(len(order), margin=1.6)
    figure, axes = single(WIDTH, height)
    wide = cells.pivot(index="submission", columns="level", values="mean").reindex(
        index=list(order), columns=list(levels)
    )
    colours = SEQUENTIAL if better == "higher" else f"{SEQUENTIAL}_r"
    picture = axes.pcolormesh(wide.to_numpy(float), cmap=colours, edgecolors="none")
    column, row_of = {level: at for at, level in enumerate(levels)}, {name: at for at, name in enumerate(order)}
    for own in records(cells[cells["submission"].isin(row_of)]):
        tell(axes, own.submission, column[own.level] + 0.5, row_of[own.submission] + 0.5, says=[_said(own)], cell=True)
    size = cells.groupby("level")["cases"].max()
    heads = [f"{text} ({size[level]})" for text, level in zip(labels(list(map(str, levels)), 18), levels, strict=True)]
    axes.set_xticks(np.arange(len(levels)) + 0.5, heads, rotation=45, ha="right", fontsize=min(8, 220 / len(levels)))
    axes.set_yticks(np.arange(len(order)) + 0.5, labels(order), fontsize=row_font(len(order), height))
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    colour_scale(figure, picture, axes, axis)
    return figure
