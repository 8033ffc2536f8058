"""From a challenge definition to what ranking needs: recipes, directions, policies and debatable choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from medpodium.challenges.schema.definition import SHARED
from medpodium.challenges.schema.steps import (
    DECIMAL,
    Adjustment,
    Common,
    Direction,
    Rank,
    Recipe,
    Reduce,
    Select,
    Step,
    Threshold,
    Ties,
)
from medpodium.findings import Finding, Severity, UsageError
from medpodium.scoring.evidence.joint import joint_pool
from medpodium.scoring.evidence.multiverse import Universe, universes
from medpodium.scoring.evidence.tables.collect import TaskPlan
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.ranking.axes import RankingCode, near
from medpodium.scoring.ranking.challenger import METHODS, Method, NaTreatment, method_steps
from medpodium.scoring.ranking.pools import Pool
from medpodium.scoring.ranking.rules import Outcome, Rules, rules_of

if TYPE_CHECKING:
    from medpodium.challenges.schema.definition import Challenge


def plan_task(
    challenge: Challenge, task: str, recipe: str | None = None, observations: pd.DataFrame | None = None
) -> TaskPlan:
    """Return how a task is ranked: by its declared recipe, or by the one named.

    Parameters
    ----------
    observations : DataFrame, optional
        What pooled metrics are computed from, so that they can be resampled.

    Raises
    ------
    UsageError
        If the recipe is unknown, or not meant for the task, or the observations do not fit it.
    """
    if recipe is not None and recipe not in challenge.recipes:
        fix = near(recipe, challenge.recipes)
        raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, challenge.reference, f"no recipe {recipe!r}", fix))
    name, chosen = challenge.recipe_for(task, recipe)
    if recipe is not None and chosen.tasks is not None and task not in chosen.tasks:
        name, chosen = challenge.recipe_for(task, None)
    rules = rules_of(challenge.tasks[task].metrics)
    metrics = challenge.tasks[task].metrics.values()
    rounded = any(spec.decimals is not None or spec.info.scope == "imported" for spec in metrics)
    recipes: dict[str, Sequence[Step]] = {
        key: decimal_ties(own.steps) if rounded else own.steps for key, own in challenge.recipes.items()
    }
    pool = None if observations is None else _pool(challenge, task, observations)
    specs = challenge.tasks[task].metrics
    margins = {key: spec.margin for key, spec in specs.items() if spec.margin is not None and spec.ranked}
    margin = chosen.margin if chosen.margin is not None else _margin_of_only(challenge, task, chosen)
    choices = _choices(challenge, task, name)
    joins = SHARED if task in challenge.overall else None
    seen = None
    if observations is not None and joins is None:
        seen = partial(of(challenge.tasks[task]).views, challenge, task, observations)
    return TaskPlan(task, name, recipes[name], rules, recipes, choices, margins, margin, pool, joins, seen)


def _pool(challenge: Challenge, task: str, observations: pd.DataFrame) -> Pool | None:
    """Return what the pooled values of a task, or of several tasks that are ranked together, are computed from."""
    own = challenge.overall.get(task)
    if own is None:
        return of(challenge.tasks[task]).pool(challenge, task, observations)
    found = {name: of(challenge.tasks[name]).pool(challenge, name, observations) for name in own.tasks}
    cases = {name: observations.loc[observations["task"] == name, "case"].unique() for name in own.tasks}
    return joint_pool(own, {name: pool for name, pool in found.items() if pool is not None}, cases)


def _margin_of_only(challenge: Challenge, task: str, recipe: Recipe) -> float | None:
    """Return the margin of the only metric that is ranked, where the recipe ranks means of it and nothing else."""
    ranked = [spec for spec in challenge.tasks[task].metrics.values() if spec.ranked]
    means = all(
        isinstance(step, (Select, Common, Threshold)) or (isinstance(step, Reduce) and step.step == "mean")
        for step in recipe.steps[:-1]
    )
    return ranked[0].margin if len(ranked) == 1 and means else None


def macro(plan: TaskPlan, group: str) -> TaskPlan:
    """Return the plan with the mean over the cases as the mean over the levels of a group of their means.

    Raises
    ------
    UsageError
        If the recipe does not take the mean over all cases.
    """
    at = next((at for at, step in enumerate(plan.steps) if "case" in getattr(step, "over", ())), None)
    step = None if at is None else plan.steps[at]
    if at is None or not isinstance(step, Reduce) or step.step != "mean" or step.by is not None:
        cause = f"recipe {plan.recipe!r} does not take the mean over all cases"
        raise UsageError(Finding(RankingCode.BAD_STEP, "--macro", cause, "name a recipe that does, with --recipe"))
    both = (step.model_copy(update={"by": group}), Reduce(step="mean", over=(group,)))
    return replace(
        plan, steps=(*plan.steps[:at], *both, *plan.steps[at + 1 :]), recipe=f"{plan.recipe}, by {group}", choices=()
    )


def decimal_ties(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Let every rank step tie values that differ by no more than rounding does.

    The mean of .1 and .7 is that of .4 and .4, but not in binary numbers. Where scores are decimal numbers (rounded by
    the challenge, or imported), such a difference says nothing about the submissions.
    """
    return tuple(
        step.model_copy(update={"tolerance": DECIMAL}) if isinstance(step, Rank) and step.tolerance == 0 else step
        for step in steps
    )


def _choices(challenge: Challenge, task: str, recipe: str) -> list[Universe]:
    debatable = challenge.debatable.get(task)
    if debatable is None:
        return []
    return universes(
        recipe,
        recipes=debatable.recipes,
        metrics=debatable.metrics,
        ties=debatable.ties,
        missing=debatable.missing,
        empty=debatable.empty,
        tolerance=getattr(debatable, "tolerance", ()),
    )


def unsuitable(challenge: Challenge, scores: pd.DataFrame) -> list[Finding]:
    """Return findings about what in a score table does not fit the challenge."""
    findings = []
    other = sorted(set(map(str, scores["challenge"].unique())) - {"", challenge.name, *challenge.aliases})
    if other:
        cause = f"the scores are of {other[0]!r}, the definition of {challenge.name!r}"
        fix = "rank them with their own definition"
        findings.append(Finding(RankingCode.UNKNOWN_TASK, "scores", cause, fix, Severity.WARNING))
    for task in sorted(set(map(str, scores["task"].unique())) - challenge.ranked_tasks):
        cause, fix = f"{challenge.reference} has no ranking of this task", near(task, challenge.ranking)
        findings.append(Finding(RankingCode.UNKNOWN_TASK, str(task), cause, fix, Severity.WARNING))
    return findings


def plan_long(
    task: str, *, method: Method, ties: Ties, adjust: Adjustment, smaller_better: bool, na: NaTreatment | None
) -> TaskPlan:
    """Return how one task of challengeR's table is ranked, with all methods and both tie rules as multiverse."""
    way: Direction = "lower" if smaller_better else "higher"
    policies: dict[str, Outcome] = {"0": 0.0, "rm": "skip"}
    policy = policies.get(na or "", "worst")
    recipes: dict[str, Sequence[Step]] = {name: method_steps(name, ties=ties, adjust=adjust) for name in METHODS}
    choices = universes(method, recipes=METHODS, ties=("min", "average"))
    return TaskPlan(task, method, recipes[method], Rules({"value": way}, {"value": policy}), recipes, choices)
