"""Layouts of the verb ``import`` that other platforms and tools write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import SegmentationTask
    from medpodium.findings import Finding
    from medpodium.scoring.exchange.platforms.folders import Imported

_PATH = click.Path(path_type=Path)
_TABLE = click.option("--out", required=True, type=_PATH, help="Score table: .csv or .parquet.")
_FOLDER = click.option("--out", required=True, type=_PATH, help="Folder of predictions to write.")
_NAME = click.option("--submission", help="Name of the submission; the one in the files when left out.")


def _task(challenge: str, name: str | None) -> SegmentationTask:
    from medpodium.challenges import registry
    from medpodium.scoring.kinds.lookup import pick_task
    from medpodium.scoring.kinds.segmentation.tasks import task_of

    loaded = registry.load(challenge)
    return task_of(loaded, pick_task(loaded, name))


def _tell_table(scores: pd.DataFrame, out: Path, as_json: bool) -> None:
    from medpodium.scoring import table

    table.write_scores(scores, out)
    counts = {"rows": len(scores), "submissions": int(scores["submission"].nunique())}
    if as_json:
        console.print_json({"out": out, **counts, "findings": []})
    else:
        console.out.print(f"wrote {out}: {counts['rows']} scores", markup=False)


def _tell_folder(found: Imported, task: SegmentationTask, out: Path, as_json: bool, extra: Any = None) -> None:
    from medpodium.scoring.exchange.platforms import folders

    written = folders.write(found, task, out)
    findings: list[Finding] = found.findings
    if as_json:
        console.print_json({"out": out, "cases": written, "findings": findings, **(extra or {})})
    else:
        console.print_findings(findings)
        console.out.print(f"wrote {len(written)} predictions to {out}", markup=False)
    console.finish(findings)


@click.command(
    "grand-challenge",
    epilog="Example: medpodium import grand-challenge downloads/ --challenge feta/2022 --out predictions/",
)
@click.argument("path", type=_PATH)
@click.option("--challenge", help="Rules that name the cases; needed for a folder with predictions.json.")
@click.option("--task", help="Task, where the challenge has several.")
@click.option("--cases", type=_PATH, help="CSV whose column 'case' names the cases; else every image is one.")
@_NAME
@click.option("--out", required=True, type=_PATH, help="Folder of predictions, or score table for a metrics.json.")
@console.json_option
@console.guarded
def grand_challenge(
    path: Path,
    challenge: str | None,
    task: str | None,
    cases: Path | None,
    submission: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Read grand-challenge's predictions.json with the jobs' outputs, or the metrics.json of an exported scorer."""
    from medpodium.scoring import groups
    from medpodium.scoring.exchange.platforms import foreign, payload

    if path.is_file() and path.name != "predictions.json":
        _tell_table(payload.read_payload(path, submission), out, as_json)
        return
    if challenge is None:
        raise click.UsageError("Missing option '--challenge'.")
    rules = _task(challenge, task)
    names = list(groups.read_cases(cases)["case"]) if cases is not None else None
    _tell_folder(foreign.grand_challenge(path if path.is_dir() else path.parent, rules, names), rules, out, as_json)


@click.command(epilog="Example: medpodium import codabench scoring_output.zip --submission aurora --out scores.csv")
@click.argument("path", type=_PATH)
@_NAME
@_TABLE
@console.json_option
@console.guarded
def codabench(path: Path, submission: str | None, out: Path, as_json: bool) -> None:
    """Read the output of a Codabench scoring program: every score where ours wrote it, else the leaderboard's means."""
    from medpodium.scoring.exchange.platforms import foreign

    _tell_table(foreign.codabench(path, submission), out, as_json)


@click.command(epilog="Example: medpodium import challenger dice.csv nsd.csv --out scores.csv")
@click.argument("paths", type=_PATH, nargs=-1, required=True)
@click.option("--metric", help="Name of the metric, for a single file; its file name when left out.")
@_TABLE
@console.json_option
@console.guarded
def challenger(paths: tuple[Path, ...], metric: str | None, out: Path, as_json: bool) -> None:
    """Read challengeR's long CSV, one file per metric, or a folder that 'medpodium export challenger' wrote."""
    from medpodium.scoring.exchange.platforms import foreign

    _tell_table(foreign.challenger(paths, metric), out, as_json)


@click.command(epilog="Example: medpodium import brats out/ --challenge mine.yaml --out predictions/aurora")
@click.argument("folder", type=_PATH)
@click.option("--challenge", required=True, help="Rules that name the files.")
@click.option("--task", help="Task, where the challenge has several.")
@_FOLDER
@console.json_option
@console.guarded
def brats(folder: Path, challenge: str, task: str | None, out: Path, as_json: bool) -> None:
    """Read BraTS-like predictions: CASE.nii.gz, or CASE/CASE-seg.nii.gz."""
    from medpodium.scoring.exchange.platforms import folders

    _tell_folder(folders.brats(folder), _task(challenge, task), out, as_json)


@click.command(
    epilog="Example: medpodium import bids derivatives/aurora --challenge mine.yaml --out predictions/aurora"
)
@click.argument("folder", type=_PATH)
@click.option("--challenge", required=True, help="Rules that name the structures and files.")
@click.option("--task", help="Task, where the challenge has several.")
@click.option("--cases-out", type=_PATH, help="Also write the cases and their groups (CSV, for score --cases).")
@_FOLDER
@console.json_option
@console.guarded
def bids(folder: Path, challenge: str, task: str | None, cases_out: Path | None, out: Path, as_json: bool) -> None:
    """Read BIDS derivatives: *_dseg.nii.gz, labels mapped by name through *_dseg.tsv, groups from participants.tsv."""
    from medpodium.scoring.exchange.platforms import folders

    rules = _task(challenge, task)
    found = folders.bids(folder, rules)
    if cases_out is not None:
        folders.write_cases(found, cases_out)
    _tell_folder(found, rules, out, as_json, {"cases_out": cases_out})
