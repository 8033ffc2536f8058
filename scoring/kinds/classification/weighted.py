"""Pooled scores as functions of integer case weights, for many weightings and all submissions at the same time.

A weight says how often a case counts: a resample of the cases is a vector of counts, leaving a case out is a zero.
Every function takes the answers of all submissions, shape (n_cases, n_submissions), and weights of shape (n_resamples,
n_cases), and returns (n_resamples, n_submissions); NaN where a score is not defined. With whole weights all sums are
exact (below 2^53), so the result is that of repeated rows to the bit, in any order of the cases.

A case without an answer that counts (class -1, score NaN) is left out for that submission.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

LEFT_OUT = -1
"""Class of a case that does not count for a submission."""


def _share(part: Floats, whole: Floats) -> Floats:
    out: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def accuracies(truth: Classes, given: Classes, weights: Floats) -> Floats:
    """Return the share of the cases whose class is right.

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
    given : ndarray of int, shape (n_cases, n_submissions)
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    right = (given == truth[:, None]).astype(np.float64)
    counted = (given != LEFT_OUT).astype(np.float64)
    return _share(weights @ right, weights @ counted)


def recalls(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return the recall of every class, shape (n_resamples, n_submissions, n_classes); NaN for a class without cases.

    With two classes these are specificity and sensitivity.
    """
    out = np.empty((len(weights), given.shape[1], classes))
    for own in range(classes):
        rows = truth == own
        answers, drawn = given[rows], weights[:, rows]
        right = (answers == own).astype(np.float64)
        out[:, :, own] = _share(drawn @ right, drawn @ (answers != LEFT_OUT).astype(np.float64))
    return out


def balanced_accuracies(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return the mean recall over the classes that have cases (scikit-learn's rule)."""
    recall = recalls(truth, given, weights, classes)
    flat = recall.reshape(-1, classes)
    out = np.full(len(flat), np.nan)
    patterns, which = np.unique(~np.isnan(flat), axis=0, return_inverse=True)
    which = which.reshape(-1)
    for number, present in enumerate(patterns):
        if present.any():
            rows = which == number
            out[rows] = np.ascontiguousarray(flat[rows][:, present]).mean(axis=1)
    return out.reshape(recall.shape[:2])


def quadratic_kappas(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return Cohen's kappa with quadratic weights (Cohen, Psychol. Bull. 70, 1968).

    NaN when no disagreement is expected by chance (one class on both sides), or without cases.
    """
    index = np.arange(classes)
    cost = (index[:, None] - index[None, :]) ** 2
    out = np.full((len(weights), given.shape[1]), np.nan)
    for own in range(given.shape[1]):
        counted = given[:, own] != LEFT_OUT
        true, said, drawn = truth[counted], given[counted, own], weights[:, counted]
        rows = drawn @ (true[:, None] == index).astype(np.float64)
        columns = drawn @ (said[:, None] == index).astype(np.float64)
        total = rows.sum(axis=1)
        some = total > 0
        expected = rows[some][:, :, None] * columns[some][:, None, :] / total[some][:, None, None]
        chance = (cost * expected).reshape(-1, classes * classes).sum(axis=1)
        observed = (drawn @ ((true - said) ** 2).astype(np.float64))[some]
        ratio = np.full(len(chance), np.nan)
        np.divide(observed, chance, out=ratio, where=chance > 0)
        out[some, own] = 1.0 - ratio
    return out


def areas(truth: Classes, score: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve by the Mann-Whitney statistic; ties count one half.

    NaN when one of both classes has no case.

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
        1 for positive cases, else 0.
    score : ndarray of float, shape (n_cases, n_submissions)
        Higher means more likely positive; NaN leaves the case out.
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    out = np.full((len(weights), score.shape[1]), np.nan)
    by_case = np.ascontiguousarray(weights.T)  # rows of cases: sorting them moves whole rows
    positive = by_case * (truth == 1).astype(np.float64)[:, None]
    for own in range(score.shape[1]):
        counted = np.flatnonzero(~np.isnan(score[:, own]))
        order = counted[np.argsort(score[counted, own], kind="stable")]
        ordered = score[order, own]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(order) else order
        if not len(starts):
            continue
        # one row per distinct score: how many positive and negative cases have it
        ones = np.add.reduceat(positive[order], starts, axis=0)
        zeros = np.add.reduceat(by_case[order], starts, axis=0)
        zeros -= ones
        # twice the pairs in the right order: whole numbers, so only the last division rounds
        below = np.cumsum(zeros, axis=0)
        doubled = np.einsum("gr,gr->r", ones, 2.0 * below - zeros)
        pairs = 2.0 * ones.sum(axis=0) * below[-1]
        out[:, own] = _share(doubled, pairs)
    return out
