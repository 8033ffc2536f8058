"""Which pairs of submissions differ: one joint statement about all pairs, in every column of a table of means.

Pairs are of two kinds. *Regular* ones are tested together by the bootstrap of the largest studentised difference, every
resample studentised by its own standard error, with Romano and Wolf's step-down (Econometrica 73, 2005). *Thin* ones,
which few units tell apart or of which single units are all that matters, are tested one by one by flips of the signs of
their differences (:mod:`medpodium.scoring.evidence.sets.exact`): a resample may hold nothing of what makes them differ,
and one such pair would widen the interval of every other one. The level is shared by the number of pairs (union bound).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.scoring.evidence.bootstrap import chunks, stream
from medpodium.scoring.evidence.sets.exact import MOST, least, sign_flip
from medpodium.scoring.evidence.units import tally

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
FEWEST = 10
"""Pairs with fewer units that differ are thin."""
UNSTABLE = 2.5
"""A pair whose own critical value is so many times Student's rests on single units, and is thin, too."""
RESERVE = 15.0
"""Regular pairs use the share n / (n + RESERVE) of their level, n units: what few units do not show of skewed
differences, the bootstrap cannot know either (``benchmarks/how_often`` shows what this is worth)."""
BLOCK = 4096
"""Pairs that are resampled at a time, at most."""
_CELLS = 8_000_000
"""Cells (unit, pair) that are resampled at a time: tens of thousands of questions allow for fewer pairs."""


@dataclass(frozen=True)
class Pairs:
    """Differences of all pairs of submissions in all columns; m of them.

    Parameters
    ----------
    first, second, column : ndarray of int, shape (m,)
        Which submissions are compared in which column.
    difference, error : ndarray of float, shape (m,)
        First minus second, positive where the first is better; standard error (0: no spread, or thin).
    observed : ndarray of float, shape (m,)
        Studentised difference, without its sign.
    resampled : ndarray of float, shape (n_resamples, m)
        The same of every resample around the observed difference; 0 for thin pairs.
    regular : ndarray of bool, shape (m,)
        Tested by the bootstrap; the others by their exact p-value.
    p, least : ndarray of float, shape (m,)
        Exact p-value, and the smallest one that so many differing units can have.
    n_units : float
        Number of units.
    """

    first: Ints
    second: Ints
    column: Ints
    difference: Floats
    error: Floats
    observed: Floats
    resampled: Singles
    regular: Bools
    p: Floats
    least: Floats
    n_units: float = np.inf


def all_pairs(number: int, columns: int = 1) -> tuple[Ints, Ints, Ints]:
    """Return first, second and column of every unordered pair, columns last."""
    first, second = np.triu_indices(number, 1)
    column = np.repeat(np.arange(columns), len(first))
    return np.tile(first, columns), np.tile(second, columns), column


