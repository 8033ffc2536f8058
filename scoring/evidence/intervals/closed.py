"""Intervals that need no resampling: shares, medians, areas under the ROC curve, means of very few cases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used first

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
FEWEST_FOR_MEDIAN = 6
"""Below, even the smallest and the largest of n values hold the median less often than the level says."""


def normal(level: float = LEVEL) -> float:
    """Return the two-sided quantile of the normal distribution."""
    return float(scipy.special.ndtri((1 + level) / 2))


def wilson(share: Floats, number: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of shares (Journal of the American Statistical Association 22, 1927).

    Parameters
    ----------
    share : ndarray of float
        Between 0 and 1.
    number : ndarray of float, same shape
        How many independent yes-or-no values; whole, or an effective number (:func:`effective`).
    """
    z = normal(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
        half = z / (1 + z**2 / number) * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    # with all or none the end is exactly the share; rounding must not move it
    low = np.where(share == 0, 0.0, np.clip(centre - half, 0, share))
    high = np.where(share == 1, 1.0, np.clip(centre + half, share, 1))
    return np.where(number > 0, low, np.nan), np.where(number > 0, high, np.nan)


def effective(share: Floats, sums: Floats, sizes: Floats) -> Floats:
    """Return how many independent values carry as much about a share as these clusters do.

    The variance of the share over clusters (as a ratio) gives the effective number; few clusters take off what
    Student's t is wider than the normal distribution (Korn and Graubard, Survey Methodology 24, 1998). It is at most
    the number of values, and the number of clusters where all values are equal.

    Parameters
    ----------
    share : ndarray of float, shape (n,)
    sums, sizes : ndarray of float, shape (n_clusters, n)
        Sum and number of the values of every cluster.
    """
    total, some = sizes.sum(axis=0), sizes > 0
    clusters = some.sum(axis=0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = ((sums - share * sizes) ** 2).sum(axis=0) * clusters / (clusters - 1) / total**2
        number = share * (1 - share) / spread
        quantile = [scipy.special.stdtrit(np.maximum(count - 1, 1), 0.975) for count in (total, clusters)]
        ratio = quantile[0] / quantile[1]
        number = np.where(spread > 0, number, clusters) * ratio**2
    # clusters without any spread although values differ: no effect of clustering can be seen, none is taken off
    number = np.where((spread <= 0) & (share > 0) & (share < 1), total, number)
    return np.where(clusters > 1, np.clip(number, 1.0, total), np.nan)


def paired_shares(more: Floats, less: Floats, number: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the interval of the difference of two shares of the same cases.

    Adjusted Wald: one is added to both kinds of unlike pairs (Bonett and Price, Journal of Educational and Behavioral
    Statistics 37, 2012).

    Parameters
    ----------
    more, less : ndarray of float
        Pairs in which only the first, and only the second, is 1.
    number : ndarray of float
        Pairs.
    """
    z = normal(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (more + 1) / (number + 2), (less + 1) / (number + 2)
        half = z * np.sqrt((one + other - (one - other) ** 2) / (number + 2))
        gap = (more - less) / number
    low = np.minimum(np.maximum(one - other - half, -1.0), gap)
    high = np.maximum(np.minimum(one - other + half, 1.0), gap)
    return np.where(number > 0, low, np.nan), np.where(number > 0, high, np.nan)


def student(mean: Floats, error: Floats, number: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return Student's interval of means.

    Parameters
    ----------
    error : ndarray of float
        Standard error of the mean.
    number : ndarray of float
        Independent values.
    """
    half = -scipy.special.stdtrit(np.maximum(number - 1, 1), (1 - level) / 2) * error
    half = np.where(number > 1, half, np.nan)
    return mean - half, mean + half


def median_interval(values: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the interval of the median of every column between order statistics, whatever the distribution.

    Between the two nearest pairs of order statistics the ends are interpolated as Hettmansperger and Sheather do
    (Statistics and Probability Letters 4, 1986). NaN with fewer than six values.

    Parameters
    ----------
    values : ndarray of float, shape (n_cases, n)
        NaN does not count.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    counts = (~np.isnan(values)).sum(axis=0)
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for number in np.unique(counts[counts >= FEWEST_FOR_MEDIAN]).tolist():
        own = np.flatnonzero(counts == number)
        inner, share = _between(number, level)
        part = ordered[:number, own]
        low[own] = (1 - share) * part[inner - 1] + share * part[inner]
        high[own] = (1 - share) * part[number - inner] + share * part[number - inner - 1]
        # order statistics that are equal stay so
        low[own] = np.where(part[inner - 1] == part[inner], part[inner], low[own])
        high[own] = np.where(part[number - inner] == part[number - inner - 1], part[number - inner], high[own])
    return low, high


def _between(number: int, level: float) -> tuple[int, float]:
    """Return the largest d for which order statistics d and n + 1 - d hold the median, and how far to d + 1 to go."""
    d = np.arange(1, (number + 1) // 2 + 1)
    holds = 1 - 2 * scipy.special.bdtr(d - 1, number, 0.5)
    inner = int(d[holds >= level].max())
    if inner >= (number + 1) // 2:
        return inner, 0.0
    here, next_ = float(holds[inner - 1]), float(holds[inner])
    part = (here - level) / (here - next_)
    share = (number - inner) * part / (inner + (number - 2 * inner) * part)
    return inner, share


def placements(truth: npt.NDArray[np.int64], score: Floats) -> tuple[float, Floats, Floats]:
    """Return the area under the ROC curve and the placement values of the positive and of the negative cases.

    A positive case's placement is the share of the negative ones that it stands above, ties one half; for a negative
    case the share of the positive ones above it (Sun and Xu, IEEE Signal Processing Letters 21, 2014: by mid-ranks).

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
        1 for positive cases, else 0.
    score : ndarray of float, same shape
    """
    positive, negative = np.sort(score[truth == 1]), np.sort(score[truth != 1])
    if not len(positive) or not len(negative):
        return float("nan"), np.full(len(positive), np.nan), np.full(len(negative), np.nan)

    def above(own: Floats, others: Floats) -> Floats:
        left, right = np.searchsorted(others, own, "left"), np.searchsorted(others, own, "right")
        return np.asarray((left + right) / (2.0 * len(others)))

    of_positive = above(score[truth == 1], negative)
    of_negative = 1.0 - above(score[truth != 1], positive)
    return float(of_positive.mean()), of_positive, of_negative


def delong(areas: Floats, positive: Floats, negative: Floats) -> Floats:
    """Return the covariance of areas under ROC curves of the same cases (DeLong et al., Biometrics 44, 1988).

    Parameters
    ----------
    areas : ndarray of float, shape (n,)
    positive, negative : ndarray of float, shapes (n, n_positive) and (n, n_negative)
        Placement values (:func:`placements`).

    Returns
    -------
    ndarray of float, shape (n, n)
        NaN with fewer than two cases of a class.
    """
    if positive.shape[1] < 2 or negative.shape[1] < 2:
        return np.full((len(areas), len(areas)), np.nan)
    one, other = positive - areas[:, None], negative - areas[:, None]
    numbers = positive.shape[1], negative.shape[1]
    parts = [own @ own.T / (number * (number - 1)) for own, number in zip((one, other), numbers, strict=True)]
    return np.asarray(parts[0] + parts[1])
