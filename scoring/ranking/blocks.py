"""One score per case and submission, the missing policy applied: what tests, gaps, tables and figures are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Direction
from medpodium.scoring.ranking.axes import ABSENT, MISSING, OK, Floats, ScoreArray
from medpodium.scoring.ranking.ranks import rank_after_last, rank_worst

Bools = npt.NDArray[np.bool_]
MEAN = "(mean)"
"""Name of the block that averages the structures of a case."""


@dataclass(frozen=True)
class Block:
    """One score per case and submission: a metric of one structure, or its mean over structures.

    Parameters
    ----------
    metric, structure : str
        Names; structure is empty for values of a whole case and ``(mean)`` for the mean over structures.
    values : ndarray of float, shape (n_cases, n_submissions)
        NaN where there is no score.
    better : {"higher", "lower"}
        Direction.
    cases : tuple of str
        Names of the cases.
    lacking : ndarray of bool, same shape, optional
        Owed scores that the policy has no number for: no mean of the submission exists. None: there are none.
    last : ndarray of bool, same shape, optional
        Scores that the recipe ranks behind every other one of the case. None: those that are lacking.
    supplied : ndarray of bool, same shape, optional
        Scores that stand in for a missing prediction or a failed run. None: there are none.
    penalised : ndarray of bool, same shape, optional
        Scores that are a penalty in whole or, as means over structures, in part. None: there are none.
    after_last : bool
        Rank the last ones as challengeR does, one after the largest rank of a value.
    """

    metric: str
    structure: str
    values: Floats
    better: Direction
    cases: tuple[str, ...]
    lacking: Bools | None = None
    last: Bools | None = None
    supplied: Bools | None = None
    penalised: Bools | None = None
    after_last: bool = False

    def of_cases(self, keep: npt.NDArray[np.intp] | Bools | Sequence[int]) -> Block:
        """Return the block of some cases only, by position or mask."""
        index = np.arange(len(self.cases))[np.asarray(keep)]

        def part(mask: Bools | None) -> Bools | None:
            return None if mask is None else mask[index]

        return replace(
            self,
            values=self.values[index],
            cases=tuple(self.cases[at] for at in index),
            lacking=part(self.lacking),
            last=part(self.last),
            supplied=part(self.supplied),
            penalised=part(self.penalised),
        )

    def without_empty(self) -> Block:
        """Return the block without the cases that nobody has or owes a score for.

        A case that everybody failed stays where its scores have no number: no mean over it is known.
        """
        return self._owed

    @cached_property
    def _owed(self) -> Block:
        some = ~np.isnan(self.values)
        kept = np.asarray((some if self.lacking is None else some | self.lacking).any(axis=1))
        return self if kept.all() else self.of_cases(kept)

    @property
    def incomplete(self) -> Bools:
        """Which submissions lack an owed score, shape (n_submissions,): whatever is aggregated of them is unknown."""
        if self.lacking is None:
            return np.zeros(self.values.shape[1], dtype=bool)
        return np.asarray(self.lacking.any(axis=0))

    def counts(self) -> npt.NDArray[np.int64]:
        """Return the number of cases each submission has a score in, shape (n_submissions,)."""
        return np.asarray((~np.isnan(self.values)).sum(axis=0), dtype=np.int64)

    def stands_in(self) -> int:
        """Return how many scores stand in for a missing prediction or a failed run."""
        return 0 if self.supplied is None else int((self.supplied & ~np.isnan(self.values)).sum())

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Return ``n, mean, sd (ddof 1), median, q25, q75`` per submission; blank where an owed score has no number."""
        frame = pd.DataFrame(self.values)
        quartiles = frame.quantile([0.25, 0.5, 0.75]).to_numpy()
        told = pd.DataFrame(
            {
                "mean": self.means(),
                "sd": frame.std(ddof=1),
                "median": quartiles[1],
                "q25": quartiles[0],
                "q75": quartiles[2],
            }
        )
        told[self.incomplete] = np.nan
        told.insert(0, "n", self.counts())
        return told

    def means(self) -> Floats:
        """Return the mean over the cases of each submission, NaN where an owed score has no number."""
        known = ~np.isnan(self.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.where(known, self.values, 0.0).sum(axis=0) / known.sum(axis=0)
        return np.where(self.incomplete, np.nan, means)

    def ranks(self) -> Floats:
        """Return the rank within each case, ties min, shape (n_cases, n_submissions); NaN: left out of the case."""
        last = self.lacking if self.last is None else self.last
        last = np.zeros(self.values.shape, dtype=bool) if last is None else last
        keys = np.where(last, np.nan, self.values if self.better == "lower" else -self.values)
        rank = rank_after_last if self.after_last else rank_worst
        return np.asarray(rank(keys.T, last.T, "min").T)

    def array(self, submissions: tuple[str, ...]) -> ScoreArray:
        """Return the block as an array (submission, case) on which a recipe can be run."""
        state = np.where(np.isnan(self.values), ABSENT, OK).astype(np.uint8)
        if self.lacking is not None:
            state[self.lacking] = MISSING
        return ScoreArray(
            values=self.values.T,
            state=state.T,
            dims=("submission", "case"),
            labels={"submission": submissions, "case": self.cases},
            better=(self.better,),
            policy=(None,),
            worst=(np.nan,),
            pooled=(False,) * len(self.cases),
        )
