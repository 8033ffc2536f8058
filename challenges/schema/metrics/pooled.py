"""Metrics of classes: with one value per case, or one per set of cases that are pooled before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

from pydantic import Field

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


class SensitivityMetric(PooledMetric):
    """The most of the positive cases that are found while enough of the negative ones are left alone.

    Parameters
    ----------
    problem : str
        Name of the binary problem.
    specificity : float
        Share of the negative cases that has to be left alone at least.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "sensitivity_at_specificity": _pooled(
            "Sensitivity at a specificity", "largest TP / (TP+FN) of any threshold with enough specificity"
        ),
    }
    kind: Literal["sensitivity_at_specificity"]
    problem: str
    specificity: float = Field(gt=0, le=1)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), f"problem {self.problem}", f"specificity at least {self.specificity:g}"]


class CalibrationMetric(PooledMetric):
    """Expected calibration error.

    Parameters
    ----------
    bins : int
        Number of bins of the confidence.
    binning : {"width", "mass"}
        Bins of equal width, or of equally many cases.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "ece": _error("Expected calibration error", "mean of |accuracy - mean confidence| over bins; Guo 2017", 1.0),
    }
    kind: Literal["ece"]
    bins: int = Field(default=10, ge=1)
    binning: Literal["width", "mass"] = "width"

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), f"{self.bins} bins of equal {self.binning}"]


class ClassCalibrationMetric(CalibrationMetric):
    """Expected calibration error of the class answered, or of the positive side of a problem.

    Parameters
    ----------
    problem : str, optional
        Name of the binary problem; the probability of the most likely class, and whether it is right, when left out.
    """

    problem: str | None = None

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"problem {self.problem}"] if self.problem else [])]


class DistributionMetric(PooledMetric):
    """How well the probabilities of all classes fit the true one.

    Areas and precisions take every class against the rest: ``macro`` is the mean over the classes, ``weighted`` that
    mean by the number of cases, ``micro`` takes all pairs of a case and a class together.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "macro_auc": _pooled("Macro AUROC", "mean of the areas of every class against the rest"),
        "weighted_auc": _pooled("Weighted AUROC", "mean of the areas of every class against the rest, by its cases"),
        "micro_auc": _pooled("Micro AUROC", "area over all pairs of a case and a class"),
        "macro_average_precision": _pooled("Macro average precision", "mean over every class against the rest"),
        "micro_average_precision": _pooled("Micro average precision", "over all pairs of a case and a class"),
        "multiclass_brier": _error("Brier score of all classes", "mean of the sum of squared errors; Brier 1950", 2.0),
        "multiclass_log_loss": _error(
            "Log loss of all classes", "mean negative logarithm of the probability of the true class", 37.0
        ),
        "rps": _error(
            "Ranked probability score",
            "mean squared error of the cumulated probabilities over K - 1 steps; Epstein 1969",
            1.0,
        ),
    }
    kind: Literal[
        "macro_auc",
        "weighted_auc",
        "micro_auc",
        "macro_average_precision",
        "micro_average_precision",
        "multiclass_brier",
        "multiclass_log_loss",
        "rps",
    ]


class CaseClassMetric(MetricSpec):
    """A value of every single case: of its class, or of its side of a binary problem.

    Parameters
    ----------
    problem : str, optional
        Name of the binary problem; all classes when left out.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "correct": MetricKind("Right class", "case", "higher", "", 1.0, 0.0, "1 where the class is right, else 0"),
        "case_brier": MetricKind(
            "Brier score of a case", "case", "lower", "", 0.0, 2.0, "sum of squared errors over all classes; Brier 1950"
        ),
        "case_log_loss": MetricKind(
            "Log loss of a case",
            "case",
            "lower",
            "",
            0.0,
            37.0,
            "negative logarithm of the true side's probability",
        ),
    }
    kind: Literal["correct", "case_brier", "case_log_loss"]
    problem: str | None = None
    worst: float | None = None

    @property
    def needs_probabilities(self) -> bool:
        """Whether a class alone says nothing about it."""
        return self.kind in ("case_brier", "case_log_loss")

    def worst_value(self, diagonal_mm: float) -> float | None:
        """Return the worst value: one square of a problem, two of several classes."""
        of_problem = self.kind == "case_brier" and self.problem is not None and self.worst is None
        return 1.0 if of_problem and self.better == "lower" else super().worst_value(diagonal_mm)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"problem {self.problem}"] if self.problem else [])]


class CaseGradeMetric(MetricSpec):
    """How far the class of every single case is off, in steps between the classes in their order."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "case_grade_error": MetricKind(
            "Error of the grade", "case", "lower", "", 0.0, None, "number of classes between answer and truth"
        ),
    }
    kind: Literal["case_grade_error"]
    worst: float | None = None


