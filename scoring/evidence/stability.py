"""How alike rankings are, and how a rank is distributed over resamples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.ranking.ranks import rank_columns

Floats = npt.NDArray[np.float64]


def kendall_with(reference: Floats, rankings: Floats) -> Floats:
    """Return Kendall's tau-b of one ranking with many.

    Submissions without a rank (NaN) in either ranking take no part. NaN where either ranking is a single tie.

    Parameters
    ----------
    reference : ndarray of float, shape (n_submissions,)
    rankings : ndarray of float, shape (n_rankings, n_submissions)

    Returns
    -------
    ndarray of float, shape (n_rankings,)
        Kendall, Biometrika 33 (1945): concordant minus discordant pairs over the geometric mean of the numbers
        of pairs not tied in either ranking.
    """
    first, second = np.triu_indices(len(reference), 1)
    own = np.sign(reference[first] - reference[second])
    other = np.sign(rankings[:, first] - rankings[:, second])
    known = ~np.isnan(own)[None, :] & ~np.isnan(other)
    own_known = np.where(known, np.nan_to_num(own)[None, :], 0.0)
    other_known = np.where(known, np.nan_to_num(other), 0.0)
    agreement = (own_known * other_known).sum(axis=1)
    pairs = np.abs(own_known).sum(axis=1) * np.abs(other_known).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(pairs > 0, agreement / np.sqrt(pairs), np.nan))


def kendall(first: Floats, second: Floats) -> float:
    """Return Kendall's tau-b of two rankings, NaN if either is a single tie."""
    return float(kendall_with(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)[None, :])[0])


def footrule(first: Floats, second: Floats) -> float:
    """Return Spearman's footrule, the sum of absolute rank differences."""
    return float(np.abs(first - second).sum())


def weighted_footrule(first: Floats, second: Floats) -> float:
    """Return the footrule with every difference divided by the better of the two ranks."""
    return float((np.abs(first - second) / np.minimum(first, second)).sum())


def symmetric_difference(first: Floats, second: Floats) -> int:
    """Return the number of ordered pairs on which the relations "ranked no worse than" differ."""
    one = first[:, None] <= first[None, :]
    two = second[:, None] <= second[None, :]
    return int((one != two).sum())


def tau_summary(taus: Floats) -> dict[str, float]:
    """Summarise the taus of resamples; undefined ones are counted and left out.

    Returns
    -------
    dict
        n, n_undefined, mean, median, q25, q75, q025, q975 (quantiles of type 7).
    """
    known = taus[~np.isnan(taus)]
    summary = {"n": float(len(taus)), "n_undefined": float(len(taus) - len(known))}
    if len(known) == 0:
        return {**summary, **dict.fromkeys(("mean", "median", "q25", "q75", "q025", "q975"), np.nan)}
    quantiles = np.quantile(known, [0.5, 0.25, 0.75, 0.025, 0.975])
    names = ("median", "q25", "q75", "q025", "q975")
    return {**summary, "mean": float(known.mean()), **dict(zip(names, map(float, quantiles), strict=True))}


def rank_summary(ranks: Floats) -> pd.DataFrame:
    """Summarise the ranks of every submission over resamples.

    Parameters
    ----------
    ranks : ndarray of float, shape (n_resamples, n_submissions)

    Returns
    -------
    DataFrame
        One row per submission: mean, median, q025, q25, q75, q975 (type 7), first (share of resamples with the
        best rank of all; shared first places count for everybody who shares them).
    """
    known = ~np.isnan(ranks).all(axis=0)
    levels = [0.5, 0.025, 0.25, 0.75, 0.975]
    quantiles = np.full((len(levels), ranks.shape[1]), np.nan)
    means = np.full(ranks.shape[1], np.nan)
    if known.any():
        quantiles[:, known] = np.nanquantile(ranks[:, known], levels, axis=0)
        means[known] = np.nanmean(ranks[:, known], axis=0)
    frame = pd.DataFrame(quantiles.T, columns=["median", "q025", "q25", "q75", "q975"])
    frame.insert(0, "mean", means)
    return frame.assign(first=first_share(ranks))


def first_share(ranks: Floats) -> Floats:
    """Return the share of resamples in which a submission has the best rank, shape (n_submissions,)."""
    best = np.where(np.isnan(ranks), np.inf, ranks).min(axis=1, keepdims=True)
    return np.asarray((ranks == best).mean(axis=0))


def rank_counts(ranks: Floats) -> list[dict[float, int]]:
    """Count, per submission, how often each rank occurs; NaN is left out."""
    counts = []
    for column in ranks.T:
        values, numbers = np.unique(column[~np.isnan(column)], return_counts=True)
        counts.append({float(value): int(number) for value, number in zip(values, numbers, strict=True)})
    return counts


def average_ties(ranks: Floats) -> Floats:
    """Rank ranks again with average ties."""
    return rank_columns(np.asarray(ranks, dtype=np.float64)[:, None], "average")[:, 0]


def compare(rankings: Mapping[str, Floats]) -> pd.DataFrame:
    """Compare every pair of rankings of the same submissions.

    Returns
    -------
    DataFrame
        Columns first, second, kendall (tau-b; 1 means alike), footrule, weighted_footrule,
        symmetric_difference (0 means alike).
    """
    names = list(rankings)
    rows = []
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            a, b = rankings[one], rankings[two]
            rows.append((one, two, kendall(a, b), footrule(a, b), weighted_footrule(a, b), symmetric_difference(a, b)))
    columns = ["first", "second", "kendall", "footrule", "weighted_footrule", "symmetric_difference"]
    return pd.DataFrame(rows, columns=columns)
