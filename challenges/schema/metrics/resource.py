"""Metrics of what a run used: one value per case, measured by the runner and not from a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from medpodium.challenges.schema.metrics.spec import MetricKind, MetricSpec


def _resource(title: str, unit: str, formula: str) -> MetricKind:
    return MetricKind(title, "case", "lower", unit, 0.0, None, formula)


_TIMES = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SIZES = {"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
_UNITS = {**_TIMES, **_SIZES, **{f"{unit} s": size for unit, size in _SIZES.items()}}
"""What one of each unit is in s, bytes and bytes times s."""
_SAME = 1e-9
"""Relative difference below which two measured values are one: what adding up floating-point readings may cost."""


class MeasuredMetric(MetricSpec):
    """A metric that the runner measures.

    Parameters
    ----------
    unit : str, optional
        Unit of the value and of ``free``, ``missing``, ``failed`` and ``worst``: s, min or h; MB, GB, MiB or GiB; the
        same times s for an area. What was measured is converted to it.
    free : float
        Tolerance: what is used up to here costs nothing.
    worst : float, optional
        What ``worst`` means, in the metric's unit.
    """

    free: float = Field(default=0.0, ge=0)
    worst: float | None = None

    @model_validator(mode="after")
    def _unit_fits(self) -> MeasuredMetric:
        own = self.info.unit
        fitting = [unit for unit in _UNITS if _quantity(unit) == _quantity(own)] or [own]
        if self.unit_name not in fitting:
            raise ValueError(f"{self.kind} is measured in {own}; its unit may be {', '.join(fitting)}")
        return self

    def in_unit(self, recorded: float) -> float:
        """Convert a recorded value (in the unit of the kind: s, MB, MB s or % s) to the metric's unit."""
        if self.unit_name == self.info.unit:
            return recorded
        return recorded * _UNITS[self.info.unit] / _UNITS[self.unit_name]


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
        return 0.0 if math.isclose(measured, self.free, rel_tol=_SAME) else max(0.0, measured - self.free)

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [*super().parameters(), *([f"free up to {self.free:g} {self.unit_name}"] if self.free else [])]


class AreaMetric(MeasuredMetric):
    """Area under a curve over time.

    ``free`` is in the unit of the curve (the area's without the seconds) and comes off the curve before integrating,
    where it was measured.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "gpu_memory_area": _resource(
            "Area under the GPU memory-time curve",
            "MB s",
            "integral of the GPU memory above what is free over true time stamps",
        ),
        "cpu_area": _resource(
            "Area under the CPU utilisation-time curve", "% s", "integral of CPU utilisation over time"
        ),
    }
    kind: Literal["gpu_memory_area", "cpu_area"]

    @property
    def curve_unit(self) -> str:
        """Unit of the curve."""
        return self.unit_name.removesuffix(" s")

    def of_curve(self, size: float) -> float:
        """Convert a reading of the curve from bytes to :attr:`curve_unit`."""
        return size / _UNITS[self.curve_unit]

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [
            *super().parameters(),
            *([f"free up to {self.free:g} {self.curve_unit}, taken off the curve"] if self.free else []),
        ]


def _quantity(unit: str) -> str:
    """Return what a unit is a unit of; itself where there is only one."""
    if unit in _TIMES:
        return "time"
    size, _, seconds = unit.partition(" ")
    return f"memory {seconds}" if size in _SIZES else unit
