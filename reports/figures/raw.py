"""Raw assessment data: dot-and-box plot, podium plot, ranking heatmap, case difficulty, failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medpodium.reports.figures.layout import (
    STAYS,
    WIDTH,
    colour_scale,
    label,
    labels,
    name_rows,
    new_figure,
    rank_ticks,
    row_font,
    rows_height,
    single,
)
from medpodium.reports.figures.marks import tell
from medpodium.reports.figures.palette import INK, MUTED, NEUTRAL, OTHERS, PAPER, RULE, SEQUENTIAL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VECTOR_DOTS = 1500
"""More dots than this are drawn as one picture inside the vector figure: a file of 11,000 paths helps nobody."""
PODIUMS = 5
"""Places and submissions a podium plot shows before the rest is pooled."""
_LINES = 150
"""Lines of a podium plot; with more cases, every second, third, ... case gets one."""
_NUMBERS = 170
"""Filled cells of a ranking heatmap up to which each is printed as a number too."""


def dot_box(
    values: pd.DataFrame,
    measured: pd.DataFrame,
    order: Sequence[str],
    look: Look,
    axis: str,
    bounds: tuple[float, float] | None,
    better: str,
) -> Figure:
    """Draw one dot per case and a box per submission, best submission on top.

    Penalties and stand-ins are no measurements: they stand as ticks at the worse edge, and the axis is that of what was
    measured. Boxes and means hold them all the same, as the tables do, and may leave the axis.

    Parameters
    ----------
    values, measured : pandas.DataFrame
        Cases x submissions; NaN where a case has no value, and which of them measure a prediction.
    order : sequence of str
        Submissions, best first.
    axis : str
        Name and unit of the value.
    bounds : (float, float), optional
        Ends of the value axis for bounded metrics.
    better : {"higher", "lower"}
        Direction of the metric.
    """
    height = rows_height(len(order))
    figure, axes = single(WIDTH, height)
    random = np.random.default_rng(38)
    raster = values.size > _VECTOR_DOTS
    spread = 0.26 if len(order) > 12 else 0.2
    low, high = reach(values, measured, bounds)
    edge = low if better == "higher" else high
    for row, name in enumerate(order):
        known = np.isfinite(values[name].to_numpy(float))
        real = known & measured[name].to_numpy(bool)
        shown = values[name].to_numpy(float)[real]
        if not known.any():
            axes.text(
                0.5,
                row,
                "no value",
                transform=axes.get_yaxis_transform(),
                color=MUTED,
                va="center",
                ha="center",
            )
            continue
        jitter = row + random.uniform(-spread, spread, shown.size)
        axes.plot(
            shown, jitter, "o", markersize=3.4 if shown.size < 60 else 2.4 if shown.size < 300 else 1.8,
            color=look.colour(name), alpha=0.75 if shown.size < 60 else 0.32, markeredgewidth=0, rasterized=raster,
        )  # fmt: skip
        tell(axes, name, shown, jitter, cases=list(map(str, values.index[real])))
        penalties = int(known.sum() - real.sum())
        if penalties:
            spots = row + np.linspace(-0.3, 0.3, min(penalties, 12) + 2)[1:-1]
            axes.plot(
                np.full(spots.size, edge), spots, "_", markersize=5, color=look.colour(name), markeredgewidth=1.1,
                clip_on=False, zorder=6,
            )  # fmt: skip
            axes.text(
                1.01, row, f"{penalties:,}", transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=MUTED
            )  # fmt: skip
    boxes(axes, [values[name].to_numpy(float) for name in order], range(len(order)), 0.52)
    means = values[list(order)].mean().to_numpy(float)
    axes.plot(
        means, range(len(order)), "D", markersize=3.6, color=PAPER, markeredgecolor=INK, markeredgewidth=0.9, zorder=5,
        gid=f"{STAYS}means",
    )  # fmt: skip
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlabel(axis)
    pad = 0.02 * (high - low)
    axes.set_xlim(low - pad, high + pad)
    axes.grid(axis="x")
    return figure


def reach(values: pd.DataFrame, measured: pd.DataFrame, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of a value axis: the metric's bounds, else the range of what was measured."""
    if bounds:
        return bounds
    known = values.to_numpy(float)
    known = known[np.isfinite(known) & (measured.to_numpy(bool) | ~measured.to_numpy(bool).any())]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def boxes(axes: Axes, samples: Sequence[np.ndarray], spots: Sequence[float], width: float) -> None:
    """Draw one horizontal box plot per sample: quartiles, median, whiskers to the last value within 1.5 box lengths."""
    from matplotlib.collections import PolyCollection

    rows = []
    for sample, spot in zip(samples, spots, strict=True):
        kept = sample[np.isfinite(sample)]
        if kept.size:
            low, middle, high = np.quantile(kept, (0.25, 0.5, 0.75))
            reach = 1.5 * (high - low)
            rows.append((spot, kept[kept >= low - reach].min(), low, middle, high, kept[kept <= high + reach].max()))
    if not rows:
        return
    spot, left, low, middle, high, right = np.array(rows).T
    half = width / 2
    corners = np.stack([low, spot - half, low, spot + half, high, spot + half, high, spot - half], axis=1).reshape(
        -1, 4, 2
    )
    line: dict[str, Any] = {"colors": INK, "linewidth": 0.9, "zorder": 4}
    axes.add_collection(PolyCollection(list(corners), facecolors="none", edgecolors=INK, linewidths=0.9, zorder=4))
    axes.hlines(np.r_[spot, spot], np.r_[left, high], np.r_[low, right], **line)
    axes.vlines(np.r_[left, right], np.r_[spot, spot] - half / 2, np.r_[spot, spot] + half / 2, **line)
    axes.vlines(middle, spot - half, spot + half, colors=INK, linewidth=2.0, zorder=4)


