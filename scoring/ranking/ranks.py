"""Ranks of submissions, with every tie rule and every way to rank a missing value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import Ties

Floats = npt.NDArray[np.float64]

_SAME = 1e-9
_SORTED_FROM = 24
"""From so many submissions on, sorting is quicker than comparing every pair."""
_LAST_BITS = 8 * np.finfo(float).eps


def no_more_than(keys: Floats, best: Floats, tolerance: float) -> npt.NDArray[np.bool_]:
    """Return which keys are no more than a tolerance above another: 0.8 is 0.1 above 0.7 whatever the last bits say."""
    with np.errstate(invalid="ignore"):
        gap = keys - best
        # Last bits are those of finite numbers: an infinite distance is near nothing but another one.
        spill = np.where(np.isfinite(gap), _LAST_BITS * np.maximum(np.abs(keys), np.abs(best)), 0.0)
        return np.asarray((keys == best) | (gap <= tolerance * (1 + _SAME) + spill))


def tie_within(keys: Floats, tolerance: float) -> Floats:
    """Make keys equal that lie within a tolerance of the best of their group.

    Going from the best (smallest) key to the worst, a key joins the group that is open if it is no more than
    ``tolerance`` above the key that opened it, else it opens the next group. Every member gets the key of
    the group's opener.

    Parameters
    ----------
    keys : ndarray of float, shape (..., n_submissions, m)
        Smaller is better; NaN stays NaN.
    """
    moved = np.moveaxis(keys, -2, -1)
    order = np.argsort(moved, axis=-1, kind="stable")
    ordered = np.take_along_axis(moved, order, axis=-1)
    opener = ordered[..., 0].copy()
    for index in range(1, ordered.shape[-1]):
        current = ordered[..., index]
        opener = np.where(no_more_than(current, opener, tolerance), opener, current)
        ordered[..., index] = opener
    result = np.empty_like(moved)
    np.put_along_axis(result, order, ordered, axis=-1)
    return np.moveaxis(result, -1, -2)


def rank_columns(keys: Floats, ties: Ties = "min") -> Floats:
    """Rank the submissions in every column; the smallest key gets rank 1.

    Parameters
    ----------
    keys : ndarray of float, shape (..., n_submissions, m)
        NaN gets no rank (NaN).
    ties : {"min", "max", "average", "first", "dense"}
        How equal keys share ranks.

    Returns
    -------
    ndarray of float, same shape
    """
    number = keys.shape[-2]
    if number >= _SORTED_FROM:
        return _rank_sorted(keys, ties)
    better = np.zeros(keys.shape)
    equal = np.zeros(keys.shape)
    for other in range(number):
        rival = keys[..., other : other + 1, :]
        wins = rival < keys
        same = rival == keys
        if ties == "first":
            same[..., : other + 1, :] = False  # only earlier rivals push a submission down
        if ties == "dense":
            repeated = (keys[..., :other, :] == rival).any(axis=-2, keepdims=True)
            wins = wins & ~repeated
        better += wins
        equal += same
    if ties in ("min", "dense"):
        ranks = better + 1
    elif ties == "first":
        ranks = better + equal + 1
    elif ties == "max":
        ranks = better + equal
    else:
        ranks = better + (equal + 1) / 2
    return np.where(np.isnan(keys), np.nan, ranks)


def _rank_sorted(keys: Floats, ties: Ties) -> Floats:
    """Rank many submissions by sorting them instead of comparing every pair: the same ranks, as counts are exact."""
    moved = np.moveaxis(keys, -2, -1)
    order = np.argsort(moved, axis=-1, kind="stable")
    ordered = np.take_along_axis(moved, order, axis=-1)
    opens = np.ones(ordered.shape, dtype=bool)  # where another key begins; NaN is at the end, and equal to nothing
    opens[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    place = np.arange(ordered.shape[-1])
    if ties == "first":
        ranks = np.broadcast_to(place + 1.0, ordered.shape)
    elif ties == "dense":
        ranks = np.cumsum(opens, axis=-1, dtype=np.float64)
    else:
        before = np.maximum.accumulate(np.where(opens, place, 0), axis=-1)
        closes = np.ones_like(opens)
        closes[..., :-1] = opens[..., 1:]
        last = np.where(closes, place + 1, ordered.shape[-1])[..., ::-1]
        upto = np.minimum.accumulate(last, axis=-1)[..., ::-1]
        ranks = before + 1.0 if ties == "min" else upto * 1.0 if ties == "max" else (before + upto + 1) / 2
    found = np.empty(moved.shape)
    np.put_along_axis(found, order, ranks, axis=-1)
    found[np.isnan(moved)] = np.nan
    return np.ascontiguousarray(np.moveaxis(found, -1, -2))


def rank_after_last(keys: Floats, missing: npt.NDArray[np.bool_], ties: Ties) -> Floats:
    """Rank like challengeR: a missing value gets one more than the largest rank given to a value.

    With average ties the missing values share the places after the largest assigned rank.

    Parameters
    ----------
    keys : ndarray of float, shape (..., n_submissions, m)
    missing : ndarray of bool, same shape
        Cells to rank after the last; other NaN cells get no rank.
    """
    ranks = rank_columns(keys, ties)
    largest = np.where(np.isnan(ranks), 0.0, ranks).max(axis=-2, keepdims=True)
    if ties == "average":
        number = missing.sum(axis=-2, keepdims=True)
        after = largest + (number + 1) / 2
    else:
        after = largest + 1
    if ties == "first":
        after = largest + np.cumsum(missing, axis=-2)
    return np.where(missing, after, ranks)


def rank_worst(keys: Floats, missing: npt.NDArray[np.bool_], ties: Ties) -> Floats:
    """Rank missing values like a value worse than all others.

    Parameters
    ----------
    keys : ndarray of float, shape (..., n_submissions, m)
    missing : ndarray of bool, same shape
        Cells to rank last; other NaN cells get no rank.
    """
    if not missing.any():
        return rank_columns(keys, ties)
    # infinite keys are legal values, so "worse than all" cannot be infinity itself: shift to ranks first
    plain = rank_columns(keys, "dense")
    return rank_columns(np.where(missing, keys.shape[-2] + 1.0, plain), ties)
