"""Everything that backs a ranking, as tables; :mod:`medpodium.scoring.evidence.tables.columns` lists their columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Step, Test
from medpodium.findings import Finding, MedpodiumError, Severity
from medpodium.scoring import published
from medpodium.scoring.evidence.bootstrap import Bootstrap, bootstrap, one_blas_thread
from medpodium.scoring.evidence.confidence import (
    bca_interval,
    leave_out,
    oriented,
    percentile_interval,
)
from medpodium.scoring.evidence.intervals.ranked import ranked_ends
from medpodium.scoring.evidence.intervals.scores import Asked, score_tables
from medpodium.scoring.evidence.multiverse import Universe, multiverse
from medpodium.scoring.evidence.observed.collect import observed_tables
from medpodium.scoring.evidence.sensitivity import leave_one_out, subsampling
from medpodium.scoring.evidence.sets.construct import LEAST, Draw, build
from medpodium.scoring.evidence.sets.ranks import RankSets
from medpodium.scoring.evidence.sets.reach import sets_findings
from medpodium.scoring.evidence.stability import rank_counts, rank_summary, tau_summary
from medpodium.scoring.evidence.tables.blocks import block_tables, consensus_tables
from medpodium.scoring.evidence.tables.board import case_numbers, leaderboard, pair_numbers
from medpodium.scoring.evidence.tables.claimed import claim_tables
from medpodium.scoring.evidence.tables.columns import TABLES
from medpodium.scoring.evidence.tables.pooled import pooled_findings, pooled_tests
from medpodium.scoring.evidence.units import Scheme, Units, plural, task_units
from medpodium.scoring.kinds.views import Views
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.pools import Pool
from medpodium.scoring.ranking.recipe import Prepared, Ranking, Run, rank_array
from medpodium.scoring.ranking.rules import Rules
from medpodium.scoring.ranking.settled import Settled, settle
from medpodium.scoring.scheduling.scheduler import Scheduler

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TaskPlan:
    """How one task is to be ranked.

    Parameters
    ----------
    task, recipe : str
        Names.
    steps : sequence of Step
        The recipe.
    rules : Rules
        Directions and policies of the metrics.
    recipes : mapping of str to sequence of Step
        Every recipe a universe names.
    choices : sequence of Universe
        The multiverse; the first is the declared ranking.
    margins : mapping of str to float
        Largest difference that does not matter, by metric, where one is declared.
    margin : float, optional
        The same of the value that is ranked.
    pool : Pool, optional
        What pooled values are computed from; without it they stay as they are while cases are resampled.
    joins : str, optional
        Group that joins what is one case in several tasks, where several are ranked together.
    views : callable, optional
        Returns what else there is to see in the observations; called only for full evidence.
    """

    task: str
    recipe: str
    steps: Sequence[Step]
    rules: Rules
    recipes: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    choices: Sequence[Universe] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None
    pool: Pool | None = None
    joins: str | None = None
    views: Callable[[], Views | None] | None = None


@dataclass(frozen=True)
class Options:
    """What evidence to collect.

    Parameters
    ----------
    n_resamples : int
        0 for no bootstrap.
    seed : int
        Determines every random number.
    workers : int
        Threads; nothing depends on it but the time.
    compat : bool
        Bootstrap as challengeR does.
    scheme : Scheme
        Strata and clusters of the cases (:func:`medpodium.scoring.evidence.units.choose`).
    submissions : sequence of str, optional
        Submissions that must appear even without scores.
    scheduler : Scheduler, optional
        Where to resample instead of in this process; nothing depends on it but the time.
    """

    n_resamples: int = 0
    seed: int = 0
    workers: int = 1
    compat: bool = False
    scheme: Scheme = field(default_factory=Scheme)
    submissions: Sequence[str] | None = None
    scheduler: Scheduler | None = None


@dataclass
class Evidence:
    """Collected tables, findings, rankings, and of every task the scores as they count and the independent units."""

    tables: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: {name: [] for name in TABLES})
    findings: list[Finding] = field(default_factory=list)
    rankings: dict[str, Ranking] = field(default_factory=dict)
    settled: dict[str, Settled] = field(default_factory=dict)
    units: dict[str, Units] = field(default_factory=dict)
    joint: set[str] = field(default_factory=set)

    def add(self, name: str, rows: pd.DataFrame, **constants: str) -> None:
        """Append rows to a table."""
        if len(rows):
            self.tables[name].append(rows.assign(**constants))

    def frame(self, name: str) -> pd.DataFrame:
        """Return a table with its declared columns first and in order."""
        parts = self.tables[name]
        if not parts:
            return pd.DataFrame(columns=list(TABLES[name]))
        rows = pd.concat(parts, ignore_index=True)
        extra = [column for column in rows.columns if column not in TABLES[name]] if name == "leaderboard.csv" else []
        return rows.reindex(columns=[*TABLES[name], *extra])


def rank_task(scores: pd.DataFrame, plan: TaskPlan, options: Options) -> tuple[Settled, Prepared, Ranking]:
    """Return one task's scores as they count, the recipe ready to be run on resamples, and the ranking.

    Raises
    ------
    MedpodiumError
        If its scores or its recipe cannot be used.
    """
    settled = settle(scores, plan.task, plan.rules, plan.steps, submissions=options.submissions)
    prepared = Prepared(settled.raw, plan.steps, compat=options.compat, pool=plan.pool)
    findings = list(settled.findings)
    if prepared.pooled is not None and len(prepared.pooled.pool.cases) > 1:
        # there is one pooled value, but it stands on many cases
        findings = [finding for finding in findings if finding.code != RankingCode.ONE_CASE]
    ranking = rank_array(settled.raw, plan.steps, task=plan.task, recipe=plan.recipe)
    own = Ranking(
        ranking.task,
        ranking.recipe,
        ranking.submissions,
        ranking.ranks,
        ranking.values,
        ranking.columns,
        ranking.better,
        (*findings, *ranking.findings),
    )
    return settled, prepared, own


def _as_published(finding: Finding, task: str, scores: pd.DataFrame) -> Finding:
    """Return a finding with a fix that a reader of published values has: there is nothing to score again."""
    where = published.sources(scores[scores["task"] == task])
    if not where or finding.code != RankingCode.ONE_CASE:
        return finding
    return replace(finding, fix=f"nothing to do: no values of single cases were published in {'; '.join(where)}")


def collect_task(
    evidence: Evidence,
    scores: pd.DataFrame,
    plan: TaskPlan,
    options: Options,
    *,
    full: bool,
    advance: Callable[[int], None] | None = None,
    ranked: Callable[[], None] = lambda: None,
) -> None:
    """Add one task's ranking, and with ``full`` all of its evidence.

    Parameters
    ----------
    ranked : callable
        Called when the ranking is there, but no more.
    """
    with one_blas_thread():
        _collect_task(evidence, scores, plan, options, full, advance, ranked)


def _collect_task(
    evidence: Evidence,
    scores: pd.DataFrame,
    plan: TaskPlan,
    options: Options,
    full: bool,
    advance: Callable[[int], None] | None,
    ranked: Callable[[], None],
) -> None:
    settled, prepared, ranking, units = arrange(evidence, scores, plan, options)
    ranked()
    draws: Bootstrap | None = None
    sets: RankSets | None = None
    singles: Run | None = None
    if options.n_resamples:
        try:
            draws = bootstrap(
                prepared,
                options.n_resamples,
                seed=options.seed,
                task=plan.task,
                units=units,
                workers=options.workers,
                scheduler=options.scheduler,
                advance=advance,
            )
            board = ranking, case_numbers(settled, prepared), pair_numbers(settled, prepared)
            own = units.among(prepared.array.cases)
            sets, singles = _add_bootstrap(evidence, prepared, plan, board, draws, own, options)
        except MedpodiumError as error:
            evidence.findings += [_as_published(_softer(one), plan.task, scores) for one in error.findings]
    asked = Asked(units, options.n_resamples, options.seed, plan.task)
    cells = None if draws is None else draws.cells
    intervals, differences = score_tables(settled, asked, prepared.pooled, cells, pairs=full)
    value = ranked_ends(ranking, intervals, draws, units.among(prepared.array.cases).number)
    evidence.add("leaderboard.csv", leaderboard(ranking, settled, prepared, draws, sets, value))
    if not full:
        return
    evidence.add("counts.csv", settled.counts, task=plan.task)
    evidence.add("score_intervals.csv", intervals, task=plan.task)
    evidence.add("score_differences.csv", differences, task=plan.task)
    for name, rows in block_tables(settled, units, options.seed, options.n_resamples):
        evidence.add(name, rows, task=plan.task)
    if draws is not None and prepared.pooled is not None:
        evidence.add("significance.csv", pooled_tests(prepared.pooled, settled.raw, draws, units), task=plan.task)
    if len(ranking.submissions) > 1:
        tests = evidence.tables["significance.csv"]
        for name, rows in claim_tables(settled, prepared, ranking, sets, units, plan.margin, plan.margins, tests):
            evidence.add(name, rows, task=plan.task)
    evidence.add("leave_one_out.csv", leave_one_out(prepared, ranking.ranks, units, singles=singles), task=plan.task)
    if units.among(prepared.array.cases).number > 2 and not np.isnan(ranking.ranks).all():
        curve = subsampling(prepared, ranking.ranks, units, seed=options.seed, task=plan.task)
        evidence.add("subsampling.csv", curve, task=plan.task)
    seen = plan.views() if plan.views is not None else None
    for name, rows in observed_tables(seen, asked) if seen is not None else ():
        evidence.add(name, rows, task=plan.task)
    if plan.choices:
        worlds = multiverse(scores, plan.task, plan.rules, plan.recipes, plan.choices, submissions=options.submissions)
        evidence.add("multiverse.csv", worlds.ranks)
        evidence.add("multiverse_winners.csv", worlds.winners)
        evidence.findings += worlds.findings


def arrange(
    evidence: Evidence, scores: pd.DataFrame, plan: TaskPlan, options: Options
) -> tuple[Settled, Prepared, Ranking, Units]:
    """Add one task's ranking, its scores as they count, and its independent units: what tables are made from."""
    settled, prepared, ranking = rank_task(scores, plan, options)
    scheme = options.scheme
    if plan.joins is not None:
        evidence.joint.add(plan.task)
        if scheme.cluster is None and plan.joins in settled.array.groups:
            scheme = replace(scheme, cluster=plan.joins)
    units, told = task_units(settled.array, scheme, plan.pool, plan.task)
    evidence.units[plan.task] = units
    evidence.findings += told
    if units.clustered and any(isinstance(step, Test) for step in plan.steps):
        cause = (
            f"the recipe's own tests take every case as independent, but {units.n_cases} cases are of {units.words()}"
        )
        fix = f"rank by means or ranks of cases; the tests in the evidence count {plural(units.noun)}"
        evidence.findings.append(Finding(RankingCode.CLUSTER_IGNORED, plan.task, cause, fix, Severity.WARNING))
    evidence.rankings[plan.task] = ranking
    evidence.settled[plan.task] = settled
    evidence.findings += [_as_published(one, plan.task, scores) for one in ranking.findings]
    return settled, prepared, ranking, units


