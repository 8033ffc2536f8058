"""Pooled metrics of questions as functions of their observations and of case weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.answers import LabelMetric
from medpodium.challenges.schema.metrics.pooled import CalibrationMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.scoring import table
from medpodium.scoring.kinds.answers.observe import scored_by
from medpodium.scoring.kinds.pooling import pool_of
from medpodium.scoring.measures.pooled import confidence, curves, labels
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Pool, Shares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Of: TypeAlias = Callable[[Ints, Ints, Floats, int], Floats]

LABELS: dict[str, Of] = {
    "accuracy": lambda truth, given, weights, _: labels.accuracies(truth, given, weights),
    "balanced_accuracy": labels.balanced_accuracies,
    "macro_f1": partial(labels.f1s, average="macro"),
    "micro_f1": partial(labels.f1s, average="micro"),
    "weighted_f1": partial(labels.f1s, average="weighted"),
    "mcc": labels.matthews,
    "kappa": labels.kappas,
    "linear_kappa": partial(labels.kappas, costs="linear"),
    "quadratic_kappa": labels.quadratic_kappas,
}
"""What a pooled metric of labels is, by its kind."""


@dataclass(frozen=True)
class PooledScore:
    """One pooled metric of all submissions, ready for any case weights.

    Parameters
    ----------
    spec : MetricSpec
        Which.
    of_case : ndarray of int, shape (n_rows,)
        Case of every row: a case has one per order of its options.
    truth, given : ndarray of int, shapes (n_rows,) and (n_rows, n_submissions)
        Number of the right and of the answered class.
    right, sure : ndarray of float, shape (n_rows, n_submissions)
        Share of the trials that are right, and the confidence; NaN leaves a row out.
    classes : int
        Number of classes.
    delivered : ndarray of bool, shape (n_submissions,)
        Who has any answer; the others have no value.
    """

    spec: MetricSpec
    of_case: npt.NDArray[np.intp] = field(repr=False)
    truth: Ints = field(repr=False)
    given: Ints = field(repr=False)
    right: Floats = field(repr=False)
    sure: Floats = field(repr=False)
    classes: int
    delivered: npt.NDArray[np.bool_]

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        return np.where(self.delivered, self._values(weights[:, self.of_case]), np.nan)

    def _values(self, weights: Floats) -> Floats:
        spec = self.spec
        if isinstance(spec, LabelMetric):
            return LABELS[spec.kind](self.truth, self.given, weights, self.classes)
        if isinstance(spec, CalibrationMetric):
            return confidence.calibration_errors(self.right, self.sure, weights, spec.bins, spec.binning)
        if spec.kind == "brier":
            return confidence.briers(self.right, self.sure, weights)
        if spec.kind == "log_loss":
            return confidence.log_losses(self.right, self.sure, weights)
        if spec.kind == "confidence_auc":
            hit = (self.given == self.truth[:, None]).astype(np.int64)
            each = [curves.areas(hit[:, at], self.sure[:, at : at + 1], weights) for at in range(hit.shape[1])]
            return np.concatenate(each, axis=1)
        shift = confidence.shifts(self.right, self.sure, weights)
        return np.abs(shift) if spec.kind == "shift_size" else shift

    def behind(self, position: int) -> Shares | None:
        """Return the right cases of a submission where the value is their share."""
        if self.spec.kind != "accuracy" or len(self.of_case) != len(np.unique(self.of_case)):
            return None
        given = self.given[:, position]
        hit = (given == self.truth).astype(np.float64)
        return Shares(np.where(given == labels.LEFT_OUT, np.nan, hit))


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; None where it has no pooled metric or no observation.

    Parameters
    ----------
    observations : DataFrame
        Normalised observations, of any tasks.
    """
    task = challenge.tasks[name]
    own = scored_by(observations[observations["task"] == name])
    metrics = {key: spec for key, spec in task.metrics.items() if spec.info.scope == "pooled"}
    if own.empty or not metrics or not isinstance(task, AnswersTask):
        return None
    cases = sorted(own["case"].unique())
    submissions = sorted(own["submission"].unique())
    arranged = arrange(task, own, cases, submissions)
    scores = {key: prepare(spec, arranged) for key, spec in metrics.items()}
    cells = [Cell(team, POOLED, "", key) for key in scores for team in submissions]
    behind = [score.behind(at) for score in scores.values() for at in range(len(submissions))]
    return pool_of(own, cases, cells, tuple(scores.values()), behind)


@dataclass(frozen=True)
class Arranged:
    """Observations of a task as arrays: rows by case and part of the question, columns by submission."""

    of_case: npt.NDArray[np.intp]
    truth: Ints
    said: Ints
    right: Floats
    sure: Floats
    missing: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    classes: int


def arrange(task: AnswersTask, own: pd.DataFrame, cases: list[str], submissions: list[str]) -> Arranged:
    """Arrange observations as arrays, rows by case and part of the question."""
    pieces = task.pieces
    answers = {*own["truth"].unique(), *own["answer"].unique()} - {""}
    classes = task.options if task.form == "choice" else sorted(answers)
    shape = (len(cases), len(pieces), len(submissions))
    at = (
        pd.Categorical(own["case"], categories=cases).codes,
        pd.Categorical(own["structure"], categories=pieces).codes,
        pd.Categorical(own["submission"], categories=submissions).codes,
    )

    def codes(column: str) -> Ints:
        number = {answer: at for at, answer in enumerate(classes)}
        return np.asarray(own[column].map(number).fillna(labels.NO_CLASS), dtype=np.int64)

    def filled(values: npt.NDArray[Any], start: float, kind: type) -> npt.NDArray[Any]:
        grid: npt.NDArray[Any] = np.full(shape, start, dtype=kind)
        grid[at] = values
        return grid.reshape(-1, len(submissions))

    status = own["status"]
    usable = (status == table.OK).to_numpy()
    truth = np.full(shape[:2], labels.NO_CLASS, dtype=np.int64)
    truth[at[:2]] = codes("truth")
    return Arranged(
        of_case=np.repeat(np.arange(len(cases)), len(pieces)),
        truth=truth.reshape(-1),
        said=filled(codes("answer"), labels.NO_CLASS, np.int64).astype(np.int64),
        right=filled(np.where(usable, own["share"], 0.0), 0.0, float).astype(np.float64),
        # who does not say how sure counts as certain: leaving it out must not help
        sure=filled(own["confidence"].fillna(1.0).to_numpy(), 1.0, float).astype(np.float64),
        missing=filled(~usable, 1, bool).astype(bool),
        failed=filled(status.str.startswith(table.FAILED_PREFIX).to_numpy(), 0, bool).astype(bool),
        classes=len(classes),
    )


def prepare(spec: MetricSpec, own: Arranged) -> PooledScore:
    """Prepare one metric: what is missing is wrong and certain, or left out where the metric says so."""
    skipped = own.missing & (spec.missing == "skip")
    if spec.failed is not None:
        skipped = np.where(own.failed, spec.failed == "skip", skipped)
    given = np.where(skipped, labels.LEFT_OUT, own.said)
    sure = np.where(skipped, np.nan, own.sure)
    delivered = np.asarray((~own.missing).any(axis=0))
    return PooledScore(spec, own.of_case, own.truth, given, own.right, sure, own.classes, delivered)
