"""Tests between submissions: paired Wilcoxon signed-rank, adjustment for multiplicity, Friedman and Nemenyi.

The Wilcoxon test is the one challengeR makes (R's ``wilcox.test(paired = TRUE, exact = FALSE)``): one-sided,
normal approximation with continuity correction, zero differences dropped, mid-ranks and variance corrected for
ties (Hollander and Wolfe 1973; Lehmann 1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used first

from medpodium.challenges.schema.steps import Adjustment
from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.ranking.exact import means_by

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Signs = npt.NDArray[np.int8]
Positions = npt.NDArray[np.intp]


@kernel
def _signed_ranks(
    rows: Small, ties: Small, signs: Signs, sizes: Ints, weights: Floats, plus: Floats, number: Floats, loss: Floats
) -> None:
    # differences are sorted by size; ties numbers the groups of equal size
    for resample in range(weights.shape[0]):
        for pair in range(rows.shape[0]):
            before = 0.0
            total = 0.0
            correction = 0.0
            position = 0
            while position < sizes[pair]:
                group = ties[pair, position]
                members = 0.0
                positive = 0.0
                while position < sizes[pair] and ties[pair, position] == group:
                    weight = weights[resample, rows[pair, position]]
                    members += weight
                    if signs[pair, position] > 0:
                        positive += weight
                    position += 1
                total += positive * (before + (members + 1.0) / 2.0)
                correction += members * (members * members - 1.0)
                before += members
            plus[resample, pair] = total
            number[resample, pair] = before
            loss[resample, pair] = correction


def _padded(parts: Sequence[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    """Return rows of different lengths as one array, zeros behind the shorter ones."""
    out: npt.NDArray[Any] = np.zeros((len(parts), max((len(own) for own in parts), default=0)), dtype=kind)
    for row, own in zip(out, parts, strict=True):
        row[: len(own)] = own
    return out


class PairedTests:
    """One-sided signed-rank tests of every ordered pair of columns, for many integer weightings of the rows.

    Parameters
    ----------
    values : ndarray of float, shape (n_rows, n_submissions)
        NaN marks what a submission does not have; such rows are left out of its pairs.
    higher_better : bool
        Direction of the values.
    continuity : bool
        Move the statistic by one half towards its mean (R's default; scipy's default is not to).
    units : ndarray of int, shape (n_rows,), optional
        Independent unit of every row. The mean difference of a unit (of its rows that both have, rounded once) takes
        the place of its rows, and the weights are those of units. Where neither of two submissions is better, the sign
        of a unit's differences is a coin, whatever its number of rows: the test holds for units of unequal size.
    """

    def __init__(
        self, values: Floats, *, higher_better: bool, continuity: bool = True, units: Positions | None = None
    ) -> None:
        self._size = values.shape[1]
        self._first, self._second = np.triu_indices(self._size, 1)
        self._shift = 0.5 if continuity else 0.0
        keyed = np.ascontiguousarray((values if higher_better else -values).T)
        n_units = None if units is None else int(units.max(initial=-1)) + 1
        self.number = values.shape[0] if n_units is None else n_units
        """Number of rows, or of units."""
        rows: list[Positions] = []
        ties: list[Positions] = []
        signs: list[npt.NDArray[np.int8]] = []
        unpaired: dict[int, npt.NDArray[np.bool_]] = {}
        for pair, (one, other) in enumerate(zip(self._first, self._second, strict=True)):
            with np.errstate(invalid="ignore"):
                # infinite minus infinite is NaN and counts as no pair, as in R
                difference = keyed[one] - keyed[other]
            if units is not None and n_units is not None:
                difference = means_by(difference[:, None], units, n_units)[:, 0]
            absent = np.isnan(difference)
            if absent.any():
                unpaired[pair] = absent
            used = np.flatnonzero(~absent & (difference != 0))
            size = np.abs(difference[used])
            if len(size) and size.min() < size.max():
                order = np.argsort(size, kind="stable")
                used, size = used[order], size[order]
            rows.append(used)
            ties.append(np.cumsum(np.append(True, size[1:] != size[:-1])[: len(size)]))
            signs.append(np.sign(difference[used]).astype(np.int8))
        self._sizes = np.array([len(own) for own in rows], dtype=np.int64)
        self._rows, self._ties = _padded(rows, np.int32), _padded(ties, np.int32)
        self._signs = _padded(signs, np.int8)
        self._unpaired = unpaired

    def _shared(self, weights: Floats) -> Floats:
        """Return how many rows both submissions of every pair have, shape (n_weightings, n_pairs)."""
        found = np.repeat(weights.sum(axis=1)[:, None], len(self._first), axis=1)
        for pair, absent in self._unpaired.items():
            found[:, pair] -= weights[:, absent].sum(axis=1)
        return found

    def pairs(self, weights: Floats) -> Floats:
        """Return the number of rows both submissions have, shape (n_weightings, S, S)."""
        shared = self._shared(weights)
        return self._square(shared, shared)

    def _sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the sum of positive ranks, the number of differences and the loss by ties of every pair."""
        shape = (weights.shape[0], len(self._first))
        plus, number, loss = np.empty(shape), np.empty(shape), np.empty(shape)
        weights = np.ascontiguousarray(weights)
        _signed_ranks(self._rows, self._ties, self._signs, self._sizes, weights, plus, number, loss)
        return plus, number, loss

    def rank_biserial(self) -> Floats:
        """Return the matched-pairs rank-biserial correlation of every ordered pair, shape (S, S).

        The sum of the ranks in favour of the row less that in favour of the column, over all ranks (Kerby,
        Comprehensive Psychology 3, 2014); 0 where no difference is left, NaN where fewer than two rows are shared.
        """
        plus, number, _ = self._sums(np.ones((1, self.number)))
        total = number * (number + 1) / 2
        found = np.where(number > 0, (2 * plus - total) / np.maximum(total, 1), 0.0)
        found = np.where(self._shared(np.ones((1, self.number))) >= 2, found, np.nan)
        return np.asarray(self._square(found, -found)[0])

    def p_values(self, weights: Floats) -> Floats:
        """Return p of "row submission is better than column submission", shape (n_weightings, S, S).

        NaN on the diagonal and where two submissions share no row; 1 where all differences are zero.
        """
        plus, number, loss = self._sums(weights)
        centred = plus - number * (number + 1) / 4
        spread = np.sqrt(number * (number + 1) * (2 * number + 1) / 24 - loss / 48)
        with np.errstate(divide="ignore", invalid="ignore"):
            better = scipy.special.ndtr(-(centred - self._shift) / spread)
            worse = scipy.special.ndtr(-(-centred - self._shift) / spread)
        some = self._shared(weights) > 0
        zero = (number == 0) & some
        better, worse = np.where(zero, 1.0, better), np.where(zero, 1.0, worse)
        return self._square(np.where(some, better, np.nan), np.where(some, worse, np.nan))

    def _square(self, upper: Floats, lower: Floats) -> Floats:
        out = np.full((upper.shape[0], self._size, self._size), np.nan)
        out[:, self._first, self._second] = upper
        out[:, self._second, self._first] = lower
        return out

    def wins(self, weights: Floats, alpha: float, method: Adjustment) -> Floats:
        """Return the share of the other submissions each one beats, shape (n_weightings, S).

        The p-values of all ordered pairs are adjusted together; NaN is no win. NaN for a single submission.
        """
        p = self.p_values(weights)
        off = ~np.eye(self._size, dtype=bool)
        adjusted = np.full(p.shape, np.nan)
        adjusted[:, off] = adjust(p[:, off], method)
        if self._size < 2:
            return np.full((weights.shape[0], self._size), np.nan)
        significant = np.where(np.isnan(adjusted), np.inf, adjusted) <= alpha
        return np.asarray(significant.sum(axis=2) / (self._size - 1))