def collect_consensus(evidence: Evidence) -> None:
    """Add the consensus over tasks and how alike the tasks rank; nothing to add for a single task."""
    rankings = {
        task: dict(zip(own.submissions, own.ranks.tolist(), strict=True))
        for task, own in evidence.rankings.items()
        if task not in evidence.joint  # a ranking over tasks is no further task
    }
    if len(rankings) < 2:
        return
    try:
        for name, rows in consensus_tables(rankings):
            evidence.add(name, rows)
            if "optima" in rows and (optima := int(rows["optima"].iloc[0])) > 1:
                cause = f"{optima} rankings are equally near to those of the tasks; consensus.csv shows one of them"
                fix = "use another consensus, or report that the order is open"
                found = Finding(RankingCode.SEVERAL_OPTIMA, "consensus: kemeny", cause, fix, Severity.NOTE)
                evidence.findings.append(found)
    except MedpodiumError as error:
        evidence.findings += [_softer(finding) for finding in error.findings]


def _softer(finding: Finding) -> Finding:
    """Return the finding as a warning: the ranking itself stands without the evidence it is about."""
    return Finding(finding.code, finding.where, finding.cause, finding.fix, Severity.WARNING)


def _add_bootstrap(
    evidence: Evidence,
    prepared: Prepared,
    plan: TaskPlan,
    ranked: tuple[Ranking, Floats, Floats],
    draws: Bootstrap,
    units: Units,
    options: Options,
) -> tuple[RankSets, Run]:
    """Add what resamples tell; return the rank sets, and the rankings without each unit."""
    ranking, numbers, pairs = ranked
    task, names = plan.task, draws.submissions
    evidence.findings += lost_in_resamples(draws, task)
    evidence.findings += pooled_findings(prepared, draws, task)
    summary = rank_summary(draws.ranks)
    evidence.add("rank_intervals.csv", summary.assign(task=task, submission=names, rank=ranking.ranks))
    counts = [
        (task, name, rank, number, number / len(draws.ranks))
        for name, own in zip(names, rank_counts(draws.ranks), strict=True)
        for rank, number in sorted(own.items())
    ]
    evidence.add("frequencies.csv", pd.DataFrame(counts, columns=list(TABLES["frequencies.csv"])))
    taus = pd.DataFrame({"task": task, "resample": np.arange(1, len(draws.taus) + 1), "tau": draws.taus})
    evidence.add("kendall_tau.csv", taus)
    evidence.add("kendall_summary.csv", pd.DataFrame([{"task": task, **tau_summary(draws.taus)}]))
    left_out = leave_out(prepared, units.members)
    columns = {"value": draws.values, **draws.columns}
    originals = {"value": ranking.values, **ranking.columns}
    jackknives = {"value": left_out.values, **left_out.columns}
    for column, resampled in columns.items():
        if column not in originals:
            continue
        low, high = percentile_interval(resampled, n_units=units.number)
        jackknife = jackknives.get(column, np.empty((0, len(names))))
        bca_low, bca_high = bca_interval(originals[column], resampled, jackknife)
        rows = {"submission": names, "column": column, "n": numbers, "n_units": units.number}
        rows |= {"value": originals[column], "low": low, "high": high, "bca_low": bca_low, "bca_high": bca_high}
        evidence.add("aggregates.csv", pd.DataFrame(rows), task=task)
    draw = Draw(max(options.n_resamples, LEAST), options.seed, task)
    sets = build(prepared, units.members, draws, draw, left_out)
    evidence.findings += sets_findings(sets, units, task)
    _add_sets(evidence, ranking, draws, sets, units.number, pairs)
    return sets, left_out


