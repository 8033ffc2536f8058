"""Evidence beyond the bootstrap: rank confidence sets, critical differences, multiverse, subsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    WIDTH,
    colour_scale,
    label,
    name_rows,
    new_figure,
    rank_ticks,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import BETTER, INK, MUTED, RULE, SEQUENTIAL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confidence_sets(sets: pd.DataFrame, order: Sequence[str], look: Look) -> Figure:
    """Draw, per submission, the ranks the data cannot rule out.

    Parameters
    ----------
    sets : pandas.DataFrame
        Indexed by submission: ``rank``, ``set_low``, ``set_high`` (simultaneous).
    """
    height = rows_height(len(order))
    figure, axes = single(WIDTH, height)
    for row, name in enumerate(order):
        low, high, rank = sets.loc[name, ["set_low", "set_high", "rank"]].to_numpy(float)
        axes.plot(
            [low - 0.28, high + 0.28],
            [row, row],
            color=look.colour(name),
            linewidth=min(7, 150 / len(order)),
            solid_capstyle="butt",
            alpha=0.75,
        )
        axes.plot(rank, row, "o", color=INK, markersize=4.2)
        tell(axes, name, rank, row, says=[f"ranks {low:g} to {high:g} cannot be ruled out"])
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlim(0.4, len(order) + 0.6)
    axes.set_xticks(rank_ticks(len(order), 24))
    axes.set_xlabel("rank")
    axes.grid(axis="x")
    return figure


def critical_difference(mean_ranks: pd.Series, difference: float, look: Look) -> Figure:
    """Draw mean ranks on one axis; a bar joins submissions that do not differ by the critical difference.

    Parameters
    ----------
    mean_ranks : pandas.Series
        Mean rank over cases by submission.
    difference : float
        Critical difference (Nemenyi).
    """
    ranks = mean_ranks.sort_values(kind="stable")
    count = len(ranks)
    groups = cliques(ranks.to_numpy(float), difference)
    half = -(-count // 2)
    height = 1.0 + 0.2 * half + 0.11 * len(groups)
    figure, axes = single(WIDTH, height)
    axes.set_ylim(height, 0)
    low, high = 1.0, float(max(count, 2))
    margin = 0.34 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_axis_off()
    line = 0.55
    axes.plot([low, high], [line, line], color=INK, linewidth=0.9)
    for tick in rank_ticks(count, 20):
        axes.plot([tick, tick], [line - 0.06, line], color=INK, linewidth=0.9)
        axes.text(tick, line - 0.1, str(tick), ha="center", va="bottom", fontsize=8)
    axes.plot([low, low + difference], [0.12, 0.12], color=INK, linewidth=1.4)
    axes.text(low + difference + 0.01 * count, 0.12, f"critical difference {difference:.2f}", va="center", fontsize=8)
    top = line + 0.14
    for at, (first, last) in enumerate(groups):
        spot = top + 0.11 * at
        axes.plot(
            [ranks.iloc[first] - 0.03, ranks.iloc[last] + 0.03],
            [spot, spot],
            color=MUTED,
            linewidth=3,
            solid_capstyle="butt",
        )
    below = top + 0.11 * len(groups) + 0.12
    size = max(6.0, min(8.5, 8.5 - 0.06 * (count - 10)))
    for at, (name, rank) in enumerate(ranks.items()):
        left = at < half
        spot = below + 0.2 * (at if left else count - 1 - at)
        edge = low - 0.04 * margin if left else high + 0.04 * margin
        axes.plot([rank, rank, edge], [line, spot, spot], color=look.colour(str(name)), linewidth=0.9)
        text = f"{label(str(name), 24)}  {rank:.2f}" if left else f"{rank:.2f}  {label(str(name), 24)}"
        axes.text(
            edge - 0.02 * margin if left else edge + 0.02 * margin,
            spot,
            text,
            ha="right" if left else "left",
            va="center",
            fontsize=size,
        )
    return figure


def cliques(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """Return the maximal runs (first, last) of sorted mean ranks that span at most the critical difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = int(np.searchsorted(ranks, ranks[first] + difference, side="right")) - 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def multiverse(ranks: pd.DataFrame, choices: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw each submission's rank in every universe of defensible choices, and the choices below.

    Parameters
    ----------
    ranks : pandas.DataFrame
        Submissions x universes.
    choices : pandas.DataFrame
        Universes x dimensions of choice, as text; only dimensions with more than one value are shown.
    """
    varied = [name for name in choices.columns if choices[name].nunique() > 1]
    winner = ranks.idxmin(axis=0)
    place = {name: at for at, name in enumerate(order)}
    key = pd.DataFrame({"winner": winner.map(place), **{name: choices[name] for name in varied}}, index=ranks.columns)
    columns = list(key.sort_values(["winner", *varied], kind="stable").index)
    table = ranks.loc[list(order), columns].to_numpy(float)
    levels = {name: list(dict.fromkeys(choices.loc[columns, name])) for name in varied}
    rows_below = sum(map(len, levels.values())) + 0.8 * len(levels)
    upper = max(1.1, min(6.2, 0.21 * len(order)))
    lower = max(0.3, 0.16 * rows_below)
    figure = new_figure(WIDTH, upper + lower + 0.8)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(upper, lower))
    figure.subplots_adjust(hspace=0.04)
    edges = np.arange(len(columns) + 1) + 0.5
    picture = axes.pcolormesh(
        edges,
        np.arange(len(order) + 1) - 0.5,
        table,
        cmap=SEQUENTIAL,
        vmin=1,
        vmax=max(len(order), 2),
        rasterized=table.size > 4000,
    )
    _winners(axes, table)
    name_rows(axes, order, row_font(len(order), upper + 0.8))
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(length=0)
    colour_scale(figure, picture, [axes, below], "rank")
    _choices(below, choices.loc[columns], levels)
    below.set_xlabel(f"{len(columns)} combinations of choices, sorted by who ranks first")
    return figure


def _winners(axes: Axes, table: np.ndarray) -> None:
    row, column = np.where(table == np.nanmin(table, axis=0, keepdims=True))
    axes.plot(
        column + 1,
        row,
        "o",
        color="#ffffff",
        markeredgecolor="#101418",
        markeredgewidth=0.6,
        markersize=max(1.6, min(5, 180 / table.shape[1])),
    )


def _choices(axes: Axes, choices: pd.DataFrame, levels: dict[str, list[str]]) -> None:
    spot, ticks, names = 0.0, [], []
    for dimension, values in levels.items():
        for value in values:
            at = np.flatnonzero(choices[dimension].to_numpy() == value) + 1
            axes.vlines(at, spot - 0.38, spot + 0.38, color=BETTER, linewidth=max(0.5, min(5.0, 330 / len(choices))))
            ticks.append(spot)
            names.append(f"{dimension.replace('_', ' ')}: {label(value or 'as declared', 26)}")
            spot += 1
        spot += 0.8
    axes.set_yticks(ticks, names, fontsize=6.5)
    axes.set_ylim(spot, -0.9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_xlim(0.5, len(choices) + 0.5)


def subsampling(curve: pd.DataFrame, number: int, noun: str) -> Figure:
    """Draw how often the winner stays, and how similar the ranking is, with fewer cases (or clusters).

    Parameters
    ----------
    curve : pandas.DataFrame
        ``n_units, winner_stays, tau_mean, tau_q025, tau_q975``.
    number : int
        Number of units there are.
    noun : str
        What they are called, in the plural.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(WIDTH, 2.7)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(wspace=0.26)
    drawn = curve["n_units"]
    left.plot(drawn, 100 * curve["winner_stays"], "o-", color=BETTER, markersize=3.5)
    left.set_ylabel("first rank stays (% of subsets)")
    left.set_ylim(0, 103)
    right.fill_between(
        drawn, curve["tau_q025"], curve["tau_q975"], color=BETTER, alpha=0.2, linewidth=0, label="middle 95 %"
    )
    right.plot(drawn, curve["tau_mean"], "o-", color=BETTER, markersize=3.5, label="mean")
    right.set_ylabel(f"Kendall's tau-b with all {noun}")
    right.set_ylim(min(0.0, float(curve["tau_q025"].min())), 1.02)
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.set_xlabel(noun)
        axes.set_xlim(0, number * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.axvline(number, color=RULE, linewidth=1)
        axes.grid()
    return figure