def adjust(p_values: npt.ArrayLike, method: Adjustment) -> Floats:
    """Adjust p-values for multiple testing along the last axis; NaN stays NaN and is not counted.

    Parameters
    ----------
    p_values : array_like of float, shape (..., m)
    method : {"none", "holm", "hochberg", "hommel", "bonferroni", "BH", "BY"}
        Holm 1979; Hochberg 1988; Hommel 1988; Bonferroni; Benjamini and Hochberg 1995; Benjamini and
        Yekutieli 2001.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if method == "none" or p.size == 0:
        return p.copy()
    if method == "hommel":
        flat = [_hommel(row) for row in p.reshape(-1, p.shape[-1])]
        return np.asarray(flat).reshape(p.shape)
    number = (~np.isnan(p)).sum(axis=-1, keepdims=True).astype(np.float64)
    if method == "bonferroni":
        return np.asarray(np.minimum(p * number, 1.0))
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(p, order, axis=-1)
    rank = np.arange(1.0, p.shape[-1] + 1)
    if method == "holm":
        stepped = np.maximum.accumulate(np.where(np.isnan(ordered), -np.inf, (number - rank + 1) * ordered), axis=-1)
    else:
        factor = number - rank + 1 if method == "hochberg" else number / rank
        if method == "BY":
            harmonic = np.concatenate([[0.0], np.cumsum(1.0 / rank)])
            factor = factor * harmonic[number.astype(np.int64)]
        raised = np.where(np.isnan(ordered), np.inf, factor * ordered)
        stepped = np.minimum.accumulate(raised[..., ::-1], axis=-1)[..., ::-1]
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.minimum(stepped, 1.0), axis=-1)
    return np.where(np.isnan(p), np.nan, result)


def _hommel(row: Floats) -> Floats:
    """Adjust one row by Hommel's method in the algorithm of Wright (1992)."""
    known = np.flatnonzero(~np.isnan(row))
    n = len(known)
    result = row.copy()
    if n <= 1:
        return result
    order = known[np.argsort(row[known], kind="stable")]
    p = row[order]
    index = np.arange(1, n + 1)
    least = float(np.min(n * p / index))
    adjusted = np.full(n, least)
    level = np.full(n, least)
    for m in range(n - 1, 1, -1):
        head, tail = slice(0, n - m + 1), slice(n - m + 1, n)
        lowest = float(np.min(m * p[tail] / np.arange(2, m + 1)))
        level[head] = np.minimum(m * p[head], lowest)
        level[tail] = level[n - m]
        adjusted = np.maximum(adjusted, level)
    result[order] = np.maximum(adjusted, p)
    return result


