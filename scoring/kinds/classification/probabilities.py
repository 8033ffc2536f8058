"""Read tables of class probabilities as teams hand them in (LiFS of CARE-Liver 2024, 2025 and 2026, and alike)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medpodium.challenges.schema.definition import ClassificationTask
from medpodium.findings import Finding, Severity, UsageError
from medpodium.scoring.kinds.classification import measures as scorers
from medpodium.scoring.kinds.tables import AnswerCode, case_twice, find_table
from medpodium.scoring.rows import number, read_rows

SETTING_COLUMN = "setting"
INPUT_COLUMN = "modality input"
CONTRAST_PREFIX = "ged"
"""Sequences after gadoxetate are named GED1 to GED4; any of them among the inputs makes the setting contrast."""


@dataclass(frozen=True)
class Answers:
    """One submission's usable answers.

    Parameters
    ----------
    problems : dict of str to (dict of str to float)
        Per binary problem and case: the probability of the positive side.
    classes : dict of str to int
        Per case: the most likely class; empty where only problems are answered.
    named : set of str
        Every case the table names, usable or not.
    certainty : dict of str to float
        Per case: the probability of the most likely class.
    """

    problems: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    certainty: Mapping[str, float] = field(default_factory=dict)

    @property
    def usable(self) -> frozenset[str]:
        """Cases with a usable answer to every problem."""
        answered = [set(values) for values in self.problems.values()] or [set(self.classes)]
        return frozenset(set.intersection(*answered))


def answered_by_class(task: ClassificationTask) -> bool:
    """Return whether a submission gives one probability per class, not one per problem."""
    return any(problem.column is None for problem in task.problems.values()) or not task.problems


def read_answers(path: Path, task: ClassificationTask, findings: list[Finding]) -> Answers:
    """Read one submission's table.

    Two layouts: one column per class, or one column per problem (``BinaryProblem.column``). A column ``Setting``, or
    the list of ``Modality Input``, says which of the task's settings a row belongs to. A case that occurs twice with
    different values, or whose values are no probabilities, is not usable; a finding says why.

    Raises
    ------
    UsageError
        If there is no table, or a column is missing.
    """
    file = find_table(path, task.files.prediction)
    columns, rows = read_rows(file)
    lower = {name.lower(): name for name in columns}

    def column(name: str) -> str:
        if name.lower() not in lower:
            fix = f"columns are {task.case_column}, {', '.join(wanted)}"
            raise UsageError(Finding(AnswerCode.NO_COLUMN, str(file), f"no column {name!r}", fix))
        return lower[name.lower()]

    by_class = answered_by_class(task)
    class_columns = [task.columns.get(name, name) for name in task.classes]
    wanted = list(dict.fromkeys(class_columns if by_class else [str(item.column) for item in task.problems.values()]))
    case_column, sources = column(task.case_column), [column(name) for name in wanted]
    picked: dict[str, list[float]] = {}
    clash = set()
    named = set()
    for row in rows:
        case = row[case_column].strip()
        if not _in_settings(row, lower, task, file, findings):
            continue
        named.add(case)
        unread: list[Finding] = []
        values = [number(row.get(source, ""), f"{file.name}: {case}, {source}", unread) for source in sources]
        findings += unread
        if case in picked and not np.array_equal(picked[case], values, equal_nan=True):
            clash.add(case)
        picked.setdefault(case, values)
    for case in sorted(clash):
        findings.append(case_twice(file, case))
        del picked[case]
    return _by_class(task, picked, named, findings) if by_class else _by_problem(task, wanted, picked, named, findings)


def _in_settings(
    row: Mapping[str, str], lower: Mapping[str, str], task: ClassificationTask, file: Path, findings: list[Finding]
) -> bool:
    """Return whether a row belongs to one of the task's settings; rows that name none belong to all."""
    if not task.settings:
        return True
    known = {name.lower().replace("-", "") for name in task.settings}
    if SETTING_COLUMN in lower:
        given = row.get(lower[SETTING_COLUMN], "").strip()
        setting = given.lower().replace("-", "").replace("_", "").replace(" ", "")
        if setting not in ("contrast", "noncontrast", *known):
            fix = "write Contrast or NonContrast; the row is not read"
            findings.append(Finding(AnswerCode.SETTING, file.name, f"setting {given!r}", fix, Severity.WARNING))
        return setting in known
    if INPUT_COLUMN in lower:
        inputs = row.get(lower[INPUT_COLUMN], "").replace('"', "").split(",")
        contrast = any(item.strip().lower().startswith(CONTRAST_PREFIX) for item in inputs)
        return ("contrast" if contrast else "noncontrast") in known
    return True


def _by_class(
    task: ClassificationTask, picked: Mapping[str, list[float]], named: set[str], findings: list[Finding]
) -> Answers:
    cases = list(picked)
    values, found = scorers.check_probabilities(cases, [picked[case] for case in cases], task.classes)
    findings += found
    good = [index for index in range(len(cases)) if not np.isnan(values[index]).any()]
    problems = {}
    for name, problem in task.problems.items():
        side = [task.classes.index(positive) for positive in problem.positive]
        problems[name] = {cases[index]: float(min(values[index, side].sum(), 1.0)) for index in good}
    classes = {cases[index]: int(values[index].argmax()) for index in good}
    certainty = {cases[index]: float(values[index].max()) for index in good}
    return Answers(problems, classes, frozenset(named), certainty)


def _by_problem(
    task: ClassificationTask,
    wanted: list[str],
    picked: Mapping[str, list[float]],
    named: set[str],
    findings: list[Finding],
) -> Answers:
    cases = list(picked)
    problems = {}
    for name, problem in task.problems.items():
        source = wanted.index(str(problem.column))
        values, found = scorers.check_scores(cases, [picked[case][source] for case in cases], str(problem.column))
        findings += found
        problems[name] = {case: float(value) for case, value in zip(cases, values, strict=True) if not np.isnan(value)}
    return Answers(problems, {}, frozenset(named))
