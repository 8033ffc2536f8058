"""Which definition a score was computed by: a column of the score table, and what stands behind its digests.

Every row carries the digest of what its value depends on (:mod:`medpodium.challenges.scored`), in the column
``definition``. A column, and not metadata of the file, because a table leads a life of its own: rows of several tasks
and runs are put together with pandas or R, sorted and filtered in a spreadsheet, written back as CSV. Every reader
knows what to do with one more column of text and most lose metadata or stumble over a line in front of the heading. It
costs 15 bytes a row in CSV, and next to nothing in Parquet, where equal values are stored once.

The facts behind the digests lie beside the table (``scores.csv`` -> ``scores.definition.json``), so that a refusal can
say what differs. They are found by digest: a file that is left from another table, or lost, does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.challenges import scored
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import observations, published, table

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge

Known = Mapping[str, scored.Facts]
"""What stands behind a digest."""
SUFFIX = ".definition.json"
_MOST = 4
_ROUNDING = 1e-6
"""Values beyond their bounds by no more than this are rounded."""


class DefinitionCode(Code):
    """What can be wrong between a score table and a definition."""

    OTHER = "scores-of-other-rules"
    """Scores were computed by another version of the challenge file."""
    UNKNOWN = "scores-of-unknown-rules"
    OUT_OF_BOUNDS = "score-out-of-bounds"


def mark(scores: pd.DataFrame, challenge: Challenge, task: str) -> pd.DataFrame:
    """Return the scores of one task with the digest of the definition in every row, after the fixed columns.

    Parameters
    ----------
    scores : pandas.DataFrame
        Score table of one task, just computed by this definition.
    challenge, task
        The definition.
    """
    digests = {name: scored.digest(scored.facts(challenge, task, name)) for name in challenge.tasks[task].metrics}
    marked = scores.assign(**{table.DEFINITION: scores["metric"].map(digests).fillna("").astype(object)})
    return marked[table.ordered(marked)]


def check(
    challenge: Challenge, scores: pd.DataFrame, known: Known | None = None, *, accept: bool = False
) -> list[Finding]:
    """Compare the digests of a score table with a definition.

    Only what is ranked counts. Scores without a digest (imported, written by hand, of version 0.1.0) are taken as they
    are, with a note.

    Parameters
    ----------
    challenge : Challenge
        The definition to rank by.
    scores : pandas.DataFrame
        Normalised score table.
    known : mapping of str to facts, optional
        What stands behind the digests (:func:`read_beside`).
    accept : bool
        Whether scores of other rules are taken nevertheless, with a warning.

    Returns
    -------
    list of Finding
        A warning for every metric with accepted scores of other rules; a note where scores do not say.

    Raises
    ------
    UsageError
        If scores were computed by other rules and that is not accepted, or if a computed value is outside the bounds
        that the metric's formula has (a Dice of 45.67): one finding per metric.
    """
    outside = _outside(challenge, scores)
    if outside:
        raise UsageError(*outside)
    keys = ["task", "metric", *([table.DEFINITION] if table.DEFINITION in scores.columns else [])]
    counts = scores.groupby(keys, sort=False).size().reset_index(name="rows")
    severity = Severity.WARNING if accept else Severity.ERROR
    other, silent, elsewhere, ranked = [], 0, 0, 0
    for row in counts.to_dict("records"):
        task, metric, found = str(row["task"]), str(row["metric"]), str(row.get(table.DEFINITION, ""))
        own = challenge.tasks.get(task)
        if (
            own is None
            or task not in challenge.ranked_tasks
            or metric not in own.metrics
            or not own.metrics[metric].ranked
        ):
            continue
        ranked += row["rows"]
        facts = scored.facts(challenge, task, metric)
        if found.startswith(published.PREFIX):
            elsewhere += row["rows"]
        elif not scored.is_digest(found):
            silent += row["rows"]
        elif found != scored.digest(facts):
            other.append(_other(challenge, task, metric, row, facts, (known or {}).get(found), severity))
    if other and not accept:
        raise UsageError(*other)
    return other + _silent(challenge, silent, ranked) + _elsewhere(elsewhere, ranked, published.sources(scores))


def _other(
    challenge: Challenge,
    task: str,
    metric: str,
    row: Mapping[Any, Any],
    facts: scored.Facts,
    before: scored.Facts | None,
    severity: Severity,
) -> Finding:
    name = f"{task}, metric {metric}" if len(challenge.tasks) > 1 else f"metric {metric}"
    changed = scored.differences(before, facts) if before is not None else []
    if changed:
        more = f", and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
        cause = f"{row['rows']} scores are of other rules: {', '.join(changed[:_MOST])}{more}"
    else:
        digests = f"{row[table.DEFINITION]}, {challenge.reference} says {scored.digest(facts)}"
        cause = f"{row['rows']} scores are of other rules: {digests}"
    fix = "score again by this definition, or rank by the definition they were scored by"
    if severity is Severity.ERROR:
        fix += "; if you know why they fit, add --accept-other-rules"
    return Finding(DefinitionCode.OTHER, name, cause, fix, severity)


def _silent(challenge: Challenge, silent: int, ranked: int) -> list[Finding]:
    if not silent:
        return []
    cause = f"{silent} of {ranked} scores do not say which rules they were computed by"
    fix = f"nothing to do if they were computed as {challenge.reference} says"
    return [Finding(DefinitionCode.UNKNOWN, "scores", cause, fix, Severity.NOTE)]


def _elsewhere(number: int, ranked: int, sources: list[str]) -> list[Finding]:
    if not number:
        return []
    cause = f"{number} of {ranked} scores are values as published in {'; '.join(sources)}"
    fix = "nothing to do; which rules the source computed them by is not checked here"
    return [Finding(DefinitionCode.UNKNOWN, "scores", cause, fix, Severity.NOTE)]


def beside(path: str | Path) -> Path:
    """Return where the facts behind a table's digests are: ``scores.csv`` -> ``scores.definition.json``."""
    path = Path(path)
    return path.with_name(path.stem + SUFFIX)


