"""What a score table says in a few lines: means per submission and metric, and per structure."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from medpodium import console
from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring.evidence.intervals.overall import overall
from medpodium.scoring.evidence.units import choose, units_of
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.ranking.pools import PooledCells
from medpodium.scoring.ranking.settled import Settled, settle_task


def summary_rows(
    challenge: Challenge, scores: pd.DataFrame, observations: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """Count, per submission and metric, what was computed, penalised, missing, failed and skipped.

    The mean is that of the scores as they count for the ranking, over all cases and structures, with the ends of its
    95 % interval and how that was made, or why there is none.

    Parameters
    ----------
    observations : DataFrame, optional
        What pooled values were computed from.
    """
    rows = []
    shown = ["ok", "empty-reference", "penalised", "missing", "failed", "skipped"]
    shown += ["unlabelled"] if "unlabelled" in scores["status"].to_numpy() else []
    for task, own in scores.groupby("task", sort=False):
        settled = settle_task(own, challenge, str(task), ranked=False)
        means = settled.averages("submission", "metric").to_dict("index")
        ends = _intervals(challenge, str(task), settled, observations).to_dict("index")
        counts = _counts(own)
        for submission, metric in own[["submission", "metric"]].drop_duplicates().itertuples(index=False, name=None):
            mean, interval = means[submission, metric], ends[submission, metric]
            rows.append(
                {
                    **({"task": task} if scores["task"].nunique() > 1 else {}),
                    "submission": submission,
                    "metric": metric,
                    "mean": float(mean["mean"]),
                    "low": float(interval["low"]),
                    "high": float(interval["high"]),
                    "interval": interval["note"] or interval["method"],
                    "n": int(mean["n"]),
                    **{status: counts.get((submission, metric, status), 0) for status in shown},
                }
            )
    return rows


def _counts(scores: pd.DataFrame) -> dict[tuple[str, str, str], int]:
    """Return how many scores of a submission and metric have a status, without the reason behind its colon."""
    bare = {status: str(status).partition(":")[0] for status in scores["status"].unique()}
    sizes = scores.groupby(["submission", "metric", scores["status"].map(bare)], sort=False, observed=True).size()
    return dict(zip(sizes.index.to_list(), sizes.to_list(), strict=True))


def _intervals(challenge: Challenge, task: str, settled: Settled, observations: pd.DataFrame | None) -> pd.DataFrame:
    """Return the interval of the mean of every submission and metric of a task."""
    pool = None if observations is None else of(challenge.tasks[task]).pool(challenge, task, observations)
    units = units_of(settled.array, choose(list(settled.array.groups), challenge.groups), pool, task)
    cells = None if pool is None else PooledCells(settled.raw, pool, task)
    return overall(settled, units, cells, task=task)


def print_summary(rows: list[dict[str, Any]], title: str) -> None:
    """Print rows of :func:`summary_rows`: the mean with its interval in one column, and why some have none."""
    hidden = ("low", "high", "interval")
    shown = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in hidden}
        shown.append({**kept, "mean": console.estimate(row["mean"], row["low"], row["high"])})
    console.print_table(
        list(shown[0]), [list(row.values()) for row in shown], title=f"{title} (mean with 95 % interval)"
    )
    bare = {str(row["interval"]) for row in rows if math.isnan(row["low"]) and not math.isnan(row["mean"])}
    if bare:
        console.out.print(f"without an interval: {'; '.join(sorted(bare))}", markup=False)


def structure_rows(challenge: Challenge, scores: pd.DataFrame, task: str) -> list[dict[str, Any]]:
    """Return a row per submission and structure with the mean of every metric, as it counts for a ranking."""
    own = settle_task(scores, challenge, task, ranked=False)
    means = own.averages("submission", "structure", "metric").to_dict("index")
    metrics = list(challenge.tasks[task].metrics)
    keys = dict.fromkeys(
        (str(one), str(other)) for one, other in scores[["submission", "structure"]].itertuples(index=False)
    )
    rows = []
    for submission, structure in keys:
        cells = {name: means.get((submission, structure, name)) for name in metrics}
        rows.append(
            {
                "submission": submission,
                "structure": structure,
                "n": max((int(cell["n"]) for cell in cells.values() if cell is not None), default=0),
                **{name: None if cell is None else float(cell["mean"]) for name, cell in cells.items()},
            }
        )
    return rows