def lost_in_resamples(draws: Bootstrap, task: str) -> list[Finding]:
    """Report submissions that some resamples leave without any result."""
    lost = (np.isnan(draws.values) & ~np.isnan(draws.full.values)).sum(axis=0)
    return [
        Finding(
            RankingCode.LOST_IN_RESAMPLE,
            f"{task}: {name}",
            f"{number} of {len(draws.values)} resamples hold no value of it",
            "it is ranked as missing there; declare a missing policy other than leaving cases out",
            Severity.WARNING,
        )
        for name, number in zip(draws.submissions, lost.tolist(), strict=True)
        if number
    ]


def _add_sets(
    evidence: Evidence, ranking: Ranking, draws: Bootstrap, sets: RankSets, n_units: int, pairs: Floats
) -> None:
    task, names = ranking.task, draws.submissions
    evidence.add(
        "confidence_sets.csv",
        pd.DataFrame(
            {
                "task": task,
                "submission": names,
                "rank": ranking.ranks,
                "marginal_low": sets.marginal[0],
                "marginal_high": sets.marginal[1],
                "simultaneous_low": sets.simultaneous[0],
                "simultaneous_high": sets.simultaneous[1],
                "construction": sets.construction,
                "guarantee": sets.guarantee,
            }
        ),
    )
    values = oriented(draws.values, draws.better)
    one, two = np.nonzero(~np.eye(len(names), dtype=bool))
    low, high = percentile_interval(values[:, one] - values[:, two], n_units=n_units)
    rows = {
        "submission": np.asarray(names, dtype=object)[one],
        "versus": np.asarray(names, dtype=object)[two],
        "n_pairs": pairs[one, two],
        "n_units": n_units,
        "difference": sets.difference[one, two],
        "low": low,
        "high": high,
        "simultaneous_low": sets.lead[one, two],
        "simultaneous_high": -sets.lead[two, one],
        "separated": sets.separated[one, two],
    }
    differences = pd.DataFrame(rows).replace([np.inf, -np.inf], np.nan)
    evidence.add("differences.csv", differences, task=task)
