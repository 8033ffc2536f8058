"""Probabilities of classes as submissions write them: checked, and normalised where rounding alone is amiss.

What is computed from them is in ``scoring.measures.pooled``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from medpodium.findings import Code, Finding

Numbers = npt.NDArray[np.float64]

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
