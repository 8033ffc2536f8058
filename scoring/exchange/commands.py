"""The verb ``import``: turn what others publish into score tables, and foreign data sets into challenge files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.findings import Finding

_PLATFORMS = "scoring.exchange.platforms.commands"
_LAYOUTS = {
    "grand-challenge": (f"{_PLATFORMS}:grand_challenge", "predictions.json with outputs, or a scorer's metrics.json."),
    "codabench": (f"{_PLATFORMS}:codabench", "The output of a Codabench scoring program."),
    "challenger": (f"{_PLATFORMS}:challenger", "challengeR's long CSV, one file per metric."),
    "brats": (f"{_PLATFORMS}:brats", "BraTS-like folders of predictions."),
    "bids": (f"{_PLATFORMS}:bids", "BIDS derivatives with *_dseg files."),
    "touchstone": ("scoring.exchange.commands:touchstone", "A folder of models, each with dsc.csv and nsd.csv."),
    "suite": ("scoring.exchange.commands:suite", "A table of results per data set (STU-Net transfer suite)."),
    "leaderboard": ("scoring.exchange.commands:leaderboard", "A published table with one row per team."),
    "biometry": ("scoring.exchange.commands:biometry", "Tables of lengths in mm (FeTA 2024)."),
    "vlmevalkit": ("scoring.exchange.question_commands:vlmevalkit", "Replies in VLMEvalKit's result folder."),
    "lm-eval": ("scoring.exchange.question_commands:lm_eval", "Samples that lm-evaluation-harness logs."),
    "inspect": ("scoring.exchange.question_commands:inspect_logs", "Logs of inspect."),
    "nnunet": ("scoring.exchange.nnunet_commands:read_nnunet", "The summary.json of nnU-Net's evaluation."),
    "dataset": ("scoring.exchange.commands:dataset", "An nnU-Net data set, as a challenge file of your own."),
}
_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Score table: .csv or .parquet.")


@click.group("import", cls=console.LazyGroup, verbs=_LAYOUTS)
def import_scores(**_: object) -> None:
    """Read scores and data sets in the layouts others publish them in."""


def _finish(scores: pd.DataFrame, findings: list[Finding], out: Path, as_json: bool) -> None:
    from medpodium.scoring import table

    table.write_scores(scores, out)
    counts = {
        "rows": len(scores),
        "submissions": int(scores["submission"].nunique()),
        "cases": int(scores["case"].nunique()),
        "without value": int(scores["value"].isna().sum()),
    }
    if as_json:
        console.print_json({"out": out, **counts, "findings": findings})
    else:
        console.print_findings(findings)
        console.print_table(list(counts), [list(counts.values())])
        console.out.print(f"wrote {out}", markup=False)
    console.finish(findings)


@click.command(
    epilog="Example: medpodium import touchstone totalsegmentator_results --metadata metaTotalSeg.csv --out scores.csv"
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--metadata", type=click.Path(path_type=Path), help="Table of the cases, for groups such as sex and age.")
@click.option("--test-set", default="totalsegmentator", show_default=True, help="Which test set the folder holds.")
@_OUT
@console.json_option
@console.guarded
def touchstone(folder: Path, metadata: Path | None, test_set: str, out: Path, as_json: bool) -> None:
    """Read Touchstone's per-case tables, paired by case name.

    Duplicates, control characters in names, different row sets and different gaps are findings.
    """
    from medpodium.scoring.exchange import importers

    scores, findings = importers.read_touchstone(folder, metadata=metadata, test_set=test_set)
    _finish(scores, findings, out, as_json)


@click.command(epilog="Example: medpodium import suite results.csv --out scores.csv")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dataset-column", default="Dataset", show_default=True, help="Column that names the data sets.")
@click.option(
    "--model", "models", multiple=True, metavar="COLUMN=NAME", help="Columns to read; by default all that start dice_."
)
@_OUT
@console.json_option
@console.guarded
def suite(path: Path, dataset_column: str, models: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Read a table with one row per data set and one column of Dice (0 to 1) per model."""
    from medpodium.scoring.exchange.suite import read_suite

    columns = _pairs(models, "--model")
    scores, findings = read_suite(path, models=columns or None, dataset_column=dataset_column)
    _finish(scores, findings, out, as_json)


def _pairs(items: tuple[str, ...], option: str) -> dict[str, str]:
    """Return options written as ``COLUMN=NAME``."""
    found = {}
    for item in items:
        column, equals, name = item.partition("=")
        if not equals or not column.strip() or not name.strip():
            raise click.BadParameter(f"{item!r} is not COLUMN=NAME", param_hint=option)
        found[column.strip()] = name.strip()
    return found


