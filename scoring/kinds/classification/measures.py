"""Scores of staging and other classifications, pooled over the cases given.

Case-level predictions become one value per test set or domain: pool the cases first, then call these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.findings import Code, Finding

Numbers = npt.NDArray[np.float64]
Labels = npt.ArrayLike

SUM_TOLERANCE = 1e-3
"""Class probabilities of a case must sum to 1 within this, unless the task declares another tolerance."""
CLIP = 1e-6
"""Probabilities beyond 0 or 1 by no more than this are rounding (a softmax in float32) and are clipped."""
EQUAL = 1e-12
"""Sums of probabilities and thresholds that differ by no more than this are equal: rounding never decides."""


class ClassificationCode(Code):
    """What can be wrong with classification predictions."""

    PROBABILITY_NAN = "probability-nan"
    PROBABILITY_OUT_OF_RANGE = "probability-out-of-range"
    PROBABILITY_SUM = "probability-sum"
    PROBABILITY_COUNT = "probability-count"
    CLASS_UNKNOWN = "answer-class-unknown"


@dataclass(frozen=True)
class BinaryScores:
    """Scores of a two-class problem.

    Values that are not defined (AUC with one class only, sensitivity without positives) are NaN, and the name of
    each such score is in ``undefined``.
    """

    accuracy: float
    auc: float
    sensitivity: float
    specificity: float
    balanced_accuracy: float
    positives: int
    negatives: int
    undefined: tuple[str, ...]


def check_probabilities(
    cases: Sequence[str], probabilities: npt.ArrayLike, classes: Sequence[str], tolerance: float = SUM_TOLERANCE
) -> tuple[Numbers, list[Finding]]:
    """Check class probabilities and normalise those that do not sum to 1.

    A row that sums to 1 within rounding - half a unit of its last decimal for every class, and at least 1e-6 for
    float32 - stays as it is: dividing it by its sum would move a printed 0.5 to the other side of a threshold.

    Parameters
    ----------
    cases : sequence of str
        Name of each row.
    probabilities : array-like, shape (cases, classes)
        Probability of each class.
    classes : sequence of str
        Name of each column.
    tolerance : float
        How far a row's sum may be from 1; a row beyond rounding is divided by its sum.

    Returns
    -------
    (normalised, findings) : tuple of ndarray of shape (cases, classes), list of Finding
        Probabilities, or all NaN where a finding says that the row cannot be used.

    Raises
    ------
    ValueError
        When ``cases`` does not have one name per row.
    """
    values = np.array(probabilities, dtype=np.float64)
    if values.size == 0:
        values = values.reshape(len(cases), len(classes))
    if values.ndim != 2 or values.shape[0] != len(cases):
        raise ValueError(f"probabilities have shape {values.shape} for {len(cases)} cases")
    if values.shape[1] != len(classes):
        cause = f"there are {values.shape[1]} probabilities per case, the challenge has {len(classes)} classes"
        fix = f"give one column for each of {', '.join(classes)}"
        finding = Finding(ClassificationCode.PROBABILITY_COUNT, "probabilities", cause, fix)
        return np.full((len(cases), len(classes)), np.nan), [finding]
    findings = []
    for row, case in enumerate(cases):
        values[row] = _clipped(values[row])
        problem = _row_problem(case, values[row], classes, tolerance)
        if problem is None:
            total = math.fsum(values[row].tolist())
            if abs(total - 1.0) > _rounding(values[row]):
                values[row] /= total
        else:
            findings.append(problem)
            values[row] = np.nan
    return values, findings


def check_scores(cases: Sequence[str], probabilities: npt.ArrayLike, name: str) -> tuple[Numbers, list[Finding]]:
    """Check one probability per case (of the positive class); bad ones become NaN with a finding.

    Parameters
    ----------
    cases : sequence of str
        Name of each value.
    probabilities : array-like, shape (cases,)
        Probability of the positive class.
    name : str
        Name of the column, for messages.
    """
    values = _clipped(np.array(probabilities, dtype=np.float64))
    findings = []
    for row, case in enumerate(cases):
        problem = _value_problem(case, float(values[row]), name)
        if problem is not None:
            findings.append(problem)
            values[row] = np.nan
    return values, findings


def _value_problem(case: str, value: float, name: str) -> Finding | None:
    if math.isnan(value):
        cause, fix = f"the probability of {name} is missing or NaN", "give a number from 0 to 1 for every case"
        return Finding(ClassificationCode.PROBABILITY_NAN, case, cause, fix)
    if not 0.0 <= value <= 1.0:
        cause, fix = f"the probability of {name} is {value!r}", "give probabilities from 0 to 1, not logits or percent"
        return Finding(ClassificationCode.PROBABILITY_OUT_OF_RANGE, case, cause, fix)
    return None


def _clipped(values: Numbers) -> Numbers:
    """Return probabilities with those that rounding put beyond 0 or 1 put back."""
    near = np.clip(values, 0.0, 1.0)
    return np.where(np.abs(values - near) <= CLIP, near, values)


def _rounding(row: Numbers) -> float:
    """Return how far a row that was rounded for printing may be from its true sum."""
    decimals = max(-int(Decimal(repr(float(value))).normalize().as_tuple().exponent) for value in row)
    return max(CLIP, len(row) * 0.5 * 10.0**-decimals + EQUAL)


def sum_of(probabilities: Numbers) -> float:
    """Return the sum of some classes' probabilities, at most 1 and to twelve digits, so that equal sums are equal.

    A single class keeps all its digits.
    """
    if len(probabilities) == 1:
        return float(probabilities[0])
    return min(float(f"{math.fsum(probabilities.tolist()):.12g}"), 1.0)


def at_least(values: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which values reach a threshold; a difference of 1e-12 is none."""
    return np.asarray(np.asarray(values, dtype=np.float64) >= threshold - EQUAL)


