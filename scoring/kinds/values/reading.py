"""Tables of numbers: a column per quantity, or a row per case and quantity; one file per case, too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medpodium.challenges.rows import Sheet
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.values import Quantity, ValuesTask
from medpodium.findings import Code, Finding, Severity
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.kinds.records import given_records, true_records
from medpodium.scoring.kinds.tables import case_twice, compare_cases, sheet_groups, tell_lacking

if TYPE_CHECKING:
    import pandas as pd


class ValueCode(Code):
    """What can be wrong with a table of numbers."""

    NO_NUMBER = "values-no-number"
    """A cell holds no number that can be used."""
    REFERENCE = "values-reference-unusable"
    NO_REFERENCE = "values-case-without-reference"
    COLUMN_MISSING = "values-column-missing"
    """A table of predictions lacks the column of a quantity; every case of it counts as missing there.

    Add the column.
    """
    QUANTITY_UNKNOWN = "values-quantity-unknown"
    MISSING = "values-missing"
    SWAPPED = "values-columns-swapped"
    UNIT = "values-in-another-unit"
    CASES_MIXED = "values-cases-mixed-up"


class Cell(NamedTuple):
    """One cell of a table: which number of which case, as written."""

    case: str
    quantity: str
    text: str


@dataclass(frozen=True)
class Truth:
    """What is true.

    Parameters
    ----------
    path : Path
        Where the table is.
    values : mapping of str to (mapping of str to float)
        Numbers by case and quantity; a quantity that was not measured in a case is not there.
    groups : DataFrame
        Column ``case`` and one per group of the challenge that the table has.
    """

    path: Path
    values: Mapping[str, Mapping[str, float]]
    groups: pd.DataFrame


def read_truth(place: Path, task: ValuesTask, challenge: Challenge, findings: list[Finding]) -> Truth:
    """Read the references.

    Raises
    ------
    BrokenReferencesError
        If a cell holds no number, or a case occurs twice; with everything that is wrong.
    UsageError
        If it cannot be read or a column is missing.
    """
    path, sheet, wrong = true_records(place, task.files.reference, task.columns.case)
    (case_column,) = sheet.need(task.columns.case)
    if not _is_long(sheet, task):
        sheet.need(*task.value_columns.values())
    values: dict[str, dict[str, float]] = {}
    seen: set[tuple[str, str]] = set()
    numbers = sheet.numbers(_number_columns(sheet, task))
    measured = task.measured
    for case, quantity, text in _cells(sheet, task):
        where = f"{path.name}: {case}"
        if (case, quantity) in seen:
            wrong.append(case_twice(path, case))
            continue
        seen.add((case, quantity))
        own = values.setdefault(case, {})
        if quantity not in measured:
            cause, fix = f"quantity {quantity!r} is not declared", f"use {', '.join(measured)}"
            wrong.append(Finding(ValueCode.QUANTITY_UNKNOWN, where, cause, fix))
            continue
        try:
            value = usable(numbers.parse(text), measured[quantity])
        except ValueError as error:
            cause, fix = f"{quantity or 'value'}: {error}", "write a number, or leave the cell empty"
            wrong.append(Finding(ValueCode.REFERENCE, where, cause, fix))
            continue
        if not math.isnan(value):
            own[quantity] = value
    if wrong:
        raise BrokenReferencesError(*dict.fromkeys(wrong))
    bare = [case for case, own in values.items() if not own]
    if bare:
        cause = f"{len(bare)} case(s) have no reference number (first {bare[0]})"
        fix = "nothing to do if they could not be measured: nobody is scored on them"
        findings.append(Finding(ValueCode.NO_REFERENCE, path.name, cause, fix, Severity.WARNING))
    known = {case: own for case, own in values.items() if own}
    return Truth(path, known, sheet_groups(sheet, list(known), case_column, challenge))


def read_given(
    place: Path, task: ValuesTask, cases: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, dict[str, float]], str]:
    """Read a team's table, or its files per case; return numbers by case and quantity, and the table's name.

    A number that occurs twice, in two ways, spoils its case; a cell without a usable number leaves that number
    missing; so does a column that is not there, unless none is.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    path, sheet = given_records(place, task.files.prediction, task.columns.case, cases, findings)
    (case_column,) = sheet.need(task.columns.case)
    sheet.refuse_control_characters([case_column])
    if not _is_long(sheet, task):
        tell_lacking(sheet, task.value_columns.values(), ValueCode.COLUMN_MISSING, "numbers", findings)
    numbers = sheet.numbers(_number_columns(sheet, task))
    measured = task.measured
    found: dict[str, dict[str, float]] = {}
    texts: dict[tuple[str, str], str] = {}
    bad: list[tuple[str, str, str]] = []
    clash: set[str] = set()
    unknown: dict[str, int] = {}
    for case, quantity, text in _cells(sheet, task):
        own = found.setdefault(case, {})
        if quantity not in measured:
            unknown[quantity] = unknown.get(quantity, 0) + 1
            continue
        if texts.setdefault((case, quantity), text) != text:
            clash.add(case)
            continue
        try:
            value = usable(numbers.parse(text), measured[quantity])
        except ValueError as error:
            bad.append((case, quantity, str(error)))
            continue
        if not math.isnan(value):
            own[quantity] = value
    if unknown:
        cause = f"{sum(unknown.values())} rows name an unknown quantity (first {next(iter(unknown))!r})"
        fix = f"use {', '.join(measured)}; these rows are not read"
        findings.append(Finding(ValueCode.QUANTITY_UNKNOWN, path.name, cause, fix))
    if bad:
        case, quantity, why = bad[0]
        cause = f"{len(bad)} cells hold no usable number (first {case}{', ' if quantity else ''}{quantity}: {why})"
        findings.append(Finding(ValueCode.NO_NUMBER, path.name, cause, "write a number; until then it is missing"))
    findings += [case_twice(path, case) for case in sorted(clash)]
    values = {case: own for case, own in found.items() if own and case not in clash}
    compare_cases(path.name, values, set(found), cases, findings)
    wanted = set(cases)
    return {case: own for case, own in values.items() if case in wanted}, path.name


