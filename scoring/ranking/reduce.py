"""Collapse dimensions of a score array: over the cases for many resamples at once, over anything else directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import Direction, Quantile, Reduce, Spread, Test
from medpodium.scoring.ranking.axes import (
    ABSENT,
    MISSING,
    OK,
    MissingPolicy,
    RankingCode,
    ScoreArray,
    near,
    problem,
)
from medpodium.scoring.ranking.exact import ExactSums, Floats, Quantiles, divide, quantile, two_sum, weighted_sums
from medpodium.scoring.ranking.significance import PairedTests

Reduction: TypeAlias = Reduce | Quantile | Test | Spread
_Q = {"median": 0.5, "min": 0.0, "max": 1.0}


def step_name(step: Reduction) -> str:
    """Return a short column name: ``mean_case``, ``quantile_case``, ``test_case``."""
    by = grouping(step)
    return "_".join((step.step, *step.over, *(("by", by) if by else ())))


def grouping(step: Reduction) -> str | None:
    """Return the group column a step keeps apart, if any."""
    return None if isinstance(step, Test) else step.by


def _common_direction(array: ScoreArray, where: str) -> Direction:
    ways: list[Direction] = sorted(set(array.better))
    if len(ways) > 1:
        pairs = list(zip(array.labels["metric"], array.better, strict=True))
        lists = [f"{way} is better for {', '.join(name for name, own in pairs if own == way)}" for way in ways]
        raise problem(
            RankingCode.MIXED_DIRECTIONS,
            where,
            "metrics of opposite direction cannot be pooled: " + "; ".join(lists),
            "rank within metric before this step",
        )
    return ways[0]


def _direction_after(array: ScoreArray, step: Reduction) -> tuple[Direction, ...]:
    if isinstance(step, Test):
        if "metric" in step.over:
            _common_direction(array, step_name(step))
            return ("higher",)
        more: Direction = "higher"
        return (more,) * len(array.better)
    ways = (_common_direction(array, step_name(step)),) if "metric" in step.over else array.better
    less: Direction = "lower"
    return (less,) * len(ways) if step.step == "range" else ways


def _new_scale(step: Reduction) -> bool:
    """Return whether what a step gives is not on the scale of its values: their policies say nothing of it."""
    return "metric" in step.over or isinstance(step, Test) or step.step == "range"


def _cell_weights(array: ScoreArray, dims: tuple[str, ...], weights: Mapping[str, float] | None) -> Floats:
    """Return the product of the labels' weights for every cell of some dimensions, flattened in C order."""
    if weights:
        known = [label for dim in dims for label in array.labels[dim]]
        unknown = [name for name in weights if name not in known]
        if unknown:
            raise problem(
                RankingCode.UNKNOWN_LABEL,
                f"weights of {', '.join(dims)}",
                f"there is no label {unknown[0]!r}",
                near(unknown[0], known),
            )
    cells = np.ones(1)
    for dim in dims:
        own = np.array([(weights or {}).get(label, 1.0) for label in array.labels[dim]])
        cells = np.multiply.outer(cells, own).reshape(-1)
    return cells


