"""Collect what a report needs: read the scores, rank every task, compute or read the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medpodium.challenges.definition import Challenge
from medpodium.challenges.findings import Finding, Severity
from medpodium.reports.results import Results, TaskResults, anonymise, ranked_tasks
from medpodium.scoring import recipe as recipes
from medpodium.scoring.axes import MissingPolicy


def gather(
    challenge: Challenge,
    scores: pd.DataFrame,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    anonymous: bool = False,
    resources: pd.DataFrame | None = None,
    campaign: Path | None = None,
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
    anonymous : bool
        Replace the names of submissions by ``Team 01``, ... in the order of the first task's ranking.
    resources : pandas.DataFrame, optional
        Resource table of a campaign.

    Returns
    -------
    Results

    Raises
    ------
    MedpodiumError
        If nothing can be ranked; findings say why.
    """
    tasks = ranked_tasks(challenge, scores)
    if anonymous:
        boards = [rank(challenge, scores, task)[0] for task in tasks]
        order = list(dict.fromkeys(str(name) for board in boards for name in board["submission"]))
        order += sorted(set(scores["submission"]) - set(order))
        scores, names = anonymise(scores, order)
        resources = _renamed(resources, names)
    told, findings = [], []
    for task in tasks:
        board, noticed = rank(challenge, scores, task)
        findings += noticed
        rows = scores[scores["task"] == task]
        told.append(TaskResults(task, challenge, rows, board, challenge.ranking[task]))
    return Results(
        challenge,
        tuple(told),
        scores,
        bootstrap,
        seed,
        tuple(findings),
        resources,
        None if anonymous else campaign,
        anonymous,
    )


def _renamed(resources: pd.DataFrame | None, names: Mapping[str, str]) -> pd.DataFrame | None:
    if resources is None:
        return None
    kept = resources[resources["submission"].isin(names)]
    return kept.assign(submission=kept["submission"].map(names))


def rank(challenge: Challenge, scores: pd.DataFrame, task: str) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the leaderboard of one task and what is odd about its scores."""
    name, recipe = challenge.recipe_for(task)
    metrics = challenge.tasks[task].metrics
    missing: dict[str, MissingPolicy] = {key: _policy(spec.missing) for key, spec in metrics.items()}
    worst = {key: value for key, spec in metrics.items() if (value := spec.worst_value(0.0)) is not None}
    ranking = recipes.rank_scores(
        scores,
        recipe.steps,
        {key: spec.better for key, spec in metrics.items()},
        task=task,
        recipe=name,
        missing=missing,
        worst=worst,
    )
    notable = [finding for finding in ranking.findings if finding.severity is not Severity.NOTE]
    return ranking.table(), notable


def _policy(outcome: float | str) -> MissingPolicy:
    return outcome if isinstance(outcome, float) or outcome == "skip" else "worst"