def usable(value: float, quantity: Quantity) -> float:
    """Return a number that can be used, NaN for none.

    Raises
    ------
    ValueError
        If it is infinite, or outside what the quantity can be.
    """
    if math.isinf(value):
        raise ValueError(f"{value:g} is no finite number")
    for bound, outside, name in ((quantity.low, value, "below"), (quantity.high, -value, "above")):
        if bound is not None and outside < (bound if name == "below" else -bound):
            raise ValueError(f"{value:g} is {name} {bound:g}")
    return value


def _is_long(sheet: Sheet, task: ValuesTask) -> bool:
    """Return whether a table has a row per quantity: it names them, and has a column for none."""
    named = sheet.find(task.columns.quantity) is not None and sheet.find(task.columns.value) is not None
    return bool(task.quantities) and named and not any(map(sheet.find, task.value_columns.values()))


def _number_columns(sheet: Sheet, task: ValuesTask) -> list[str]:
    names = [task.columns.value] if _is_long(sheet, task) else list(task.value_columns.values())
    return [column for column in map(sheet.find, names) if column is not None]


def _cells(sheet: Sheet, task: ValuesTask) -> Iterator[Cell]:
    """Yield every cell that holds a number, row by row."""
    (case_column,) = sheet.need(task.columns.case)
    cases = sheet.column(case_column)
    if _is_long(sheet, task):
        quantity, value = sheet.need(task.columns.quantity, task.columns.value)
        for cell in zip(cases, sheet.column(quantity), sheet.column(value), strict=True):
            yield Cell(*cell)
        return
    columns = [(name, sheet.find(column)) for name, column in task.value_columns.items()]
    sides = [(name, sheet.column(column)) for name, column in columns if column is not None]
    for at, case in enumerate(cases):
        for name, column in sides:
            yield Cell(case, name, column[at])
