"""Metrics of risks: how well their order fits when an event came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.spec import MetricKind

Time = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _order(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, 0.0, formula)


class ConcordanceMetric(PooledMetric):
    """Share of comparable pairs of cases in which the earlier event has the higher risk.

    Parameters
    ----------
    tau : float, optional
        Only events before this time count, in the unit of the times.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "harrell_c": _order("C-index (Harrell)", "Harrell 1996; equal risks one half"),
        "uno_c": _order("C-index (Uno)", "Uno 2011: pairs weighed by the inverse square of the chance of no censoring"),
    }
    kind: Literal["harrell_c", "uno_c"]
    tau: Time | None = None

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([] if self.tau is None else [f"events before {self.tau:g}"])]


class CurveMetric(PooledMetric):
    """Error of the predicted probabilities of being free of the event, weighed for censoring.

    Parameters
    ----------
    times : list of float, optional
        Some of the times at which the task asks for a probability; all of them when left out. With a single one it is
        the Brier score at that time.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "integrated_brier": MetricKind(
            "Integrated Brier score",
            "pooled",
            "lower",
            "",
            0.0,
            1.0,
            "mean over time of the squared error, weighed by the chance of no censoring; Graf 1999",
        ),
    }
    kind: Literal["integrated_brier"]
    times: list[Time] | None = Field(default=None, min_length=1)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        own = [] if self.times is None else [f"at {', '.join(f'{time:g}' for time in self.times)}"]
        return [*super().parameters(), *own]


class TimeAucMetric(PooledMetric):
    """Area under the ROC curve of having had the event until a time; the mean over several times.

    Parameters
    ----------
    times : list of float
        Where, in the unit of the times.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "time_auc": _order(
            "Time-dependent AUC", "cumulative/dynamic, weighed by the chance of no censoring; Hung 2010"
        ),
    }
    kind: Literal["time_auc"]
    times: list[Time] = Field(min_length=1)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), f"at {', '.join(f'{time:g}' for time in self.times)}"]
