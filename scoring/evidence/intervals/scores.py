"""Tables of intervals: every mean, median and pooled value of a task, and the differences of every pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.intervals.means import (
    NO_NUMBER,
    Ends,
    Influence,
    bounds_of,
    mean_ends,
    median_ends,
    share_ends,
    yes_or_no,
)
from medpodium.scoring.evidence.intervals.pairs import block_pairs
from medpodium.scoring.evidence.intervals.pooled import pooled_rows, set_name
from medpodium.scoring.evidence.intervals.resamples import Resamples
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.axes import OK
from medpodium.scoring.ranking.blocks import MEAN, Block
from medpodium.scoring.ranking.pools import Cell, PooledCells
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]
MACRO = "(macro)"
"""Name of the mean over structures of their means over cases."""
WHOLE = "value of a whole set, cases unknown"


@dataclass(frozen=True)
class Asked:
    """How often and from what resamples are drawn.

    Parameters
    ----------
    units : Units
        Of the task's cases, those behind pooled values included.
    n_resamples, seed, task
        As the ranking's bootstrap has them.
    """

    units: Units
    n_resamples: int
    seed: int
    task: str


def score_tables(
    settled: Settled,
    asked: Asked,
    pooled: PooledCells | None = None,
    cells: Floats | None = None,
    *,
    pairs: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return an interval for every score of a task and, with ``pairs``, for every difference of ranked ones.

    Parameters
    ----------
    pooled : PooledCells, optional
        The cases behind pooled values.
    cells : ndarray of float, shape (n_resamples, n_pooled_cells), optional
        Resamples of the pooled values.

    Returns
    -------
    (scores, differences)
        Columns of ``score_intervals.csv`` and ``score_differences.csv`` without the task.
    """
    scores: list[pd.DataFrame] = []
    differences: list[pd.DataFrame] = []
    names = np.asarray(settled.submissions, dtype=object)
    found = [block.without_empty() for block in settled.blocks]
    drawn = Resamples(asked.units, (), asked.n_resamples if found else 0, seed=asked.seed, task=asked.task)
    for metric, blocks in _by_metric(found):
        parts: list[_Part] = []
        for block in blocks:
            own = drawn.of(block.cases)
            bounds = bounds_of(settled.bounds.get(metric), block.values)
            resampled = own.means(block.values)
            frame, influence = _block_rows(block, names, own, bounds, resampled)
            scores.append(frame)
            if block.structure != MEAN:
                parts.append(_Part(block, own, influence, resampled, bounds))
            if pairs and metric in settled.ranked and len(names) > 1:
                differences.append(block_pairs(block, names, own, bounds, resampled))
        if len(parts) > 1:
            scores.append(_macro_rows(metric, names, parts))
    if pooled is not None:
        for rows, paired in pooled_rows(pooled, settled, asked.units, cells):
            scores.append(rows)
            differences += [paired] if pairs else []
    scores += _unknown(settled, pooled, names)
    return _joined(scores), _joined(differences)


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _by_metric(blocks: Iterable[Block]) -> Iterator[tuple[str, list[Block]]]:
    found: dict[str, list[Block]] = {}
    for block in blocks:
        found.setdefault(block.metric, []).append(block)
    yield from found.items()


@dataclass(frozen=True)
class _Part:
    """One structure of a mean over structures."""

    block: Block
    drawn: Resamples
    influence: Influence
    resampled: Floats
    bounds: tuple[float, float]


def _mean_ends(
    block: Block, drawn: Resamples, bounds: tuple[float, float], resampled: Floats | None
) -> tuple[Ends, Influence]:
    mean = block.means()
    influence = Influence.of_means(block.values, mean, drawn)
    if yes_or_no(block.values, bounds):
        return share_ends(block.values, mean, drawn), influence

    def again(chosen: npt.NDArray[np.bool_]) -> Floats:
        return drawn.means(block.values[:, chosen]) if resampled is None else resampled[chosen]

    return mean_ends(mean, influence, again, bounds), influence


def summary_rows(
    block: Block, names: npt.NDArray[np.object_], drawn: Resamples, bounds: tuple[float, float]
) -> pd.DataFrame:
    """Return the rows of ``score_intervals.csv`` about a block, or about some cases of one."""
    return _block_rows(block, names, drawn, bounds, None)[0]


