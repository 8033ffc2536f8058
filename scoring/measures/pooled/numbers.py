"""Agreement of numbers, pooled over cases, as functions of case weights.

Errors and agreement of every submission, for many weightings of the cases at once: ``truth`` of shape (n_cases,),
``given`` of shape (n_cases, n_submissions), weights of shape (n_resamples, n_cases), values of shape (n_resamples,
n_submissions); NaN where a value is not defined. A weight says how often a case counts, so that the value is that of
repeated rows. A case whose ``given`` is NaN is left out for that submission, or counts as each
function says where it is ``counted``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pooled.labels import Floats, share

Z95 = 1.96
"""Standard deviations from the bias to a limit of agreement (Bland and Altman, Lancet 1986)."""
_ROUNDING = 1e-13
"""What is left of the squares of equal numbers, as a part of them, is rounding and no spread."""
_BLOCK = 4_000_000
"""Cells of a (resample, case) array that are held at once."""


@dataclass(frozen=True)
class Numbers:
    """What is true, what was said, and what is missing.

    Parameters
    ----------
    truth : ndarray of float, shape (n_cases,)
    given : ndarray of float, shape (n_cases, n_submissions)
        NaN where there is none.
    counted : ndarray of bool, shape (n_cases, n_submissions)
        Whether a case counts although there is no number of it.
    penalty : ndarray of float, shape (n_cases, n_submissions)
        Size of the error that such a case counts as, where errors are asked for.
    """

    truth: Floats = field(repr=False)
    given: Floats = field(repr=False)
    counted: npt.NDArray[np.bool_] = field(repr=False)
    penalty: Floats = field(repr=False)


def _errors_of(own: Numbers, at: int) -> tuple[npt.NDArray[np.intp], Floats, npt.NDArray[np.intp]]:
    """Return the cases with a number, their errors, and the cases that count without one."""
    known = ~np.isnan(own.given[:, at])
    cases = np.flatnonzero(known)
    return cases, own.given[cases, at] - own.truth[cases], np.flatnonzero(~known & own.counted[:, at])


class _Moments(NamedTuple):
    """Size, mean and sum of squared differences from the mean of the errors, each of shape (n_resamples,)."""

    size: Floats
    mean: Floats
    squares: Floats


def _moments(own: Numbers, at: int, weights: Floats) -> _Moments:
    """Return the moments of the signed errors; a missing number counts as an error on the side of the team's bias."""
    cases, errors, lost = _errors_of(own, at)
    drawn = weights[:, cases]
    centre = float(errors.mean()) if len(errors) else 0.0
    size, total = drawn.sum(axis=1), drawn @ (errors - centre)
    mean = centre + share(total, size)
    about = drawn @ (errors - centre) ** 2
    squares = about - np.nan_to_num(share(total**2, size))
    squares = np.where(squares > _ROUNDING * about, squares, 0.0)
    if len(lost):
        side = np.where(np.nan_to_num(mean) < 0, -1.0, 1.0)
        more = weights[:, lost].sum(axis=1)
        penalty, drawn = own.penalty[lost, at], weights[:, lost]
        both = size + more
        moved = share(size * np.nan_to_num(mean) + side * (drawn @ penalty), both)
        apart = drawn @ penalty**2 - 2 * moved * side * (drawn @ penalty) + moved**2 * more
        squares = squares + size * (np.nan_to_num(mean) - moved) ** 2 + np.maximum(apart, 0.0)
        mean, size = moved, both
    return _Moments(size, mean, np.where(size > 0, np.maximum(squares, 0.0), np.nan))


def mean_errors(own: Numbers, weights: Floats, power: Literal[1, 2]) -> Floats:
    """Return the mean absolute error (``power`` 1) or the root of the mean squared error (2).

    Parameters
    ----------
    own : Numbers
        Truth and answers.
    weights : ndarray of float, shape (n_resamples, n_cases)
    power : {1, 2}
        Which.
    """
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at in range(own.given.shape[1]):
        cases, errors, lost = _errors_of(own, at)
        sizes = np.concatenate([np.abs(errors), own.penalty[lost, at]])
        drawn = weights[:, np.concatenate([cases, lost])]
        value = share(drawn @ sizes**power, drawn.sum(axis=1))
        out[:, at] = value if power == 1 else np.sqrt(value)
    return out


