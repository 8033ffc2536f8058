"""The classes of the cases, and the pooled scores of what the teams said about them.

A class decides several yes-or-no problems (stage S4 against the rest, S1 against the rest). Every problem gets its
scores over the pooled cases of a domain; a case without a usable answer counts against the team, as declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table
from medpodium.scoring.kinds.classification.observe import Observed, pooled_scores, without_probabilities
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.measures.pooled.labels import LEFT_OUT


class StagingCode(Code):
    """What can be wrong with classes and their predictions."""

    CLASS_UNKNOWN = "class-unknown"
    CASE_TWICE = "class-case-twice"
    NO_POOL = "pool-group-missing"
    ONE_CLASS = "score-undefined"
    CONSTANT = "answers-on-one-side"
    NO_PROBABILITY = "probability-needed"


def score_pools(
    task: ClassificationTask, observed: Observed, submissions: Sequence[str], findings: Mapping[str, list[Finding]]
) -> pd.DataFrame:
    """Return one row per submission, pool of cases and metric, and tell each submission what is odd about its own.

    Returns
    -------
    DataFrame
        Columns submission, metric, value, status and level (of the group that pools the cases; empty without one).
    """
    pooled = {name: spec for name, spec in task.metrics.items() if spec.info.scope == "pooled"}
    prepared = list(pooled_scores(task, observed, pooled))
    values = [own(np.ones((1, len(own.truth))))[0] for _, _, own in prepared]
    rows: list[dict[str, object]] = []
    for submission in submissions:
        column = observed.submissions.index(submission)
        for (level, metric, own), value in zip(prepared, values, strict=True):
            where = f"{metric}, {task.pool_by} {level}" if task.pool_by else metric
            usable = observed.usable[observed.pools[level], column]
            spec = task.metrics[metric]
            if without_probabilities(task, spec, observed, observed.pools[level])[column]:
                usable = np.zeros_like(usable)
                text = f"{own.kind} needs probabilities, the table names classes only: it counts as missing"
                fix = (
                    f"give a probability per class: {', '.join(task.columns.get(name, name) for name in task.classes)}"
                )
                findings[submission].append(Finding(StagingCode.NO_PROBABILITY, where, text, fix))
            status = _status(task.metrics[metric], usable, float(value[column]))
            rows.append(
                {
                    "submission": submission,
                    "metric": metric,
                    "value": float(value[column]),
                    "status": status,
                    "level": level,
                }
            )
            found = findings[submission]
            if status == table.SKIPPED:
                fix = "pool more cases, or leave this score out"
                text = "not defined: only one class among the pooled cases, or not computed for this problem"
                found.append(Finding(StagingCode.ONE_CLASS, where, text, fix, Severity.WARNING))
            elif status != table.MISSING:
                _warn_constant(task, task.metrics[metric], own.given[:, column], where, found)
    return pd.DataFrame(rows, columns=["submission", "metric", "value", "status", "level"])


def _status(spec: MetricSpec, usable: npt.NDArray[np.bool_], value: float) -> str:
    if not usable.any():
        return table.MISSING
    if math.isnan(value):
        return table.SKIPPED
    return table.OK if usable.all() or spec.missing == "skip" else table.PENALISED


def read_classes(path: Path, task: ClassificationTask, challenge: Challenge) -> tuple[dict[str, str], pd.DataFrame]:
    """Read the reference classes; return them by case, and a table of the groups the same file gives."""
    sheet = read_sheet(path)
    case_column, class_column = sheet.find("case") or sheet.need(task.case_column)[0], sheet.find(task.reference_column)
    if class_column is None:
        sheet.need(case_column, task.reference_column)
    sheet.refuse_control_characters([case_column])
    stages: dict[str, str] = {}
    problems: list[Finding] = []
    for case, stage in zip(sheet.column(case_column), sheet.column(str(class_column)), strict=True):
        if stage not in task.classes:
            fix = f"use one of {', '.join(task.classes)}"
            problems.append(Finding(StagingCode.CLASS_UNKNOWN, f"{path.name}: {case}", f"class {stage!r}", fix))
        if case in stages:
            fix = "keep one row per case"
            problems.append(Finding(StagingCode.CASE_TWICE, f"{path.name}: {case}", "occurs twice", fix))
        stages[case] = stage
    if problems:
        raise BrokenReferencesError(*problems)
    wanted = ((name, sheet.find(name)) for name in (*challenge.groups, "missing", "missing modality"))
    levels = {name: sheet.column(column) for name, column in wanted if column is not None}
    return stages, pd.DataFrame({"case": list(stages), **levels})


def need_pools(task: ClassificationTask, stages: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse cases that belong to no pool."""
    levels = {} if task.pool_by is None else groups.get(task.pool_by, {})
    lost = [] if task.pool_by is None else [case for case in stages if not levels.get(case)]
    if lost:
        text = f"{len(lost)} case(s) have no {task.pool_by} (first {lost[0]})"
        fix = f"give a table of cases (--cases) with the column {task.pool_by}, or the column it follows from"
        raise UsageError(Finding(StagingCode.NO_POOL, "references", text, fix))


def _warn_constant(
    task: ClassificationTask, spec: MetricSpec, given: npt.NDArray[np.int64], where: str, found: list[Finding]
) -> None:
    """Say so when every answer is on one side of the threshold: the accuracy is that of a constant."""
    given = given[given != LEFT_OUT]
    problem = task.problem_of(spec)
    if spec.kind != "accuracy" or problem is None or len(given) < 2:
        return
    if given.all() or not given.any():
        side, threshold = "at or above" if given.all() else "below", problem.threshold
        text = f"all {len(given)} answers are {side} {threshold:g}: the accuracy is that of a constant answer"
        fix = "look at the AUC; calibrate the probabilities to the threshold"
        found.append(Finding(StagingCode.CONSTANT, where, text, fix, Severity.WARNING))