def mean_pairs(contributions: Floats, n_resamples: int, seed: int, purpose: str) -> Pairs:
    """Compare means over units; every resample is studentised by its own standard error.

    Parameters
    ----------
    contributions : ndarray of float, shape (n_units, n_submissions) or (n_units, n_submissions, n_columns)
        Higher is better; the mean over units is what is compared. NaN: nothing is said about the submission there.
    n_resamples : int
        Of the bootstrap.
    seed : int
        With ``purpose``, determines the resamples.
    """
    cube = contributions.reshape(*contributions.shape[:2], -1)
    parts = []
    first, second, column = all_pairs(*cube.shape[1:])
    draws = [_draw(stream(seed, f"sets/{purpose}", chunk), size, len(cube)) for chunk, size in chunks(n_resamples)]
    centred = np.nan_to_num(cube - cube.mean(axis=0)).reshape(len(cube), -1)
    shifts = [counts @ centred / len(cube) for counts in draws]  # of every mean, so pairs need only subtract
    step = min(BLOCK, max(1, _CELLS // len(cube)))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        parts.append(_compare(cube, (first[part], second[part], column[part]), draws, shifts))
    return parts[0] if len(parts) == 1 else _join(parts)


def _draw(rng: np.random.Generator, size: int, n: int) -> Floats:
    return tally(rng.integers(0, n, size=(size, n)), n)


def _compare(cube: Floats, pairs: tuple[Ints, Ints, Ints], draws: list[Floats], shifts: list[Floats]) -> Pairs:
    n = len(cube)
    first, second, column = pairs
    gaps = cube[:, first, column] - cube[:, second, column]
    gaps[:, np.isnan(gaps).any(axis=0)] = 0.0  # no values, no difference, and no share of the level
    noise = 1e-12 * np.maximum(np.nanmax(np.abs(cube), axis=(0, 1), initial=0.0)[column], 1e-300)
    gaps[np.abs(gaps) <= noise] = 0.0
    differing = np.count_nonzero(gaps, axis=0)
    difference = gaps.mean(axis=0)
    sparse = (differing < FEWEST) | ((differing <= MOST) & (2 * differing < n))
    centred = gaps - difference
    same = np.abs(centred).max(axis=0) <= noise
    centred[:, same] = 0.0
    error = centred.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(first))
    regular = ~sparse & (error > 0)
    resampled: Singles = np.zeros((sum(len(counts) for counts in draws), len(first)), dtype=np.float32)
    if regular.any():
        own = cube.shape[2] * first[regular] + column[regular], cube.shape[2] * second[regular] + column[regular]
        resampled[:, regular] = _studentised(centred[:, regular], error[regular], shifts, own, draws)
        large = np.quantile(resampled[:, regular], 0.95, axis=0, method="higher")
        regular[regular] = large <= UNSTABLE * special.stdtrit(n - 1, 0.975)
        resampled[:, ~regular] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(regular, np.abs(difference) / error, 0.0)
    p, smallest = np.ones(len(first)), np.ones(len(first))
    thin = np.flatnonzero(~regular)
    smallest[thin] = least(differing[thin])
    for index in thin[smallest[thin] <= 0.05]:
        p[index] = sign_flip(gaps[:, index])
    return Pairs(first, second, column, difference, error, observed, resampled, regular, p, smallest, float(n))


def _studentised(
    centred: Floats, error: Floats, shifts: list[Floats], own: tuple[Ints, Ints], draws: list[Floats]
) -> Singles:
    n, squares, rows = len(centred), centred**2, []
    for counts, shift in zip(draws, shifts, strict=True):
        mean = shift[:, own[0]] - shift[:, own[1]]
        variance = np.maximum(counts @ squares / n - mean**2, 0.0) / (n - 1)
        variance[variance <= (1e-9 * error) ** 2] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(mean) / np.sqrt(variance)
        rows.append(np.nan_to_num(t, nan=0.0, posinf=np.inf).astype(np.float32))
    return np.concatenate(rows)


def _join(parts: list[Pairs]) -> Pairs:
    names = ("first", "second", "column", "difference", "error", "observed", "regular", "p", "least")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    resampled = np.concatenate([part.resampled for part in parts], axis=1)
    return Pairs(resampled=resampled, n_units=parts[0].n_units, **joined)


def spread_pairs(value: Floats, values: Floats) -> Pairs:
    """Studentise differences of any statistic by the spread of its resamples: a description without a guarantee.

    Parameters
    ----------
    value : ndarray of float, shape (n_submissions,)
        Higher is better.
    values : ndarray of float, shape (n_resamples, n_submissions)
    """
    first, second, column = all_pairs(len(value))
    difference = value[first] - value[second]
    centred = values[:, first] - values[:, second] - difference
    known = ~np.isnan(centred).any(axis=1)
    centred = centred[known] if known.any() else np.zeros((1, len(first)))
    error = np.sqrt((centred**2).mean(axis=0))
    regular = error > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(regular, np.abs(difference) / error, 0.0)
        resampled = np.where(regular, np.abs(centred) / error, 0.0).astype(np.float32)
    one = np.ones(len(first))
    return Pairs(first, second, column, difference, error, observed, resampled, regular, one, one)


def only(pairs: Pairs, chosen: Bools) -> Pairs:
    """Return some of the pairs."""
    names = ("first", "second", "column", "difference", "error", "observed", "regular", "p", "least")
    kept = {name: getattr(pairs, name)[chosen] for name in names}
    return replace(pairs, resampled=pairs.resampled[:, chosen], **kept)


def critical_value(resampled: Singles, chance: float) -> float:
    """Return the order statistic of the largest deviation that is passed with at most the wanted chance."""
    if resampled.shape[1] == 0:
        return 0.0
    largest = np.sort(resampled.max(axis=1))
    position = int(np.ceil((len(largest) + 1) * (1 - chance) - 1e-9)) - 1
    return float(largest[position]) if position < len(largest) else np.inf


def family(pairs: Pairs, chance: float) -> int:
    """Return how many pairs share the level.

    Thin pairs that could not be told apart whatever their signs need no share (Tarone, Biometrics 46, 1990).
    """
    regular = int(pairs.regular.sum())
    thin = np.sort(pairs.least[~pairs.regular])
    for number in range(max(regular, 1), len(pairs.p) + 1):
        if regular + int(np.searchsorted(thin, chance / number, side="right")) <= number:
            return number
    return max(len(pairs.p), 1)


def reject(pairs: Pairs, level: float) -> tuple[Bools, float]:
    """Return which pairs surely differ, and the critical value of regular pairs before any step down."""
    chance = 1 - level
    number = family(pairs, chance)
    rejected = ~pairs.regular & (pairs.p <= chance / number)
    kept = 1 / (1 + RESERVE / pairs.n_units)
    share = kept * chance * int(pairs.regular.sum()) / number
    first, step = np.inf, 0
    while True:
        open_pairs = pairs.regular & ~rejected
        critical = critical_value(pairs.resampled[:, open_pairs], share)
        first = critical if step == 0 else first
        more = open_pairs & (pairs.observed > critical)
        if not more.any():
            return rejected, first
        rejected |= more
        step += 1
