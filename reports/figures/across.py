"""All submissions at once: every structure in one picture, how near to the best of a case, two groups of cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.reports.figures.layout import WIDTH, colour_scale, grid, label, labels, row_font, rows_height, single
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import INK, MUTED, NEUTRAL, SEQUENTIAL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 10
"""Submissions drawn in colour and named where each is a line; the others stay grey."""
_NUMBERS = 200
"""Cells of a coloured table up to which each is printed as a number, too."""


def heat_map(wide: pd.DataFrame, axis: str, better: str) -> Figure:
    """Draw the mean of every submission (row) in every structure (column) as a coloured table.

    Parameters
    ----------
    wide : pandas.DataFrame
        Submissions, best first, x printed names of structures.
    better : {"higher", "lower"}
        Which values are better: those are light.
    """
    table = wide.to_numpy(float)
    rows, columns = table.shape
    height = rows_height(rows, margin=1.7)
    figure, axes = single(min(WIDTH, 3.2 + 0.5 * columns), height)
    picture = axes.pcolormesh(table, cmap=SEQUENTIAL if better == "higher" else f"{SEQUENTIAL}_r", linewidth=0)
    known = table[np.isfinite(table)]
    if table.size <= _NUMBERS and known.size:
        low, high = float(known.min()), float(known.max())
        digits = 2 if high < 100 else 0
        for row, column in np.argwhere(np.isfinite(table)):
            share = (table[row, column] - low) / ((high - low) or 1.0)
            light = share > 0.55 if better == "higher" else share < 0.45
            axes.text(
                column + 0.5, row + 0.5, f"{table[row, column]:.{digits}f}", ha="center", va="center",
                fontsize=min(7.0, 92 / max(columns, 8)), color="#101418" if light else "#ffffff",
            )  # fmt: skip
    for at, part in enumerate(wide.columns):
        for row, name in enumerate(wide.index):
            tell(axes, str(name), at + 0.5, row + 0.5, part=str(part), cell=True)
    heads = labels([str(name) for name in wide.columns], 22 if columns > 6 else 34)
    axes.set_xticks(np.arange(columns) + 0.5, heads, rotation=45, ha="right", fontsize=min(8, 260 / columns))
    axes.set_yticks(np.arange(rows) + 0.5, labels(list(map(str, wide.index))), fontsize=row_font(rows, height))
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    colour_scale(figure, picture, axes, label(axis, 40))
    return figure


def profiles(values: pd.DataFrame, order: Sequence[str], look: Look, axis: str, better: str) -> Figure:
    """Draw in which share of the cases a submission comes within a distance of the best of each case.

    Parameters
    ----------
    values : pandas.DataFrame
        Cases x submissions; a case that does not count for a submission (NaN) is none of its cases.
    """
    behind = distances(values, better)
    figure, axes = single(WIDTH, 3.4)
    known = behind.to_numpy(float)
    far = float(np.nanquantile(known, 0.95)) if np.isfinite(known).any() else 1.0
    across = np.linspace(0, far or 1.0, 200)
    lines: list[Any] = []
    for at, name in reversed(list(enumerate(order))):
        own = np.sort(behind[name].dropna().to_numpy(float))
        share = 100 * np.searchsorted(own, across + 1e-12, side="right") / max(len(own), 1)
        named = at < LINES
        drawn = axes.plot(
            across, share, drawstyle="steps-post", color=look.colour(name) if named else NEUTRAL,
            linewidth=1.4 if named else 0.7, label=label(name) if named else None, zorder=3 if named else 1,
        )  # fmt: skip
        lines += drawn if named else []
    axes.set_xlabel(f"{axis}: behind the best of the case by at most")
    axes.set_ylabel("cases (%)")
    axes.set_ylim(0, 101)
    axes.set_xlim(0, far or 1.0)
    axes.grid()
    axes.legend(handles=lines[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def distances(values: pd.DataFrame, better: str) -> pd.DataFrame:
    """Return how far every value is behind the best of its case."""
    best = values.max(axis=1) if better == "higher" else values.min(axis=1)
    return values.sub(best, axis=0).abs()


def slopes(ends: pd.DataFrame, look: Look, axis: str, better: str) -> Figure:
    """Draw the means of two groups of cases, one line per submission.

    Parameters
    ----------
    ends : pandas.DataFrame
        Submissions, best first, x the two levels.
    better : {"higher", "lower"}
        Better values are on top.
    """
    rows = len(ends)
    height = max(3.2, min(7.0, 1.2 + 0.22 * min(rows, LINES * 2)))
    figure, axes = single(min(WIDTH, 5.6), height)
    for at, (name, own) in reversed(list(enumerate(ends.iterrows()))):
        named = at < LINES
        axes.plot(
            [0, 1], own.to_numpy(float), marker=look.marker(str(name)) if named else "o",
            markersize=4.5 if named else 2,
            color=look.colour(str(name)) if named else NEUTRAL, linewidth=1.3 if named else 0.6,
            zorder=3 if named else 1,
        )  # fmt: skip
        says = [f"{level}: {value:.3g}" for level, value in own.items()]
        tell(axes, str(name), [0, 1], own, says=says)
    if better == "lower":
        axes.invert_yaxis()
    _names_beside(axes, ends.head(LINES), 11 / (72 * 0.77 * height))
    axes.set_xlim(-0.12, 1.12)
    axes.set_xticks([0, 1], labels([str(level) for level in ends.columns], 30))
    axes.set_ylabel(f"{axis}, mean")
    axes.grid(axis="y")
    return figure


def _names_beside(axes: Axes, ends: pd.DataFrame, line: float) -> None:
    """Write names right of the lines, as near to their ends as they fit; a line of text takes a share of the axis."""
    low, high = sorted(axes.get_ylim())
    step = line * (high - low)
    last = ends.iloc[:, 1].astype(float)
    last = last.fillna(ends.iloc[:, 0].astype(float)).sort_values()
    spots: list[float] = []
    for value in last:
        spots.append(max(float(value), spots[-1] + step) if spots else float(value))
    over = max(0.0, spots[-1] - high) if spots else 0.0
    for name, value, spot in zip(last.index, last, spots, strict=True):
        axes.annotate(
            label(str(name), 22), (1.03, float(value)), (1.12, spot - over), va="center", fontsize=7.5, color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.4, "relpos": (0.0, 0.5), "shrinkA": 1},
        )  # fmt: skip


def some_named(submissions: int) -> str:
    """Return the sentence on lines that stay grey, where some do."""
    return f" In colour: the first {LINES} of the ranking." if submissions > LINES else ""


def spread(places: npt.NDArray[np.float64]) -> list[float]:
    """Return the first, the last and the middlemost of positive places, where that is apart from both on a log axis."""
    first, last = float(places.min()), float(places.max())
    middle = float(places[np.abs(np.log(places) - np.log(first * last) / 2).argmin()])
    third = np.log(last / first) / 3
    apart = np.log(middle / first) >= third and np.log(last / middle) >= third
    return sorted({first, last, *([middle] if apart else [])})


def against_size(means: pd.DataFrame, order: Sequence[str], look: Look, axis: str) -> Figure:
    """Draw the mean of every submission in classes of size, one panel per structure.

    Parameters
    ----------
    means : pandas.DataFrame
        ``structure, ml, cases, submission, mean``, classes from small to large.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, NullLocator

    parts = list(dict.fromkeys(means["structure"]))
    figure, panels = grid(len(parts), 3, WIDTH, 2.1)
    figure.subplots_adjust(hspace=0.62, wspace=0.32)
    for at, (axes, part) in enumerate(zip(panels, parts, strict=True)):
        own = means[means["structure"] == part].pivot(index="ml", columns="submission", values="mean")
        for place, name in reversed(list(enumerate(order))):
            named, values = place < LINES, own[name].to_numpy(float)
            axes.plot(
                own.index, values, marker=look.marker(name), markersize=3, linewidth=1.1 if named else 0.5,
                color=look.colour(name) if named else NEUTRAL, zorder=3 if named else 1,
            )  # fmt: skip
            tell(axes, name, own.index, values, says=[f"{part}, {ml:g} ml: {one:.3g}" for ml, one in own[name].items()])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(spread(own.index.to_numpy(float))))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(label(part, 24), fontsize=8)
        axes.grid(axis="y")
        if at % 3 == 0:
            axes.set_ylabel(label(axis, 30), fontsize=7.5)
        if at >= len(parts) - 3:
            axes.set_xlabel("volume (ml)", fontsize=7.5)
    handles = [
        Line2D([], [], color=look.colour(name), marker=look.marker(name), markersize=3.5, label=label(name, 22))
        for name in order[:LINES]
    ]
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.93), ncol=4, fontsize=7)
    return figure
