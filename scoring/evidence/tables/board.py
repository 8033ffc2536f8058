"""The leaderboard as a table, and the cases its numbers stand on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.bootstrap import Bootstrap
from medpodium.scoring.evidence.sets.letters import letters
from medpodium.scoring.evidence.sets.ranks import RankSets
from medpodium.scoring.evidence.stability import rank_summary
from medpodium.scoring.ranking.recipe import Prepared, Ranking
from medpodium.scoring.ranking.settled import Settled

Floats = npt.NDArray[np.float64]


def case_numbers(settled: Settled, prepared: Prepared) -> Floats:
    """Return on how many cases each submission stands; NaN where values of whole sets do not say it."""
    numbers = settled.n_cases.astype(np.float64)
    if prepared.pooled is not None:
        behind: dict[str, set[int]] = {}
        for cell in prepared.pooled.cells:
            behind.setdefault(cell.submission, set()).update(prepared.pooled.pool.members[cell.case].tolist())
        observed = [len(behind.get(name, ())) for name in settled.submissions]
        numbers = np.maximum(numbers, np.asarray(observed, dtype=np.float64))
    elif all(settled.raw.pooled):
        numbers[:] = np.nan
    return numbers


def pair_numbers(settled: Settled, prepared: Prepared) -> Floats:
    """Return on how many cases that both have each pair of submissions stands, shape (n, n)."""
    both = settled.counted.astype(np.float64)
    numbers = both @ both.T
    if prepared.pooled is not None or all(settled.raw.pooled):
        of_sets = case_numbers(settled, prepared)
        numbers = np.maximum(numbers, np.minimum.outer(of_sets, of_sets))
    return np.asarray(numbers)


def leaderboard(
    ranking: Ranking,
    settled: Settled,
    prepared: Prepared,
    draws: Bootstrap | None,
    sets: RankSets | None,
    value: pd.DataFrame,
) -> pd.DataFrame:
    """Return the rows of ``leaderboard.csv``, best first.

    Parameters
    ----------
    value : DataFrame
        Interval of every ranked value (:func:`medpodium.scoring.evidence.intervals.ranked.ranked_ends`).
    """
    frame = pd.DataFrame(
        {
            "task": ranking.task,
            "recipe": ranking.recipe,
            "rank": ranking.ranks,
            "submission": ranking.submissions,
            "value": ranking.values,
            "better": ranking.better,
            "n_cases": case_numbers(settled, prepared),
            **{name: settled.lacks[name].to_numpy() for name in settled.lacks.columns},
            **{name: value[name].to_numpy() for name in value.columns},
        }
    )
    if draws is not None and sets is not None:
        summary = rank_summary(draws.ranks)
        frame = frame.assign(
            letters=letters(ranking.ranks, sets.separated),
            rank_low=summary["q025"],
            rank_high=summary["q975"],
            set_low=sets.simultaneous[0],
            set_high=sets.simultaneous[1],
            guarantee=sets.guarantee,
            first=summary["first"],
        )
    frame = pd.concat([frame, pd.DataFrame(dict(ranking.columns))], axis=1)
    return frame.sort_values(["rank", "submission"], na_position="last", ignore_index=True)
