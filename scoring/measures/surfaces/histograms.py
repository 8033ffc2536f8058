"""Distances from one surface to another, summed up: what every metric of distances asks.

Forms that answer the same questions. :class:`Directed` is a histogram of distinct distances in order, which the near
search gives for nothing. :class:`Scattered` is what a sweep over a box leaves: a weight per offset, in any order. Noise
has millions of offsets; nobody needs them in order, as a share within a tolerance, a mean or a maximum is a sum, and a
percentile needs the order of a few of them only. A third one works out no more than is asked for
(:class:`~medpodium.scoring.measures.surfaces.blocks.Blocked`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.measures.surfaces.points import Floats, Ints

_BUCKETS = 1 << 14
_CHUNK = 256
STEP_ROUNDING = 1e-9
"""Cumulative weights nearer than this to a quantile are decided in the reference's own order of operations."""


@dataclass(frozen=True)
class Directed:
    """Distances from every point of one surface to the nearest point of another, as a weighted histogram.

    Attributes
    ----------
    values : ndarray of float64, shape (m,)
        Distinct distances in mm, ascending.
    weights : ndarray of float64, shape (m,)
        Total weight at each distance: mm² for surfels, number of voxels for border voxels.
    counts : ndarray of int64, shape (m,)
        Number of points at each distance.
    """

    values: Floats
    weights: Floats
    counts: Ints

    @property
    def total(self) -> float:
        """Total weight (mm² for surfels)."""
        return float(self.weights.sum())

    @property
    def moment(self) -> float:
        """Sum of distance times weight."""
        return float(self.values @ self.weights)

    @property
    def largest(self) -> float:
        """The largest distance in mm."""
        return float(self.values[-1])

    def within(self, limit_mm: float) -> float:
        """Return the weight of the points that are no farther."""
        return float(self.weights[self.values <= limit_mm].sum())

    def between(self, low_mm: float, high_mm: float) -> bool:
        """Return whether some distance is at least ``low_mm`` and less than ``high_mm``."""
        first, behind = np.searchsorted(self.values, [low_mm, high_mm])
        return bool(first < behind)

    def reached(self, quantile: float) -> float | None:
        """Return the first distance at which the share of weight reaches a quantile.

        ``None`` where rounding could decide: a share nearer to the quantile than ``STEP_ROUNDING``.
        """
        cumulative = np.cumsum(self.weights) / self.total
        if np.any(np.abs(cumulative[:-1] - quantile) < STEP_ROUNDING):
            return None
        place = int(np.searchsorted(cumulative, quantile))
        return float(self.values[min(place, self.values.size - 1)])


@kernel
def _bucket_weights(values, weights, scale, n):  # type: ignore[no-untyped-def]
    """Sum up weights over equal ranges of values: bucket ``int(value * scale)`` of ``n``."""
    sums = np.zeros(n)
    for i in range(values.size):
        sums[min(np.int64(values[i] * scale), n - 1)] += weights[i]
    return sums


@kernel
def _of_buckets(values, weights, scale, n, first, last):  # type: ignore[no-untyped-def]
    """Return the values, and their weights, of the buckets ``first`` to ``last``, that one included."""
    m = 0
    for i in range(values.size):
        m += first <= min(np.int64(values[i] * scale), n - 1) <= last
    found, own = np.empty(m), np.empty(m)
    m = 0
    for i in range(values.size):
        if first <= min(np.int64(values[i] * scale), n - 1) <= last:
            found[m] = values[i]
            own[m] = weights[i]
            m += 1
    return found, own


@kernel
def _shares(values, weights, limit):  # type: ignore[no-untyped-def]
    """Return the total weight, the sum of value times weight, the largest value, and the weight up to a limit."""
    total = 0.0
    moment = 0.0
    largest = 0.0
    inside = 0.0
    for start in range(0, values.size, _CHUNK):  # a million equal weights added to one sum round alike
        own_total = 0.0
        own_moment = 0.0
        own_inside = 0.0
        for i in range(start, min(start + _CHUNK, values.size)):
            own_total += weights[i]
            own_moment += values[i] * weights[i]
            largest = max(largest, values[i])
            own_inside += weights[i] if values[i] <= limit else 0.0
        total += own_total
        moment += own_moment
        inside += own_inside
    return total, moment, largest, inside


