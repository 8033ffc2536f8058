"""Sums, means and quantiles whose last bit is right, for one data set or thousands of resamples at once.

Ties decide rankings, so equal sums must come out equal whatever the order of the cases. Values are split
into integer limbs of 26 bits; sums of limbs over cases are integers below 2**53 and hence exact in double
precision, whichever way a matrix product adds them up. The limbs are then put together and divided once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LIMB = 26
_MAX_LIMBS = 8
_LARGE = 100_000
"""Fewer weights than this are not worth a look at what they are."""
_SPARSE = 50
"""At most every 50th weight may differ from 1 for sums to be all minus the others."""
_SPLIT = 134217729.0  # 2**27 + 1, Dekker's splitting constant


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the rounded sum and its rounding error (Knuth's error-free transformation)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the rounded product and its rounding error (Dekker 1971)."""
    product = a * b
    high_a = _SPLIT * a - (_SPLIT * a - a)
    high_b = _SPLIT * b - (_SPLIT * b - b)
    low_a, low_b = a - high_a, b - high_b
    error = ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b
    return product, error


def divide(high: Floats, low: Floats, divisor: Floats) -> Floats:
    """Divide an unevaluated sum ``high + low`` by a number, rounding once."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = high / divisor
        product, error = two_product(quotient, divisor)
        remainder = ((high - product) - error) + low
        refined = quotient + remainder / divisor
    return np.where(np.isfinite(quotient), refined, quotient)


class ExactSums:
    """Column sums of a matrix under many integer weightings of its rows.

    Parameters
    ----------
    values : ndarray of float, shape (n_rows, n_columns)
        NaN marks cells that do not count.
    """

    def __init__(self, values: Floats) -> None:
        finite = np.isfinite(values)
        self._counted = (~np.isnan(values)).astype(np.float64)
        infinite = np.isinf(values)
        self._infinite = (
            ((values == np.inf).astype(np.float64), (values == -np.inf).astype(np.float64)) if infinite.any() else None
        )
        clean = np.where(finite, values, 0.0)
        largest = float(np.abs(clean).max(initial=0.0))
        self._exponent = math.frexp(largest)[1] if largest else 0
        self._limbs: list[Floats] = []
        rest = np.ldexp(clean, -self._exponent)
        while rest.any() and len(self._limbs) < _MAX_LIMBS:
            rest = np.ldexp(rest, _LIMB)
            limb = np.trunc(rest)
            self._limbs.append(limb)
            rest = rest - limb

    def sums(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return ``weights @ values`` as an unevaluated sum of two (n_weightings, n_columns) arrays.

        Parameters
        ----------
        weights : ndarray of float, shape (n_weightings, n_rows)
            Non-negative integers whose sum stays below 2**26.
        """
        shape = (weights.shape[0], self._counted.shape[1])
        parts = self._products(weights)
        for index in range(len(parts) - 1, 0, -1):
            carry = np.floor(np.ldexp(parts[index], -_LIMB))
            parts[index] = parts[index] - np.ldexp(carry, _LIMB)
            parts[index - 1] = parts[index - 1] + carry
        high, low = np.zeros(shape), np.zeros(shape)
        for index in range(len(parts) - 1, -1, -1):
            term = np.ldexp(parts[index], self._exponent - _LIMB * (index + 1))
            high, error = two_sum(high, term)
            high, low = two_sum(high, low + error)
        if self._infinite is not None:
            plus, minus = (weights @ mask for mask in self._infinite)
            with np.errstate(invalid="ignore"):
                high = high + np.where(plus > 0, np.inf, 0.0) - np.where(minus > 0, np.inf, 0.0)
        return high, low

    def _products(self, weights: Floats) -> list[Floats]:
        """Return the sums of the limbs; where nearly all weights are 1 (leave-one-out), as all minus the others.

        Both are sums of integers below 2**53, so both are the same to the bit.
        """
        if isinstance(weights, np.ndarray) and weights.size > _LARGE:
            other = weights != 1.0
            if np.count_nonzero(other) * _SPARSE <= weights.size:
                from scipy.sparse import csr_array

                rows, columns = np.nonzero(other)
                gone = csr_array((1.0 - weights[rows, columns], (rows, columns)), shape=weights.shape)
                return [limb.sum(axis=0) - gone @ limb for limb in self._limbs]
        return [weights @ limb for limb in self._limbs]

    def counts(self, weights: Floats) -> Floats:
        """Return how many cells count, with their weights, shape (n_weightings, n_columns)."""
        return np.asarray(weights @ self._counted)


