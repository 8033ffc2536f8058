"""From observations to the rows of pooled metrics: the same function as under resampling, with every case once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.task import TaskModel
from medpodium.scoring import table
from medpodium.scoring.observations import case_groups
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Curve, Pool, Shares

Floats = npt.NDArray[np.float64]
Task = TypeVar("Task", bound=TaskModel)


@dataclass(frozen=True)
class SideBySide:
    """The scores of a pool as one function of case weights.

    Parameters
    ----------
    scores : tuple of callable
        Each takes weights of shape (n_resamples, n_cases) and returns values of shape (n_resamples, n_submissions).
    """

    scores: tuple[Callable[[Floats], Floats], ...]

    def __call__(self, weights: Floats) -> Floats:
        """Return the values of all scores, shape (n_resamples, n_scores x n_submissions)."""
        return np.concatenate([score(weights) for score in self.scores], axis=1)


def pooled_part(
    challenge: Challenge, name: str, observations: pd.DataFrame, kind: type[Task]
) -> tuple[Task, pd.DataFrame, dict[str, PooledMetric]] | None:
    """Return a task, its own observations and its pooled metrics; None where it is of another kind or has none."""
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, kind):
        return None
    metrics = {key: spec for key, spec in task.metrics.items() if isinstance(spec, PooledMetric)}
    return (task, own, metrics) if metrics else None


def pool_of(
    observed: pd.DataFrame,
    cases: Sequence[str],
    cells: Sequence[Cell],
    scores: Sequence[Callable[[Floats], Floats]],
    behind: Sequence[Shares | Curve | None] = (),
    classes: Sequence[npt.NDArray[np.intp]] = (),
) -> Pool:
    """Return the pool of a task that pools all of its cases together.

    Parameters
    ----------
    observed : DataFrame
        The task's own observations.
    cases : sequence of str
        Its cases, in the order of the scores' weights.
    cells : sequence of Cell
        What the scores compute, side by side.
    behind, classes
        As of :class:`~medpodium.scoring.ranking.pools.Pool`.
    """
    return Pool(
        cases=tuple(cases),
        groups=case_groups(observed, cases),
        cells=tuple(cells),
        members={POOLED: np.arange(len(cases))},
        compute=SideBySide(tuple(scores)),
        classes=classes,
        behind=tuple(behind),
    )


def pooled_rows(
    challenge: Challenge, name: str, pool: Pool, observations: pd.DataFrame, submissions: Sequence[str]
) -> pd.DataFrame:
    """Return one row per submission, set of cases and metric of a pool.

    A set without any usable answer is missing, one with some lacking is penalised as the pool itself counts them, and
    a value that is not defined (one class only) is skipped.

    Returns
    -------
    pandas.DataFrame
        The score table's columns, and the group that tells the sets apart where there is one.
    """
    task: Any = challenge.tasks[name]
    ok = (observations["status"] == table.OK).tolist()
    keys = list(observations[["submission", "case", "structure"]].itertuples(index=False, name=None))
    asked, usable = set(keys), {key for key, good in zip(keys, ok, strict=True) if good}
    # parts of a case that a value is not told apart by (orders of a question) count together
    asked |= {(submission, case, "") for submission, case, _ in asked}
    usable |= {(submission, case, "") for submission, case, _ in usable}
    parts = {structure for _, _, structure in keys}
    values = pool.values(np.ones((1, len(pool.cases))))[0]
    rows = []
    for cell, value in zip(pool.cells, values.tolist(), strict=True):
        members = pool.members[cell.case]
        part = cell.structure if cell.structure in parts else ""
        own_keys = [(cell.submission, pool.cases[index], part) for index in members]
        answered = [key in usable for key in own_keys if key in asked]
        spec = task.metrics[cell.metric]
        if not any(answered):
            value, status = math.nan, table.MISSING
        elif math.isnan(value):
            status = table.SKIPPED
        else:
            status = table.OK if all(answered) or spec.missing == "skip" else table.PENALISED
        within = {} if task.pooled_within is None else {task.pooled_within: pool.groups[task.pooled_within][members[0]]}
        row = {"challenge": challenge.name, "edition": challenge.edition, "task": name, "case": ""}
        own = {"submission": cell.submission, "structure": cell.structure, "metric": cell.metric}
        rows.append({**row, **own, "value": value, "status": status, **within})
    frame = pd.DataFrame(rows)
    order = {submission: index for index, submission in enumerate(submissions)}
    frame = frame.sort_values("submission", key=lambda column: column.map(order), kind="stable", ignore_index=True)
    return frame[[*table.COLUMNS, *([] if task.pooled_within is None else [task.pooled_within])]]
