"""Whether confidence fits what is right: bins of a reliability diagram, accuracy and shift by levels of a group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.kinds.views import Certainty, Views

Floats = npt.NDArray[np.float64]
BINS = 10
"""Bins of equal width, ``(k/10, (k+1)/10]``, the first with 0 (as of the expected calibration error)."""


def reliability(view: Certainty, views: Views, units: Units, bins: int = BINS) -> pd.DataFrame:
    """Return what part is right in every bin of confidence, with Wilson's interval.

    Stand-ins for missing answers are in no bin: nothing was said there. Cases of one unit are no independent
    evidence, so the interval counts the effective number of them.

    Returns
    -------
    DataFrame
        Columns part, submission, bin, n, confidence (mean), right, right_low, right_high; bins without answers have no
        row.
    """
    unit = units.among(views.cases).of_case[view.of_case]
    rows = []
    for at, name in enumerate(views.submissions):
        known = np.flatnonzero(~np.isnan(view.sure[:, at]) & ~np.isnan(view.right[:, at]) & ~view.stands_in[:, at])
        sure, right = view.sure[known, at], view.right[known, at]
        of_bin = np.clip(np.ceil(sure * bins - 1e-12).astype(np.int64) - 1, 0, bins - 1)
        for number in np.unique(of_bin):
            inside = of_bin == number
            share = np.array([right[inside].mean()])
            low, high = closed.wilson(share, _number(share, right[inside], unit[known][inside]))
            row = (name, int(number), int(inside.sum()), float(sure[inside].mean()))
            rows.append((*row, float(share[0]), float(low[0]), float(high[0])))
    columns = ["submission", "bin", "n", "confidence", "right", "right_low", "right_high"]
    return pd.DataFrame(rows, columns=columns).assign(part=view.key)


def _number(share: Floats, values: Floats, unit: npt.NDArray[np.intp]) -> Floats:
    """Return how many independent values there are: all of them, or what those of joined units are worth."""
    _, which = np.unique(unit, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    if sizes.max() == 1:
        return np.array([float(len(values))])
    sums = np.asarray(np.bincount(which, weights=values), dtype=np.float64)
    return np.asarray(np.nan_to_num(closed.effective(share, sums[:, None], sizes[:, None]), nan=1.0))


def by_level(view: Certainty, views: Views, group: str, units: Units) -> pd.DataFrame:
    """Return accuracy, mean confidence and their difference, the calibration shift, in every level of a group.

    Means over answers as the pooled metric counts them, stand-ins included. Intervals are Student's t over the sums of
    independent units (the ratio of two sums, linearised).

    Returns
    -------
    DataFrame
        Columns part, group, level, submission, n, stand_ins, right, right_low, right_high, confidence, shift,
        shift_low, shift_high.
    """
    own = units.among(views.cases).of_case[view.of_case]
    level = np.asarray(views.groups[group], dtype=object)[view.of_case]
    rows = []
    for name in sorted(set(level.tolist()) - {""}):
        inside = np.flatnonzero(level == name)
        for at, submission in enumerate(views.submissions):
            known = inside[~np.isnan(view.sure[inside, at]) & ~np.isnan(view.right[inside, at])]
            if not len(known):
                continue
            right, sure = view.right[known, at], view.sure[known, at]
            hit, shift = _mean(right, own[known]), _mean(sure - right, own[known])
            low, high = (min(1.0, max(0.0, end)) for end in hit[1:])
            row = (name, submission, len(known), int(view.stands_in[known, at].sum()), hit[0], low, high)
            rows.append((*row, float(sure.mean()), *shift))
    columns = ["level", "submission", "n", "stand_ins", "right", "right_low", "right_high", "confidence"]
    columns += ["shift", "shift_low", "shift_high"]
    return pd.DataFrame(rows, columns=columns).assign(part=view.key, group=group)


def _mean(values: Floats, unit: npt.NDArray[np.intp]) -> tuple[float, float, float]:
    """Return a mean and its interval, from the sums of units."""
    _, which = np.unique(unit, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    sums = np.bincount(which, weights=values)
    mean, number = float(values.mean()), len(sizes)
    if number < 2:
        return mean, float("nan"), float("nan")
    error = np.sqrt(((sums - mean * sizes) ** 2).sum() * number / (number - 1)) / len(values)
    low, high = closed.student(np.array([mean]), np.array([error]), np.array([float(number)]))
    return mean, float(low[0]), float(high[0])
