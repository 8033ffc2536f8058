"""What ranking a task needs to know of its metrics: directions, bounds, and what a missing or failed score becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from medpodium.challenges.schema.steps import Direction
from medpodium.scoring import policy, table
from medpodium.scoring.ranking.axes import MissingPolicy

if TYPE_CHECKING:
    from medpodium.challenges.schema.metrics.spec import MetricSpec

Outcome = Literal["worst", "best", "skip"] | float


@dataclass(frozen=True)
class Rules:
    """What ranking a task needs to know of its metrics.

    Parameters
    ----------
    directions : mapping of str to {"higher", "lower"}
        Which values of a metric are better.
    missing : mapping of str to policy
        What a missing score becomes, per metric: ``worst``, ``best``, ``skip`` or a number.
    worst, best : mapping of str to float
        Bounds, where a metric has them.
    failed : mapping of str to float
        Number of a failed run's score, for metrics that declare it apart from ``missing``; NaN leaves it out.
    unranked : frozenset of str
        Metrics that are told but take no part in a ranking.
    bounds : mapping of str to (float, float)
        Least and greatest value that the formula of a metric can give, infinite where there is none.
    """

    directions: Mapping[str, Direction]
    missing: Mapping[str, Outcome] = field(default_factory=dict)
    worst: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, float] = field(default_factory=dict)
    unranked: frozenset[str] = frozenset()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def ranked(self) -> dict[str, Direction]:
        """Directions of the metrics that are ranked."""
        return {metric: way for metric, way in self.directions.items() if metric not in self.unranked}

    def policy(self, outcome: Outcome, metric: str) -> MissingPolicy:
        """Return an outcome as the array knows it: the best value becomes its number."""
        if outcome == "best":
            return self.best.get(metric, "worst")
        return outcome

    def policies(self, outcome: Outcome | None = None) -> dict[str, MissingPolicy]:
        """Return the missing policy of every metric, or one outcome for all of them."""
        if outcome is not None:
            return {metric: self.policy(outcome, metric) for metric in self.directions}
        return {metric: self.policy(own, metric) for metric, own in self.missing.items()}


def rules_of(metrics: Mapping[str, MetricSpec]) -> Rules:
    """Return directions, policies and bounds of the metrics of a task."""
    directions: dict[str, Direction] = {}
    missing: dict[str, Outcome] = {}
    worst: dict[str, float] = {}
    best: dict[str, float] = {}
    failed: dict[str, float] = {}
    for name, spec in metrics.items():
        directions[name] = spec.better
        missing[name] = spec.missing
        # an image's diagonal differs from case to case and is put in when scoring, not here
        worst_value = None if spec.worst == "diagonal" else spec.worst_value(math.nan)
        best_value = spec.best_value()
        if worst_value is not None:
            worst[name] = float(worst_value)
        if best_value is not None:
            best[name] = float(best_value)
        if spec.failed is not None:
            number = policy.bounded(spec.failed, worst_value, best_value)
            if spec.failed == "skip" or not math.isnan(number):
                failed[name] = number
    unranked = frozenset(name for name, spec in metrics.items() if not spec.ranked)
    bounds = {name: spec.bounds for name, spec in metrics.items()}
    return Rules(directions, missing, worst, best, failed, unranked, bounds)


def as_given(scores: pd.DataFrame, better: Direction = "higher") -> Rules:
    """Return the rules of a table that no challenge speaks for: what it lacks is left out."""
    metrics = [str(name) for name in pd.unique(scores["metric"])]
    return Rules(dict.fromkeys(metrics, better), dict.fromkeys(metrics, "skip"))


def with_empty(scores: pd.DataFrame, outcome: Outcome | None, rules: Rules) -> pd.DataFrame:
    """Return the scores with another score for cases whose reference is empty."""
    if outcome is None or "status" not in scores.columns:
        return scores
    chosen = scores["status"] == table.EMPTY_REFERENCE
    bounds = {"worst": rules.worst, "best": rules.best}.get(str(outcome))
    if bounds is not None:
        values = scores["metric"].map(dict(bounds)).astype(np.float64)
    else:
        values = pd.Series(np.nan if outcome == "skip" else float(outcome), index=scores.index)
    return scores.assign(value=scores["value"].where(~chosen, values))
