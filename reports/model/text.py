"""Sentences of a report, generated from the challenge file and the evidence; none claims what the data do not show."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from medpodium.challenges.describe import metric_parameters
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, Outcome
from medpodium.findings import MedpodiumError
from medpodium.reports.model.results import CASE_MEAN, Panel, Results, TaskResults
from medpodium.reports.model.tables import guarantee, status_title
from medpodium.reports.model.wording import published as publication
from medpodium.reports.model.wording.grammar import agree, amount, count, listed, percent, spelt
from medpodium.reports.model.wording.steps import ADJUST
from medpodium.scoring.evidence.sets.ranks import UNSEEN
from medpodium.scoring.evidence.units import plural
from medpodium.scoring.ranking.recipe import rank_array
from medpodium.scoring.table import FAILED_PREFIX


def outcome(value: Outcome | Literal["compute"], unit: str = "") -> str:
    """Return what a score becomes, in words."""
    if value == "skip":
        return "was left out"
    if value == "compute":
        return "was computed as it stands"
    if value in ("worst", "best"):
        return f"got the {value} value"
    return f"got {amount(value, unit)}" if isinstance(value, (int, float)) else f"got {value}"


def metric_sentence(task: TaskResults, name: str) -> str:
    """Return one sentence that says what a metric is, with its definition and parameters.

    Of published values only what is certain: how the source calls them, in which unit, and which way is better.
    """
    spec = task.metric(name)
    unit = f", in {spec.unit_name}" if spec.unit_name else ""
    better = "values nearer to zero" if spec.info.signed else f"{spec.better} values"
    if task.wholly_published:
        return f"{task.metric_name(name)}{unit}; {better} are better."
    parameters = metric_parameters(spec)
    details = f" ({parameters})" if parameters else ""
    return f"{task.metric_name(name)}: {spec.info.formula}{details}{unit}; {better} are better."


def policy_sentences(task: TaskResults) -> list[str]:
    """Return what happens to empty masks and missing or failed predictions, one sentence per distinct policy."""
    definition = task.task
    found: dict[str, list[str]] = {}
    for name, spec in definition.metrics.items():
        parts = []
        unit = spec.unit_name
        if (policy := definition.policy_for(spec)) is not None:
            parts.append(_empty(policy, unit))
        missing = f"a case without a prediction {outcome(spec.missing, unit)}"
        if spec.failed is not None and spec.failed != spec.missing:
            missing += f" and a failed run {outcome(spec.failed, unit)}"
        parts.append(missing)
        found.setdefault("; ".join(parts), []).append(task.metric_name(name))
    return [f"{listed(names)}: {rule}." for rule, names in found.items()]


def _empty(policy: EmptyPolicy, unit: str) -> str:
    return (
        f"with reference and prediction both empty the score {outcome(policy.both, unit)}, "
        f"with only the reference empty it {outcome(policy.reference, unit)}, "
        f"with only the prediction empty it {outcome(policy.prediction, unit)}"
    )


def methods_paragraphs(results: Results, task: TaskResults) -> list[str]:
    """Return the methods section of one task: data, metrics, ranking, statistics."""
    if task.wholly_published:
        return [publication.data(task, results.challenge), *statistics_sentences(results, task)]
    challenge = results.challenge
    structures = list(task.task.structure_titles.values())
    data = f"In {task.title} of {challenge.title} (edition {challenge.edition}), "
    data += f"{spelt(len(task.order), 'submission')} {agree(len(task.order), 'was', 'were')} scored"
    data += f" on {spelt(len(task.cases), 'test case')}" if task.cases else " as values over whole sets of cases"
    if task.task.answers:
        data += f"{task.task.answers_words} {listed(task.task.answers)}"
    elif structures:
        words = task.words
        data += f" for {spelt(len(structures), words.structure, words.structures)} ({listed(structures, 20)})"
    return [f"{data}.{publication.some(task)}", *statistics_sentences(results, task)]


def statistics_sentences(results: Results, task: TaskResults) -> list[str]:
    """Return what was computed beyond the ranking; only what is really there is named."""
    said = []
    resamples = task.drawn.resamples
    noun = task.units.noun
    said += _units(task)
    if resamples:
        said.append(
            f"The ranking was repeated on {count(resamples, 'bootstrap resample')} of the {plural(noun)} (drawn "
            "with replacement, the "
            f"same for all submissions; a {noun} drawn twice counted as two {plural(noun)}; seed {results.seed}), "
            "and each repetition "
            "was compared with the ranking on all cases by Kendall's tau-b."
        )
    said += _sets(task)
    said += _tests(task)
    if len(task.table("friedman")):
        said.append(
            "The Friedman test with Nemenyi's critical difference was computed on the cases that count for all "
            f"submissions{_as_declared(task)}."
        )
    return [" ".join(said)] if said else []


def _units(task: TaskResults) -> list[str]:
    """Say what is independent, where that is not the case."""
    units = task.units
    said = []
    if units.clustered:
        said.append(
            f"Cases of one {units.noun} were not taken as independent: {units.words()}, not their {units.n_cases:,} "
            "cases, were drawn, left out, tested and counted, and in tests the mean of its cases stood for a "
            f"{units.noun}."
        )
    if units.stratify:
        name = units.stratify.replace("_", " ")
        said.append(f"As many {plural(units.noun)} were drawn from every level of {name} as it has.")
    return said


_BUILT = {
    "means": "simultaneous intervals for all pairwise differences of means",
    "bounds": "simultaneous intervals for all pairwise differences of the means that the recipe ranks first, and from "
    "what these leave open in its later steps",
    "quantiles": "simultaneous bounds of every submission's quantile by order statistics",
    "pooled": "simultaneous intervals for all pairwise differences of jackknife pseudo-values",
}


def _sets(task: TaskResults) -> list[str]:
    """Say how the rank sets were built, and whether they hold."""
    sets = task.table("confidence_sets")
    if not len(sets) or "guarantee" not in sets:
        return []
    held, construction = guarantee(sets), str(sets["construction"].iloc[0])
    if not held:
        return [
            "The rank sets described how far the resamples spread; for this recipe no method guarantees how often such "
            "sets hold."
        ]
    source = "" if construction == "quantiles" else " (Mogstad, Romano, Shaikh and Wilhelm 2024)"
    said = [
        f"Rank confidence sets hold for all submissions at once at level {held}; they were built from "
        f"{_BUILT[construction]}{source}. Submissions that share a letter cannot be told apart, which does not "
        "make them equal."
    ]
    if UNSEEN in held:
        said.append(
            f"So few {plural(task.units.noun)} say nothing of failures that none of them shows: where some submissions "
            "fail rarely and others never, the sets may err."
        )
    return said


def _tests(task: TaskResults) -> list[str]:
    """Say which tests compared the pairs of submissions."""
    pairs = task.table("significance")
    if not len(pairs):
        return []
    rest = f"{ADJUST[str(pairs['adjust'].iloc[0])]} over all ordered pairs; significance level {task.drawn.alpha:g}"
    pooled = pairs["metric"].map(lambda name: task.metric(name).info.scope == "pooled").astype(bool)
    said = []
    if not pooled.all():
        per = f"per metric and {task.words.structure}" if task.task.structure_titles else "per metric"
        said.append(
            f"Pairs of submissions were compared, {per}, with one-sided Wilcoxon "
            f"signed-rank tests on the cases that count for both{_as_declared(task)} (normal approximation, "
            f"continuity correction, zero differences dropped; {rest})."
        )
    if pooled.any():
        said.append(
            "Pairs of submissions were compared by their pooled values with one-sided tests of the difference over "
            f"the standard deviation of its bootstrap repetitions, same cases for both (normal approximation; {rest})."
        )
    return said


def _as_declared(task: TaskResults) -> str:
    """Return how missing scores enter a test, where some do."""
    number = sum(block.stands_in() for block in task.settled.blocks if block.structure != CASE_MEAN)
    return f", {count(number, 'missing score')} among them as the policy declares" if number else ""


def cases_words(task: TaskResults, panel: Panel, number: int) -> str:
    """Return what cases a number of all submissions stands on, and whether each submission really has them."""
    block = task.block(panel)
    complete = np.asarray(~np.isnan(block.values).any(axis=1))
    filled = int((block.supplied & complete[:, None]).sum()) if block.supplied is not None else 0
    if not filled:
        return f"the {count(number, 'case')} that every submission has"
    return f"{count(number, 'case')}, {count(filled, 'missing score')} among them as the policy declares"


def coverage(task: TaskResults) -> list[str]:
    """Return sentences on submissions that lack whole cases, and on who leads where nobody lacks one.

    Empty where every submission has a score in every case that owes one.
    """
    settled = task.settled
    lacking = task.by_submission(settled.unanswered)
    lacking = lacking[lacking > 0]
    if lacking.empty or not any(not pooled for pooled in settled.raw.pooled):
        return []
    said = []
    for number in sorted(set(lacking.tolist())):
        names = lacking.index[lacking == number]
        verb = agree(len(names), "has", "have")
        said.append(f"{listed([str(name) for name in names], 4)} {verb} no score for {count(number, 'case')}")
    counted = task.by_submission(settled.n_cases)
    even = counted.nunique() == 1
    how = (
        f"they count as the policy declares, so that all stand on {counted.iloc[0]:,} cases"
        if even
        else f"submissions stand on {counted.min():,} to {counted.max():,} cases"
    )
    words = [f"{'; '.join(said)}: {how}."]
    return [*words, *_common_leader(task)]


def _common_leader(task: TaskResults) -> list[str]:
    """Return who leads on the cases that every submission has, where that is somebody else."""
    settled = task.settled
    if not settled.common:
        return ["No case has the scores of every submission."]
    try:
        ranking = rank_array(settled.raw.take("case", settled.common), settled.steps)
    except MedpodiumError:
        return []
    told = pd.DataFrame({"rank": ranking.ranks, "value": ranking.values}, index=list(ranking.submissions))
    told = told.rename_axis("submission").sort_values(["rank", "submission"]).dropna(subset=["rank"])
    board = task.leaderboard
    first = set(board.loc[board["rank"] == board["rank"].min(), "submission"])
    leaders = list(told.index[told["rank"] == told["rank"].min()])
    where = f"On the {count(len(settled.common), 'case')} that every submission has"
    if set(leaders) == first:
        verb = agree(len(leaders), "leads", "lead")
        return [f"{where}, {listed(leaders, 4)} {verb} as well."]
    best = [f"{name} {value:.4f}" for name, value in told["value"].head(3).items()]
    verb = agree(len(leaders), "ranks", "rank")
    return [f"{where}, {listed(leaders, 4)} {verb} first instead ({', '.join(best)})."]


def defensible(task: TaskResults) -> list[str]:
    """Return how many rankings that the challenge marks as defensible have the same first rank; nothing without any."""
    winners = task.table("multiverse_winners")
    number = len(winners)
    if number < 2:
        return []
    same = int(winners["same_winner"].astype(bool).sum())
    names = sorted({name for cell in winners["winners"] for name in str(cell).split("; ")})
    others = f"; {listed(names, 4)} {agree(len(names), 'ranks', 'rank')} first in at least one" if same < number else ""
    share, verb = percent(same / number), agree(same, "has", "have")
    said = (
        f"Of {number:,} defensible rankings {same:,} ({share}) {verb} the same first rank as the declared one{others}."
    )
    return [said]


def headline(task: TaskResults) -> str:
    """Return the one sentence that sums the ranking up, no stronger than the evidence.

    ``first`` is said of the rank only; *better* only where the rank confidence sets tell the first submission
    from every other one.
    """
    if task.wholly_published and (said := publication.headline(task)):
        return said
    board = task.leaderboard.dropna(subset=["rank"])
    if board.empty:
        return f"No submission to {task.title} could be ranked."
    first = [str(name) for name in board.loc[board["rank"] == board["rank"].min(), "submission"]]
    if len(task.order) == 1:
        return f"{first[0]} is the only submission to {task.title}."
    if len(first) > 1:
        return f"{listed(first)} share the first rank of {task.title}."
    sentence = f"{first[0]} ranks first of {len(task.order)} in {task.title}"
    if "set_low" not in board:
        return sentence + "; how certain this is was not computed."
    rivals = [
        str(name) for name in board.loc[(board["set_low"] <= 1) & (board["submission"] != first[0]), "submission"]
    ]
    level = guarantee(board)
    if not level:
        return f"{sentence}; for this recipe nothing guarantees which ranks the data rule out."
    high = float(board.loc[board["submission"] == first[0], "set_high"].iloc[0])
    if not rivals and high <= 1:
        return f"{sentence}, and the data rule out every other submission as first (confidence level {level})."
    if not rivals:
        return f"{sentence}; its rank confidence set reaches to rank {high:g} (confidence level {level})."
    verb = agree(len(rivals), "is", "are")
    return (
        f"{sentence}, but the data do not rule out that {listed(rivals, 4)} {verb} as good or better "
        f"(confidence level {level})."
    )


def place_words(task: TaskResults, submission: str) -> str:
    """Return a short true statement about one submission for the podium card."""
    row: Any = task.leaderboard.set_index("submission").loc[submission]
    parts = []
    if "set_low" in row.index and not pd.isna(row["set_low"]):
        low, high = float(row["set_low"]), float(row["set_high"])
        level = guarantee(task.leaderboard)
        kind = f"rank confidence set ({level})" if level else "rank set without guarantee"
        parts.append(f"{kind}: {low:g}" + (f" to {high:g}" if high > low else ""))
    if "first" in row.index and not pd.isna(row["first"]):
        parts.append(f"first in {percent(float(row['first']))} of resamples")
    return "; ".join(parts)


def skips_and_penalties(task: TaskResults) -> str:
    """Return one sentence on how many scores are missing, skipped or set by a policy."""
    counts = task.statuses
    total = int(counts.to_numpy().sum())
    other = counts.drop(columns=[name for name in ("ok",) if name in counts.columns])
    number = int(other.to_numpy().sum())
    if task.wholly_published and not number:
        return (
            f"All {total:,} values of {task.title} are as published in {listed(task.sources)}; nothing was scored here."
        )
    if not number:
        return f"All {total:,} scores of {task.title} have a value; none is missing, skipped or penalised."
    words = {name: status_title(name) if name.startswith(FAILED_PREFIX) else name for name in map(str, other.columns)}
    parts = [f"{int(other[name].sum()):,} {said}" for name, said in words.items() if other[name].sum()]
    return (
        f"Of {total:,} scores of {task.title}, {number:,} did not come from a computed value: {listed(parts)}. "
        "The table counts them per submission."
    )
