"""What would change a ranking: cases, centres, fewer cases, another domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Direction
from medpodium.scoring.evidence.bootstrap import CHUNK, chunks, stream
from medpodium.scoring.evidence.confidence import leave_out
from medpodium.scoring.evidence.stability import kendall_with
from medpodium.scoring.evidence.units import tally
from medpodium.scoring.ranking.assemble import Arranged
from medpodium.scoring.ranking.axes import ScoreArray
from medpodium.scoring.ranking.blocks import Block
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]


def blocks(array: ScoreArray) -> Iterator[Block]:
    """Yield every metric of every structure of an array by the metrics' own missing policies, without a recipe."""
    codes = np.zeros(array.values.shape, dtype=np.int16)
    metrics = frozenset(array.labels["metric"])
    yield from Settled(array, Arranged(array, codes, ("",)), (), metrics).blocks


def leave_one_out(prepared: Prepared, full: Floats) -> pd.DataFrame:
    """Rank without each case, and without each level of every group column.

    Parameters
    ----------
    full : ndarray of float, shape (n_submissions,)
        Ranks of the data as they are.

    Returns
    -------
    DataFrame
        Columns unit, left_out, n_cases, submission, rank, rank_without, change.
    """
    array = prepared.array
    free = [index for index, pooled in enumerate(array.pooled or (False,) * len(array.cases)) if not pooled]
    units = [("case", array.cases[index], np.array([index], dtype=np.intp)) for index in free]
    for name, levels in sorted(array.groups.items()):
        known = sorted({levels[index] for index in free} - {""})
        if 2 <= len(known) < len(free):
            units += [
                (name, level, np.array([index for index in free if levels[index] == level], dtype=np.intp))
                for level in known
            ]
    if len(free) < 2:
        return pd.DataFrame(columns=["unit", "left_out", "n_cases", "submission", "rank", "rank_without", "change"])
    run = leave_out(prepared, [cases for _, _, cases in units])
    number = len(array.submissions)
    return pd.DataFrame(
        {
            "unit": np.repeat([unit for unit, _, _ in units], number),
            "left_out": np.repeat([name for _, name, _ in units], number),
            "n_cases": np.repeat([len(cases) for _, _, cases in units], number),
            "submission": np.tile(array.submissions, len(units)),
            "rank": np.tile(full, len(units)),
            "rank_without": run.ranks.reshape(-1),
            "change": run.ranks.reshape(-1) - np.tile(full, len(units)),
        }
    )


def subsampling(prepared: Prepared, full: Floats, *, seed: int, task: str, n_samples: int = CHUNK) -> pd.DataFrame:
    """Rank random subsets of the cases, drawn without replacement, to see how many would have been enough.

    Returns
    -------
    DataFrame
        Columns n_cases, winner_stays (share of subsets in which a winner of all cases still has the best
        rank), tau_mean, tau_q025, tau_q975 (tau-b with the ranking of all cases), n_samples.
    """
    array = prepared.array
    pooled = np.asarray(array.pooled or (False,) * len(array.cases))
    free = np.flatnonzero(~pooled)
    sizes = sorted({max(2, round(len(free) * tenth / 10)) for tenth in range(1, 11)})
    winner = full == np.nanmin(full)
    rows = []
    for size in (size for size in sizes if size <= len(free)):
        stays, taus = [], []
        for chunk, number in chunks(n_samples):
            rng = stream(seed, f"subsampling/{task}/{size}", chunk)
            counts = np.zeros((number, len(array.cases)))
            keep = free[np.argsort(rng.random((number, len(free))), axis=1)[:, :size]]
            np.put_along_axis(counts, keep, 1.0, axis=1)
            counts[:, pooled] = 1.0
            ranks = prepared.run(counts).ranks
            best = np.where(np.isnan(ranks), np.inf, ranks).min(axis=1, keepdims=True)
            stays.append(((ranks == best) & winner).any(axis=1))
            taus.append(kendall_with(full, ranks))
        tau = np.concatenate(taus)
        known = tau[~np.isnan(tau)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        mean = float(known.mean()) if len(known) else np.nan
        rows.append((size, float(np.concatenate(stays).mean()), mean, float(low), float(high), n_samples))
    columns = ["n_cases", "winner_stays", "tau_mean", "tau_q025", "tau_q975", "n_samples"]
    return pd.DataFrame(rows, columns=columns)


def domain_gap(
    block: Block, groups: Mapping[str, tuple[str, ...]], submissions: tuple[str, ...], *, seed: int, n_resamples: int
) -> pd.DataFrame:
    """Compare every level of every group with all other cases, whichever of them is easier.

    The interval is a percentile interval of the difference of means, cases resampled inside the level and
    outside of it (no sign is assumed).

    Parameters
    ----------
    groups : mapping of str to tuple of str
        Level per case of the block.

    Returns
    -------
    DataFrame
        Columns group, level, submission, n_level, n_rest (cases with a score), mean_level, mean_rest, gap, low, high,
        better_in.
    """
    rows = []
    for name, levels in sorted(groups.items()):
        named = np.asarray(levels)
        known = sorted(set(levels) - {""})
        if len(known) < 2:
            continue
        for level in known[:1] if len(known) == 2 else known:
            inside, outside = block.of_cases(named == level), block.of_cases((named != level) & (named != ""))
            mean_in, spread_in = _resampled_means(inside, f"gap/{name}/{level}/in", seed, n_resamples)
            mean_out, spread_out = _resampled_means(outside, f"gap/{name}/{level}/out", seed, n_resamples)
            numbers = inside.counts(), outside.counts()
            for index, submission in enumerate(submissions):
                gap = mean_in[index] - mean_out[index]
                draws = spread_in[:, index] - spread_out[:, index]
                draws = draws[~np.isnan(draws)]
                low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
                side = _side(low, high, block.better)
                n_in, n_out = (int(number[index]) for number in numbers)
                rows.append(
                    (name, level, submission, n_in, n_out, mean_in[index], mean_out[index], gap, low, high, side)
                )
    columns = ["group", "level", "submission", "n_level", "n_rest", "mean_level", "mean_rest", "gap", "low", "high"]
    columns.append("better_in")
    return pd.DataFrame(rows, columns=columns)


def _side(low: float, high: float, better: Direction) -> str:
    if not (low > 0 or high < 0):
        return ""
    return "level" if (low > 0) == (better == "higher") else "rest"


def _resampled_means(block: Block, purpose: str, seed: int, n_resamples: int) -> tuple[Floats, Floats]:
    """Return the mean of every submission and its resamples, shape (n_resamples, n_submissions)."""
    values = block.values
    known = (~np.isnan(values)).astype(np.float64)
    clean = np.nan_to_num(values, nan=0.0, posinf=np.nan, neginf=np.nan)
    n = len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(block.incomplete, np.nan, clean.sum(axis=0) / known.sum(axis=0))
        draws = []
        for chunk, size in chunks(n_resamples):
            picks = stream(seed, purpose, chunk).integers(0, n, size=(size, n))
            counts = tally(picks, n)
            draws.append(np.where(block.incomplete, np.nan, counts @ clean / (counts @ known)))
    return mean, np.concatenate(draws) if draws else np.empty((0, values.shape[1]))
