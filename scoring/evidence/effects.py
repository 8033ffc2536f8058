"""How large differences between submissions are, defined as in pingouin (Vallat, JOSS 3(31), 2018)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.blocks import Block
from medpodium.scoring.ranking.significance import PairedTests

Floats = npt.NDArray[np.float64]
_FEW_LEVELS = 64
"""With no more different values than this, pairs of values are counted instead of sorted (right or wrong has two)."""


def effect_sizes(block: Block, submissions: tuple[str, ...], units: Units | None = None) -> pd.DataFrame:
    """Return the effect size of every ordered pair of submissions.

    Computed for all pairs at once; equal to pingouin's ``wilcoxon`` (RBC) and ``compute_effsize`` (CLES), which take a
    test and a matrix for every pair.

    Parameters
    ----------
    block : Block
        One score per case and submission.
    units : Units, optional
        The block's cases and their independent units, which are compared by the means of their cases.

    Returns
    -------
    DataFrame
        Columns submission, versus, n_pairs (cases or clusters), rank_biserial (matched-pairs rank-biserial correlation,
        Kerby 2014; zero differences dropped) and superiority (probability that a case of one beats a case of the other,
        ties one half; Vargha and Delaney 2000). Positive, or above one half: ``submission`` is better.
    """
    values = block.values if block.better == "higher" else -block.values
    values = np.where(np.isfinite(values), values, np.nan)
    own = units if units is not None and units.clustered else None
    tests = PairedTests(values, higher_better=True, units=None if own is None else own.of_case)
    biserial = tests.rank_biserial()
    number = tests.pairs(np.ones((1, tests.number)))[0]
    above = superiority(values, own)
    names = np.asarray(submissions, dtype=object)
    first, second = np.nonzero(~np.eye(len(names), dtype=bool))
    rows = {
        "submission": names[first],
        "versus": names[second],
        "n_pairs": number[first, second].astype(int),
        "rank_biserial": biserial[first, second],
        "superiority": above[first, second],
    }
    return pd.DataFrame(rows).sort_values(["submission", "versus"], ignore_index=True)


def superiority(values: Floats, units: Units | None = None) -> Floats:
    """Return how likely a case of the row's submission beats one of the column's, shape (S, S); ties count one half.

    Parameters
    ----------
    values : ndarray of float, shape (n_cases, S)
        Higher is better. Of every pair, the cases count that both have; NaN where these are fewer than two.
    units : Units, optional
        Compared by the means of their cases instead of case by case.
    """
    known = ~np.isnan(values)
    found = np.full((values.shape[1], values.shape[1]), np.nan)
    whole = bool(known.all())
    means = units.means(values) if units is not None and whole else values
    levels = np.unique(means) if whole and len(means) > 1 else np.empty(0)
    if 0 < len(levels) <= _FEW_LEVELS:
        return _superiority_of_levels(means, levels)
    ordered = np.sort(means, axis=0) if whole else means
    for one, two in combinations(range(values.shape[1]), 2):
        if whole:
            first, second = means[:, one], ordered[:, two]
        else:
            both = known[:, one] & known[:, two]
            pair = np.where(both[:, None], values[:, [one, two]], np.nan)
            pair = units.means(pair) if units is not None else pair
            first, second = (column[~np.isnan(column)] for column in pair.T)
            second = np.sort(second)
        if len(first) < 2:
            continue
        below, upto = (np.searchsorted(second, first, side=side) for side in ("left", "right"))
        found[one, two] = (below.sum() + upto.sum()) / (2.0 * len(first) * len(second))
        found[two, one] = 1 - found[one, two]
    return found


def _superiority_of_levels(means: Floats, levels: Floats) -> Floats:
    """Return the same from how often every submission has every value: sums of whole numbers, so to the last bit."""
    counts = np.stack([(means == level).sum(axis=0) for level in levels]).astype(np.float64)
    below = np.cumsum(counts, axis=0) - counts
    pairs = float(len(means)) * len(means)
    found = (2 * counts.T @ below + counts.T @ counts) / (2.0 * pairs)
    lower = np.tril_indices_from(found, -1)
    found[lower] = 1 - found.T[lower]
    np.fill_diagonal(found, np.nan)
    return np.asarray(found)
