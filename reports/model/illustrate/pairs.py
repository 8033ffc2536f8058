"""What numbers show against the truth: scatter, Bland-Altman plots and limits of agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from medpodium.reports.figures import pairs
from medpodium.reports.model.document import Block, Figure, Plot
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.wording.grammar import count


def pair_figures(
    task: TaskResults, part: str, title: str, limits: pd.DataFrame, cells: pd.DataFrame
) -> Iterator[Block]:
    """Yield the figures of one quantity.

    Parameters
    ----------
    limits, cells : pandas.DataFrame
        Its rows of the evidence tables ``limits`` and ``scatter``.
    """
    if limits.empty or cells.empty:
        return
    words, key = task.words, f"{slug(task.name)}-{slug(part)}"
    named = set(limits["submission"])
    more = (
        f" The first {pairs.SHOWN} of {len(named)} {words.teams}; the data hold all."
        if len(named) > pairs.SHOWN
        else ""
    )
    worst: Any = limits.iloc[int((limits["upper"] - limits["lower"]).to_numpy(float).argmin())]
    found = (
        f"Narrowest limits of agreement: {worst['submission']}, from {worst['lower']:.3g} to {worst['upper']:.3g} "
        f"around a bias of {worst['bias']:.3g}."
    )
    binned = (
        f"Area: number of {words.cases}, counted in cells, so that single true values are told no closer than a cell."
    )
    yield Figure(
        f"bland-{key}",
        f"Bland-Altman plots, {title}",
        f"Difference (said minus true) against the mean of both. Line: bias; dashed: 95 % limits of agreement; grey: "
        f"their 95 % intervals. {binned} Missing {words.answers} have no difference.{more}",
        found,
        Plot(
            pairs.bland_altman,
            {"cells": _of(cells, "bland"), "limits": limits, "order": task.order, "look": task.look,
             "axes_names": ("mean of said and true", "said minus true")},
        ),
        limits,
    )  # fmt: skip
    if len(named) > 1:
        yield Figure(
            f"limits-{key}",
            f"Bias and limits of agreement, {title}",
            f"Dot: bias; bar: 95 % limits of agreement; thin lines: intervals of the limits; "
            f"{count(int(limits['n'].max()), words.case, words.cases)} at most.",
            found,
            Plot(
                pairs.all_limits,
                {"limits": limits, "order": task.order, "look": task.look, "axis": f"said minus true, {title}"},
            ),
            limits,
        )
    yield Figure(
        f"against-{key}",
        f"Said against true, {title}",
        f"Dotted: said as true. {binned}{more}",
        f"What {count(len(named), words.team, words.teams)} said against what is true, {title}.",
        Plot(
            pairs.said_against_true,
            {"cells": _of(cells, "true"), "order": task.order, "look": task.look, "axes_names": ("true", "said")},
        ),
        cells[cells["plane"] == "true"].reset_index(drop=True),
    )


def _of(cells: pd.DataFrame, plane: str) -> pd.DataFrame:
    return cells[cells["plane"] == plane].reset_index(drop=True)