def _row_problem(case: str, row: Numbers, classes: Sequence[str], tolerance: float) -> Finding | None:
    for name, value in zip(classes, row, strict=True):
        problem = _value_problem(case, float(value), name)
        if problem is not None:
            return problem
    total = math.fsum(row.tolist())
    if abs(total - 1.0) > tolerance + EQUAL:
        cause = f"the probabilities sum to {total:.6g}, off 1 by more than {tolerance:g}"
        return Finding(ClassificationCode.PROBABILITY_SUM, case, cause, "divide by their sum (softmax) before saving")
    return None


def confusion_matrix(reference: Labels, prediction: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Count cases by reference class (rows) and predicted class (columns).

    Parameters
    ----------
    reference, prediction : array-like of int, shape (cases,)
        Classes 0 to ``classes - 1``.
    classes : int
        Number of classes.

    Raises
    ------
    ValueError
        When a class is out of range or the lengths differ.
    """
    true, given = _classes(reference, classes), _classes(prediction, classes)
    if true.shape != given.shape:
        raise ValueError(f"{true.size} references but {given.size} predictions")
    counts = np.bincount(true * classes + given, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def _classes(values: Labels, classes: int) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    whole = array.astype(np.int64)
    if array.ndim != 1 or not np.array_equal(whole, array) or (whole < 0).any() or (whole >= classes).any():
        raise ValueError(f"classes must be whole numbers from 0 to {classes - 1}")
    return whole


def accuracy(confusion: npt.NDArray[Any]) -> float:
    """Return the share of cases on the diagonal of a confusion matrix; NaN without cases."""
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else math.nan


def recalls(confusion: npt.NDArray[Any]) -> Numbers:
    """Return the recall of each class, NaN for classes without cases (two classes: specificity, sensitivity)."""
    sizes = confusion.sum(axis=1)
    recall: Numbers = np.full(len(confusion), np.nan)
    np.divide(np.diag(confusion), sizes, out=recall, where=sizes > 0)
    return recall


def balanced_accuracy(confusion: npt.NDArray[Any]) -> float:
    """Return the mean recall over the classes that have cases (scikit-learn's rule); NaN without cases."""
    present = recalls(confusion)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else math.nan


def quadratic_kappa(confusion: npt.NDArray[Any]) -> float:
    """Return Cohen's kappa with quadratic weights.

    Kappa = 1 - sum(w * observed) / sum(w * expected) with w = (i - j)^2 (Cohen, Psychol. Bull. 70, 1968); NaN when
    no disagreement is expected by chance (one class on both sides) or there are no cases.

    Parameters
    ----------
    confusion : ndarray, shape (classes, classes)
        Counts by reference (rows) and prediction (columns), classes in their order.
    """
    total = float(confusion.sum())
    if not total:
        return math.nan
    index = np.arange(len(confusion))
    weights = (index[:, None] - index[None, :]) ** 2
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / total
    chance = float((weights * expected).sum())
    return 1.0 - float((weights * confusion).sum()) / chance if chance else math.nan


def auc(reference: Labels, score: npt.ArrayLike) -> float:
    """Return the area under the ROC curve by the Mann-Whitney statistic; ties count one half.

    Parameters
    ----------
    reference : array-like of bool or {0, 1}, shape (cases,)
        Whether each pooled case is positive.
    score : array-like of float, shape (cases,)
        Higher means more likely positive.

    Returns
    -------
    float
        Share of (positive, negative) pairs in the right order, a multiple of 1 / (2 P N); NaN when one of the
        classes has no case.

    Raises
    ------
    ValueError
        When a score is NaN or the lengths differ.
    """
    positive = _classes(np.asarray(reference).astype(np.int64), 2) == 1
    values = np.asarray(score, dtype=np.float64)
    if values.shape != positive.shape:
        raise ValueError(f"{positive.size} references but scores of shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError("a score is NaN")
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    # Twice the mean rank of tied values is a whole number, so only the last division rounds.
    doubled_rank = 2 * np.cumsum(size) - size + 1
    doubled = int(doubled_rank[group][positive].sum())
    return (doubled - positives * (positives + 1)) / (2.0 * positives * negatives)


def binary_scores(reference: Labels, probability: npt.ArrayLike, threshold: float = 0.5) -> BinaryScores:
    """Score a two-class problem from the probability of the positive class.

    Parameters
    ----------
    reference : array-like of bool or {0, 1}, shape (cases,)
        Whether each pooled case is positive.
    probability : array-like of float, shape (cases,)
        Probability of the positive class.
    threshold : float
        Probabilities at or above it are predicted positive.

    Raises
    ------
    ValueError
        When a probability is NaN or the lengths differ.
    """
    true = np.asarray(reference).astype(np.int64)
    area = auc(true, probability)
    confusion = confusion_matrix(true, at_least(probability, threshold).astype(np.int64), 2)
    specificity, sensitivity = (float(value) for value in recalls(confusion))
    values = {
        "accuracy": accuracy(confusion),
        "auc": area,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2.0,
    }
    undefined = tuple(name for name, value in values.items() if math.isnan(value))
    negatives, positives = (int(count) for count in confusion.sum(axis=1))
    return BinaryScores(**values, positives=positives, negatives=negatives, undefined=undefined)
