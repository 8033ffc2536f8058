"""Rankings over several tasks, as the ranking of one more task that holds the scores of all of them.

Its cases are those of its tasks, told apart by the group :data:`~medpodium.challenges.schema.definition.JOINED`, which
recipes call ``task``. A case of that name in several tasks is one case there: it is drawn, left out and counted as one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import JOINED, SHARED, Challenge, Group, Overall
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.steps import Step
from medpodium.challenges.schema.tabular import ImportedMetric, TableTask
from medpodium.scoring import table
from medpodium.scoring.ranking.axes import RankingCode, problem
from medpodium.scoring.ranking.pools import Pool

Floats = npt.NDArray[np.float64]
TASK = "task"
"""What recipes call the dimension."""


def with_overall(challenge: Challenge, scores: pd.DataFrame) -> tuple[Challenge, pd.DataFrame]:
    """Return the definition and the scores with one more task per ranking over several tasks that has all its scores.

    Raises
    ------
    MedpodiumError
        If two of its tasks disagree on a metric.
    """
    present = set(scores["task"].unique())
    there = {name: own for name, own in challenge.overall.items() if set(own.tasks) <= present}
    if not there:
        return challenge, scores
    added = {name: _task(challenge, name, own) for name, own in there.items()}
    rows = [_rows(scores, name, own) for name, own in there.items()]
    groups = {JOINED: Group(title="Task"), SHARED: Group(title="Case")}
    wider = challenge.widened(
        tasks={**challenge.tasks, **added},
        ranking={**challenge.ranking, **{name: own.recipe for name, own in there.items()}},
        groups={**challenge.groups, **groups},
        recipes={
            name: recipe.model_copy(update={"steps": tuple(map(_step, recipe.steps))})
            for name, recipe in challenge.recipes.items()
        },
    )
    whole = pd.concat([scores, *rows], ignore_index=True)
    for name in (JOINED, SHARED):
        if name in whole:
            whole[name] = whole[name].fillna("")
    return wider, whole


def without_overall(challenge: Challenge, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores that were computed: without those that :func:`with_overall` added."""
    if not challenge.overall:
        return scores
    kept = scores[~scores["task"].isin(list(challenge.overall))]
    return kept.drop(columns=[JOINED, SHARED], errors="ignore").reset_index(drop=True)


def _step(step: Step) -> Step:
    """Return a step with the group's name where it says ``task``."""

    def named(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(named, value))
        if isinstance(value, Mapping):
            return {named(key): own for key, own in value.items()}
        return JOINED if value == TASK else value

    fields = {key: named(getattr(step, key)) for key in ("over", "by", "within", "keep") if hasattr(step, key)}
    return step.model_copy(update=fields)


def _task(challenge: Challenge, name: str, own: Overall) -> TableTask:
    """Return the task that stands for all: its metrics are imported values with the directions and policies there."""
    metrics: dict[str, ImportedMetric] = {}
    for task in own.tasks:
        for key, spec in challenge.tasks[task].metrics.items():
            made = _metric(spec)
            if metrics.setdefault(key, made) != made:
                cause = f"metric {key!r} of {task!r} has another direction, unit or policy than in another task"
                fix = "give metrics that differ different names"
                raise problem(RankingCode.MIXED_DIRECTIONS, name, cause, fix)
    return TableTask(kind="table", title=own.title, metrics=metrics, groups=None)


def _metric(spec: MetricSpec) -> ImportedMetric:
    worst = spec.worst_value(np.nan)
    known = worst is not None and not np.isnan(worst)
    policies = {key: "skip" if value == "worst" and not known else value for key, value in _policies(spec).items()}
    return ImportedMetric(
        kind="imported",
        title=spec.name,
        direction=spec.better,
        unit=spec.unit_name,
        worst=float(worst) if known and worst is not None else None,
        ranked=spec.ranked,
        **policies,
    )


