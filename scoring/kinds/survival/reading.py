"""Tables of times and events, and of risks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.values import SurvivalTask
from medpodium.findings import Code, Finding
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.kinds.records import find_records, gathered, read_records
from medpodium.scoring.kinds.tables import case_twice, compare_cases, sheet_groups

if TYPE_CHECKING:
    import pandas as pd

_EVENTS = {"1": True, "true": True, "yes": True, "1.0": True, "0": False, "false": False, "no": False, "0.0": False}


class SurvivalCode(Code):
    """What can be wrong with times, events and risks."""

    REFERENCE = "survival-reference-unusable"
    NO_RISK = "survival-no-risk"
    REVERSED = "survival-risks-reversed"


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
    path = find_records(place, task.files.reference)
    wrong: list[Finding] = []
    sheet = read_records(path, wrong)
    case_column, time_column, event_column = sheet.need(task.columns.case, task.columns.time, task.columns.event)
    sheet.refuse_control_characters([case_column])
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
        event = _EVENTS.get(event_text.lower())
        found[case] = Outcome(time, bool(event))
        if not 0 <= time < math.inf or event is None:
            cause = f"time {time_text!r}, event {event_text!r}"
            fix = "give a time from 0 upwards, and 1 (event) or 0 (censored)"
            wrong.append(Finding(SurvivalCode.REFERENCE, where, cause, fix))
    if wrong:
        raise BrokenReferencesError(*wrong)
    return path, found, sheet_groups(sheet, list(found), case_column, challenge)


def read_risks(
    place: Path, task: SurvivalTask, cases: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, float], str]:
    """Read a team's table, or its files per case; return risks by case and the table's name.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    if "{case}" in task.files.prediction and place.is_dir():
        path, sheet = place, gathered(place, task.files.prediction, task.columns.case, cases, findings)
    else:
        path = find_records(place, task.files.prediction)
        sheet = read_records(path, findings)
    case_column, risk_column = sheet.need(task.columns.case, task.columns.risk)
    sheet.refuse_control_characters([case_column])
    numbers = sheet.numbers([risk_column])
    texts: dict[str, str] = {}
    clash: set[str] = set()
    for case, text in zip(sheet.column(case_column), sheet.column(risk_column), strict=True):
        if texts.setdefault(case, text) != text:
            clash.add(case)
    risks: dict[str, float] = {}
    bad: list[tuple[str, str]] = []
    for case, text in texts.items():
        try:
            value = numbers.parse(text)
        except ValueError:
            value = math.inf
        if math.isinf(value):
            bad.append((case, text))
        elif case not in clash and not math.isnan(value):
            risks[case] = value
    if bad:
        cause = f"{len(bad)} cells hold no usable number (first {bad[0][0]}: {bad[0][1]!r})"
        findings.append(Finding(SurvivalCode.NO_RISK, path.name, cause, "write a number; until then it is missing"))
    findings += [case_twice(path, case) for case in sorted(clash)]
    compare_cases(path.name, risks, set(texts), cases, findings)
    return {case: risks[case] for case in cases if case in risks}, path.name
