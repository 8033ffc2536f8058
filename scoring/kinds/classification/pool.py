"""The pool of a classification task: its ranked pooled metrics as functions of case weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring import observations as contract
from medpodium.scoring.kinds.classification.distributions import SpreadScore
from medpodium.scoring.kinds.classification.observe import Cases, PooledScore, arrange, pooled_scores
from medpodium.scoring.kinds.classification.tasks import tasks_of
from medpodium.scoring.ranking.assemble import pooled_label
from medpodium.scoring.ranking.pools import Cell, Curve, Pool, Shares

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Compute:
    """Computes every cell of a pool: metrics of one pool of cases see only the weights of these cases."""

    parts: tuple[tuple[Cases, tuple[PooledScore | SpreadScore, ...]], ...]

    def __call__(self, weights: Floats) -> Floats:
        blocks = []
        for members, scores in self.parts:
            own = weights[:, members]
            blocks += [score(own) for score in scores]
        return np.concatenate(blocks, axis=1)


def make_pool(challenge: Challenge, task_name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; ``None`` where the task has no ranked pooled metric or no observation.

    Parameters
    ----------
    observations : DataFrame
        Normalised observations (:mod:`medpodium.scoring.observations`), of any tasks.

    Raises
    ------
    UsageError
        If the observations do not fit the task.
    """
    task = tasks_of(challenge)[task_name]
    own = observations[observations["task"] == task_name]
    metrics = {name: spec for name, spec in task.metrics.items() if spec.ranked and spec.info.scope == "pooled"}
    if own.empty or not metrics:
        return None
    observed = arrange(task, own)
    cells: list[Cell] = []
    members: dict[str, Cases] = {}
    parts: dict[str, list[PooledScore | SpreadScore]] = {}
    behind: list[Shares | Curve | None] = []
    for level, name, score in pooled_scores(task, observed, metrics):
        label = pooled_label({} if task.pool_by is None else {task.pool_by: level})
        members[label] = observed.pools[level]
        parts.setdefault(label, []).append(score)
        cells += [Cell(submission, label, "", name) for submission in observed.submissions]
        behind += score.behind()
    return Pool(
        cases=observed.cases,
        groups=contract.case_groups(own, observed.cases),
        cells=tuple(cells),
        members=members,
        compute=_Compute(tuple((members[label], tuple(scores)) for label, scores in parts.items())),
        classes=[own for label, scores in parts.items() for own in _classes(members[label], scores)],
        behind=tuple(behind),
    )


def _classes(members: Cases, scores: Sequence[PooledScore | SpreadScore]) -> list[Cases]:
    """Return the cases of every class behind every AUC that is not defined without one of them."""
    kinds = ("auc", "macro_auc", "weighted_auc", "sensitivity_at_specificity")
    each = [(score.truth, side) for score in scores if score.kind in kinds for side in range(score.classes)]
    return [members[truth == side] for truth, side in each]
