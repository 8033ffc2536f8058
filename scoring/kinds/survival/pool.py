"""Observations of risks, and their pooled metrics as functions of them and of case weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.survival import ConcordanceMetric, CurveMetric, TimeAucMetric
from medpodium.challenges.schema.values import SurvivalTask
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.pooling import pool_of, pooled_part
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.kinds.views import Risks, Views
from medpodium.scoring.measures.pooled import survival
from medpodium.scoring.observations import case_groups, complete
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Pool

Floats = npt.NDArray[np.float64]


def of_time(time: float) -> str:
    """Return under which structure the probability of no event until a time is observed."""
    return f"S({time:g})"


def observe(task: SurvivalTask, seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission and case, and one per time of the curve."""
    rows = []
    for submission, own in seen.predictions.items():
        for case in seen.references.cases:
            outcome, said = seen.references.truth[case], own.by_case.get(case)
            status = table.MISSING if said is None else table.OK
            happened = ("1" if outcome.event else "0", outcome.time, float(outcome.event), status)
            answer = "" if said is None or math.isnan(said.risk) else repr(said.risk)
            rows.append((submission, case, "", answer, math.nan, *happened))
            for at, time in enumerate(task.times):
                free = math.nan if said is None else said.free[at]
                rows.append((submission, case, of_time(time), "", free, *happened))
    columns = ["submission", "case", "structure", "answer", "confidence", "truth", "time", "event", "status"]
    return complete(pd.DataFrame(rows, columns=columns), seen.challenge, seen.name, seen.groups, findings)


@dataclass(frozen=True)
class Arranged:
    """Observations of a task as arrays.

    Parameters
    ----------
    cases, teams : list of str
        Names.
    time, event : ndarray, shape (n_cases,)
        Outcomes.
    risk : ndarray of float, shape (n_cases, n_submissions)
        Higher means sooner; NaN where there is none.
    free : ndarray of float, shape (n_cases, n_submissions, n_times)
        Probability of no event until each time of the curve; NaN where there is none.
    failed : ndarray of bool, shape (n_cases, n_submissions)
        Whether there is nothing because a run failed.
    """

    cases: list[str]
    teams: list[str]
    time: Floats
    event: npt.NDArray[np.bool_]
    risk: Floats
    free: Floats
    failed: npt.NDArray[np.bool_]


def arrange(task: SurvivalTask, own: pd.DataFrame) -> Arranged:
    """Arrange the observations of one task as arrays."""
    cases, teams = sorted(own["case"].unique()), sorted(own["submission"].unique())
    sign = 1.0 if task.predicts == "risk" else -1.0
    shape = len(cases), len(teams)

    def grid(structure: str, values: pd.Series[float]) -> Floats:
        rows = own["structure"] == structure
        part, out = own[rows], np.full(shape, np.nan)
        places = (
            np.asarray(pd.Categorical(part[name], categories=known).codes, dtype=np.intp)
            for name, known in (("case", cases), ("submission", teams))
        )
        out[tuple(places)] = values[rows].to_numpy(dtype=np.float64)
        return out

    usable = own["status"] == table.OK
    numbers = [float(text) if text else math.nan for text in own["answer"].where(usable, "")]
    free = own["confidence"].where(usable)
    failed = own["status"].str.startswith(table.FAILED_PREFIX).astype("float64")
    by_case = own.drop_duplicates("case").set_index("case").loc[cases]
    curve = [grid(of_time(time), free) for time in task.times]
    return Arranged(
        cases,
        teams,
        by_case["time"].to_numpy(dtype=np.float64),
        by_case["event"].to_numpy() > 0,
        grid("", pd.Series(numbers, index=own.index, dtype="float64") * sign),
        np.stack(curve, axis=2) if curve else np.empty((*shape, 0)),
        grid("", failed) > 0,
    )


@dataclass(frozen=True)
class PooledScore:
    """One pooled metric of all submissions, ready for any case weights.

    Parameters
    ----------
    spec : PooledMetric
        Which.
    time, event : ndarray, shape (n_cases,)
        Outcomes.
    said : ndarray of float, shape (n_cases, n_submissions), of curves (n_cases, n_submissions, n_times)
        Infinite where a case lacks it and counts, NaN where it is left out.
    times : tuple of float
        Of a curve.
    """

    spec: PooledMetric
    time: Floats = field(repr=False)
    event: npt.NDArray[np.bool_] = field(repr=False)
    said: Floats = field(repr=False)
    times: tuple[float, ...] = ()

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        delivered = np.isfinite(self.said.reshape(*self.said.shape[:2], -1)).any(axis=(0, 2))
        return np.where(delivered, self._values(weights), np.nan)

    def _values(self, weights: Floats) -> Floats:
        own = (self.time, self.event, self.said, weights)
        if isinstance(self.spec, CurveMetric):
            return survival.briers(*own, self.times)
        if isinstance(self.spec, TimeAucMetric):
            return survival.areas_at(*own, self.spec.times)
        tau = self.spec.tau if isinstance(self.spec, ConcordanceMetric) else None
        return survival.concordances(*own, uno=self.spec.kind == "uno_c", tau=tau)


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; None where it has no pooled metric or no observation."""
    pooled = pooled_part(challenge, name, observations, SurvivalTask)
    if pooled is None:
        return None
    task, own, metrics = pooled
    arranged = arrange(task, own)
    scores = [_score(task, spec, arranged) for spec in metrics.values()]
    cells = [Cell(team, POOLED, "", key) for key in metrics for team in arranged.teams]
    return pool_of(own, arranged.cases, cells, scores)


def _score(task: SurvivalTask, spec: PooledMetric, own: Arranged) -> PooledScore:
    """Prepare one metric: what is missing is wrong in every pair and at every time, or left out where it says so."""
    skip = np.where(own.failed & (spec.failed is not None), spec.failed == "skip", spec.missing == "skip")
    if not isinstance(spec, CurveMetric):
        return PooledScore(spec, own.time, own.event, np.where(np.isnan(own.risk) & ~skip, np.inf, own.risk))
    times = sorted(spec.times) if spec.times is not None else task.times
    free = own.free[:, :, [task.times.index(time) for time in times]]
    said = np.where(np.isnan(free) & ~skip[:, :, None], np.inf, free)
    return PooledScore(spec, own.time, own.event, said, tuple(times))


def make_views(challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
    """Return risks beside what happened; None where nothing was observed or no risk is asked for."""
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, SurvivalTask) or not task.asks_risk:
        return None
    arranged = arrange(task, own)
    of_case = np.arange(len(arranged.cases))
    risks = Risks("risk", "risk", of_case, arranged.time, arranged.event, arranged.risk, task.unit)
    return Views(tuple(arranged.cases), tuple(arranged.teams), case_groups(own, arranged.cases), (risks,))
