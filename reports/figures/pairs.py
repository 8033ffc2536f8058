"""Numbers against the truth: said against true, and difference against mean with limits of agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from medpodium.reports.figures.layout import WIDTH, grid, label, name_rows, row_font, rows_height, single
from medpodium.reports.figures.palette import INK, MUTED, NEUTRAL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 8
"""Panels of one figure: with more submissions, the first ones of the ranking."""


def said_against_true(cells: pd.DataFrame, order: Sequence[str], look: Look, axes_names: tuple[str, str]) -> Figure:
    """Draw what was said against what is true; area is the number of cases in a cell.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``submission, x, y, n``.
    """
    figure, panels, names = _panels(cells, order, axes_names)
    low, high = (float(getattr(cells[["x", "y"]].to_numpy(float), end)()) for end in ("min", "max"))
    for axes, name in zip(panels, names, strict=True):
        axes.plot([low, high], [low, high], linestyle=":", color=MUTED, linewidth=0.9)
        _dots(axes, cells[cells["submission"] == name], look.colour(name))
    return figure


def bland_altman(
    cells: pd.DataFrame, limits: pd.DataFrame, order: Sequence[str], look: Look, axes_names: tuple[str, str]
) -> Figure:
    """Draw the difference against the mean, with bias, limits of agreement and their intervals.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``submission, x, y, n``.
    limits : pandas.DataFrame
        ``submission, bias, lower, upper`` and their ``_low`` and ``_high``.
    """
    figure, panels, names = _panels(cells, order, axes_names)
    by_name = limits.set_index("submission")
    for axes, name in zip(panels, names, strict=True):
        axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=":")
        _dots(axes, cells[cells["submission"] == name], look.colour(name))
        for line in ("bias", "lower", "upper") if name in by_name.index else ():
            own: Any = by_name.loc[name]
            value, low, high = (float(own[f"{line}{end}"]) for end in ("", "_low", "_high"))
            axes.axhspan(low, high, color=NEUTRAL, alpha=0.28, linewidth=0)
            axes.axhline(value, color=INK, linewidth=1.0, linestyle="-" if line == "bias" else "--")
    return figure


def all_limits(limits: pd.DataFrame, order: Sequence[str], look: Look, axis: str) -> Figure:
    """Draw bias and limits of agreement of every submission on one axis.

    Parameters
    ----------
    limits : pandas.DataFrame
        As in :func:`bland_altman`.
    """
    names = [name for name in order if name in set(limits["submission"])]
    height = rows_height(len(names))
    figure, axes = single(WIDTH, height)
    by_name = limits.set_index("submission")
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
    for row, name in enumerate(names):
        own: Any = by_name.loc[name]
        axes.plot([own["lower"], own["upper"]], [row, row], color=look.colour(name), linewidth=2.2, alpha=0.6)
        for line in ("lower", "upper"):
            axes.plot([own[f"{line}_low"], own[f"{line}_high"]], [row, row], color=INK, linewidth=0.8)
        axes.plot(own["bias"], row, "o", color=look.colour(name), markersize=5)
    name_rows(axes, names, row_font(len(names), height))
    axes.set_xlabel(axis)
    axes.grid(axis="x")
    return figure


def _panels(
    cells: pd.DataFrame, order: Sequence[str], axes_names: tuple[str, str]
) -> tuple[Figure, list[Axes], list[str]]:
    names = [name for name in order if name in set(cells["submission"])][:SHOWN]
    columns = min(4, max(2, len(names)))
    figure, panels = grid(len(names), columns, WIDTH, 2.0, sharex=True, sharey=True)
    figure.subplots_adjust(hspace=0.4, wspace=0.1)
    for at, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.set_title(label(name, 20), fontsize=7.5)
        axes.tick_params(labelsize=7, labelbottom=True)
        axes.grid()
        if at % columns == 0:
            axes.set_ylabel(axes_names[1], fontsize=7.5)
        if at >= len(names) - columns:
            axes.set_xlabel(axes_names[0], fontsize=7.5)
    return figure, panels, names


def _dots(axes: Axes, own: pd.DataFrame, colour: str) -> None:
    axes.scatter(own["x"], own["y"], s=4 + 4 * own["n"], c=colour, alpha=0.7, linewidths=0)
