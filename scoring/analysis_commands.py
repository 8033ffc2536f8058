"""The verb ``analyse``: subgroups, pairwise tests, sizes of editions, agreement of raters and transfer suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.findings import Finding
    from medpodium.scoring.evidence.units import Units
    from medpodium.scoring.ranking.settled import Settled

_ANALYSES = {
    "subgroups": ("scoring.analysis_commands:subgroups_verb", "Scores by sex, age, site: gaps and small groups."),
    "pairs": ("scoring.analysis_commands:pairs", "Who is better than whom: Wilcoxon tests with Holm's correction."),
    "plan": ("scoring.planning_commands:plan", "How many cases the next edition needs to tell teams apart."),
    "raters": ("scoring.analysis_commands:raters", "How far raters agree: kappa, ICC, alpha, with intervals."),
    "suite": ("scoring.analysis_commands:suite", "From scratch against fine-tuned, over many data sets."),
}
OUT = click.option("--out", type=click.Path(path_type=Path), help="Folder to write the full tables to (CSV).")

_CLUSTER = click.option(
    "--cluster",
    metavar="GROUP",
    help="Group whose levels are the independent units (patient by default), or none: every case is one.",
)
_RULES = click.option("--challenge", help="Challenge whose rules say what a missing score counts.")


@click.group(cls=console.LazyGroup, verbs=_ANALYSES)
def analyse(**_: object) -> None:
    """Look into a score table beyond its ranking."""


def finish(
    tables: dict[str, pd.DataFrame],
    shown: dict[str, pd.DataFrame],
    findings: list[Finding],
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the tables, print those that are shown, and end with what was found."""
    files = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, frame in tables.items():
            files.append(out / f"{name}.csv")
            frame.to_csv(files[-1], index=False, lineterminator="\n")
    if as_json:
        rows = {name: frame.to_dict("records") for name, frame in tables.items()}
        console.print_json({**rows, "files": files, "findings": findings})
    else:
        for name, frame in shown.items():
            console.print_table(
                [str(column) for column in frame.columns], frame.to_numpy(dtype=object).tolist(), title=name
            )
        console.print_findings(findings)
        for file in files:
            console.out.print(f"wrote {file}", markup=False)
    console.finish(findings)


def _read(path: Path, task: str | None) -> pd.DataFrame:
    from medpodium.scoring import table

    scores = table.read_scores(path)
    tasks = sorted(scores["task"].unique())
    if task is None and len(tasks) > 1:
        raise click.UsageError(f"The table has several tasks; add --task: {', '.join(tasks)}")
    if task is not None and task not in tasks:
        raise click.UsageError(f"No task {task!r}; the table has {', '.join(tasks)}")
    return scores if task is None else scores[scores["task"] == task]


def _settled(scores: pd.DataFrame, challenge: str | None) -> tuple[Settled | None, list[Finding]]:
    """Return the scores as they count by a challenge's rules; without rules, a note where that makes a difference."""
    from medpodium.challenges import registry
    from medpodium.findings import Finding, Severity
    from medpodium.scoring.ranking.axes import RankingCode, near
    from medpodium.scoring.ranking.settled import settle_task

    task = str(scores["task"].iloc[0])
    if challenge is not None:
        loaded = registry.load(challenge)
        if task not in loaded.tasks:
            hint = near(task, loaded.tasks)
            raise click.BadParameter(f"{loaded.reference} has no task {task!r}; {hint}", param_hint="--challenge")
        return settle_task(scores, loaded, task), []
    cells = scores.groupby(["metric", "structure", "case"])["value"].count()
    if (cells.isin((0, scores["submission"].nunique()))).all():
        return None, []
    text = "some scores are missing; without the challenge's rules they are left out"
    fix = "add --challenge, so that they count as in its ranking"
    return None, [Finding(RankingCode.MISSING_VALUES, task, text, fix, Severity.NOTE)]


def _units(
    scores: pd.DataFrame, metric: str, settled: Settled | None, challenge: str | None, cluster: str | None
) -> tuple[Units, list[Finding]]:
    """Return the independent units of the cases, and what is to be said of them."""
    from medpodium.challenges import registry
    from medpodium.scoring import table
    from medpodium.scoring.evidence.units import choose, task_units
    from medpodium.scoring.ranking.settled import settle_as_given

    groups = registry.load(challenge).groups if challenge is not None else {}
    scheme = choose(table.group_columns(scores), groups, cluster=cluster)
    return task_units((settled or settle_as_given(scores, metric)).array, scheme, task=str(scores["task"].iloc[0]))


