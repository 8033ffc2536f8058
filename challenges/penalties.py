"""Who would win by handing in nothing: what penalties and lazy predictions are worth beside the best real prediction.

For every metric of every task the scorer's own rules (:mod:`medpodium.challenges.schema.metrics.outcomes`) say what an
empty, a missing and a failed prediction get where the reference holds something, and what an invented structure, a
missing and a failed prediction get where it holds nothing (or nothing above the minimal volume). A penalty that is
worth as much as the best that a real prediction can get is a reward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from medpodium.challenges.schema.definition import Challenge, TaskModel
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.outcomes import absent_outcome, empty_outcome, resolve
from medpodium.challenges.schema.metrics.resource import MeasuredMetric
from medpodium.challenges.schema.metrics.spec import Cell, EmptyPolicy, MetricSpec
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.steps import (
    Change,
    Difference,
    Quantile,
    Rank,
    Recipe,
    Reduce,
    Select,
    Spread,
    Test,
    Trapezoid,
)

_SAME = 1e-9
"""Relative difference below which two scores are one."""
_LAZY = {"everything": "labels everything", "next to nothing": "labels next to nothing"}
_USE_WORST = "use 'worst' or a value that nobody would choose, or name in 'rewards' who published this rule"


class _Penalty(NamedTuple):
    """What somebody gets who should not win."""

    who: str
    outcome: Cell
    field: str
    inherited: bool = False


def rewards(challenge: Challenge) -> Rules:
    """Yield penalties that are as good as a real score, and tasks that a lazy prediction wins."""
    for name, task in challenge.tasks.items():
        at = ("tasks", name, "metrics")
        for key, metric in task.metrics.items():
            if metric.rewards is None:
                for rule in _of_metric(task, metric):
                    yield rule._replace(at=(*at, key))
        judged = [one for one in task.metrics.values() if one.ranked and not isinstance(one, MeasuredMetric)]
        if judged and KINDS[task.kind].computed:
            for lazy, does in _LAZY.items():
                if all(lazy in metric.blind_to for metric in judged):
                    cause = f"a prediction that {does} gets the best value of every ranked metric: it would win"
                    fix = "rank by a metric that sees it, too, such as dice or balanced_accuracy"
                    yield Broken(LintCode.LAZY_WINS, at, cause, fix)
    for name, recipe in challenge.recipes.items():
        tasks = [task for task, used in challenge.ranking.items() if used == name] + list(recipe.tasks or ())
        for task_name in dict.fromkeys(task for task in tasks if task in challenge.tasks):
            for rule in _of_recipe(challenge.tasks[task_name], recipe):
                yield rule._replace(at=("recipes", name, "steps", *rule.at))


def _of_metric(task: TaskModel, metric: MetricSpec) -> Rules:
    policy = task.policy_for(metric)
    best = metric.best_value()
    if best is not None:
        for penalty in _where_present(metric, policy):
            value = _number(penalty.outcome, metric, "prediction")
            if penalty.inherited and penalty.outcome == "skip":
                cause = f"{penalty.who} is left out ({penalty.field}: skip): who leaves out hard cases would win"
                yield _broken(penalty, cause)
            elif _as_good(value, best, metric):
                cause = f"{penalty.who} gets {value:g} ({penalty.field}), a perfect one {best:g}: it would win"
                yield _broken(penalty, cause)
    if policy is not None:
        yield from _where_empty(metric, policy, best)


def _where_present(metric: MetricSpec, policy: EmptyPolicy | None) -> Iterator[_Penalty]:
    """Yield what a metric gives, where the reference holds something, to somebody who hands in nothing."""
    if policy is not None:
        inherited = isinstance(metric, StructureMetric) and metric.empty is None
        yield _Penalty("an empty prediction", empty_outcome(policy, False, True), "empty.prediction", inherited)
    yield _Penalty("a missing prediction", absent_outcome(metric, policy, False, False), "missing")
    if metric.failed is not None:
        yield _Penalty("a failed run", absent_outcome(metric, policy, False, True), "failed")
    gate = metric.gate if isinstance(metric, StructureMetric) else None
    if gate is not None:
        yield _Penalty(f"a prediction with {gate.metric} < {gate.below:g}", gate.value, "gate.value")


def _where_empty(metric: MetricSpec, policy: EmptyPolicy, best: float | None) -> Rules:
    """Compare, where the reference holds nothing, everybody with the empty prediction that is right."""
    right = empty_outcome(policy, True, True)
    own = _number(right, metric, "both")
    inherited = isinstance(metric, StructureMetric) and metric.empty is None
    invented = _Penalty("an invented structure", empty_outcome(policy, True, False), "empty.reference", inherited)
    absent = _Penalty("a missing prediction", absent_outcome(metric, policy, True, False), "missing")
    failed = _Penalty("a failed run", absent_outcome(metric, policy, True, True), "failed")
    where = "where the reference is empty"
    for penalty in (invented, absent, *([failed] if metric.failed is not None else [])):
        value = _number(penalty.outcome, metric, "reference")
        if penalty is invented and best is not None and _as_good(value, best, metric):
            cause = f"{penalty.who} gets {value:g} {where} ({penalty.field}), the best value: it would win"
            yield _broken(penalty, cause)
        elif _better(value, own, metric):
            cause = f"{penalty.who} gets {value:g} {where} ({penalty.field}), a right, empty one {own:g}: it would win"
            yield _broken(penalty, cause)
        elif penalty is invented and penalty.outcome == "skip" and best is not None and _better(best, own, metric):
            cause = f"{penalty.who} is left out {where} ({penalty.field}: skip), a right, empty one gets {own:g}"
            yield _broken(penalty, cause)


def _of_recipe(task: TaskModel, recipe: Recipe) -> Rules:
    """Follow the values through a recipe: a number for a missing one must not be as good as the best."""
    metrics = {key: metric for key, metric in task.metrics.items() if metric.ranked}
    ranks: bool | None = None  # scores so far; then ranks (True) or shares of wins (False)
    for index, step in enumerate(recipe.steps):
        missing = getattr(step, "missing", None)
        if isinstance(step, Select) and "metric" in step.keep:
            metrics = {key: metric for key, metric in metrics.items() if key in step.keep["metric"]}
        if isinstance(missing, (int, float)):
            if ranks is None:
                bests = [(key, one, one.best_value()) for key, one in metrics.items() if one.rewards is None]
                found = [(key, best) for key, one, best in bests if best is not None and _as_good(missing, best, one)]
            else:
                good = missing <= 1 if ranks else missing >= 1
                found = [("the rank" if ranks else "the share of wins", 1.0)] if good else []
            for what, best in found:
                cause = f"a missing value counts {missing:g}, and the best of {what} is {best:g}: it would win"
                yield Broken(LintCode.PENALTY_REWARDS, (index,), cause, "use 'worst', 'skip' or another number")
        if isinstance(step, (Rank, Test)):
            ranks = isinstance(step, Rank)
        elif isinstance(step, (Reduce, Quantile)) and "metric" in step.over and ranks is None:
            return  # a mixture of metrics has no best value
        elif isinstance(step, (Change, Spread, Difference, Trapezoid)):
            return  # these values are on another scale


def _broken(penalty: _Penalty, cause: str) -> Broken:
    if penalty.field.startswith("empty."):
        if penalty.inherited:
            fix = "declare 'empty' on this metric: the task's policy was not written for it"
            return Broken(LintCode.PENALTY_REWARDS, (), cause, fix)
        return Broken(LintCode.REWARD_DECLARED, (), cause, "if a source says so, name it in 'rewards'")
    return Broken(LintCode.PENALTY_REWARDS, (), cause, _USE_WORST)


def _number(outcome: Cell, metric: MetricSpec, cell: Literal["both", "reference", "prediction"]) -> float:
    """Return what an outcome is worth; NaN for none."""
    if outcome == "compute":
        return metric.computed(cell) if isinstance(metric, StructureMetric) else 0.0
    return resolve(outcome, metric, math.inf)


def _better(value: float, other: float, metric: MetricSpec) -> bool:
    """Return whether a value is better than another by more than rounding; never where one is NaN."""
    return (
        value != other
        and not math.isclose(value, other, rel_tol=_SAME, abs_tol=_SAME)
        and (value > other if metric.better == "higher" else value < other)
    )


def _as_good(value: float, other: float, metric: MetricSpec) -> bool:
    return math.isclose(value, other, rel_tol=_SAME, abs_tol=_SAME) or _better(value, other, metric)
