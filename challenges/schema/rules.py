"""Rules of a challenge file that span several fields: their codes, and how a broken one is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from medpodium.challenges.schema.base import Location
from medpodium.findings import Code


class LintCode(Code):
    """Rules that a challenge file can break."""

    LABEL_TWICE = "label-twice"
    STRUCTURE_UNKNOWN = "structure-unknown"
    TOLERANCE_MISSING = "tolerance-missing"
    WORST_UNKNOWN = "worst-unknown"
    PENALTY_REWARDS = "penalty-rewards"
    REWARD_DECLARED = "penalty-rewards-as-declared"
    """A penalty is better than some real scores: whoever fails gains by it."""
    LAZY_WINS = "lazy-prediction-wins"
    GATE_UNKNOWN = "gate-unknown"
    PATTERN = "file-pattern"
    UNREADABLE = "file-never-readable"
    PLANE = "not-in-a-plane"
    GROUP_UNKNOWN = "group-unknown"
    GROUP_LEVEL_UNKNOWN = "group-level-unknown"
    RECIPE_UNKNOWN = "recipe-unknown"
    RECIPE_UNUSED = "recipe-unused"
    DIMENSION_UNKNOWN = "recipe-dimension-unknown"
    DIMENSION_GONE = "recipe-dimension-gone"
    DIMENSION_LEFT = "recipe-dimension-left"
    LABEL_UNKNOWN = "recipe-label-unknown"
    TASK_UNKNOWN = "task-unknown"
    TASK_UNRANKED = "task-unranked"
    CLASS_UNKNOWN = "class-unknown"
    PROBLEM_UNKNOWN = "problem-unknown"
    CONTAINER_UNKNOWN = "container-unknown"
    MARGIN = "margin-never-met"
    METRIC_UNKNOWN = "metric-unknown"
    METRIC_UNFIT = "metric-does-not-fit"
    """The task does not declare what the metric needs: declare it, or take another metric."""


class Broken(NamedTuple):
    """One broken rule: where (from the model that says so downwards), why and what to do."""

    code: Code
    at: Location
    cause: str
    fix: str


Rules = Iterator[Broken]