@dataclass(frozen=True)
class Friedman:
    """Friedman's test and Nemenyi's comparison of mean ranks.

    Parameters
    ----------
    statistic, p_value : float
        Chi-square statistic, corrected for ties, and its p-value.
    n_cases, n_units : int
        Cases every submission has, and independent units with some of them: the blocks of the test.
    mean_ranks : ndarray of float, shape (n_submissions,)
        Average-tied ranks per case, averaged.
    nemenyi : ndarray of float, shape (n_submissions, n_submissions)
        p-value of each difference of mean ranks.
    critical_difference : float
        Smallest difference of mean ranks that is significant at ``alpha``.
    """

    statistic: float
    p_value: float
    n_cases: int
    n_units: int
    mean_ranks: Floats
    nemenyi: Floats
    critical_difference: float


def friedman(values: Floats, *, higher_better: bool, alpha: float = 0.05, units: Positions | None = None) -> Friedman:
    """Compare all submissions at once by their ranks within cases.

    Friedman 1937 as scipy computes it; Nemenyi 1963 after Demsar (JMLR 7, 2006): the difference of mean ranks
    over ``sqrt(k (k + 1) / (6 n))``, times the square root of two, is a studentised range of k with infinite
    degrees of freedom.

    Parameters
    ----------
    values : ndarray of float, shape (n_cases, n_submissions)
        Cases with a NaN are left out.
    units : ndarray of int, shape (n_cases,), optional
        Independent unit of every case. Units are ranked by the means of their cases.
    """
    whole = ~np.isnan(values).any(axis=1)
    complete, n_cases = values[whole], int(whole.sum())
    if units is not None:
        _, own = np.unique(units[whole], return_inverse=True)
        complete = means_by(complete, own, int(own.max(initial=-1)) + 1)
    n, k = complete.shape
    ranks, tied = _row_ranks(-complete if higher_better else complete)
    mean_ranks = ranks.mean(axis=0) if n else np.full(k, np.nan)
    if k < 3 or n < 2 or bool((complete == complete[:, :1]).all()):
        nan = np.full((k, k), np.nan)
        return Friedman(np.nan, np.nan, n_cases, n, mean_ranks, nan, np.nan)
    spread = 12.0 / (k * n * (k + 1)) * (ranks.sum(axis=0) ** 2).sum() - 3 * n * (k + 1)
    statistic = spread / (1 - (tied * tied - 1).sum() / (k * (k * k - 1) * n))
    p_value = scipy.special.chdtrc(k - 1, statistic)
    scale = np.sqrt(k * (k + 1) / (6 * n))
    range_statistic = np.abs(mean_ranks[:, None] - mean_ranks[None, :]) / scale * np.sqrt(2)
    nemenyi = np.clip(_exceeds(range_statistic.reshape(-1), k), 0, 1).reshape(k, k)
    critical = _critical_range(1 - alpha, k) / np.sqrt(2) * scale
    return Friedman(float(statistic), float(p_value), n_cases, n, mean_ranks, nemenyi, float(critical))


def _row_ranks(values: Floats) -> tuple[Floats, Floats]:
    """Return the rank of every value in its row, ties by the mean, and how many of the row are like it."""
    below, tied = np.zeros(values.shape), np.zeros(values.shape)
    for column in values.T:
        below += column[:, None] < values
        tied += column[:, None] == values
    return below + (tied + 1) / 2, tied


@cache
def _critical_range(level: float, k: int) -> float:
    """Return the value that the range of k standard normal variables exceeds with a chance of ``1 - level``.

    By halving until two numbers are neighbours: scipy's ``studentized_range`` takes half a second to import.
    """
    low, high = 0.0, 64.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _exceeds(np.array([middle]), k)[0] > 1 - level else (low, middle)
    return high


def _exceeds(q: Floats, k: int) -> Floats:
    """Return how likely the range of k standard normal variables exceeds each of some values.

    ``1 - k * integral of phi(z) (Phi(z) - Phi(z - q))^(k - 1)``, as scipy's ``studentized_range`` with infinite degrees
    of freedom, which integrates one value at a time. The trapezoidal rule converges exponentially for such an integrand
    (Trefethen and Weideman, SIAM Review 56, 2014).
    """
    z, step = np.linspace(-9.0, 9.0, 181, retstep=True)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    within = scipy.special.ndtr(z)[None, :] - scipy.special.ndtr(z[None, :] - q[:, None])
    return np.asarray(1.0 - k * step * (within ** (k - 1) @ density))
