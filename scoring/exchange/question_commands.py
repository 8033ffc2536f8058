"""The verbs ``import vlmevalkit``, ``import lm-eval`` and ``import inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.findings import Finding
    from medpodium.scoring.exchange.questions import Reply

_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for one table per model.")
_ITEM = click.option("--item-column", default="case", show_default=True, help="What the challenge calls the question.")


def _finish(
    models: dict[str, list[Reply]], findings: list[Finding], out: Path, item_column: str, as_json: bool
) -> None:
    from medpodium.scoring.exchange.questions import write_replies

    files = write_replies(models, out, item_column)
    rows = [(model, len(models[model]), files[model]) for model in files]
    if as_json:
        names = ("model", "replies", "file")
        console.print_json({"models": [dict(zip(names, row, strict=True)) for row in rows], "findings": findings})
    else:
        console.print_findings(findings)
        console.print_table(["model", "replies", "file"], [list(row) for row in rows])
    console.finish(findings)


@click.command(epilog="Example: medpodium import vlmevalkit outputs/ --dataset GMAI-MMBench_VAL --out predictions/")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dataset", required=True, help="Name of the data set, as in the names of the files.")
@_ITEM
@_OUT
@console.json_option
@console.guarded
def vlmevalkit(folder: Path, dataset: str, item_column: str, out: Path, as_json: bool) -> None:
    """Read the replies in a result folder of VLMEvalKit (MODEL_DATASET.xlsx or .tsv)."""
    from medpodium.scoring.exchange.questions import read_vlmevalkit

    findings: list[Finding] = []
    _finish(read_vlmevalkit(folder, dataset, findings), findings, out, item_column, as_json)


@click.command("lm-eval", epilog="Example: medpodium import lm-eval results/ --task medqa_4options --out predictions/")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--task", required=True, help="Name of the task, as in the names of the files.")
@click.option("--item-field", help="Field of the document that names the question; its number when left out.")
@_ITEM
@_OUT
@console.json_option
@console.guarded
def lm_eval(folder: Path, task: str, item_field: str | None, item_column: str, out: Path, as_json: bool) -> None:
    """Read the samples that lm-evaluation-harness logs (samples_TASK_*.jsonl)."""
    from medpodium.scoring.exchange.questions import read_lm_eval

    findings: list[Finding] = []
    _finish(read_lm_eval(folder, task, item_field, findings), findings, out, item_column, as_json)


@click.command("inspect", epilog="Example: medpodium import inspect logs/ --task medqa --out predictions/")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--task", required=True, help="Name of the task, as in the logs.")
@_ITEM
@_OUT
@console.json_option
@console.guarded
def inspect_logs(folder: Path, task: str, item_column: str, out: Path, as_json: bool) -> None:
    """Read the samples in logs of inspect (.json or .eval)."""
    from medpodium.scoring.exchange.questions import read_inspect

    findings: list[Finding] = []
    _finish(read_inspect(folder, task, findings), findings, out, item_column, as_json)
