"""What would change a ranking: cases, centres, fewer cases, another domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from medpodium.challenges.schema.steps import Direction
from medpodium.scoring.evidence.bootstrap import CHUNK, chunks, stream
from medpodium.scoring.evidence.confidence import at_shares, leave_out
from medpodium.scoring.evidence.stability import kendall_with
from medpodium.scoring.evidence.units import Units, units_of
from medpodium.scoring.ranking.assemble import Arranged
from medpodium.scoring.ranking.axes import ScoreArray
from medpodium.scoring.ranking.blocks import Block
from medpodium.scoring.ranking.recipe import Prepared, Run
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def blocks(array: ScoreArray) -> Iterator[Block]:
    """Yield every metric of every structure of an array by the metrics' own missing policies, without a recipe."""
    codes = np.zeros(array.values.shape, dtype=np.int16)
    metrics = frozenset(array.labels["metric"])
    yield from Settled(array, Arranged(array, codes, ("",)), (), metrics).blocks


def leave_one_out(
    prepared: Prepared, full: Floats, units: Units | None = None, *, singles: Run | None = None
) -> pd.DataFrame:
    """Rank without each unit (a case or a cluster), and without each level of every other group column.

    Parameters
    ----------
    full : ndarray of float, shape (n_submissions,)
        Ranks of the data as they are.
    units : Units, optional
        What is independent; single cases when left out.
    singles : Run, optional
        The rankings without each unit, where they are known already.

    Returns
    -------
    DataFrame
        Columns unit, left_out, n_cases, submission, rank, rank_without, change.
    """
    array = prepared.array
    own = units_of(array) if units is None else units.among(array.cases)
    free = [index for index, unit in enumerate(own.of_case) if unit >= 0]
    left = []
    for name, members in zip(own.names, own.members, strict=True):
        alone = not own.cluster or array.cases[members[0]] == name
        left.append(("case" if alone else own.cluster, name, members))
    for group, levels in sorted(array.groups.items()):
        known = sorted({levels[index] for index in free} - {""})
        if 2 <= len(known) < len(free) and group != own.cluster:
            left += [
                (group, level, np.array([index for index in free if levels[index] == level], dtype=np.intp))
                for level in known
            ]
    if own.number < 2:
        return pd.DataFrame(columns=["unit", "left_out", "n_cases", "submission", "rank", "rank_without", "change"])
    parts = [singles] if singles is not None else []
    rest = left[own.number :] if singles is not None else left
    parts += [leave_out(prepared, [cases for _, _, cases in rest])] if rest else []
    without = np.concatenate([run.ranks for run in parts]).reshape(-1)
    number = len(array.submissions)
    return pd.DataFrame(
        {
            "unit": np.repeat([unit for unit, _, _ in left], number),
            "left_out": np.repeat([name for _, name, _ in left], number),
            "n_cases": np.repeat([len(cases) for _, _, cases in left], number),
            "submission": np.tile(array.submissions, len(left)),
            "rank": np.tile(full, len(left)),
            "rank_without": without,
            "change": without - np.tile(full, len(left)),
        }
    )


