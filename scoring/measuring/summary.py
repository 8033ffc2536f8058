"""What a score table says in a few lines: means per submission and metric, and per structure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring.ranking.settled import settle_task


def summary_rows(challenge: Challenge, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Count, per submission and metric, what was computed, penalised, missing, failed and skipped.

    The mean is that of the scores as they count for the ranking, over all cases and structures.
    """
    rows = []
    for task, own in scores.groupby("task", sort=False):
        means = settle_task(own, challenge, str(task), ranked=False).averages("submission", "metric").to_dict("index")
        for (submission, metric), part in own.groupby(["submission", "metric"], sort=False):
            counts = part["status"].str.partition(":")[0].value_counts()
            mean = means[str(submission), str(metric)]
            rows.append(
                {
                    **({"task": task} if scores["task"].nunique() > 1 else {}),
                    "submission": submission,
                    "metric": metric,
                    "mean": float(mean["mean"]),
                    "n": int(mean["n"]),
                    **{name: int(counts.get(name, 0)) for name in ("ok", "empty-reference", "penalised")},
                    **{name: int(counts.get(name, 0)) for name in ("missing", "failed", "skipped")},
                    **(
                        {"unlabelled": int(counts.get("unlabelled", 0))}
                        if "unlabelled" in scores["status"].to_numpy()
                        else {}
                    ),
                }
            )
    return rows


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
