"""The verb ``import nnunet``."""

from __future__ import annotations

from pathlib import Path

import click

from medpodium import console


@click.command(
    "nnunet",
    epilog="Example: medpodium import nnunet fold_0/validation/summary.json --submission nnunet "
    "--challenge flare-pancancer/2023 --out scores.csv",
)
@click.argument("summary", type=click.Path(path_type=Path))
@click.option("--submission", required=True, help="Name of the submission the results belong to.")
@click.option("--challenge", help="Challenge whose structures the labels are; nnU-Net's own label keys without it.")
@click.option("--task", help="Task, where the challenge has several.")
@click.option("--label", "labels", multiple=True, metavar="KEY=STRUCTURE", help="Structure of a renumbered label.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Score table: .csv or .parquet.")
@console.json_option
@console.guarded
def read_nnunet(
    summary: Path,
    submission: str,
    challenge: str | None,
    task: str | None,
    labels: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Read the summary.json of nnU-Net's evaluation: Dice and IoU per case and structure."""
    from medpodium.challenges import registry
    from medpodium.scoring import table
    from medpodium.scoring.exchange import nnunet_results

    loaded = registry.load(challenge) if challenge is not None else None
    names = {}
    for label in labels:
        key, equals, structure = label.partition("=")
        if not equals:
            raise click.BadParameter(f"{label!r} is not KEY=STRUCTURE", param_hint="--label")
        names[key] = structure
    scores, findings = nnunet_results.read_summary(summary, submission, challenge=loaded, task=task, labels=names)
    table.write_scores(scores, out)
    if as_json:
        console.print_json({"out": out, "rows": len(scores), "findings": findings})
    else:
        console.print_findings(findings)
        console.out.print(f"{len(scores)} rows in {out}", markup=False)
    console.finish(findings)
