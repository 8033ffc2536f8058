"""Numbers against the truth: bias and limits of agreement, and where the pairs lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from medpodium.scoring.evidence.units import Units
from medpodium.scoring.kinds.views import Pairs, Views

Floats = npt.NDArray[np.float64]
CELLS = 40
"""Cells along each side of a scatter: an exact point for every case would tell its hidden truth."""


def limits(view: Pairs, views: Views, units: Units) -> pd.DataFrame:
    """Return bias and 95 % limits of agreement of every submission, with their 95 % intervals.

    Bias is the mean of said minus true, the limits are ``bias -+ 1.96 sd``; the standard error of a limit is
    ``sd sqrt(1/n + 1.96^2 / (2 (n - 1)))`` with Student's t of n - 1 (Bland and Altman, Statistical Methods in Medical
    Research 8, 1999). Missing answers have no difference. Of units with several cases the number of units stands for n,
    which errs on the side of wide intervals.

    Returns
    -------
    DataFrame
        Columns part, submission, n, bias, bias_low, bias_high, sd, lower, lower_low, lower_high, upper, upper_low,
        upper_high.
    """
    unit = units.among(views.cases).of_case[view.of_case]
    rows = []
    for at, name in enumerate(views.submissions):
        difference = view.given[:, at] - view.truth
        known = ~np.isnan(difference)
        number = int(known.sum())
        if number < 3:
            continue
        bias, sd = float(difference[known].mean()), float(difference[known].std(ddof=1))
        own = len(np.unique(unit[known]))
        wide = float(special.stdtrit(max(1, own - 1), 0.975)) * sd
        of_bias = wide / np.sqrt(own)
        of_limit = wide * np.sqrt(1 / own + 1.96**2 / (2 * max(1, own - 1)))
        lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
        ends = (lower, lower - of_limit, lower + of_limit, upper, upper - of_limit, upper + of_limit)
        rows.append((name, number, bias, bias - of_bias, bias + of_bias, sd, *ends))
    columns = ["submission", "n", "bias", "bias_low", "bias_high", "sd"]
    columns += [f"{limit}{end}" for limit in ("lower", "upper") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=columns).assign(part=view.key)


def scatter(view: Pairs, views: Views) -> pd.DataFrame:
    """Return in which cells the pairs lie: said against true, and difference against mean of both.

    Returns
    -------
    DataFrame
        Columns part, plane (``true``: x true, y said; ``bland``: x mean, y difference), submission, x, y (centres), n.
    """
    truth = np.broadcast_to(view.truth[:, None], view.given.shape)
    planes = {"true": (truth, view.given), "bland": ((truth + view.given) / 2, view.given - truth)}
    parts = []
    for plane, (across, up) in planes.items():
        known = ~np.isnan(across) & ~np.isnan(up)
        if not known.any():
            continue
        edges = [_edges(values[known]) for values in (across, up)]
        for at, name in enumerate(views.submissions):
            own = known[:, at]
            counts, _, _ = np.histogram2d(across[own, at], up[own, at], bins=edges)
            x, y = np.nonzero(counts)
            centres = [(one[:-1] + one[1:]) / 2 for one in edges]
            rows = {"x": centres[0][x], "y": centres[1][y], "n": counts[x, y].astype(np.int64)}
            parts.append(pd.DataFrame(rows).assign(plane=plane, submission=name, part=view.key))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _edges(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    return np.linspace(low, high, CELLS + 1)
