"""Differences between the scores of two submissions on the cases that both have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.intervals.means import ONE_UNIT, Bounds, Ends, Influence, mean_ends, yes_or_no
from medpodium.scoring.evidence.intervals.resamples import Resamples
from medpodium.scoring.ranking.blocks import Block

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.object_]
NO_PAIRS = "no case that both have"


def block_pairs(block: Block, names: Names, drawn: Resamples, bounds: Bounds, resampled: Floats) -> pd.DataFrame:
    """Return the difference of every pair of submissions to a block; positive: the first one named is better.

    Parameters
    ----------
    names : ndarray of str, shape (n_submissions,)
    drawn : Resamples
        Of the block's cases.
    bounds : (float, float)
        Least and greatest possible mean.
    resampled : ndarray of float, shape (n_submissions, n_resamples)
        Means of the submissions in every resample.

    Returns
    -------
    DataFrame
        Columns of ``score_differences.csv`` without the task.
    """
    first, second = np.triu_indices(len(names), 1)
    sign = 1.0 if block.better == "higher" else -1.0
    gaps = sign * (block.values[:, first] - block.values[:, second])
    known = ~np.isnan(gaps)
    number = known.sum(axis=0)
    unknown = block.incomplete[first] | block.incomplete[second] | (number == 0)
    lacks = np.isnan(block.values)
    same = (lacks[:, first] == lacks[:, second]).all(axis=0)  # the means differ by as much as the cases do
    means = block.means()
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(known, gaps, 0.0).sum(axis=0) / number
    gap = np.where(same, sign * (means[first] - means[second]), gap)
    gap = np.where(unknown, np.nan, gap)
    if yes_or_no(block.values, bounds) and not drawn.clustered:
        ends = Ends.blank(len(gap), "", number.astype(np.int64))
        low, high = closed.paired_shares((gaps > 0).sum(axis=0), (gaps < 0).sum(axis=0), number)
        ends.say(~np.isnan(gap) & (number < 2), ONE_UNIT)
        ends.put(~np.isnan(gap) & (number > 1), low, high, "adjusted wald")
    else:

        def again(chosen: npt.NDArray[np.bool_]) -> Floats:
            made = sign * (resampled[first[chosen]] - resampled[second[chosen]])
            if not same[chosen].all():
                made[~same[chosen]] = drawn.means(gaps[:, chosen & ~same])
            return np.asarray(made)

        reach = bounds[1] - bounds[0]
        ends = mean_ends(gap, Influence.of_means(gaps, gap, drawn), again, (-reach, reach))
    ends.say(number == 0, NO_PAIRS)
    return pair_rows(block.metric, block.structure, names, number, gap, ends)


def pair_rows(
    metric: str, structure: str, names: Names, number: npt.NDArray[np.int64] | int, gap: Floats, ends: Ends
) -> pd.DataFrame:
    """Return the rows of ``score_differences.csv`` about one metric, pairs in the order of their upper triangle."""
    first, second = np.triu_indices(len(names), 1)
    return pd.DataFrame(
        {
            "metric": metric,
            "structure": structure,
            "submission": names[first],
            "versus": names[second],
            "n_pairs": number,
            "n_units": ends.n_units,
            "difference": gap,
            "low": ends.low,
            "high": ends.high,
            "method": ends.method,
            "note": ends.note,
        }
    )
