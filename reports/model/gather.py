"""Collect what a report needs: rank every scored task and compute the evidence behind its ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, Severity, UsageError
from medpodium.reports.codes import ReportCode
from medpodium.reports.model.results import Drawn, Results, TaskResults
from medpodium.scoring import definitions, published, table
from medpodium.scoring.evidence.joint import with_overall, without_overall
from medpodium.scoring.evidence.tables import blocks as evidence_blocks
from medpodium.scoring.evidence.tables import kept
from medpodium.scoring.evidence.tables.collect import (
    Evidence,
    Options,
    TaskPlan,
    arrange,
    collect_consensus,
    collect_task,
    rank_task,
)
from medpodium.scoring.evidence.tables.columns import TABLES
from medpodium.scoring.evidence.tables.plan import plan_task, unsuitable
from medpodium.scoring.evidence.units import Units, choose
from medpodium.scoring.observations import group_columns
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.settled import Settled


def gather(
    challenge: Challenge,
    scores: pd.DataFrame,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    recipe: str | None = None,
    anonymous: bool = False,
    resources: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    observations: pd.DataFrame | None = None,
    cluster: str | None = None,
    stratify: str | None = None,
    workers: int = 1,
    stored: Path | None = None,
    ranked: Callable[[TaskResults], None] = lambda _: None,
) -> Results:
    """Rank every task that has scores and compute its evidence.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    scores : pandas.DataFrame
        Normalised score table (:mod:`medpodium.scoring.table`).
    bootstrap, seed : int
        Number of resamples (0: none) and seed.
    recipe : str, optional
        Another recipe than the declared one.
    anonymous : bool
        Replace the names of submissions by ``Team 01``, ... in the order of the first task's ranking.
    resources, curves : pandas.DataFrame, optional
        Resource table of a campaign, and its memory curves (``submission, case, seconds, megabytes``).
    observations : pandas.DataFrame, optional
        What pooled metrics were computed from (:mod:`medpodium.scoring.observations`).
    cluster, stratify : str, optional
        Groups of cases (:func:`medpodium.scoring.evidence.units.choose`).
    stored : Path, optional
        Folder that ``medpodium rank --evidence`` wrote: taken where it is of just this, else computed anew.
    ranked : callable
        Told of a task as soon as it is ranked, when there is no evidence yet.

    Returns
    -------
    Results

    Raises
    ------
    MedpodiumError
        If nothing can be ranked; findings say why.
    """
    # whoever asked for the report has decided whether scores of other rules are taken; here they are only told
    findings = [*definitions.check(challenge, scores, accept=True), *unsuitable(challenge, scores)]
    read = challenge, scores
    challenge, scores = with_overall(challenge, scores)
    tasks = ranked_tasks(challenge, scores)
    names: Mapping[str, str] = {}
    if anonymous:
        scores, names = _anonymous(challenge, scores, tasks, recipe)
        resources, curves = _renamed(resources, names), _renamed(curves, names)
        observations = _renamed(observations, names)
    evidence = Evidence(findings=findings)
    columns = table.group_columns(scores) + ([] if observations is None else group_columns(observations))
    scheme = choose(columns, challenge.groups, stratify=stratify, cluster=cluster)
    options = Options(n_resamples=bootstrap, seed=seed, workers=workers, scheme=scheme)
    plans = [plan_task(challenge, task, recipe, observations) for task in tasks]
    found: dict[str, pd.DataFrame] | None = None
    if stored is not None:
        # names of their own are no reason to look: what is stored is of the true ones
        key = "" if anonymous else kept.digest(*read, observations, recipe, tasks, options)
        found = _stored(evidence, scores, plans, options, stored, key)
    if found is None:
        for plan in plans:
            begun = partial(_begun, challenge, scores, plan.task, evidence, options, recipe is None, ranked)
            collect_task(evidence, scores, plan, options, full=True, ranked=begun)
        collect_consensus(evidence)
        found = {name.removesuffix(".csv"): evidence.frame(name) for name in TABLES}
    told = tuple(
        _task(challenge, scores, task, found, evidence.settled[task], evidence.units[task], options, recipe is None)
        for task in tasks
    )
    notable = tuple(finding for finding in evidence.findings if finding.severity is not Severity.NOTE)
    return Results(
        challenge=challenge,
        tasks=told,
        scores=without_overall(challenge, scores),
        bootstrap=bootstrap,
        seed=seed,
        findings=_unique(notable),
        resources=resources,
        curves=curves,
        anonymous=anonymous,
        consensus=found["consensus"],
        evidence=found,
        names=names,
    )


def _stored(
    evidence: Evidence, scores: pd.DataFrame, plans: Sequence[TaskPlan], options: Options, folder: Path, key: str
) -> dict[str, pd.DataFrame] | None:
    """Return the tables of an evidence folder and add what was found; None, and why, where they are of other scores."""
    held = kept.kept(folder, key)
    if held is None:
        cause = "holds no evidence of just these scores, rules, names, settings and version: it is computed anew"
        fix = "rank the same table with the same options and --evidence, or leave --evidence out"
        evidence.findings.append(Finding(RankingCode.EVIDENCE_OTHER, str(folder), cause, fix, Severity.WARNING))
        return None
    tables, findings = held
    arranged = Evidence()
    for plan in plans:
        arrange(arranged, scores, plan, options)
    evidence.settled, evidence.units, evidence.rankings = arranged.settled, arranged.units, arranged.rankings
    evidence.findings += findings
    return {name.removesuffix(".csv"): frame for name, frame in tables.items()}


def ranked_tasks(challenge: Challenge, scores: pd.DataFrame) -> list[str]:
    """Return the tasks that have scores and a ranking, in file order.

    Raises
    ------
    UsageError
        If there is none.
    """
    present = set(scores["task"].unique())
    found = [name for name in challenge.tasks if name in present and name in challenge.ranking]
    if not found:
        listed = ", ".join(sorted(map(str, present)))
        raise UsageError(
            Finding(
                ReportCode.NO_TASK,
                challenge.reference,
                f"no task of the challenge is both scored and ranked; the table has: {listed}",
                f"name the tasks in the score table as the challenge does: {', '.join(challenge.tasks)}",
            )
        )
    return found


def _unique(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))


def _task(
    challenge: Challenge,
    scores: pd.DataFrame,
    task: str,
    found: Mapping[str, pd.DataFrame],
    settled: Settled,
    units: Units,
    options: Options,
    official: bool,
) -> TaskResults:
    own = {
        name: rows[rows["task"] == task].reset_index(drop=True) if "task" in rows.columns else rows
        for name, rows in found.items()
    }
    board = own["leaderboard"]
    # who has no rank at all is told so: the columns stay
    board = board.loc[:, board.notna().any() | board.columns.isin(["rank", "value", "submission", "recipe"])]
    if official:
        board = published.ordered(board, scores[scores["task"] == task])
    resampled = options.n_resamples if len(own["frequencies"]) else 0
    drawn = Drawn(resampled, options.seed, evidence_blocks.ALPHA)
    recipe = str(board["recipe"].iloc[0])
    return TaskResults(task, challenge, scores[scores["task"] == task], board, recipe, own, drawn, settled, units)


def _begun(
    challenge: Challenge,
    scores: pd.DataFrame,
    task: str,
    evidence: Evidence,
    options: Options,
    official: bool,
    ranked: Callable[[TaskResults], None],
) -> None:
    """Tell of a task that is ranked, without its evidence."""
    own, ranking = scores[scores["task"] == task], evidence.rankings[task]
    board = ranking.table()
    if official:
        board = published.ordered(board, own)
    drawn = Drawn(0, options.seed, evidence_blocks.ALPHA)
    settled, units = evidence.settled[task], evidence.units[task]
    ranked(TaskResults(task, challenge, own, board, ranking.recipe, {}, drawn, settled, units))


def _anonymous(
    challenge: Challenge, scores: pd.DataFrame, tasks: list[str], recipe: str | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    order: list[str] = []
    for task in tasks:
        _, _, ranking = rank_task(scores, plan_task(challenge, task, recipe), Options())
        board = ranking.table()
        if recipe is None:
            board = published.ordered(board, scores[scores["task"] == task])
        order += [str(name) for name in board["submission"]]
    order = list(dict.fromkeys([*order, *sorted(set(scores["submission"]))]))
    return anonymise(scores, order)


def anonymise(scores: pd.DataFrame, order: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Replace submission names by ``Team 01``, ``Team 02``, ... in the order given.

    Returns
    -------
    (scores, names)
        The table with new names, and new name by old name.
    """
    digits = max(2, len(str(len(order))))
    names = {name: f"Team {at:0{digits}d}" for at, name in enumerate(order, 1)}
    return scores.assign(submission=scores["submission"].map(names)), names


def _renamed(table: pd.DataFrame | None, names: Mapping[str, str]) -> pd.DataFrame | None:
    if table is None:
        return None
    kept = table[table["submission"].isin(names)]
    return kept.assign(submission=kept["submission"].map(names))
