"""What a field of teams can show with so many cases, counted before there is a single score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medpodium.scoring.evidence.claims import ALPHA
from medpodium.scoring.evidence.sets.exact import least
from medpodium.scoring.evidence.sets.pairs import FEWEST
from medpodium.scoring.evidence.sets.reach import smallest_p, within_reach


@dataclass(frozen=True)
class Reach:
    """Whether one pair of a field can be told apart at all, if every case speaks for the same team.

    Parameters
    ----------
    by : {"tests", "sets"}
        One-sided Wilcoxon tests with Holm's adjustment over all ordered pairs, or simultaneous rank sets.
    comparisons : int
        How many comparisons share the level.
    smallest, needed : float
        Smallest p-value that so many cases can give, and the largest that is enough for one pair.
    possible : bool
        Whether it is enough.
    least_cases : int
        Fewest cases (patients, where those are the units) with which it is.
    """

    by: str
    comparisons: int
    smallest: float
    needed: float
    possible: bool
    least_cases: int


def before(teams: int, cases: int) -> list[Reach]:
    """Return what a field can show by tests and by sets.

    Parameters
    ----------
    teams : int
        At least 2.
    cases : int
        Independent units, at least 1.
    """
    ordered, pairs = teams * (teams - 1), teams * (teams - 1) // 2
    alpha = ALPHA
    tests = Reach(
        "tests", ordered, smallest_p(cases), alpha / ordered, within_reach(cases) >= ordered,
        _first(lambda number: within_reach(number) >= ordered),
    )  # fmt: skip
    sets = Reach(
        "sets", pairs, _least(cases), alpha / pairs, _told(cases, pairs), _first(lambda number: _told(number, pairs))
    )
    return [tests, sets]


def _least(number: int) -> float:
    return float(least(np.asarray(number)))


def _told(number: int, pairs: int) -> bool:
    return number >= FEWEST or _least(number) <= ALPHA / pairs


def _first(enough: Callable[[int], bool]) -> int:
    number = 1
    while not enough(number):
        number += 1
    return number
