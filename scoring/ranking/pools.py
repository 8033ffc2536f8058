"""Pooled values under resampling: cells of a score array that are computed anew from the cases that are drawn.

A value of a whole set of cases (AUC) is no mean, so it cannot be resampled from the score table. A :class:`Pool` knows
the set's cases and computes all such cells for any case weights; :class:`PooledCells` says where they stand in a score
array and puts them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import Quantile, Reduce, Spread, Step, Test
from medpodium.findings import Code, Finding, UsageError
from medpodium.scoring.ranking.axes import ABSENT, OK, ScoreArray
from medpodium.scoring.ranking.reduce import CaseReducer, grouping, reduce_plain

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
TOLERANCE = 1e-9
"""Largest difference of a score and the same value computed from the observations."""


class PoolCode(Code):
    """What can be wrong with the cases behind pooled values."""

    STALE = "observations-stale"


class Cell(NamedTuple):
    """One pooled value: whose, of which set of cases (label as in the score array), structure and metric."""

    submission: str
    case: str
    structure: str
    metric: str


@dataclass(frozen=True)
class Shares:
    """Behind a value that is the share of its cases that are right.

    Parameters
    ----------
    right : ndarray of float, shape (n_members,)
        1 or 0; NaN for a case that does not count.
    """

    right: Floats = field(repr=False)


@dataclass(frozen=True)
class Curve:
    """Behind a value that is the area under a ROC curve.

    Parameters
    ----------
    truth : ndarray of int, shape (n_members,)
        1 for positive cases, else 0.
    score : ndarray of float, same shape
        Higher means more likely positive; NaN for a case that does not count.
    """

    truth: npt.NDArray[np.int64] = field(repr=False)
    score: Floats = field(repr=False)


@dataclass(frozen=True)
class Pool:
    """What the pooled values of a task are computed from.

    Parameters
    ----------
    cases : tuple of str
        Observed cases, sorted.
    groups : mapping of str to tuple of str
        Level per case, for every group.
    cells : tuple of Cell
        The values it computes.
    members : mapping of str to ndarray of int
        Positions of the cases behind every label of a set of cases.
    compute : callable
        Integer case weights, shape (n_resamples, n_cases), to values, shape (n_resamples, n_cells); NaN where a value
        is not defined. Must be possible to pickle: resamples may be ranked elsewhere.
    classes : sequence of ndarray of int
        Positions of the cases of every class behind any value that compares cases of different classes (AUC).
    behind : tuple, one entry per cell
        What a value is made of, case by case, where it is a share or an area under a ROC curve; empty: not said.
    """

    cases: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    members: Mapping[str, Positions] = field(repr=False)
    compute: Callable[[Floats], Floats] = field(repr=False)
    classes: Sequence[Positions] = field(default=(), repr=False)
    behind: tuple[Shares | Curve | None, ...] = field(default=(), repr=False)

    def values(self, weights: Floats) -> Floats:
        """Return every cell under every row of weights, shape (n_resamples, n_cells).

        Raises
        ------
        ValueError
            If the weights do not have one column per case.
        """
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 2 or weights.shape[1] != len(self.cases):
            raise ValueError(f"weights of shape {weights.shape} for {len(self.cases)} cases")
        return self.compute(weights)


class PooledCells:
    """The cells of a score array that a pool computes.

    Parameters
    ----------
    array : ScoreArray
        Scores of one task, before any step (submission, case, structure, metric).
    pool : Pool
        What its pooled values are computed from.
    where : str
        Name of the task, for messages.

    Raises
    ------
    UsageError
        If the pool does not give the values in the array: it belongs to other scores.
    """

    def __init__(self, array: ScoreArray, pool: Pool, where: str = "") -> None:
        self.pool = pool
        self._array = array
        places = {dim: {name: index for index, name in enumerate(array.labels[dim])} for dim in array.dims}
        keys = [
            tuple(places[dim].get(name, -1) for dim, name in zip(array.dims, cell, strict=True)) for cell in pool.cells
        ]
        known = [number for number, key in enumerate(keys) if -1 not in key]
        self._columns = np.array(known, dtype=np.intp)
        self._places = tuple(np.array([keys[number] for number in known], dtype=np.intp).reshape(-1, 4).T)
        self.cells = tuple(pool.cells[number] for number in known)
        self.behind = tuple(pool.behind[number] if pool.behind else None for number in known)
        self.full = self.values(np.ones((1, len(pool.cases))))
        self._refuse_stale(where)
        self.labels = frozenset(cell.case for cell in self.cells)
        scored = (array.state != ABSENT).any(axis=(0, 2, 3))
        pooled = np.asarray(array.pooled)
        own = np.array([name in self.labels for name in array.labels["case"]], dtype=bool)
        self.n_fixed = int((scored & pooled & ~own).sum())
        """Scored sets of cases the pool does not know; their values stay as they are."""
        self._alone = not (scored & ~own).any()

    def _refuse_stale(self, where: str) -> None:
        given = np.where(self._array.state[self._places] == OK, self._array.values[self._places], np.nan)
        own = self.full[0]
        wrong = np.flatnonzero(
            (np.isnan(given) != np.isnan(own)) | (np.nan_to_num(np.abs(given - own), nan=0.0) > TOLERANCE)
        )
        pooled = [index for index, is_pooled in enumerate(self._array.pooled) if is_pooled]
        scored = (self._array.state[:, pooled] == OK).any(axis=(1, 2, 3))
        observed = {cell.submission for cell in self.cells}
        unseen = [name for name, has in zip(self._array.submissions, scored, strict=True) if has]
        unseen = [name for name in unseen if name not in observed]
        if not len(wrong) and not unseen:
            return
        if unseen:
            cause = f"{len(unseen)} submission(s) have pooled scores but no observations (first {unseen[0]})"
        else:
            cell = self.cells[wrong[0]]
            cause = (
                f"{len(wrong)} pooled score(s) are not what the observations give; {cell.metric} of {cell.submission}, "
                f"{cell.case}: score {given[wrong[0]]:.6g}, observations {own[wrong[0]]:.6g}"
            )
        fix = "the observations belong to other scores: score again, or remove the file"
        raise UsageError(Finding(PoolCode.STALE, where or "observations", cause, fix))

    def values(self, weights: Floats) -> Floats:
        """Return the array's pooled cells under every row of weights, shape (n_resamples, n_cells)."""
        return self.pool.values(weights)[:, self._columns]

    def with_cases(self, array: ScoreArray) -> ScoreArray:
        """Return an array (after any steps before the cases collapse) with the observed cases on its case axis.

        Nothing is scored on the added cases; they are there to be drawn. Only cases behind sets that are still in the
        array are added.
        """
        kept = [self.pool.members[name] for name in array.cases if name in self.labels]
        positions = np.unique(np.concatenate(kept)) if kept else np.empty(0, dtype=np.intp)
        names = [self.pool.cases[index] for index in positions]
        real = {name for name, pooled in zip(array.cases, array.pooled, strict=True) if not pooled}
        new = [(name, index) for name, index in zip(names, positions, strict=True) if name not in real]
        axis = array.axis("case")
        more = [(0, len(new)) if own == axis else (0, 0) for own in range(array.values.ndim)]
        observed = dict(zip(self.pool.cases, range(len(self.pool.cases)), strict=True))
        groups = {}
        for group in dict.fromkeys([*array.groups, *self.pool.groups]):
            given = array.groups.get(group, ("",) * len(array.cases))
            own = self.pool.groups.get(group, ("",) * len(self.pool.cases))
            old = tuple(
                level or (own[observed[name]] if name in observed and name in real else "")
                for name, level in zip(array.cases, given, strict=True)
            )
            groups[group] = (*old, *(own[index] for _, index in new))
        return replace(
            array,
            values=np.pad(array.values, more, constant_values=np.nan),
            state=np.pad(array.state, more, constant_values=ABSENT),
            labels={**array.labels, "case": (*array.cases, *(name for name, _ in new))},
            groups=groups,
            pooled=(*array.pooled, *(False for _ in new)),
        )

    def weights(self, drawn: ScoreArray, counts: Floats) -> Floats:
        """Return how often each of the pool's cases counts, given the counts of the cases of :meth:`with_cases`."""
        place = {name: index for index, name in enumerate(drawn.cases) if not drawn.pooled[index]}
        found = [(own, place[name]) for own, name in enumerate(self.pool.cases) if name in place]
        weights = np.zeros((len(counts), len(self.pool.cases)))
        if found:
            own, source = np.array(found, dtype=np.intp).T
            weights[:, own] = counts[:, source]
        return weights

    def fill(self, cells: Floats) -> ScoreArray:
        """Return the array with these values of its pooled cells, one array per row, shape (n_resamples, ...).

        A value that is not defined in a resample (one class was drawn) is not asked for there: it is no missing
        answer of the submission, so no policy may punish it.
        """
        number = len(cells)
        values = np.repeat(self._array.values[None], number, axis=0)
        state = np.repeat(self._array.state[None], number, axis=0)
        scored = self._array.state[self._places] == OK
        places = (slice(None), *(own[scored] for own in self._places))
        new = cells[:, scored]
        values[places] = new
        state[places] = np.where(np.isnan(new), ABSENT, OK)
        return replace(self._array, values=values, state=state)

    def undefined(self, cells: Floats) -> dict[str, int]:
        """Return how many rows lack a value that the data as they are have, by metric and set of cases."""
        lost = np.isnan(cells) & ~np.isnan(self.full)
        found: dict[str, int] = {}
        names = [f"{cell.metric}, {cell.case}" for cell in self.cells]
        for name in dict.fromkeys(names):
            number = int(lost[:, [own == name for own in names]].any(axis=1).sum())
            if number:
                found[name] = number
        return found

    def collapse(
        self,
        cells: Floats,
        counts: Floats,
        before: Callable[[ScoreArray], ScoreArray],
        step: Reduce | Quantile | Test | Spread,
    ) -> ScoreArray:
        """Put in the pooled cells of every resample, take the steps before, and collapse the cases.

        Parameters
        ----------
        cells : ndarray of float, shape (n_resamples, n_cells)
        counts : ndarray of float, shape (n_resamples, n_cases)
            How often each case on the axis after the steps before counts (sets of cases: once).
        before : callable
            The steps before the cases collapse.
        step : Reduce, Quantile, Test or Spread
            The step that collapses them.
        """
        if self._alone and not isinstance(step, Test):
            return collapse_resampled(before(self.fill(cells)), step)
        # every resample has an array of its own: slower, for tests and where cases and sets of cases mix
        results = []
        for row in range(len(cells)):
            filled = before(self.fill(cells[row : row + 1]))
            one = replace(filled, values=filled.values[0], state=filled.state[0])
            results.append(CaseReducer(one, step)(counts[row : row + 1]))
        return replace(
            results[0],
            values=np.concatenate([result.values for result in results]),
            state=np.concatenate([result.state for result in results]),
        )


def collapse_resampled(array: ScoreArray, step: Step) -> ScoreArray:
    """Collapse the cases of an array that has its own values in every resample, each case counting once."""
    if not isinstance(step, (Reduce, Quantile, Spread)):
        raise TypeError(f"{step.step} needs the cases one resample at a time")
    by = grouping(step)
    if by is None:
        return replace(reduce_plain(array, step), groups={}, pooled=())
    levels = array.groups.get(by)
    if levels is None:  # the error names what is known
        CaseReducer(replace(array, values=array.values[0], state=array.state[0]), step)
        raise AssertionError
    known = sorted(set(levels) - {""})
    plain = step.model_copy(update={"by": None})
    parts = [
        reduce_plain(array.take("case", [index for index, level in enumerate(levels) if level == name]), plain)
        for name in known
    ]
    dims = (*parts[0].dims, by)
    return replace(
        parts[0],
        values=np.stack([part.values for part in parts], axis=-1),
        state=np.stack([part.state for part in parts], axis=-1),
        dims=dims,
        labels={**parts[0].labels, by: tuple(known)},
        groups={},
        pooled=(),
    )
