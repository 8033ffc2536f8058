"""Which kind a task is: the one place that asks.

A kind lives in ``scoring/kinds/<name>/kind.py`` under the name ``KIND``, where ``<name>`` is the task's ``kind`` in the
challenge file. Nothing lists the kinds a second time, so that adding one needs no change here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medpodium.findings import Finding, UsageError
from medpodium.scoring.kinds.protocol import Kind, ScoreCode

if TYPE_CHECKING:
    from medpodium.challenges.schema.definition import Challenge


@cache
def named(name: str) -> Kind:
    """Return the kind of a name, which is a key of :data:`medpodium.challenges.schema.kinds.KINDS`."""
    kind: Kind = import_module(f"medpodium.scoring.kinds.{name}.kind").KIND
    return kind


def of(task: Any) -> Kind:
    """Return the kind of a task."""
    return named(task.kind)


def pick_task(challenge: Challenge, name: str | None) -> str:
    """Return the task meant: the one named, or the challenge's only one.

    Raises
    ------
    UsageError
        If it does not exist, or none is named and there are several.
    """
    tasks = list(challenge.tasks)
    if name is None and len(tasks) == 1:
        return tasks[0]
    if name in challenge.tasks:
        return str(name)
    cause = f"no task {name!r}" if name else f"the challenge has {len(tasks)} tasks and none is named"
    raise UsageError(
        Finding(ScoreCode.NO_TASK, challenge.reference, cause, f"add --task with one of: {', '.join(tasks)}")
    )
