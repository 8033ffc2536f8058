"""What Codabench's database takes, so that no bundle is refused after its upload.

Source: codalab/codabench, ``src/apps/leaderboards/models.py``, ``competitions/models.py`` and ``tasks/models.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, UsageError
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.platforms import payload

COLUMN_TITLE = COLUMN_KEY = 36
COMPETITION_TITLE = TASK_NAME = PHASE_NAME = 256
DOCKER_IMAGE = 128
SCORE = 1e10
"""Scores are stored with ten digits before and ten behind the point."""


def cut(texts: Sequence[str], most: int, mark: str = "…") -> list[str]:
    """Return texts of at most so many characters, each still another.

    Parameters
    ----------
    texts : sequence of str
        All different.
    most : int
        Characters the platform takes.
    mark : str
        What stands where a text was cut, before a number if need be.
    """
    whole = {text for text in texts if len(text) <= most}
    found: list[str] = []
    for text in texts:
        short, number = text if len(text) <= most else text[: most - len(mark)] + mark, 2
        while short in found or (short != text and short in whole):
            end = f"{mark}{number}"
            short, number = text[: most - len(end)] + end, number + 1
        found.append(short)
    return found


def keys(challenge: Challenge, task: str) -> dict[str, str]:
    """Return the key of each leaderboard column on the platform, by the key of :func:`payload.columns`."""
    own = [column.key for column in payload.columns(challenge, task)]
    return dict(zip(own, cut(own, COLUMN_KEY, "_"), strict=True))


def check_image(name: str) -> None:
    """Refuse a Docker image whose name the platform cannot store.

    Raises
    ------
    UsageError
        If it is too long, or no name.
    """
    if len(name) > DOCKER_IMAGE or not re.fullmatch(r"\S+", name):
        cause = f"{len(name)} characters, allowed {DOCKER_IMAGE} without blanks"
        raise UsageError(Finding(PlatformCode.LIMIT, "--docker-image", cause, "give the image a shorter name"))


def storable(scores: Iterable[tuple[str, float]]) -> tuple[dict[str, float], list[Finding]]:
    """Return the scores that the platform can store, and what to say of the others."""
    kept, found = {}, []
    for name, value in scores:
        if abs(value) < SCORE:
            kept[name] = value
        else:
            cause = f"{name} is {value:g}, and the platform stores values below {SCORE:g}"
            found.append(Finding(PlatformCode.LIMIT, name, cause, "see score_table.csv; choose another unit"))
    return kept, found
