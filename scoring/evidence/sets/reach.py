"""What a field can show at all: how many pairs so few cases can tell apart, and which sets hold."""

from __future__ import annotations

import math
import sys

import numpy as np
from scipy import special

from medpodium.findings import Finding, Severity
from medpodium.scoring.evidence.sets.exact import least
from medpodium.scoring.evidence.sets.pairs import FEWEST
from medpodium.scoring.evidence.sets.ranks import LEVEL, RankSets
from medpodium.scoring.evidence.units import Units, plural
from medpodium.scoring.ranking.axes import RankingCode


def smallest_p(n: int) -> float:
    """Return the smallest p-value of the one-sided Wilcoxon test of n pairs: every difference of one sign."""
    total = n * (n + 1) / 2
    z = (total / 2 - 0.5) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return float(special.ndtr(-z))


def within_reach(n: int) -> int:
    """Return how many tests may share the level so that one of n differences can still be significant."""
    # With thousands of pairs the smallest p-value is below every float: then any number of tests may share the level.
    return int((1 - LEVEL) / max(smallest_p(n), sys.float_info.min)) if n > 0 else 0


def sets_findings(sets: RankSets, units: Units, task: str) -> list[Finding]:
    """Say which rank sets hold no promise, and which fields cannot be ranked by so few cases (or clusters)."""
    number, n_units, what = len(sets.separated), units.number, plural(units.noun)
    found = []
    if not sets.guaranteed:
        cause = "its rank sets describe the resamples; no method guarantees them for this recipe"
        fix = "read them as a description; sets hold for means and quantiles over cases and what is ranked after them"
        found.append(Finding(RankingCode.NO_GUARANTEE, task, cause, fix, Severity.WARNING))
    pairs = number * (number - 1) // 2
    if n_units < FEWEST and float(least(np.asarray(n_units))) > (1 - LEVEL) / pairs:
        cause = f"no pair of {number} submissions can be told apart by {units.words()}: every rank set is 1 to {number}"
        fix = f"use more {what}; {FEWEST} or more can show differences"
        found.append(Finding(RankingCode.TOO_FEW_CASES, task, cause, fix, Severity.WARNING))
    if (reach := within_reach(n_units)) < 2 * pairs:
        cause = (
            f"no pair of {number} submissions can reach significance with {units.words()}: Holm's adjustment over "
            f"{2 * pairs} ordered pairs, of which at most {reach} could"
        )
        fix = f"use more {what}, or read effect sizes and rank sets instead of the tests"
        found.append(Finding(RankingCode.TOO_FEW_CASES, task, cause, fix, Severity.WARNING))
    return found
