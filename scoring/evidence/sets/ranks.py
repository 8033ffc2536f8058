"""Confidence sets for ranks, from what is certain about pairs of submissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.scoring.evidence.sets.bounds import closed, rank_bounds
from medpodium.scoring.evidence.sets.pairs import Pairs, only, reject

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Construction = Literal["means", "bounds", "quantiles", "pooled", "resampled"]
LEVEL = 0.95
UNSEEN = "unless rare failures differ"


@dataclass(frozen=True)
class RankSets:
    """Confidence sets for the ranks of all submissions.

    Parameters
    ----------
    marginal, simultaneous : ndarray of float, shape (2, n_submissions)
        Smallest and largest rank that cannot be excluded; marginal sets cover each submission's rank at the
        level, simultaneous ones all ranks together.
    difference : ndarray of float, shape (n_submissions, n_submissions)
        Row minus column of what is ranked, positive where the row is better.
    lead : ndarray of float, same shape
        Simultaneous lower bound of the difference; -inf where there is none. The upper one is ``-lead.T``.
    separated : ndarray of bool, same shape
        The row is surely better than the column (simultaneously).
    construction : {"means", "bounds", "quantiles", "pooled", "resampled"}
        How they were built.
    guaranteed : bool
        Whether they hold at the level; else they only describe the resamples.
    unseen : bool
        They hold unless submissions differ in failures that are too rare for so few units to show.
    contributions : ndarray of float, shape (n_units, n_submissions), optional
        What every unit contributes to the value that is ranked, higher is better, where that is a mean over units.
    """

    marginal: Floats
    simultaneous: Floats
    difference: Floats
    lead: Floats
    separated: Bools
    construction: Construction
    guaranteed: bool = True
    unseen: bool = False
    contributions: Floats | None = None

    @property
    def guarantee(self) -> str:
        """How often sets built like this hold, in words."""
        level = f"{100 * LEVEL:g} %"
        return (f"{level} {UNSEEN}" if self.unseen else level) if self.guaranteed else "none"


def relation(pairs: Pairs, rejected: Bools, number: int, columns: int = 1) -> tuple[Bools, Floats]:
    """Return who is surely better, and the observed difference, shape (n_submissions, n_submissions, n_columns)."""
    better = np.zeros((number, number, columns), dtype=bool)
    difference = np.zeros(better.shape)
    at, turned = (pairs.first, pairs.second, pairs.column), (pairs.second, pairs.first, pairs.column)
    better[at], better[turned] = rejected & (pairs.difference > 0), rejected & (pairs.difference < 0)
    difference[at], difference[turned] = pairs.difference, -pairs.difference
    return better, difference


def joint(pairs: Pairs, number: int, columns: int = 1, level: float = LEVEL) -> tuple[Bools, Floats, Floats]:
    """Return who is surely better, by how much at least, and the difference, all pairs and columns together."""
    rejected, critical = reject(pairs, level)
    better, difference = relation(pairs, rejected, number, columns)
    margin = np.full(better.shape, np.inf)
    with np.errstate(invalid="ignore"):
        own = np.where(pairs.regular, critical * pairs.error, np.inf)
    margin[pairs.first, pairs.second, pairs.column] = margin[pairs.second, pairs.first, pairs.column] = own
    lead = np.where(better, np.maximum(difference - margin, 0.0), difference - margin)
    return better, lead, difference


def rank_sets(
    pairs: Pairs,
    number: int,
    construction: Construction = "means",
    level: float = LEVEL,
    *,
    holds: bool = True,
) -> RankSets:
    """Turn differences of all pairs of what is ranked into confidence sets for ranks."""
    certain, leads, differences = joint(pairs, number, 1, level)
    better, lead, difference = closed(certain[:, :, 0]), leads[:, :, 0], differences[:, :, 0]
    simultaneous = np.array(rank_bounds(better))
    marginal = np.empty((2, number))
    for own in range(number):
        mine = only(pairs, (pairs.first == own) | (pairs.second == own))
        low, high = rank_bounds(relation(mine, reject(mine, level)[0], number)[0][:, :, 0])
        marginal[:, own] = low[own], high[own]
    np.fill_diagonal(lead, 0.0)
    return RankSets(marginal, simultaneous, difference, lead, better, construction, holds)


def sets_of(better: Bools, lead: Floats, value: Floats, construction: Construction) -> RankSets:
    """Return the sets that follow from who is surely better; marginal ones are the simultaneous ones.

    Parameters
    ----------
    better : ndarray of bool, shape (n_submissions, n_submissions)
    lead : ndarray of float, same shape
    value : ndarray of float, shape (n_submissions,)
        What is ranked, higher is better.
    """
    better = closed(better)
    sets = np.array(rank_bounds(better))
    own = lead.copy()
    np.fill_diagonal(own, 0.0)
    difference = value[:, None] - value[None, :]
    return RankSets(sets, sets, difference, own, better, construction)
