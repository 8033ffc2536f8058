"""Read published leaderboards: one row per team, values over whole test sets."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from medpodium.challenges.naming.names import alike
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.findings import Finding, UsageError
from medpodium.scoring.exchange.importers import score_rows
from medpodium.scoring.groups import refuse_reserved
from medpodium.scoring.rows import ImportCode, number, refuse


def read_leaderboard(
    path: Path,
    challenge: Challenge,
    task: str,
    *,
    metrics: Mapping[str, str] | None = None,
    team_column: str = "team",
    groups: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    scale: float = 1.0,
    percent: Collection[str] = (),
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a published table of one row per team (and domain): values pooled over a set of cases.

    Parameters
    ----------
    path : Path
        Delimited text with a header.
    challenge, task : Challenge, str
        What the values belong to.
    metrics : mapping of str to str, optional
        Column to metric of the task; every metric from the column of its name when left out.
    team_column : str
        Column of the submissions.
    groups : mapping of str to str, optional
        Column to group name (``{"domain": "domain"}``); the levels are written in lower case.
    where : mapping of str to str, optional
        Rows to keep, as column to value.
    scale : float
        Factor of every fraction (0.01 for percent); values with a unit (mm) stay as they are.
    percent : collection of str
        Metrics whose values are in percent, where not all fractions are.

    Raises
    ------
    UsageError
        If the task, a metric, a column or every row is missing, a team occurs twice in the same group (two names that
        differ only in capitals are one team), or a value is outside the bounds of its metric. A wrong value would move
        teams, and leaving it out would, too: the table has to be corrected.
    """
    known = _metrics(challenge, task)
    metrics = metrics or dict(zip(known, known, strict=True))
    for metric in metrics.values():
        if metric not in known:
            fix = f"metrics of {task}: {', '.join(known)}"
            raise refuse(ImportCode.UNKNOWN_NAME, challenge.reference, f"no metric {metric!r}", fix)
    specs = challenge.tasks[task].metrics
    refuse_reserved((groups or {}).values(), "--group")
    sheet = read_sheet(path)
    sheet.need(team_column, *metrics, *(groups or {}), *(where or {}))
    column = {name: sheet.need(name)[0] for name in [team_column, *metrics, *(groups or {}), *(where or {})]}
    sheet.refuse_control_characters([column[team_column]])
    written = sheet.numbers(column[name] for name in metrics)
    factors = {metric: _factor(specs[metric], scale, metric in percent) for metric in metrics.values()}
    outside: list[Finding] = []
    findings: list[Finding] = []
    found: list[dict[str, object]] = []
    seen: set[tuple[str, ...]] = set()
    for row in sheet.rows:
        if any(row[column[name]] != value for name, value in (where or {}).items()):
            continue
        team = row[column[team_column]]
        levels = {group: row[column[name]].lower() for name, group in (groups or {}).items()}
        key = (alike(team), *levels.values())
        if key in seen:
            text = "occurs twice" + (f" in {', '.join(levels.values())}" if levels else "")
            raise refuse(ImportCode.ROW_TWICE, f"{path.name}: {team}", text, "give the entries different names")
        seen.add(key)
        for name, metric in metrics.items():
            where_found = f"{path.name}: {team}, {name}"
            value = number(row[column[name]], where_found, findings, numbers=written) * factors[metric]
            outside += _outside(value, metric, specs[metric], row[column[name]], where_found)
            found.append({"submission": team, "case": "", "structure": "", "metric": metric, "value": value, **levels})
    if outside:
        raise UsageError(*outside[:20])
    if not found:
        chosen = ", ".join(f"{name} = {value}" for name, value in (where or {}).items())
        raise refuse(ImportCode.NO_ROWS, path, f"no row with {chosen}", "check the names")
    return score_rows(found, challenge=challenge.name, edition=challenge.edition, task=task), findings


def _factor(spec: MetricSpec, scale: float, percent: bool) -> float:
    """Return what a metric's values are multiplied with: only fractions are ever printed in percent."""
    low, high = spec.bounds
    fraction = high == 1.0 or (math.isinf(low) and math.isinf(high) and not spec.unit_name)
    return 0.01 if percent else scale if fraction else 1.0


def _outside(value: float, metric: str, spec: MetricSpec, text: str, where: str) -> list[Finding]:
    low, high = spec.bounds
    if math.isnan(value) or low <= value <= high:
        return []
    fix = "correct the table"
    if high == 1.0 and 1.0 < value <= 100.0:
        fix += f", or say that the values are in per cent (--percent for all, --percent-metric {metric} for this one)"
    cause = f"{metric} {text} is not within {low:g} and {high:g}"
    return [Finding(ImportCode.OUT_OF_RANGE, where, cause, fix)]


def _metrics(challenge: Challenge, task: str) -> list[str]:
    if task not in challenge.tasks:
        fix = f"tasks: {', '.join(challenge.tasks)}"
        raise refuse(ImportCode.UNKNOWN_NAME, challenge.reference, f"no task {task!r}", fix)
    return list(challenge.tasks[task].metrics)
