"""Metrics with one value per set of cases: all of them are pooled before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from medpodium.challenges.schema.metrics.spec import Lazy, MetricKind, MetricSpec


def _pooled(title: str, formula: str, worst: float = 0.0, blind_to: tuple[Lazy, ...] = ()) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, worst, formula, blind_to=blind_to)


def _error(title: str, formula: str, worst: float | None) -> MetricKind:
    return MetricKind(title, "pooled", "lower", "", 0.0, worst, formula)


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
        "average_precision": _pooled("Average precision", "sum (R_n - R_n-1) P_n over the scores, not interpolated"),
        "brier": _error("Brier score", "mean squared difference of probability and outcome", 1.0),
        "log_loss": _error("Log loss", "mean negative logarithm of the probability given to what is true", 37.0),
    }
    kind: Literal[
        "accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy", "average_precision", "brier", "log_loss"
    ]
    problem: str | None = None

    @property
    def needs_problem(self) -> bool:
        """Whether the metric is defined for binary problems only."""
        return self.kind not in ("accuracy", "balanced_accuracy")

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"problem {self.problem}"] if self.problem else [])]


class OrdinalMetric(PooledMetric):
    """Agreement of classes, all of them at once; distances are steps between the classes in their order."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "quadratic_kappa": _pooled("Quadratic weighted kappa", "Cohen 1968 with squared weights", worst=-1.0),
        "linear_kappa": _pooled("Linear weighted kappa", "Cohen 1968 with weights by distance", worst=-1.0),
        "kappa": _pooled("Cohen's kappa", "Cohen 1960", worst=-1.0),
        "mcc": _pooled("Matthews correlation", "Gorodkin 2004, for any number of classes", worst=-1.0),
        "macro_f1": _pooled("Macro F1", "mean of the F1 scores of the classes that occur"),
        "micro_f1": _pooled("Micro F1", "F1 of all counts together"),
        "weighted_f1": _pooled("Weighted F1", "mean of the F1 scores by the number of cases"),
        "grade_error": _error("Mean error of the grade", "mean number of classes between answer and truth", None),
    }
    kind: Literal[
        "quadratic_kappa", "linear_kappa", "kappa", "mcc", "macro_f1", "micro_f1", "weighted_f1", "grade_error"
    ]
