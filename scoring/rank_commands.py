"""The verb ``rank``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.scoring.scheduling.options import Where, elsewhere, scheduler_options

if TYPE_CHECKING:
    from medpodium.challenges.findings import Finding
    from medpodium.scoring.evidence.collect import Evidence, Options, TaskPlan
    from medpodium.scoring.scheduling.scheduler import Scheduler

_METHODS = (
    "mean-then-rank",
    "median-then-rank",
    "quantile05-then-rank",
    "rank-then-mean",
    "rank-then-median",
    "test-then-rank",
)
_ADJUST = ("none", "holm", "hochberg", "hommel", "bonferroni", "BH", "BY")


@click.command(
    epilog="Example: medpodium rank flare-pancancer/2023 scores.csv --out leaderboard.csv --evidence evidence/. "
    "Without a challenge file: medpodium rank --challenger results.csv --method rank-then-mean --out ranking.csv"
)
@click.argument("challenge", required=False)
@click.argument("scores", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Leaderboard to write (CSV).")
@click.option("--evidence", type=click.Path(path_type=Path), help="Folder for all tables behind the ranking.")
@click.option("--bootstrap", default=1000, show_default=True, type=click.IntRange(0), help="Resamples; 0 for none.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same bytes.")
@click.option("--recipe", help="Rank by this recipe of the challenge instead of the declared one.")
@click.option("--task", help="Rank only this task.")
@click.option("--stratify", metavar="GROUP", help="Draw from every level of a group as many cases as it has.")
@click.option("--cluster", metavar="GROUP", help="Draw whole levels of a group (patient, centre) instead of cases.")
@click.option("--compat", type=click.Choice(["challenger"]), help="Bootstrap as challengeR does, defects included.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Threads.")
@click.option("--challenger", type=click.Path(path_type=Path), help="challengeR's CSV: task, case, algorithm, value.")
@click.option(
    "--method", default="mean-then-rank", show_default=True, type=click.Choice(_METHODS), help="challengeR's."
)
@click.option("--adjust", default="none", show_default=True, type=click.Choice(_ADJUST), help="For test-then-rank.")
@click.option("--ties", default="min", show_default=True, type=click.Choice(["min", "average"]), help="Shared ranks.")
@click.option("--smaller-better", is_flag=True, help="Small values are good (a distance).")
@click.option("--na", type=click.Choice(["worst", "0", "rm"]), help="Missing values: last, replaced by 0, removed.")
@scheduler_options
@console.json_option
@console.guarded
def rank(challenge: str | None, scores: Path | None, as_json: bool, **options: Any) -> None:
    """Rank submissions by the challenge's recipe, and write what backs the ranking.

    SCORES is the long table that 'medpodium score' writes. With --challenger, a table of one metric is ranked by
    one of challengeR's methods and needs no challenge file.
    """
    if options["challenger"] is not None:
        if challenge is not None:
            raise click.UsageError("--challenger takes its own file: leave CHALLENGE and SCORES out.")
        _rank_challenger(as_json, options)
        return
    if challenge is not None and scores is None:
        challenge, scores = _of_campaign(challenge)
    if challenge is None or scores is None:
        raise click.UsageError("Give CHALLENGE and SCORES, or --challenger FILE.")
    _rank_challenge(challenge, scores, as_json, options)


def _of_campaign(folder: str) -> tuple[str, Path | None]:
    """Return the frozen definition and the scores of a campaign folder; anything else is given back as it is."""
    from medpodium.challenges.campaign import folder as campaign

    if not campaign.is_campaign(Path(folder)):
        return folder, None
    with campaign.opened(folder) as opened:
        return opened.challenge_reference, opened.scores_path


def _options(options: dict[str, Any], scheduler: Scheduler | None) -> Options:
    from medpodium.scoring.evidence.bootstrap import Scheme
    from medpodium.scoring.evidence.collect import Options

    return Options(
        n_resamples=options["bootstrap"],
        seed=options["seed"],
        workers=options["workers"],
        compat=options["compat"] == "challenger",
        scheme=Scheme(options["stratify"], options["cluster"]),
        scheduler=scheduler,
    )


def _rank_challenge(reference: str, path: Path, as_json: bool, options: dict[str, Any]) -> None:
    from medpodium.challenges import registry
    from medpodium.challenges.findings import Finding, MedpodiumError
    from medpodium.scoring import observations, table
    from medpodium.scoring.evidence.collect import Evidence
    from medpodium.scoring.evidence.plan import plan_task, unsuitable
    from medpodium.scoring.ranking.axes import RankingCode, near

    challenge = registry.load(reference)
    frame = table.read_scores(path)
    findings = unsuitable(challenge, frame)
    present = set(frame["task"])
    tasks = [task for task in challenge.ranking if task in present and options["task"] in (None, task)]
    if not tasks:
        fix = near(options["task"] or "", challenge.ranking)
        raise MedpodiumError(Finding(RankingCode.UNKNOWN_TASK, str(path), "no scores of a ranked task", fix))
    evidence = Evidence(findings=findings)
    observed = observations.read_beside(path)
    plans = [plan_task(challenge, task, options["recipe"], observed) for task in tasks]
    _collect(evidence, frame, plans, options)
    if not evidence.rankings:
        raise MedpodiumError(*evidence.findings)
    about = {"challenge": challenge.name, "edition": challenge.edition, "definition": challenge.digest}
    _finish(evidence, about, as_json, options)


def _collect(evidence: Evidence, frame: Any, plans: list[TaskPlan], options: dict[str, Any]) -> None:
    from medpodium.challenges.findings import MedpodiumError
    from medpodium.scoring.evidence.collect import collect_consensus, collect_task

    full = options["evidence"] is not None
    with console.progress() as bar, elsewhere(Where(options["scheduler"], options["slurm"])) as place:
        chosen = _options(options, place)
        total = len(plans) * chosen.n_resamples
        handle = bar.add_task("resampling", total=total or None)
        for plan in plans:
            try:
                collect_task(evidence, frame, plan, chosen, full=full, advance=lambda done: bar.advance(handle, done))
            except MedpodiumError as error:  # one task that cannot be ranked does not stop the others
                evidence.findings += error.findings
    if full:
        collect_consensus(evidence)


def _finish(evidence: Evidence, about: dict[str, Any], as_json: bool, options: dict[str, Any]) -> None:
    from medpodium.scoring.evidence.files import to_csv, write_evidence

    board = evidence.frame("leaderboard.csv")
    files: list[Path] = []
    if options["out"] is not None:
        _write(options["out"], to_csv(board))
        files.append(options["out"])
    if options["evidence"] is not None:
        about = {**about, **{name: options[name] for name in ("bootstrap", "seed", "stratify", "cluster", "compat")}}
        files += write_evidence(evidence, options["evidence"], about)
    if as_json:
        rows = board.to_dict("records")
        console.print_json({**about, "leaderboard": rows, "files": files, "findings": evidence.findings})
    else:
        _print(board)
        console.print_findings(evidence.findings)
    console.finish(evidence.findings)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _print(board: Any) -> None:
    columns = ["rank", "submission", "value", "group", "rank_low", "rank_high", "set_low", "set_high"]
    for task, rows in board.groupby("task", sort=False):
        own = [name for name in columns if not rows[name].isna().all()]
        values = rows[own].astype(object).values.tolist()
        recipe = rows["recipe"].iloc[0]
        console.print_table(own, values, title=f"{task} ({recipe}; {rows['better'].iloc[0]} value is better)")


def _rank_challenger(as_json: bool, options: dict[str, Any]) -> None:
    from medpodium.scoring.evidence.collect import Evidence
    from medpodium.scoring.evidence.files import to_csv, write_evidence
    from medpodium.scoring.evidence.plan import plan_long
    from medpodium.scoring.exchange.challenger_table import read_long, score_table
    from medpodium.scoring.ranking.challenger import long_table, rank_long

    frame = read_long(options["challenger"])
    chosen = {name: options[name] for name in ("method", "ties", "adjust", "smaller_better", "na")}
    results = rank_long(frame, **chosen)
    findings: list[Finding] = [finding for item in results.values() for finding in item.ranking.findings]
    ranking = long_table(results)
    files = []
    if options["out"] is not None:
        _write(options["out"], to_csv(ranking))
        files.append(options["out"])
    if options["evidence"] is not None:
        evidence = Evidence()
        plans = [plan_long(task, **chosen) for task in results]
        _collect(evidence, score_table(frame), plans, options)
        about = {name: options[name] for name in (*chosen, "bootstrap", "seed", "compat")}
        files += write_evidence(evidence, options["evidence"], about)
        findings = list(dict.fromkeys([*findings, *evidence.findings]))
    if as_json:
        console.print_json({"ranking": ranking.to_dict("records"), "files": files, "findings": findings})
    else:
        for task, rows in ranking.groupby("task", sort=False):
            columns = ["rank", "algorithm", "value"]
            console.print_table(columns, rows[columns].astype(object).values.tolist(), title=str(task))
        console.print_findings(findings)
    console.finish(findings)
