"""The interval of a metric's mean over everything a submission was scored on: all cases and structures, or all sets."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.bootstrap import CHUNK, chunks, one_blas_thread, stream
from medpodium.scoring.evidence.intervals.means import (
    Ends,
    Influence,
    bounds_of,
    mean_ends,
    resampled_ends,
    share_ends,
    yes_or_no,
)
from medpodium.scoring.evidence.intervals.pooled import pooled_rows
from medpodium.scoring.evidence.intervals.resamples import LEAST, Resamples
from medpodium.scoring.evidence.intervals.scores import WHOLE
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.axes import OK
from medpodium.scoring.ranking.pools import PooledCells
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]


def overall(settled: Settled, units: Units, pooled: PooledCells | None = None, *, task: str = "") -> pd.DataFrame:
    """Return an interval for the mean of all scores of every submission and metric.

    The structures of a case are drawn together: the unit is the case, or its cluster.

    Parameters
    ----------
    pooled : PooledCells, optional
        The cases behind pooled values.

    Returns
    -------
    DataFrame
        Columns low, high, method, note, by submission and metric.
    """
    means = settled.averages("submission", "metric")["mean"]
    array = settled.array
    real = np.flatnonzero(~np.asarray(array.pooled, dtype=bool))
    parts = []
    with one_blas_thread() if units.number > 1 else nullcontext():  # one unit is not drawn
        for m, metric in enumerate(array.labels["metric"]):
            mean = means.reindex([(name, metric) for name in settled.submissions]).to_numpy(dtype=np.float64)
            state = array.state[..., m] == OK
            values = np.where(state[:, real], array.values[..., m][:, real], np.nan)
            if not state[:, real].any():
                ends = _of_sets(settled, units, pooled, metric, mean, task)
            elif state.sum() > state[:, real].sum():  # single cases and whole sets: no unit of one is one of the other
                ends = Ends.blank(len(mean), WHOLE)
            else:
                ends = _of_cases(settled, units, metric, mean, values, [array.cases[at] for at in real], task)
            keys = {"submission": settled.submissions, "metric": metric}
            own = {"low": ends.low, "high": ends.high, "method": ends.method, "note": ends.note}
            parts.append(pd.DataFrame({**keys, **own}))
    return pd.concat(parts, ignore_index=True).set_index(["submission", "metric"])


def _of_cases(
    settled: Settled, units: Units, metric: str, mean: Floats, values: Floats, cases: list[str], task: str
) -> Ends:
    structures = values.shape[2]
    rows = values.transpose(1, 2, 0).reshape(-1, len(mean))
    bounds = bounds_of(settled.bounds.get(metric), rows)
    drawn = Resamples(units, np.repeat(cases, structures).tolist(), 0, seed=0, task=task)
    if yes_or_no(rows, bounds):
        return share_ends(rows, mean, drawn)
    influence = Influence.of_means(rows, mean, drawn)
    return mean_ends(mean, influence, lambda chosen: drawn.means(rows[:, chosen]), bounds)


def _of_sets(settled: Settled, units: Units, pooled: PooledCells | None, metric: str, mean: Floats, task: str) -> Ends:
    """Return the intervals of pooled values: of the one set there is, or of the mean over sets."""
    cells = [] if pooled is None else [cell for cell in pooled.cells if cell.metric == metric]
    if pooled is None or not cells:
        return Ends.blank(len(mean), WHOLE)
    draws = _draws(units, pooled, task)
    if len({(cell.case, cell.structure) for cell in cells}) == 1:
        for rows, _ in pooled_rows(pooled, settled, units, draws):
            if rows["metric"].iloc[0] == metric:
                own = rows.set_index("submission").reindex(list(settled.submissions))
                text = own[["method", "note"]].fillna("").to_numpy(dtype=object).T
                number = own["n_units"].fillna(0).to_numpy(dtype=np.int64)
                return Ends(own["mean_low"].to_numpy(), own["mean_high"].to_numpy(), text[0], text[1], number)
    resampled = np.full((len(mean), len(draws)), np.nan)
    for at, name in enumerate(settled.submissions):
        own_cells = [k for k, cell in enumerate(pooled.cells) if cell.metric == metric and cell.submission == name]
        if own_cells:
            resampled[at] = draws[:, own_cells].mean(axis=1)
    return resampled_ends(mean, resampled, units.number)


def _draws(units: Units, pooled: PooledCells, task: str) -> Floats:
    """Return the pooled values of resamples of the cases, shape (n_resamples, n_cells)."""
    own = units.among(pooled.pool.cases)
    return np.concatenate(
        [pooled.values(own.draw(stream(0, f"bootstrap/{task}", chunk), CHUNK)[:size]) for chunk, size in chunks(LEAST)]
    )
