"""Groups of the cases: the table of cases, and what follows from its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medpodium.challenges.schema.definition import Challenge, Group
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table


class GroupCode(Code):
    """What can be wrong with the table of cases."""

    UNREADABLE = "cases-unreadable"
    COLUMN_MISSING = "cases-column-missing"
    CASE_TWICE = "case-twice"
    LEVEL_UNKNOWN = "group-level-unknown"


def group_values(
    challenge: Challenge, cases: list[str], groups: pd.DataFrame | None, findings: list[Finding]
) -> dict[str, dict[str, str]]:
    """Return the value of every group for every case: columns of the table of cases, and what follows from them."""
    values: dict[str, dict[str, str]] = {}
    if groups is not None:
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
    try:
        cases = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        cause = str(error).split("\n")[0]
        raise UsageError(Finding(GroupCode.UNREADABLE, str(path), cause, "give a readable CSV file")) from None
    if "case" not in cases.columns:
        fix = f"name the column of case names 'case'; found {', '.join(cases.columns)}"
        raise UsageError(Finding(GroupCode.COLUMN_MISSING, str(path), "no column 'case'", fix))
    twice = cases["case"][cases["case"].duplicated()]
    if len(twice):
        cause = f"case {twice.iloc[0]!r} occurs twice"
        raise UsageError(Finding(GroupCode.CASE_TWICE, str(path), cause, "keep one row per case"))
    return cases


def read_resources(path: Path) -> pd.DataFrame:
    """Read measured values of whole cases: ``submission, case, metric, value, status``.

    Raises
    ------
    UsageError
        If it cannot be read or lacks a column.
    """
    return table.read_scores(path)[["submission", "case", "metric", "value", "status"]]
