"""Risks beside what happened: who is free of the event how long, by predicted risk, and the AUC as time goes on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.bootstrap import chunks, stream
from medpodium.scoring.evidence.intervals.scores import Asked
from medpodium.scoring.kinds.views import Risks, Views
from medpodium.scoring.measures.pooled import survival

Floats = npt.NDArray[np.float64]
GROUPS = ("low", "middle", "high")
"""Thirds of the predicted risks."""
FEWEST = 9
"""Cases with a risk that a submission needs for three groups."""
GRID = 61
"""Places along time at which curves are told: the exact times would tell single cases."""
PLACES = 12
"""Times at which the AUC is told, between the tenth and the ninth tenth of the times of the events."""
MOST_DRAWN, MOST_BANDS = 200, 10
"""Resamples of a band, and submissions that have one: pairs of cases at every time cost too much for more."""


def risk_groups(view: Risks, views: Views) -> pd.DataFrame:
    """Return the Kaplan-Meier curve of every third of a submission's predicted risks, with 95 % intervals.

    Cases without a risk are in no group; equal risks are in one.

    Returns
    -------
    DataFrame
        Columns part, submission, group (low, middle, high), time, n (cases of the group), free, low, high, at_risk.
    """
    grid = np.linspace(0.0, float(view.time.max(initial=0.0)), GRID)
    parts = []
    for at, name in enumerate(views.submissions):
        known = np.flatnonzero(~np.isnan(view.risk[:, at]))
        if len(known) < FEWEST:
            continue
        cuts = np.quantile(view.risk[known, at], [1 / 3, 2 / 3])
        of_group = np.searchsorted(cuts, view.risk[known, at], side="left")
        for number, group in enumerate(GROUPS):
            own = known[of_group == number]
            if not len(own):
                continue
            free, low, high, at_risk = survival.free_of_event(view.time[own], view.event[own], grid)
            rows = {"time": grid, "n": len(own), "free": free, "low": low, "high": high, "at_risk": at_risk}
            parts.append(pd.DataFrame(rows).assign(group=group, submission=name))
    return pd.concat(parts, ignore_index=True).assign(part=view.key) if parts else pd.DataFrame()


def areas_over_time(view: Risks, views: Views, asked: Asked) -> pd.DataFrame:
    """Return the cumulative/dynamic AUC at several times, with percentile intervals where there are few submissions.

    Cases without a risk stand in the wrong order, as in the metrics. Resamples are those of the ranking's units.

    Returns
    -------
    DataFrame
        Columns part, submission, time, auc, low, high; times at which it is defined for nobody have no row.
    """
    if not view.event.any():
        return pd.DataFrame()
    times = np.unique(np.quantile(view.time[view.event], np.linspace(0.1, 0.9, PLACES)).round(6))
    risk = np.where(np.isnan(view.risk), np.inf, view.risk)
    weights = [np.ones((1, len(view.time)))]
    if asked.n_resamples and len(views.submissions) <= MOST_BANDS:
        place = {name: at for at, name in enumerate(asked.units.cases)}
        rows = np.array([place[views.cases[at]] for at in view.of_case], dtype=np.intp)
        for chunk, size in chunks(min(asked.n_resamples, MOST_DRAWN)):
            counts = asked.units.draw(stream(asked.seed, f"bootstrap/{asked.task}", chunk), size)
            weights.append(np.asarray(counts[:, rows], dtype=np.float64))
    drawn = np.concatenate(weights)
    parts = []
    for time in times.tolist():
        values = survival.areas_at(view.time, view.event, risk, drawn, [time])
        low = high = np.full(values.shape[1], np.nan)
        if len(values) > 1 and not np.isnan(values[1:]).all(axis=0).any():
            low, high = np.nanquantile(values[1:], (0.025, 0.975), axis=0)
        told = {"submission": views.submissions, "auc": values[0], "low": low, "high": high}
        parts.append(pd.DataFrame(told).assign(time=time))
    frame = pd.concat(parts, ignore_index=True)
    delivered = {name for name, own in zip(views.submissions, view.risk.T, strict=True) if (~np.isnan(own)).any()}
    kept = frame["auc"].notna() & frame["submission"].isin(delivered)
    return frame[kept].reset_index(drop=True).assign(part=view.key)
