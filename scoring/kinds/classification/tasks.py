"""The classification tasks of a challenge, for rooms that can only work with classes."""

from __future__ import annotations

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge


def tasks_of(challenge: Challenge) -> dict[str, ClassificationTask]:
    """Return the tasks that predict classes, by name, in file order."""
    return {name: task for name, task in challenge.tasks.items() if isinstance(task, ClassificationTask)}
