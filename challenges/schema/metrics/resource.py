"""Metrics of what a run used: one value per case, measured by the runner and not from a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from medpodium.challenges.schema.metrics.spec import MetricKind, MetricSpec


def _resource(title: str, unit: str, formula: str) -> MetricKind:
    return MetricKind(title, "case", "lower", unit, 0.0, None, formula)


class MeasuredMetric(MetricSpec):
    """A metric that the runner measures.

    Parameters
    ----------
    free : float
        Tolerance: what is used up to here costs nothing.
    worst : float, optional
        What ``worst`` means, in the metric's unit.
    """

    free: float = Field(default=0.0, ge=0)
    worst: float | None = None


class ResourceMetric(MeasuredMetric):
    """Time or memory of a run; the score is ``max(0, measured - free)``, ``free`` in the metric's unit."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "running_time": _resource("Running time", "s", "wall time of the container, start to end"),
        "cpu_time": _resource("CPU time", "s", "CPU time of the container's processes"),
        "peak_memory": _resource("Peak memory", "MB", "largest memory of the container's control group"),
        "mean_memory": _resource("Mean memory", "MB", "time-weighted mean memory of the container's control group"),
        "peak_gpu_memory": _resource("Peak GPU memory", "MB", "largest GPU memory of the container's processes"),
    }
    kind: Literal["running_time", "cpu_time", "peak_memory", "mean_memory", "peak_gpu_memory"]

    def above_free(self, measured: float) -> float:
        """Take the tolerance off a measured value."""
        return max(0.0, measured - self.free)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"free up to {self.free:g} {self.unit_name}"] if self.free else [])]


class AreaMetric(MeasuredMetric):
    """Area under a curve over time.

    ``free`` is in the unit of the curve (MB) and comes off the curve before integrating, where it was measured.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "gpu_memory_area": _resource(
            "Area under the GPU memory-time curve",
            "MB s",
            "integral of the GPU memory above `free` over true time stamps",
        ),
        "cpu_area": _resource(
            "Area under the CPU utilisation-time curve", "% s", "integral of CPU utilisation over time"
        ),
    }
    kind: Literal["gpu_memory_area", "cpu_area"]

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"free up to {self.free:g} MB, taken off the curve"] if self.free else [])]
