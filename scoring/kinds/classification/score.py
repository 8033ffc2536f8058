"""Score classification tasks: read each team's table of probabilities, pool the cases, and look for leaks.

A class decides several yes-or-no problems (stage S4 against the rest, S1 against the rest). Every problem gets its
scores over the pooled cases of a domain; a case without a usable answer counts against the team, as declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.findings import Code, Finding, MedpodiumError, Severity, UsageError
from medpodium.challenges.schema.definition import BinaryProblem, Challenge, ClassificationTask
from medpodium.challenges.schema.metrics import MetricSpec
from medpodium.scoring import table
from medpodium.scoring.groups import group_values
from medpodium.scoring.kinds.classification import measures as scorers
from medpodium.scoring.kinds.classification.leaks import leaks
from medpodium.scoring.kinds.classification.probabilities import Answers, find_table, read_answers
from medpodium.scoring.kinds.segmentation.engine import Result
from medpodium.scoring.rows import read_rows

Floats = npt.NDArray[np.float64]


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
    NOT_SUPPORTED = "metric-not-supported"


@dataclass(frozen=True)
class _Pool:
    """The cases that are scored together."""

    level: str
    cases: list[str]
    stages: list[str]
    answers: Answers
    findings: list[Finding] = field(default_factory=list)


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
    pools = _pools(task, stages, groups, references)
    general += leaks(task, stages, groups)
    findings: dict[str, list[Finding]] = {"": general}
    rows: list[dict[str, object]] = []
    for submission, path in predictions.items():
        found: list[Finding] = []
        try:
            answers = read_answers(path, task, found)
        except MedpodiumError as error:
            # one team's unreadable table must not keep the others from being scored
            found += error.findings
            answers = Answers({name: {} for name in task.problems})
        _compare_cases(submission, answers, stages, found)
        for level, members in pools.items():
            pool = _Pool(level, members, [stages[case] for case in members], answers, found)
            for metric, spec in task.metrics.items():
                value, status = _score(task, metric, spec, pool)
                rows.append(
                    {"submission": submission, "metric": metric, "value": value, "status": status, "level": level}
                )
        findings[submission] = found
    scores = pd.DataFrame(rows).assign(
        challenge=challenge.name, edition=challenge.edition, task=task_name, case="", structure=""
    )
    if task.pool_by is None:
        return Result(scores[list(table.COLUMNS)], findings)
    scores = scores.rename(columns={"level": task.pool_by})
    return Result(scores[[*table.COLUMNS, task.pool_by]], findings)


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


def _pools(
    task: ClassificationTask, stages: Mapping[str, str], groups: Mapping[str, Mapping[str, str]], references: Path
) -> dict[str, list[str]]:
    if task.pool_by is None:
        return {"": list(stages)}
    levels = groups.get(task.pool_by, {})
    lost = [case for case in stages if not levels.get(case)]
    if lost:
        text = f"{len(lost)} case(s) have no {task.pool_by} (first {lost[0]})"
        fix = f"give a table of cases (--cases) with the column {task.pool_by}, or the column it follows from"
        raise UsageError(Finding(StagingCode.NO_POOL, str(references), text, fix))
    pools: dict[str, list[str]] = {}
    for case in stages:
        pools.setdefault(levels[case], []).append(case)
    return dict(sorted(pools.items()))


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


def _score(task: ClassificationTask, metric: str, spec: MetricSpec, pool: _Pool) -> tuple[float, str]:
    """Return one pooled value with its status."""
    usable = [case in pool.answers.usable for case in pool.cases]
    if not any(usable):
        return math.nan, table.MISSING
    keep = [index for index, has in enumerate(usable) if has or spec.missing != "skip"]
    status = table.OK if all(usable) or spec.missing == "skip" else table.PENALISED
    cases = [pool.cases[index] for index in keep]
    stages = [pool.stages[index] for index in keep]
    where = f"{metric}, {task.pool_by} {pool.level}" if task.pool_by else metric
    if spec.problem is None:
        value = _all_classes(task, spec, cases, stages, pool, where)
    else:
        problem = task.problems[spec.problem]
        truth = np.array([stage in problem.positive for stage in stages])
        given = _probabilities(spec, cases, truth, pool.answers.problems[spec.problem])
        value = float(getattr(scorers.binary_scores(truth, given, problem.threshold), spec.kind, math.nan))
        _warn_constant(spec, problem, given, where, pool)
    if math.isnan(value):
        fix = "pool more cases, or leave this score out"
        text = "not defined: only one class among the pooled cases, or not computed for this problem"
        pool.findings.append(Finding(StagingCode.ONE_CLASS, where, text, fix, Severity.WARNING))
        return value, table.SKIPPED
    return value, status


def _probabilities(
    spec: MetricSpec, cases: Sequence[str], truth: npt.NDArray[np.bool_], answers: Mapping[str, float]
) -> Floats:
    """Return one probability per case; a case without answer stands on the wrong side, or gets the declared one."""
    declared = spec.missing if isinstance(spec.missing, float) else None
    # beyond 0 and 1, so that no answer ranks below a missing one
    wrong = np.where(truth, -1.0, 2.0) if declared is None else np.full(len(cases), declared)
    return np.array([answers.get(case, wrong[index]) for index, case in enumerate(cases)], dtype=np.float64)


def _all_classes(
    task: ClassificationTask, spec: MetricSpec, cases: Sequence[str], stages: Sequence[str], pool: _Pool, where: str
) -> float:
    """Score all classes at once, by the class of the largest probability; a missing case has the farthest class."""
    number = {name: index for index, name in enumerate(task.classes)}
    truth = np.array([number[stage] for stage in stages])
    farthest = np.where(truth >= len(number) / 2, 0, len(number) - 1)
    given = np.array([pool.answers.classes.get(case, farthest[index]) for index, case in enumerate(cases)])
    if not pool.answers.classes:
        return math.nan
    confusion = scorers.confusion_matrix(truth, given, len(number))
    known = {
        "accuracy": scorers.accuracy,
        "balanced_accuracy": scorers.balanced_accuracy,
        "quadratic_kappa": scorers.quadratic_kappa,
    }
    if spec.kind not in known:
        fix = f"name a problem for this metric, or use one of {', '.join(known)}"
        text = f"{spec.kind} is not defined for {len(number)} classes here"
        raise UsageError(Finding(StagingCode.NOT_SUPPORTED, where, text, fix))
    return known[spec.kind](confusion)


def _warn_constant(spec: MetricSpec, problem: BinaryProblem, given: Floats, where: str, pool: _Pool) -> None:
    """Say so when every answer is on one side of the threshold: the accuracy is that of a constant."""
    if spec.kind != "accuracy" or len(given) < 2:
        return
    positive = given >= problem.threshold
    if positive.all() or not positive.any():
        side = "at or above" if positive.all() else "below"
        text = f"all {len(given)} answers are {side} {problem.threshold:g}: the accuracy is that of a constant answer"
        fix = "look at the AUC; calibrate the probabilities to the threshold"
        pool.findings.append(Finding(StagingCode.CONSTANT, where, text, fix, Severity.WARNING))
