"""ROC and precision-recall curves with bands from the bootstrap of the ranking's units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.bootstrap import chunks, stream
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.kinds.views import Sides, Views
from medpodium.scoring.measures.pooled import curves

Floats = npt.NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 101)
"""Where curves are told: false alarms of ROC curves, recall of precision-recall curves."""
MOST_DRAWN = 300
"""Resamples of a band; more of them would move it by less than a line's width."""


def curve_rows(view: Sides, views: Views, units: Units, *, n_resamples: int, seed: int, task: str) -> pd.DataFrame:
    """Return both curves of every submission at fixed places, with 95 % bands.

    A ROC curve joins its points by straight lines (its area is the AUC); a precision-recall curve is a step function
    that holds the precision of the next recall that is reached (its area is the average precision). Bands are the 2.5
    and 97.5 % quantiles of the resampled curves at each place; resamples with one side only have no curve.

    Returns
    -------
    DataFrame
        Columns part, curve (roc, pr), submission, x, y, low, high.
    """
    truth, score = view.truth, view.score
    full = np.ones((1, len(truth)))
    points = dict(_curves(truth, score, full))
    drawn: dict[int, list[tuple[Floats, Floats]]] = {at: [] for at in points}
    for weights in _weights(view, views, units, min(n_resamples, MOST_DRAWN), seed, task):
        for at, found in _curves(truth, score, weights):
            drawn[at].append(found)
    parts = []
    for at, whole in points.items():
        for number, name in enumerate(("roc", "pr")):
            again = [own[number] for own in drawn[at]]
            low = high = np.full(len(GRID), np.nan)
            if again:
                bands = np.concatenate(again)
                bands = bands[~np.isnan(bands).any(axis=1)]
                if len(bands):
                    low, high = np.quantile(bands, (0.025, 0.975), axis=0)
            rows = {"x": GRID, "y": whole[number][0], "low": low, "high": high}
            parts.append(pd.DataFrame(rows).assign(curve=name, submission=views.submissions[at], part=view.key))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _weights(view: Sides, views: Views, units: Units, number: int, seed: int, task: str) -> Iterator[Floats]:
    """Yield how often every row is drawn, some resamples at a time: the draws of the ranking's bootstrap."""
    if not number:
        return
    place = {name: at for at, name in enumerate(units.cases)}
    rows = np.array([place[views.cases[at]] for at in view.of_case], dtype=np.intp)
    for chunk, size in chunks(number):
        counts = units.draw(stream(seed, f"bootstrap/{task}", chunk), size)
        yield np.ascontiguousarray(counts[:, rows], dtype=np.float64)


def _curves(
    truth: npt.NDArray[np.int64], score: Floats, weights: Floats
) -> Iterator[tuple[int, tuple[Floats, Floats]]]:
    """Yield (submission, (ROC, precision-recall)) on the grid, each of shape (n_resamples, n_grid)."""
    for at, ones, zeros in curves.grouped(truth, score, weights):
        hits, alarms = np.cumsum(ones[::-1], axis=0).T, np.cumsum(zeros[::-1], axis=0).T
        number = len(hits)
        roc, pr = np.full((number, len(GRID)), np.nan), np.full((number, len(GRID)), np.nan)
        for row in range(number):
            positive, negative = hits[row, -1], alarms[row, -1]
            if positive <= 0 or negative <= 0:
                continue
            recall, false = hits[row] / positive, alarms[row] / negative
            roc[row] = _joined(np.r_[0.0, false], np.r_[0.0, recall])
            with np.errstate(invalid="ignore"):
                precision = hits[row] / (hits[row] + alarms[row])
            reached = np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)
            pr[row] = precision[reached]
        yield at, (roc, pr)


def _joined(false: Floats, recall: Floats) -> Floats:
    """Return a ROC curve on the grid; where it rises straight up, the upper end."""
    last = np.append(false[1:] != false[:-1], True)  # of points above each other the highest
    found = np.interp(GRID, false[last], recall[last])
    found[0] = recall[last][0] if false[last][0] == 0 else 0.0
    return np.asarray(found)
