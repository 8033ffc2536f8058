"""Intervals for what a recipe computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used first

from medpodium.challenges.schema.steps import Direction
from medpodium.scoring.evidence.bootstrap import CHUNK
from medpodium.scoring.ranking.recipe import Prepared, Run

Floats = npt.NDArray[np.float64]


def percentile_interval(resampled: Floats, level: float = 0.95, *, n_units: int | None = None) -> tuple[Floats, Floats]:
    """Return the percentile interval of every column, ignoring undefined resamples.

    Plain percentile intervals are too narrow for few cases. With ``n_units`` the percentiles are moved outwards so
    that for means the interval is as wide as Student's t asks for (Hesterberg, The American Statistician 69, 2015:
    tail ``Phi(sqrt(n / (n - 1)) t(alpha / 2; n - 1))``).

    Parameters
    ----------
    resampled : ndarray of float, shape (n_resamples, n)
    n_units : int, optional
        Number of cases (or clusters) that were drawn; the plain interval when left out.
    """
    chance = (1 - level) / 2 if n_units is None else widened(n_units, level)
    tail = np.full(resampled.shape[1], chance)
    return _quantiles(resampled, tail, 1 - tail)


def widened(n_units: int, level: float = 0.95) -> float:
    """Return the tail probability at which percentiles of a resampled mean are as wide as Student's interval."""
    chance = (1 - level) / 2
    if n_units < 2:
        return chance
    return float(scipy.special.ndtr(np.sqrt(n_units / (n_units - 1)) * scipy.special.stdtrit(n_units - 1, chance)))


def bca_interval(value: Floats, resampled: Floats, jackknife: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the bias-corrected and accelerated interval (Efron, JASA 82, 1987) of every column.

    Parameters
    ----------
    value : ndarray of float, shape (n,)
        Of the data as they are.
    resampled : ndarray of float, shape (n_resamples, n)
    jackknife : ndarray of float, shape (n_units, n)
        With one case (or cluster) left out at a time.
    """
    ordered = np.sort(resampled.T, axis=1)  # NaN last
    centred = np.nanmean(jackknife, axis=0) - jackknife if len(jackknife) else np.zeros((1, len(value)))
    low, high = accelerated(value, ordered, centred, np.full(len(value), (1 - level) / 2))
    return at_shares(ordered, low), at_shares(ordered, high)


def accelerated(value: Floats, resampled: Floats, influence: Floats, tail: Floats) -> tuple[Floats, Floats]:
    """Return at which shares of the resamples the bias-corrected and accelerated interval ends.

    Parameters
    ----------
    value : ndarray of float, shape (n,)
    resampled : ndarray of float, shape (n, n_resamples)
        NaN where it is not defined.
    influence : ndarray of float, shape (n_units, n)
        By how much each unit moves the value, in any scale; NaN where it has no part in it.
    tail : ndarray of float, shape (n,)
        Probability that is left out on each side.
    """
    known = np.maximum((~np.isnan(resampled)).sum(axis=1), 1)
    # sums of the same cases in another order are the same value
    near = np.abs(resampled - value[:, None]) <= 1e-13 * np.abs(value[:, None])
    below = ((~near & (resampled < value[:, None])).sum(axis=1) + 0.5 * near.sum(axis=1)) / known
    bias = scipy.special.ndtri(np.clip(below, 0.5 / known, 1 - 0.5 / known))
    cubes, squares = np.nansum(influence**3, axis=0), np.nansum(influence**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = np.nan_to_num(cubes / (6 * squares**1.5))

    def adjusted(probability: Floats) -> Floats:
        shifted = bias + scipy.special.ndtri(probability)
        return np.asarray(scipy.special.ndtr(bias + shifted / (1 - acceleration * shifted)))

    return adjusted(tail), adjusted(1 - tail)


def at_shares(ordered: Floats, share: Floats) -> Floats:
    """Return a quantile of every row (type 7 of Hyndman and Fan 1996), NaN where a row has no number.

    Parameters
    ----------
    ordered : ndarray of float, shape (n, n_resamples)
        Rising along every row, NaN last.
    share : ndarray of float, shape (n,)
        Between 0 and 1.
    """
    known = (~np.isnan(ordered)).sum(axis=1)
    if not ordered.shape[1]:
        return np.full(len(ordered), np.nan)
    place = share * np.maximum(known - 1, 0)
    here = np.floor(place).astype(np.intp)
    next_ = np.minimum(here + 1, np.maximum(known - 1, 0))
    row = np.arange(len(ordered))
    low, high = ordered[row, here], ordered[row, next_]
    return np.asarray(np.where(low == high, low, low + (place - here) * (high - low)))


def _quantiles(resampled: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    ordered = np.sort(resampled.T, axis=1)  # NaN last
    return at_shares(ordered, low), at_shares(ordered, high)


def left_out_counts(number: int, units: Sequence[npt.NDArray[np.intp]]) -> Iterator[Floats]:
    """Yield how often each of ``number`` cases counts with each unit (a set of case positions) left out in turn.

    Yields
    ------
    ndarray of float, shape (at most CHUNK, number)
        One row per unit.
    """
    for start in range(0, len(units), CHUNK):
        part = units[start : start + CHUNK]
        counts = np.ones((len(part), number))
        for row, cases in enumerate(part):
            counts[row, cases] = 0.0
        yield counts


def leave_out(prepared: Prepared, units: Sequence[npt.NDArray[np.intp]]) -> Run:
    """Rank with each unit (a set of case positions) left out in turn; one row per unit."""
    runs = [prepared.run(counts) for counts in left_out_counts(len(prepared.array.cases), units)]
    shared = [name for name in runs[0].columns if all(name in run.columns for run in runs)]
    columns = {name: np.concatenate([run.columns[name] for run in runs]) for name in shared}
    return Run(
        np.concatenate([run.ranks for run in runs]),
        np.concatenate([run.values for run in runs]),
        columns,
        runs[0].better,
    )


def oriented(values: Floats, better: Direction) -> Floats:
    """Turn values so that higher is better."""
    return values if better == "higher" else -values


def pseudo_values(full: Floats, left_out: Floats) -> Floats:
    """Return jackknife pseudo-values (Tukey 1958): for a mean over units these are the units' own values."""
    n = len(left_out)
    return n * full[None, :] - (n - 1) * left_out
