"""Observations of risks, and their pooled metrics as functions of them and of case weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.survival import ConcordanceMetric, TimeAucMetric
from medpodium.challenges.schema.values import SurvivalTask
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.pooling import SideBySide
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.measures.pooled import survival
from medpodium.scoring.observations import complete, group_columns
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Pool

Floats = npt.NDArray[np.float64]


def observe(seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission and case."""
    rows = []
    for submission, own in seen.predictions.items():
        for case in seen.references.cases:
            outcome, value = seen.references.truth[case], own.by_case.get(case)
            answer, status = ("", table.MISSING) if value is None else (repr(value), table.OK)
            event = "1" if outcome.event else "0"
            rows.append((submission, case, event, answer, outcome.time, float(outcome.event), status))
    frame = pd.DataFrame(rows, columns=["submission", "case", "truth", "answer", "time", "event", "status"])
    return complete(frame, seen.challenge, seen.name, seen.groups, findings)


@dataclass(frozen=True)
class PooledScore:
    """One pooled metric of all submissions, ready for any case weights.

    Parameters
    ----------
    spec : PooledMetric
        Which.
    time, event : ndarray, shape (n_cases,)
        Outcomes.
    risk : ndarray of float, shape (n_cases, n_submissions)
        Infinite where a case lacks one and counts, NaN where it is left out.
    """

    spec: PooledMetric
    time: Floats = field(repr=False)
    event: npt.NDArray[np.bool_] = field(repr=False)
    risk: Floats = field(repr=False)

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        return np.where(np.isfinite(self.risk).any(axis=0), self._values(weights), np.nan)

    def _values(self, weights: Floats) -> Floats:
        own = (self.time, self.event, self.risk, weights)
        if isinstance(self.spec, TimeAucMetric):
            return survival.areas_at(*own, self.spec.times)
        tau = self.spec.tau if isinstance(self.spec, ConcordanceMetric) else None
        return survival.concordances(*own, uno=self.spec.kind == "uno_c", tau=tau)


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; None where it has no pooled metric or no observation."""
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, SurvivalTask):
        return None
    metrics = {key: spec for key, spec in task.metrics.items() if isinstance(spec, PooledMetric)}
    if not metrics:
        return None
    cases, teams = sorted(own["case"].unique()), sorted(own["submission"].unique())
    rows = np.asarray(pd.Categorical(own["case"], categories=cases).codes, dtype=np.intp)
    columns = np.asarray(pd.Categorical(own["submission"], categories=teams).codes, dtype=np.intp)
    sign = 1.0 if task.predicts == "risk" else -1.0
    usable = (own["status"] == table.OK).tolist()
    risk = np.full((len(cases), len(teams)), np.nan)
    risk[rows, columns] = [
        sign * float(text) if good else math.nan for text, good in zip(own["answer"], usable, strict=True)
    ]
    failed = np.zeros(risk.shape, dtype=bool)
    failed[rows, columns] = own["status"].str.startswith(table.FAILED_PREFIX)
    by_case = own.drop_duplicates("case").set_index("case").loc[cases]
    time, event = by_case["time"].to_numpy(dtype=np.float64), by_case["event"].to_numpy() > 0
    scores = []
    for spec in metrics.values():
        skip = np.where(failed & (spec.failed is not None), spec.failed == "skip", spec.missing == "skip")
        scores.append(PooledScore(spec, time, event, np.where(np.isnan(risk) & ~skip, np.inf, risk)))
    return Pool(
        cases=tuple(cases),
        groups={group: tuple(by_case[group]) for group in group_columns(own)},
        cells=tuple(Cell(team, POOLED, "", key) for key in metrics for team in teams),
        members={POOLED: np.arange(len(cases))},
        compute=SideBySide(tuple(scores)),
    )
