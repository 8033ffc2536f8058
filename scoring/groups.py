"""Groups of the cases: the table of cases, and what follows from its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.naming.names import RESERVED, reserved_columns
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.definition import Challenge, Group
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table

if TYPE_CHECKING:
    import pandas as pd


class GroupCode(Code):
    """What can be wrong with the table of cases."""

    COLUMN_RESERVED = "cases-column-reserved"
    CASE_TWICE = "case-twice"
    LEVEL_UNKNOWN = "group-level-unknown"


def group_values(
    challenge: Challenge, cases: list[str], groups: pd.DataFrame | None, findings: list[Finding]
) -> dict[str, dict[str, str]]:
    """Return the value of every group for every case: columns of the table of cases, and what follows from them."""
    values: dict[str, dict[str, str]] = {}
    if groups is not None:
        refuse_reserved((str(name) for name in groups.columns if name != "case"), "cases")
        for name in (column for column in groups.columns if column != "case"):
            values[str(name)] = dict(zip(groups["case"].astype(str), groups[name].fillna("").astype(str), strict=True))
    for name, group in challenge.groups.items():
        if name not in values and group.derived_from in values:
            values[name] = _derived(group, values[str(group.derived_from)])
        if name in values and group.levels is not None:
            _check_levels(name, group, values[name], cases, findings)
    return values


def _derived(group: Group, parent: Mapping[str, str]) -> dict[str, str]:
    level_of = {member: level for level, members in (group.map or {}).items() for member in members}
    return {case: level_of.get(value, "") for case, value in parent.items()}


def _check_levels(
    name: str, group: Group, values: Mapping[str, str], cases: list[str], findings: list[Finding]
) -> None:
    known = set(group.levels or [])
    odd = sorted({values.get(case, "") for case in cases} - known - {""})
    if odd:
        cause = f"group {name!r} has the undeclared value {odd[0]!r}"
        findings.append(
            Finding(GroupCode.LEVEL_UNKNOWN, "cases", cause, f"use {', '.join(sorted(known))}", Severity.WARNING)
        )


def read_cases(path: Path) -> pd.DataFrame:
    """Read the table of cases: a column ``case`` and one per group.

    Raises
    ------
    UsageError
        If it cannot be read, has no column ``case``, or names a case twice.
    """
    import pandas as pd

    sheet = read_sheet(path)
    (case_column,) = sheet.need("case")
    sheet.refuse_control_characters([case_column])
    names = sheet.column(case_column)
    refuse_reserved([name for name in sheet.named if name != case_column], str(path))
    seen: set[str] = set()
    for name, line in zip(names, sheet.lines, strict=True):
        if not name or name in seen:
            cause = f"case {name!r} occurs twice" if name else "the case has no name"
            raise UsageError(Finding(GroupCode.CASE_TWICE, f"{path}: row {line}", cause, "keep one row per case"))
        seen.add(name)
    cases = pd.DataFrame(sheet.cells, columns=sheet.columns, dtype=object).rename(columns={case_column: "case"})
    return cases[["case", *(name for name in cases.columns if name not in ("case", ""))]]


def refuse_reserved(names: Iterable[str], where: str) -> None:
    """Refuse groups of cases that are named like a column of the score table, whatever their capitals.

    Raises
    ------
    UsageError
        With the name: the scores in that column would be overwritten.
    """
    taken = reserved_columns(names)
    if taken:
        cause = f"column {taken[0]!r} is named like a column of the score table, whose values it would overwrite"
        fix = f"rename the column; taken are {', '.join(RESERVED)}"
        raise UsageError(Finding(GroupCode.COLUMN_RESERVED, where, cause, fix))


def joined(cases: pd.DataFrame | None, own: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the table of cases with the groups added that only the references themselves tell."""
    if cases is None or own is None:
        return own if cases is None else cases
    added = [name for name in own.columns if name == "case" or name not in cases.columns]
    return cases.merge(own[added], on="case", how="left")


def read_resources(path: Path) -> pd.DataFrame:
    """Read measured values of whole cases: ``submission, case, metric, value, status``.

    Raises
    ------
    UsageError
        If it cannot be read or lacks a column.
    """
    return table.read_scores(path)[["submission", "case", "metric", "value", "status"]]
