"""What remains certain of a recipe's later steps once a joint statement about an earlier step holds.

Every later step but ``threshold`` with a tolerance never turns a better input into a worse output, so bounds pass
through it: bounds of every value, and bounds of how far one submission leads another, which are sharper than those of
both values together. A submission is surely better than another if it is for every table that the joint statement
allows. Nothing here is random: whatever holds for the joint statement with 95 % holds for what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import DECIMAL, Quantile, Rank, Reduce, Select, Step, Test, Threshold, Ties
from medpodium.scoring.ranking.apply import apply_step
from medpodium.scoring.ranking.axes import OK, ScoreArray

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
ROUNDING = 1e-9
"""Leads of means of ranks that are no larger are rounding."""


@dataclass(frozen=True)
class Bounds:
    """What is certain about a table of values.

    Parameters
    ----------
    array : ScoreArray
        Its dimensions, labels and directions; all states are OK, values do not matter.
    low, high : ndarray of float, shape of ``array.values``
        Bounds of every value; infinite where nothing is known.
    lead : ndarray of float, shape (n_submissions, *shape of ``array.values``)
        How much better the first submission is than the second, at least; -inf where nothing is known.
    better : ndarray of bool, same shape
        The first submission is surely better than the second (even where the lead has no known size).
    """

    array: ScoreArray
    low: Floats
    high: Floats
    lead: Floats
    better: Bools

    @staticmethod
    def of(array: ScoreArray, low: Floats, high: Floats) -> Bounds:
        """Return what bounds of every value say."""
        lead = _leads(array, low, high)
        return Bounds(array, low, high, lead, lead > 0)


def monotone(steps: Sequence[Step]) -> bool:
    """Return whether bounds can pass through all of these steps."""
    for step in steps:
        if isinstance(step, Test) or (isinstance(step, Threshold) and step.good_enough is None):
            return False
        if not isinstance(step, (Reduce, Quantile, Rank, Select, Threshold)):
            return False
    return True


def through(bounds: Bounds, steps: Sequence[Step]) -> Bounds:
    """Pass bounds through steps."""
    for step in steps:
        bounds = _ranked(bounds, step) if isinstance(step, Rank) else _reduced(bounds, step)
    return bounds


def closed(better: Bools) -> Bools:
    """Add what follows: better than one that is better than a third is better than the third."""
    moved = np.moveaxis(better, (0, 1), (-2, -1))
    while True:
        steps = moved.astype(np.float64)
        more = moved | (steps @ steps > 0)
        if (more == moved).all():
            return np.ascontiguousarray(np.moveaxis(more, (-2, -1), (0, 1)))
        moved = more


def _apply(bounds: Bounds, values: Floats, step: Step) -> ScoreArray:
    state = np.full(values.shape, OK, dtype=np.uint8)
    return apply_step(replace(bounds.array, values=values, state=state), step)


def _lower(bound: Floats) -> Floats:
    """Return a lower bound that says nothing where it is not defined (infinity less infinity)."""
    return np.where(np.isnan(bound), -np.inf, bound)


def _leads(array: ScoreArray, low: Floats, high: Floats) -> Floats:
    """Return the leads that bounds of the values allow."""
    sign = -array.along_metric([-1.0 if way == "higher" else 1.0 for way in array.better])
    worst, best = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
    with np.errstate(invalid="ignore"):
        return _lower(worst[:, None] - best[None, :])


def _reduced(bounds: Bounds, step: Step) -> Bounds:
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = _apply(bounds, bounds.low, step), _apply(bounds, bounds.high, step)
        lows = _lower(low.values)
        highs = -_lower(-high.values)
        lead = _leads(low, lows, highs)
        if isinstance(step, Select) or (isinstance(step, Reduce) and step.step in ("mean", "sum")):
            own = _apply(bounds, bounds.lead, step).values
        elif isinstance(step, (Reduce, Quantile)):
            # who leads by so much everywhere leads by so much in every quantile
            by = {"over": step.over, "groups": getattr(step, "groups", None)}
            own = _apply(bounds, bounds.lead, Reduce(step="min", **by)).values
        else:
            own = np.full(lead.shape, -np.inf)
    lead = np.maximum(lead, _lower(own))
    if isinstance(step, Select):
        better = _apply(bounds, bounds.better.astype(np.float64), step).values > 0
    else:
        better = lead > ROUNDING
    return Bounds(low, lows, highs, lead, better)


def _ranked(bounds: Bounds, step: Rank) -> Bounds:
    strict = step.tolerance <= DECIMAL
    better = closed(bounds.better) if strict else bounds.lead > step.tolerance + ROUNDING
    low, high = rank_bounds(better, step.ties)
    array = _apply(bounds, low, step)
    array = replace(array, values=low)
    between = (
        np.zeros(better.shape)
        if step.ties == "dense"
        else np.einsum("ik...,kj...->ij...", better.astype(np.float64), better.astype(np.float64))
    )
    lead = np.maximum(_leads(array, low, high), np.where(better, 1.0 + between, -np.inf))
    return Bounds(array, low, high, lead, lead > ROUNDING)


def rank_bounds(better: Bools, ties: Ties = "min") -> tuple[Floats, Floats]:
    """Return the smallest and largest rank that is possible for whoever is surely better than whom."""
    above = better.sum(axis=0).astype(np.float64)
    if ties == "dense":
        above = np.minimum(above, 1.0)
    return 1.0 + above, len(better) - better.sum(axis=1).astype(np.float64)
