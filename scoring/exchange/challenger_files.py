"""Export scores as challengeR's long CSV, one file per metric, with the R lines that read them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring import table
from medpodium.scoring.exchange.files import new_folder

ABOUT = "medpodium.json"


def export(scores: pd.DataFrame, challenge: Challenge, out: Path) -> list[Path]:
    """Write ``METRIC.csv`` (columns task, case, algorithm, value) and ``read.R``.

    challengeR has neither structures nor statuses: a structure becomes a task, and a score without value is blank.
    ``medpodium.json`` keeps what is needed to tell the two apart on import.

    Parameters
    ----------
    scores : pandas.DataFrame
        Score table.
    challenge : Challenge
        Says which direction is better.
    out : Path
        A folder that is absent or empty.
    """
    new_folder(out)
    metrics = list(dict.fromkeys(scores["metric"]))
    lower = {name: spec.better == "lower" for task in challenge.tasks.values() for name, spec in task.metrics.items()}
    for metric in metrics:
        frame = table.to_challenger(scores, metric)
        frame.to_csv(out / f"{metric}.csv", index=False, lineterminator="\n", encoding="utf-8")
    lines = [f"# {challenge.title}: scores for challengeR. A blank value is a missing score.", "library(challengeR)"]
    for index, name in enumerate(metrics, start=1):
        lines += _read_lines(index, name, lower.get(name, False))
    (out / "read.R").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    about = {
        "challenge": challenge.name,
        "edition": challenge.edition,
        "tasks": list(dict.fromkeys(scores["task"])),
        "metrics": metrics,
        "whole_case_metrics": list(dict.fromkeys(scores.loc[scores["structure"] == "", "metric"])),
    }
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8", newline="\n")
    return sorted(out.iterdir())


def _read_lines(index: int, metric: str, lower: bool) -> list[str]:
    """Return the R lines that read one metric's file and declare its direction."""
    columns = 'by = "task", algorithm = "algorithm", case = "case", value = "value"'
    return [
        f'scores_{index} <- read.csv("{metric}.csv", na.strings = "", colClasses = c(value = "numeric"))',
        f"challenge_{index} <- as.challenge(scores_{index}, {columns}, smallBetter = {'TRUE' if lower else 'FALSE'})",
    ]