def write(challenge: Challenge, scores: pd.DataFrame, observed: pd.DataFrame | None, out: Path) -> list[Path]:
    """Write a score table and what lies beside it; return what was written."""
    table.write_scores(scores, out)
    files = [out, write_beside(challenge, scores, out), observations.write_beside(observed, out)]
    return [path for path in files if path is not None]


def write_beside(challenge: Challenge, scores: pd.DataFrame, path: str | Path) -> Path:
    """Write what stands behind the digests of a score table beside it, complete or not at all."""
    found = {}
    for task, metric in scores[["task", "metric"]].drop_duplicates().itertuples(index=False):
        if task in challenge.tasks and metric in challenge.tasks[task].metrics:
            facts = scored.facts(challenge, task, metric)
            found[scored.digest(facts)] = facts
    target = beside(path)
    part = target.with_name(f".{target.name}.part")
    part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    part.replace(target)
    return target


def read_beside(path: str | Path) -> Known:
    """Return what stands behind the digests of a score table; nothing where that is not there or not readable.

    An entry whose content does not have its digest is left out.
    """
    try:
        found = json.loads(beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: facts for key, facts in found.items() if isinstance(facts, dict) and scored.digest(facts) == key}


def _outside(challenge: Challenge, scores: pd.DataFrame) -> list[Finding]:
    """Return a finding for every metric with computed values that its formula cannot give; penalties may be any."""
    found = []
    for (task, metric), rows in scores[scores["status"] == table.OK].groupby(["task", "metric"], sort=False):
        own = challenge.tasks.get(str(task))
        if own is None or str(metric) not in own.metrics:
            continue
        low, high = own.metrics[str(metric)].bounds
        wrong = rows[(rows["value"] < low - _ROUNDING) | (rows["value"] > high + _ROUNDING)]
        if len(wrong):
            row = wrong.iloc[0]
            where = f"{row['submission']}, {row['case'] or 'all cases'}, {metric}"
            cause = f"{row['value']:g} is not within {low:g} and {high:g} ({len(wrong)} such values)"
            fix = "correct the table" + (", or divide per cent by 100" if high == 1.0 else "")
            found.append(Finding(DefinitionCode.OUT_OF_BOUNDS, where, cause, fix))
    return found