@click.command(
    "subgroups", epilog="Example: medpodium analyse subgroups scores.csv --metric dice --group sex --group institute"
)
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--metric", required=True, help="Which metric.")
@click.option("--group", "groups", multiple=True, required=True, help="Group column; repeatable.")
@click.option(
    "--minimum-size", default=5, show_default=True, type=click.IntRange(1), help="Smaller groups are not tested."
)
@click.option("--task", help="Task, where the table has several.")
@_CLUSTER
@_RULES
@OUT
@console.json_option
@console.guarded
def subgroups_verb(
    scores: Path,
    metric: str,
    groups: tuple[str, ...],
    minimum_size: int,
    task: str | None,
    cluster: str | None,
    challenge: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Summarise a metric by groups of cases; groups that are too small are named, not dropped."""
    from medpodium.scoring.evidence import subgroups

    frame = _read(scores, task)
    known, notes = _settled(frame, challenge)
    missing = metric not in set(frame["metric"])  # which the analysis says
    units, told = (None, []) if missing else _units(frame, metric, known, challenge, cluster)
    found = subgroups.analyse(frame, metric, groups, minimum_size, settled=known, units=units)
    targets = set(found.summary["target"])
    main = subgroups.CASE_MEAN if subgroups.CASE_MEAN in targets else sorted(targets)[0]
    shown = found.summary[found.summary["target"] == main]
    tables = {"subgroups": found.summary, "tests": found.tests}
    finish(tables, {f"{metric}, {main}".strip(", "): shown}, [*notes, *told, *found.findings], out, as_json)


@click.command(epilog="Example: medpodium analyse pairs scores.csv --metric dice --out tests")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--metric", required=True, help="Which metric.")
@click.option("--smaller-better", is_flag=True, help="Small values are good (a distance).")
@click.option("--task", help="Task, where the table has several.")
@_CLUSTER
@_RULES
@OUT
@console.json_option
@console.guarded
def pairs(
    scores: Path,
    metric: str,
    smaller_better: bool,
    task: str | None,
    cluster: str | None,
    challenge: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Test every ordered pair of submissions, paired by case name: one-sided Wilcoxon, adjusted by Holm."""
    from medpodium.scoring.exchange import pairing

    frame = _read(scores, task)
    if metric not in set(frame["metric"]):
        raise click.UsageError(f"No metric {metric!r}; the table has {', '.join(sorted(set(frame['metric'])))}")
    known, notes = _settled(frame, challenge)
    units, told = _units(frame, metric, known, challenge, cluster)
    found = pairing.superiority(frame, metric, higher_better=not smaller_better, settled=known, units=units)
    wins = found[found["p_holm"] < 0.05].groupby(["target", "better"]).size().unstack("target").fillna(0).astype(int)
    wins = wins.reindex(sorted(set(found["better"]))).fillna(0).astype(int)
    shown = wins.rename_axis("significantly better than").reset_index()
    finish(
        {"pairs": found}, {f"{metric}: number of submissions beaten (Holm, 5 %)": shown}, [*notes, *told], out, as_json
    )


@click.command(epilog="Example: medpodium analyse suite scores.csv --pair nnunet=large_ft --out gains")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--pair", "twins", multiple=True, metavar="SCRATCH=TUNED", help="Pairs; by default X and X_ft.")
@click.option("--quantiles", default=3, show_default=True, type=click.IntRange(2), help="Bins of the training size.")
@OUT
@console.json_option
@console.guarded
def suite(scores: Path, twins: tuple[str, ...], quantiles: int, out: Path | None, as_json: bool) -> None:
    """Compare models over data sets: means, ranks, wins of fine-tuning, gains by modality, target and size."""
    from medpodium.scoring.evidence import transfer

    frame = _read(scores, None)
    chosen = dict(twin.split("=", 1) for twin in twins if "=" in twin)
    if len(chosen) < len(twins):
        raise click.BadParameter("write SCRATCH=TUNED, each model once", param_hint="--pair")
    unknown = sorted({*chosen, *chosen.values()} - set(frame["submission"]))
    if unknown:
        known = ", ".join(sorted(set(frame["submission"])))
        raise click.BadParameter(f"no model {unknown[0]!r}; the table has {known}", param_hint="--pair")
    found = transfer.analyse(frame, pairs=chosen or None, quantiles=quantiles)
    tables = {"models": found.models, "pairs": found.pairs, "gains": found.gains}
    finish(tables, tables, list(found.findings), out, as_json)


@click.command(
    epilog="Example: medpodium analyse raters ratings.csv --out agreement. "
    "Columns: item, rater, value, or item and one per rater."
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--order", metavar="LEVELS", help="Levels from first to last where they are words: bad,fair,good.")
@click.option("--cluster", metavar="COLUMN", help="Draw whole levels of a column (patient) instead of items.")
@click.option("--bootstrap", default=1000, show_default=True, type=click.IntRange(0), help="Resamples; 0 for none.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same numbers.")
@OUT
@console.json_option
@console.guarded
def raters(
    table: Path, order: str | None, cluster: str | None, bootstrap: int, seed: int, out: Path | None, as_json: bool
) -> None:
    """Tell how far raters agree: weighted kappa, ICC and Krippendorff's alpha, with intervals.

    TABLE has one rating a row (item, rater, value, perhaps round), or a column per rater beside item. With rounds, the
    raters of every round are compared, and the rounds of every rater.
    """
    from medpodium.scoring.evidence.agreement.agree import agreement
    from medpodium.scoring.evidence.agreement.ratings import read_ratings

    levels = [name.strip() for name in (order or "").split(",") if name.strip()]
    tables, notes = read_ratings(table, order=levels, cluster=cluster)
    found, findings = agreement(tables, n_resamples=bootstrap, seed=seed)
    shown = found.drop(columns="n_units").round(3).astype(object).where(found.notna(), "")
    title = f"Agreement of {', '.join(own.what for own in tables)}"
    finish({"agreement": found}, {title: shown}, [*notes, *findings], out, as_json)
