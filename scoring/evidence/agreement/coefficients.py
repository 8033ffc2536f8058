"""Coefficients of agreement for many weightings of the items at once, so that a bootstrap is one call.

Every function takes how often each item counts, shape (n_weightings, n_items): an item that counts twice is two items.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weighting: TypeAlias = Literal["none", "linear", "quadratic"]
Level: TypeAlias = Literal["nominal", "ordinal", "interval", "ratio"]
ICC_NAMES = ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)", "ICC(1,k)", "ICC(A,k)", "ICC(C,k)")
"""One-way, two-way for agreement, two-way for consistency; of one rating, and of the mean of k (McGraw and Wong 1996).
In the names of Shrout and Fleiss (1979): ICC(1,1), (2,1), (3,1), (1,k), (2,k), (3,k)."""
_AT_ONCE = 4_000_000
"""So many disagreements of levels are held in memory at a time."""


def _kappa(values: Floats, weights: Floats, weighting: Weighting, levels: Floats) -> Floats:
    """Return kappa of two raters, shape (n_weightings,)."""
    both = ~np.isnan(values).any(axis=1)
    first, second = (np.searchsorted(levels, values[both, rater]) for rater in range(2))
    number = len(levels)
    cells = np.zeros((int(both.sum()), number * number))
    cells[np.arange(len(cells)), first * number + second] = 1.0
    table = (weights[:, both] @ cells).reshape(-1, number, number)
    distance = np.abs(np.subtract.outer(np.arange(number), np.arange(number))).astype(np.float64)
    cost = {"none": (distance > 0) * 1.0, "linear": distance, "quadratic": distance**2}[weighting]
    total = table.sum(axis=(1, 2))
    expected = np.einsum("ri,rj,ij->r", table.sum(axis=2), table.sum(axis=1), cost)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - (table * cost).sum(axis=(1, 2)) * total / expected)


def pairwise_kappa(values: Floats, weights: Floats, weighting: Weighting) -> Floats:
    """Return Cohen's kappa (1960; weighted 1968) of every pair of raters, shape (n_weightings, n_pairs).

    Weights are by position among the levels that occur in the table, as scikit-learn's ``cohen_kappa_score`` with these
    labels. Items that one of the two left out do not count for the pair. NaN where kappa is undefined.

    Parameters
    ----------
    values : ndarray of float, shape (n_items, n_raters)
    weights : ndarray of float, shape (n_weightings, n_items)
    weighting : {"none", "linear", "quadratic"}
    """
    levels = np.unique(values[~np.isnan(values)])
    first, second = np.triu_indices(values.shape[1], 1)
    pairs = [_kappa(values[:, [one, two]], weights, weighting, levels) for one, two in zip(first, second, strict=True)]
    return np.stack(pairs, axis=1)


def intraclass(values: Floats, weights: Floats) -> Floats:
    """Return the six intraclass correlations, shape (n_weightings, 6), in the order of :data:`ICC_NAMES`.

    From the mean squares of a two-way table (Shrout and Fleiss 1979; McGraw and Wong 1996). Items that lack a rating do
    not count.

    Parameters
    ----------
    values : ndarray of float, shape (n_items, n_raters)
    weights : ndarray of float, shape (n_weightings, n_items)
    """
    whole = ~np.isnan(values).any(axis=1)
    x, w = values[whole], weights[:, whole]
    k = x.shape[1]
    x = x - x.mean() if len(x) else x
    n = w.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (w @ x.mean(axis=1)) / n
        columns = (w @ x) / n[:, None]
        items = np.maximum(k * (w @ x.mean(axis=1) ** 2 - n * mean**2), 0.0)
        raters = n * ((columns - mean[:, None]) ** 2).sum(axis=1)
        total = w @ (x**2).sum(axis=1) - n * k * mean**2
        rest = np.maximum(total - items - raters, 0.0)
        b, j, e = items / (n - 1), raters / (k - 1), rest / ((n - 1) * (k - 1))
        inside = (raters + rest) / (n * (k - 1))
        found = [
            (b - inside) / (b + (k - 1) * inside),
            (b - e) / (b + (k - 1) * e + k * (j - e) / n),
            (b - e) / (b + (k - 1) * e),
            (b - inside) / b,
            (b - e) / (b + (j - e) / n),
            (b - e) / b,
        ]
    return np.stack(found, axis=1)


def krippendorff_alpha(values: Floats, weights: Floats, level: Level) -> Floats:
    """Return Krippendorff's alpha, shape (n_weightings,); NaN where all ratings are the same.

    ``1 - D_o / D_e`` from the coincidences of values within items (Krippendorff, Content Analysis, 2004; "Computing
    Krippendorff's alpha-reliability", 2011). Items with one rating do not count.

    Parameters
    ----------
    values : ndarray of float, shape (n_items, n_raters)
        NaN where a rater left an item out.
    weights : ndarray of float, shape (n_weightings, n_items)
    level : {"nominal", "ordinal", "interval", "ratio"}
        What differences of ratings mean.
    """
    known = ~np.isnan(values)
    rated = known.sum(axis=1)
    usable = rated >= 2
    if not usable.any():
        return np.full(len(weights), np.nan)
    x, w, pairable = values[usable], weights[:, usable], rated[usable].astype(np.float64)
    levels = np.unique(x[~np.isnan(x)])
    counts = (x[:, :, None] == levels).sum(axis=1).astype(np.float64)
    totals = w @ counts
    if level == "ordinal":
        step = max(1, _AT_ONCE // len(levels) ** 2)
        parts = [
            _ordinal(counts, totals[start : start + step], w[start : start + step], pairable)
            for start in range(0, len(w), step)
        ]
        within, expected = (np.concatenate(own) for own in zip(*parts, strict=True))
    else:
        delta = _distance(levels, level)
        within = w @ (np.einsum("ic,cd,id->i", counts, delta, counts, optimize=True) / (pairable - 1))
        expected = np.einsum("rc,cd,rd->r", totals, delta, totals, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - (totals.sum(axis=1) - 1) * within / expected)


def _distance(levels: Floats, level: Level) -> Floats:
    gap = np.subtract.outer(levels, levels)
    if level == "nominal":
        return np.asarray((gap != 0) * 1.0)
    if level == "interval":
        return np.asarray(gap**2)
    total = np.add.outer(levels, levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num((gap / total) ** 2))


def _ordinal(counts: Floats, totals: Floats, weights: Floats, pairable: Floats) -> tuple[Floats, Floats]:
    """Return within and expected disagreement; ordinal distances depend on how often each level occurs."""
    cumulated = np.cumsum(totals, axis=1)
    middle = cumulated - totals / 2  # between two levels lie all ratings from the middle of one to that of the other
    delta = (middle[:, :, None] - middle[:, None, :]) ** 2
    coincidences = np.einsum("ri,ic,id->rcd", weights, counts / (pairable - 1)[:, None], counts, optimize=True)
    expected = np.einsum("rc,rcd,rd->r", totals, delta, totals, optimize=True)
    return (coincidences * delta).sum(axis=(1, 2)), expected
