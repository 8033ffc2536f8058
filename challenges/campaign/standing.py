"""What of a campaign is not finished, or no longer what was scored: said before anything is ranked or told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medpodium.challenges.campaign import work
from medpodium.challenges.campaign.folder import Campaign, CampaignCode, container_name
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.kinds import KINDS
from medpodium.findings import Finding, Severity

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str]
"""A task and a team."""


@dataclass(frozen=True)
class Standing:
    """How complete a campaign is.

    Parameters
    ----------
    pending : dict of (task, team) to int
        Cases without a result, or that had none when the scores were made.
    stale : dict of (task, team) to int
        Cases whose reference or prediction is not the one that was scored.
    entered : set of (task, team), optional
        Who has a submission; the scores of others (withdrawn) are passed over.
    """

    pending: dict[Key, int] = field(default_factory=dict)
    stale: dict[Key, int] = field(default_factory=dict)
    entered: frozenset[Key] | None = None

    def findings(self, where: str, *, ranked: bool = False) -> list[Finding]:
        """Return what has to be said first, as warnings.

        Parameters
        ----------
        where : str
            The campaign.
        ranked : bool
            Whether pending teams are ranked all the same.
        """
        found = []
        if self.pending:
            what = "are ranked as if these cases were lost" if ranked else "are not ranked"
            cause = f"not complete: {_listed(self.pending)} pending; these {what}"
            fix = "go on with 'medpodium run' and 'medpodium score'; --with-pending ranks them as they are"
            found.append(Finding(CampaignCode.PENDING, where, cause, fix, Severity.WARNING))
        if self.stale:
            cause = f"scored before something changed: {_listed(self.stale)}"
            fix = "score again: medpodium score CAMPAIGN"
            found.append(Finding(CampaignCode.STALE, where, cause, fix, Severity.WARNING))
        return found

    def counting(self, scores: pd.DataFrame, *, pending: bool = False) -> pd.DataFrame:
        """Return the rows of the teams that count, task by task: not withdrawn and complete, unless asked for."""
        keys = list(zip(scores["task"].astype(str), scores["submission"].astype(str), strict=True))
        out = frozenset() if pending else frozenset(self.pending)
        wanted = [key not in out and (self.entered is None or key in self.entered) for key in keys]
        return scores if all(wanted) else scores[wanted].reset_index(drop=True)


def _listed(counts: Mapping[Key, int], most: int = 8) -> str:
    several = len({task for task, _ in counts}) > 1
    words = [f"{team}{f' ({task})' if several else ''}: {count} case(s)" for (task, team), count in counts.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def tasks_of(campaign: Campaign, submission: Submission) -> list[str]:
    """Return the tasks that a submission answers."""
    challenge = campaign.challenge
    computed = [name for name, task in challenge.tasks.items() if KINDS[task.kind].computed]
    lone = len(challenge.containers) == 1
    tasks = challenge.tasks
    return [
        name
        for name in computed
        if (tasks[name].container is not None or lone) and container_name(challenge, name) == submission.task
    ]


def fingerprints(campaign: Campaign) -> dict[str, dict[str, dict[str, str]]]:
    """Return what the score of every case is made of: task, team and case to a hash; empty where it is pending."""
    references = campaign.manifest.reference_hashes()
    found: dict[str, dict[str, dict[str, str]]] = {}
    for submission in campaign.submissions():
        state = work.state(campaign, submission)
        whole = state.files.get(work.WHOLE, [])
        rows = {}
        for case, truth in references.items():
            parts = [truth, state.files.get(case, []), whole, case in state.failed]
            text = json.dumps(parts)
            rows[case] = "" if case in state.pending else hashlib.sha256(text.encode()).hexdigest()[:16]
        for task in tasks_of(campaign, submission):
            found.setdefault(task, {})[submission.team] = rows
    return found


def standing(campaign: Campaign) -> Standing:
    """Return what of a campaign is pending, and which scores are out of date."""
    pending: dict[Key, int] = {}
    stale: dict[Key, int] = {}
    now = fingerprints(campaign)
    scored = json.loads(campaign.ledger.meta("scored", "null"))
    for task, teams in now.items():
        for team, rows in teams.items():
            before = scored.get(task, {}).get(team) if scored is not None else None
            lacking = [case for case, mark in rows.items() if not mark]
            if before is not None:
                lacking += [case for case in rows if rows[case] and before.get(case) == ""]
            if lacking:
                pending[task, team] = len(lacking)
            changed = [case for case, mark in rows.items() if mark and (before or {}).get(case) not in (mark, "")]
            if scored is not None and changed:
                stale[task, team] = len(changed)
    return Standing(pending, stale, frozenset((task, team) for task, teams in now.items() for team in teams))
