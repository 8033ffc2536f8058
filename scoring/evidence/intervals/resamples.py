"""Resampled means of many columns at once, all from the draws by which the ranking is resampled."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from medpodium.scoring.evidence.bootstrap import CHUNK, chunks, stream
from medpodium.scoring.evidence.units import Units

Floats = npt.NDArray[np.float64]
LEAST = 1000
"""Resamples of every interval, however few the ranking gets: the ends lie far out."""


class Resamples:
    """How often each row (a case, or a structure of a case) counts in every resample.

    Parameters
    ----------
    units : Units
        What is drawn. Strata are kept as large as they are.
    cases : sequence of str
        Case of every row.
    number : int
        Resamples asked for; at least 1,000 are drawn.
    seed, task
        The same ones give the draws of the bootstrap of the ranking.
    """

    def __init__(self, units: Units, cases: Sequence[str], number: int, *, seed: int, task: str) -> None:
        self.units = units
        self.number = max(number, LEAST)
        place = {name: at for at, name in enumerate(units.cases)}
        self._place = place
        self._drawn = [
            units.draw(stream(seed, f"bootstrap/{task}", chunk), CHUNK)[:size].astype(np.uint16)
            for chunk, size in chunks(self.number)
        ]

        self.rows = np.empty(0, dtype=np.intp)
        self._take(cases)

    def _take(self, cases: Sequence[str]) -> None:
        self.rows = np.array([self._place[name] for name in cases], dtype=np.intp)

    def of(self, cases: Sequence[str]) -> Resamples:
        """Return the same draws for other rows."""
        other = copy.copy(self)
        other._take(cases)
        return other

    @property
    def clustered(self) -> bool:
        """Whether some unit has several rows."""
        return len(np.unique(self.units.of_case[self.rows])) < len(self.rows)

    def _counts(self) -> Iterator[Floats]:
        for drawn in self._drawn:
            yield drawn[:, self.rows].astype(np.float64)

    def means(self, values: Floats) -> Floats:
        """Return the mean of every column in every resample, shape (n_columns, n_resamples).

        Parameters
        ----------
        values : ndarray of float, shape (n_rows, n_columns)
            NaN does not count; a resample without any value of a column has none.
        """
        known = ~np.isnan(values)
        clean = np.ascontiguousarray(np.where(known, values, 0.0).T)
        # columns that lack the same rows share their numbers of draws
        patterns, which = np.unique(np.packbits(known, axis=0), axis=1, return_inverse=True)
        some = np.unpackbits(patterns, axis=0, count=len(values)).T.astype(np.float64)
        out = np.empty((values.shape[1], self.number))
        start = 0
        for counts in self._counts():
            own = slice(start, start + len(counts))
            start += len(counts)
            numbers = (some @ counts.T)[which.reshape(-1)]
            with np.errstate(divide="ignore", invalid="ignore"):
                out[:, own] = (clean @ counts.T) / numbers
        return out

    def medians(self, values: Floats) -> Floats:
        """Return the median of every column in every resample, shape (n_columns, n_resamples)."""
        out = np.full((values.shape[1], self.number), np.nan)
        for column in range(values.shape[1]):
            known = np.flatnonzero(~np.isnan(values[:, column]))
            order = known[np.argsort(values[known, column], kind="stable")]
            ordered = values[order, column]
            if not len(order):
                continue
            start = 0
            for counts in self._counts():
                below = np.cumsum(counts[:, order], axis=1)
                total = below[:, -1:]
                # positions of the one or two middle values among the drawn ones
                at = [(below < np.floor((total + odd) / 2)).sum(axis=1) for odd in (1, 2)]
                at = [np.minimum(own, len(order) - 1) for own in at]
                middle = (ordered[at[0]] + ordered[at[1]]) / 2
                out[column, start : start + len(counts)] = np.where(total[:, 0] > 0, middle, np.nan)
                start += len(counts)
        return out

    def per_unit(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the sum and the number of the values of every unit, shapes (n_units, n_columns)."""
        known = ~np.isnan(values)
        clean = np.where(known, values, 0.0)
        which = self.units.of_case[self.rows]
        order = np.argsort(which, kind="stable")
        starts = np.flatnonzero(np.diff(which[order], prepend=-1))
        present = which[order[starts]]
        sums, sizes = (np.zeros((self.units.number, values.shape[1])) for _ in range(2))
        if len(present) == len(which):
            sums[which], sizes[which] = clean, known
        elif len(which):
            sums[present] = np.add.reduceat(clean[order], starts, axis=0)
            sizes[present] = np.add.reduceat(known[order].astype(np.float64), starts, axis=0)
        return sums, sizes
