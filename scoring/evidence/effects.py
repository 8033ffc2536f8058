"""How large differences between submissions are, as pingouin measures them (Vallat, JOSS 3(31), 2018)."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from medpodium.scoring.ranking.blocks import Block


def effect_sizes(block: Block, submissions: tuple[str, ...]) -> pd.DataFrame:
    """Return the effect size of every ordered pair of submissions.

    Parameters
    ----------
    block : Block
        One score per case and submission.

    Returns
    -------
    DataFrame
        Columns submission, versus, n_pairs, rank_biserial (matched-pairs rank-biserial correlation, Kerby 2014;
        zero differences dropped) and superiority (probability that a case of one beats a case of the other, ties
        one half; Vargha and Delaney 2000). Positive, or above one half: ``submission`` is better.
    """
    import pingouin

    values = block.values if block.better == "higher" else -block.values
    rows = []
    for one in range(len(submissions)):
        for two in range(one + 1, len(submissions)):
            both = np.isfinite(values[:, one]) & np.isfinite(values[:, two])
            first, second = values[both, one], values[both, two]
            biserial, superiority = np.nan, np.nan
            if both.sum() >= 2:
                superiority = float(pingouin.compute_effsize(first, second, eftype="CLES"))
                biserial = _rank_biserial(first, second)
            name, versus, number = submissions[one], submissions[two], int(both.sum())
            rows.append((name, versus, number, biserial, superiority))
            rows.append((versus, name, number, -biserial, 1 - superiority))
    columns = ["submission", "versus", "n_pairs", "rank_biserial", "superiority"]
    return pd.DataFrame(rows, columns=columns).sort_values(["submission", "versus"], ignore_index=True)


def _rank_biserial(first: np.ndarray, second: np.ndarray) -> float:
    import pingouin

    if (first == second).all():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small samples only make the p-value rough, which is not used
        return float(pingouin.wilcoxon(first, second)["RBC"].iloc[0])
