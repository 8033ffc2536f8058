"""Metrics of answers: a value per question, or per criterion of a judge, and what is pooled over the questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.spec import MetricKind, MetricSpec

Trials = Literal["mean", "majority", "pass", "pass-all"]
"""What several trials of a question are worth: the share that is right, whether the answer given most often is (of
answers given equally often the one given first), or the chance that one, or all, of ``k`` drawn trials are right."""


def _share(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "case", "higher", "", 1.0, 0.0, formula)


def _pooled(title: str, formula: str, worst: float = 0.0) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, worst, formula)


def _error(title: str, formula: str, worst: float) -> MetricKind:
    return MetricKind(title, "pooled", "lower", "", 0.0, worst, formula)


class ItemMetric(MetricSpec):
    """A value per question, or per question and order of its options.

    Parameters
    ----------
    trials : {"mean", "majority", "pass", "pass-all"}
        What several trials of a question are worth.
    k : int
        Trials that are drawn for ``pass`` and ``pass-all``.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "correct": _share("Accuracy", "1 where the answer is right, else 0"),
        "token_f1": _share("Token F1", "F1 of the words (Chinese: signs) of answer and key; best of the key's aliases"),
        "option_recall": _share("Recall of options", "right options that were chosen / right options"),
        "option_precision": _share("Precision of options", "right options that were chosen / chosen options"),
    }
    kind: Literal["correct", "token_f1", "option_recall", "option_precision"]
    trials: Trials = "mean"
    k: int = Field(default=1, ge=1)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        named = {"pass": f"pass@{self.k}", "pass-all": f"pass-all@{self.k}", "majority": "majority of the trials"}
        return [*super().parameters(), *([named[self.trials]] if self.trials in named else [])]


class OrdersMetric(MetricSpec):
    """A value per question over all orders of its options, by the answer given most often in each order."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "consistent": _share(
            "Right in every order", "1 where the answer is right in all orders of the options, else 0"
        ),
        "stable": _share("Same in every order", "1 where the answer is the same in all orders, right or wrong, else 0"),
    }
    kind: Literal["consistent", "stable"]


class JudgedMetric(MetricSpec):
    """A score that a judge gave, per question and criterion: the mean of its rounds.

    Parameters
    ----------
    unparsed : {"count", "drop"}
        A round without a number counts as the lowest score (``count``) or is left out (``drop``, as published scorers
        do); a criterion of which no round has one is missing.
    worst : float, optional
        What ``worst`` means; the lowest score of the criteria when left out.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "judged": MetricKind("Judged score", "structure", "higher", "", None, None, "mean of a judge's rounds"),
    }
    kind: Literal["judged"]
    unparsed: Literal["count", "drop"] = "count"
    worst: float = 0.0

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *(["rounds without a score left out"] if self.unparsed == "drop" else [])]


class LabelMetric(PooledMetric):
    """Agreement of the answers with the key, over all questions at once."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "accuracy": _pooled("Accuracy", "share of questions whose answer (of several trials: most frequent) is right"),
        "balanced_accuracy": _pooled("Balanced accuracy", "mean of the recalls of all answers of the key"),
        "macro_f1": _pooled("Macro F1", "mean of the F1 scores of the answers that occur"),
        "micro_f1": _pooled("Micro F1", "F1 of all counts together"),
        "weighted_f1": _pooled("Weighted F1", "mean of the F1 scores by the number of questions"),
        "mcc": _pooled("Matthews correlation", "Gorodkin 2004, for any number of answers", worst=-1.0),
        "kappa": _pooled("Cohen's kappa", "Cohen 1960", worst=-1.0),
        "linear_kappa": _pooled("Linear weighted kappa", "Cohen 1968 with weights by distance", worst=-1.0),
        "quadratic_kappa": _pooled("Quadratic weighted kappa", "Cohen 1968 with squared weights", worst=-1.0),
    }
    kind: Literal[
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "mcc",
        "kappa",
        "linear_kappa",
        "quadratic_kappa",
    ]


class ConfidenceMetric(PooledMetric):
    """How well the confidence in the answers fits how often they are right."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "brier": _error("Brier score", "mean squared difference of confidence and being right", 1.0),
        "log_loss": _error("Log loss", "mean negative logarithm of the probability given to what happened", 37.0),
        "shift_size": _error("Size of the calibration shift", "|mean confidence - accuracy|", 1.0),
        "confidence_auc": _pooled("AUROC of confidence", "whether right answers have more confidence, ties one half"),
    }
    kind: Literal["brier", "log_loss", "shift_size", "confidence_auc"]


class ShiftMetric(PooledMetric):
    """Mean confidence minus accuracy (MedQ-Deg): positive where a model is overconfident.

    Zero is best, so it has no better end to rank by: rank by ``shift_size``, or take ``abs`` in the recipe.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "calibration_shift": MetricKind(
            "Calibration shift", "pooled", "lower", "", 0.0, None, "mean confidence - accuracy", signed=True
        ),
    }
    kind: Literal["calibration_shift"]
    worst: float | None = 1.0
