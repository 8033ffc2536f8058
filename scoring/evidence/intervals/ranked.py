"""The interval of what a recipe ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.bootstrap import Bootstrap
from medpodium.scoring.evidence.intervals.means import NOT_DRAWN, Ends, resampled_ends
from medpodium.scoring.evidence.intervals.scores import WHOLE
from medpodium.scoring.ranking.recipe import Ranking

Floats = npt.NDArray[np.float64]
SAME = 1e-12
"""Largest relative difference of two numbers that are computed alike."""


def ranked_ends(ranking: Ranking, rows: pd.DataFrame, draws: Bootstrap | None, n_units: int) -> pd.DataFrame:
    """Return the interval of every submission's ranked value.

    A ranked value that is the mean, the median or the pooled value of one score has the interval of that score; any
    other has widened percentiles of the resamples of the recipe.

    Parameters
    ----------
    rows : DataFrame
        Of ``score_intervals.csv``.
    draws : Bootstrap, optional
        Resamples of the recipe.
    n_units : int
        Independent units.

    Returns
    -------
    DataFrame
        Columns value_low, value_high, value_method, value_note, in the order of the ranking's submissions.
    """
    own = _of_one_score(ranking, rows)
    if own is not None:
        return own
    if draws is None:
        pooled = not rows.empty and bool((rows["note"] == WHOLE).any())
        ends = Ends.blank(len(ranking.submissions), WHOLE if pooled else NOT_DRAWN)
    else:
        ends = resampled_ends(np.asarray(ranking.values, dtype=np.float64), draws.values.T, n_units)
    return _frame(ends.low, ends.high, ends.method, ends.note)


def _frame(low: object, high: object, method: object, note: object) -> pd.DataFrame:
    return pd.DataFrame({"value_low": low, "value_high": high, "value_method": method, "value_note": note})


def _of_one_score(ranking: Ranking, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the interval of the score that is ranked; nothing where the recipe makes something else of the scores."""
    if rows.empty:
        return None
    values = np.asarray(ranking.values, dtype=np.float64)
    for _, part in rows.groupby(["metric", "structure"], sort=False):
        own = part.set_index("submission").reindex(list(ranking.submissions))
        if "mean_low" not in own:  # values of whole sets whose cases nobody knows have no interval at all
            continue
        for name, method, note in (("mean", "method", "note"), ("median", "median_method", "median_note")):
            if name not in own or not np.isfinite(values).any():
                continue
            told = own[name].to_numpy(dtype=np.float64)
            if np.allclose(told, values, rtol=SAME, atol=SAME, equal_nan=True):
                blank = own[[method, note]].fillna("")
                return _frame(
                    own[f"{name}_low"].to_numpy(dtype=np.float64),
                    own[f"{name}_high"].to_numpy(dtype=np.float64),
                    blank[method].to_numpy(dtype=object),
                    blank[note].to_numpy(dtype=object),
                )
    return None