def subsampling(
    prepared: Prepared, full: Floats, units: Units | None = None, *, seed: int, task: str, n_samples: int = CHUNK
) -> pd.DataFrame:
    """Rank random subsets of the units, drawn without replacement, to see how many would have been enough.

    Returns
    -------
    DataFrame
        Columns n_units, n_cases (their cases, on average), winner_stays (share of subsets in which a winner of all
        cases still has the best rank), tau_mean, tau_q025, tau_q975 (tau-b with the ranking of all cases), n_samples.
    """
    own = units_of(prepared.array) if units is None else units.among(prepared.array.cases)
    sizes = sorted({max(2, round(own.number * tenth / 10)) for tenth in range(1, 11)})
    winner = full == np.nanmin(full)
    rows = []
    for size in (size for size in sizes if size <= own.number):
        stays, taus, cases = [], [], []
        for chunk, number in chunks(n_samples):
            rng = stream(seed, f"subsampling/{task}/{size}", chunk)
            picked = np.zeros((number, own.number))
            keep = np.argsort(rng.random((number, own.number)), axis=1)[:, :size]
            np.put_along_axis(picked, keep, 1.0, axis=1)
            counts = own.spread(picked)
            ranks = prepared.run(counts).ranks
            best = np.where(np.isnan(ranks), np.inf, ranks).min(axis=1, keepdims=True)
            stays.append(((ranks == best) & winner).any(axis=1))
            taus.append(kendall_with(full, ranks))
            cases.append(counts[:, own.of_case >= 0].sum(axis=1))
        tau = np.concatenate(taus)
        known = tau[~np.isnan(tau)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        mean = float(known.mean()) if len(known) else np.nan
        told = float(np.concatenate(cases).mean()), float(np.concatenate(stays).mean())
        rows.append((size, *told, mean, float(low), float(high), n_samples))
    columns = ["n_units", "n_cases", "winner_stays", "tau_mean", "tau_q025", "tau_q975", "n_samples"]
    return pd.DataFrame(rows, columns=columns)


def domain_gap(
    block: Block,
    groups: Mapping[str, tuple[str, ...]],
    submissions: tuple[str, ...],
    units: Units | None = None,
    *,
    seed: int,
    n_resamples: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """Compare every level of every group with all other cases, whichever of them is easier.

    No sign is assumed. The interval is a percentile interval of the difference of means. Units are resampled inside the
    level and outside of it, within their strata; where some have cases on both sides, all of them are resampled
    together, so that these stay whole. As for a single mean, it is widened for few units: either side's deviations by
    ``sqrt(n / (n - 1))``, the percentiles to where Student's t with Welch's degrees of freedom has its tails.

    Parameters
    ----------
    groups : mapping of str to tuple of str
        Level per case of the block.
    units : Units, optional
        The block's cases and their independent units; single cases when left out.
    bounds : (float, float)
        Least and greatest possible mean: no gap can be larger than their distance, and no interval reaches further.

    Returns
    -------
    DataFrame
        Columns group, level, submission, n_level, n_rest (cases with a score), mean_level, mean_rest, gap, low, high,
        better_in.
    """
    rows = []
    if units is None:
        every = np.arange(len(block.cases))
        units = Units(block.cases, every, block.cases, ("",) * len(every))
    for name, levels in sorted(groups.items()):
        named = np.asarray(levels)
        known = sorted(set(levels) - {""})
        if len(known) < 2:
            continue
        for level in known[:1] if len(known) == 2 else known:
            inside, outside = (named == level), (named != level) & (named != "")
            sides = _Side.of(block, inside, units), _Side.of(block, outside, units)
            gap = sides[0].mean - sides[1].mean
            low, high = _gap_interval(sides, units, n_resamples, seed, f"gap/{name}/{level}")
            low, high = np.maximum(low, bounds[0] - bounds[1]), np.minimum(high, bounds[1] - bounds[0])
            for index, submission in enumerate(submissions):
                side = _better_side(low[index], high[index], block.better)
                numbers = (int(sides[0].cases[index]), int(sides[1].cases[index]))
                told = (*numbers, sides[0].mean[index], sides[1].mean[index], gap[index], low[index], high[index])
                rows.append((name, level, submission, *told, side))
    columns = ["group", "level", "submission", "n_level", "n_rest", "mean_level", "mean_rest", "gap", "low", "high"]
    columns.append("better_in")
    return pd.DataFrame(rows, columns=columns)


def _better_side(low: float, high: float, better: Direction) -> str:
    if not (low > 0 or high < 0):
        return ""
    return "level" if (low > 0) == (better == "higher") else "rest"


@dataclass(frozen=True)
class _Side:
    """The scores inside a level, or outside of it: sums and numbers of every unit, shape (n_units, n_submissions)."""

    sums: Floats
    numbers: Floats
    mean: Floats

    @staticmethod
    def of(block: Block, cases: Bools, units: Units) -> _Side:
        part = block.of_cases(cases)
        clean = np.nan_to_num(part.values, nan=0.0, posinf=np.nan, neginf=np.nan)
        sums, numbers = np.zeros((units.number, clean.shape[1])), np.zeros((units.number, clean.shape[1]))
        unit = units.of_case[cases]
        if units.clustered:
            np.add.at(sums, unit, clean)
            np.add.at(numbers, unit, ~np.isnan(part.values))
        else:  # every case is a unit of its own
            sums[unit], numbers[unit] = clean, ~np.isnan(part.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(part.incomplete, np.nan, clean.sum(axis=0) / numbers.sum(axis=0))
        return _Side(sums, numbers, mean)

    @cached_property
    def cases(self) -> Floats:
        """How many cases have a score, shape (n_submissions,)."""
        return np.asarray(self.numbers.sum(axis=0))

    @cached_property
    def units(self) -> Floats:
        """How many units have a score, shape (n_submissions,)."""
        return np.asarray((self.numbers > 0).sum(axis=0))

    def deviations(self, counts: Floats) -> Floats:
        """Return how far resampled means are from the mean, as far as a mean of so few units is unsure."""
        there = np.flatnonzero((self.numbers > 0).any(axis=1))
        # most units at once are not worth a copy: the others add nothing
        part = slice(None) if 2 * len(there) > len(self.numbers) else there
        drawn, numbers = counts[:, part], self.numbers[part]
        # where nobody lacks a case, one column of numbers is that of all
        same = bool((numbers == numbers[:, :1]).all())
        with np.errstate(divide="ignore", invalid="ignore"):
            means = drawn @ self.sums[part] / (drawn @ (numbers[:, :1] if same else numbers))
            return np.asarray((means - self.mean) * np.sqrt(self.units / (self.units - 1)))

    def few(self, units: Units) -> Floats | None:
        """Return the different values of the scores where these are so few that their numbers can be drawn instead.

        None unless every unit is one case, all in one stratum, and nobody lacks a score; nor for a single unit, whose
        deviation nobody knows.
        """
        there = (self.numbers > 0).any(axis=1)
        single = not units.clustered and len(set(units.strata)) <= 1 and there.sum() > 1
        if not single or not (self.numbers[there] == 1).all():
            return None
        values = np.unique(self.sums[there])
        return values if len(values) <= _FEW_VALUES and np.isfinite(values).all() else None

    def few_deviations(self, values: Floats, rng: np.random.Generator, size: int) -> Floats:
        """Return the same as :meth:`deviations` of drawn units: of a resample only the number of each value counts."""
        own = self.sums[(self.numbers > 0).any(axis=1)]
        shares = np.stack([(own == value).mean(axis=0) for value in values], axis=1)
        drawn = rng.multinomial(len(own), shares, size=(size, len(shares)))
        return np.asarray((drawn @ values / len(own) - self.mean) * np.sqrt(len(own) / (len(own) - 1)))


_FEW_VALUES = 16
"""Scores with no more different values than this (right and wrong are two) are drawn by their numbers: the means of
resamples have the same distribution, without drawing tens of thousands of cases for every level of every group."""


def _gap_interval(
    sides: tuple[_Side, _Side], units: Units, n_resamples: int, seed: int, purpose: str
) -> tuple[Floats, Floats]:
    """Return the interval of the difference of both sides' means, NaN where a side has fewer than two units."""
    there = np.stack([(side.numbers > 0).any(axis=1) for side in sides])
    drawn = units if there.all(axis=0).any() else units.split([str(own) for own in there.T.tolist()])
    gap = sides[0].mean - sides[1].mean
    low, high = np.full(len(gap), np.nan), np.full(len(gap), np.nan)
    if not n_resamples:
        return low, high
    parts = []
    few = [(side, values) for side in sides if (values := side.few(units)) is not None]
    for chunk, size in chunks(n_resamples):
        if len(few) == len(sides):
            rng = stream(seed, purpose, chunk)
            parts.append(np.stack([side.few_deviations(values, rng, size) for side, values in few]))
            continue
        counts = drawn.draw_units(stream(seed, purpose, chunk), size)
        parts.append(np.stack([side.deviations(counts) for side in sides]))
    both = np.concatenate(parts, axis=1)
    known = np.flatnonzero(~np.isnan(gap) & ~np.isnan(both).any(axis=(0, 1)))
    numbers = np.stack([side.units for side in sides])
    known = known[(numbers[:, known] >= 2).all(axis=0)]
    if both.shape[1] > 1 and len(known):  # all submissions at once: where no resample lacks a side
        variance = both[:, :, known].var(axis=1)
        total = variance.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = total**2 / (variance**2 / (numbers[:, known] - 1)).sum(axis=0)
        tail = np.where(total > 0, special.ndtr(special.stdtrit(np.where(total > 0, freedom, 1.0), 0.025)), 0.5)
        apart = np.sort((both[0][:, known] - both[1][:, known]).T, axis=1)
        for end, share in ((low, tail), (high, 1 - tail)):
            end[known] = gap[known] + np.where(total > 0, at_shares(apart, share), 0.0)
    for index in np.setdiff1d(np.flatnonzero(~np.isnan(gap)), known):
        n = np.array([side.units[index] for side in sides])
        draws = both[:, :, index]
        draws = draws[:, ~np.isnan(draws).any(axis=0)]
        if (n < 2).any() or draws.shape[1] < 2:
            continue
        variance = draws.var(axis=1)
        if not variance.sum():
            low[index] = high[index] = gap[index]
            continue
        freedom = variance.sum() ** 2 / (variance**2 / (n - 1)).sum()
        tail = special.ndtr(special.stdtrit(freedom, 0.025))
        low[index], high[index] = gap[index] + np.quantile(draws[0] - draws[1], [tail, 1 - tail])
    return low, high
