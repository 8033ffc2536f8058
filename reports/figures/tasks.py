"""Insight across tasks or structures: how they resemble each other (dendrogram)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from medpodium.reports.figures.layout import WIDTH, labels, records, row_font, rows_height, single
from medpodium.reports.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def dendrogram(merges: pd.DataFrame) -> Figure:
    """Draw which tasks have similar rankings.

    Parameters
    ----------
    merges : pandas.DataFrame
        One row per merge, lowest first: ``height`` (distance) and ``left``, ``right`` (tuples of members).
    """
    leaves = _leaf_order(merges)
    height = rows_height(len(leaves), margin=0.9, each=0.28)
    figure, axes = single(WIDTH, height)
    spot: dict[tuple[str, ...], tuple[float, float]] = {(name,): (float(at), 0.0) for at, name in enumerate(leaves)}
    for row in records(merges):
        left, right = tuple(sorted(row.left)), tuple(sorted(row.right))
        (y_left, x_left), (y_right, x_right) = spot[left], spot[right]
        axes.plot(
            [x_left, row.height, row.height, x_right], [y_left, y_left, y_right, y_right], color=INK, linewidth=1.1
        )
        spot[tuple(sorted((*left, *right)))] = ((y_left + y_right) / 2, float(row.height))
    axes.set_yticks(range(len(leaves)), labels(leaves), fontsize=row_font(len(leaves), height))
    axes.set_ylim(len(leaves) - 0.4, -0.6)
    axes.set_xlim(0, float(merges["height"].max()) * 1.05 or 1.0)
    axes.yaxis.tick_right()
    axes.spines[["left", "right"]].set_visible(False)
    axes.invert_xaxis()
    axes.set_xlabel("symmetric difference of the rankings (pairs ordered differently)")
    axes.grid(axis="x")
    return figure


def _leaf_order(merges: pd.DataFrame) -> list[str]:
    """Return the members in an order in which no two branches cross."""
    order: dict[tuple[str, ...], list[str]] = {}
    whole: list[str] = []
    for row in records(merges):
        left, right = tuple(sorted(row.left)), tuple(sorted(row.right))
        whole = [*order.get(left, list(left)), *order.get(right, list(right))]
        order[tuple(sorted(whole))] = whole
    return whole