def level_rows(
    block: Block,
    names: npt.NDArray[np.object_],
    levels: Sequence[str],
    asked: Asked,
    bounds: tuple[float, float],
) -> pd.DataFrame:
    """Return such rows about the cases of every level of a group, with the level.

    Parameters
    ----------
    names : ndarray of str
        Submissions of the block.
    levels : sequence of str
        Level of every case of the block; cases without one (empty) are left out.
    asked : Asked
        Units of the task's cases; ``task`` is what the levels are of, whose draws they get.
    """
    of_case = np.asarray(levels, dtype=object)
    parts = []
    for name in sorted(set(levels) - {""}):
        inside = block.of_cases(of_case == name)
        units = asked.units.among(inside.cases)
        drawn = Resamples(units, inside.cases, asked.n_resamples, seed=asked.seed, task=f"{asked.task}/{name}")
        parts.append(summary_rows(inside, names, drawn, bounds).assign(level=name))
    return _joined(parts)


def _block_rows(
    block: Block,
    names: npt.NDArray[np.object_],
    drawn: Resamples,
    bounds: tuple[float, float],
    resampled: Floats | None,
) -> tuple[pd.DataFrame, Influence]:
    told = block.summary
    ends, influence = _mean_ends(block, drawn, bounds, resampled)
    middle = median_ends(block.values, told["median"].to_numpy(dtype=np.float64), drawn)
    frame = pd.DataFrame(
        {
            "metric": block.metric,
            "structure": block.structure,
            "submission": names,
            "n": told["n"].to_numpy(),
            "n_units": ends.n_units,
            "mean": told["mean"].to_numpy(),
            "mean_low": ends.low,
            "mean_high": ends.high,
            "sd": told["sd"].to_numpy(),
            "median": told["median"].to_numpy(),
            "median_low": middle.low,
            "median_high": middle.high,
            "q25": told["q25"].to_numpy(),
            "q75": told["q75"].to_numpy(),
            "method": ends.method,
            "median_method": middle.method,
            "note": ends.note,
            "median_note": middle.note,
        }
    )
    return frame, influence


def _macro_rows(metric: str, names: npt.NDArray[np.object_], parts: list[_Part]) -> pd.DataFrame:
    """Return the mean over structures of their means; blank where a submission lacks one of them."""
    means = np.array([part.block.means() for part in parts])
    mean = np.where(np.isnan(means).any(axis=0), np.nan, means.mean(axis=0))
    units = parts[0].drawn.units
    there = np.zeros((units.number, len(names)), dtype=bool)
    counted = np.zeros((len(units.cases), len(names)), dtype=bool)
    for part in parts:
        there |= part.influence.there
        counted[part.drawn.rows] |= ~np.isnan(part.block.values)
    influence = Influence(
        np.mean([part.influence.moves for part in parts], axis=0),
        there,
        np.max([part.influence.scale for part in parts], axis=0),
    )
    bounds = min(part.bounds[0] for part in parts), max(part.bounds[1] for part in parts)

    def again(chosen: npt.NDArray[np.bool_]) -> Floats:
        return np.asarray(np.mean([part.resampled[chosen] for part in parts], axis=0))

    ends = mean_ends(mean, influence, again, bounds)
    return pd.DataFrame(
        {
            "metric": metric,
            "structure": MACRO,
            "submission": names,
            "n": counted.sum(axis=0),
            "n_units": ends.n_units,
            "mean": mean,
            "mean_low": ends.low,
            "mean_high": ends.high,
            "method": ends.method,
            "note": ends.note,
        }
    )


def _unknown(settled: Settled, pooled: PooledCells | None, names: npt.NDArray[np.object_]) -> list[pd.DataFrame]:
    """Return the values of whole sets whose cases are not known: there is nothing to make an interval of."""
    array = settled.array
    known = {(cell.case, cell.structure, cell.metric) for cell in pooled.cells} if pooled is not None else set()
    frames = []
    for at in (at for at, whole in enumerate(array.pooled) if whole):
        for k, structure in enumerate(array.labels["structure"]):
            for m, metric in enumerate(array.labels["metric"]):
                there = array.state[:, at, k, m] == OK
                if not there.any() or (array.cases[at], structure, metric) in known:
                    continue
                value = np.where(there, array.values[:, at, k, m], np.nan)
                rows = {"submission": names, "mean": value, "method": "", "note": np.where(there, WHOLE, NO_NUMBER)}
                frames.append(
                    pd.DataFrame(
                        {"metric": metric, "structure": set_name(Cell("", array.cases[at], structure, metric)), **rows}
                    )
                )
    return frames
