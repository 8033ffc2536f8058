"""Which declared outcome a score gets that cannot simply be computed, and which number that is.

Asked by the scorer for every score (:mod:`medpodium.scoring.policy`), and by lint before there is one, so that what
lint says of a challenge file is what its scores will be.
"""

from __future__ import annotations

import math

from medpodium.challenges.schema.metrics.spec import Cell, EmptyPolicy, MetricSpec, Outcome


def resolve(outcome: Outcome, spec: MetricSpec, diagonal_mm: float) -> float:
    """Turn a declared outcome into a value; ``skip`` is NaN.

    Parameters
    ----------
    outcome : number, "worst", "best" or "skip"
        As declared.
    spec : MetricSpec
        The metric, which knows its worst and best values.
    diagonal_mm : float
        Physical diagonal of the reference's image in mm.
    """
    if outcome == "skip":
        return math.nan
    if outcome == "worst":
        worst = spec.worst_value(diagonal_mm)
        return math.nan if worst is None else float(worst)
    if outcome == "best":
        best = spec.best_value()
        return math.nan if best is None else float(best)
    return float(outcome)


def empty_outcome(policy: EmptyPolicy, reference_empty: bool, prediction_empty: bool) -> Cell:
    """Return the cell of a four-cell policy; ``compute`` where both masks hold something."""
    if reference_empty:
        return policy.both if prediction_empty else policy.reference
    return policy.prediction if prediction_empty else "compute"


def absent_outcome(spec: MetricSpec, policy: EmptyPolicy | None, reference_empty: bool, failed: bool) -> Outcome:
    """Return the outcome of a case without a usable prediction.

    Parameters
    ----------
    spec, policy
        The metric and its four-cell policy (``None`` for metrics of whole cases).
    reference_empty : bool
        Whether the structure is absent from the reference.
    failed : bool
        Whether the run failed; otherwise there simply is no prediction.

    Notes
    -----
    Where the policy leaves out every case without the structure, whatever was predicted, a missing prediction does
    not bring it back: the case is left out for all submissions alike.
    """
    if policy is not None and reference_empty and policy.both == policy.reference == "skip":
        return "skip"
    return spec.failed if failed and spec.failed is not None else spec.missing
