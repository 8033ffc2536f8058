"""A score table as the JSON that platforms show: per case, aggregated, and back to the very same table.

Numbers are written with all their digits, and a value that does not exist is ``null``: the JSON is strict, without NaN
or infinities.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.resource import MeasuredMetric, ResourceMetric
from medpodium.challenges.schema.task import TaskModel
from medpodium.findings import Finding, UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.ranking.settled import Settled, average

LEADERBOARD, SCORE_TABLE = "scores.json", "score_table.csv"
"""Files of a scoring program: the leaderboard's numbers, and every score."""


@dataclass(frozen=True)
class Column:
    """One number of a leaderboard.

    Parameters
    ----------
    key : str
        Flat name of letters, digits and underscores.
    metric, part : str
        Metric, and structure or pooled set of cases; ``part`` is empty for the mean over all of them.
    title : str
        As printed.
    ascending : bool
        Whether smaller is better.
    """

    key: str
    metric: str
    part: str
    title: str
    ascending: bool

    @property
    def path(self) -> str:
        """Where the number is in the JSON, as dots."""
        return f"aggregates.{self.key}.mean"


def running_times(task: TaskModel) -> dict[str, ResourceMetric]:
    """Return the metrics of a task that a platform can tell, if it tells how long a case took."""
    return {
        name: spec
        for name, spec in task.metrics.items()
        if isinstance(spec, ResourceMetric) and spec.kind == "running_time"
    }


def columns(challenge: Challenge, task_name: str, *, timed: bool = False) -> list[Column]:
    """Return the leaderboard columns of a task: each metric's mean, then its mean per structure.

    Metrics of whole cases (memory, running time) are left out: platforms do not tell the scorer what they measured.

    Parameters
    ----------
    challenge, task_name : Challenge, str
        The rules.
    timed : bool
        The platform tells the running time.
    """
    task = challenge.tasks[task_name]
    means, parts = [], []
    for name, spec in task.metrics.items():
        told = not isinstance(spec, MeasuredMetric) or (timed and name in running_times(task))
        if not told or not spec.ranked:
            continue
        ascending, shown = spec.better == "lower", task.metric_name(name)
        means.append(Column(key(name), name, "", f"{shown} (mean)", ascending))
        names = {one: task.structure_titles[one] for one in task.structures_of(spec) if one}
        if spec.info.scope == "pooled" and task.pooled_within in challenge.groups:
            names = {level: level for level in challenge.groups[task.pooled_within].levels or []}
        parts += [Column(key(name, one), name, one, f"{shown}: {text}", ascending) for one, text in names.items()]
    return means + parts


def key(metric: str, part: str = "") -> str:
    """Return a flat name for a metric, or a metric and its structure."""
    clean = [re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") for text in (metric, part) if text]
    return "__".join(clean)


def payload(
    scores: pd.DataFrame, settled: Settled, findings: Iterable[Finding], about: Mapping[str, str]
) -> dict[str, Any]:
    """Return the scores of one submission as plain data.

    Parameters
    ----------
    scores : pandas.DataFrame
        Score table of one submission.
    settled : Settled
        The same scores as they count.
    findings : iterable of Finding
        What was found on the way.
    about : mapping of str to str
        Challenge, task, versions.

    Returns
    -------
    dict
        ``aggregates`` (mean and number of values per :func:`key`), ``results`` (every score, by case), ``counts`` (of
        each status) and ``findings``.
    """
    groups = table.group_columns(scores)
    results: list[dict[str, Any]] = []
    previous: tuple[str, ...] | None = None
    for row in scores.to_dict("records"):
        identity = (str(row["case"]), *(str(row[name]) for name in groups))
        if identity != previous:
            results.append({"case": row["case"], "groups": {name: row[name] for name in groups}, "scores": []})
            previous = identity
        entry = {name: row[name] for name in ("metric", "structure", "status", table.DEFINITION) if name in row}
        results[-1]["scores"].append({**entry, "value": _finite(row["value"])})
    return {
        "about": {**about, **{name: str(scores[name].iloc[0]) for name in ("challenge", "edition", "task")}},
        "submission": str(scores["submission"].iloc[0]),
        "aggregates": aggregates(settled),
        "results": results,
        "counts": {str(name): int(count) for name, count in scores["status"].value_counts().items()},
        "findings": [one.as_dict() for one in findings],
    }


def aggregates(settled: Settled) -> dict[str, dict[str, Any]]:
    """Return mean, and number of values, of every metric and of each of its structures or pooled sets.

    The mean is that of the scores as they count by the challenge's policy; there is none where an owed score has no
    number.

    Parameters
    ----------
    settled : Settled
        Scores of one submission.
    """
    array = settled.array
    sets = {
        label: next((levels[at] for levels in array.groups.values() if levels[at]), "")
        for at, (label, pooled) in enumerate(zip(array.cases, array.pooled, strict=True))
        if pooled
    }
    cells = settled.cells
    of_set = pd.Series([sets.get(case, "") for case in cells["case"]], index=cells.index, dtype=object)
    part = cells["structure"].where(cells["structure"] != "", of_set)
    found: dict[str, dict[str, Any]] = {}
    for metric, own in cells.groupby("metric", sort=False):
        found[key(str(metric))] = _mean(own)
        for name, rows in own.groupby(part.loc[own.index], sort=False):
            found[key(str(metric), str(name))] = _mean(rows)
    return found


def _mean(cells: pd.DataFrame) -> dict[str, Any]:
    mean, number = average(cells)
    return {"mean": _finite(mean), "n": number}


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def write_json(data: Any, path: Path) -> Path:
    """Write strict JSON, complete or not at all.

    Raises
    ------
    ValueError
        If a NaN or an infinity is in it; platforms refuse those.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8", newline="\n")
    part.replace(path)
    return path


def read_payload(path: Path, submission: str | None = None) -> pd.DataFrame:
    """Read a ``metrics.json`` back into the score table it was made of.

    Parameters
    ----------
    path : Path
        A file made from :func:`payload`.
    submission : str, optional
        Name to give; the one in the file when left out.

    Raises
    ------
    UsageError
        If it is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        about, results = data["about"], data["results"]
        name = submission or str(data["submission"])
        rows = [
            {
                **{column: str(about[column]) for column in ("challenge", "edition", "task")},
                "submission": name,
                "case": str(case["case"]),
                **{column: str(score[column]) for column in ("structure", "metric")},
                "value": math.nan if score["value"] is None else float(score["value"]),
                "status": str(score["status"]),
                **({table.DEFINITION: str(score[table.DEFINITION])} if table.DEFINITION in score else {}),
                **{str(group): str(value) for group, value in case["groups"].items()},
            }
            for case in results
            for score in case["scores"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"no scores of medpodium in it ({type(error).__name__}: {error})".split("\n")[0]
        fix = "give a metrics.json written by the exported scorer"
        raise UsageError(Finding(PlatformCode.RESULTS, str(path), cause, fix)) from None
    return table.normalise(pd.DataFrame(rows, columns=None if rows else list(table.COLUMNS)), str(path))
