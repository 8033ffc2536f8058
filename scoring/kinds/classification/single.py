"""Scores of single cases: whether the class is right, and how far the probabilities are from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.metrics.pooled import CaseClassMetric, CaseGradeMetric
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.classification.checks import at_least
from medpodium.scoring.kinds.classification.probabilities import Answers, Said
from medpodium.scoring.kinds.classification.score import StagingCode
from medpodium.scoring.kinds.protocol import CaseJob, Row
from medpodium.scoring.measures.pooled.confidence import TINY
from medpodium.scoring.policy import Score, absent_score, rounded

OfCase: TypeAlias = CaseClassMetric | CaseGradeMetric


def case_rows(job: CaseJob) -> list[Row]:
    """Return one row per submission and metric of single cases; without an answer what is declared."""
    task: ClassificationTask = job.task
    return [
        Row(submission, job.case, "", name, *_score(task, metric, job.reference, said, job.failures.get(submission)))
        for submission, said in job.predictions.items()
        for name, metric in task.of_cases.items()
    ]


def lacks_probabilities(task: ClassificationTask, answers: Answers) -> list[Finding]:
    """Report a table that names classes only where a metric of single cases needs a probability."""
    known = bool(answers.distributions) or any(answers.problems.values())
    asked = [
        name
        for name, metric in task.of_cases.items()
        if isinstance(metric, CaseClassMetric) and metric.needs_probabilities
    ]
    if known or not asked or not answers.classes:
        return []
    cause = f"{', '.join(asked)} needs probabilities, the table names classes only: every case counts as missing"
    fix = f"give a probability per class: {', '.join(task.columns.get(name, name) for name in task.classes)}"
    return [Finding(StagingCode.NO_PROBABILITY, ", ".join(asked), cause, fix)]


def _score(
    task: ClassificationTask,
    metric: OfCase,
    truth: str,
    said: Said | None,
    failure: str | None,
) -> Score:
    value = None if said is None else _value(task, metric, truth, said)
    if value is None:
        return absent_score(metric, None, False, math.nan, failure)
    return Score(rounded(value, metric), table.OK)


def _value(task: ClassificationTask, metric: CaseClassMetric | CaseGradeMetric, truth: str, said: Said) -> float | None:
    """Return the value; None where what it takes was not said."""
    own = task.classes.index(truth)
    if isinstance(metric, CaseGradeMetric):
        return None if said.chosen is None else float(abs(said.chosen - own))
    if metric.problem is not None:
        problem = task.problems[metric.problem]
        positive, sure = truth in problem.positive, said.problems.get(metric.problem)
        if metric.kind == "correct":
            side = said.sides.get(metric.problem) if sure is None else bool(at_least(sure, problem.threshold))
            return None if side is None else float(side == positive)
        return (
            None
            if sure is None
            else _of_probabilities(metric.kind, [1.0 - sure, sure], int(positive))
            / (2.0 if metric.kind == "case_brier" else 1.0)
        )
    if metric.needs_probabilities:
        return None if said.distribution is None else _of_probabilities(metric.kind, said.distribution, own)
    return None if said.chosen is None else float(said.chosen == own)


def _of_probabilities(kind: str, given: Sequence[float], true: int) -> float:
    """Return log loss (scikit-learn's clipping), or Brier score over all classes."""
    if kind == "case_log_loss":
        return -math.log(min(max(given[true], TINY), 1.0 - TINY))
    return math.fsum((value - (at == true)) ** 2 for at, value in enumerate(given))
