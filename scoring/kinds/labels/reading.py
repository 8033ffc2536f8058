"""Tables of labels: a column per label, or one column that lists those a case has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medpodium.challenges.rows import Sheet
from medpodium.challenges.schema.classification import LabelsTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.kinds.records import given_records, true_records
from medpodium.scoring.kinds.tables import YES_OR_NO, case_twice, compare_cases, sheet_groups, tell_lacking

if TYPE_CHECKING:
    import pandas as pd

_NEAR = 1e-6
"""Probabilities beyond 0 or 1 by no more than this are rounding and are clipped."""


class LabelCode(Code):
    """What can be wrong with a table of labels."""

    REFERENCE = "labels-reference-unusable"
    NO_PROBABILITY = "labels-no-probability"
    """A cell holds no probability: a number from 0 to 1, or 1 and 0 for yes and no."""
    UNKNOWN = "labels-unknown"
    COLUMN_MISSING = "labels-column-missing"
    """A table of predictions lacks the column of a label; every case of it counts as missing there.

    Add the column.
    """


class Truth(NamedTuple):
    """What is true: where the table is, side by case and label (a label that is not known is not there), groups."""

    path: Path
    sides: dict[str, dict[str, bool]]
    groups: pd.DataFrame


def read_truth(place: Path, task: LabelsTask, challenge: Challenge) -> Truth:
    """Read the references; an empty cell of a column per label: not known, and asked of nobody.

    Raises
    ------
    BrokenReferencesError
        If a cell is neither 1 nor 0, a label is unknown, or a case occurs twice; with everything that is wrong.
    UsageError
        If it cannot be read or a column is missing.
    """
    path, sheet, wrong = true_records(place, task.files.reference, task.columns.case)
    (case_column,) = sheet.need(task.columns.case)
    if not _listed(sheet, task):
        sheet.need(*task.label_columns.values())
    sides: dict[str, dict[str, bool]] = {}
    for case, texts in _rows(sheet, task, path.name, wrong):
        if case in sides:
            wrong.append(case_twice(path, case))
        own = sides.setdefault(case, {})
        for label, text in texts.items():
            side = YES_OR_NO.get(text.lower())
            if side is not None:
                own[label] = side
            elif text:
                fix = "write 1 where the case has the label, else 0, or leave the cell empty"
                where = f"{path.name}: {case}"
                wrong.append(Finding(LabelCode.REFERENCE, where, f"label {label}: {text!r}", fix))
    if wrong:
        raise BrokenReferencesError(*dict.fromkeys(wrong))
    known = {case: own for case, own in sides.items() if own}
    return Truth(path, known, sheet_groups(sheet, list(known), case_column, challenge))


def read_given(
    place: Path, task: LabelsTask, cases: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, dict[str, float]], str]:
    """Read a team's table, or its files per case; return probabilities by case and label, and the table's name.

    A list of labels says of each of them that it is certain. A cell that holds no probability leaves the label
    missing; a case whose rows differ has none.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    path, sheet = given_records(place, task.files.prediction, task.columns.case, cases, findings)
    (case_column,) = sheet.need(task.columns.case)
    sheet.refuse_control_characters([case_column])
    if not _listed(sheet, task):
        tell_lacking(sheet, task.label_columns.values(), LabelCode.COLUMN_MISSING, "labels", findings)
    numbers = sheet.numbers([column for column in map(sheet.find, task.label_columns.values()) if column is not None])
    rows: dict[str, dict[str, str]] = {}
    clash: set[str] = set()
    for case, texts in _rows(sheet, task, path.name, findings):
        if rows.setdefault(case, texts) != texts:
            clash.add(case)
    bad: list[tuple[str, str, str]] = []
    found: dict[str, dict[str, float]] = {}
    for case, texts in rows.items():
        own = found.setdefault(case, {})
        for label, text in texts.items() if case not in clash else ():
            side = YES_OR_NO.get(text.lower())
            try:
                value = numbers.parse(text) if side is None else float(side)
            except ValueError:
                value = -1.0
            if -_NEAR <= value <= 1.0 + _NEAR:
                own[label] = min(max(value, 0.0), 1.0)
            elif value == value:  # an empty cell is missing, and no mistake of its own
                bad.append((case, label, text))
    if bad:
        case, label, text = bad[0]
        cause = f"{len(bad)} cells hold no probability (first {case}, {label}: {text!r})"
        fix = "write a number from 0 to 1 (1 or 0 for yes or no); until then it is missing"
        findings.append(Finding(LabelCode.NO_PROBABILITY, path.name, cause, fix))
    findings += [case_twice(path, case) for case in sorted(clash)]
    usable = {case: own for case, own in found.items() if own}
    compare_cases(path.name, usable, set(rows), cases, findings)
    wanted = set(cases)
    return {case: own for case, own in usable.items() if case in wanted}, path.name


def _listed(sheet: Sheet, task: LabelsTask) -> bool:
    """Return whether a table lists the labels of a case in one column: it has that, and a column of no label."""
    return sheet.find(task.columns.labels) is not None and not any(map(sheet.find, task.label_columns.values()))


def _rows(sheet: Sheet, task: LabelsTask, where: str, findings: list[Finding]) -> list[tuple[str, dict[str, str]]]:
    """Return case and text by label of every row; of a list, 1 for those in it and 0 for the others."""
    (case_column,) = sheet.need(task.columns.case)
    cases = sheet.column(case_column)
    if not _listed(sheet, task):
        columns = [(label, sheet.find(column)) for label, column in task.label_columns.items()]
        given = [(label, sheet.column(column)) for label, column in columns if column is not None]
        return [(case, {label: column[at] for label, column in given}) for at, case in enumerate(cases)]
    (column,) = sheet.need(task.columns.labels)
    names = {text: label for label, own in task.label_columns.items() for text in (label, own)}
    rows, unknown = [], {}
    for case, text in zip(cases, sheet.column(column), strict=True):
        said = [part.strip() for part in text.split("|") if part.strip()]
        unknown.update({part: case for part in said if part not in names})
        there = {names[part] for part in said if part in names}
        rows.append((case, {label: "1" if label in there else "0" for label in task.labels}))
    if unknown:
        name, case = next(iter(unknown.items()))
        cause = f"{len(unknown)} unknown label(s) (first {case}: {name!r})"
        findings.append(Finding(LabelCode.UNKNOWN, where, cause, f"use {', '.join(task.labels)}; it is not read"))
    return rows
