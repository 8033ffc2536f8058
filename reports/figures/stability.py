"""Stability of the ranking: blob plot, violin of Kendall's tau, significance map, line plot, stacked frequencies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    WIDTH,
    label,
    labels,
    name_rows,
    rank_ticks,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import INK, MUTED, OTHERS, PAPER, RULE, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUPERIOR, NOT_SUPERIOR = "#ffd23f", "#31446b"
"""Ends of the cividis scale, as challengeR's readers know them: yellow superior, blue not."""


def blob(frequencies: pd.DataFrame, summary: pd.DataFrame, order: Sequence[str], look: Look, across: str) -> Figure:
    """Draw how often each submission got each rank: area is the share, cross the median, line the middle 95 %.

    Parameters
    ----------
    frequencies : pandas.DataFrame
        ``submission, rank, share`` (fraction of resamples, or of tasks).
    summary : pandas.DataFrame
        Indexed by submission: ``rank`` (full data), ``median``, ``lower``, ``upper``.
    across : str
        What was repeated ("bootstrap resamples", "structures").
    """
    height = rows_height(len(order))
    figure, axes = single(WIDTH, height)
    _blobs(axes, frequencies, summary, order, look, height)
    rows = {name: at for at, name in enumerate(order)}
    for key, own in frequencies[frequencies["share"] > 0].groupby("submission", sort=False):
        if (name := str(key)) in rows:
            says = [f"rank {rank:g}: {100 * share:.1f} % of the {across}" for rank, share in
                    zip(own["rank"], own["share"], strict=True)]  # fmt: skip
            tell(axes, name, own["rank"], rows[name], says=says)
    axes.set_xlabel(f"rank over {across}")
    return figure


def _blobs(
    axes: Axes,
    frequencies: pd.DataFrame,
    summary: pd.DataFrame,
    order: Sequence[str],
    look: Look,
    height: float,
) -> None:
    rows = {name: at for at, name in enumerate(order)}
    kept = frequencies[frequencies["submission"].isin(rows) & (frequencies["share"] > 0)]
    highest = float(max(kept["rank"].max(), summary["upper"].max(), len(order)))
    step = 72 * min((height - 0.9) / max(len(order), 3), WIDTH * 0.72 / max(highest, 3))
    axes.plot([1, len(order)], [0, len(order) - 1], linestyle=":", color=MUTED, linewidth=0.8, zorder=1)
    axes.scatter(
        kept["rank"], kept["submission"].map(rows), s=kept["share"] * (1.15 * step) ** 2,
        c=[look.colour(name) for name in kept["submission"]], linewidths=0, alpha=0.85, zorder=2,
    )  # fmt: skip
    for name, at in rows.items():
        row = summary.loc[name]
        axes.plot([row["lower"], row["upper"]], [at, at], color=INK, linewidth=0.9, zorder=3)
        axes.plot(row["median"], at, "x", color=INK, markersize=5, markeredgewidth=1.2, zorder=4)
    names = labels(order)
    ranks = [f"{float(rank):g}" for rank in summary.loc[list(order), "rank"]]
    axes.set_yticks(
        range(len(order)),
        [f"{rank}: {text}" for text, rank in zip(names, ranks, strict=True)],
        fontsize=row_font(len(order), height),
    )
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0.3, highest + 0.7)
    axes.set_xticks(rank_ticks(int(highest), 24))
    axes.grid(color=RULE, linewidth=0.5)


def violin(taus: pd.DataFrame) -> Figure:
    """Draw the distribution of Kendall's tau between each resample's ranking and the full one, one row per task.

    Parameters
    ----------
    taus : pandas.DataFrame
        ``task, tau``; resamples without a tau (all submissions tied) left out.
    """
    tasks = list(taus.groupby("task", sort=False)["tau"].median().sort_values(ascending=False, kind="stable").index)
    height = 0.75 + min(8.0, 0.46 * len(tasks))
    figure, axes = single(WIDTH, height)
    for row, task in enumerate(tasks):
        values = taus.loc[taus["task"] == task, "tau"].to_numpy(float)
        if np.ptp(values) > 0:
            body: Any = axes.violinplot(
                values, positions=[row], orientation="horizontal", widths=0.8, showextrema=False
            )
            for part in body["bodies"]:
                part.set(facecolor=OTHERS[9], alpha=0.4, edgecolor="none")
        box = {"color": INK, "linewidth": 0.9}
        axes.boxplot(
            values, positions=[row], orientation="horizontal", widths=0.16, showfliers=False, manage_ticks=False,
            patch_artist=True, boxprops={"facecolor": PAPER, **box, "color": INK}, whiskerprops=box, capprops=box,
            medianprops={"color": INK, "linewidth": 1.6},
        )  # fmt: skip
    name_rows(axes, tasks, row_font(len(tasks), height))
    if len(tasks) == 1:
        axes.set_yticks([])
    axes.set_xlim(min(0.0, float(taus["tau"].min())), max(1.0, float(taus["tau"].max())) + 0.01)
    axes.set_xlabel("Kendall's tau-b with the ranking on all cases")
    axes.grid(axis="x")
    return figure


