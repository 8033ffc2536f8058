"""The verb ``measure``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.scoring.measuring.files import Scored
    from medpodium.scoring.measuring.request import Request


@dataclass(frozen=True)
class Asked:
    """What is measured, as the options name it."""

    metrics: str
    structures: str | None
    labels: Path | None
    tolerance: float


@dataclass(frozen=True)
class Told:
    """Where the results go: score table, challenge file, and whether to print JSON."""

    out: Path | None
    save_challenge: Path | None
    as_json: bool


@click.command(
    epilog="Example: medpodium measure liver.nii.gz prediction.nii.gz. Two teams: medpodium measure references/ "
    "--predictions aurora=out/aurora --predictions borealis=out/borealis --out scores.csv --save-challenge mine.yaml"
)
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("prediction", type=click.Path(path_type=Path), required=False)
@click.option("--predictions", multiple=True, metavar="TEAM=DIR", help="Folder of one team; repeat per team.")
@click.option(
    "--metrics", default="dice,nsd,hd95,assd", show_default=True, help="Kinds of metrics (docs/metrics.md), or hdN."
)
@click.option(
    "--structures",
    metavar="NAME=LABEL,...",
    help="liver=1,kidneys=2+3, or totalsegmentator:liver,spleen; every label found when left out.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="nnU-Net's dataset.json, which names the labels.")
@click.option("--tolerance", default=2.0, show_default=True, type=float, help="Tolerance of nsd in mm.")
@click.option("--out", type=click.Path(path_type=Path), help="Score table to write: .csv or .parquet.")
@click.option("--save-challenge", type=click.Path(path_type=Path), help="Challenge file to write that says the same.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default what cores and memory allow.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
@console.gathered(Told, "told")
def measure(
    reference: Path,
    prediction: Path | None,
    predictions: tuple[str, ...],
    workers: int | None,
    asked: Asked,
    told: Told,
) -> None:
    """Compare masks without a challenge file: two files, or folders whose files have the same names.

    A structure that only one of both masks holds gets the worst value: 0, or the image's diagonal for a distance.
    --out writes a score table for 'rank' and 'report', which take it together with what --save-challenge writes.
    """
    from medpodium.scoring import definitions
    from medpodium.scoring.measuring.files import measure_files, measure_folders

    teams = _teams(reference, prediction, predictions)
    request, named = _request(asked)
    if prediction is not None and not reference.is_dir():
        scored = measure_files(reference, prediction, request, named)
    else:
        with console.progress() as bar:
            line = bar.add_task("reading and scoring", total=None)
            scored = measure_folders(
                reference,
                teams,
                request,
                named,
                workers=workers,
                progress=lambda done, total: bar.update(line, completed=done, total=total),
            )
    if told.out is not None:
        definitions.write(scored.challenge, scored.scores, None, told.out)
    if told.save_challenge is not None:
        _write(scored.facts, told.save_challenge)
    _tell(scored, told)
    console.finish(scored.findings)


def _teams(reference: Path, prediction: Path | None, predictions: tuple[str, ...]) -> dict[str, Path]:
    from medpodium.scoring.measuring.codes import MeasureCode, refuse
    from medpodium.scoring.measuring.files import ONE

    if (prediction is None) == (not predictions):
        raise click.UsageError("Give PREDICTION, or --predictions TEAM=DIR for every team.")
    teams = {ONE: prediction} if prediction is not None else console.named_folders(predictions, "--predictions")
    if reference.is_dir() or predictions:
        for path in (reference, *teams.values()):
            if not path.is_dir():
                fix = "give folders on both sides, or two files"
                raise refuse(MeasureCode.LAYOUT, str(path), "is no folder", fix)
    elif prediction is not None and prediction.is_dir():
        cause = f"is a folder, and {reference} is not"
        raise refuse(MeasureCode.LAYOUT, str(prediction), cause, "give folders on both sides, or two files")
    return teams


def _request(asked: Asked) -> tuple[Request, Any]:
    from medpodium.scoring.measuring.files import Named, names_from, parse_structures
    from medpodium.scoring.measuring.request import Request

    if asked.structures is not None and asked.labels is not None:
        raise click.UsageError("--structures and --labels exclude each other.")
    metrics = tuple(name.strip() for name in asked.metrics.split(",") if name.strip())
    named = Named()
    if asked.labels is not None:
        named = names_from(asked.labels)
    elif asked.structures is not None:
        named = Named(parse_structures(asked.structures))
    return Request(metrics, tolerance_mm=asked.tolerance), named


def _write(facts: dict[str, Any], path: Path) -> None:
    from ruamel.yaml import YAML

    writer = YAML()
    writer.default_flow_style = None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        writer.dump(facts, file)


def _tell(scored: Scored, told: Told) -> None:
    from medpodium.scoring.measuring.request import TASK
    from medpodium.scoring.measuring.result import definitions as said
    from medpodium.scoring.measuring.summary import print_summary, structure_rows, summary_rows

    metrics: Any = scored.challenge.tasks[TASK].metrics
    structures = structure_rows(scored.challenge, scored.scores, TASK)
    summary = summary_rows(scored.challenge, scored.scores)
    if told.as_json:
        console.print_json(
            {
                "structures": structures,
                "summary": summary,
                "scores": scored.scores.to_dict("records"),
                "definitions": {name: spec.own_parameters() for name, spec in metrics.items()},
                "out": told.out,
                "challenge": told.save_challenge,
                "findings": scored.findings,
            }
        )
        return
    console.print_findings(scored.findings)
    several = scored.scores["case"].nunique() > 1
    title = "Mean over cases" if several else str(scored.scores["case"].iloc[0])
    hidden = () if several else ("n",)
    hidden = (*hidden, *(() if scored.scores["submission"].nunique() > 1 else ("submission",)))
    columns = [name for name in structures[0] if name not in hidden]
    heading = [metrics[name].with_unit(name) if name in metrics else name for name in columns]
    console.print_table(heading, [[row[name] for name in columns] for row in structures], title=title)
    print_summary(summary, "Summary")
    for line in said(metrics):
        console.out.print(line, markup=False)
    if told.out is not None:
        console.out.print(f"{len(scored.scores)} scores written to {told.out}", markup=False)
    if told.save_challenge is not None:
        console.out.print(f"challenge written to {told.save_challenge}", markup=False)
