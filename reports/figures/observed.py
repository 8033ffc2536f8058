"""Answers against the truth: confusions, places of options, hard cases, agreement of submissions."""

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
    name_rows,
    new_figure,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import BETTER, INK, MUTED, NEUTRAL, OTHERS, PAPER, RULE, SEQUENTIAL, WORSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12
"""Panels of one figure: with more submissions, the first ones of the ranking."""
NUMBERS = 200
"""Cells of a coloured table up to which each is printed as a number, too."""
HARD = 20
"""Cases that are named."""
_DIVERGING = "RdBu"
_DARK, _LIGHT = "#101418", "#ffffff"


def confusions(counts: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw one matrix per submission: of the cases of each true class (row), which share got each answer (column).

    Parameters
    ----------
    counts : pandas.DataFrame
        ``submission, truth, answer, n``, in the order of the classes.
    """
    truths, answers = list(dict.fromkeys(counts["truth"])), list(dict.fromkeys(counts["answer"]))
    shown = [name for name in order if name in set(counts["submission"])][:SHOWN]
    columns = min(len(shown), 3 if len(answers) > 6 else 4)
    tall = WIDTH / max(columns, 2) * 0.86 * len(truths) / len(answers)
    figure, panels = grid(len(shown), columns, WIDTH, 0.62 + tall)
    figure.subplots_adjust(hspace=0.55, wspace=0.35)
    size = max(4.0, min(7.5, 44 / len(answers)))
    for at, (axes, name) in enumerate(zip(panels, shown, strict=True)):
        own = counts[counts["submission"] == name]
        table = own.pivot(index="truth", columns="answer", values="n").reindex(index=truths, columns=answers)
        number = table.fillna(0).to_numpy(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = number / number.sum(axis=1, keepdims=True)
        # What never happened has no colour: else the empty cells would be the brightest of all.
        axes.pcolormesh(np.where(number > 0, share, np.nan), cmap=f"{SEQUENTIAL}_r", vmin=0, vmax=1, linewidth=0)
        if number.size <= NUMBERS and len(answers) <= 8:
            for row, column in np.argwhere(number > 0):
                colour = _LIGHT if share[row, column] > 0.55 else _DARK
                text = f"{number[row, column]:.0f}"
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
        _cells(axes, labels(truths, 12), labels(answers, 12), size)
        axes.spines[:].set(visible=True, color=RULE)
        axes.set_title(label(name, 22), fontsize=7.5)
        if at % columns == 0:
            axes.set_ylabel("true", fontsize=7.5)
        if at >= len(shown) - columns:
            axes.set_xlabel("answered", fontsize=7.5)
    return figure


def _cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], size: float) -> None:
    """Name rows and columns of a coloured table, first row on top."""
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=size)
    turned = max(map(len, columns)) > 2
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, columns, fontsize=size,
        rotation=45 if turned else 0, ha="right" if turned else "center",
    )  # fmt: skip
    axes.invert_yaxis()
    axes.tick_params(length=0, pad=1.5)
    axes.spines[:].set_visible(False)


def _printed(axes: Axes, table: np.ndarray, low: float, high: float, text: str, size: float) -> None:
    """Print the numbers of a coloured table, light where the cell is dark."""
    for row, column in np.argwhere(np.isfinite(table)):
        at = (table[row, column] - low) / (high - low)
        colour = _LIGHT if at < 0.2 or at > 0.8 else _DARK
        shown = text.format(table[row, column])
        axes.text(column + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=size, color=colour)


def places(shares: pd.DataFrame, order: Sequence[str], what: str) -> Figure:
    """Draw how much more often an option is chosen in each place than the right one stands there.

    Parameters
    ----------
    shares : pandas.DataFrame
        ``submission, place, difference`` (of shares of the answers).
    what : str
        What the rows are called.
    """
    wide = shares.pivot(index="submission", columns="place", values="difference")
    wide = 100 * wide.reindex(index=[name for name in order if name in wide.index])
    table = wide.to_numpy(float)
    most = max(5.0, float(np.nanmax(np.abs(table), initial=0)))
    height = rows_height(len(wide), margin=1.1)
    figure, axes = single(min(WIDTH, 3.2 + 0.62 * table.shape[1]), height)
    picture = axes.pcolormesh(table, cmap=f"{_DIVERGING}_r", vmin=-most, vmax=most, linewidth=0)
    if table.size <= NUMBERS:
        _printed(axes, table, -most, most, "{:+.1f}", min(7.5, row_font(len(wide), height)))
    axes.set_yticks(np.arange(len(wide)) + 0.5, labels(list(wide.index)), fontsize=row_font(len(wide), height))
    axes.set_xticks(np.arange(table.shape[1]) + 0.5, [str(place) for place in wide.columns])
    axes.set_xlabel(f"place among the options of a {what}")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    colour_scale(figure, picture, axes, "chosen minus right (% points)")
    return figure


def hardest(cases: pd.DataFrame, whats: str, entrants: str) -> Figure:
    """Draw how many cases which share of the submissions gets right, and name the hardest.

    Parameters
    ----------
    cases : pandas.DataFrame
        ``case, right, same_wrong``, hardest first.
    whats, entrants : str
        What cases and submissions are called.
    """
    named = cases.head(HARD)
    figure = new_figure(WIDTH, max(2.6, 0.9 + 0.19 * len(named)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    figure.subplots_adjust(wspace=0.55)
    left.hist(100 * cases["right"].to_numpy(float), bins=np.linspace(0, 100, 11).tolist(), color=OTHERS[9], rwidth=0.92)
    left.set_xlabel(f"{entrants} that are right (%)")
    left.set_ylabel(whats)
    left.grid(axis="y")
    spots = np.arange(len(named))
    share, same = 100 * named["right"].to_numpy(float), 100 * named["same_wrong"].to_numpy(float)
    right.barh(spots, share, 0.62, color=BETTER, linewidth=0, label="right")
    right.plot(same, spots, "D", color=WORSE, markersize=3.6, label="most frequent wrong answer")
    right.set_yticks(
        spots, labels(list(map(str, named["case"])), 20), fontsize=row_font(len(named), 0.9 + 0.19 * len(named))
    )
    right.set_ylim(len(named) - 0.4, -0.6)
    right.set_xlim(-2, 102)
    right.set_xlabel(f"{entrants} (%)")
    right.set_title(f"the {len(named)} hardest", fontsize=8)
    right.grid(axis="x")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 if len(named) > 10 else -0.28), ncol=2, fontsize=7)
    return figure


def agreement(kappa: pd.DataFrame) -> Figure:
    """Draw Cohen's kappa of every pair of submissions.

    Parameters
    ----------
    kappa : pandas.DataFrame
        Submissions x submissions, best first; NaN on the diagonal.
    """
    names, table = list(map(str, kappa.index)), kappa.to_numpy(float)
    height = min(7.4, 1.9 + 0.27 * max(len(names), 4))
    figure, axes = single(min(WIDTH, height + 1.6), height)
    low = min(0.0, float(np.nanmin(table, initial=0.0)))
    picture = axes.pcolormesh(table, cmap=f"{SEQUENTIAL}_r", vmin=low, vmax=1, edgecolors=PAPER, linewidth=0.4)
    size = row_font(len(names), height - 0.7)
    if table.size <= NUMBERS:
        for row, column in np.argwhere(np.isfinite(table)):
            colour = _LIGHT if table[row, column] > 0.55 else _DARK
            axes.text(
                column + 0.5, row + 0.5, f"{table[row, column]:.2f}", ha="center", va="center", color=colour,
                fontsize=min(7.0, size),
            )  # fmt: skip
    axes.set_yticks(np.arange(len(names)) + 0.5, labels(names), fontsize=size)
    axes.set_xticks(np.arange(len(names)) + 0.5, labels(names, 18), rotation=90, fontsize=size)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal")
    colour_scale(figure, picture, axes, "Cohen's kappa")
    return figure


def means(estimates: pd.DataFrame, order: Sequence[str], colours: Any, axis: str) -> Figure:
    """Draw a mean with its interval per submission, best on top.

    Parameters
    ----------
    estimates : pandas.DataFrame
        Indexed by submission: ``mean, mean_low, mean_high, lacking`` (share of the cases without an answer, which
        count as declared; drawn as a tick at the edge).
    """
    height = rows_height(len(order))
    figure, axes = single(WIDTH, height)
    own = estimates.reindex(list(order))
    spots = np.arange(len(order))
    axes.hlines(spots, own["mean_low"], own["mean_high"], colors=NEUTRAL, linewidth=2.2, zorder=1)
    axes.scatter(own["mean"], spots, c=[colours.colour(name) for name in order], s=26, zorder=2)
    for row, name in enumerate(order):
        tell(axes, name, own["mean"].iloc[row], row)
    for row, share in enumerate(own["lacking"].to_numpy(float)):
        if share > 0:
            text = f"{100 * share:.0f} % missing" if share >= 0.005 else "<1 % missing"
            axes.text(
                1.01, row, text, transform=axes.get_yaxis_transform(), va="center", color=MUTED,
                fontsize=min(7.0, row_font(len(order), height)),
            )  # fmt: skip
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlabel(axis)
    axes.spines["left"].set_color(INK)
    axes.grid(axis="x")
    return figure
