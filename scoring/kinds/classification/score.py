"""Score classification tasks: read each team's table of probabilities, pool the cases, and look for leaks.

A class decides several yes-or-no problems (stage S4 against the rest, S1 against the rest). Every problem gets its
scores over the pooled cases of a domain; a case without a usable answer counts against the team, as declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.findings import Code, Finding, MedpodiumError, Severity, UsageError
from medpodium.challenges.schema.definition import Challenge, ClassificationTask
from medpodium.challenges.schema.metrics import MetricSpec
from medpodium.scoring import table
from medpodium.scoring.groups import group_values
from medpodium.scoring.kinds.classification.leaks import leaks
from medpodium.scoring.kinds.classification.observe import Observed, arrange, observe, pooled_scores
from medpodium.scoring.kinds.classification.probabilities import Answers, find_table, read_answers
from medpodium.scoring.kinds.classification.weighted import LEFT_OUT
from medpodium.scoring.kinds.segmentation.engine import Result
from medpodium.scoring.rows import read_rows


class StagingCode(Code):
    """What can be wrong with classes and their predictions."""

    NO_TASK = "task-not-classification"
    NO_COLUMN = "class-column-missing"
    CLASS_UNKNOWN = "class-unknown"
    CASE_TWICE = "class-case-twice"
    NO_POOL = "pool-group-missing"
    MISSING_CASES = "prediction-missing"
    UNKNOWN_CASE = "prediction-of-unknown-case"
    ONE_CLASS = "score-undefined"
    CONSTANT = "answers-on-one-side"


def score_classification(
    challenge: Challenge,
    task_name: str,
    references: Path,
    predictions: Mapping[str, Path],
    *,
    cases: pd.DataFrame | None = None,
) -> Result:
    """Score the submissions of a classification task.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    task_name : str
        Which of its tasks.
    references : Path
        Table with the case and its class (``reference_column``), or a folder that holds one; other columns may be
        groups.
    predictions : mapping of str to Path
        Every submission's table, or a folder that holds one; a table that cannot be read leaves all cases missing.
    cases : DataFrame, optional
        Column ``case`` and one per group; only these cases are scored.

    Returns
    -------
    Result
        One row per submission, metric and pooled set of cases; ``case`` is empty, the group column says which set.
        The observations the values were computed from are beside it.

    Raises
    ------
    UsageError
        If the references cannot be used, or the group that pools the cases is nowhere given.
    """
    task = challenge.tasks[task_name]
    if not isinstance(task, ClassificationTask):
        fix = "name a classification task with --task"
        raise UsageError(Finding(StagingCode.NO_TASK, task_name, f"is a {task.kind} task", fix))
    stages, own_groups = read_classes(references, task, challenge)
    if cases is not None:
        known = set(cases["case"].astype(str))
        stages = {case: stage for case, stage in stages.items() if case in known}
    general: list[Finding] = []
    groups = group_values(challenge, list(stages), own_groups if cases is None else cases, general)
    _need_pools(task, stages, groups, references)
    general += leaks(task, stages, groups)
    answers, findings = _read_all(task, predictions, stages)
    findings[""] = general
    seen = observe(challenge, task_name, task, stages, groups, answers, general)
    scores = _scores(task, arrange(task, seen, list(predictions)), list(predictions), findings)
    scores = scores.assign(challenge=challenge.name, edition=challenge.edition, task=task_name, case="", structure="")
    if task.pool_by is None:
        return Result(scores[list(table.COLUMNS)], findings, seen)
    scores = scores.rename(columns={"level": task.pool_by})
    return Result(scores[[*table.COLUMNS, task.pool_by]], findings, seen)


def _read_all(
    task: ClassificationTask, predictions: Mapping[str, Path], stages: Mapping[str, str]
) -> tuple[dict[str, Answers], dict[str, list[Finding]]]:
    answers: dict[str, Answers] = {}
    findings: dict[str, list[Finding]] = {"": []}
    for submission, path in predictions.items():
        found: list[Finding] = []
        try:
            own = read_answers(path, task, found)
        except MedpodiumError as error:
            # one team's unreadable table must not keep the others from being scored
            found += error.findings
            own = Answers({name: {} for name in task.problems})
        _compare_cases(submission, own, stages, found)
        answers[submission], findings[submission] = own, found
    return answers, findings


def _scores(
    task: ClassificationTask, observed: Observed, submissions: list[str], findings: Mapping[str, list[Finding]]
) -> pd.DataFrame:
    """Return one row per submission, pool of cases and metric, and tell each submission what is odd about its own."""
    prepared = list(pooled_scores(task, observed, task.metrics))
    values = [own(np.ones((1, len(own.truth))))[0] for _, _, own in prepared]
    rows: list[dict[str, object]] = []
    for submission in submissions:
        column = observed.submissions.index(submission)
        for (level, metric, own), value in zip(prepared, values, strict=True):
            where = f"{metric}, {task.pool_by} {level}" if task.pool_by else metric
            usable = observed.usable[observed.pools[level], column]
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
    path = find_table(path)
    columns, rows = read_rows(path)
    lower = {name.lower(): name for name in columns}
    case_column = lower.get("case") or lower.get(task.case_column.lower())
    class_column = lower.get(task.reference_column.lower())
    if case_column is None or class_column is None:
        wanted = task.case_column if case_column is None else task.reference_column
        fix = f"give a table with the columns {task.case_column} and {task.reference_column}"
        raise UsageError(Finding(StagingCode.NO_COLUMN, str(path), f"no column {wanted!r}", fix))
    stages: dict[str, str] = {}
    problems: list[Finding] = []
    for row in rows:
        case, stage = row[case_column].strip(), row[class_column].strip()
        if stage not in task.classes:
            fix = f"use one of {', '.join(task.classes)}"
            problems.append(Finding(StagingCode.CLASS_UNKNOWN, f"{path.name}: {case}", f"class {stage!r}", fix))
        if case in stages:
            fix = "keep one row per case"
            problems.append(Finding(StagingCode.CASE_TWICE, f"{path.name}: {case}", "occurs twice", fix))
        stages[case] = stage
    if problems:
        raise UsageError(*problems[:20])
    names = {
        name: lower[name.lower()]
        for name in (*challenge.groups, "missing", "missing modality")
        if name.lower() in lower
    }
    groups = pd.DataFrame(
        {"case": list(stages), **{name: [row[column].strip() for row in rows] for name, column in names.items()}}
    )
    return stages, groups


def _need_pools(
    task: ClassificationTask, stages: Mapping[str, str], groups: Mapping[str, Mapping[str, str]], references: Path
) -> None:
    levels = {} if task.pool_by is None else groups.get(task.pool_by, {})
    lost = [] if task.pool_by is None else [case for case in stages if not levels.get(case)]
    if lost:
        text = f"{len(lost)} case(s) have no {task.pool_by} (first {lost[0]})"
        fix = f"give a table of cases (--cases) with the column {task.pool_by}, or the column it follows from"
        raise UsageError(Finding(StagingCode.NO_POOL, str(references), text, fix))


def _compare_cases(submission: str, answers: Answers, stages: Mapping[str, str], found: list[Finding]) -> None:
    lacking = [case for case in stages if case not in answers.usable]
    if lacking:
        text = f"{len(lacking)} of {len(stages)} cases have no usable answer (first {lacking[0]})"
        fix = "give every case exactly one row; until then it counts as declared for missing predictions"
        found.append(Finding(StagingCode.MISSING_CASES, submission, text, fix))
    extra = sorted(answers.named - set(stages))
    if extra:
        text = f"{len(extra)} unknown case(s) (first {extra[0]!r})"
        fix = "correct the names (the whole folder name is the case); these rows are not scored"
        found.append(Finding(StagingCode.UNKNOWN_CASE, submission, text, fix, Severity.WARNING))


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
