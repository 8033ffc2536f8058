"""Scores of the probabilities of all classes, of how far confidence can be trusted, and of one point of a curve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.metrics.pooled import (
    ClassCalibrationMetric,
    DistributionMetric,
    PooledMetric,
    SensitivityMetric,
)
from medpodium.scoring.measures.pooled import confidence, curves, labels

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_AREAS = ("macro_auc", "weighted_auc", "micro_auc", "macro_average_precision", "micro_average_precision")

OF_DISTRIBUTIONS: Mapping[str, Callable[[labels.Classes, Floats, Floats], Floats]] = {
    "macro_auc": partial(curves.areas_of_classes, average="macro"),
    "weighted_auc": partial(curves.areas_of_classes, average="weighted"),
    "micro_auc": partial(curves.areas_of_classes, average="micro"),
    "macro_average_precision": partial(curves.average_precisions_of_classes, average="macro"),
    "micro_average_precision": partial(curves.average_precisions_of_classes, average="micro"),
    "multiclass_brier": confidence.briers_of_classes,
    "multiclass_log_loss": confidence.log_losses_of_classes,
    "rps": confidence.ranked_probability_scores,
}
"""What a metric of the probabilities of all classes is, by its kind."""


@dataclass(frozen=True)
class ClassScore(ABC):
    """One pooled metric of classes, of all submissions on one pool of cases, ready for any case weights.

    Parameters
    ----------
    kind : str
        Kind of the metric.
    truth : ndarray of int, shape (n_cases,)
        True class; 1 and 0 for a problem.
    given : ndarray of int, shape (n_cases, n_submissions)
        Answered class, penalties put in; -1 leaves a case out.
    classes : int
        Number of classes.
    delivered : ndarray of bool, shape (n_submissions,)
        Who has any usable answer in the pool; the others have no value.
    """

    kind: str
    truth: labels.Classes
    given: labels.Classes
    classes: int
    delivered: Bools

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        return np.where(self.delivered, self._values(np.asarray(weights, dtype=np.float64)), np.nan)

    @abstractmethod
    def _values(self, weights: Floats) -> Floats:
        """Return the values of everybody, delivered or not."""


@dataclass(frozen=True)
class SpreadScore(ClassScore):
    """Such a metric of the probabilities of all classes, or of confidence.

    Parameters
    ----------
    measure : callable
        From weights to values, shape (n_resamples, n_submissions).
    """

    measure: Callable[[Floats], Floats] = field(repr=False)

    def _values(self, weights: Floats) -> Floats:
        return self.measure(weights)

    def behind(self) -> list[None]:
        """Return nothing: such a value is no share of cases."""
        return [None] * self.given.shape[1]


def of_classes(
    spec: DistributionMetric, truth: labels.Classes, probabilities: Floats, skip: Bools, delivered: Bools
) -> SpreadScore:
    """Prepare a metric of the probabilities of all classes.

    A case without them stands behind all others in every area; for errors it counts as certain of the class that is
    farthest from the true one. With ``missing: 0.2`` that is the probability of its true class instead, and the other
    classes share the rest.

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
    probabilities : ndarray of float, shape (n_cases, n_submissions, n_classes)
        NaN where there are none.
    skip : ndarray of bool, shape (n_cases, n_submissions)
        Left out instead.
    delivered : ndarray of bool, shape (n_submissions,)
    """
    number = probabilities.shape[2]
    own: Bools = np.asarray(truth[:, None] == np.arange(number))
    if isinstance(spec.missing, float):
        instead = np.where(own, spec.missing, (1.0 - spec.missing) / (number - 1))
    elif spec.kind in _AREAS:
        instead = np.where(own, -1.0, 2.0)
    else:
        farthest = np.where(truth >= number / 2, 0, number - 1)
        instead = np.asarray(farthest[:, None] == np.arange(number), dtype=np.float64)
    lacking: Bools = np.asarray(np.isnan(probabilities).any(axis=2))
    filled = np.where(lacking[:, :, None], instead[:, None, :], probabilities)
    filled = np.where(skip[:, :, None], np.nan, filled)
    given = np.where(skip, labels.LEFT_OUT, np.nan_to_num(filled, nan=-9.0).argmax(axis=2)).astype(np.int64)
    measure = partial(_weighed, OF_DISTRIBUTIONS[spec.kind], truth, filled)
    return SpreadScore(spec.kind, truth, given, number, delivered, measure)


def _weighed(
    measure: Callable[[labels.Classes, Floats, Floats], Floats], truth: labels.Classes, given: Floats, weights: Floats
) -> Floats:
    return measure(truth, given, weights)


def of_confidence(
    spec: PooledMetric, truth: labels.Classes, given: labels.Classes, right: Floats, sure: Floats, delivered: Bools
) -> SpreadScore:
    """Prepare a calibration error, or the sensitivity at a specificity.

    Parameters
    ----------
    right : ndarray of float, shape (n_cases, n_submissions)
        1 where the answer is right, or the case positive.
    sure : ndarray of float, shape (n_cases, n_submissions)
        Probability given to that, penalties put in; NaN leaves a case out.
    """
    measure: Callable[[Floats], Floats]
    if isinstance(spec, SensitivityMetric):
        measure = partial(_sensitivity, truth, sure, spec.specificity)
    elif isinstance(spec, ClassCalibrationMetric):
        # what stands in for a missing answer lies beyond 0 and 1: certain, and wrong
        measure = partial(_calibration, right, np.clip(sure, 0.0, 1.0), spec)
    else:
        raise TypeError(f"no metric of confidence: {spec.kind}")
    return SpreadScore(spec.kind, truth, given, 2, delivered, measure)


def _sensitivity(truth: labels.Classes, score: Floats, specificity: float, weights: Floats) -> Floats:
    return curves.sensitivities_at(truth, score, weights, specificity)


def _calibration(right: Floats, sure: Floats, spec: ClassCalibrationMetric, weights: Floats) -> Floats:
    return confidence.calibration_errors(right, sure, weights, spec.bins, spec.binning)
