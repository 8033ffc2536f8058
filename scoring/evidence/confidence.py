"""Intervals for what a recipe computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

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
    chance = (1 - level) / 2
    if n_units is not None and n_units > 1:
        chance = float(special.ndtr(np.sqrt(n_units / (n_units - 1)) * special.stdtrit(n_units - 1, chance)))
    tail = np.full(resampled.shape[1], chance)
    return _quantiles(resampled, tail, 1 - tail)


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
    known = np.maximum((~np.isnan(resampled)).sum(axis=0), 1)
    below = ((resampled < value).sum(axis=0) + 0.5 * (resampled == value).sum(axis=0)) / known
    bias = special.ndtri(np.clip(below, 0.5 / known, 1 - 0.5 / known))
    centred = np.nanmean(jackknife, axis=0) - jackknife if len(jackknife) else np.zeros((1, len(value)))
    cubes, squares = np.nansum(centred**3, axis=0), np.nansum(centred**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = np.nan_to_num(cubes / (6 * squares**1.5))

    def adjusted(probability: float) -> Floats:
        shifted = bias + special.ndtri(probability)
        return np.asarray(special.ndtr(bias + shifted / (1 - acceleration * shifted)))

    return _quantiles(resampled, adjusted((1 - level) / 2), adjusted((1 + level) / 2))


def _quantiles(resampled: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    lows, highs = np.full(resampled.shape[1], np.nan), np.full(resampled.shape[1], np.nan)
    for index, column in enumerate(resampled.T):
        known = column[~np.isnan(column)]
        if len(known):
            lows[index], highs[index] = np.quantile(known, [low[index], high[index]])
    return lows, highs


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
