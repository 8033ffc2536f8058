"""Curves of probabilities: reliability diagrams, ROC and precision-recall, accuracy and calibration along a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    WIDTH,
    colour_scale,
    grid,
    label,
    labels,
    new_figure,
    row_font,
    rows_height,
)
from medpodium.reports.figures.palette import INK, MUTED, NEUTRAL, SEQUENTIAL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12
"""Panels of one figure: with more submissions, the first ones of the ranking."""
LINES = 10
"""Lines of one panel that can be told apart; more submissions are grey, or a coloured table."""
BANDS = 4
"""Bands of one panel that can be told apart."""


def reliability(bins: pd.DataFrame, order: Sequence[str], look: Look, axes_names: tuple[str, str]) -> Figure:
    """Draw, per submission, what part is right against the mean confidence of each bin; below, how many are in it.

    Parameters
    ----------
    bins : pandas.DataFrame
        ``submission, n, confidence, right, right_low, right_high``.
    axes_names : (str, str)
        What both axes show.
    """
    shown = [name for name in order if name in set(bins["submission"])][:SHOWN]
    figure, panels = grid(len(shown), min(4, max(2, len(shown))), WIDTH, 2.05, sharex=True, sharey=True)
    figure.subplots_adjust(hspace=0.42, wspace=0.12)
    for axes, name in zip(panels, shown, strict=True):
        own = bins[bins["submission"] == name]
        axes.plot([0, 1], [0, 1], linestyle=":", color=MUTED, linewidth=0.9)
        share = own["n"].to_numpy(float) / own["n"].sum()
        axes.bar(own["confidence"], 0.28 * share / share.max(), 0.05, color=NEUTRAL, alpha=0.55, linewidth=0)
        axes.vlines(own["confidence"], own["right_low"], own["right_high"], color=look.colour(name), linewidth=1.3)
        axes.plot(own["confidence"], own["right"], "o-", color=look.colour(name), markersize=3.4, linewidth=0.8)
        axes.set_title(f"{label(name, 20)} ({own['n'].sum():,})", fontsize=7.2)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=7, labelbottom=True)
        axes.grid()
    columns = min(4, max(2, len(shown)))
    for axes in panels[::columns]:
        axes.set_ylabel(axes_names[1], fontsize=7.5)
    for axes in panels[-columns:]:
        axes.set_xlabel(axes_names[0], fontsize=7.5)
    return figure


def both_curves(roc: pd.DataFrame, pr: pd.DataFrame, order: Sequence[str], look: Look, prevalence: float) -> Figure:
    """Draw ROC curves and precision-recall curves side by side, with bands where few submissions have them.

    Parameters
    ----------
    roc, pr : pandas.DataFrame
        ``submission, x, y, low, high``.
    prevalence : float
        Share of positive cases: the precision of chance.
    """
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(wspace=0.25, bottom=0.3)
    named = [name for name in order if name in set(roc["submission"])]
    lines: list[Any] = []
    for axes, rows in ((left, roc), (right, pr)):
        for at, name in reversed(list(enumerate(named))):
            own = rows[rows["submission"] == name]
            told = at < LINES
            colour = look.colour(name) if told else NEUTRAL
            if len(named) <= BANDS and own["low"].notna().any():
                axes.fill_between(own["x"], own["low"], own["high"], color=colour, alpha=0.16, linewidth=0)
            drawn = axes.plot(
                own["x"], own["y"], color=colour, linewidth=1.4 if told else 0.5, alpha=1 if told else 0.6,
                drawstyle="default" if axes is left else "steps-pre", label=label(name, 22) if told else None,
            )  # fmt: skip
            lines += drawn if told and axes is left else []
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.grid()
    left.plot([0, 1], [0, 1], linestyle=":", color=MUTED, linewidth=0.9)
    right.axhline(prevalence, linestyle=":", color=MUTED, linewidth=0.9)
    left.set_xlabel("1 - specificity")
    left.set_ylabel("sensitivity")
    right.set_xlabel("recall (sensitivity)")
    right.set_ylabel("precision")
    figure.legend(handles=lines[::-1], loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=4, fontsize=7)
    return figure


def along(levels: pd.DataFrame, scale: Sequence[str], order: Sequence[str], look: Look, name: str) -> Figure:
    """Draw accuracy, and confidence minus accuracy, along the levels of a scale.

    Parameters
    ----------
    levels : pandas.DataFrame
        ``level, submission, right, right_low, right_high, shift, shift_low, shift_high``.
    scale : sequence of str
        Levels in their order.
    name : str
        What the scale is called.
    """
    named = [one for one in order if one in set(levels["submission"])]
    if len(named) > LINES:
        return _tables(levels, scale, named, name)
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(wspace=0.27, bottom=0.32)
    step = 0.36 / max(1, len(named))
    lines: list[Any] = []
    for axes, column in ((left, "right"), (right, "shift")):
        for at, one in enumerate(named):
            own = levels[levels["submission"] == one].set_index("level").reindex(list(scale))
            across = np.arange(len(scale)) + (at - (len(named) - 1) / 2) * step
            axes.vlines(
                across, own[f"{column}_low"], own[f"{column}_high"], color=look.colour(one), linewidth=1, alpha=0.7
            )
            drawn = axes.plot(
                across, own[column], color=look.colour(one), marker=look.marker(one), markersize=3.6, linewidth=1.1,
                label=label(one, 22),
            )  # fmt: skip
            lines += drawn if axes is left else []
        axes.set_xticks(range(len(scale)), labels(list(scale), 14))
        axes.set_xlabel(name)
        axes.grid(axis="y")
    left.set_ylabel("accuracy")
    right.set_ylabel("confidence minus accuracy")
    right.axhline(0, color=INK, linewidth=0.8)
    figure.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=4, fontsize=7)
    return figure


def _tables(levels: pd.DataFrame, scale: Sequence[str], named: Sequence[str], name: str) -> Figure:
    """Draw both numbers as coloured tables: so many lines cannot be told apart."""
    height = rows_height(len(named), margin=1.2)
    figure = new_figure(WIDTH, height)
    left, right = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(wspace=0.25)
    size = row_font(len(named), height)
    for axes, column, colours, text in (
        (left, "right", SEQUENTIAL, "accuracy"),
        (right, "shift", "RdBu_r", "confidence minus accuracy"),
    ):
        wide = levels.pivot(index="submission", columns="level", values=column)
        table = wide.reindex(index=list(named), columns=list(scale)).to_numpy(float)
        most = float(np.nanmax(np.abs(table), initial=0.01))
        ends = {"vmin": -most, "vmax": most} if column == "shift" else {}
        picture = axes.pcolormesh(table, cmap=colours, linewidth=0, **ends)
        _marks(axes, named, scale, size)
        axes.set_xlabel(name)
        colour_scale(figure, picture, axes, text)
    return figure


def _marks(axes: Axes, rows: Sequence[str], columns: Sequence[str], size: float) -> None:
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels(list(rows)), fontsize=size)
    axes.set_ylim(len(rows), 0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, labels(list(columns), 12))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
