"""The verb ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.scoring.scheduling.options import open_scheduler, scheduler_options

if TYPE_CHECKING:
    from medpodium.challenges.schema.definition import Challenge
    from medpodium.scoring.kinds.segmentation.engine import Result


@click.command(
    epilog="Example: medpodium score flare-pancancer/2023 --references hidden/ --predictions aurora=out/aurora "
    "--predictions borealis=out/borealis --out scores.csv"
)
@click.argument("challenge", metavar="CHALLENGE|CAMPAIGN")
@click.option("--references", type=click.Path(path_type=Path), help="Folder of references (or a CSV of classes).")
@click.option(
    "--predictions", multiple=True, metavar="TEAM=PATH", help="One submission's predictions; repeat per team."
)
@click.option("--out", type=click.Path(path_type=Path), help="Score table to write: .csv or .parquet.")
@click.option("--task", help="Task to score, where the challenge has several.")
@click.option("--variant", help="Scoring variant, for instance as-published.")
@click.option("--cases", type=click.Path(path_type=Path), help="CSV with a column 'case' and one per group.")
@click.option("--resources", type=click.Path(path_type=Path), help="CSV of measured values: running time, memory.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default what cores and memory allow.")
@click.option("--audit", is_flag=True, help="Score again with the reference libraries and print the differences.")
@scheduler_options
@console.json_option
@console.guarded
def score(challenge: str, predictions: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Score predictions against references and write the long score table.

    A missing or unusable prediction is a row with the declared penalty, never a smaller mean. CAMPAIGN is a folder
    made by 'medpodium init'; it knows its references and predictions.
    """
    from medpodium.scoring import observations, table

    loaded, result, out = _run(challenge, console.named_folders(predictions, "--predictions"), options)
    table.write_scores(result.scores, out)
    observations.write_beside(result.observations, out)
    audit: list[dict[str, Any]] = []
    if options["audit"]:
        from medpodium.scoring.kinds.segmentation.audit import audit_segmentation

        audit = audit_segmentation(loaded, result.scores, options["references"], console.named_folders(predictions, ""))
    if as_json:
        payload = {"out": out, "summary": _summary(result), "findings": result.findings, "audit": audit}
        console.print_json(payload)
    else:
        _print(result, out, audit)
    console.finish(result.all_findings())


def _run(challenge: str, predictions: dict[str, Path], options: dict[str, Any]) -> tuple[Challenge, Result, Path]:
    from medpodium.challenges import registry
    from medpodium.challenges.schema.definition import ClassificationTask
    from medpodium.scoring import groups
    from medpodium.scoring.kinds.segmentation import engine

    if (Path(challenge) / "campaign.yaml").exists() or (Path(challenge) / "ledger.sqlite").exists():
        from medpodium.scoring.campaign import score_campaign

        with open_scheduler(options) as place:
            return score_campaign(Path(challenge), {**options, "place": place})
    loaded = registry.load(challenge, variant=options["variant"])
    task = engine.pick_task(loaded, options["task"])
    for name in ("references", "out"):
        if options[name] is None:
            raise click.UsageError(f"Missing option '--{name}'.")
    if (options["references"] / "dataset.json").is_file():
        from medpodium.scoring.exchange.nnunet_results import references_of

        options["references"] = references_of(options["references"])
    cases = None if options["cases"] is None else groups.read_cases(options["cases"])
    if isinstance(loaded.tasks[task], ClassificationTask):
        from medpodium.scoring.kinds.classification.score import score_classification

        return (
            loaded,
            score_classification(loaded, task, options["references"], predictions, cases=cases),
            options["out"],
        )
    resources = None if options["resources"] is None else groups.read_resources(options["resources"])
    with console.progress() as bar, open_scheduler(options) as place:
        line = bar.add_task("scoring cases", total=None)
        result = engine.score_segmentation(
            loaded,
            task,
            options["references"],
            predictions,
            cases=cases,
            resources=resources,
            scheduler=place,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    return loaded, result, options["out"]


def _summary(result: Result) -> list[dict[str, Any]]:
    """Count, per submission and metric, what was computed, penalised, missing, failed and skipped."""
    scores = result.scores
    kind = scores["status"].str.partition(":")[0]
    rows = []
    for (submission, metric), part in scores.assign(kind=kind).groupby(["submission", "metric"], sort=False):
        counts = part["kind"].value_counts()
        rows.append(
            {
                "submission": submission,
                "metric": metric,
                "mean": part["value"].mean(),
                **{name: int(counts.get(name, 0)) for name in ("ok", "empty-reference", "penalised")},
                **{name: int(counts.get(name, 0)) for name in ("missing", "failed", "skipped")},
            }
        )
    return rows


def _print(result: Result, out: Path, audit: list[dict[str, Any]]) -> None:
    rows = _summary(result)
    console.print_findings(result.all_findings())
    if rows:
        console.print_table(
            list(rows[0]), [list(row.values()) for row in rows], title="Scores per submission and metric"
        )
    if audit:
        console.print_table(
            list(audit[0]), [list(row.values()) for row in audit], title="Audit against other libraries"
        )
    console.out.print(f"{len(result.scores)} scores written to {out}", markup=False)