def significance_map(matrix: pd.DataFrame, ranks: pd.Series, order: Sequence[str], alpha: float, adjust: str) -> Figure:
    """Draw which submission is significantly better than which.

    Parameters
    ----------
    matrix : pandas.DataFrame
        Submissions x submissions of bool: the row is significantly better than the column.
    ranks : pandas.Series
        Rank of each submission, printed on both axes.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    count = len(order)
    table = matrix.loc[list(order), list(order)].to_numpy(float, copy=True)
    np.fill_diagonal(table, np.nan)
    height = min(7.4, 1.7 + 0.25 * max(count, 4))
    figure, axes = single(min(WIDTH, height + 1.4), height)
    axes.pcolormesh(
        table, cmap=ListedColormap([NOT_SUPERIOR, SUPERIOR]), vmin=0, vmax=1,
        edgecolors=PAPER, linewidth=0.8 if count <= 25 else 0.3,
    )  # fmt: skip
    for at, name in enumerate(order):
        others = np.flatnonzero(np.isfinite(table[at]))
        words = {True: "better than", False: "not shown to be better than"}
        says = [f"{words[bool(table[at, other])]} {order[int(other)]}" for other in others]
        tell(axes, name, others + 0.5, at + 0.5, says=says, cell=True)
    size = row_font(count, height - 0.6)
    places = [f"{ranks[name]:g}" for name in order]
    axes.set_yticks(
        np.arange(count) + 0.5,
        [f"{place}: {text}" for text, place in zip(labels(order), places, strict=True)],
        fontsize=size,
    )
    axes.set_xticks(np.arange(count) + 0.5, labels(order, 18), rotation=90, fontsize=size)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal")
    adjusted = "unadjusted" if adjust == "none" else f"{adjust.capitalize()} adjusted"
    axes.legend(
        handles=[
            Patch(color=SUPERIOR, label=f"row better than column (p ≤ {alpha:g}, {adjusted})"),
            Patch(color=NOT_SUPERIOR, label="not shown to be better"),
        ],
        loc="lower left", bbox_to_anchor=(0, 1.0), ncol=2,
    )  # fmt: skip
    return figure


def ranking_methods(comparison: pd.DataFrame, order: Sequence[str], look: Look) -> Figure:
    """Draw each submission's rank under several ranking methods.

    Parameters
    ----------
    comparison : pandas.DataFrame
        ``method, submission, rank``.
    """
    methods = list(dict.fromkeys(comparison["method"]))
    height = rows_height(len(order), margin=1.2)
    figure, axes = single(WIDTH, height)
    table = comparison.pivot_table(index="submission", columns="method", values="rank", sort=False)[methods]
    # Submissions that share a rank would hide each other: spread them a little around it.
    place = {name: at for at, name in enumerate(order)}
    for name in reversed(list(order)):
        if name not in table.index:
            continue
        shift = 0.0 if len(order) > 25 else 0.05 * ((place[name] % 3) - 1)
        axes.plot(
            range(len(methods)), table.loc[name].to_numpy(float) + shift, color=look.colour(name),
            marker=look.marker(name), markersize=4.5, linewidth=1.3, zorder=3,
        )  # fmt: skip
        own = table.loc[name].to_numpy(float)
        says = [f"{method}: rank {rank:g}" for method, rank in zip(methods, own, strict=True)]
        tell(axes, name, range(len(methods)), own + shift, says=says)
    _end_labels(axes, table, order, look, len(methods))
    axes.set_xticks(range(len(methods)), [_two_lines(method) for method in methods])
    axes.set_xlim(-0.3, len(methods) - 1 + 0.15)
    axes.set_ylim(len(order) + 0.6, 0.4)
    axes.set_yticks(rank_ticks(len(order), 24))
    axes.set_ylabel("rank")
    axes.grid(axis="y")
    return figure


def _two_lines(text: str) -> str:
    quantile = re.match(r"quantile(\d+)(.*)", text)
    spoken = f"{int(quantile[1])}\u00a0% quantile{quantile[2]}" if quantile else text
    words = label(spoken, 40).replace("-", " ").split(" ")
    half = -(-len(words) // 2)
    return "\n".join(filter(None, (" ".join(words[:half]), " ".join(words[half:]))))


def _end_labels(axes: Axes, table: pd.DataFrame, order: Sequence[str], look: Look, columns: int) -> None:
    """Name the lines at their right ends, moved apart where ranks are shared."""
    ends = table.iloc[:, columns - 1].reindex(list(order)).dropna().sort_values(kind="stable")
    spots = np.linspace(1, len(order), len(ends)) if len(ends) > 1 else np.array([1.0])
    from matplotlib.collections import LineCollection

    size = row_font(len(order), rows_height(len(order), margin=1.2))
    last = columns - 1
    leads = [[(last + 0.05, float(end)), (last + 0.26, spot)] for spot, end in zip(spots, ends, strict=True)]
    colours = [look.colour(str(name)) for name in ends.index]
    axes.add_collection(LineCollection(leads, colors=colours, linewidths=0.8, clip_on=False))
    for spot, name in zip(spots, ends.index, strict=True):
        axes.text(last + 0.3, float(spot), label(str(name), 24), fontsize=size, color=INK, va="center")
