"""Scores of several labels at once, pooled over cases, as functions of case weights.

As in :mod:`medpodium.scoring.measures.pooled.labels`: weights of shape (n_resamples, n_cases), values of shape
(n_resamples, n_submissions), NaN where a value is not defined. Every label is a problem of two sides of its own; of
cases in which it is not known nobody has an answer to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pooled import curves, labels
from medpodium.scoring.measures.pooled.curves import Average
from medpodium.scoring.measures.pooled.labels import Classes, Floats, share

EQUAL = 1e-12
"""Probabilities and thresholds that differ by no more than this are equal."""


def reaches(values: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which probabilities reach a threshold."""
    return np.asarray(np.asarray(values, dtype=np.float64) >= threshold - EQUAL)


def f1s_of_labels(truth: Classes, given: Classes, weights: Floats, average: Average) -> Floats:
    """Return the F1 score of several labels.

    ``macro`` is the mean over the labels that are true or given in any case, ``weighted`` the mean by the number of
    cases with the label, ``micro`` one score of all counts together.

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases, n_labels)
        1 where a case has the label, 0 where not, -1 where that is not known.
    given : ndarray of int, shape (n_cases, n_submissions, n_labels)
        1 or 0; -1 leaves the case out.
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    counts = []
    for own in range(truth.shape[1]):
        known = truth[:, own] >= 0
        counts.append(
            [part[:, :, 1] for part in labels.counts(truth[known, own], given[known, :, own], weights[:, known], 2)]
        )
    hits, answers, cases = (np.stack([part[at] for part in counts], axis=2) for at in range(3))
    if average == "micro":
        return share(2.0 * hits.sum(axis=2), answers.sum(axis=2) + cases.sum(axis=2))
    single = share(2.0 * hits, answers + cases)
    size = cases if average == "weighted" else (~np.isnan(single)).astype(np.float64)
    return share((np.nan_to_num(single) * size).sum(axis=2), size.sum(axis=2))


def areas_of_labels(truth: Classes, score: Floats, weights: Floats, average: Average, *, precision: bool) -> Floats:
    """Return the area under the ROC curve, or the average precision, of several labels.

    NaN where some label has cases of one side only (``macro``, ``weighted``; of average precision: none that has it).

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases, n_labels)
        1, 0, or -1 where it is not known.
    score : ndarray of float, shape (n_cases, n_submissions, n_labels)
        Higher means more likely; NaN leaves the case out.
    precision : bool
        Average precision instead of the area.
    """
    of = curves.average_precisions if precision else curves.areas
    if average == "micro":
        case, label = np.nonzero(truth >= 0)
        return of(truth[case, label], score[case, :, label], weights[:, case])
    single, sizes = [], []
    for own in range(truth.shape[1]):
        known = truth[:, own] >= 0
        side, drawn = truth[known, own], weights[:, known]
        single.append(of(side, score[known, :, own], drawn))
        counted = ~np.isnan(score[known, :, own]) & (side == 1)[:, None]
        sizes.append(drawn @ counted.astype(np.float64))
    values = np.stack(single)
    if average == "macro":
        return np.asarray(values.mean(axis=0))
    size = np.stack(sizes)
    return share(np.asarray((values * size).sum(axis=0)), np.asarray(size.sum(axis=0)))
