"""Read tables of class probabilities as teams hand them in (LiFS of CARE-Liver 2024, 2025 and 2026, and alike)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medpodium.challenges.rows import Sheet, read_sheet
from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.findings import Finding, Severity
from medpodium.scoring.kinds.classification import checks
from medpodium.scoring.kinds.tables import AnswerCode, case_twice, find_table
from medpodium.scoring.rows import number

SETTING_COLUMN = "setting"
INPUT_COLUMN = "modality input"
LABEL_COLUMNS = ("class", "label", "prediction")
"""Columns in which a submission may name the class itself, besides the task's column of references."""
CONTRAST_PREFIX = "ged"
"""Sequences after gadoxetate are named GED1 to GED4; any of them among the inputs makes the setting contrast."""


class Said(NamedTuple):
    """What was said of one case: its class, the probability of every class, and of every problem probability or side.

    Classes and probabilities are None, and problems left out, where they were not given.
    """

    chosen: int | None
    distribution: Sequence[float] | None
    problems: Mapping[str, float]
    sides: Mapping[str, bool]


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
    sides : dict of str to (dict of str to bool)
        Per binary problem and case: whether the answer is positive, where no probability was given.
    distributions : dict of str to sequence of float
        Per case: the probability of every class, where these were given.
    """

    problems: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    certainty: Mapping[str, float] = field(default_factory=dict)
    sides: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    distributions: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def of_case(self, case: str) -> Said:
        """Return what was said of one case."""
        return Said(
            self.classes.get(case),
            self.distributions.get(case),
            {name: own[case] for name, own in self.problems.items() if case in own},
            {name: own[case] for name, own in self.sides.items() if case in own},
        )

    @property
    def usable(self) -> frozenset[str]:
        """Cases with a usable answer to every problem."""
        given = [set(values) for values in self.problems.values()]
        answered = given or [set(values) for values in self.sides.values()] or [set(self.classes)]
        return frozenset(set.intersection(*answered))


def read_answers(path: Path, task: ClassificationTask, findings: list[Finding]) -> Answers:
    """Read one submission's table.

    Three layouts: one column per class, one column per problem (``BinaryProblem.column``), or a single column with the
    class itself (``stage``, ``class``, ``label`` or ``prediction``), for metrics that need no probability. A column
    ``Setting``, or the list of ``Modality Input``, says which of the task's settings a row belongs to. A case that
    occurs twice with different values, or whose values are no probabilities, is not usable; a finding says why.

    Raises
    ------
    UsageError
        If there is no table, or a column is missing.
    """
    file = find_table(path, task.files.prediction)
    sheet = read_sheet(file)
    by_class = task.by_class
    class_columns = [task.columns.get(name, name) for name in task.classes]
    wanted = list(dict.fromkeys(class_columns if by_class else [str(item.column) for item in task.problems.values()]))
    label = _label_column(sheet, task, wanted)
    case_column, *sources = sheet.need(task.case_column, *(wanted if label is None else []))
    sheet.refuse_control_characters([case_column])
    written = sheet.numbers(sources)
    picked: dict[str, list[float]] = {}
    clash = set()
    named = set()
    for row in sheet.rows:
        case = row[case_column]
        if not _in_settings(row, sheet, task, file, findings):
            continue
        named.add(case)
        unread: list[Finding] = []
        if label is not None:
            values = [_class_number(row[label], task, f"{file.name}: {case}", unread)]
        else:
            values = [
                number(row[source], f"{file.name}: {case}, {source}", unread, numbers=written) for source in sources
            ]
        findings += unread
        if case in picked and not np.array_equal(picked[case], values, equal_nan=True):
            clash.add(case)
        picked.setdefault(case, values)
    for case in sorted(clash):
        findings.append(case_twice(file, case))
        del picked[case]
    if label is not None:
        return _by_label(task, picked, named)
    return _by_class(task, picked, named, findings) if by_class else _by_problem(task, wanted, picked, named, findings)


def _label_column(sheet: Sheet, task: ClassificationTask, wanted: Sequence[str]) -> str | None:
    """Return the column that holds the class itself, where there is none of the columns of probabilities."""
    if any(sheet.find(name) is not None for name in wanted):
        return None
    names = (task.reference_column, *LABEL_COLUMNS)
    return next((column for name in names if (column := sheet.find(name)) is not None), None)


def _class_number(text: str, task: ClassificationTask, where: str, findings: list[Finding]) -> float:
    """Return the number of a class; NaN with a finding for what is none."""
    if text in task.classes:
        return float(task.classes.index(text))
    cause, fix = f"class {text!r}", f"use one of {', '.join(task.classes)}"
    findings.append(Finding(checks.ClassificationCode.CLASS_UNKNOWN, where, cause, fix))
    return np.nan


def _by_label(task: ClassificationTask, picked: Mapping[str, list[float]], named: set[str]) -> Answers:
    classes = {case: int(value) for case, (value,) in picked.items() if not np.isnan(value)}
    sides = {
        name: {case: task.classes[own] in problem.positive for case, own in classes.items()}
        for name, problem in task.problems.items()
    }
    return Answers({}, classes, frozenset(named), {}, sides)


def _in_settings(
    row: Mapping[str, str], sheet: Sheet, task: ClassificationTask, file: Path, findings: list[Finding]
) -> bool:
    """Return whether a row belongs to one of the task's settings; rows that name none belong to all."""
    if not task.settings:
        return True
    known = {name.lower().replace("-", "") for name in task.settings}
    setting_column, input_column = sheet.find(SETTING_COLUMN), sheet.find(INPUT_COLUMN)
    if setting_column is not None:
        given = row[setting_column]
        setting = given.lower().replace("-", "").replace("_", "").replace(" ", "")
        if setting not in ("contrast", "noncontrast", *known):
            fix = "write Contrast or NonContrast; the row is not read"
            findings.append(Finding(AnswerCode.SETTING, file.name, f"setting {given!r}", fix, Severity.WARNING))
        return setting in known
    if input_column is not None:
        inputs = row[input_column].replace('"', "").split(",")
        contrast = any(item.strip().lower().startswith(CONTRAST_PREFIX) for item in inputs)
        return ("contrast" if contrast else "noncontrast") in known
    return True


def _by_class(
    task: ClassificationTask, picked: Mapping[str, list[float]], named: set[str], findings: list[Finding]
) -> Answers:
    cases = list(picked)
    rows = [picked[case] for case in cases]
    values, found = checks.check_probabilities(cases, rows, task.classes, task.sum_tolerance)
    findings += found
    good = [index for index in range(len(cases)) if not np.isnan(values[index]).any()]
    problems = {}
    for name, problem in task.problems.items():
        side = [task.classes.index(positive) for positive in problem.positive]
        problems[name] = {cases[index]: checks.sum_of(values[index, side]) for index in good}
    classes = {cases[index]: int(values[index].argmax()) for index in good}
    certainty = {cases[index]: float(values[index].max()) for index in good}
    given = {cases[index]: [float(value) for value in values[index]] for index in good}
    return Answers(problems, classes, frozenset(named), certainty, distributions=given)


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
        values, found = checks.check_scores(cases, [picked[case][source] for case in cases], str(problem.column))
        findings += found
        problems[name] = {case: float(value) for case, value in zip(cases, values, strict=True) if not np.isnan(value)}
    return Answers(problems, {}, frozenset(named))
