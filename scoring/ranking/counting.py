"""Which policy a missing score meets on its way through a recipe, and what it counts after that.

The steps of the recipe decide in their order: the first that collapses or ranks meets the scores as they are, with its
own ``missing`` or, where it has none, the metric's. Here numbers are wanted, also of steps that only rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medpodium.challenges.schema.steps import COLLAPSING, Common, Rank, Select, Step
from medpodium.scoring.ranking.axes import ABSENT, MISSING, OK, ScoreArray
from medpodium.scoring.ranking.blocks import MEAN, Bools


def meeting(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that meet single scores and say what a missing one counts.

    They end with the first step that ranks or collapses the cases: after it, nothing is missing that a policy for
    scores could speak of.
    """
    met: list[Step] = []
    for step in steps:
        met.append(step)
        if isinstance(step, Rank) or (isinstance(step, COLLAPSING) and "case" in step.over):
            break
    return tuple(met)


@dataclass(frozen=True)
class Cells:
    """An array half way through the policies, and which of its cells a step ranked behind all others."""

    array: ScoreArray
    last: Bools

    @classmethod
    def of(cls, array: ScoreArray) -> Cells:
        """Return an array that no step has met."""
        return cls(array, np.zeros(array.state.shape, dtype=bool))


def apply_policies(cells: Cells, steps: Sequence[Step], ranked: frozenset[str], before: Sequence[Step] = ()) -> Cells:
    """Let the steps decide, one after the other, what the missing cells count."""
    array, last = cells.array, cells.last
    if not steps and not before:
        array = array.resolve(None)  # no recipe: the metrics' own policies
    for number, step in enumerate(steps):
        if isinstance(step, Common):
            if "case" in step.over:
                chosen = selected((*before, *steps[:number]), ranked)
                array = _without_incomplete(array, inside_of(array, *chosen))
        elif isinstance(step, Rank):
            was = array.state == MISSING
            ranks = array.resolve(step.missing, ranking=True)
            last = last | (was & (ranks.state == MISSING))
            array = array.resolve(step.missing, ranking=True, told=True)
        elif isinstance(step, COLLAPSING):
            settled = array.resolve(step.missing)
            array = _still_owed(array, settled) if _averages_structures(step) else settled
    return Cells(array, last)


def selected(steps: Sequence[Step], ranked: frozenset[str]) -> tuple[frozenset[str], frozenset[str] | None]:
    """Return the metrics and structures that selections leave; None for all structures."""
    metrics, structures = ranked, None
    for step in steps:
        if isinstance(step, Select):
            metrics = metrics & frozenset(step.keep.get("metric", metrics))
            if "structure" in step.keep:
                kept = frozenset(step.keep["structure"])
                structures = kept if structures is None else structures & kept
    return metrics, structures


def inside_of(array: ScoreArray, metrics: frozenset[str], structures: frozenset[str] | None) -> Bools:
    """Return which (structure, metric) pairs of an array are selected."""
    of_structure = np.array([structures is None or name in structures for name in array.labels["structure"]])
    of_metric = np.array([name in metrics for name in array.labels["metric"]])
    return np.asarray(of_structure[:, None] & of_metric[None, :])


def _without_incomplete(array: ScoreArray, inside: Bools) -> ScoreArray:
    """Leave out, for everybody, the cases that somebody lacks; what is not selected counts pair by pair."""
    missing = (array.state == MISSING).any(axis=0)
    together = missing[:, inside].any(axis=1)
    gone = np.where(inside, together[:, None, None], missing)
    state = np.where(gone, ABSENT, array.state).astype(np.uint8)
    return replace(array, values=np.where(state == OK, array.values, np.nan), state=state)


def mean_cells(cells: Cells, steps: tuple[Step, ...], ranked: frozenset[str]) -> Cells:
    """Return the mean over the structures of each case, made where the recipe makes it.

    Steps after it speak of the mean itself. A recipe that collapses the cases first has no such mean; then it is that
    of the scores as they count.
    """
    at = next((at for at, step in enumerate(steps) if _averages_structures(step)), None)
    if at is None:
        return _structure_means(apply_policies(cells, steps, ranked))
    before = apply_policies(cells, steps[:at], ranked) if at else cells
    parts = apply_policies(before, steps[at : at + 1], ranked, before=steps[:at])
    return apply_policies(_structure_means(parts), steps[at + 1 :], ranked, before=steps[: at + 1])


def _averages_structures(step: Step) -> bool:
    if not isinstance(step, COLLAPSING):
        return False
    return "structure" in step.over and "case" not in step.over


def _still_owed(before: ScoreArray, after: ScoreArray) -> ScoreArray:
    """Keep a case missing of which a mean over structures would leave out everything: the next step speaks of it."""
    axis = before.axis("structure")
    skipped = (before.state == MISSING) & (after.state == ABSENT)
    nothing = ~(after.state == OK).any(axis=axis, keepdims=True)
    return replace(after, state=np.where(skipped & nothing, MISSING, after.state).astype(np.uint8))


def _structure_means(cells: Cells) -> Cells:
    """Return the mean over the structures of a case; missing where it lacks one."""
    array = cells.array
    axis = array.axis("structure")
    scored, missing = array.state == OK, array.state == MISSING
    some = scored.sum(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(scored, array.values, 0.0).sum(axis=axis, keepdims=True) / some
    lacks = missing.any(axis=axis, keepdims=True)
    state = np.where(lacks, MISSING, np.where(some > 0, OK, ABSENT)).astype(np.uint8)
    owed = (scored | cells.last).any(axis=axis, keepdims=True)
    last = owed & (cells.last | ~scored).all(axis=axis, keepdims=True)
    labels = {**array.labels, "structure": (MEAN,)}
    mean = replace(array, values=np.where(state == OK, values, np.nan), state=state, labels=labels)
    return Cells(mean, last)
