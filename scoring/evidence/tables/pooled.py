"""Evidence about pooled values: tests between submissions from their resamples, and what cannot be resampled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from medpodium.challenges.schema.steps import Adjustment
from medpodium.findings import Finding, Severity
from medpodium.scoring.evidence.bootstrap import Bootstrap
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray
from medpodium.scoring.ranking.pools import PooledCells
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.ranking.significance import adjust

Floats = npt.NDArray[np.float64]
ALPHA = 0.05
ADJUST: Adjustment = "holm"


def pooled_findings(prepared: Prepared, draws: Bootstrap, task: str) -> list[Finding]:
    """Report pooled values that stay fixed, and those that some resamples leave undefined."""
    found = []
    if prepared.n_fixed:
        cause = f"{prepared.n_fixed} values belong to whole sets of cases and stay fixed while the cases are resampled"
        fix = "read intervals and stability as too narrow; 'medpodium score' writes observations that can be resampled"
        found.append(Finding(RankingCode.POOLED_FIXED, task, cause, fix, Severity.WARNING))
    if prepared.pooled is not None and draws.cells is not None:
        for name, number in prepared.pooled.undefined(draws.cells).items():
            cause = f"{number} of {len(draws.cells)} resamples have no {name}: one class only was drawn"
            fix = "it is left out there, nobody is punished; draw with --stratify, or pool more cases"
            found.append(Finding(RankingCode.POOLED_UNDEFINED, task, cause, fix, Severity.WARNING))
    return found


def paired_p(difference: Floats, resampled: Floats, n_units: int) -> Floats:
    """Return one-sided p-values of "the difference is above zero" from its paired resamples.

    The difference over the standard deviation of its resamples is compared with a normal distribution (as pROC's
    ``roc.test(method = "bootstrap")``; Robin et al., BMC Bioinformatics 12:77, 2011). Where all resamples are equal the
    normal theory is silent: 1 for no difference, else the sign test of n equal signs.

    Parameters
    ----------
    difference : ndarray of float, shape (n,)
        Of the data as they are; positive is better.
    resampled : ndarray of float, shape (n_resamples, n)
        NaN where it is not defined.
    n_units : int
        Number of cases, or clusters.
    """
    known = ~np.isnan(resampled)
    number = known.sum(axis=0)
    filled = np.where(known, resampled, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = filled.sum(axis=0) / number
        spread = np.sqrt((np.where(known, resampled - mean, 0.0) ** 2).sum(axis=0) / (number - 1))
        p = special.ndtr(-difference / spread)
    same = spread <= 1e-12
    certain = np.where(difference > 0, 0.5**n_units, 1.0)
    p = np.where(same, certain, p)
    return np.where((number < 2) | np.isnan(difference), np.nan, p)


def pooled_tests(pooled: PooledCells, array: ScoreArray, draws: Bootstrap, units: Units) -> pd.DataFrame:
    """Compare every ordered pair of submissions by every pooled value, with the resamples of the bootstrap.

    Returns
    -------
    DataFrame
        Columns metric, structure (the set of cases, ``domain=ood``), submission, versus, n_pairs (observed cases, or
        clusters), p_value, p_adjusted (over all ordered pairs), adjust, significant.
    """
    frames: list[pd.DataFrame] = []
    if draws.cells is None or len(array.submissions) < 2:
        return pd.DataFrame()
    better = dict(zip(array.labels["metric"], array.better, strict=True))
    groups: dict[tuple[str, str, str], list[int]] = {}
    for index, cell in enumerate(pooled.cells):
        groups.setdefault((cell.case, cell.structure, cell.metric), []).append(index)
    for (label, structure, metric), columns in groups.items():
        sign = 1.0 if better[metric] == "higher" else -1.0
        values, resampled = sign * pooled.full[0, columns], sign * draws.cells[:, columns]
        names = np.asarray([pooled.cells[index].submission for index in columns])
        first, second = np.nonzero(~np.eye(len(names), dtype=bool))
        n_units = units.among([pooled.pool.cases[at] for at in pooled.pool.members[label]]).number
        p = paired_p(values[first] - values[second], resampled[:, first] - resampled[:, second], n_units)
        adjusted = adjust(p, ADJUST)
        frames.append(
            pd.DataFrame(
                {
                    "metric": metric,
                    "structure": ", ".join(filter(None, (structure, label.removeprefix(POOLED).strip()))),
                    "submission": names[first],
                    "versus": names[second],
                    "n_pairs": n_units,
                    "p_value": p,
                    "p_adjusted": adjusted,
                    "adjust": ADJUST,
                    "significant": np.where(np.isnan(adjusted), np.inf, adjusted) <= ALPHA,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
