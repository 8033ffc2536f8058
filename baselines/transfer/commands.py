"""The verb ``baseline transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medpodium import console
from medpodium.baselines.options import TransferOptions
from medpodium.baselines.progress import JobBar

_PATH = click.Path(path_type=Path)


@click.command(epilog="Example: medpodium baseline transfer suite.yaml --out results --dry-run")
@click.argument("suite", type=_PATH)
@click.option("--out", type=_PATH, help="Folder for results.csv, scores.csv and the comparison.")
@click.option(
    "--workspace", type=_PATH, help="nnU-Net's three folders; nnU-Net's own variables or ./nnunet by default."
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu", "mps"]), default="auto", show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the trainings and an estimate of GPU hours, and stop.")
@click.option("--status", is_flag=True, help="Print what is done, running, begun, stale or open, and stop.")
@click.option("--teraflops", type=click.FloatRange(0, min_open=True), default=40.0, show_default=True,
              help="Throughput that the estimate assumes, in 10^12 operations per second.")  # fmt: skip
@click.option("--retrain", is_flag=True,
              help="Set trainings with other settings or data aside (moved, not deleted) and train anew.")  # fmt: skip
@click.option("--full-check", is_flag=True, help="Unpack every image to find damage inside it, not only a cut-off end.")
@console.json_option
@console.guarded
@console.gathered(TransferOptions)
def transfer(suite: Path, as_json: bool, options: TransferOptions) -> None:
    """Train every data set of SUITE (a YAML file) from scratch and fine-tuned, and compare the pairs.

    Run the same command again after a stop: finished trainings are kept, others go on from their checkpoint. One
    that was trained with other settings, cases or weights is refused by name.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.nnunet.workspace import Workspace
    from medpodium.baselines.transfer import definition
    from medpodium.baselines.transfer import suite as transfers

    extras.require_nnunet()
    loaded = definition.read_suite(suite)
    if options.dry_run:
        _dry_run(loaded, options.teraflops, Workspace.at(options.workspace), as_json)
        return
    if options.status:
        _status(loaded, Workspace.at(options.workspace), as_json)
        return
    if options.out is None:
        raise click.UsageError("Missing option '--out'.")
    with console.progress() as bar:
        line = bar.add_task("trainings", total=None)

        def show(run: definition.Run, index: int, total: int) -> None:
            bar.update(line, description=f"{run.dataset.title} {run.model}", completed=index - 1, total=total)

        outcomes = transfers.execute(
            loaded,
            Workspace.at(options.workspace),
            device=options.device,
            retrain=options.retrain,
            full=options.full_check,
            on_run=show,
            on_event=JobBar(bar),
        )
    _finish(loaded, outcomes, options.out, as_json)


def _dry_run(suite: Any, teraflops: float, workspace: Any, as_json: bool) -> None:
    from medpodium.baselines.transfer import definition, estimate

    rows: list[dict[str, Any]] = [
        {
            "data set": run.dataset.title,
            "trainer": run.trainer,
            "epochs": suite.epochs or estimate.EPOCHS,
            "GPU hours": round(estimate.estimate_hours(run, suite, teraflops=teraflops, workspace=workspace), 1),
        }
        for run in definition.runs(suite)
    ]
    total = sum(float(row["GPU hours"]) for row in rows)
    if as_json:
        console.print_json({"runs": rows, "gpu_hours": total, "assumed_teraflops": teraflops})
        return
    console.print_table(list(rows[0]), [list(row.values()) for row in rows])
    console.out.print(
        f"{len(rows)} trainings, about {total:.0f} GPU hours at an assumed {teraflops:g} TFLOP/s, "
        "without data loading and validation"
    )


def _status(suite: Any, workspace: Any, as_json: bool) -> None:
    from collections import Counter

    from medpodium.baselines.transfer.status import standings

    found = standings(suite, workspace)
    rows = [
        {"data set": one.run.dataset.title, "model": one.run.model, "state": one.state, "told": one.told}
        for one in found
    ]
    counts = Counter(one.state for one in found)
    if as_json:
        console.print_json({"runs": rows, "counts": dict(counts)})
        return
    console.print_table(list(rows[0]), [list(row.values()) for row in rows])
    console.out.print(", ".join(f"{count} {state}" for state, count in counts.items()))


def _finish(suite: Any, outcomes: list[Any], out: Path, as_json: bool) -> None:
    from medpodium.baselines.failures import BaselineCode, problem
    from medpodium.baselines.transfer import suite as transfers
    from medpodium.findings import MedpodiumError
    from medpodium.scoring import table
    from medpodium.scoring.evidence.transfer import analyse
    from medpodium.scoring.exchange.suite import read_suite

    out.mkdir(parents=True, exist_ok=True)
    transfers.write_results(suite, outcomes, out / "results.csv")
    findings = [
        problem(BaselineCode.RUN_FAILED, f"{item.run.dataset.title}, {item.run.model}", item.failure, "see the log")
        for item in outcomes
        if item.failure
    ]
    if findings and all(item.dice is None for item in outcomes):
        raise MedpodiumError(*findings)  # nothing to compare
    scores, found = read_suite(out / "results.csv")
    table.write_scores(scores, out / "scores.csv")
    result = analyse(scores)
    result.models.to_csv(out / "models.csv", index=False)
    result.pairs.to_csv(out / "pairs.csv", index=False)
    result.gains.to_csv(out / "gains.csv", index=False)
    findings += [*found, *result.findings]
    if as_json:
        console.print_json(
            {
                "out": out,
                "models": result.models.to_dict("records"),
                "pairs": result.pairs.to_dict("records"),
                "findings": findings,
            }
        )
    else:
        console.print_findings(findings)
        console.print_table(list(result.models.columns), result.models.itertuples(index=False))
        if len(result.pairs):
            console.print_table(list(result.pairs.columns), result.pairs.itertuples(index=False))
        console.out.print(f"Next: medpodium rank stunet-transfer {out / 'scores.csv'}")
    console.finish(findings)
