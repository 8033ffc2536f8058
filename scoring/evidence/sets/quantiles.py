"""Bounds of quantiles over cases from order statistics, which hold for any distribution of the scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def order_bounds(values: Floats, q: float, chance: float) -> tuple[Floats, Floats]:
    """Return bounds of the q-quantile of every column that fail with at most the given chance.

    The number of cases not above the quantile is binomial, so two order statistics enclose it (Thompson, Annals of
    Mathematical Statistics 7, 1936; David and Nagaraja 2003, section 7.1). For cases from strata of fixed size it is a
    sum of unequal Bernoulli variables, whose tails are no heavier (Hoeffding, Annals of Mathematical Statistics 27,
    1956).

    Parameters
    ----------
    values : ndarray of float, shape (n_cases, n_columns)
        NaN is left out.
    q : float
        Between 0 and 1, both excluded.
    chance : float
        Half of it on either side.

    Returns
    -------
    low, high : ndarray of float, shape (n_columns,)
        Infinite where there are too few cases.
    """
    number = (~np.isnan(values)).sum(axis=0)
    ordered = np.sort(values, axis=0)  # NaN last
    low, high = np.full(len(number), -np.inf), np.full(len(number), np.inf)
    for n in np.unique(number[number > 0]).tolist():
        below, above = _positions(n, q, chance / 2)
        mine = number == n
        if below is not None:
            low[mine] = ordered[below, mine]
        if above is not None:
            high[mine] = ordered[above, mine]
    return low, high


def _positions(n: int, q: float, tail: float) -> tuple[int | None, int | None]:
    """Return the 0-based order statistics below and above the quantile with at most the tail's chance to fail."""
    from scipy import stats

    counts = np.arange(n + 1)
    # the r-th smallest is above the quantile if at most r - 1 cases are not above it
    usable = np.flatnonzero((stats.binom.cdf(counts, n, q) <= tail) & (counts <= n * q - 1))
    below = int(usable[-1]) if len(usable) else None
    usable = np.flatnonzero((stats.binom.sf(counts - 1, n, q) <= tail) & (counts >= n * q + 1))
    above = int(usable[0]) - 1 if len(usable) else None
    return below, above
