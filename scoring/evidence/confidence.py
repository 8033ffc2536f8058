"""Intervals for what a recipe computes, and sets of ranks that the data cannot exclude.

Rank confidence sets follow Mogstad, Romano, Shaikh and Wilhelm (Review of Economic Studies 91, 2024): a
submission's rank lies between one plus the number of submissions that are surely better and the field size minus
the number that are surely worse, where "surely" means that the studentised difference exceeds a bootstrap
critical value of the largest one, with Romano and Wolf's step-down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.challenges.schema.steps import Direction, Reduce, Step
from medpodium.scoring.evidence.bootstrap import CHUNK, chunks, stream, tally
from medpodium.scoring.ranking.recipe import Prepared, Run

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Construction = Literal["case-mean", "resampled"]


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


def leave_out(prepared: Prepared, units: Sequence[npt.NDArray[np.intp]]) -> Run:
    """Rank with each unit (a set of case positions) left out in turn; one row per unit."""
    number = len(prepared.array.cases)
    runs = []
    for start in range(0, len(units), CHUNK):
        part = units[start : start + CHUNK]
        counts = np.ones((len(part), number))
        for row, cases in enumerate(part):
            counts[row, cases] = 0.0
        runs.append(prepared.run(counts))
    shared = [name for name in runs[0].columns if all(name in run.columns for run in runs)]
    columns = {name: np.concatenate([run.columns[name] for run in runs]) for name in shared}
    return Run(
        np.concatenate([run.ranks for run in runs]),
        np.concatenate([run.values for run in runs]),
        columns,
        runs[0].better,
    )


def units_of(prepared: Prepared, cluster: str | None = None) -> list[npt.NDArray[np.intp]]:
    """Return what one draw of the bootstrap takes: the positions of a case, or of all cases of a cluster."""
    array = prepared.array
    free = [index for index, pooled in enumerate(array.pooled or (False,) * len(array.cases)) if not pooled]
    if cluster is None:
        return [np.array([index], dtype=np.intp) for index in free]
    levels = array.groups[cluster]
    names: dict[str, list[int]] = {}
    for index in free:
        names.setdefault(levels[index] or f"case {index}", []).append(index)
    return [np.array(members, dtype=np.intp) for _, members in sorted(names.items())]


def is_case_mean(steps: Sequence[Step]) -> bool:
    """Return whether a recipe averages over cases and does nothing rank-like after that."""
    first = next(index for index, step in enumerate(steps) if "case" in getattr(step, "over", ()))
    return all(isinstance(step, Reduce) and step.step in ("mean", "sum") for step in steps[first:-1])


@dataclass(frozen=True)
class RankSets:
    """Confidence sets for the ranks of all submissions.

    Parameters
    ----------
    marginal, simultaneous : ndarray of float, shape (2, n_submissions)
        Smallest and largest rank that cannot be excluded; marginal sets cover each submission's rank at the
        level, simultaneous ones all ranks together.
    difference : ndarray of float, shape (n_submissions, n_submissions)
        Row minus column, positive where the row is better.
    margin : ndarray of float, same shape
        Half width of the simultaneous interval of the difference.
    separated : ndarray of bool, same shape
        The row is surely better than the column (simultaneously, with step-down).
    construction : {"case-mean", "resampled"}
        Whether the differences are means over cases, or whatever the recipe gives.
    """

    marginal: Floats
    simultaneous: Floats
    difference: Floats
    margin: Floats
    separated: Bools
    construction: Construction


@dataclass(frozen=True)
class _Pairs:
    """Studentised differences of all pairs: observed, resampled and how certain a constant difference is."""

    difference: Floats
    error: Floats
    observed: Floats
    resampled: Floats


def _studentise(difference: Floats, centred: Floats, error: Floats, errors: Floats) -> _Pairs:
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(error > 0, np.abs(difference) / error, 0.0)
        resampled = np.where(errors > 0, np.abs(centred) / errors, np.where(np.abs(centred) > 0, np.inf, 0.0))
    resampled[:, error == 0] = 0.0  # a pair without spread says nothing about the others
    return _Pairs(difference, error, observed, np.nan_to_num(resampled, nan=0.0, posinf=np.inf))


def case_mean_pairs(contributions: Floats, n_resamples: int, seed: int, purpose: str) -> _Pairs:
    """Studentise differences of means over units, every resample by its own standard error.

    Parameters
    ----------
    contributions : ndarray of float, shape (n_units, n_submissions)
        Higher is better; the mean over units is what is ranked.
    """
    n, number = contributions.shape
    first, second = np.triu_indices(number, 1)
    gaps = contributions[:, first] - contributions[:, second]
    difference = gaps.mean(axis=0)
    scale = np.abs(contributions).max(initial=0.0)
    gaps = gaps - difference
    noise = 1e-12 * max(scale, 1e-300)
    gaps[:, np.abs(gaps).max(axis=0) <= noise] = 0.0
    error = gaps.std(axis=0, ddof=1) / np.sqrt(n)
    centred, errors = [], []
    for chunk, size in chunks(n_resamples):
        picks = stream(seed, f"sets/{purpose}", chunk).integers(0, n, size=(size, n))
        counts = tally(picks, n)
        mean = counts @ gaps / n
        variance = np.maximum(counts @ gaps**2 / n - mean**2, 0.0) / (n - 1)
        variance[variance <= (1e-9 * error) ** 2] = 0.0
        centred.append(mean)
        errors.append(np.sqrt(variance))
    return _studentise(difference, np.concatenate(centred), error, np.concatenate(errors))


def resampled_pairs(value: Floats, values: Floats) -> _Pairs:
    """Studentise differences of any statistic by the spread of its resamples (higher is better)."""
    first, second = np.triu_indices(len(value), 1)
    difference = value[first] - value[second]
    centred = values[:, first] - values[:, second] - difference
    known = ~np.isnan(centred).any(axis=1)
    centred = centred[known] if known.any() else np.zeros((1, len(difference)))
    error = np.sqrt((centred**2).mean(axis=0))
    return _studentise(difference, centred, error, np.broadcast_to(error, centred.shape))


def _critical(resampled: Floats, level: float) -> float:
    """Return the order statistic of the largest deviation whose level is at least the wanted one."""
    if resampled.shape[1] == 0:
        return 0.0
    largest = np.sort(resampled.max(axis=1))
    position = int(np.ceil((len(largest) + 1) * level)) - 1
    return float(largest[position]) if position < len(largest) else np.inf


def _reject(pairs: _Pairs, chosen: Bools, level: float, n_units: int) -> tuple[Bools, float]:
    """Step down: drop what is rejected, find the critical value of the rest, reject again."""
    family = max(int(chosen.sum()), 1)
    # no spread at all: the normal theory is silent, so the sign of n equal differences has to convince
    constant = chosen & (pairs.error == 0) & (pairs.difference != 0) & (family * 2.0 ** (1 - n_units) <= 1 - level)
    rejected = constant.copy()
    first = np.inf
    for step in range(len(chosen) + 1):
        open_pairs = chosen & ~rejected & (pairs.error > 0)
        critical = _critical(pairs.resampled[:, open_pairs], level)
        first = critical if step == 0 else first
        more = open_pairs & (pairs.observed > critical)
        if not more.any():
            break
        rejected |= more
    return rejected, first


def rank_sets(
    pairs: _Pairs, n_submissions: int, n_units: int, construction: Construction, level: float = 0.95
) -> RankSets:
    """Turn studentised differences into confidence sets for ranks."""
    first, second = np.triu_indices(n_submissions, 1)
    every = np.ones(len(first), dtype=bool)
    rejected, critical = _reject(pairs, every, level, n_units)
    simultaneous = _bounds(pairs, rejected, n_submissions)
    marginal = np.empty((2, n_submissions))
    for own in range(n_submissions):
        mine = (first == own) | (second == own)
        marginal[:, own] = _bounds(pairs, _reject(pairs, mine, level, n_units)[0], n_submissions)[:, own]
    difference, margin = np.zeros((2, n_submissions, n_submissions))
    difference[first, second], difference[second, first] = pairs.difference, -pairs.difference
    with np.errstate(invalid="ignore"):
        margin[first, second] = margin[second, first] = np.where(pairs.error > 0, critical * pairs.error, 0.0)
    separated = np.zeros((n_submissions, n_submissions), dtype=bool)
    separated[first, second] = rejected & (pairs.difference > 0)
    separated[second, first] = rejected & (pairs.difference < 0)
    return RankSets(marginal, simultaneous, difference, margin, separated, construction)


def _bounds(pairs: _Pairs, rejected: Bools, number: int) -> Floats:
    first, second = np.triu_indices(number, 1)
    better = np.zeros((number, number), dtype=bool)
    better[first, second] = rejected & (pairs.difference > 0)
    better[second, first] = rejected & (pairs.difference < 0)
    return np.array([1.0 + better.sum(axis=0), number - better.sum(axis=1).astype(np.float64)])


def oriented(values: Floats, better: Direction) -> Floats:
    """Turn values so that higher is better."""
    return values if better == "higher" else -values


def tied_groups(ranks: Floats, separated: Bools) -> npt.NDArray[np.int64]:
    """Return numbers of groups of submissions that cannot be told apart from the best of their group.

    Going down the ranking, a submission joins the open group unless the group's first one is surely better;
    then it opens the next group. Submissions without a rank get 0.
    """
    groups = np.zeros(len(ranks), dtype=np.int64)
    leader, number = -1, 0
    for index in np.argsort(ranks, kind="stable"):
        if np.isnan(ranks[index]):
            continue
        if leader < 0 or separated[leader, index]:
            leader, number = int(index), number + 1
        groups[index] = number
    return groups


def pseudo_values(full: Floats, left_out: Floats) -> Floats:
    """Return jackknife pseudo-values (Tukey 1958): for a mean over units these are the units' own values."""
    n = len(left_out)
    return n * full[None, :] - (n - 1) * left_out
