"""Observations of a classification task, and the pooled scores computed from them.

Every case is observed once for its class (structure "") and once per yes-or-no problem. Scores of the whole set, of a
resample and without one case are the same functions of these rows and of case weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import ClassCalibrationMetric, DistributionMetric, SensitivityMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.findings import Code, Finding, UsageError
from medpodium.scoring import observations as contract
from medpodium.scoring import table
from medpodium.scoring.kinds.classification.checks import at_least
from medpodium.scoring.kinds.classification.distributions import (
    OF_DISTRIBUTIONS,
    ClassScore,
    SpreadScore,
    of_classes,
    of_confidence,
)
from medpodium.scoring.kinds.classification.probabilities import Answers
from medpodium.scoring.measures.pooled import confidence, curves, labels
from medpodium.scoring.ranking.pools import Curve, Shares

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Cases = npt.NDArray[np.intp]


class ObserveCode(Code):
    """What can be wrong when pooled scores are computed from observations."""

    NOT_SUPPORTED = "metric-not-supported"
    UNKNOWN_CLASS = "observed-class-unknown"
    NO_POOL = "observed-group-missing"


def observe(
    challenge: Challenge,
    task_name: str,
    task: ClassificationTask,
    stages: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    answers: Mapping[str, Answers],
    findings: list[Finding],
) -> pd.DataFrame:
    """Return one row per submission and case for its class, and one per problem.

    An answer that names the class itself has no confidence.

    Parameters
    ----------
    stages : mapping of str to str
        True class by case.
    groups : mapping of str to (mapping of str to str)
        Level by case, per group.
    answers : mapping of str to Answers
        Per submission.
    """
    rows: list[tuple[object, ...]] = []
    for submission, own in answers.items():
        for case, stage in stages.items():
            chosen = own.classes.get(case)
            said = "" if chosen is None else task.classes[chosen]
            status = (table.MISSING if task.by_class else table.SKIPPED) if chosen is None else table.OK
            rows.append((submission, case, "", stage, said, own.certainty.get(case, np.nan), status))
            if task.asks_distributions:
                known = own.distributions.get(case)
                status = table.MISSING if known is None else table.OK
                for at, name in enumerate(task.classes):
                    said_of_it = np.nan if known is None else known[at]
                    rows.append((submission, case, of_class(name), _YES[stage == name], "", said_of_it, status))
            for name, problem in task.problems.items():
                value = own.problems.get(name, {}).get(case)
                side = own.sides.get(name, {}).get(case)
                if value is not None:
                    side = bool(at_least(value, problem.threshold))
                truth, answer = _YES[stage in problem.positive], "" if side is None else _YES[side]
                confidence = np.nan if value is None else value
                status = table.MISSING if side is None else table.OK
                rows.append((submission, case, name, truth, answer, confidence, status))
    columns = ["submission", "case", "structure", "truth", "answer", "confidence", "status"]
    return contract.complete(pd.DataFrame(rows, columns=columns), challenge, task_name, groups, findings)


@dataclass(frozen=True)
class Observed:
    """Observations of one task as arrays, cases in sorted order.

    Parameters
    ----------
    cases, submissions : tuple of str
        Names.
    stage : ndarray of int, shape (n_cases,)
        Number of the true class.
    said : ndarray of int, shape (n_cases, n_submissions)
        Number of the answered class, -1 for none.
    confidence : mapping of str to ndarray, shape (n_cases, n_submissions)
        Probability of the positive side per problem, NaN for none.
    sides : mapping of str to ndarray of float, shape (n_cases, n_submissions)
        Answered side per problem, 1 or 0; NaN for none.
    certainty : ndarray of float, shape (n_cases, n_submissions)
        Probability of the answered class, NaN for none.
    probabilities : ndarray of float, shape (n_cases, n_submissions, n_classes)
        Of every class, where a metric takes them; NaN for none.
    usable : ndarray of bool, shape (n_cases, n_submissions)
        Whether everything the task asks of a case was answered.
    pools : mapping of str to ndarray of int
        Positions of the cases that are pooled, per level of the task's ``pool_by`` (one level "" without).
    """

    cases: tuple[str, ...]
    submissions: tuple[str, ...]
    stage: labels.Classes
    said: labels.Classes
    confidence: Mapping[str, Floats]
    sides: Mapping[str, Floats]
    certainty: Floats
    probabilities: Floats
    usable: Bools
    pools: Mapping[str, Cases]


def arrange(task: ClassificationTask, observations: pd.DataFrame, submissions: Sequence[str] | None = None) -> Observed:
    """Arrange the observations of one task as arrays, for these submissions (all it holds when left out).

    Raises
    ------
    UsageError
        If a true class is unknown or the group that pools the cases is nowhere given.
    """
    number = {name: index for index, name in enumerate(task.classes)}
    own = observations[observations["structure"] == ""]
    cases = tuple(sorted(own["case"].unique()))
    submissions = tuple(sorted(own["submission"].unique() if submissions is None else submissions))
    truth = own.drop_duplicates("case").set_index("case").loc[list(cases)]
    unknown = sorted({*truth["truth"], *own["answer"]} - {"", *number} | ({""} & set(truth["truth"])))
    if unknown:
        fix = f"score again; the classes are {', '.join(task.classes)}"
        raise UsageError(Finding(ObserveCode.UNKNOWN_CLASS, "observations", f"class {unknown[0]!r}", fix))
    said = _grid(own.assign(number=own["answer"].map(number)), "number", cases, submissions)
    asked = {name: observations[observations["structure"] == name] for name in task.problems}
    confidence = {name: _grid(rows, "confidence", cases, submissions) for name, rows in asked.items()}
    sides = {}
    for name, rows in asked.items():
        named = _grid(rows.assign(side=rows["answer"].map({"1": 1.0, "0": 0.0})), "side", cases, submissions)
        reached = at_least(confidence[name], task.problems[name].threshold)
        sides[name] = np.where(np.isnan(confidence[name]), named, reached)
    answered = [~np.isnan(values) for values in sides.values()] or [~np.isnan(said)]
    spread = [observations[observations["structure"] == of_class(name)] for name in task.classes]
    return Observed(
        cases,
        submissions,
        np.asarray(truth["truth"].map(number), dtype=np.int64),
        np.where(np.isnan(said), labels.LEFT_OUT, said).astype(np.int64),
        confidence,
        sides,
        _grid(own, "confidence", cases, submissions),
        np.stack([_grid(rows, "confidence", cases, submissions) for rows in spread], axis=2),
        np.logical_and.reduce(answered),
        _pools(task, truth),
    )


def _grid(rows: pd.DataFrame, column: str, cases: tuple[str, ...], submissions: tuple[str, ...]) -> Floats:
    values = np.full((len(cases), len(submissions)), np.nan)
    known = rows[rows["case"].isin(cases) & rows["submission"].isin(submissions)]
    case = pd.Categorical(known["case"], categories=list(cases)).codes
    submission = pd.Categorical(known["submission"], categories=list(submissions)).codes
    values[case, submission] = known[column].to_numpy(dtype=np.float64)
    return values


def _pools(task: ClassificationTask, truth: pd.DataFrame) -> dict[str, Cases]:
    if task.pool_by is None:
        return {"": np.arange(len(truth), dtype=np.intp)}
    levels = truth[task.pool_by].to_numpy() if task.pool_by in truth.columns else np.full(len(truth), "")
    if (levels == "").any():
        cause = f"{int((levels == '').sum())} case(s) have no {task.pool_by}"
        fix = f"score again with a table of cases that has the column {task.pool_by}"
        raise UsageError(Finding(ObserveCode.NO_POOL, "observations", cause, fix))
    return {str(level): np.flatnonzero(levels == level) for level in sorted(set(levels))}


@dataclass(frozen=True)
class PooledScore(ClassScore):
    """Such a metric of answered classes, or of the probability of a problem's positive side.

    Parameters
    ----------
    score : ndarray of float, shape (n_cases, n_submissions), or None
        Probability of the positive side, penalties put in (problems only).
    """

    score: Floats | None = None

    def _values(self, weights: Floats) -> Floats:
        if self.kind == "accuracy":
            return labels.accuracies(self.truth, self.given, weights)
        if self.score is None:
            if self.kind == "balanced_accuracy":
                return labels.balanced_accuracies(self.truth, self.given, weights, self.classes)
            if self.kind in OF_CLASSES:
                return OF_CLASSES[self.kind](self.truth, self.given, weights, self.classes)
        elif self.kind == "auc":
            return curves.areas(self.truth, self.score, weights)
        elif self.kind == "average_precision":
            return curves.average_precisions(self.truth, self.score, weights)
        elif self.kind in ("brier", "log_loss"):
            right = np.broadcast_to(self.truth[:, None], self.score.shape).astype(np.float64)
            of = confidence.briers if self.kind == "brier" else confidence.log_losses
            return of(right, np.clip(self.score, 0.0, 1.0), weights)
        elif self.kind in ("sensitivity", "specificity", "balanced_accuracy"):
            both = labels.recalls(self.truth, self.given, weights, 2)
            specificity, sensitivity = both[:, :, 0], both[:, :, 1]
            if self.kind == "balanced_accuracy":
                return np.asarray((sensitivity + specificity) / 2.0)
            return sensitivity if self.kind == "sensitivity" else specificity
        return np.full((len(weights), self.given.shape[1]), np.nan)

    def behind(self) -> list[Shares | Curve | None]:
        """Return what the value of every submission is made of, case by case: nothing for other kinds of values."""
        number = self.given.shape[1]
        if self.kind == "auc" and self.score is not None:
            return [Curve(self.truth, self.score[:, at]) for at in range(number)]
        side = {"accuracy": None, "sensitivity": 1, "specificity": 0}
        if self.kind not in side or (self.score is None and self.kind != "accuracy"):
            return [None] * number
        own = side[self.kind]
        counts = self.given != labels.LEFT_OUT
        if own is not None:
            counts &= (self.truth == own)[:, None]
        right = np.where(counts, (self.given == self.truth[:, None]).astype(np.float64), np.nan)
        return [Shares(right[:, at]) for at in range(number)]


OF_CLASSES: Mapping[str, Callable[[labels.Classes, labels.Classes, Floats, int], Floats]] = {
    "quadratic_kappa": labels.quadratic_kappas,
    "linear_kappa": partial(labels.kappas, costs="linear"),
    "kappa": labels.kappas,
    "mcc": labels.matthews,
    "macro_f1": partial(labels.f1s, average="macro"),
    "micro_f1": partial(labels.f1s, average="micro"),
    "weighted_f1": partial(labels.f1s, average="weighted"),
    "grade_error": labels.grade_errors,
}
"""What a metric of the classes is, by its kind."""
ALL_CLASSES = ("accuracy", "balanced_accuracy", *OF_CLASSES)
"""Metrics of all classes at once; every other one needs a problem."""
NEED_PROBABILITIES = (
    "auc",
    "average_precision",
    "brier",
    "log_loss",
    "sensitivity_at_specificity",
    "ece",
    *OF_DISTRIBUTIONS,
)
"""Metrics that a class alone says nothing about."""
_YES = {True: "1", False: "0"}


def of_class(name: str) -> str:
    """Return under which structure the probability of a class is observed; no problem can be called so."""
    return f"p({name})"


def without_probabilities(task: ClassificationTask, spec: MetricSpec, observed: Observed, members: Cases) -> Bools:
    """Return whose table names the class where the metric needs a probability, in any case of a pool.

    Returns
    -------
    ndarray of bool, shape (n_submissions,)
    """
    problem = task.problem_name(spec)
    if spec.kind not in NEED_PROBABILITIES:
        return np.zeros(len(observed.submissions), dtype=bool)
    if problem is not None:
        answered, sure = ~np.isnan(observed.sides[problem]), observed.confidence[problem]
    else:
        answered, sure = observed.said != labels.LEFT_OUT, observed.certainty
    return np.asarray((answered[members] & np.isnan(sure[members])).any(axis=0))


def pooled_score(
    task: ClassificationTask, spec: MetricSpec, observed: Observed, members: Cases
) -> PooledScore | SpreadScore:
    """Prepare one metric on one pool of cases.

    A case without a usable answer stands on the wrong side, or gets the probability declared as ``missing``; with
    ``missing: skip`` it is left out.

    Raises
    ------
    UsageError
        If the metric needs a problem and names none.
    """
    usable = observed.usable[members]
    skipped = ~usable if spec.missing == "skip" else np.zeros_like(usable)
    delivered = np.asarray(usable.any(axis=0)) & ~without_probabilities(task, spec, observed, members)
    name = task.problem_name(spec)
    if name is not None:
        problem = task.problems[name]
        truth = np.isin(observed.stage[members], [task.classes.index(positive) for positive in problem.positive])
        score = _penalised(spec, truth, observed.confidence[name][members])
        side = observed.sides[name][members]
        answer = np.where(np.isnan(side), at_least(score, problem.threshold), side > 0)
        given = np.where(skipped, labels.LEFT_OUT, answer).astype(np.int64)
        score = np.where(skipped, np.nan, score)
        if isinstance(spec, (SensitivityMetric, ClassCalibrationMetric)):
            right = np.broadcast_to(truth[:, None], score.shape).astype(np.float64)
            return of_confidence(spec, truth.astype(np.int64), given, right, score, delivered)
        return PooledScore(spec.kind, truth.astype(np.int64), given, 2, delivered, score)
    stage, said = observed.stage[members], observed.said[members]
    number = len(task.classes)
    answered = delivered & (said != labels.LEFT_OUT).any(axis=0)
    if isinstance(spec, DistributionMetric):
        return of_classes(spec, stage, observed.probabilities[members], skipped, answered)
    if isinstance(spec, ClassCalibrationMetric):
        right = (said == stage[:, None]).astype(np.float64)
        sure = np.where(said == labels.LEFT_OUT, 1.0, observed.certainty[members])
        return of_confidence(spec, stage, said, right, np.where(skipped, np.nan, sure), answered)
    if spec.kind not in ALL_CLASSES and answered.any():
        fix = f"name a problem for this metric, or use one of {', '.join(ALL_CLASSES)}"
        cause = f"{spec.kind} is not defined for {number} classes here"
        raise UsageError(Finding(ObserveCode.NOT_SUPPORTED, spec.kind, cause, fix))
    farthest = np.where(stage >= number / 2, 0, number - 1)
    said = np.where(said == labels.LEFT_OUT, farthest[:, None], said)
    given = np.where(skipped, labels.LEFT_OUT, said).astype(np.int64)
    return PooledScore(spec.kind, stage, given, number, answered)


def _penalised(spec: MetricSpec, truth: Bools, confidence: Floats) -> Floats:
    """Put in what a missing answer counts: beyond 0 and 1, so that no answer ranks below a missing one."""
    declared = spec.missing if isinstance(spec.missing, float) else None
    wrong = np.where(truth, -1.0, 2.0) if declared is None else np.full(len(truth), declared)
    return np.where(np.isnan(confidence), wrong[:, None], confidence)


def pooled_scores(
    task: ClassificationTask, observed: Observed, metrics: Mapping[str, MetricSpec]
) -> Iterator[tuple[str, str, PooledScore | SpreadScore]]:
    """Yield (level of the pool, metric, its prepared score) for every pool of cases and metric."""
    for level, members in observed.pools.items():
        for name, spec in metrics.items():
            yield level, name, pooled_score(task, spec, observed, members)