def means_by(values: Floats, groups: npt.NDArray[np.intp], number: int) -> Floats:
    """Return the mean of every group of rows, rounded once, shape (number, n_columns); NaN cells do not count.

    Parameters
    ----------
    values : ndarray of float, shape (n_rows, n_columns)
    groups : ndarray of int, shape (n_rows,)
        Group of every row; rows of a negative one are left out.
    number : int
        Number of groups.
    """
    from scipy.sparse import csr_array

    rows = np.flatnonzero(groups >= 0)
    member = csr_array((np.ones(len(rows)), (groups[rows], rows)), shape=(number, len(values)))
    sums = ExactSums(values)
    high, low = sums.sums(member)
    return divide(high, low, sums.counts(member))


def weighted_sums(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the last axis in double-double arithmetic; NaN cells do not count.

    Parameters
    ----------
    values : ndarray of float, shape (..., m)
    weights : ndarray of float, shape (m,)

    Returns
    -------
    high, low : ndarray of float, shape (...)
        Unevaluated sum.
    """
    high = np.zeros(values.shape[:-1])
    low = np.zeros(values.shape[:-1])
    for index in range(values.shape[-1]):
        cell = values[..., index]
        term = np.where(np.isnan(cell), 0.0, cell)
        with np.errstate(invalid="ignore", over="ignore"):
            product, product_error = two_product(term, np.full_like(term, weights[index]))
            finite = np.isfinite(term)
            product = np.where(finite, product, term * weights[index])
            product_error = np.where(finite, product_error, 0.0)
            total, error = two_sum(high, product)
            error = np.where(np.isfinite(total), error, 0.0)
            high, low = total, low + (error + product_error)
    return high, low


@kernel
def _walk(values: Floats, order: Ints, valid: Ints, weights: Floats, q: float, out: Floats) -> None:
    # values is sorted within each column already; order says which row each sorted value came from
    for resample in range(weights.shape[0]):
        for column in range(values.shape[0]):
            total = 0.0
            for position in range(valid[column]):
                total += weights[resample, order[column, position]]
            if total == 0:
                out[resample, column] = np.nan
                continue
            target = (total - 1.0) * q
            below = np.floor(target)
            fraction = target - below
            seen = 0.0
            low = np.nan
            for position in range(valid[column]):
                seen += weights[resample, order[column, position]]
                if np.isnan(low) and seen > below:
                    low = values[column, position]
                if seen > below and (fraction == 0.0 or seen > below + 1.0):
                    high = values[column, position]
                    if fraction == 0.0 or high == low:
                        out[resample, column] = low
                    else:
                        out[resample, column] = (1.0 - fraction) * low + fraction * high
                    break


class Quantiles:
    """Quantiles of the columns of a matrix under many integer weightings of its rows.

    Type 7 of Hyndman and Fan (1996), R's and numpy's default: a row of weight k counts as k equal rows.

    Parameters
    ----------
    values : ndarray of float, shape (n_rows, n_columns)
        NaN marks cells that do not count.
    """

    def __init__(self, values: Floats) -> None:
        self._order = np.ascontiguousarray(np.argsort(values, axis=0, kind="stable").T)
        self._sorted = np.ascontiguousarray(np.take_along_axis(values.T, self._order, axis=1))
        self._valid = (~np.isnan(values)).sum(axis=0)

    def __call__(self, weights: Floats, q: float) -> Floats:
        """Return the quantile, shape (n_weightings, n_columns); NaN where nothing counts."""
        out = np.empty((weights.shape[0], self._sorted.shape[0]))
        _walk(self._sorted, self._order, self._valid, np.ascontiguousarray(weights), q, out)
        return out


def quantile(values: Floats, q: float) -> Floats:
    """Return the type 7 quantile along the last axis; NaN cells do not count.

    Parameters
    ----------
    values : ndarray of float, shape (..., m)

    Returns
    -------
    ndarray of float, shape (...)
    """
    flat = values.reshape(-1, values.shape[-1])
    ordered = np.sort(flat, axis=1)
    number = (~np.isnan(flat)).sum(axis=1)
    target = np.maximum(number - 1, 0) * q
    below = np.floor(target).astype(np.int64)
    above = np.minimum(below + (target > below), np.maximum(number - 1, 0))
    rows = np.arange(flat.shape[0])
    low, high = ordered[rows, below], ordered[rows, above]
    fraction = target - below
    with np.errstate(invalid="ignore"):
        mixed = (1.0 - fraction) * low + fraction * high
    result: Floats = np.where(high == low, low, mixed).reshape(values.shape[:-1])
    return result
