"""Choose how the rank sets of a recipe are built: the sharpest way that holds for it, else a description.

=============  =========================================================================================
means          the recipe averages over cases and ranks only at the end: all pairs of means
bounds         it does something rank-like after the mean: all pairs of all means of the step before that,
               and what is certain of the later steps then
quantiles      it takes a quantile over cases: order statistics of every submission, then as above
pooled         values of whole sets of cases, compared by their jackknife pseudo-values, then as above
resampled      everything else: the spread of the resamples, **without a guarantee**
=============  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import DECIMAL, Quantile, Rank, Reduce, Select, Step
from medpodium.scoring.evidence.bootstrap import Bootstrap
from medpodium.scoring.evidence.confidence import left_out_counts, oriented, pseudo_values
from medpodium.scoring.evidence.sets.bounds import Bounds, monotone, through
from medpodium.scoring.evidence.sets.pairs import mean_pairs, spread_pairs
from medpodium.scoring.evidence.sets.quantiles import order_bounds
from medpodium.scoring.evidence.sets.ranks import LEVEL, Construction, RankSets, joint, rank_sets, sets_of
from medpodium.scoring.ranking.axes import OK, ScoreArray
from medpodium.scoring.ranking.recipe import Prepared, Run

Floats = npt.NDArray[np.float64]
Members = Sequence[npt.NDArray[np.intp]]
"""Positions of the cases of every independent unit."""
LEAST = 1000
"""Resamples of the pairs, however few the recipe gets: a small share of the level needs far order statistics."""
ENOUGH = 50
"""Where some submissions fail in a tenth of the cases and others never, fewer units than this may hold no failure of a
submission, and its mean is too high by what nobody saw (``benchmarks/how_often``). Quantiles are not moved by it."""
SMALLEST_CLASS = 15
"""An AUC with fewer units of one class rests on them alone: its sets hold too rarely (``benchmarks/how_often``)."""


@dataclass(frozen=True)
class Draw:
    """How often and with what seed pairs are resampled."""

    n_resamples: int
    seed: int
    task: str


def build(prepared: Prepared, units: Members, draws: Bootstrap, draw: Draw, left_out: Run | None = None) -> RankSets:
    """Return the rank sets of a recipe: guaranteed ones, else a description of its resamples.

    Parameters
    ----------
    prepared : Prepared
        Recipe and scores.
    units : sequence of ndarray of int
        Positions of the cases of every independent unit: one case, or all cases of a cluster. Strata are not used:
        without them the spread of a mean is never smaller, so what holds without them holds with them.
    draws : Bootstrap
        Resamples of the recipe, for what can only be described.
    draw : Draw
        Resamples of the pairs.
    left_out : Run, optional
        The rankings without each unit, where they are known already: their values need not be summed again.
    """
    sets = guaranteed(prepared, units, draw, left_out)
    if sets is not None:
        return sets
    value = oriented(draws.full.values[0], draws.better)
    pairs = spread_pairs(value, oriented(draws.values, draws.better))
    return rank_sets(pairs, len(value), "resampled", holds=False)


def guaranteed(prepared: Prepared, units: Members, draw: Draw, left_out: Run | None = None) -> RankSets | None:
    """Return rank sets that hold at the level; nothing where this recipe has none.

    Of means, fewer than :data:`ENOUGH` units cannot tell what they hold no example of.
    """
    sets = _guaranteed(prepared, units, draw, left_out)
    few = sets is not None and sets.construction != "quantiles" and len(units) < ENOUGH
    return replace(sets, unseen=True) if sets is not None and few else sets


def _guaranteed(prepared: Prepared, units: Members, draw: Draw, left_out: Run | None) -> RankSets | None:
    collapse = prepared.collapsing
    run = prepared.run()
    value = oriented(run.values[0], run.better)
    if prepared.n_fixed or len(units) < 2 or not _enough(prepared, units):
        return None
    if isinstance(collapse, Reduce) and collapse.step in ("mean", "sum"):
        linear = _linear(prepared.later)
        if not monotone(prepared.later[linear:]):
            return None
        kind: Construction = "pooled" if prepared.pooled is not None else "means"
        full, contributions = _contributions(prepared, units, linear, left_out)
        pairs = mean_pairs(contributions, draw.n_resamples, draw.seed, draw.task)
        last = linear == len(prepared.later) - 1
        own = contributions[:, :, 0] if last else None
        if last and not _tolerance(prepared.later[-1]):
            return replace(rank_sets(pairs, len(value), kind), contributions=own)
        better, lead, _ = joint(pairs, len(value), contributions.shape[2])
        shape = (len(value), *full.values.shape)
        nothing = np.full(full.values.shape, np.inf)
        bounds = Bounds(full, -nothing, nothing, lead.reshape(shape), better.reshape(shape))
        sets = _follow(bounds, prepared.later[linear:], value, "pooled" if kind == "pooled" else "bounds")
        return replace(sets, contributions=own)
    q = _quantile(prepared, units)
    if q is None or not monotone(prepared.later):
        return None
    return _follow(_order_statistics(prepared, q), prepared.later, value, "quantiles")


def value_contributions(prepared: Prepared, units: Members) -> Floats | None:
    """Return what every unit contributes to the value that is ranked, where that is a mean over units.

    Returns
    -------
    ndarray of float, shape (n_units, n_submissions), or None
        Higher is better; their mean is the value.
    """
    collapse = prepared.collapsing
    if prepared.n_fixed or len(units) < 2 or not (isinstance(collapse, Reduce) and collapse.step in ("mean", "sum")):
        return None
    linear = _linear(prepared.later)
    return _contributions(prepared, units, linear)[1][:, :, 0] if linear == len(prepared.later) - 1 else None


def _follow(bounds: Bounds, steps: Sequence[Step], value: Floats, construction: Construction) -> RankSets:
    last = through(bounds, steps[:-1])
    tolerance = _tolerance(steps[-1])
    return sets_of(last.lead > tolerance if tolerance else last.better, last.lead, value, construction)


def _enough(prepared: Prepared, units: Members) -> bool:
    """Return whether the smallest class behind pooled values has units enough for their pseudo-values."""
    if prepared.pooled is None:
        return True
    pool, cases = prepared.pooled.pool, prepared.array.cases
    unit = {cases[case]: number for number, own in enumerate(units) for case in own}
    return all(len({unit.get(pool.cases[at]) for at in own}) >= SMALLEST_CLASS for own in pool.classes)


def _tolerance(step: Step) -> float:
    """Return the tolerance of a rank step; what makes decimal numbers tie concerns no difference of true values."""
    return step.tolerance if isinstance(step, Rank) and step.tolerance > DECIMAL else 0.0


def _linear(steps: Sequence[Step]) -> int:
    """Return how many steps after the collapse of the cases only average, add or select."""
    for number, step in enumerate(steps):
        if not (isinstance(step, Select) or (isinstance(step, Reduce) and step.step in ("mean", "sum"))):
            return number
    return len(steps)


def _contributions(
    prepared: Prepared, units: Members, steps: int, left_out: Run | None = None
) -> tuple[ScoreArray, Floats]:
    """Return the table that is compared, and what every unit contributes to it.

    Where only the last rank is left to do, the table without each unit is what ``left_out`` ranks.

    Returns
    -------
    array : ScoreArray
        Without a resample axis.
    contributions : ndarray of float, shape (n_units, n_submissions, n_columns)
        Jackknife pseudo-values, higher is better; NaN where a unit alone carries the value.
    """
    full = prepared.stage(steps)
    parts = []
    if left_out is not None and steps == len(prepared.later) - 1:
        parts = [oriented(left_out.values, left_out.better)]
    else:
        for counts in left_out_counts(len(prepared.array.cases), units):
            left = prepared.stage(steps, counts)
            parts.append(np.where(left.state == OK, -left.keys(), np.nan))
    whole = np.where(full.state == OK, -full.keys(), np.nan)[0]
    contributions = pseudo_values(whole, np.concatenate(parts))
    array = replace(full, values=full.values[0], state=full.state[0])
    return array, contributions.reshape(*contributions.shape[:2], -1)


def _quantile(prepared: Prepared, units: Members) -> float | None:
    """Return which quantile the recipe takes over independent cases, or nothing if it does something else."""
    step = prepared.collapsing
    alone = all(len(unit) == 1 for unit in units)
    sizes = {dim: len(prepared.before.labels[dim]) for dim in step.over if dim != "case"}
    if not alone or prepared.pooled is not None or any(size > 1 for size in sizes.values()):
        return None
    if isinstance(step, Quantile):
        return step.q if step.by is None and 0 < step.q < 1 else None
    return 0.5 if isinstance(step, Reduce) and step.step == "median" and step.by is None else None


def _order_statistics(prepared: Prepared, q: float) -> Bounds:
    """Return bounds of every submission's quantile in every column, all of them together at the level."""
    step = prepared.collapsing
    full = prepared.stage(0)
    array = prepared.before.resolve(step.missing)
    others = [array.axis(dim) for dim in step.over if dim != "case"]
    values = np.where(array.state == OK, array.values, np.nan)
    cases = np.moveaxis(values, array.axis("case"), 0)
    cases = cases.reshape(len(cases), *(size for axis, size in enumerate(values.shape) if axis not in
                                        (array.axis("case"), *others)))  # fmt: skip
    shape = full.values.shape[1:]
    low, high = order_bounds(cases.reshape(len(cases), -1), q, (1 - LEVEL) / max(int(np.prod(shape)), 1))
    known = full.state[0] == OK
    low, high = np.where(known, low.reshape(shape), -np.inf), np.where(known, high.reshape(shape), np.inf)
    own = replace(full, values=full.values[0], state=full.state[0])
    return Bounds.of(own, low, high)
