"""Read what other platforms and tools write about scores, and grand-challenge's predictions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding, UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange import challenger_files as long_form
from medpodium.scoring.exchange import challenger_table
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.platforms import folders
from medpodium.scoring.exchange.platforms import grand_challenge as jobs_of
from medpodium.scoring.exchange.platforms.payload import LEADERBOARD, SCORE_TABLE
from medpodium.scoring.exchange.platforms.unpack import inner_folder, unpack


def _refuse(path: Path, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(PlatformCode.RESULTS, str(path), cause, fix))


def _json(path: Path, fix: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refuse(path, str(error).split("\n")[0], fix) from None


def grand_challenge(folder: Path, task: SegmentationTask, cases: Sequence[str] | None = None) -> folders.Imported:
    """Find the predictions of every case in a folder with ``predictions.json``."""
    if cases is None:
        jobs = _json(folder / "predictions.json", "give the folder that holds predictions.json")
        entries = jobs if isinstance(jobs, list) else []
        names = [name for job in entries if isinstance(job, dict) for name in jobs_of.image_names(job)]
        cases = sorted({jobs_of.bare_case(name, task) for name in names})
    found = jobs_of.read_jobs(folder, cases, task)
    return folders.Imported(dict(found.files), list(found.findings))


def codabench(path: Path, submission: str | None = None) -> pd.DataFrame:
    """Read the output folder or zip of a Codabench scoring program.

    Returns
    -------
    pandas.DataFrame
        Every score, from ``score_table.csv``; else one row per leaderboard column, from ``scores.json``, with an empty
        case.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory() as name:
            unpack(path, Path(name))
            return codabench(inner_folder(Path(name)), submission)
    folder = path if path.is_dir() else path.parent
    if (folder / SCORE_TABLE).is_file():
        scores = table.read_scores(folder / SCORE_TABLE)
        return scores if submission is None else scores.assign(submission=submission)
    file = folder / LEADERBOARD
    found = _json(file, "give a scoring output with scores.json")
    if not isinstance(found, dict) or not found:
        raise _refuse(file, "holds no scores", "give a scoring output with a flat scores.json")
    rows = []
    for key, value in found.items():
        metric, _, structure = str(key).partition("__")
        rows.append(
            {
                "submission": submission or "submission",
                "case": "",
                "structure": structure,
                "metric": metric,
                "value": value,
            }
        )
    return table.normalise(pd.DataFrame(rows), str(file))


def challenger(paths: Sequence[Path], metric: str | None = None) -> pd.DataFrame:
    """Read challengeR's long CSV, one file per metric; a folder of an export keeps names and order.

    Raises
    ------
    UsageError
        If a file cannot be read, or ``metric`` is given for several.
    """
    about: dict[str, Any] = {}
    files = list(paths)
    if len(files) == 1 and files[0].is_dir():
        note = files[0] / long_form.ABOUT
        about = _json(note, "give the CSV files themselves") if note.is_file() else {}
        listed = [files[0] / f"{name}.csv" for name in about.get("metrics", [])]
        files = listed or sorted(file for file in files[0].glob("*.csv") if not is_hidden(file.name))
    if metric is not None and len(files) != 1:
        raise _refuse(paths[0], "--metric names one metric, and there are several files", "leave it out")
    if not files:
        raise _refuse(paths[0], "no CSV file in the folder", "give challengeR's long CSV files")
    parts = []
    for file in files:
        scores = table.from_challenger(challenger_table.read_long(file), metric or file.stem, str(file))
        parts.append(_split_tasks(scores, about))
    return table.normalise(table.concatenate(parts), str(paths[0]))


def _split_tasks(scores: pd.DataFrame, about: dict[str, Any]) -> pd.DataFrame:
    """Undo what the export did to tasks and structures, where the export says what they were."""
    tasks = [str(name) for name in about.get("tasks", [])]
    if not tasks:
        return scores
    names, structures = pd.Series(tasks[0], index=scores.index), scores["structure"]
    if len(tasks) > 1:
        names, _, structures = (scores["structure"].str.partition("/")[part] for part in range(3))
    elif set(scores["metric"]) <= set(about.get("whole_case_metrics", [])):
        structures = structures.where(structures != tasks[0], "")
    identity = {name: str(about.get(name, "")) for name in ("challenge", "edition")}
    return scores.assign(task=names, structure=structures, **identity)
