"""Metrics of numbers: an error per case and quantity, and agreement with what was measured over all cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.spec import Direction, MetricKind, MetricSpec, Scope

IccForm = Literal["ICC(1)", "ICC(A,1)", "ICC(C,1)"]
"""Intraclass correlation of single values (McGraw and Wong 1996): one-way, absolute agreement, consistency."""


def _error(title: str, formula: str, unit: str = "") -> MetricKind:
    return MetricKind(title, "structure", "lower", unit, 0.0, None, formula)


def _pooled(title: str, formula: str, direction: Direction = "lower", signed: bool = False) -> MetricKind:
    best, worst = (0.0, None) if direction == "lower" else (1.0, -1.0)
    return MetricKind(title, "pooled", direction, "", best, worst, formula, signed=signed)


def _share(title: str, scope: Scope, formula: str) -> MetricKind:
    return MetricKind(title, scope, "higher", "", 1.0, 0.0, formula)


class InUnits(MetricSpec):
    """A metric in the unit of its quantities."""


class ErrorMetric(InUnits):
    """How far a value is from the reference, in its unit.

    Parameters
    ----------
    worst : float, optional
        What ``worst`` means: what a missing value counts as, in the unit of the quantity.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "absolute_error": _error("Absolute error", "|P - R|"),
        "signed_error": MetricKind("Signed error", "structure", "lower", "", 0.0, None, "P - R", signed=True),
    }
    kind: Literal["absolute_error", "signed_error"]
    worst: float | None = None


class RelativeMetric(MetricSpec):
    """How far a value is from the reference, as a part of it; not defined (left out for all) where that is 0.

    Parameters
    ----------
    worst : float, optional
        What ``worst`` means: what a missing value counts as.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "relative_error": _error("Relative error", "|P - R| / |R|"),
        "percentage_error": _error("Absolute percentage error", "100 |P - R| / |R|", "%"),
    }
    kind: Literal["relative_error", "percentage_error"]
    worst: float | None = None


class Margins(MetricSpec):
    """A metric that asks whether a value is near enough: by no more than the larger of both margins.

    Parameters
    ----------
    absolute : float
        In the unit of the quantity.
    relative : float
        As a part of the reference.
    """

    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    relative: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _near_enough_is_said(self) -> Margins:
        if not (self.absolute or self.relative):
            raise ValueError(f"{self.kind} needs 'absolute' (in the unit of the quantity) or 'relative' (0.1 is 10 %)")
        return self

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        parts = [f"{self.absolute:g}"] if self.absolute else []
        parts += [f"{100 * self.relative:g} %"] if self.relative else []
        return [*super().parameters(), f"within {' or '.join(parts)}"]


class WithinMetric(Margins):
    """Whether a value is near enough to the reference."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "within": _share("Within the margin", "structure", "1 where |P - R| is within the margin, else 0"),
    }
    kind: Literal["within"]


class SuccessMetric(Margins, PooledMetric):
    """How many values are near enough to the reference."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "success_rate": _share("Success rate", "pooled", "share of cases with |P - R| within the margin"),
    }
    kind: Literal["success_rate"]


class SpreadMetric(InUnits, PooledMetric):
    """Errors of all cases together, in the unit of the quantity.

    Parameters
    ----------
    worst : float, optional
        What ``worst`` means: the size of the error that a missing value counts as.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "mae": _pooled("Mean absolute error", "mean of |P - R|"),
        "median_error": _pooled("Median absolute error", "median of |P - R|"),
        "rmse": _pooled("Root mean squared error", "square root of the mean of (P - R)^2"),
        "limits_width": _pooled(
            "Width of the limits of agreement", "2 x 1.96 standard deviations of P - R; Bland and Altman 1986"
        ),
    }
    kind: Literal["mae", "median_error", "rmse", "limits_width"]
    worst: float | None = None


class BiasMetric(InUnits, PooledMetric):
    """Where the errors lie, in the unit of the quantity.

    Zero is best, so none of them has a better end to rank by: take ``abs`` or ``target`` in the recipe.

    Parameters
    ----------
    worst : float, optional
        What ``worst`` means: the size of the error that a missing value counts as, on the side of the team's own bias.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "bias": _pooled("Bias", "mean of P - R", signed=True),
        "lower_limit": _pooled(
            "Lower limit of agreement", "bias - 1.96 standard deviations; Bland and Altman 1986", signed=True
        ),
        "upper_limit": _pooled(
            "Upper limit of agreement", "bias + 1.96 standard deviations; Bland and Altman 1986", signed=True
        ),
    }
    kind: Literal["bias", "lower_limit", "upper_limit"]
    worst: float | None = None


class AgreementMetric(PooledMetric):
    """Agreement of values and references over all cases.

    A missing value counts as the end of the references' range that is farther from its own reference.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "r2": MetricKind(
            "Coefficient of determination", "pooled", "higher", "", 1.0, None, "1 - sum (R - P)^2 / sum (R - mean R)^2"
        ),
        "pearson": _pooled("Pearson correlation", "covariance of P and R over their standard deviations", "higher"),
        "spearman": _pooled("Spearman correlation", "Pearson correlation of the ranks, ties by their mean", "higher"),
        "concordance": _pooled("Concordance correlation", "Lin 1989, with population moments", "higher"),
    }
    kind: Literal["r2", "pearson", "spearman", "concordance"]


class IccMetric(PooledMetric):
    """Intraclass correlation of values and references.

    Parameters
    ----------
    form : {"ICC(1)", "ICC(A,1)", "ICC(C,1)"}
        One-way, absolute agreement (two-way), or consistency (two-way); McGraw and Wong 1996.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "icc": _pooled("Intraclass correlation", "of single values; McGraw and Wong 1996", "higher"),
    }
    kind: Literal["icc"]
    form: IccForm = "ICC(A,1)"

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), self.form]
