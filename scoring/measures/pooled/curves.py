"""Areas under curves and points on them, pooled over cases, as functions of case weights.

As in :mod:`medpodium.scoring.measures.pooled.labels`: scores of shape (n_cases, n_submissions), weights of shape
(n_resamples, n_cases), values of shape (n_resamples, n_submissions); NaN where a value is not defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pooled.labels import Classes, Floats, share

Average = Literal["macro", "micro", "weighted"]


def grouped(truth: Classes, score: Floats, weights: Floats) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield (submission, positives, negatives) per distinct score in rising order, each (n_scores, n_resamples).

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
        1 for positive cases, else 0.
    score : ndarray of float, shape (n_cases, n_submissions)
        Higher means more likely positive; NaN leaves the case out. A submission of which nothing is left is not
        yielded.
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    by_case = np.ascontiguousarray(weights.T)  # rows of cases: sorting them moves whole rows
    positive = by_case * (truth == 1).astype(np.float64)[:, None]
    for own in range(score.shape[1]):
        counted = np.flatnonzero(~np.isnan(score[:, own]))
        order = counted[np.argsort(score[counted, own], kind="stable")]
        ordered = score[order, own]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(order) else order
        if not len(starts):
            continue
        ones = np.add.reduceat(positive[order], starts, axis=0)
        zeros = np.add.reduceat(by_case[order], starts, axis=0)
        zeros -= ones
        yield own, ones, zeros


def areas(truth: Classes, score: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve by the Mann-Whitney statistic; ties count one half.

    NaN when one of both classes has no case. Parameters as in :func:`grouped`.
    """
    out = np.full((len(weights), score.shape[1]), np.nan)
    for own, ones, zeros in grouped(truth, score, weights):
        # twice the pairs in the right order: whole numbers, so only the last division rounds
        below = np.cumsum(zeros, axis=0)
        doubled = np.einsum("gr,gr->r", ones, 2.0 * below - zeros)
        pairs = 2.0 * ones.sum(axis=0) * below[-1]
        out[:, own] = share(doubled, pairs)
    return out


def average_precisions(truth: Classes, score: Floats, weights: Floats) -> Floats:
    """Return the average precision, ``sum (R_n - R_n-1) P_n`` over the distinct scores from the highest down.

    It does not interpolate (scikit-learn's rule). NaN without a positive case.
    """
    out = np.full((len(weights), score.shape[1]), np.nan)
    for own, ones, zeros in grouped(truth, score, weights):
        hits, all_ = np.cumsum(ones[::-1], axis=0), np.cumsum((ones + zeros)[::-1], axis=0)
        precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
        out[:, own] = share(np.einsum("gr,gr->r", ones[::-1], precision), hits[-1])
    return out


def sensitivities_at(truth: Classes, score: Floats, weights: Floats, specificity: float) -> Floats:
    """Return the largest sensitivity of any threshold whose specificity is at least the one given.

    No threshold between two observed scores is made up, and nothing is interpolated. NaN when one of both classes has
    no case.
    """
    out = np.full((len(weights), score.shape[1]), np.nan)
    for own, ones, zeros in grouped(truth, score, weights):
        hits = np.cumsum(ones[::-1], axis=0)
        alarms = np.cumsum(zeros[::-1], axis=0)
        allowed = (1.0 - specificity) * alarms[-1]
        best = np.where(alarms <= allowed * (1.0 + 1e-12), hits, 0.0).max(axis=0)
        out[:, own] = np.where(alarms[-1] > 0, share(best, hits[-1]), np.nan)
    return out


def areas_of_classes(
    truth: Classes, probabilities: npt.NDArray[np.float64], weights: Floats, average: Average = "macro"
) -> Floats:
    """Return the area under the ROC curve of several classes, each against the rest.

    ``macro`` is the mean over the classes, ``weighted`` that mean by the number of cases, ``micro`` the area over all
    (case, class) pairs. NaN where some class has no case (macro, weighted).

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
    probabilities : ndarray of float, shape (n_cases, n_submissions, n_classes)
        NaN leaves the case out for a submission.
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    return _of_classes(areas, truth, probabilities, weights, average)


def average_precisions_of_classes(
    truth: Classes, probabilities: npt.NDArray[np.float64], weights: Floats, average: Average = "macro"
) -> Floats:
    """Return the average precision of several classes, each against the rest; as :func:`areas_of_classes`."""
    return _of_classes(average_precisions, truth, probabilities, weights, average)


def _of_classes(measure: object, truth: Classes, probabilities: Floats, weights: Floats, average: Average) -> Floats:
    of = areas if measure is areas else average_precisions
    number = probabilities.shape[2]
    if average == "micro":
        flat = np.moveaxis(probabilities, 2, 1).reshape(-1, probabilities.shape[1])
        sides = np.asarray(truth[:, None] == np.arange(number)).astype(np.int64).reshape(-1)
        return of(sides, flat, np.repeat(weights, number, axis=1))
    single = np.stack([of((truth == own).astype(np.int64), probabilities[:, :, own], weights) for own in range(number)])
    if average == "macro":
        return np.asarray(single.mean(axis=0))
    counted: Floats = np.asarray(~np.isnan(probabilities).any(axis=2), dtype=np.float64)
    sizes = np.stack([weights[:, truth == own] @ counted[truth == own] for own in range(number)])
    return share(np.asarray((single * sizes).sum(axis=0)), np.asarray(sizes.sum(axis=0)))
