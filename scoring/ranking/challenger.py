"""challengeR's ranking methods on its own data format: one metric, columns task, case, algorithm, value.

Behaviour follows challengeR 1.0.5 (Wiesenfarth et al., Sci Rep 11, 2369, 2021): a missing value gets one more
than the largest rank assigned, one tie rule serves both rankings of rank-then-aggregate, an algorithm without
any value in a task does not take part in it when missing values are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medpodium.challenges.schema.steps import Adjustment, Direction, Quantile, Rank, Reduce, Step, Test, Ties
from medpodium.findings import Finding, Severity
from medpodium.scoring.ranking.axes import ABSENT, MISSING, OK, RankingCode, ScoreArray, problem
from medpodium.scoring.ranking.recipe import Floats, Prepared, Ranking
from medpodium.scoring.ranking.significance import PairedTests

Method = Literal[
    "mean-then-rank",
    "median-then-rank",
    "quantile05-then-rank",
    "rank-then-mean",
    "rank-then-median",
    "test-then-rank",
]
METHODS: tuple[Method, ...] = (
    "mean-then-rank",
    "median-then-rank",
    "quantile05-then-rank",
    "rank-then-mean",
    "rank-then-median",
    "test-then-rank",
)
NaTreatment = Literal["worst", "0", "rm"]
"""``worst``: a missing value makes the algorithm last (in the case, or in the task where values are aggregated
first); ``0``: replace by 0, whatever the direction; ``rm``: leave the algorithm out of that case."""


def method_steps(
    method: Method, *, ties: Ties = "min", adjust: Adjustment = "none", alpha: float = 0.05
) -> tuple[Step, ...]:
    """Return a challengeR method as recipe steps."""
    last = Rank(step="rank", ties=ties, missing="after-last")
    if method == "test-then-rank":
        return (Test(over=("case",), alpha=alpha, adjust=adjust), last)
    if method == "quantile05-then-rank":
        return (Quantile(over=("case",), q=0.05), last)
    aggregate: Literal["mean", "median"] = "median" if "median" in method else "mean"
    collapse = Reduce(step="mean" if aggregate == "mean" else "median", over=("case",))
    if method.startswith("rank-then"):
        return (Rank(within=("case",), ties=ties, missing="after-last"), collapse, last)
    return (collapse, last)


def task_array(rows: pd.DataFrame, *, smaller_better: bool, na: NaTreatment | None, late: bool = False) -> ScoreArray:
    """Arrange one task's rows as an array (submission, case).

    Parameters
    ----------
    rows : DataFrame
        Columns case, algorithm, value.
    na : {"worst", "0", "rm"} or None
        None keeps missing values, which are then ranked last where ranks come first.
    late : bool
        Remove missing values when ranking, not when reading: a case that nobody has a value for is still a
        case that can be drawn (challengeR's ``na.treat`` given to the ranking instead of to the data).
    """
    kept = rows[rows["value"].notna()] if na == "rm" else rows
    cases = sorted((rows if late else kept)["case"].unique())
    algorithms = sorted(kept["algorithm"].unique())
    grid = rows.pivot(index="algorithm", columns="case", values="value").reindex(index=algorithms, columns=cases)
    values = grid.to_numpy(dtype=np.float64)
    gone = np.isnan(values)
    if na == "0":
        values, gone = np.where(gone, 0.0, values), np.zeros_like(gone)
    way: Direction = "lower" if smaller_better else "higher"
    return ScoreArray(
        values=values,
        state=np.where(gone, ABSENT if na == "rm" else MISSING, OK).astype(np.uint8),
        dims=("submission", "case"),
        labels={"submission": tuple(algorithms), "case": tuple(cases)},
        better=(way,),
        policy=(None,),
        worst=(np.nan,),
        pooled=(False,) * len(cases),
    )


def check_missing(array: ScoreArray, task: str, method: Method, na: NaTreatment | None) -> list[Finding]:
    """Report missing values; refuse those that a method needs to be told how to treat.

    Raises
    ------
    MedpodiumError
        Where challengeR stops as well: aggregates or tests of missing values without a treatment, a test of
        two algorithms without a common case.
    """
    findings = []
    lacking = array.state != OK
    if array.values.size == 0:
        raise problem(RankingCode.ALL_MISSING, task, "there is no value at all", "leave the task out")
    if lacking.any() and na is None and not method.startswith("rank-then"):
        raise problem(
            RankingCode.MISSING_VALUES,
            task,
            f"{int(lacking.sum())} values are missing ({_first_missing(array)}); {method} must be told what to do",
            "pass --na worst, --na 0 or --na rm",
        )
    if lacking.any() and na == "worst" and method == "test-then-rank":
        raise problem(RankingCode.MISSING_VALUES, task, "a test cannot pair missing values", "pass --na 0 or --na rm")
    for name, number in zip(array.submissions, lacking.sum(axis=1), strict=True):
        if number:
            findings.append(
                Finding(
                    RankingCode.MISSING_VALUES,
                    f"{task}: {name}",
                    f"{number} of {lacking.shape[1]} values are missing",
                    {"0": "counted as 0", "rm": "left out of these cases"}.get(na or "", "ranked last there"),
                    Severity.WARNING,
                )
            )
    infinite = np.isinf(array.values).sum(axis=1)
    findings += [
        Finding(
            RankingCode.INFINITE,
            f"{task}: {name}",
            f"{number} infinite values",
            "ranks are safe, means are not: replace them by a penalty",
            Severity.WARNING,
        )
        for name, number in zip(array.submissions, infinite, strict=True)
        if number
    ]
    if len(array.submissions) == 1:
        findings.append(
            Finding(
                RankingCode.ONE_SUBMISSION,
                task,
                f"only {array.submissions[0]} takes part",
                "a ranking needs at least two algorithms",
                Severity.WARNING,
            )
        )
    if len(array.cases) == 1:
        findings.append(
            Finding(
                RankingCode.ONE_CASE,
                task,
                "there is only one case",
                "tests and the bootstrap say nothing; add cases",
                Severity.WARNING,
            )
        )
    spread = np.where(lacking, np.nan, array.values)
    if len(array.submissions) > 1 and not lacking.any() and bool((spread == spread[:1]).all()):
        findings.append(
            Finding(
                RankingCode.ALL_TIED,
                task,
                "all algorithms have the same values in every case",
                "check that the results differ; all share rank 1",
                Severity.WARNING,
            )
        )
    if method == "test-then-rank" and len(array.submissions) > 1:
        _need_pairs(array, task)
    return findings


def _first_missing(array: ScoreArray) -> str:
    submission, case = np.argwhere(array.state != OK)[0]
    return f"{array.submissions[submission]} in case {array.cases[case]}"


def _need_pairs(array: ScoreArray, task: str) -> None:
    some = (array.state == OK).astype(np.float64)
    together = some @ some.T
    for first, second in np.argwhere(together == 0):
        if first < second:
            raise problem(
                RankingCode.NO_PAIRS,
                f"{task}: {array.submissions[first]}, {array.submissions[second]}",
                "the two have no case in common, so no test can pair them",
                "leave one out, or pass --na 0",
            )


@dataclass(frozen=True)
class TaskRanking:
    """A task, ready to be ranked once or under any number of resamples.

    Parameters
    ----------
    prepared : Prepared
        Recipe and scores.
    ranking : Ranking
        The ranking of the data as they are.
    """

    prepared: Prepared
    ranking: Ranking


def rank_long(
    frame: pd.DataFrame,
    method: Method,
    *,
    ties: Ties = "min",
    adjust: Adjustment = "none",
    alpha: float = 0.05,
    smaller_better: bool = False,
    na: NaTreatment | None = None,
    joint_copies: bool = False,
    late: bool = False,
) -> dict[str, TaskRanking]:
    """Rank every task of a long table by one of challengeR's methods.

    Parameters
    ----------
    frame : DataFrame
        Columns task, case, algorithm, value.
    joint_copies : bool
        Resample as challengeR does (both of its defects included) instead of counting every draw as a case.
    late : bool
        See :func:`task_array`.

    Returns
    -------
    dict
        Task to its ranking, tasks sorted by name.
    """
    steps = method_steps(method, ties=ties, adjust=adjust, alpha=alpha)
    results = {}
    for task, rows in frame.groupby("task", sort=True):
        array = task_array(rows, smaller_better=smaller_better, na=na, late=late)
        findings = check_missing(array, str(task), method, na)
        prepared = Prepared(array, steps, compat=joint_copies)
        run = prepared.run()
        columns: Mapping[str, Floats] = {name: column[0] for name, column in run.columns.items()}
        ranking = Ranking(
            str(task), method, array.submissions, run.ranks[0], run.values[0], columns, run.better, tuple(findings)
        )
        results[str(task)] = TaskRanking(prepared, ranking)
    return results


def long_table(results: Mapping[str, TaskRanking]) -> pd.DataFrame:
    """Return columns task, algorithm, value, rank; best first within a task."""
    frames = [
        pd.DataFrame(
            {
                "task": task,
                "algorithm": item.ranking.submissions,
                "value": item.ranking.values,
                "rank": item.ranking.ranks,
            }
        )
        for task, item in results.items()
    ]
    return pd.concat(frames).sort_values(["task", "rank", "algorithm"], ignore_index=True)


def superiority_tests(array: ScoreArray) -> Floats:
    """Return p of "row algorithm is better than column algorithm", shape (S, S), NaN on the diagonal."""
    values = np.where(array.state == OK, array.values, np.nan).T
    tests = PairedTests(values, higher_better=array.better[0] == "higher")
    p_values: Floats = tests.p_values(np.ones((1, values.shape[0])))[0]
    return p_values
