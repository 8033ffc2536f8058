"""What classes show besides scores: confusions, and for every problem its probabilities against the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring.kinds.classification.observe import Observed, PooledScore, arrange, pooled_scores
from medpodium.scoring.kinds.classification.tasks import tasks_of
from medpodium.scoring.kinds.views import UNANSWERED, Certainty, Choices, Positions, Sides, View, Views
from medpodium.scoring.observations import case_groups

_SIDES = ("negative", "positive")


def make_views(challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
    """Return the views of a task; None where nothing was observed.

    Parameters
    ----------
    observations : DataFrame
        Normalised observations, of any tasks.

    Raises
    ------
    UsageError
        If the observations do not fit the task.
    """
    task = tasks_of(challenge)[name]
    own = observations[observations["task"] == name]
    if own.empty:
        return None
    observed = arrange(task, own)
    areas: dict[tuple[str, str], PooledScore] = {}
    scored = {key: spec for key, spec in task.metrics.items() if spec.info.scope == "pooled"}
    for level, key, made in pooled_scores(task, observed, scored):
        problem = getattr(task.metrics[key], "problem", None)
        if isinstance(made, PooledScore) and made.kind == "auc" and made.score is not None and problem is not None:
            areas.setdefault((level, problem), made)
    parts: list[View] = []
    for level, members in observed.pools.items():
        parts += _of_pool(task, observed, level, members, areas)
    return Views(observed.cases, observed.submissions, case_groups(own, observed.cases), tuple(parts))


def _of_pool(
    task: ClassificationTask,
    observed: Observed,
    level: str,
    members: Positions,
    areas: Mapping[tuple[str, str], PooledScore],
) -> list[View]:
    """Return what the cases of one pool show."""
    where = f", {task.pool_by.replace('_', ' ')} {level}" if task.pool_by and level else ""
    mark = f"-{level}" if level else ""
    found: list[View] = []
    said = observed.said[members]
    if (said >= 0).any():
        given = np.where(said < 0, UNANSWERED, said)
        found.append(
            Choices(f"classes{mark}", f"classes{where}", members, tuple(task.classes), observed.stage[members], given)
        )
    for problem, rule in task.problems.items():
        truth = np.isin(observed.stage[members], [task.classes.index(own) for own in rule.positive]).astype(np.int64)
        title = f"{rule.title or problem}{where}" if hasattr(rule, "title") else f"{problem}{where}"
        key, given, sure = f"{problem}{mark}", observed.sides[problem][members], observed.confidence[problem][members]
        if not (said >= 0).any() and (~np.isnan(given)).any():
            sides = np.where(np.isnan(given), UNANSWERED, given).astype(np.int64)
            found.append(Choices(f"sides-{key}", title, members, _SIDES, truth, sides))
        made = areas.get((level, problem))
        if made is None and not (~np.isnan(sure)).any():
            continue
        # the curve has the area that is printed: with what stands in for missing answers, as the metric declares
        found.append(Sides(key, title, members, truth, sure if made is None or made.score is None else made.score))
        right = np.broadcast_to(truth[:, None], sure.shape).astype(np.float64)
        found.append(Certainty(f"sure-{key}", title, members, right, sure, np.isnan(sure), positive=True))
    return found
