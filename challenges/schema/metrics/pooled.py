"""Metrics with one value per set of cases: all of them are pooled before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from medpodium.challenges.schema.metrics.spec import Lazy, MetricKind, MetricSpec


def _pooled(title: str, formula: str, worst: float = 0.0, blind_to: tuple[Lazy, ...] = ()) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, worst, formula, blind_to=blind_to)


class PooledMetric(MetricSpec):
    """A metric of pooled cases.

    Parameters
    ----------
    worst : float, optional
        What ``worst`` means.
    """

    worst: float | None = None


class ClassMetric(PooledMetric):
    """Agreement of classes: of all of them, or of the two sides of a binary problem.

    Parameters
    ----------
    problem : str, optional
        Name of the binary problem; all classes at once when left out, where the metric is defined for them.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "accuracy": _pooled("Accuracy", "share of cases on the right side of the threshold"),
        "auc": _pooled("Area under the ROC curve", "Mann-Whitney statistic of pooled cases, ties one half"),
        "sensitivity": _pooled("Sensitivity", "TP / (TP+FN)", blind_to=("everything",)),
        "specificity": _pooled("Specificity", "TN / (TN+FP)", blind_to=("next to nothing",)),
        "balanced_accuracy": _pooled("Balanced accuracy", "mean of the recalls of all classes"),
    }
    kind: Literal["accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy"]
    problem: str | None = None

    @property
    def needs_problem(self) -> bool:
        """Whether the metric is defined for binary problems only."""
        return self.kind in ("auc", "sensitivity", "specificity")

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"problem {self.problem}"] if self.problem else [])]


class OrdinalMetric(PooledMetric):
    """Agreement of ordered classes, all of them at once."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "quadratic_kappa": _pooled("Quadratic weighted kappa", "Cohen 1968 with squared weights", worst=-1.0),
    }
    kind: Literal["quadratic_kappa"]
