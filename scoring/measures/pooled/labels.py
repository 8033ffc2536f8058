"""Scores of labels, pooled over cases, as functions of case weights: for many weightings and all submissions at once.

A weight says how often a case counts: a resample of the cases is a vector of counts, leaving a case out is a zero.
Every function takes the answers of all submissions, shape (n_cases, n_submissions), and weights of shape (n_resamples,
n_cases), and returns (n_resamples, n_submissions); NaN where a score is not defined. With whole weights all sums are
exact (below 2^53), so the result is that of repeated rows to the bit, in any order of the cases.

A case without an answer is left out for that submission (:data:`LEFT_OUT`), or counts as an answer that is none of the
classes (:data:`NO_CLASS`): wrong, and nobody's false alarm.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

LEFT_OUT = -1
"""Class of a case that does not count for a submission."""
NO_CLASS = -2
"""Class of an answer that is none of the classes: it counts, and is wrong."""
Average = Literal["macro", "micro", "weighted"]
"""How the scores of several classes become one: their mean, one over all counts, or a mean by the classes' cases."""
Costs = Literal["none", "linear", "quadratic"]
"""What a disagreement of ordered classes costs: one, their distance, or its square."""


def share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where there is nothing."""
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
    return share(weights @ right, weights @ counted)


def grade_errors(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return the mean number of classes between answer and truth; an answer that is none is ``classes`` away."""
    apart = np.where(given == NO_CLASS, classes, np.abs(given - truth[:, None])).astype(np.float64)
    counted = (given != LEFT_OUT).astype(np.float64)
    return share(weights @ (apart * counted), weights @ counted)


def recalls(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return the recall of every class, shape (n_resamples, n_submissions, n_classes); NaN for a class without cases.

    With two classes these are specificity and sensitivity.
    """
    out = np.empty((len(weights), given.shape[1], classes))
    for own in range(classes):
        rows = truth == own
        answers, drawn = given[rows], weights[:, rows]
        right = (answers == own).astype(np.float64)
        out[:, :, own] = share(drawn @ right, drawn @ (answers != LEFT_OUT).astype(np.float64))
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


def kappas(truth: Classes, given: Classes, weights: Floats, classes: int, costs: Costs = "none") -> Floats:
    """Return Cohen's kappa (Educ. Psychol. Meas. 20, 1960), weighted as Psychol. Bull. 70, 1968.

    NaN when no disagreement is expected by chance (one class on both sides), or without cases. An answer that is none
    of the classes costs as much as the farthest class.
    """
    index = np.arange(classes)
    apart = np.abs(index[:, None] - index[None, :])
    cost = {"none": (apart > 0).astype(np.int64), "linear": apart, "quadratic": apart**2}[costs]
    out = np.full((len(weights), given.shape[1]), np.nan)
    for own in range(given.shape[1]):
        counted = given[:, own] != LEFT_OUT
        true, drawn = truth[counted], weights[:, counted]
        said = given[counted, own]
        farthest = np.where(true >= classes / 2, 0, classes - 1)
        said = np.where(said == NO_CLASS, farthest, said)
        rows = drawn @ (true[:, None] == index).astype(np.float64)
        columns = drawn @ (said[:, None] == index).astype(np.float64)
        total = rows.sum(axis=1)
        some = total > 0
        expected = rows[some][:, :, None] * columns[some][:, None, :] / total[some][:, None, None]
        chance = (cost * expected).reshape(-1, classes * classes).sum(axis=1)
        observed = (drawn @ cost[true, said].astype(np.float64))[some]
        ratio = np.full(len(chance), np.nan)
        np.divide(observed, chance, out=ratio, where=chance > 0)
        out[some, own] = 1.0 - ratio
    return out


def quadratic_kappas(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return Cohen's kappa with quadratic weights; see :func:`kappas`."""
    return kappas(truth, given, weights, classes, "quadratic")


def counts(truth: Classes, given: Classes, weights: Floats, classes: int) -> tuple[Floats, Floats, Floats]:
    """Return the hits, answers and cases of every class, each of shape (n_resamples, n_submissions, n_classes)."""
    shape = (len(weights), given.shape[1], classes)
    hits, answers, cases = (np.empty(shape) for _ in range(3))
    counted = (given != LEFT_OUT).astype(np.float64)
    for own in range(classes):
        rows = truth == own
        said = given == own
        hits[:, :, own] = weights[:, rows] @ said[rows].astype(np.float64)
        answers[:, :, own] = weights @ said.astype(np.float64)
        cases[:, :, own] = weights[:, rows] @ counted[rows]
    return hits, answers, cases


def f1s(truth: Classes, given: Classes, weights: Floats, classes: int, average: Average = "macro") -> Floats:
    """Return the F1 score of several classes, ``2 TP / (2 TP + FP + FN)``, averaged as scikit-learn does.

    ``macro`` is the mean over the classes that occur among the cases or the answers, ``weighted`` that mean by the
    number of cases, ``micro`` one score of all counts together (the accuracy, where every case has one answer).
    """
    hits, answers, cases = counts(truth, given, weights, classes)
    total = np.asarray(cases.sum(axis=2))
    if average == "micro":
        both = answers.sum(axis=2) + total
        return np.where(total > 0, share(2.0 * hits.sum(axis=2), both), np.nan)
    both = answers + cases
    single = np.where(both > 0, 2.0 * hits / np.where(both > 0, both, 1.0), 0.0)
    if average == "weighted":
        return share((single * cases).sum(axis=2), total)
    return np.where(total > 0, share(single.sum(axis=2), (both > 0).sum(axis=2).astype(np.float64)), np.nan)


def matthews(truth: Classes, given: Classes, weights: Floats, classes: int) -> Floats:
    """Return Matthews' correlation coefficient of several classes (Gorodkin, Comput. Biol. Chem. 28, 2004).

    0, as scikit-learn has it, where one class only is answered or true; NaN without cases.
    """
    hits, answers, cases = counts(truth, given, weights, classes)
    total = cases.sum(axis=2)
    nothing = total - answers.sum(axis=2)  # answers that are none of the classes are a class of their own
    covariance = hits.sum(axis=2) * total - (answers * cases).sum(axis=2)
    said = total**2 - (answers**2).sum(axis=2) - nothing**2
    true = total**2 - (cases**2).sum(axis=2)
    product = said * true
    value = np.where(product > 0, covariance / np.sqrt(np.where(product > 0, product, 1.0)), 0.0)
    return np.where(total > 0, value, np.nan)
