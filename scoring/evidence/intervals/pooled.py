"""Intervals of values of whole sets of cases, from the cases behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.intervals.means import (
    NO_NUMBER,
    NO_SPREAD,
    NOT_DRAWN,
    ONE_UNIT,
    Ends,
    area_ends,
    bounds_of,
    resampled_ends,
    z_ends,
)
from medpodium.scoring.evidence.intervals.pairs import pair_rows
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Curve, PooledCells, Shares
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]


def pooled_rows(
    pooled: PooledCells, settled: Settled, units: Units, cells: Floats | None
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the rows of ``score_intervals.csv`` and of ``score_differences.csv`` of every pooled value.

    Parameters
    ----------
    cells : ndarray of float, shape (n_resamples, n_cells), optional
        The values in the resamples of the ranking.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for at, cell in enumerate(pooled.cells):
        groups.setdefault((cell.case, cell.structure, cell.metric), []).append(at)
    labels = settled.arranged.array.labels["metric"]
    better = dict(zip(labels, settled.arranged.array.better, strict=True))
    for (label, structure, metric), columns in groups.items():
        members = [pooled.pool.cases[at] for at in pooled.pool.members[label]]
        value = pooled.full[0, columns]
        names = np.asarray([pooled.cells[at].submission for at in columns], dtype=object)
        found = _Set(
            value,
            [pooled.behind[at] for at in columns],
            units.among(members),
            None if cells is None else cells[:, columns].T,
            bounds_of(settled.bounds.get(metric), value),
        )
        name = set_name(Cell("", label, structure, metric))
        ends = found.ends()
        rows = pd.DataFrame(
            {
                "metric": metric,
                "structure": name,
                "submission": names,
                "n": found.numbers(),
                "n_units": ends.n_units,
                "mean": value,
                "mean_low": ends.low,
                "mean_high": ends.high,
                "method": ends.method,
                "note": ends.note,
            }
        )
        gap, between = found.pairs(1.0 if better[metric] == "higher" else -1.0)
        yield rows, pair_rows(metric, name, names, len(members), gap, between)


def set_name(cell: Cell) -> str:
    """Return what a value of a whole set is of: its structure and set of cases (``domain=ood``)."""
    return ", ".join(filter(None, (cell.structure, cell.case.removeprefix(POOLED).strip())))


class _Set:
    """One pooled metric of all submissions on one set of cases."""

    def __init__(
        self,
        value: Floats,
        behind: Sequence[Shares | Curve | None],
        units: Units,
        resampled: Floats | None,
        bounds: tuple[float, float],
    ) -> None:
        self._value = value
        self._units = units
        self._resampled = resampled
        self._bounds = bounds
        self._right = _matrix([own.right for own in behind if isinstance(own, Shares)], len(behind))
        self._curves = [own for own in behind if isinstance(own, Curve)]
        if len(self._curves) != len(behind) or units.clustered:
            self._curves = []

    def numbers(self) -> npt.NDArray[np.int64]:
        """Return how many cases count for each submission."""
        if self._right is not None:
            return np.asarray((~np.isnan(self._right)).sum(axis=0), dtype=np.int64)
        if self._curves:
            return np.array([(~np.isnan(own.score)).sum() for own in self._curves], dtype=np.int64)
        return np.full(len(self._value), self._units.n_cases, dtype=np.int64)

    def ends(self) -> Ends:
        """Return the interval of every submission's value."""
        if self._right is not None:
            sums, sizes = self._per_unit(self._right)
            number = sizes.sum(axis=0)
            if self._units.clustered:
                number = closed.effective(self._value, sums, sizes)
            several = (sizes > 0).sum(axis=0) > 1
            ends = Ends.blank(len(self._value), NO_NUMBER, (sizes > 0).sum(axis=0).astype(np.int64))
            ends.say(~np.isnan(self._value), ONE_UNIT)
            ends.put(~np.isnan(self._value) & several, *closed.wilson(self._value, number), "wilson")
            return ends
        if self._curves:
            error = np.sqrt([self._covariance([own])[0, 0] for own in self._curves])
            return area_ends(self._value, error, self._units.number)
        if self._resampled is None:
            return Ends.blank(len(self._value), NOT_DRAWN)
        return resampled_ends(self._value, self._resampled, self._units.number)

    def pairs(self, sign: float) -> tuple[Floats, Ends]:
        """Return the difference of every pair, positive where the first is better, and its interval."""
        first, second = np.triu_indices(len(self._value), 1)
        gap = sign * (self._value[first] - self._value[second])
        reach = self._bounds[1] - self._bounds[0]
        if self._right is not None and not self._units.clustered:
            gaps = sign * (self._right[:, first] - self._right[:, second])
            if (~np.isnan(gaps)).all(axis=1).sum() == (~np.isnan(self._right)).any(axis=1).sum():
                number = (~np.isnan(gaps)).sum(axis=0)
                ends = Ends.blank(len(gap), NO_SPREAD, number.astype(np.int64))
                low, high = closed.paired_shares((gaps > 0).sum(axis=0), (gaps < 0).sum(axis=0), number)
                ends.put(~np.isnan(gap), low, high, "adjusted wald")
                return gap, ends
        if self._curves and not any(np.isnan(own.score).any() for own in self._curves):
            covariance = self._covariance(self._curves)
            spread = np.diag(covariance)
            error = np.sqrt(np.maximum(spread[first] + spread[second] - 2 * covariance[first, second], 0.0))
            error = np.where(error > 1e-12, error, 0.0)
            return gap, z_ends(gap, error, (-reach, reach), self._units.number, "delong")
        if self._resampled is None:
            return gap, Ends.blank(len(gap), NOT_DRAWN)
        between = sign * (self._resampled[first] - self._resampled[second])
        return gap, resampled_ends(gap, between, self._units.number)

    def _per_unit(self, values: Floats) -> tuple[Floats, Floats]:
        known = ~np.isnan(values)
        sums, sizes = (np.zeros((self._units.number, values.shape[1])) for _ in range(2))
        np.add.at(sums, self._units.of_case, np.where(known, values, 0.0))
        np.add.at(sizes, self._units.of_case, known)
        return sums, sizes

    @staticmethod
    def _covariance(curves: Sequence[Curve]) -> Floats:
        """Return the covariance of areas under curves over the same cases."""
        known = ~np.isnan(curves[0].score)
        found = [closed.placements(own.truth[known], own.score[known]) for own in curves]
        areas = np.array([area for area, _, _ in found])
        return closed.delong(areas, np.array([own for _, own, _ in found]), np.array([own for _, _, own in found]))


def _matrix(columns: Sequence[Floats], number: int) -> Floats | None:
    return np.column_stack(columns) if columns and len(columns) == number else None
