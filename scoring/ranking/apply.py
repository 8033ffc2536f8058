"""Apply the steps of a recipe that leave the cases alone: rank, select, common, threshold, other reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import (
    Change,
    Clip,
    Common,
    Difference,
    Direction,
    Normalise,
    Quantile,
    Rank,
    Reduce,
    Select,
    Spread,
    Step,
    Target,
    Test,
    Threshold,
    Trapezoid,
)
from medpodium.scoring.ranking.axes import ABSENT, MISSING, OK, RankingCode, ScoreArray, near, problem
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
    if isinstance(step, Change):
        return _changed(array, step)
    if isinstance(step, Difference):
        places = [_label(array, step.over[0], name) for name in (step.of, step.minus)]
        array = array.resolve(step.missing)
        return _combined(array, step.over[0], places, np.array([1.0, -1.0]), step.better)
    if isinstance(step, Trapezoid):
        return _area(array.resolve(step.missing), step)
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


def _changed(array: ScoreArray, step: Change) -> ScoreArray:
    """Change every value by itself, and with them what a missing one counts."""
    names = array.labels.get("metric", ("",)) if "metric" in array.dims else ("",)
    if step.metric is not None:
        array.axis("metric")
        for name in step.metric:
            if name not in names:
                raise problem(RankingCode.UNKNOWN_LABEL, step.step, f"there is no metric {name!r}", near(name, names))
    chosen = [step.metric is None or name in step.metric for name in names]
    mask = np.broadcast_to(array.along_metric([float(own) for own in chosen]) > 0, array.values.shape)
    better = tuple(_better(step, way) if own else way for own, way in zip(chosen, array.better, strict=True))
    number = [own and isinstance(rule, (int, float)) for own, rule in zip(chosen, array.policy, strict=True)]
    rules = zip(number, array.policy, strict=True)
    return replace(
        array,
        values=np.where(mask, _new(step, array.values), array.values),
        better=better,
        policy=tuple(float(_new(step, np.asarray(rule, dtype=np.float64))) if new else rule for new, rule in rules),
        worst=tuple(
            float(_new(step, np.asarray(worst, dtype=np.float64))) if own else worst
            for own, worst in zip(chosen, array.worst, strict=True)
        ),
    )


def _better(step: Change, way: Direction) -> Direction:
    """Return which values are better after a change."""
    if isinstance(step, Target):
        return "lower"
    if isinstance(step, Normalise) and step.low > step.high:
        return "lower" if way == "higher" else "higher"
    return way


def _new(step: Change, values: Floats) -> Floats:
    """Return the changed values."""
    if isinstance(step, Target):
        return np.abs(values - step.value)
    if isinstance(step, Clip):
        return np.clip(values, step.low, step.high)
    if isinstance(step, Normalise):
        return (values - step.low) / (step.high - step.low)
    raise TypeError(f"{step.step} changes no values")


def _label(array: ScoreArray, dim: str, name: str) -> int:
    """Return the position of a label."""
    array.axis(dim)
    if name not in array.labels[dim]:
        known = array.labels[dim]
        raise problem(RankingCode.UNKNOWN_LABEL, f"over {dim}", f"there is no {dim} {name!r}", near(name, known))
    return array.labels[dim].index(name)


def _area(array: ScoreArray, step: Trapezoid) -> ScoreArray:
    """Return the area under the values over a dimension whose labels have a place."""
    dim = step.over[0]
    array.axis(dim)
    places = step.at
    if places is None:
        try:
            places = {label: float(label) for label in array.labels[dim]}
        except ValueError:
            cause = f"the labels {', '.join(array.labels[dim][:4])} are no numbers"
            raise problem(RankingCode.BAD_STEP, "trapezoid", cause, "say with 'at' where each of them lies") from None
    order = sorted(places, key=lambda name: places[name])
    x = np.array([places[name] for name in order])
    gaps = np.diff(x)
    weights = (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2
    if step.mean:
        weights = weights / (x[-1] - x[0])
    return _combined(array, dim, [_label(array, dim, name) for name in order], weights, None)


def _combined(
    array: ScoreArray, dim: str, places: Sequence[int], weights: Floats, better: Direction | None
) -> ScoreArray:
    """Collapse a dimension with a weighted sum of some of its labels, each of which has to be there."""
    if dim == "metric" and better is None and len({array.better[at] for at in places}) > 1:
        fix = "say which differences are better ('better')"
        raise problem(RankingCode.MIXED_DIRECTIONS, f"over {dim}", "the metrics have opposite directions", fix)
    axis = array.axis(dim)
    taken, state = np.take(array.values, places, axis=axis), np.take(array.state, places, axis=axis)
    good, lacks = (state == OK).all(axis=axis), (state == MISSING).any(axis=axis)
    states = np.where(good, OK, np.where(lacks, MISSING, ABSENT)).astype(np.uint8)
    values = np.moveaxis(taken, axis, -1) @ weights
    dims = tuple(own for own in array.dims if own != dim)
    ways = (array.better[places[0]],) if dim == "metric" else array.better
    ways = ways if better is None else (better,) * len(ways)
    return replace(
        array,
        values=np.where(good, values, np.nan),
        state=states,
        dims=dims,
        labels={own: array.labels[own] for own in dims},
        better=ways,
        policy=(None,) * len(ways),
        worst=(np.nan,) * len(ways),
    )


def collapse_joint(
    ranked: Callable[[int], ScoreArray], step: Reduce | Quantile | Test | Spread, counts: Floats
) -> ScoreArray:
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