class LabelSetMetric(MetricSpec):
    """A value of every single case of several labels: how far the set of labels that were given is the true one."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "exact_match": MetricKind(
            "Exact match", "case", "higher", "", 1.0, 0.0, "1 where all labels are right, else 0"
        ),
        "hamming_loss": MetricKind("Hamming loss", "case", "lower", "", 0.0, 1.0, "share of the labels that are wrong"),
        "sample_f1": MetricKind(
            "F1 of a case",
            "case",
            "higher",
            "",
            1.0,
            0.0,
            "2 TP / (2 TP + FP + FN) over the labels; 1 where both sets are empty",
        ),
    }
    kind: Literal["exact_match", "hamming_loss", "sample_f1"]


class EachLabelMetric(PooledMetric):
    """A value of every label, over all cases: it is there, or it is not."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "accuracy": _pooled("Accuracy", "share of cases on the right side of the threshold"),
        "balanced_accuracy": _pooled("Balanced accuracy", "mean of sensitivity and specificity"),
        "sensitivity": _pooled("Sensitivity", "TP / (TP+FN)", blind_to=("everything",)),
        "specificity": _pooled("Specificity", "TN / (TN+FP)", blind_to=("next to nothing",)),
        "f1": _pooled("F1", "2 TP / (2 TP + FP + FN)"),
        "mcc": _pooled("Matthews correlation", "Gorodkin 2004", worst=-1.0),
        "auc": _pooled("Area under the ROC curve", "Mann-Whitney statistic, ties one half"),
        "average_precision": _pooled("Average precision", "sum (R_n - R_n-1) P_n over the scores, not interpolated"),
        "brier": _error("Brier score", "mean squared difference of probability and outcome", 1.0),
        "log_loss": _error("Log loss", "mean negative logarithm of the probability given to what is true", 37.0),
    }
    kind: Literal[
        "accuracy",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "f1",
        "mcc",
        "auc",
        "average_precision",
        "brier",
        "log_loss",
    ]


class AllLabelsMetric(PooledMetric):
    """A value of all labels together: ``macro`` is the mean over them, ``micro`` takes all pairs of case and label."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "macro_f1": _pooled("Macro F1", "mean of the F1 scores of the labels that occur"),
        "micro_f1": _pooled("Micro F1", "F1 of all counts together"),
        "weighted_f1": _pooled("Weighted F1", "mean of the F1 scores by the number of cases with the label"),
        "macro_auc": _pooled("Macro AUROC", "mean of the areas of all labels"),
        "weighted_auc": _pooled("Weighted AUROC", "mean of the areas of all labels, by the cases with the label"),
        "micro_auc": _pooled("Micro AUROC", "area over all pairs of a case and a label"),
        "macro_average_precision": _pooled("Macro average precision", "mean over the labels"),
        "micro_average_precision": _pooled("Micro average precision", "over all pairs of a case and a label"),
    }
    kind: Literal[
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "macro_auc",
        "weighted_auc",
        "micro_auc",
        "macro_average_precision",
        "micro_average_precision",
    ]


ClassesMetric: TypeAlias = (
    ClassMetric
    | OrdinalMetric
    | SensitivityMetric
    | ClassCalibrationMetric
    | DistributionMetric
    | CaseClassMetric
    | CaseGradeMetric
)
"""What scores classes; values of the same metrics may be imported."""
