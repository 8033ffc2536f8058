"""Risks beside what happened: Kaplan-Meier curves by predicted risk, and the AUC over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from medpodium.reports.figures.layout import WIDTH, grid, label, single
from medpodium.reports.figures.palette import MUTED, NEUTRAL, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12
"""Panels of one figure: with more submissions, the first ones of the ranking."""
LINES, BANDS = 10, 4
"""Lines, and bands, of one panel that can be told apart; lines of more submissions are grey."""
_COLOURS = {"low": "#3b6ea8", "middle": "#8a8a8a", "high": "#b5482f"}


def risk_groups(curves: pd.DataFrame, order: Sequence[str], axis: str) -> Figure:
    """Draw, per submission, the share free of the event in every third of the predicted risks.

    Parameters
    ----------
    curves : pandas.DataFrame
        ``submission, group, time, free, low, high``.
    axis : str
        What time is called.
    """
    shown = [name for name in order if name in set(curves["submission"])][:SHOWN]
    columns = min(4, max(2, len(shown)))
    figure, panels = grid(len(shown), columns, WIDTH, 2.1, sharex=True, sharey=True)
    figure.subplots_adjust(hspace=0.42, wspace=0.12, bottom=0.36 if len(shown) <= columns else 0.14)
    for at, (axes, name) in enumerate(zip(panels, shown, strict=True)):
        own = curves[curves["submission"] == name]
        for group, colour in _COLOURS.items():
            part = own[own["group"] == group]
            if part.empty:
                continue
            axes.fill_between(
                part["time"], part["low"], part["high"], step="post", color=colour, alpha=0.14, linewidth=0
            )
            axes.step(part["time"], part["free"], where="post", color=colour, linewidth=1.3, label=f"{group} risk")
        axes.set_title(label(name, 20), fontsize=7.5)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7, labelbottom=True)
        axes.grid()
        if at % columns == 0:
            axes.set_ylabel("free of the event", fontsize=7.5)
        if at >= len(shown) - columns:
            axes.set_xlabel(axis, fontsize=7.5)
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=3, fontsize=7)
    return figure


def areas(areas: pd.DataFrame, order: Sequence[str], look: Look, axis: str) -> Figure:
    """Draw the AUC of every submission over time.

    Parameters
    ----------
    areas : pandas.DataFrame
        ``submission, time, auc, low, high``.
    axis : str
        What time is called.
    """
    figure, axes = single(WIDTH, 3.6)
    figure.subplots_adjust(bottom=0.32)
    named = [name for name in order if name in set(areas["submission"])]
    lines: list[Any] = []
    for at, name in reversed(list(enumerate(named))):
        own = areas[areas["submission"] == name]
        told = at < LINES
        colour = look.colour(name) if told else NEUTRAL
        if len(named) <= BANDS and own["low"].notna().any():
            axes.fill_between(own["time"], own["low"], own["high"], color=colour, alpha=0.16, linewidth=0)
        drawn = axes.plot(
            own["time"], own["auc"], color=colour, marker=look.marker(name) if told else None, markersize=3.4,
            linewidth=1.3 if told else 0.5, label=label(name, 22) if told else None,
        )  # fmt: skip
        lines += drawn if told else []
    axes.axhline(0.5, color=MUTED, linestyle=":", linewidth=0.9)
    axes.set_xlabel(axis)
    axes.set_ylabel("AUC")
    axes.grid()
    figure.legend(handles=lines[::-1], loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=4, fontsize=7)
    return figure