def median_errors(own: Numbers, weights: Floats) -> Floats:
    """Return the median absolute error, the mean of the middle two of an even number; see :func:`mean_errors`."""
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at in range(own.given.shape[1]):
        cases, errors, lost = _errors_of(own, at)
        sizes = np.concatenate([np.abs(errors), own.penalty[lost, at]])
        order = np.argsort(sizes, kind="stable")
        if not len(order):
            continue
        sizes, ends = sizes[order], np.cumsum(weights[:, np.concatenate([cases, lost])[order]], axis=1)
        total = ends[:, -1]
        low = (ends > ((total - 1) // 2)[:, None]).argmax(axis=1)
        high = (ends > (total // 2)[:, None]).argmax(axis=1)
        out[:, at] = np.where(total > 0, (sizes[low] + sizes[high]) / 2, np.nan)
    return out


def biases(own: Numbers, weights: Floats) -> Floats:
    """Return the mean of ``P - R``; a missing number is an error on the side of the team's own bias."""
    each = [_moments(own, at, weights).mean for at in range(own.given.shape[1])]
    return np.stack(each, axis=1)


def limits(own: Numbers, weights: Floats, side: Literal[-1, 0, 1]) -> Floats:
    """Return a limit of agreement, ``bias +- 1.96 SD`` of ``P - R`` (n - 1 in the variance), or the distance of both.

    Parameters
    ----------
    own, weights
        As :func:`biases`.
    side : {-1, 0, 1}
        Lower limit, width, or upper limit.

    Notes
    -----
    Bland and Altman, Lancet 327 (1986) 307-310. Not defined for fewer than two cases.
    """
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at in range(own.given.shape[1]):
        size, mean, squares = _moments(own, at, weights)
        deviation = np.sqrt(share(squares, size - 1.0))
        out[:, at] = 2 * Z95 * deviation if side == 0 else mean + side * Z95 * deviation
    return out


def successes(own: Numbers, weights: Floats, near: npt.NDArray[np.bool_]) -> Floats:
    """Return the share of the cases that are near enough; one without a number is not.

    Parameters
    ----------
    near : ndarray of bool, shape (n_cases, n_submissions)
        Whether each number is.
    """
    known = ~np.isnan(own.given)
    return share(weights @ (near & known).astype(np.float64), weights @ (known | own.counted).astype(np.float64))


class Sums(NamedTuple):
    """Weighted sums of truth and answer about fixed centres, each of shape (n_resamples,)."""

    size: Floats
    true: Floats
    said: Floats
    true_true: Floats
    said_said: Floats
    true_said: Floats
    apart: Floats
    """Sum of ``(P - R)^2``."""


def _ends(truth: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the least and the greatest number of the cases that are drawn, shape (n_resamples,)."""
    order = np.argsort(truth, kind="stable")
    drawn = weights[:, order] > 0
    low = truth[order][drawn.argmax(axis=1)]
    high = truth[order][len(order) - 1 - drawn[:, ::-1].argmax(axis=1)]
    return low, high


def _sums(own: Numbers, at: int, weights: Floats, centre: float) -> Sums:
    """Return the sums; a missing number counts as the end of the range of the truth that is farther away."""
    known = ~np.isnan(own.given[:, at])
    cases, lost = np.flatnonzero(known), np.flatnonzero(~known & own.counted[:, at])
    drawn, true, said = weights[:, cases], own.truth[cases] - centre, own.given[cases, at] - centre
    parts = [
        drawn.sum(axis=1),
        drawn @ true,
        drawn @ said,
        drawn @ true**2,
        drawn @ said**2,
        drawn @ (true * said),
        drawn @ (said - true) ** 2,
    ]
    if len(lost):
        asked = np.concatenate([cases, lost])
        low, high = (end - centre for end in _ends(own.truth[asked], weights[:, asked]))
        true = own.truth[lost] - centre
        below = true[None] < ((low + high) / 2)[:, None]
        for end, side in ((high, below), (low, ~below)):
            drawn = weights[:, lost] * side
            size, total, squares = drawn.sum(axis=1), drawn @ true, drawn @ true**2
            more = [size, total, end * size, squares, end**2 * size, end * total]
            more.append(end**2 * size - 2 * end * total + squares)
            parts = [part + extra for part, extra in zip(parts, more, strict=True)]
    return Sums(*parts)


class _Spread(NamedTuple):
    """Sums of squares about the means, each of shape (n_resamples,); NaN where there are no two cases."""

    size: Floats
    true: Floats
    said: Floats
    both: Floats
    shift: Floats
    """Mean of P minus mean of R."""
    apart: Floats


def _spread(own: Numbers, at: int, weights: Floats) -> _Spread:
    sums = _sums(own, at, weights, float(own.truth.mean()) if len(own.truth) else 0.0)
    size = np.where(sums.size > 1, sums.size, np.nan)
    true, said = sums.true_true - sums.true**2 / size, sums.said_said - sums.said**2 / size
    true = np.where(true > _ROUNDING * sums.true_true, true, 0.0) + 0 * size
    said = np.where(said > _ROUNDING * sums.said_said, said, 0.0) + 0 * size
    both = sums.true_said - sums.true * sums.said / size
    return _Spread(size, true, said, both, (sums.said - sums.true) / size, sums.apart)


def _each(own: Numbers, weights: Floats) -> Iterator[tuple[int, _Spread]]:
    for at in range(own.given.shape[1]):
        yield at, _spread(own, at, weights)


def determinations(own: Numbers, weights: Floats) -> Floats:
    """Return R2, ``1 - sum (R - P)^2 / sum (R - mean R)^2``; not defined where all references are equal."""
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at, spread in _each(own, weights):
        out[:, at] = 1.0 - share(spread.apart, spread.true)
    return out


def correlations(own: Numbers, weights: Floats) -> Floats:
    """Return Pearson's correlation; not defined where one side does not vary."""
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at, spread in _each(own, weights):
        out[:, at] = np.clip(share(spread.both, np.sqrt(spread.true * spread.said)), -1.0, 1.0)
    return out


def concordances(own: Numbers, weights: Floats) -> Floats:
    """Return Lin's concordance correlation (Biometrics 45, 1989) with population moments."""
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at, spread in _each(own, weights):
        out[:, at] = share(2.0 * spread.both, spread.true + spread.said + spread.size * spread.shift**2)
    return out


def intraclass(own: Numbers, weights: Floats, form: str) -> Floats:
    """Return the intraclass correlation of single values, with reference and prediction as two raters.

    Parameters
    ----------
    form : {"ICC(1)", "ICC(A,1)", "ICC(C,1)"}
        One-way, two-way absolute agreement, two-way consistency (McGraw and Wong, Psychol. Methods 1, 1996, table 4).
    """
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at, (size, true, said, both, shift, _) in _each(own, weights):
        rows = (true + said + 2 * both) / 2 / (size - 1)
        error = (true + said - 2 * both) / 2 / (size - 1)
        column = size * shift**2 / 2
        within = (error * (size - 1) + column) / size
        if form == "ICC(1)":
            out[:, at] = share(rows - within, rows + within)
        elif form == "ICC(C,1)":
            out[:, at] = share(rows - error, rows + error)
        else:
            out[:, at] = share(rows - error, rows + error + 2 * (column - error) / size)
    return out


def _midranks(values: Floats, weights: Floats) -> Floats:
    """Return the mean rank of every value among the repeated rows, shape (n_resamples, n_cases)."""
    order = np.argsort(values, kind="stable")
    ordered, drawn = values[order], weights[:, order]
    ends = np.cumsum(drawn, axis=1)
    _, first, which = np.unique(ordered, return_index=True, return_inverse=True)
    last = np.append(first[1:], len(ordered)) - 1
    below = ends[:, first] - drawn[:, first]
    middle = (below + ends[:, last] + 1) / 2
    out = np.empty_like(drawn)
    out[:, order] = middle[:, which.reshape(-1)]
    return out


def rank_correlations(own: Numbers, weights: Floats) -> Floats:
    """Return Spearman's correlation: Pearson's of the ranks, ties by their mean, among the repeated rows."""
    out = np.full((len(weights), own.given.shape[1]), np.nan)
    for at in range(own.given.shape[1]):
        known = ~np.isnan(own.given[:, at])
        asked = np.flatnonzero(known | own.counted[:, at])
        if not len(asked):
            continue
        truth, said, lost = own.truth[asked], own.given[asked, at], ~known[asked]
        step = 1 if lost.any() else max(1, _BLOCK // len(asked))
        for start in range(0, len(weights), step):
            drawn = weights[start : start + step][:, asked]
            filled = said
            if lost.any():  # where the missing ones stand depends on what is drawn
                low, high = _ends(truth, drawn)
                filled = np.where(lost, np.where(truth < (low + high) / 2, high, low), said)
            out[start : start + step, at] = _of_ranks(_midranks(truth, drawn), _midranks(filled, drawn), drawn)
    return out


def _of_ranks(one: Floats, other: Floats, weights: Floats) -> Floats:
    size = weights.sum(axis=1, keepdims=True)
    middle = (size + 1) / 2  # the mean of all ranks, exactly
    one, other = one - middle, other - middle
    both, left, right = ((weights * pair).sum(axis=1) for pair in (one * other, one * one, other * other))
    return np.clip(share(both, np.sqrt(left * right)), -1.0, 1.0)
