"""Read published leaderboards: one row per team, values over whole test sets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd

from medpodium.challenges.naming.names import alike
from medpodium.challenges.rows import Sheet, read_sheet
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.findings import Finding, UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange.importers import score_rows
from medpodium.scoring.groups import refuse_reserved
from medpodium.scoring.published import mark
from medpodium.scoring.rows import ImportCode, number, refuse

RANK_COLUMNS = ("final_rank", "final_ranking", "overall_rank", "rank", "place", "position")
"""What columns of final ranks are called, the surest name first; only one that holds ranks in every row is taken."""


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
    source: str | None = None,
    rank_column: str | None = None,
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
    source : str, optional
        Where the table was published; its file name when left out. Every row carries it.
    rank_column : str, optional
        Column of the published ranks; when left out, one that is called so (:data:`RANK_COLUMNS`), if there is one.

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
    ranks = _rank_column(sheet, rank_column, column.values())
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
        if ranks and not _is_rank(row[ranks]):
            cause, fix = f"{ranks} {row[ranks]!r} is no rank", "ranks are numbers from 1; correct the table"
            raise refuse(ImportCode.NOT_A_NUMBER, f"{path.name}: {team}", cause, fix)
        published = {table.PUBLISHED_RANK: row[ranks]} if ranks else {}
        for name, metric in metrics.items():
            where_found = f"{path.name}: {team}, {name}"
            value = number(row[column[name]], where_found, findings, numbers=written) * factors[metric]
            outside += _outside(value, metric, specs[metric], row[column[name]], where_found)
            fixed = {"submission": team, "case": "", "structure": "", "metric": metric, "value": value}
            found.append({**fixed, **published, **levels})
    if outside:
        raise UsageError(*outside[:20])
    if not found:
        chosen = ", ".join(f"{name} = {value}" for name, value in (where or {}).items())
        raise refuse(ImportCode.NO_ROWS, path, f"no row with {chosen}", "check the names")
    scores = score_rows(found, challenge=challenge.name, edition=challenge.edition, task=task)
    return mark(scores, source or path.name), findings


def _rank_column(sheet: Sheet, wanted: str | None, taken: Iterable[str]) -> str:
    """Return the column of published ranks; empty where there is none."""
    if wanted is not None:
        (name,) = sheet.need(wanted)
        return name
    free = {alike(name).replace(" ", "_"): name for name in sheet.named if name not in set(taken)}
    for known in RANK_COLUMNS:
        name = free.get(known, "")
        if name and all(_is_rank(row[name]) for row in sheet.rows):
            return name
    return ""


def _is_rank(text: str) -> bool:
    try:
        return float(text) >= 1
    except ValueError:
        return False


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