def podium(
    ranks: pd.DataFrame, values: pd.DataFrame, order: Sequence[str], look: Look, axis: str, ends: tuple[float, float]
) -> Figure:
    """Draw the podium plot: for each place, which submission took it on which case, and with what value.

    Upper part: one podium per place, one column per submission in it, one dot per case at the place the
    submission took in that case; lines join the dots of a case. Lower part: how often each submission took each
    place. With many submissions the best :data:`PODIUMS` are shown and later places are pooled.

    Parameters
    ----------
    ranks, values : pandas.DataFrame
        Cases x submissions: places within the case (ties broken at random, whole numbers) and values.
    ends : (float, float)
        Of the value axis (:func:`reach`); values beyond, which only penalties have, are drawn at the end.
    """
    from matplotlib.collections import LineCollection

    shown = list(order[:PODIUMS])
    places = min(len(order), PODIUMS) + (1 if len(order) > PODIUMS else 0)
    figure = new_figure(WIDTH, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 0.38))
    figure.subplots_adjust(hspace=0.06)
    place = ranks[shown].clip(upper=places).to_numpy(float)
    height = np.clip(values[shown].to_numpy(float), *ends)
    width = 0.84 / len(shown)
    offset = (np.arange(len(shown)) - (len(shown) - 1) / 2) * width
    across = place + offset
    raster = place.size > _VECTOR_DOTS
    size, alpha = (5, 0.85) if len(place) < 25 else (3, 0.8) if len(place) < 100 else (2.2, 0.45)
    whole = np.flatnonzero(np.isfinite(place).all(axis=1) & np.isfinite(height).all(axis=1))
    whole = whole[:: max(1, -(-len(whole) // _LINES))]
    turn = np.argsort(across[whole], axis=1)
    lines = np.stack([np.take_along_axis(part[whole], turn, axis=1) for part in (across, height)], axis=-1)
    faint = 0.4 if len(whole) < 25 else 0.12
    upper.add_collection(
        LineCollection(list(lines), colors=MUTED, alpha=faint, linewidths=0.5, rasterized=raster, zorder=1)
    )
    for column, name in enumerate(shown):
        upper.plot(
            across[:, column], height[:, column], linestyle="", marker=look.marker(name),
            markersize=size, color=look.colour(name), alpha=alpha, markeredgewidth=0, rasterized=raster,
        )  # fmt: skip
        tell(upper, name, across[:, column], height[:, column], cases=list(map(str, ranks.index)))
        share = [float(np.mean(place[:, column][np.isfinite(place[:, column])] == at)) for at in range(1, places + 1)]
        lower.bar(
            np.arange(1, places + 1) + offset[column],
            share,
            width * 0.9,
            color=look.colour(name),
            linewidth=0,
        )
    for axes in (upper, lower):
        for edge in range(1, places):
            axes.axvline(edge + 0.5, color=RULE, linewidth=0.8)
        axes.set_xlim(0.5, places + 0.5)
    upper.set_ylabel(axis)
    lower.set_ylabel("share of cases")
    lower.set_xlabel("place within the case")
    pooled = [f"{PODIUMS + 1} or later"] if len(order) > PODIUMS else []
    lower.set_xticks(range(1, places + 1), [*map(str, range(1, places + 1 - len(pooled))), *pooled])
    _legend(figure, shown, look)
    return figure


def _legend(figure: Figure, names: Sequence[str], look: Look) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=look.marker(name), color=look.colour(name), markersize=5, label=text)
        for name, text in zip(names, labels([f"{at}: {name}" for at, name in enumerate(names, 1)]), strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.9),
        ncol=min(4, len(names)),
        handletextpad=0.2,
    )


def ranking_heatmap(counts: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw how many cases each submission took each place in.

    Parameters
    ----------
    counts : pandas.DataFrame
        Submissions x places (1, 2, ...): number of cases.
    """
    table = counts.loc[list(order)].to_numpy(float)
    rows, columns = table.shape
    height = rows_height(rows)
    figure, axes = single(min(WIDTH, 2.6 + 0.36 * columns) if columns < 12 else WIDTH, height)
    picture = axes.pcolormesh(np.where(table > 0, table, np.nan), cmap=f"{SEQUENTIAL}_r", vmin=0, linewidth=0)
    largest = table.max(initial=1)
    if np.count_nonzero(table) <= _NUMBERS:
        for at, place in np.argwhere(table > 0):
            dark = table[at, place] > 0.55 * largest
            axes.text(
                place + 0.5, at + 0.5, f"{table[at, place]:.0f}", ha="center", va="center",
                fontsize=min(7.5, 110 / max(columns, 8)), color="#ffffff" if dark else "#101418",
            )  # fmt: skip
    axes.set_yticks(np.arange(rows) + 0.5, labels(order), fontsize=row_font(rows, height))
    axes.invert_yaxis()
    ticks = rank_ticks(columns, 22)
    axes.set_xticks([tick - 0.5 for tick in ticks], [str(tick) for tick in ticks])
    axes.set_xlabel("place within the case")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for at, name in enumerate(order):
        taken = np.flatnonzero(table[at])
        says = [f"place {place + 1}: {table[at, place]:,.0f} cases" for place in taken]
        tell(axes, name, taken + 0.5, at + 0.5, says=says, cell=True)
    colour_scale(figure, picture, axes, "cases")
    return figure


def case_difficulty(summary: pd.DataFrame, axis: str, shown: tuple[float, float] | None = None) -> Figure:
    """Draw the middle and spread of all submissions for each case, hardest case first.

    Parameters
    ----------
    summary : pandas.DataFrame
        Per case, hardest first: ``case``, ``q25``, ``median``, ``q75``, ``best`` over submissions.
    shown : (float, float), optional
        Ends of the axis of values, where some lie beyond what was measured.
    """
    figure, axes = single(WIDTH, 2.9)
    across = np.arange(1, len(summary) + 1)
    axes.fill_between(
        across, summary["q25"], summary["q75"], color=NEUTRAL, alpha=0.45, linewidth=0,
        label="middle half of the submissions",
        step="mid" if len(summary) < 40 else None,
    )  # fmt: skip
    axes.plot(across, summary["median"], color=INK, linewidth=1.3, label="median submission")
    axes.plot(
        across,
        summary["best"],
        ".",
        markersize=2.6,
        color=OTHERS[2],
        label="best submission",
        rasterized=len(summary) > 1500,
    )
    tell(axes, "", across, summary["median"], cases=list(map(str, summary["case"])))
    axes.set_xlabel("cases, hardest first" if len(summary) > 12 else "")
    if len(summary) <= 12:
        axes.set_xticks(across, [label(str(case), 14) for case in summary["case"]], rotation=30, ha="right")
    axes.set_ylabel(axis)
    axes.set_xlim(0.5, len(summary) + 0.5)
    if shown is not None:
        margin = 0.05 * (shown[1] - shown[0] or 1.0)
        axes.set_ylim(shown[0] - margin, shown[1] + margin)
    axes.grid(axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3)
    return figure


def failures(counts: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw how many scores of each submission were not computed from a prediction, by reason.

    Parameters
    ----------
    counts : pandas.DataFrame
        Submissions x reasons: number of scores.
    """
    height = rows_height(len(order), margin=1.1)
    figure, axes = single(WIDTH, height)
    left = np.zeros(len(order))
    shades = [OTHERS[at] for at in (5, 1, 3, 4, 9, 7, 6, 8)]
    bars: list[Any] = []
    for index, reason in enumerate(counts.columns):
        width = counts.loc[list(order), reason].to_numpy(float)
        drawn = axes.barh(
            np.arange(len(order)),
            width,
            left=left,
            height=0.62,
            color=shades[index % len(shades)],
            label=label(str(reason)),
            linewidth=0,
        )
        bars.append(drawn)
        left += width
    for row, total in enumerate(left):
        axes.annotate(f"{total:.0f}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    name_rows(axes, order, row_font(len(order), height))
    axes.set_xlabel("scores")
    axes.set_xlim(0, max(1.0, float(left.max(initial=0))) * 1.08)
    _whole_ticks(axes)
    axes.legend(handles=bars, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4)
    return figure


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x")