@dataclass(frozen=True)
class Scattered:
    """Distances like :class:`Directed`, in any order and perhaps repeated; put into order only when asked for.

    Attributes
    ----------
    distances, parts : ndarray of float64, shape (n,)
        Distances in mm, n > 0, with the weight at each.
    count : callable
        Returns the number of points at each.
    """

    distances: Floats
    parts: Floats
    count: Callable[[], Ints] = field(repr=False)

    @cached_property
    def _ordered(self) -> tuple[Floats, Floats, Ints]:
        values, place = np.unique(self.distances, return_inverse=True)
        counts = np.bincount(place, self.count()).astype(np.int64)
        return values, np.bincount(place, self.parts).astype(np.float64), counts

    @property
    def values(self) -> Floats:
        """Distinct distances in mm, ascending."""
        return self._ordered[0]

    @property
    def weights(self) -> Floats:
        """Total weight at each distinct distance."""
        return self._ordered[1]

    @property
    def counts(self) -> Ints:
        """Number of points at each distinct distance."""
        return self._ordered[2]

    @cached_property
    def _sums(self) -> tuple[float, float, float]:
        total, moment, largest, _ = _shares(self.distances, self.parts, 0.0)
        return float(total), float(moment), float(largest)

    @property
    def total(self) -> float:
        """Total weight (mm² for surfels)."""
        return self._sums[0]

    @property
    def moment(self) -> float:
        """Sum of distance times weight."""
        return self._sums[1]

    @property
    def largest(self) -> float:
        """The largest distance in mm."""
        return self._sums[2]

    def within(self, limit_mm: float) -> float:
        """Return the weight of the points that are no farther."""
        return float(_shares(self.distances, self.parts, limit_mm)[3])

    def between(self, low_mm: float, high_mm: float) -> bool:
        """Return whether some distance is at least ``low_mm`` and less than ``high_mm``."""
        return bool(((self.distances >= low_mm) & (self.distances < high_mm)).any())

    def reached(self, quantile: float) -> float | None:
        """Return the first distance at which the share of weight reaches a quantile; see :class:`Directed`."""
        return first_reached(self.distances, self.parts, quantile, 0.0, self.total)


def first_reached(distances: Floats, parts: Floats, quantile: float, below: float, total: float) -> float | None:
    """Return the first of some distances at which the share of weight reaches a quantile; see :class:`Directed`.

    Parameters
    ----------
    distances, parts : ndarray of float64, shape (n,)
        Distances in mm, n > 0, in any order and perhaps repeated, with the weight at each.
    quantile : float
    below, total : float
        Weight of the points that are nearer than these, and of all points.
    """
    largest = float(distances.max())
    scale = (_BUCKETS - 1) / largest if largest > 0 else 0.0
    sums = _bucket_weights(distances, parts, scale, _BUCKETS)
    ends = (below + np.cumsum(sums)) / total
    slack = 2 * STEP_ROUNDING
    # the step at the quantile, and the ones that are so near that rounding could decide, lie in these buckets
    first = int(np.searchsorted(ends, quantile - slack))
    last = min(int(np.searchsorted(ends, quantile + slack)), _BUCKETS - 1)
    first = min(first, last)
    values, weights = _of_buckets(distances, parts, scale, _BUCKETS, first, last)
    if not values.size:
        return largest
    order = np.argsort(values, kind="stable")
    values = values[order]
    steps = np.cumsum(weights[order]) + (below + sums[:first].sum())
    ends_of = np.append(values[1:] != values[:-1], True)
    values, shares = values[ends_of], steps[ends_of] / total
    inner = shares[:-1] if values[-1] >= largest else shares
    if np.any(np.abs(inner - quantile) < STEP_ROUNDING):
        return None
    place = int(np.searchsorted(shares, quantile))
    return float(values[place]) if place < values.size else largest


def joined(near: Directed, far: Scattered) -> Directed | Scattered:
    """Return the distances of two sets of points together; either may be empty."""
    if not near.values.size:
        return far
    if not far.distances.size:
        return near
    return Scattered(
        np.concatenate([near.values, far.distances]),
        np.concatenate([near.weights, far.parts]),
        lambda: np.concatenate([near.counts, far.count()]),
    )
