"""Observations of numbers, and their pooled metrics as functions of them and of case weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.outcomes import resolve
from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.values import IccMetric, SuccessMetric
from medpodium.challenges.schema.values import ValuesTask
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.pooling import pool_of, pooled_part
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.kinds.values.measures import is_near
from medpodium.scoring.measures.pooled import numbers
from medpodium.scoring.measures.pooled.numbers import Numbers
from medpodium.scoring.observations import complete
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Pool, Shares

Floats = npt.NDArray[np.float64]

OF: Mapping[str, Callable[[Numbers, Floats], Floats]] = {
    "mae": partial(numbers.mean_errors, power=1),
    "rmse": partial(numbers.mean_errors, power=2),
    "median_error": numbers.median_errors,
    "bias": numbers.biases,
    "lower_limit": partial(numbers.limits, side=-1),
    "upper_limit": partial(numbers.limits, side=1),
    "limits_width": partial(numbers.limits, side=0),
    "r2": numbers.determinations,
    "pearson": numbers.correlations,
    "spearman": numbers.rank_correlations,
    "concordance": numbers.concordances,
}
"""What a pooled metric of numbers is, by its kind."""


def observe(seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission, case and quantity with a reference; numbers are written so that none changes."""
    rows = []
    for submission, own in seen.predictions.items():
        for case in seen.references.cases:
            said = own.by_case.get(case, {})
            for quantity, true in seen.references.truth[case].items():
                value = said.get(quantity)
                answer, status = ("", table.MISSING) if value is None else (repr(value), table.OK)
                rows.append((submission, case, quantity, repr(true), answer, status))
    frame = pd.DataFrame(rows, columns=["submission", "case", "structure", "truth", "answer", "status"])
    return complete(frame, seen.challenge, seen.name, seen.groups, findings)


@dataclass(frozen=True)
class PooledScore:
    """One pooled metric of one quantity for all submissions, ready for any case weights.

    Parameters
    ----------
    spec : PooledMetric
        Which.
    own : Numbers
        Truth and answers of the cases that have a reference of the quantity.
    of_case : ndarray of int
        Positions of these cases among all.
    near : ndarray of bool, shape (n_cases, n_submissions), optional
        Whether each number is near enough, where that is asked.
    """

    spec: PooledMetric
    own: Numbers = field(repr=False)
    of_case: npt.NDArray[np.intp] = field(repr=False)
    near: npt.NDArray[np.bool_] | None = field(repr=False, default=None)

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        delivered = (~np.isnan(self.own.given)).any(axis=0)
        return np.where(delivered, self._values(weights[:, self.of_case]), np.nan)

    def _values(self, weights: Floats) -> Floats:
        if self.near is not None:
            return numbers.successes(self.own, weights, self.near)
        if isinstance(self.spec, IccMetric):
            return numbers.intraclass(self.own, weights, self.spec.form)
        return OF[self.spec.kind](self.own, weights)

    def behind(self, at: int, cases: int) -> Shares | None:
        """Return the right cases of a submission where the value is their share."""
        if self.near is None:
            return None
        known = ~np.isnan(self.own.given[:, at])
        right = np.full(cases, np.nan)
        hit = np.where(known, self.near[:, at], 0.0)
        right[self.of_case] = np.where(known | self.own.counted[:, at], hit, np.nan)
        return Shares(right)


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; None where it has no pooled metric or no observation."""
    pooled = pooled_part(challenge, name, observations, ValuesTask)
    if pooled is None:
        return None
    task, own, metrics = pooled
    cases, teams = sorted(own["case"].unique()), sorted(own["submission"].unique())
    cells, scores = [], []
    for quantity in task.measured:
        part = own[own["structure"] == quantity]
        if part.empty:
            continue
        arranged = arrange(part, cases, teams)
        for key, spec in metrics.items():
            scores.append(_score(spec, *arranged))
            cells += [Cell(team, POOLED, quantity, key) for team in teams]
    behind = [score.behind(at, len(cases)) for score in scores for at in range(len(teams))]
    return pool_of(own, cases, cells, scores, behind)


def arrange(
    part: pd.DataFrame, cases: list[str], teams: list[str]
) -> tuple[npt.NDArray[np.intp], Floats, Floats, npt.NDArray[np.bool_]]:
    """Arrange one quantity: positions of its cases, truth, answers, and which answers lack because a run failed."""
    places = np.asarray(pd.Categorical(part["case"], categories=cases).codes, dtype=np.intp)
    columns = np.asarray(pd.Categorical(part["submission"], categories=teams).codes, dtype=np.intp)
    of_case, rows = np.unique(places, return_inverse=True)
    truth = np.full(len(of_case), np.nan)
    given = np.full((len(of_case), len(teams)), np.nan)
    failed = np.zeros(given.shape, dtype=bool)
    truth[rows] = [float(text) for text in part["truth"]]
    usable = part["status"].to_numpy() == table.OK
    given[rows, columns] = [
        float(text) if good else math.nan for text, good in zip(part["answer"], usable, strict=True)
    ]
    failed[rows, columns] = part["status"].str.startswith(table.FAILED_PREFIX)
    return of_case, truth, given, failed


def _score(
    spec: PooledMetric, of_case: npt.NDArray[np.intp], truth: Floats, given: Floats, failed: npt.NDArray[np.bool_]
) -> PooledScore:
    """Prepare one metric: what is missing counts as declared, or is left out where the metric says so."""
    outcomes = (spec.missing, spec.missing if spec.failed is None else spec.failed)
    lacks, broke = (abs(resolve(outcome, spec, math.nan)) for outcome in outcomes)
    penalty = np.where(failed, broke, lacks)
    skipped = np.where(failed, outcomes[1] == "skip", outcomes[0] == "skip")
    own = Numbers(truth, given, np.isnan(given) & ~skipped, np.nan_to_num(penalty))
    near = None
    if isinstance(spec, SuccessMetric):
        each = [[is_near(spec, true, said) for said in row] for true, row in zip(truth, given, strict=True)]
        near = np.array(each, dtype=bool).reshape(given.shape)
    return PooledScore(spec, own, of_case, near)
