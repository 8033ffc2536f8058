"""Size of the next edition, from the scores of this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from medpodium.scoring.evidence.planning.criteria import Criterion, Equivalent, Separated, Significant, shifted
from medpodium.scoring.evidence.planning.size import MOST_UNITS, Needed, needed

Floats = npt.NDArray[np.float64]
NEEDED_COLUMNS = ("shows", "number", "if_true", "difference", "units", "low", "high", "cases")
"""``shows``: sets, tests or equivalence; ``number``: what is compared; ``if_true``: which difference was put in as the
true one; ``units, low, high``: how many are needed, with the 95 % interval of the simulation; blank: more than 100,000
or, for a difference of zero or less, no number at all."""
CURVE_COLUMNS = ("shows", "number", "if_true", "units", "power", "low", "high")


@dataclass(frozen=True)
class Edition:
    """What this edition says of two of its submissions.

    Parameters
    ----------
    names : tuple of str
        All submissions.
    pair : tuple of int
        The two that are to be told apart, by position.
    value : ndarray of float, shape (n_units, n_submissions), optional
        What every unit contributes to the value that is ranked, higher is better, where that is a mean over units.
    numbers : mapping of str to ndarray of float, shape (n_units, n_submissions)
        Values of the units for every number that is tested, by its printed name, higher is better.
    margins : mapping of str to float
        Margin by printed name; that of the value is called :data:`VALUE`.
    cases_per_unit : float
        Mean number of cases of a unit.
    """

    names: tuple[str, ...]
    pair: tuple[int, int]
    value: Floats | None
    numbers: Mapping[str, Floats]
    margins: Mapping[str, float]
    cases_per_unit: float


VALUE = "ranked value"


@dataclass(frozen=True)
class _Question:
    shows: str
    number: str
    if_true: str
    difference: float
    n_units: int
    criterion: Criterion | None  # None: no size is large enough


def interval(values: Floats, pair: tuple[int, int], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean difference of a pair and its interval by Student's t."""
    gaps = values[:, pair[0]] - values[:, pair[1]]
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) < 2:
        return (float(gaps.mean()) if len(gaps) else np.nan), np.nan, np.nan
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    half = float(special.stdtrit(len(gaps) - 1, (1 + level) / 2)) * error
    return mean, mean - half, mean + half


def questions(edition: Edition) -> Iterator[_Question]:
    """Yield what is asked: sets and tests for the observed difference, both ends of its interval, and the margin."""
    asked: list[tuple[str, str, Floats, Callable[[Floats], Criterion]]] = []
    if edition.value is not None:
        asked.append(("sets", VALUE, edition.value, lambda values: Separated(values, edition.pair)))
    for name, values in edition.numbers.items():
        asked.append(("tests", name, values, lambda values: Significant(values, edition.pair)))
    for shows, name, values, make in asked:
        observed, low, high = interval(values, edition.pair)
        truths = [("as observed", observed), ("lower end of its interval", low), ("upper end of its interval", high)]
        if (margin := edition.margins.get(name)) is not None:
            truths.append(("the margin", margin))
        for if_true, difference in truths:
            moved = values if if_true == "as observed" else shifted(values, edition.pair, difference)
            known = difference > 0
            yield _Question(shows, name, if_true, difference, len(values), make(moved) if known else None)
    for name, margin in edition.margins.items():
        values_of = edition.value if name == VALUE else edition.numbers.get(name)
        if values_of is not None:
            moved = shifted(values_of, edition.pair, 0.0)
            own = Equivalent(moved, edition.pair, margin)
            yield _Question(f"equivalence within {margin:g}", name, "none", 0.0, len(values_of), own)


def size_of_next(
    edition: Edition,
    power: float = 0.8,
    *,
    n_editions: int = 1000,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how many units the next edition needs, and the curves it was read from.

    Returns
    -------
    needed : DataFrame
        :data:`NEEDED_COLUMNS`.
    curve : DataFrame
        :data:`CURVE_COLUMNS`; low and high are the Wilson interval of the share of simulated editions.
    """
    rows, points = [], []
    for question in questions(edition):
        place = (question.shows, question.number, question.if_true)
        if question.criterion is None:
            found = Needed(np.inf, np.inf, np.inf, ())
        else:
            found = needed(
                question.criterion,
                question.n_units,
                power,
                n_editions=n_editions,
                seed=seed,
                purpose="/".join(place),
                advance=advance,
            )
        units, low, high = (np.ceil(number) if np.isfinite(number) else np.nan for number in
                            (found.units, found.low, found.high))  # fmt: skip
        rows.append((*place, question.difference, units, low, high, np.ceil(units * edition.cases_per_unit)))
        points += [(*place, own.size, own.power, own.low, own.high) for own in found.curve if own.size <= MOST_UNITS]
    return pd.DataFrame(rows, columns=list(NEEDED_COLUMNS)), pd.DataFrame(points, columns=list(CURVE_COLUMNS))
