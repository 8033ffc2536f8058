"""What a score becomes when it cannot simply be computed: empty masks, missing predictions, failed runs."""

from __future__ import annotations

import math
from typing import NamedTuple

from medpodium.challenges.schema.metrics.outcomes import absent_outcome, empty_outcome, resolve
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, MetricSpec, Outcome
from medpodium.scoring import table

LAST = ("worst", "after-last")
"""What a step that ranks may say of a missing value: it goes last, whatever number it would have."""


class Score(NamedTuple):
    """A value with its status; NaN where there is none."""

    value: float
    status: str


def empty_score(
    spec: MetricSpec, policy: EmptyPolicy, reference_empty: bool, prediction_empty: bool, diagonal_mm: float
) -> Score | None:
    """Return the declared score of an empty mask, or ``None`` where the score is to be computed.

    Status is ``skipped`` where the policy says so, ``empty-reference`` where the structure is not in the reference,
    and ``penalised`` where the prediction missed it.
    """
    outcome = empty_outcome(policy, reference_empty, prediction_empty)
    if outcome == "compute":
        return None
    status = table.EMPTY_REFERENCE if reference_empty else table.PENALISED
    return Score(resolve(outcome, spec, diagonal_mm), table.SKIPPED if outcome == "skip" else status)


def absent_score(
    spec: MetricSpec,
    policy: EmptyPolicy | None,
    reference_empty: bool,
    diagonal_mm: float,
    failure: str | None = None,
) -> Score:
    """Return the score of a case without a usable prediction.

    Parameters
    ----------
    spec, policy
        The metric and its four-cell policy (``None`` for metrics of whole cases).
    reference_empty : bool
        Whether the structure is absent from the reference.
    diagonal_mm : float
        Physical diagonal of the reference's image in mm.
    failure : str, optional
        Why there is no prediction; ``None`` when it is simply missing.
    """
    outcome = absent_outcome(spec, policy, reference_empty, failure is not None)
    if outcome == "skip":
        return Score(math.nan, table.SKIPPED)
    status = table.MISSING if failure is None else f"{table.FAILED_PREFIX}{failure}"
    return Score(resolve(outcome, spec, diagonal_mm), status)


def rounded(value: float, spec: MetricSpec) -> float:
    """Round as the metric declares (half to even, as Python and numpy do)."""
    return value if spec.decimals is None or math.isnan(value) else round(value, spec.decimals)


def leaves_out(declared: object, own: object) -> bool:
    """Return whether a missing score is left out: a step's own policy counts, or else the metric's."""
    return (own if declared is None else declared) == "skip"


def stand_in(declared: object, own: object, worst: float, *, ranking: bool = False, told: bool = False) -> float:
    """Return the number that a missing score becomes, NaN for none.

    Parameters
    ----------
    declared : "skip", "worst", "after-last", number or None
        What the step of the recipe says; None where it says nothing.
    own : "skip", "worst", number or None
        What the metric says.
    worst : float
        Worst possible value of the metric, NaN where there is none.
    ranking : bool
        The step ranks: its ``worst`` places a missing score behind every number, so it needs none itself.
    told : bool
        The number is to be printed or averaged rather than ranked: a step that ranks a missing score last then counts
        it as the worst value, or, where there is no such value, as the metric's own number.
    """
    if declared is not None and ranking and declared in LAST:
        if not told:
            return math.nan
        if not math.isnan(worst):
            return worst
        return float(own) if isinstance(own, (int, float)) else math.nan
    policy = own if declared is None else declared
    if policy == "worst":
        return worst
    return float(policy) if isinstance(policy, (int, float)) else math.nan


def bounded(outcome: Outcome, worst: float | None, best: float | None) -> float:
    """Return the number of an outcome where no image is at hand, NaN for ``skip`` and where there is no such value.

    Parameters
    ----------
    outcome : number, "worst", "best" or "skip"
        As declared.
    worst, best : float or None
        Bounds of the metric that hold for every case.
    """
    number = {"worst": worst, "best": best, "skip": None}[outcome] if isinstance(outcome, str) else outcome
    return math.nan if number is None else float(number)
