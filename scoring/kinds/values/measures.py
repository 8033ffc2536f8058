"""What one number is worth beside its reference."""

from __future__ import annotations

from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.values import Margins


def error(metric: MetricSpec, true: float, said: float) -> float:
    """Return the value of a per-case metric; the reference of a relative error is not 0."""
    if isinstance(metric, Margins):
        return float(is_near(metric, true, said))
    if metric.kind == "signed_error":
        return said - true
    apart = abs(said - true)
    if metric.kind == "absolute_error":
        return apart
    return apart / abs(true) * (100.0 if metric.kind == "percentage_error" else 1.0)


def is_near(metric: Margins, true: float, said: float) -> bool:
    """Return whether a number is within the larger of both margins.

    A difference that only binary numbers make is none: 0.3 is within 0.1 of 0.2.
    """
    allowed = max(metric.absolute, metric.relative * abs(true))
    return abs(said - true) <= allowed + 1e-9 * max(abs(true), allowed)
