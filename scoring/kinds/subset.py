"""A cut of the cases by their groups: ``modality=CT, department=oncology`` keeps what has both."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, UsageError
from medpodium.scoring import table
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.observations import group_columns
from medpodium.scoring.ranking.axes import RankingCode, near


def parse(text: str) -> dict[str, frozenset[str]]:
    """Return the levels that are kept, by group; ``|`` separates levels of one group.

    Raises
    ------
    UsageError
        If a part is no ``GROUP=LEVEL``.
    """
    found = {}
    for part in text.split(","):
        name, equals, levels = part.partition("=")
        kept = frozenset(level.strip() for level in levels.split("|") if level.strip())
        if not equals or not name.strip() or not kept:
            cause, fix = f"{part.strip()!r} is no GROUP=LEVEL", 'write "modality=CT, department=oncology|cardiology"'
            raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, "--subset", cause, fix))
        found[name.strip()] = kept
    return found


def cut(
    challenge: Challenge, scores: pd.DataFrame, observations: pd.DataFrame | None, kept: Mapping[str, frozenset[str]]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the scores and observations of some cases; what is pooled is computed anew from these.

    Raises
    ------
    UsageError
        If a group or a level is unknown, or no case is left.
    """
    columns = table.group_columns(scores)
    single = scores[scores["case"] != ""]
    for name, levels in kept.items():
        sources = [frame for frame in (single, observations) if frame is not None and name in frame.columns]
        if name not in [*columns, *(group_columns(observations) if observations is not None else [])]:
            raise _unknown(f"the scores have no group {name!r}", near(name, columns))
        known = {str(level) for frame in sources for level in frame[name].unique()}
        for level in sorted(levels - known):
            raise _unknown(f"{name} has no level {level!r}", near(level, sorted(known - {""})))
    rows = _of(single, kept)
    seen = None if observations is None else _of(observations, kept)
    if rows.empty and (seen is None or seen.empty):
        raise _unknown("no case has all of these levels", "take fewer groups")
    parts = [rows]
    for task in pd.unique(scores.loc[scores["case"] == "", "task"]):
        own = None if seen is None else seen[seen["task"] == task]
        if own is not None and len(own) and task in challenge.tasks:
            teams = list(pd.unique(scores.loc[scores["task"] == task, "submission"]))
            findings: dict[str, list[Finding]] = {name: [] for name in ["", *teams]}
            parts.append(of(challenge.tasks[task]).score_pooled(challenge, str(task), own, teams, findings))
    return table.concatenate([part for part in parts if len(part)]), seen


def _of(frame: pd.DataFrame, kept: Mapping[str, frozenset[str]]) -> pd.DataFrame:
    for name, levels in kept.items():
        frame = frame[frame[name].astype(str).isin(levels)] if name in frame.columns else frame.iloc[:0]
    return frame.reset_index(drop=True)


def _unknown(cause: str, fix: str) -> UsageError:
    return UsageError(Finding(RankingCode.UNKNOWN_LABEL, "--subset", cause, fix))
