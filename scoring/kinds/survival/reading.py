"""Tables of times and events, and of risks."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medpodium.challenges.rows import Numbers
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.values import SurvivalTask
from medpodium.findings import Code, Finding, Severity
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.kinds.records import given_records, true_records
from medpodium.scoring.kinds.tables import YES_OR_NO, case_twice, compare_cases, sheet_groups

if TYPE_CHECKING:
    import pandas as pd


class SurvivalCode(Code):
    """What can be wrong with times, events and risks."""

    REFERENCE = "survival-reference-unusable"
    NO_RISK = "survival-no-risk"
    REVERSED = "survival-risks-reversed"
    RISING = "survival-curve-rising"


class Outcome(NamedTuple):
    """When the event came (``event``), or until when the case was seen without it."""

    time: float
    event: bool


def read_outcomes(
    place: Path, task: SurvivalTask, challenge: Challenge
) -> tuple[Path, dict[str, Outcome], pd.DataFrame]:
    """Read the references; return their table, the outcomes by case, and the groups that the table tells.

    Raises
    ------
    BrokenReferencesError
        If a time is no positive number, an event neither 1 nor 0, or a case occurs twice.
    UsageError
        If it cannot be read or a column is missing.
    """
    asked = task.columns.case, task.columns.time, task.columns.event
    path, sheet, wrong = true_records(place, task.files.reference, *asked)
    case_column, time_column, event_column = sheet.need(*asked)
    numbers = sheet.numbers([time_column])
    found: dict[str, Outcome] = {}
    columns = (sheet.column(name) for name in (case_column, time_column, event_column))
    for case, time_text, event_text in zip(*columns, strict=True):
        where = f"{path.name}: {case}"
        if case in found:
            wrong.append(case_twice(path, case))
            continue
        try:
            time = numbers.parse(time_text)
        except ValueError:
            time = math.nan
        event = YES_OR_NO.get(event_text.lower())
        found[case] = Outcome(time, bool(event))
        if not 0 <= time < math.inf or event is None:
            cause = f"time {time_text!r}, event {event_text!r}"
            fix = "give a time from 0 upwards, and 1 (event) or 0 (censored)"
            wrong.append(Finding(SurvivalCode.REFERENCE, where, cause, fix))
    if wrong:
        raise BrokenReferencesError(*wrong)
    return path, found, sheet_groups(sheet, list(found), case_column, challenge)


class Said(NamedTuple):
    """What was said of a case: its risk, and the probability of being free of the event until every time of the curve.

    ``risk`` is NaN where the task asks for none.
    """

    risk: float
    free: tuple[float, ...]


def read_risks(
    place: Path, task: SurvivalTask, cases: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, Said], str]:
    """Read a team's table, or its files per case; return what was said by case, and the table's name.

    A case one of whose numbers cannot be used has none.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    path, sheet = given_records(place, task.files.prediction, task.columns.case, cases, findings)
    asked = [*([task.columns.risk] if task.asks_risk else []), *(task.curve[time] for time in task.times)]
    case_column, *columns = sheet.need(task.columns.case, *asked)
    sheet.refuse_control_characters([case_column])
    numbers = sheet.numbers(columns)
    rows: dict[str, tuple[str, ...]] = {}
    clash: set[str] = set()
    for case, *texts in zip(*(sheet.column(column) for column in (case_column, *columns)), strict=True):
        if rows.setdefault(case, tuple(texts)) != tuple(texts):
            clash.add(case)
    found: dict[str, Said] = {}
    bad: list[tuple[str, str]] = []
    for case, own in rows.items():
        values = [_number(numbers, text) for text in own]
        risk, free = (values[0], values[1:]) if task.asks_risk else (math.nan, values)
        wrong = [text for text, value in zip(own, values, strict=True) if math.isinf(value)]
        wrong += [text for text, value in zip(own[len(own) - len(free) :], free, strict=True) if not 0 <= value <= 1]
        wrong = [text for text in wrong if text]  # an empty cell is missing, and no mistake of its own
        if wrong:
            bad.append((case, wrong[0]))
        elif case not in clash and not any(map(math.isnan, values)):
            found[case] = Said(risk, tuple(free))
    if bad:
        cause = f"{len(bad)} cells hold no usable number (first {bad[0][0]}: {bad[0][1]!r})"
        fix = "write a number (probabilities from 0 to 1); until then it is missing"
        findings.append(Finding(SurvivalCode.NO_RISK, path.name, cause, fix))
    rising = [case for case, said in found.items() if any(map(operator.lt, said.free, said.free[1:]))]
    if rising:
        cause = f"{len(rising)} cases get more likely to be free of the event as time goes on (first {rising[0]})"
        fix = "look at the columns and their times; the numbers are scored as they are"
        findings.append(Finding(SurvivalCode.RISING, path.name, cause, fix, Severity.WARNING))
    findings += [case_twice(path, case) for case in sorted(clash)]
    compare_cases(path.name, found, set(rows), cases, findings)
    return {case: found[case] for case in cases if case in found}, path.name


def _number(numbers: Numbers, text: str) -> float:
    """Return a number, NaN for an empty cell, infinity for what is none."""
    try:
        return numbers.parse(text)
    except ValueError:
        return math.inf
