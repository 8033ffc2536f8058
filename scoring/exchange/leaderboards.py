"""Read published leaderboards: one row per team, values over whole test sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding
from medpodium.scoring.exchange.importers import score_rows
from medpodium.scoring.rows import ImportCode, number, read_rows, refuse


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
        Factor of every value (0.01 for percent).

    Raises
    ------
    UsageError
        If the task, a metric, a column or every row is missing, or a team occurs twice in the same group.
    """
    known = _metrics(challenge, task)
    metrics = metrics or dict(zip(known, known, strict=True))
    for metric in metrics.values():
        if metric not in known:
            fix = f"metrics of {task}: {', '.join(known)}"
            raise refuse(ImportCode.UNKNOWN_NAME, challenge.reference, f"no metric {metric!r}", fix)
    columns, rows = read_rows(path)
    for name in [team_column, *metrics, *(groups or {}), *(where or {})]:
        if name not in columns:
            raise refuse(ImportCode.COLUMN_MISSING, path, f"no column {name!r}", f"columns: {', '.join(columns)}")
    findings: list[Finding] = []
    found: list[dict[str, object]] = []
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        if any(row[name].strip() != value for name, value in (where or {}).items()):
            continue
        team = row[team_column].strip()
        levels = {group: row[name].strip().lower() for name, group in (groups or {}).items()}
        key = (team, *levels.values())
        if key in seen:
            text = "occurs twice" + (f" in {', '.join(levels.values())}" if levels else "")
            raise refuse(ImportCode.ROW_TWICE, f"{path.name}: {team}", text, "give the entries different names")
        seen.add(key)
        for name, metric in metrics.items():
            value = number(row[name], f"{path.name}: {team}, {name}", findings) * scale
            found.append({"submission": team, "case": "", "structure": "", "metric": metric, "value": value, **levels})
    if not found:
        chosen = ", ".join(f"{name} = {value}" for name, value in (where or {}).items())
        raise refuse(ImportCode.NO_ROWS, path, f"no row with {chosen}", "check the names")
    return score_rows(found, challenge=challenge.name, edition=challenge.edition, task=task), findings


def _metrics(challenge: Challenge, task: str) -> list[str]:
    if task not in challenge.tasks:
        fix = f"tasks: {', '.join(challenge.tasks)}"
        raise refuse(ImportCode.UNKNOWN_NAME, challenge.reference, f"no task {task!r}", fix)
    return list(challenge.tasks[task].metrics)