def _policies(spec: MetricSpec) -> dict[str, Any]:
    own: dict[str, Any] = {"missing": spec.missing}
    return own if spec.failed is None else own | {"failed": spec.failed}


def _rows(scores: pd.DataFrame, name: str, own: Overall) -> pd.DataFrame:
    """Return the scores of some tasks as those of one; cases that occur in several of them get the task's name."""
    rows = scores[scores["task"].isin(list(own.tasks))].copy()
    shared = shared_cases({task: set(rows.loc[rows["task"] == task, "case"]) for task in own.tasks})
    rows[JOINED] = rows["task"]
    rows[SHARED] = rows["case"].where(rows["case"].isin(shared), "")
    rows["case"] = [_name(task, case, shared) for task, case in zip(rows["task"], rows["case"], strict=True)]
    rows["task"] = name
    if table.DEFINITION in rows:
        rows[table.DEFINITION] = ""
    return rows


def shared_cases(cases: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the names of cases that several tasks have."""
    seen: set[str] = set()
    twice: set[str] = set()
    for own in cases.values():
        twice |= seen & set(own)
        seen |= set(own)
    return frozenset(twice - {""})


def _name(task: str, case: str, shared: Collection[str]) -> str:
    return f"{task}: {case}" if case in shared else case


def joint_pool(own: Overall, pools: Mapping[str, Pool], scored: Mapping[str, Collection[str]]) -> Pool | None:
    """Return the pooled values of several tasks as one pool; None where no task has any.

    Parameters
    ----------
    pools : mapping of str to Pool
        The pools of the tasks that have one.
    scored : mapping of str to collection of str
        Cases of every task, in its scores and observations: those of several tasks are one case.
    """
    parts = [(task, pools[task]) for task in own.tasks if task in pools]
    if not parts:
        return None
    shared = shared_cases(scored)
    cases = [_name(task, case, shared) for task, pool in parts for case in pool.cases]
    names = list(dict.fromkeys(group for _, pool in parts for group in pool.groups))
    groups = {group: tuple(level for _, pool in parts for level in _levels(pool, group)) for group in names}
    groups[JOINED] = tuple(task for task, pool in parts for _ in pool.cases)
    groups[SHARED] = tuple(case if case in shared else "" for _, pool in parts for case in pool.cases)
    starts = np.cumsum([0, *(len(pool.cases) for _, pool in parts)])
    labelled = [
        replace(pool, cells=tuple(cell._replace(case=_label(cell.case, task)) for cell in pool.cells))
        for task, pool in parts
    ]
    return Pool(
        cases=tuple(cases),
        groups=groups,
        cells=tuple(cell for pool in labelled for cell in pool.cells),
        members={
            _label(label, task): at + start
            for (task, pool), start in zip(parts, starts, strict=False)
            for label, at in pool.members.items()
        },
        compute=_Joint(
            tuple(zip(starts.tolist(), (pool.compute for _, pool in parts), strict=False)), tuple(starts.tolist())
        ),
        classes=[at + start for (_, pool), start in zip(parts, starts, strict=False) for at in pool.classes],
        behind=tuple(one for _, pool in parts for one in (pool.behind or (None,) * len(pool.cells))),
    )


def _levels(pool: Pool, group: str) -> Sequence[str]:
    return pool.groups.get(group, ("",) * len(pool.cases))


def _label(label: str, task: str) -> str:
    """Return the label of a set of cases with its task: as a score table's rows of that set get it."""
    return f"{label} {JOINED}={task}"


@dataclass(frozen=True)
class _Joint:
    """The pooled values of several tasks, each from the weights of its own cases."""

    parts: tuple[tuple[int, Any], ...] = field(repr=False)
    starts: tuple[int, ...]

    def __call__(self, weights: Floats) -> Floats:
        ends = self.starts[1:]
        return np.concatenate(
            [own(weights[:, at:end]) for (at, own), end in zip(self.parts, ends, strict=True)], axis=1
        )
