"""Observations of labels, and their pooled metrics as functions of them and of case weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.classification import LabelsTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import AllLabelsMetric, EachLabelMetric, PooledMetric
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.pooling import pool_of, pooled_part
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.measures.pooled import confidence, curves, labels, multilabel
from medpodium.scoring.measures.pooled.curves import Average
from medpodium.scoring.observations import complete
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Curve, Pool, Shares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

OF_SIDES: Mapping[str, Callable[[Ints, Ints, Floats], Floats]] = {
    "accuracy": labels.accuracies,
    "balanced_accuracy": lambda truth, given, weights: labels.recalls(truth, given, weights, 2).mean(axis=2),
    "sensitivity": lambda truth, given, weights: labels.recalls(truth, given, weights, 2)[:, :, 1],
    "specificity": lambda truth, given, weights: labels.recalls(truth, given, weights, 2)[:, :, 0],
    "f1": lambda truth, given, weights: multilabel.f1s_of_labels(truth[:, None], given[:, :, None], weights, "macro"),
    "mcc": partial(labels.matthews, classes=2),
}
"""What a metric of the sides of one label is, by its kind."""


def observe(task: LabelsTask, seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission, case and label that is known."""
    limits = dict(zip(task.labels, task.thresholds, strict=True))
    rows = []
    for submission, own in seen.predictions.items():
        for case in seen.references.cases:
            said = own.by_case.get(case, {})
            for label, side in seen.references.truth[case].items():
                value = said.get(label)
                answer, status = ("", table.MISSING) if value is None else ("0", table.OK)
                if value is not None and multilabel.reaches(value, limits[label]):
                    answer = "1"
                rows.append((submission, case, label, "1" if side else "0", answer, value, status))
    columns = ["submission", "case", "structure", "truth", "answer", "confidence", "status"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["confidence"] = frame["confidence"].astype("float64")
    return complete(frame, seen.challenge, seen.name, seen.groups, findings)


@dataclass(frozen=True)
class Arranged:
    """Observations of a task as arrays.

    Parameters
    ----------
    cases, teams : list of str
        Names.
    truth : ndarray of int, shape (n_cases, n_labels)
        1, 0, or -1 where it is not known.
    sure : ndarray of float, shape (n_cases, n_submissions, n_labels)
        Probability; NaN where there is none.
    failed : ndarray of bool, same shape
        Whether there is none because a run failed.
    """

    cases: list[str]
    teams: list[str]
    truth: Ints
    sure: Floats
    failed: Bools


def arrange(task: LabelsTask, own: pd.DataFrame) -> Arranged:
    """Arrange the observations of one task as arrays."""
    cases, teams = sorted(own["case"].unique()), sorted(own["submission"].unique())
    at = tuple(
        np.asarray(pd.Categorical(own[name], categories=known).codes, dtype=np.intp)
        for name, known in (("case", cases), ("submission", teams), ("structure", list(task.labels)))
    )
    shape = len(cases), len(teams), len(task.labels)
    truth = np.full((shape[0], shape[2]), -1, dtype=np.int64)
    truth[at[0], at[2]] = (own["truth"] == "1").to_numpy(dtype=np.int64)
    sure, failed = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    sure[at] = own["confidence"].where(own["status"] == table.OK).to_numpy(dtype=np.float64)
    failed[at] = own["status"].str.startswith(table.FAILED_PREFIX).to_numpy()
    return Arranged(cases, teams, truth, sure, failed)


@dataclass(frozen=True)
class PooledScore:
    """One pooled metric of one label, or of all of them, for all submissions, ready for any case weights.

    Parameters
    ----------
    spec : PooledMetric
        Which.
    truth : ndarray of int, shape (n_cases, n_labels)
        1, 0, or -1 where it is not known.
    given : ndarray of int, shape (n_cases, n_submissions, n_labels)
        Side, on the wrong one where there is no answer; -1 leaves it out.
    score : ndarray of float, same shape
        Probability, beyond 0 or 1 on the wrong side where there is none; NaN leaves it out.
    delivered : ndarray of bool, shape (n_submissions,)
        Who has any answer; the others have no value.
    """

    spec: PooledMetric
    truth: Ints = field(repr=False)
    given: Ints = field(repr=False)
    score: Floats = field(repr=False)
    delivered: Bools

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        values = self._of_all(weights) if isinstance(self.spec, AllLabelsMetric) else self._of_one(weights)
        return np.where(self.delivered, values, np.nan)

    def _of_all(self, weights: Floats) -> Floats:
        average, _, what = self.spec.kind.partition("_")
        how = cast("Average", average)
        if what == "f1":
            return multilabel.f1s_of_labels(self.truth, self.given, weights, how)
        precision = what == "average_precision"
        return multilabel.areas_of_labels(self.truth, self.score, weights, how, precision=precision)

    def _of_one(self, weights: Floats) -> Floats:
        known = self.truth[:, 0] >= 0
        truth, drawn, score = self.truth[known, 0], weights[:, known], self.score[known, :, 0]
        if self.spec.kind in OF_SIDES:
            return OF_SIDES[self.spec.kind](truth, self.given[known, :, 0], drawn)
        if self.spec.kind in ("brier", "log_loss"):
            right = np.broadcast_to(truth[:, None], score.shape).astype(np.float64)
            of = confidence.briers if self.spec.kind == "brier" else confidence.log_losses
            return of(right, np.clip(score, 0.0, 1.0), drawn)
        return (curves.areas if self.spec.kind == "auc" else curves.average_precisions)(truth, score, drawn)

    def behind(self, at: int) -> Shares | Curve | None:
        """Return what the value of a submission is made of, where it is a share of cases or an area."""
        known = self.truth.shape[1] == 1 and (self.truth >= 0).all()
        if not known or self.spec.kind not in ("accuracy", "sensitivity", "specificity", "auc"):
            return None
        truth, given = self.truth[:, 0], self.given[:, at, 0]
        if self.spec.kind == "auc":
            return Curve(truth, self.score[:, at, 0])
        side = {"accuracy": None, "sensitivity": 1, "specificity": 0}[self.spec.kind]
        counts = (given != labels.LEFT_OUT) & ((truth == side) if side is not None else True)
        return Shares(np.where(counts, (given == truth).astype(np.float64), np.nan))


def prepare(task: LabelsTask, spec: PooledMetric, own: Arranged, chosen: list[int]) -> PooledScore:
    """Prepare one metric of some labels: what is missing is on the wrong side, or left out where the metric says so."""
    truth, sure = own.truth[:, chosen], own.sure[:, :, chosen]
    lacks = np.isnan(sure)
    skipped = lacks & (spec.missing == "skip")
    if spec.failed is not None:
        skipped = np.where(own.failed[:, :, chosen], spec.failed == "skip", skipped)
    wrong = np.where(truth == 1, -1.0, 2.0)[:, None, :]
    score = np.where(skipped, np.nan, np.where(lacks, wrong, sure))
    given = np.where(skipped, labels.LEFT_OUT, np.stack(
        [multilabel.reaches(score[:, :, at], task.thresholds[label]) for at, label in enumerate(chosen)], axis=2
    )).astype(np.int64)  # fmt: skip
    return PooledScore(spec, truth, given, score, np.asarray((~lacks).any(axis=(0, 2))))


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; None where it has no pooled metric or no observation."""
    pooled = pooled_part(challenge, name, observations, LabelsTask)
    if pooled is None:
        return None
    task, own, metrics = pooled
    arranged = arrange(task, own)
    asked = [(at, label) for at, label in enumerate(task.labels) if (arranged.truth[:, at] >= 0).any()]
    cells: list[Cell] = []
    scores: list[PooledScore] = []
    for key, spec in metrics.items():
        parts = [([at], label) for at, label in asked]
        if not isinstance(spec, EachLabelMetric):
            parts = [([at for at, _ in asked], "")]
        for chosen, structure in parts:
            scores.append(prepare(task, spec, arranged, chosen))
            cells += [Cell(team, POOLED, structure, key) for team in arranged.teams]
    behind = [score.behind(at) for score in scores for at in range(len(arranged.teams))]
    areas = [score for score in scores if score.spec.kind in ("auc", "macro_auc", "weighted_auc")]
    sides = [np.flatnonzero(truth == side) for score in areas for truth in score.truth.T for side in (0, 1)]
    return pool_of(own, arranged.cases, cells, scores, behind, sides)