@dataclass(frozen=True)
class Board:
    """How a published table is read.

    Parameters
    ----------
    challenge, task : str
        What the table belongs to.
    team_column : str
        Column of the submissions.
    metrics, groups, where : tuple of str
        ``COLUMN=METRIC``, ``COLUMN=GROUP`` and ``COLUMN=VALUE``.
    percent : bool
        Whether all fractions are in per cent.
    percent_metrics : tuple of str
        Metrics in per cent, where not all are.
    append : bool
        Whether to add to the score table that is there.
    source : str, optional
        Where the table was published.
    rank_column : str, optional
        Column of the published ranks.
    """

    challenge: str
    task: str
    team_column: str
    metrics: tuple[str, ...]
    groups: tuple[str, ...]
    where: tuple[str, ...]
    percent: bool
    percent_metrics: tuple[str, ...]
    append: bool
    source: str | None
    rank_column: str | None


@click.command(
    epilog="Example: medpodium import leaderboard board.csv --challenge liqa/2025 --task lifs-contrast "
    "--metric auc=auc_s4 --group domain=domain --where setting=Contrast --percent --out scores.csv"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--challenge", required=True, help="Challenge the table belongs to.")
@click.option("--task", required=True, help="Task of the challenge.")
@click.option("--team-column", default="team", show_default=True, help="Column that names the submissions.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="COLUMN=METRIC",
    help="Columns to read; by default those that are named as metrics of the task.",
)  # fmt: skip
@click.option("--group", "groups", multiple=True, metavar="COLUMN=GROUP", help="Column of a group of cases (domain).")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Read only rows with this value.")
@click.option("--percent", is_flag=True, help="All fractions are in per cent (values in mm or s stay as they are).")
@click.option("--percent-metric", "percent_metrics", multiple=True, help="Only this metric is in per cent; repeatable.")
@click.option("--source", help="Where the table was published, as reports say it; the file's name when left out.")
@click.option(
    "--rank-column", help="Column of the published ranks; found by itself when it is called final_rank, rank or place."
)
@click.option("--append", is_flag=True, help="Add to the score table at --out, for a challenge of several tasks.")
@_OUT
@console.json_option
@console.guarded
@console.gathered(Board, "board")
def leaderboard(path: Path, out: Path, as_json: bool, board: Board) -> None:
    """Read a published table with one row per team (and group of cases), values over whole test sets."""
    import pandas as pd

    from medpodium.challenges import registry
    from medpodium.scoring import table
    from medpodium.scoring.exchange import leaderboards

    scores, findings = leaderboards.read_leaderboard(
        path,
        registry.load(board.challenge),
        board.task,
        metrics=_pairs(board.metrics, "--metric"),
        team_column=board.team_column,
        groups=_pairs(board.groups, "--group"),
        where=_pairs(board.where, "--where"),
        scale=0.01 if board.percent else 1.0,
        percent=board.percent_metrics,
        source=board.source,
        rank_column=board.rank_column,
    )
    if board.append and out.exists():
        scores = table.normalise(pd.concat([table.read_scores(out), scores], ignore_index=True), str(out))
    _finish(scores, findings, out, as_json)


@click.command(
    epilog="Example: medpodium import biometry --reference truth.csv --predictions aurora=out/ --out scores.csv"
)
@click.option("--reference", required=True, type=click.Path(path_type=Path), help="Table of the reference lengths.")
@click.option(
    "--predictions", multiple=True, required=True, metavar="TEAM=PATH", help="Table, or folder of *_biom.csv."
)
@_OUT
@console.json_option
@console.guarded
def biometry(reference: Path, predictions: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Read FeTA's biometry tables and write absolute percentage errors."""
    from medpodium.scoring.exchange import importers

    scores, findings = importers.read_biometry(console.named_folders(predictions, "--predictions"), reference)
    _finish(scores, findings, out, as_json)


@click.command(epilog="Example: medpodium import dataset Dataset501_Mine --out mine.yaml --cases fold0.csv")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Challenge file to write (YAML).")
@click.option(
    "--cases", type=click.Path(path_type=Path), help="Also write the cases of fold 0 (CSV, for score --cases)."
)
@console.json_option
@console.guarded
def dataset(folder: Path, out: Path, cases: Path | None, as_json: bool) -> None:
    """Describe a data set in nnU-Net's raw layout as a challenge, scored as the transfer suite scores.

    Its label maps are read and checked as references are: what is wrong with them is listed (exit code 1).
    """
    from ruamel.yaml import YAML

    from medpodium.challenges import registry
    from medpodium.scoring.exchange.suite import own_dataset
    from medpodium.scoring.kinds.references import check_references

    challenge, fold = own_dataset(folder)
    writer = YAML()
    writer.default_flow_style = None
    with out.open("w", encoding="utf-8", newline="\n") as file:
        writer.dump(challenge, file)
    if cases is not None:
        cases.write_text("\n".join(["case", *fold]) + "\n", encoding="utf-8", newline="\n")
    with console.progress() as bar:
        line = bar.add_task("checking label maps", total=None)
        findings = check_references(
            registry.load(out),
            "segmentation",
            folder / "labelsTr",
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    if as_json:
        structures = list(challenge["tasks"]["segmentation"]["structures"])
        console.print_json({"out": out, "structures": structures, "fold0": fold, "findings": findings})
    else:
        console.print_findings(findings)
        console.out.print(f"wrote {out}: {len(fold)} cases in fold 0", markup=False)
    console.finish(findings)
