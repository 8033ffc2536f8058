"""Areas under curves over time, such as the memory of a run."""

from __future__ import annotations

from collections.abc import Sequence


def area(times: Sequence[float], values: Sequence[float], tolerance: float = 0.0) -> float:
    """Return the area under a curve above a tolerance, by trapezoids over the true time stamps.

    FLARE's monitor adds samples times a nominal step of 0.1 s and so underestimates the integral; here the steps are
    as measured. Where the curve crosses the tolerance, the crossing is interpolated.

    Parameters
    ----------
    times : sequence of float
        Time stamps in s, ascending.
    values : sequence of float
        Readings, in MB for an area in MB s.
    tolerance : float
        The area of ``max(0, value - tolerance)`` is returned.

    Returns
    -------
    float
        NaN without a reading, 0 for a single one.
    """
    if not times:
        return float("nan")
    total = 0.0
    for index in range(1, len(times)):
        step = times[index] - times[index - 1]
        low, high = sorted((values[index - 1] - tolerance, values[index] - tolerance))
        if low >= 0:
            total += step * (low + high) / 2
        elif high > 0:
            total += step * high * high / (high - low) / 2
    return total
