"""The verb ``rank``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console
from medpodium.scoring.scheduling.options import Where, elsewhere, scheduler_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from medpodium.challenges.campaign.standing import Standing
    from medpodium.challenges.schema.definition import Group
    from medpodium.challenges.schema.steps import Adjustment, Ties
    from medpodium.findings import Finding
    from medpodium.scoring.evidence.tables.collect import Evidence, Options, TaskPlan
    from medpodium.scoring.evidence.units import Scheme
    from medpodium.scoring.ranking.challenger import Method, NaTreatment
    from medpodium.scoring.scheduling.scheduler import Scheduler

_METHODS = (
    "mean-then-rank",
    "median-then-rank",
    "quantile05-then-rank",
    "rank-then-mean",
    "rank-then-median",
    "test-then-rank",
)
_ACCEPT = "Rank scores that were computed by other rules than the challenge's."
_CLUSTER = "Group whose levels are the independent units (patient by default), or none: every case is one."
_ADJUST = ("none", "holm", "hochberg", "hommel", "bonferroni", "BH", "BY")


@dataclass(frozen=True)
class Chosen:
    """What of a challenge is ranked.

    Parameters
    ----------
    recipe : str, optional
        Instead of the declared one.
    task : str, optional
        Only this one.
    accept_other_rules : bool
        Whether scores of another definition are taken.
    with_pending : bool
        Whether teams of a campaign are ranked whose runs are not complete.
    subset, macro : str, optional
        Cut of the cases, and group whose levels weigh the same.
    """

    recipe: str | None
    task: str | None
    accept_other_rules: bool
    with_pending: bool
    subset: str | None
    macro: str | None


@dataclass(frozen=True)
class LongTable:
    """How a table of challengeR is ranked; see :func:`medpodium.scoring.ranking.challenger.rank_long`."""

    method: Method
    ties: Ties
    adjust: Adjustment
    smaller_better: bool
    na: NaTreatment | None


@dataclass(frozen=True)
class Drawing:
    """How and where resamples are drawn.

    Parameters
    ----------
    bootstrap, seed, workers : int
        Number of resamples, seed, and threads.
    stratify, cluster : str, optional
        Groups of cases; ``none`` as cluster takes every case as independent.
    compat : {"challenger"}, optional
        Whose bootstrap.
    scheduler, slurm
        Where to draw them instead of here.
    """

    bootstrap: int
    seed: int
    workers: int
    stratify: str | None
    cluster: str | None
    compat: str | None
    scheduler: str | None
    slurm: Path | None

    def options(self, scheme: Scheme, scheduler: Scheduler | None) -> Options:
        """Return the same as the evidence takes it."""
        from medpodium.scoring.evidence.tables.collect import Options

        return Options(
            n_resamples=self.bootstrap,
            seed=self.seed,
            workers=self.workers,
            compat=self.compat == "challenger",
            scheme=scheme,
            scheduler=scheduler,
        )

    def about(self) -> dict[str, object]:
        """Return what a reader of the evidence has to know."""
        return {name: getattr(self, name) for name in ("bootstrap", "seed", "compat")}

    def scheme(self, frame: pd.DataFrame, observed: pd.DataFrame | None, groups: Mapping[str, Group]) -> Scheme:
        """Return how the cases of some scores are arranged."""
        from medpodium.scoring import observations, table
        from medpodium.scoring.evidence.units import choose

        columns = table.group_columns(frame) + ([] if observed is None else observations.group_columns(observed))
        compat = self.compat == "challenger"
        return choose(columns, groups, stratify=self.stratify, cluster=self.cluster, compat=compat)


@dataclass(frozen=True)
class Told:
    """Where results go: leaderboard, folder of evidence, and whether to print JSON."""

    out: Path | None
    evidence: Path | None
    as_json: bool


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
@click.option(
    "--subset", metavar="GROUP=LEVEL,...", help="Rank by some cases only: 'modality=CT, department=oncology'."
)
@click.option("--macro", metavar="GROUP", help="Let every level of a group weigh the same, instead of every case.")
@click.option("--stratify", metavar="GROUP", help="Draw from every level of a group as many cases as it has.")
@click.option("--cluster", metavar="GROUP", help=_CLUSTER)
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
@click.option("--accept-other-rules", is_flag=True, help=_ACCEPT)
@click.option("--with-pending", is_flag=True, help="Rank teams of a campaign whose runs are not complete, too.")
@scheduler_options
@console.json_option
@console.guarded
@console.gathered(Chosen, "chosen")
@console.gathered(LongTable, "long")
@console.gathered(Drawing, "drawing")
@console.gathered(Told, "told")
def rank(
    challenge: str | None,
    scores: Path | None,
    challenger: Path | None,
    chosen: Chosen,
    long: LongTable,
    drawing: Drawing,
    told: Told,
) -> None:
    """Rank submissions by the challenge's recipe, and write what backs the ranking.

    SCORES is the long table that 'medpodium score' writes. With --challenger, a table of one metric is ranked by
    one of challengeR's methods and needs no challenge file.
    """
    if challenger is not None:
        if challenge is not None:
            raise click.UsageError("--challenger takes its own file: leave CHALLENGE and SCORES out.")
        _rank_challenger(challenger, long, drawing, told)
        return
    standing = None
    if challenge is not None and scores is None:
        challenge, scores, standing = _of_campaign(challenge)
    if challenge is None or scores is None:
        raise click.UsageError("Give CHALLENGE and SCORES, or --challenger FILE.")
    _rank_challenge(challenge, scores, chosen, drawing, told, standing)


def _of_campaign(folder: str) -> tuple[str, Path | None, Standing | None]:
    """Return the frozen definition, the scores and the standing of a campaign; anything else as it is."""
    from medpodium.challenges.campaign import folder as campaign
    from medpodium.challenges.campaign.standing import standing

    if not campaign.is_campaign(Path(folder)):
        return folder, None, None
    with campaign.opened(folder) as opened:
        return opened.challenge_reference, opened.scores_path, standing(opened)


def _rank_challenge(
    reference: str, path: Path, chosen: Chosen, drawing: Drawing, told: Told, standing: Standing | None
) -> None:
    from medpodium.challenges import registry
    from medpodium.challenges.schema.kinds import KINDS
    from medpodium.findings import Finding, MedpodiumError
    from medpodium.scoring import definitions, observations, table
    from medpodium.scoring.evidence.joint import with_overall
    from medpodium.scoring.evidence.tables import kept
    from medpodium.scoring.evidence.tables.collect import Evidence
    from medpodium.scoring.evidence.tables.plan import macro, plan_task, unsuitable
    from medpodium.scoring.kinds.subset import cut, parse
    from medpodium.scoring.ranking.axes import RankingCode, near

    challenge = registry.load(reference)
    frame, observed = table.read_scores(path), observations.read_beside(path)
    unfinished = standing.findings(str(path.parent), ranked=chosen.with_pending) if standing is not None else []
    if standing is not None:
        frame = standing.counting(frame, pending=chosen.with_pending)
        observed = standing.counting(observed, pending=chosen.with_pending) if observed is not None else None
    if not told.as_json:
        console.print_first(unfinished)
    known = definitions.read_beside(path)
    findings = definitions.check(challenge, frame, known, accept=chosen.accept_other_rules)
    findings[:0] = unfinished
    findings += unsuitable(challenge, frame)
    read, whole = (challenge, frame), chosen.subset is chosen.macro is chosen.task is drawing.compat is None
    if chosen.subset is not None:
        frame, observed = cut(challenge, frame, observed, parse(chosen.subset))
    challenge, frame = with_overall(challenge, frame)
    present = set(frame["task"].unique())
    tasks = [task for task in challenge.ranking if task in present and chosen.task in (None, task)]
    if not tasks:
        fix = near(chosen.task or "", challenge.ranking)
        problem = Finding(RankingCode.UNKNOWN_TASK, str(path), "no scores of a ranked task", fix)
        raise MedpodiumError(*unfinished, problem)
    evidence = Evidence(findings=findings)
    plans = [plan_task(challenge, task, chosen.recipe, observed) for task in tasks]
    if chosen.macro is not None:
        plans = [macro(plan, chosen.macro) for plan in plans]
    scheme = drawing.scheme(frame, observed, challenge.groups)
    before = len(evidence.findings)
    _collect(evidence, frame, plans, drawing, scheme, full=told.evidence is not None)
    if not evidence.rankings:
        raise MedpodiumError(*evidence.findings)
    if told.evidence is not None and whole and len(evidence.rankings) == len(plans):
        key = kept.digest(*read, observed, chosen.recipe, tasks, drawing.options(scheme, None))
        kept.keep(evidence, evidence.findings[before:], told.evidence, key)
    about = {"challenge": challenge.name, "edition": challenge.edition, "definition": challenge.digest}
    _finish(
        evidence, about, drawing, told, {name: KINDS[task.kind].words.team for name, task in challenge.tasks.items()}
    )


def _collect(
    evidence: Evidence, frame: pd.DataFrame, plans: list[TaskPlan], drawing: Drawing, scheme: Scheme, full: bool
) -> None:
    from medpodium.findings import MedpodiumError
    from medpodium.scoring.evidence.tables.collect import collect_consensus, collect_task

    with console.progress() as bar, elsewhere(Where(drawing.scheduler, drawing.slurm)) as place:
        chosen = drawing.options(scheme, place)
        total = len(plans) * chosen.n_resamples
        handle = bar.add_task("resampling", total=total or None)
        for plan in plans:
            try:
                collect_task(evidence, frame, plan, chosen, full=full, advance=lambda done: bar.advance(handle, done))
            except MedpodiumError as error:  # one task that cannot be ranked does not stop the others
                evidence.findings += error.findings
    if full:
        collect_consensus(evidence)


def _finish(
    evidence: Evidence, challenge: dict[str, str], drawing: Drawing, told: Told, entrants: Mapping[str, str]
) -> None:
    from medpodium.challenges.campaign.folder import CampaignCode
    from medpodium.scoring.evidence.tables.files import to_csv, write_evidence

    board = evidence.frame("leaderboard.csv")
    files: list[Path] = []
    about: dict[str, object] = {**challenge}
    if told.out is not None:
        _write(told.out, to_csv(board))
        files.append(told.out)
    if told.evidence is not None:
        about |= drawing.about() | {"units": {task: units.about() for task, units in evidence.units.items()}}
        files += write_evidence(evidence, told.evidence, about)
    if told.as_json:
        rows = board.to_dict("records")
        console.print_json({**about, "leaderboard": rows, "files": files, "findings": evidence.findings})
    else:
        _print(board, entrants)
        console.print_findings(one for one in evidence.findings if one.code is not CampaignCode.EXCLUDED)
    console.finish(evidence.findings)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _print(board: pd.DataFrame, entrants: Mapping[str, str]) -> None:
    """Print the rankings; who is ranked has the name that the task's kind, or the first task's, has for it."""
    usual = next(iter(entrants.values()), "submission")
    columns = ["rank", "submission", "value", "letters", "rank_low", "rank_high", "set_low", "set_high", "guarantee"]
    ends = board[["value", "value_low", "value_high"]].astype(float)
    bare = board[ends["value_low"].isna() & ends["value"].notna()]
    board = board.assign(value=[console.estimate(*row) for row in ends.to_numpy().tolist()])
    for task, rows in board.groupby("task", sort=False):
        own = [name for name in columns if not rows[name].isna().all()]
        values = rows[own].astype(object).values.tolist()
        recipe = rows["recipe"].iloc[0]
        shown = [entrants.get(str(task), usual) if name == "submission" else name for name in own]
        console.print_table(shown, values, title=f"{task} ({recipe}; {rows['better'].iloc[0]} value is better)")
        notes = [str(note) for note in bare.loc[bare["task"] == task, "value_note"].unique() if note]
        if notes:
            console.out.print(f"values without an interval: {'; '.join(notes)}", markup=False)


def _rank_challenger(path: Path, long: LongTable, drawing: Drawing, told: Told) -> None:
    from medpodium.scoring.evidence.tables.collect import Evidence
    from medpodium.scoring.evidence.tables.files import to_csv, write_evidence
    from medpodium.scoring.evidence.tables.plan import plan_long
    from medpodium.scoring.exchange.challenger_table import read_long, score_table
    from medpodium.scoring.ranking.challenger import long_table, rank_long

    frame = read_long(path)
    chosen = vars(long)
    results = rank_long(frame, **chosen)
    findings: list[Finding] = [finding for item in results.values() for finding in item.ranking.findings]
    ranking = long_table(results)
    files = []
    if told.out is not None:
        _write(told.out, to_csv(ranking))
        files.append(told.out)
    if told.evidence is not None:
        evidence = Evidence()
        plans = [plan_long(task, **chosen) for task in results]
        scores = score_table(frame)
        _collect(evidence, scores, plans, drawing, drawing.scheme(scores, None, {}), full=True)
        about = {**chosen, "bootstrap": drawing.bootstrap, "seed": drawing.seed, "compat": drawing.compat}
        files += write_evidence(evidence, told.evidence, about)
        findings = list(dict.fromkeys([*findings, *evidence.findings]))
    if told.as_json:
        console.print_json({"ranking": ranking.to_dict("records"), "files": files, "findings": findings})
    else:
        for task, rows in ranking.groupby("task", sort=False):
            columns = ["rank", "algorithm", "value"]
            console.print_table(columns, rows[columns].astype(object).values.tolist(), title=str(task))
        console.print_findings(findings)
    console.finish(findings)
