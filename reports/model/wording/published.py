"""What is said of values and ranks that somebody else published: only what the source supports."""

from __future__ import annotations

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.steps import Rank
from medpodium.reports.model.results import TaskResults
from medpodium.reports.model.wording.grammar import agree, count, listed
from medpodium.scoring.published import RECIPE_RANK, submissions


def source(task: TaskResults) -> str:
    """Return where the values of a task were published, as a list in a sentence."""
    return listed(task.sources)


def has_ranks(task: TaskResults) -> bool:
    """Return whether the leaderboard of a task is in the published order."""
    return RECIPE_RANK in task.leaderboard


def headline(task: TaskResults) -> str:
    """Return who was published as first, and whether the recipe of the challenge file says otherwise.

    Where no ranks were published with the values, the ranking is said to be the recipe's and nobody else's.
    """
    board = task.leaderboard.dropna(subset=["rank"])
    if board.empty:
        return ""
    first = _first(task, "rank")
    where = f"of {len(task.order)} in {task.title}"
    verb = agree(len(first), "ranks first", "share the first rank")
    if not has_ranks(task):
        return (
            f"By the recipe {task.recipe} of the challenge file, applied to the values as published in {source(task)}, "
            f"{listed(first)} {verb} {where}; who was published as first is not in the score table.{_limits(task)}"
        )
    said = f"{listed(first)} {verb} {where}, as published in {source(task)}."
    by_recipe = _first(task, RECIPE_RANK)
    other = int((board["rank"] != board[RECIPE_RANK]).sum())
    recipe = f"The recipe {task.recipe} of the challenge file, applied to the published values,"
    if by_recipe != first:
        verb = agree(len(by_recipe), "has", "have")
        return f"{said} {recipe} ranks otherwise: there {listed(by_recipe)} {verb} the first rank.{_limits(task)}"
    if other:
        return f"{said} {recipe} gives {count(other, 'submission')} another rank.{_limits(task)}"
    return f"{said} {recipe} gives the same ranks."


def _first(task: TaskResults, column: str) -> list[str]:
    board = task.leaderboard.dropna(subset=[column])
    return sorted(map(str, board.loc[board[column] == board[column].min(), "submission"]))


def _limits(task: TaskResults) -> str:
    """Say why a recipe cannot do with values of whole sets what the organizers did with cases."""
    by_case = any(isinstance(step, Rank) and "case" in (step.within or ()) for step in task.settled.steps)
    if not by_case or task.cases:
        return ""
    return " That recipe ranks case by case, and no values of single cases were published."


def data(task: TaskResults, challenge: Challenge) -> str:
    """Return what the values are, for the section on methods."""
    what = f"{count(len(task.cases), 'test case')}" if task.cases else "whole sets of cases"
    return (
        f"The values of {count(len(task.order), 'submission')} to {task.title} of {challenge.title} "
        f"(edition {challenge.edition}) are values of {what} as published in {source(task)}. Nothing was scored here, "
        "and how the source computed them was not checked."
    )


def some(task: TaskResults) -> str:
    """Return which submissions have published values beside others that were scored; nothing where none has."""
    if not task.sources:
        return ""
    names = submissions(task.scores)
    return f" The values of {listed(names, 6)} are as published in {source(task)}."