def _settle(values: Floats, some: Floats, lacking: Floats, skipped: Floats) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Say which aggregates exist: none that lacks a value, or of which nothing but skipped ones is left."""
    missing = (lacking > 0) | ((some == 0) & (skipped > 0))
    state = np.where(missing, MISSING, np.where(some > 0, OK, ABSENT)).astype(np.uint8)
    return np.where(state == OK, values, np.nan), state


def _case_weights(array: ScoreArray, step: Reduction) -> Floats:
    """Return the weight of every case, from the group column a step names; 1 where it names none."""
    column = step.weights_from if isinstance(step, Reduce) else None
    if column is None:
        return np.ones(len(array.labels["case"]))
    if column not in array.groups:
        cause = f"the scores have no group column {column!r}"
        raise problem(RankingCode.UNKNOWN_LABEL, f"weights_from: {column}", cause, near(column, array.groups))
    weights = []
    pooled = array.pooled or (False,) * len(array.labels["case"])
    for case, text, whole in zip(array.labels["case"], array.groups[column], pooled, strict=True):
        try:
            weight = 1.0 if whole else float(text)
        except ValueError:
            weight = np.nan
        if not 0.0 <= weight < np.inf:
            cause = f"case {case} has the weight {text!r}"
            fix = "give every case a number from 0 upwards"
            raise problem(RankingCode.UNKNOWN_LABEL, f"weights_from: {column}", cause, fix)
        weights.append(weight)
    return np.asarray(weights, dtype=np.float64)


class CaseReducer:
    """A reduction over the cases (and perhaps more), prepared once and then applied to many resamples.

    Parameters
    ----------
    array : ScoreArray
        Not yet resampled, with a ``case`` dimension.
    step : Reduce, Quantile or Test
        Must collapse ``case``.
    unique : bool
        Let a case count at most once in a test, as challengeR's bootstrap does.
    """

    def __init__(self, array: ScoreArray, step: Reduction, *, unique: bool = False) -> None:
        for dim in step.over:
            array.axis(dim)
        self._step = step
        self._better = _direction_after(array, step)
        self._unique = unique and isinstance(step, Test)
        before = array.state
        array = array.resolve(step.missing)
        self._array = array
        others = tuple(dim for dim in step.over if dim != "case")
        self._kept = tuple(dim for dim in array.dims[1:] if dim not in step.over)
        order = [array.axis(dim) for dim in ("case", *others, "submission", *self._kept)]
        values, state = array.values.transpose(order), array.state.transpose(order)
        self._n_cases = len(array.labels["case"])
        self._per_case = int(np.prod([len(array.labels[dim]) for dim in others], dtype=np.int64))
        self._kept_shape = tuple(len(array.labels[dim]) for dim in self._kept)
        self._columns = (len(array.submissions), int(np.prod(self._kept_shape, dtype=np.int64)))
        rows = self._n_cases * self._per_case
        self._cell = np.tile(_cell_weights(array, others, getattr(step, "weights", None)), self._n_cases)
        own = np.repeat(_case_weights(array, step), self._per_case)
        self._cell = self._cell * own
        flat = values.reshape(rows, -1)
        # a case of weight 0 is not there: it can neither lack nor be left out
        flat_state = np.where(own[:, None] > 0, state.reshape(rows, -1), ABSENT)
        self._some = (flat_state == OK).astype(np.float64)
        self._full = bool((flat_state == OK).all())
        self._lacking = (flat_state == MISSING).astype(np.float64)
        was_missing = (before.transpose(order).reshape(rows, -1) == MISSING) & (own[:, None] > 0)
        self._skipped = (was_missing & (flat_state == ABSENT)).astype(np.float64)
        self._complete = not was_missing.any()
        self._apply = self._prepare(np.where(flat_state == OK, flat, np.nan))
        self._levels = self._level_masks()

    def _prepare(self, flat: Floats) -> Callable[[Floats], Floats]:
        step = self._step
        if isinstance(step, Test):
            return self._prepare_test(flat, step)
        if step.step in ("mean", "sum"):
            sums = ExactSums(flat * self._cell[:, None])
            if step.step == "sum":
                return lambda weights: sums.sums(weights)[0]
            if (self._cell == 1).all():
                return lambda weights: divide(*sums.sums(weights), self._count(weights))
            weigh = self._some * self._cell[:, None]
            return lambda weights: divide(*sums.sums(weights), weights @ weigh)
        if step.step == "rms":
            squares = ExactSums(flat**2)
            return lambda weights: np.sqrt(divide(*squares.sums(weights), self._count(weights)))
        quantiles = Quantiles(flat)
        if step.step == "range":
            return lambda weights: quantiles(weights, 1.0) - quantiles(weights, 0.0)
        q = step.q if isinstance(step, Quantile) else _Q[step.step]
        return lambda weights: quantiles(weights, q)

    def _count(self, weights: Floats) -> Floats:
        """Return how many values every column has, with their weights; one number per resample if none lacks."""
        if self._full:
            return np.broadcast_to(weights.sum(axis=1)[:, None], (weights.shape[0], self._some.shape[1]))
        return np.asarray(weights @ self._some)

    def _prepare_test(self, flat: Floats, step: Test) -> Callable[[Floats], Floats]:
        cube = flat.reshape(flat.shape[0], *self._columns)
        ways = self._array.better
        per_metric = "metric" in self._kept
        inner = int(np.prod(self._kept_shape[self._kept.index("metric") + 1 :])) if per_metric else 1
        tests = []
        for column in range(cube.shape[2]):
            way = ways[(column // inner) % len(ways)] if per_metric else ways[0]
            tests.append(PairedTests(cube[:, :, column], higher_better=way == "higher"))

        def share(weights: Floats) -> Floats:
            if self._unique:
                weights = np.minimum(weights, 1.0)
            wins = [test.wins(weights, step.alpha, step.adjust) for test in tests]
            return np.stack(wins, axis=2).reshape(weights.shape[0], -1)

        return share

    def _level_masks(self) -> list[tuple[str, Floats]]:
        by = grouping(self._step)
        if by is None:
            return [("", np.ones(self._n_cases))]
        if by not in self._array.groups:
            raise problem(
                RankingCode.UNKNOWN_LABEL,
                f"by: {by}",
                f"the scores have no group column {by!r}",
                near(by, self._array.groups),
            )
        levels = self._array.groups[by]
        return [
            (name, np.array([level == name for level in levels], dtype=np.float64))
            for name in sorted(set(levels) - {""})
        ]

    def __call__(self, counts: Floats) -> ScoreArray:
        """Reduce under each row of ``counts``, shape (n_resamples, n_cases): how often each case was drawn."""
        whole = grouping(self._step) is None
        results = [self._reduce(counts if whole else counts * mask) for _, mask in self._levels]
        values, state = results[0]
        array, by = self._array, grouping(self._step)
        dims = ("submission", *self._kept)
        labels = {dim: array.labels[dim] for dim in dims}
        if by is not None:
            dims, labels = (*dims, by), {**labels, by: tuple(name for name, _ in self._levels)}
            values = np.stack([result[0] for result in results], axis=-1)
            state = np.stack([result[1] for result in results], axis=-1)
        new = _new_scale(self._step)
        return ScoreArray(
            values=values,
            state=state,
            dims=dims,
            labels=labels,
            better=self._better,
            policy=(None,) * len(self._better) if new else array.policy,
            worst=(np.nan,) * len(self._better) if new else array.worst,
        )

    def _reduce(self, counts: Floats) -> tuple[Floats, npt.NDArray[np.uint8]]:
        weights = np.repeat(counts, self._per_case, axis=1) if self._per_case > 1 else counts
        values = self._apply(weights)
        if isinstance(self._step, Test):  # nobody to beat is no result; unpaired rows are no missing result
            state = np.where(np.isnan(values), MISSING, OK).astype(np.uint8)
        else:
            some = self._count(weights)
            none = np.zeros_like(some)
            lacking, skipped = (none, none) if self._complete else (weights @ self._lacking, weights @ self._skipped)
            values, state = _settle(values, some, lacking, skipped)
        shape = (counts.shape[0], self._columns[0], *self._kept_shape)
        return values.reshape(shape), state.reshape(shape)


def reduce_plain(array: ScoreArray, step: Reduction) -> ScoreArray:
    """Collapse dimensions other than the cases, for one data set or a batch of resamples alike."""
    if isinstance(step, Test):
        raise problem(
            RankingCode.BAD_STEP, step_name(step), "a test needs the cases", "let the test come before cases vanish"
        )
    for dim in step.over:
        array.axis(dim)
    if isinstance(step, Reduce) and step.groups is not None:
        return _reduce_groups(array, step, step.groups)
    better = _direction_after(array, step)
    before = array.state
    array = array.resolve(step.missing)
    axes = [array.axis(dim) for dim in step.over]
    weights = _cell_weights(array, step.over, getattr(step, "weights", None))
    counts = (weights > 0).astype(np.float64)

    def gather(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        moved = np.moveaxis(block, axes, range(-len(axes), 0))
        return moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1)

    states, was_missing = gather(array.state), gather(before == MISSING)
    values = _collapse(np.where(states == OK, gather(array.values), np.nan), step, weights)
    lacking, skipped = (states == MISSING) @ counts, (was_missing & (states == ABSENT)) @ counts
    values, state = _settle(values, (states == OK) @ counts, lacking, skipped)
    new = _new_scale(step)
    dims = tuple(dim for dim in array.dims if dim not in step.over)
    return replace(
        array,
        values=values,
        state=state,
        dims=dims,
        labels={dim: array.labels[dim] for dim in dims},
        better=better,
        policy=(None,) * len(better) if new else array.policy,
        worst=(np.nan,) * len(better) if new else array.worst,
    )


def _collapse(cells: Floats, step: Reduce | Quantile | Spread, weights: Floats) -> Floats:
    if step.step == "rms":
        high, low = weighted_sums(cells**2, weights)
        return np.sqrt(divide(*two_sum(high, low), (~np.isnan(cells)).astype(np.float64) @ weights))
    if step.step == "range":
        return quantile(cells, 1.0) - quantile(cells, 0.0)
    if step.step in ("mean", "sum"):
        high, low = weighted_sums(cells, weights)
        if step.step == "sum":
            return high + low
        divisor = (~np.isnan(cells)).astype(np.float64) @ weights
        return divide(*two_sum(high, low), divisor)
    q = step.q if isinstance(step, Quantile) else _Q[step.step]
    return quantile(cells, q)


def _reduce_groups(array: ScoreArray, step: Reduce, groups: Mapping[str, tuple[str, ...]]) -> ScoreArray:
    """Collapse sets of labels into new labels; labels in no set stay as they are."""
    dim = step.over[0]
    if dim in ("case", "submission"):
        raise problem(
            RankingCode.BAD_STEP,
            step_name(step),
            f"groups of {dim} labels are not possible",
            "use 'by' with a group column",
        )
    known = array.labels[dim]
    members = {label: group for group, labels in groups.items() for label in labels}
    unknown = [label for label in members if label not in known]
    if unknown:
        raise problem(
            RankingCode.UNKNOWN_LABEL, f"groups of {dim}", f"there is no {dim} {unknown[0]!r}", near(unknown[0], known)
        )
    axis = array.axis(dim)
    parts: list[ScoreArray] = []
    labels: list[str] = []
    better: list[Direction] = []
    policy: list[MissingPolicy | None] = []
    worst: list[float] = []
    for name in [*groups, *(label for label in known if label not in members)]:
        keep = [index for index, label in enumerate(known) if members.get(label, label) == name]
        part = array.take(dim, keep)
        if name in groups:
            part = reduce_plain(
                part, step.model_copy(update={"groups": None, "weights": _only(step.weights, part, dim)})
            )
            part = replace(part, values=np.expand_dims(part.values, axis), state=np.expand_dims(part.state, axis))
        parts.append(part)
        labels.append(name)
        better.extend(part.better if dim == "metric" else ())
        policy.extend(part.policy if dim == "metric" else ())
        worst.extend(part.worst if dim == "metric" else ())
    return replace(
        array,
        values=np.concatenate([part.values for part in parts], axis=axis),
        state=np.concatenate([part.state for part in parts], axis=axis),
        labels={**array.labels, dim: tuple(labels)},
        better=tuple(better) or array.better,
        policy=tuple(policy) or array.policy,
        worst=tuple(worst) or array.worst,
    )


def _only(weights: Mapping[str, float] | None, part: ScoreArray, dim: str) -> dict[str, float] | None:
    return {name: weight for name, weight in weights.items() if name in part.labels[dim]} if weights else None
