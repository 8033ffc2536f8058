"""The segmentation tasks of a challenge, for rooms that can only work with masks."""

from __future__ import annotations

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding, UsageError
from medpodium.scoring.kinds.protocol import ScoreCode


def tasks_of(challenge: Challenge) -> dict[str, SegmentationTask]:
    """Return the tasks that predict masks, by name, in file order."""
    return {name: task for name, task in challenge.tasks.items() if isinstance(task, SegmentationTask)}


def task_of(challenge: Challenge, name: str) -> SegmentationTask:
    """Return a task that is scored on masks.

    Raises
    ------
    UsageError
        If it is of another kind.
    """
    found = tasks_of(challenge)
    if name in found:
        return found[name]
    fix = f"name a segmentation task with --task: {', '.join(found) or 'the challenge has none'}"
    raise UsageError(Finding(ScoreCode.NO_TASK, name, f"is a {challenge.tasks[name].kind} task", fix))
