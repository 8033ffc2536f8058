"""Which interval a mean, a share, a median or a difference gets, and its ends, for many columns at once.

===========================  ==========================================================================================
share of yes-or-no scores    Wilson; clusters count as an effective number of scores
mean, fewer than 8 units     Student's t, cut at the bounds of the metric
mean                         percentiles of the resampled means, widened for few units (Hesterberg 2015)
mean, from 50 units, skewed  bias-corrected and accelerated (Efron 1987), its tails widened alike
area under the ROC curve     DeLong's variance on the logit scale
other pooled values          widened percentiles of resampled observations
median                       order statistics (Hettmansperger and Sheather 1986); of clusters, widened percentiles
difference of shares         adjusted Wald of paired shares (Bonett and Price 2012)
difference                   as a mean, of the differences within cases
===========================  ==========================================================================================

``benchmarks/how_often`` counts how often each of them holds. No interval leaves the metric's bounds, and where there
is none, a note says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used first

from medpodium.scoring.evidence.confidence import accelerated, at_shares, widened
from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.intervals.resamples import Resamples

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float]
Bools = npt.NDArray[np.bool_]
Names = npt.NDArray[np.object_]
FEW = 8
"""Units below which percentiles, which cannot leave the values, are too narrow whatever their tails."""
FROM = 50
"""Units from which skewed means get the accelerated interval."""
SKEWED = 1.0
"""Skewness of the units from which a mean is called skewed."""
NO_NUMBER, ONE_UNIT, NO_SPREAD, NOT_DRAWN, TOO_FEW, SKEWED_FEW = (
    "a score has no number",
    "one unit",
    "no spread",
    "not resampled",
    "fewer than 6 cases",
    "skewed, few units: holds less often",
)


@dataclass(frozen=True)
class Ends:
    """Ends of intervals, how each was made, and what has to be said of it.

    Parameters
    ----------
    low, high : ndarray of float, shape (n,)
        NaN where there is none.
    method, note : ndarray of str, shape (n,)
        Empty method: no interval, and the note says why.
    n_units : ndarray of int, shape (n,)
        Independent units behind the number.
    """

    low: Floats
    high: Floats
    method: Names
    note: Names
    n_units: npt.NDArray[np.int64]

    @classmethod
    def blank(cls, number: int, note: str, n_units: npt.NDArray[np.int64] | None = None) -> Ends:
        """Return no intervals, for one reason."""
        nothing = np.full(number, np.nan)
        units = np.zeros(number, dtype=np.int64) if n_units is None else n_units
        return cls(nothing, nothing.copy(), _filled(number, ""), _filled(number, note), units)

    def put(self, where: Bools, low: Floats, high: Floats, method: str) -> None:
        """Fill in some of them."""
        known = where & ~np.isnan(low)
        self.low[known], self.high[known] = low[known], high[known]
        self.method[known], self.note[known] = method, ""

    def say(self, where: Bools, note: str) -> None:
        """Note something of some of them."""
        self.note[where] = note


def _filled(number: int, text: str) -> Names:
    return np.full(number, text, dtype=object)


def bounds_of(declared: tuple[float, float] | None, values: Floats) -> tuple[float, float]:
    """Return the bounds within which means of scores lie.

    A metric without declared bounds has those that its scores respect: a fraction, or nothing below 0. Penalties
    beyond the bounds of the formula move them.
    """
    least, most = declared or (-math.inf, math.inf)
    known = values[~np.isnan(values)]
    if not len(known):
        return least, most
    low, high = float(known.min()), float(known.max())
    if math.isfinite(least) or math.isfinite(most):
        return min(least, low), max(most, high)
    if low < 0:
        return least, most
    return 0.0, 1.0 if high <= 1 else math.inf


def yes_or_no(values: Floats, bounds: tuple[float, float]) -> bool:
    """Return whether the scores of a metric are yes or no: only 0 and 1 occur, and both do or nothing else could be."""
    known = values[~np.isnan(values)]
    if not len(known) or bounds[1] > 1 or not np.isin(known, (0.0, 1.0)).all():
        return False
    return bounds == (0.0, 1.0) or len(np.unique(known)) == 2


@dataclass(frozen=True)
class Influence:
    """By how much every independent unit moves numbers such as means, which sums over units make up.

    Parameters
    ----------
    moves : ndarray of float, shape (n_units, n)
        They add up to 0, and their squares to about the number's variance.
    there : ndarray of bool, shape (n_units, n)
        Which units have a part in the number.
    scale : ndarray of float, shape (n,)
        Size of the values, to tell a spread from rounding.
    """

    moves: Floats
    there: Bools
    scale: Floats

    @classmethod
    def of_means(cls, values: Floats, mean: Floats, drawn: Resamples) -> Influence:
        """Return that of the means of columns, shape (n_rows, n_columns), NaN not counting."""
        sums, sizes = drawn.per_unit(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            moves = (sums - np.nan_to_num(mean) * sizes) / sizes.sum(axis=0)
        scale = np.abs(np.nan_to_num(values)).max(axis=0) if len(values) else np.zeros(values.shape[1])
        return cls(np.nan_to_num(moves), sizes > 0, scale)

    @cached_property
    def units(self) -> npt.NDArray[np.int64]:
        """Number of units that have a part."""
        return np.asarray(self.there.sum(axis=0), dtype=np.int64)

    @property
    def error(self) -> Floats:
        """Standard error; 0 where rounding makes the only difference."""
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt((self.moves**2).sum(axis=0) * self.units / (self.units - 1))
        return np.asarray(np.where(error > 1e-13 * self.scale, error, 0.0))

    @property
    def skewness(self) -> Floats:
        """Of the units."""
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = self.moves * self.moves
            skew = (squares * self.moves).sum(axis=0) / squares.sum(axis=0) ** 1.5 * np.sqrt(self.units)
        return np.asarray(np.nan_to_num(skew))


def share_ends(values: Floats, mean: Floats, drawn: Resamples) -> Ends:
    """Return intervals of the means of yes-or-no columns, shape (n_rows, n_columns); NaN does not count."""
    sums, sizes = drawn.per_unit(values)
    units = (sizes > 0).sum(axis=0).astype(np.int64)
    ends = Ends.blank(len(mean), NO_NUMBER, units)
    ends.say(~np.isnan(mean), ONE_UNIT)
    several = ~np.isnan(mean) & (units > 1)
    if several.any():
        clustered = (sizes > 1).any(axis=0)
        number = np.where(clustered, closed.effective(mean, sums, sizes), sizes.sum(axis=0))
        ends.put(several, *closed.wilson(mean, number), "wilson")
    return ends


def mean_ends(mean: Floats, influence: Influence, resampled: Callable[[Bools], Floats], bounds: Bounds) -> Ends:
    """Return intervals of means, or of differences or means of means.

    Parameters
    ----------
    mean : ndarray of float, shape (n,)
        As they are printed; NaN where there is none.
    influence : Influence
    resampled : callable
        Returns the numbers of all resamples, shape (n_chosen, n_resamples), of those chosen by a mask.
    bounds : (float, float)
        Least and greatest possible number.
    """
    units, error, skew = influence.units, influence.error, influence.skewness
    ends = Ends.blank(len(mean), NO_NUMBER, units)
    told = ~np.isnan(mean)
    ends.say(told & (units < 2), ONE_UNIT)
    several = told & (units > 1)
    ends.say(several & (error <= 0), NO_SPREAD)
    several &= error > 0
    few = several & (units < FEW)
    if few.any():
        low, high = closed.student(mean, error, units.astype(np.float64))
        ends.put(few, np.clip(low, *bounds), np.clip(high, *bounds), "student")
    rest = several & ~few
    if rest.any():
        bca = rest & (units >= FROM) & (np.abs(skew) > SKEWED)
        low, high = np.full(len(mean), np.nan), np.full(len(mean), np.nan)
        moves = influence.moves[:, rest]
        low[rest], high[rest] = percentile_ends(resampled(rest), mean[rest], units[rest], moves, bca[rest])
        ends.put(rest & ~bca & (low < high), low, high, "percentile")
        ends.put(bca & (low < high), low, high, "bca")
        ends.say(rest & (low >= high), NO_SPREAD)
    ends.say((ends.method != "") & (units < FROM) & (np.abs(skew) > SKEWED), SKEWED_FEW)
    return ends


def percentile_ends(
    resampled: Floats, mean: Floats, units: npt.NDArray[np.int64], moves: Floats, bca: Bools
) -> tuple[Floats, Floats]:
    """Return widened percentiles of resampled means, accelerated where asked for; the mean always lies inside.

    Parameters
    ----------
    resampled : ndarray of float, shape (n, n_resamples)
    moves : ndarray of float, shape (n_units, n)
        :attr:`Influence.moves`.
    bca : ndarray of bool, shape (n,)
    """
    ordered = np.sort(resampled, axis=1)  # NaN last
    tail = _tails(units)
    low, high = tail, 1 - tail
    if bca.any():
        low, high = low.copy(), high.copy()
        low[bca], high[bca] = accelerated(mean[bca], ordered[bca], moves[:, bca], tail[bca])
    return np.minimum(at_shares(ordered, low), mean), np.maximum(at_shares(ordered, high), mean)


def _tails(units: npt.NDArray[np.int64]) -> Floats:
    known = {number: widened(number) for number in np.unique(units).tolist()}
    return np.array([known[number] for number in units.tolist()], dtype=np.float64)


def median_ends(values: Floats, median: Floats, drawn: Resamples) -> Ends:
    """Return intervals of the medians of columns, shape (n_rows, n_columns).

    Order statistics say nothing of values that depend on each other: where a unit has several, resamples are asked.

    Parameters
    ----------
    median : ndarray of float, shape (n_columns,)
        As printed; NaN where there is none.
    """
    told = ~np.isnan(median)
    _, sizes = drawn.per_unit(values)
    units = (sizes > 0).sum(axis=0).astype(np.int64)
    ends = Ends.blank(len(median), NO_NUMBER, units)
    ends.say(told, TOO_FEW)
    if not (sizes > 1).any():
        ends.put(told, *closed.median_interval(values), "order statistics")
        return ends
    own = told & (units >= closed.FEWEST_FOR_MEDIAN)
    if own.any():
        low, high = np.full(len(median), np.nan), np.full(len(median), np.nan)
        ordered, tail = np.sort(drawn.medians(values[:, own]), axis=1), _tails(units[own])
        low[own] = np.minimum(at_shares(ordered, tail), median[own])
        high[own] = np.maximum(at_shares(ordered, 1 - tail), median[own])
        ends.put(own, low, high, "percentile")
    return ends


def resampled_ends(value: Floats, resampled: Floats, n_units: int) -> Ends:
    """Return widened percentiles of any numbers that were computed anew in every resample.

    Parameters
    ----------
    value : ndarray of float, shape (n,)
    resampled : ndarray of float, shape (n, n_resamples)
        NaN where a resample does not define it.
    """
    units = np.full(len(value), n_units, dtype=np.int64)
    ends = Ends.blank(len(value), NO_NUMBER, units)
    ends.say(~np.isnan(value), ONE_UNIT if n_units < 2 else NO_SPREAD)
    if n_units > 1 and resampled.shape[1]:
        ordered, tail = np.sort(resampled, axis=1), _tails(units)
        low = np.minimum(at_shares(ordered, tail), value)
        high = np.maximum(at_shares(ordered, 1 - tail), value)
        ends.put(~np.isnan(value) & (low < high), low, high, "percentile")
    return ends


def z_ends(value: Floats, error: Floats, bounds: tuple[float, float], n_units: int, method: str) -> Ends:
    """Return value plus and minus a quantile of the normal distribution times standard errors, cut at the bounds."""
    ends = Ends.blank(len(value), NO_NUMBER, np.full(len(value), n_units, dtype=np.int64))
    told = ~np.isnan(value)
    ends.say(told, NO_SPREAD)
    half = closed.normal() * error
    ends.put(told & (error > 0), np.clip(value - half, *bounds), np.clip(value + half, *bounds), method)
    return ends


def area_ends(value: Floats, error: Floats, n_units: int) -> Ends:
    """Return intervals of areas under the ROC curve from DeLong's standard errors.

    They are symmetric on the logit scale, where few cases and large areas do least harm (Pepe, The Statistical
    Evaluation of Medical Tests, 2003, section 5.2), and stay between 0 and 1.
    """
    ends = Ends.blank(len(value), NO_NUMBER, np.full(len(value), n_units, dtype=np.int64))
    told = ~np.isnan(value)
    ends.say(told, NO_SPREAD)
    own = told & (error > 0) & (value > 0) & (value < 1)
    centre = scipy.special.logit(np.where(own, value, 0.5))
    half = closed.normal() * np.where(own, error, np.nan) / np.where(own, value * (1 - value), 1.0)
    ends.put(own, scipy.special.expit(centre - half), scipy.special.expit(centre + half), "delong")
    return ends
