"""Apply the steps of a recipe that leave the cases alone: rank, select, common, threshold, other reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import Common, Direction, Quantile, Rank, Reduce, Select, Step, Test, Threshold
from medpodium.scoring.ranking.axes import MISSING, OK, RankingCode, ScoreArray, near, problem
from medpodium.scoring.ranking.ranks import no_more_than, rank_after_last, rank_columns, rank_worst, tie_within
from medpodium.scoring.ranking.reduce import CaseReducer, reduce_plain

Floats = npt.NDArray[np.float64]


def apply_step(array: ScoreArray, step: Step) -> ScoreArray:
    """Apply one step that does not collapse the cases."""
    if isinstance(step, Rank):
        return apply_rank(array, step)
    if isinstance(step, Select):
        return _select(array, step)
    if isinstance(step, Common):
        return _common(array, step)
    if isinstance(step, Threshold):
        return _threshold(array, step)
    return reduce_plain(array, step)


def apply_rank(array: ScoreArray, step: Rank) -> ScoreArray:
    """Rank the submissions within every combination of the other dimensions."""
    array = array.resolve(step.missing, ranking=True)
    lead = array.values.ndim - len(array.dims)
    shape = array.values.shape
    keys = array.keys().reshape(*shape[: lead + 1], -1)
    missing = (array.state == MISSING).reshape(keys.shape)
    if step.tolerance > 0:
        keys = tie_within(keys, step.tolerance)
    if not missing.any():
        ranks = rank_columns(keys, step.ties)
    elif step.missing == "after-last":
        ranks = rank_after_last(keys, missing, step.ties)
    else:
        ranks = rank_worst(keys, missing, step.ties)
    ranks = ranks.reshape(shape)
    number = len(array.better)
    smaller: Direction = "lower"
    return replace(
        array,
        values=ranks,
        state=np.where(np.isnan(ranks), 0, OK).astype(np.uint8),
        better=(smaller,) * number,
        policy=(None,) * number,
        worst=(np.nan,) * number,
    )


def _select(array: ScoreArray, step: Select) -> ScoreArray:
    for dim, wanted in step.keep.items():
        known: Sequence[str]
        if dim in array.dims:
            known, target = array.labels[dim], dim
        elif dim in array.groups and "case" in array.dims:
            known, target = array.groups[dim], "case"
        else:
            choices = [*array.dims[1:], *array.groups]
            raise problem(RankingCode.UNKNOWN_LABEL, "select", f"no dimension or group {dim!r}", near(dim, choices))
        for label in wanted:
            if label not in known:
                raise problem(
                    RankingCode.UNKNOWN_LABEL,
                    f"select: {dim}",
                    f"there is no {label!r}",
                    near(label, sorted(set(known))),
                )
        array = array.take(target, [index for index, label in enumerate(known) if label in wanted])
    return array


def _common(array: ScoreArray, step: Common) -> ScoreArray:
    for dim in step.over:
        axis = array.axis(dim)
        others = tuple(index for index in range(array.state.ndim) if index != axis)
        complete = ~(array.state == MISSING).any(axis=others)
        if not complete.any():
            raise problem(
                RankingCode.NO_PAIRS,
                f"common: {dim}",
                f"no {dim} has the values of all submissions",
                "leave incomplete submissions out, or drop this step",
            )
        array = array.take(dim, [int(index) for index in np.flatnonzero(complete)])
    return array


def _threshold(array: ScoreArray, step: Threshold) -> ScoreArray:
    axis = array.axis("metric")
    names = array.labels["metric"]
    values = array.values.copy()
    for name in step.metric:
        if name not in names:
            raise problem(RankingCode.UNKNOWN_LABEL, "threshold", f"there is no metric {name!r}", near(name, names))
        position = names.index(name)
        sign = -1.0 if array.better[position] == "higher" else 1.0
        view = np.moveaxis(values, axis, -1)
        keys = view[..., position] * sign
        if step.good_enough is not None:
            enough = step.good_enough * sign
            keys = np.where(no_more_than(keys, np.asarray(enough), 0.0), enough, keys)
        else:
            first = int(array.resampled)
            best = np.where(np.isnan(keys), np.inf, keys).min(axis=first, keepdims=True)
            keys = np.where(no_more_than(keys, best, step.tolerance or 0.0), best, keys)
        view[..., position] = np.where(np.isnan(view[..., position]), np.nan, keys * sign)
    return replace(array, values=values)


def collapse_joint(ranked: Callable[[int], ScoreArray], step: Reduce | Quantile | Test, counts: Floats) -> ScoreArray:
    """Collapse the cases the way challengeR's bootstrap does after ranking within cases.

    A case drawn k times forms one group of k times as many values, so its ranks are those among k copies of
    every submission, and they count k times. Kept to reproduce published results, not to draw conclusions.

    Parameters
    ----------
    ranked : callable
        Number of copies to the array in which every case is ranked among that many copies of itself.
    counts : ndarray of float, shape (n_resamples, n_cases)
    """
    most = int(counts.max(initial=1))
    copies = [ranked(max(number, 1)) for number in range(most + 1)]
    axis = copies[0].axis("case")
    values = np.stack([np.moveaxis(array.values, axis, 0) for array in copies])
    state = np.stack([np.moveaxis(array.state, axis, 0) for array in copies])
    results = []
    for row in counts:
        pick = (row.astype(np.intp), np.arange(len(row)))
        drawn = replace(copies[0], values=np.moveaxis(values[pick], 0, axis), state=np.moveaxis(state[pick], 0, axis))
        results.append(CaseReducer(drawn, step)(row[None, :]))
    return replace(
        results[0],
        values=np.concatenate([result.values for result in results]),
        state=np.concatenate([result.state for result in results]),
    )
