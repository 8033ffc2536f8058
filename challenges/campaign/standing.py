"""What of a campaign is not finished, or no longer what was scored: said before anything is ranked or told."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.campaign import exclusions, work
from medpodium.challenges.campaign.cases import sha256_of
from medpodium.challenges.campaign.exclusions import Exclusion
from medpodium.challenges.campaign.folder import Campaign, CampaignCode, container_name
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.kinds import KINDS
from medpodium.findings import Finding, Severity

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str]
"""A task and a team."""
Marks = dict[str, dict[str, dict[str, str]]]
"""What scores are made of: task, team and case to a mark."""
LEFT_OUT = "!"
"""First letter of a mark of a case that has no score: its reference is broken, or the scorer failed on it."""


@dataclass(frozen=True)
class Standing:
    """How complete a campaign is.

    Parameters
    ----------
    pending : dict of (task, team) to int
        Cases without a result, or that had none when the scores were made.
    stale : dict of (task, team) to Counter
        Cases whose reference or prediction is not the one that was scored: why to how many.
    entered : set of (task, team), optional
        Who has a submission; the scores of others are passed over.
    cases : set of str, optional
        The cases there are; scores of others are passed over, too.
    out : tuple of Exclusion
        Who withdrew or was disqualified.
    """

    pending: dict[Key, int] = field(default_factory=dict)
    stale: dict[Key, Counter[str]] = field(default_factory=dict)
    entered: frozenset[Key] | None = None
    cases: frozenset[str] | None = None
    out: tuple[Exclusion, ...] = ()

    def findings(self, where: str, *, ranked: bool = False) -> list[Finding]:
        """Return what has to be said first: warnings, and a remark for every team that is out.

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
        return found + exclusions.findings(self.out, where)

    def counting(self, scores: pd.DataFrame, *, pending: bool = False) -> pd.DataFrame:
        """Return the rows that count: of teams that are not out, and complete unless asked for, and of known cases."""
        keys = zip(scores["task"].astype(str), scores["submission"].astype(str), strict=True)
        out = frozenset() if pending else frozenset(self.pending)
        wanted = [
            key not in out
            and (self.entered is None or key in self.entered)
            and (self.cases is None or not case or case in self.cases)
            for key, case in zip(keys, scores["case"].astype(str), strict=True)
        ]
        return scores if all(wanted) else scores[wanted].reset_index(drop=True)


def _listed(counts: Mapping[Key, int] | Mapping[Key, Counter[str]], most: int = 8) -> str:
    several = len({task for task, _ in counts}) > 1
    words = [f"{team}{f' ({task})' if several else ''}: {_counted(own)}" for (task, team), own in counts.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _counted(own: int | Counter[str]) -> str:
    if isinstance(own, int):
        return f"{own} case(s)"
    return f"{own.total()} case(s) ({', '.join(own)})"


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


def marks(campaign: Campaign) -> Marks:
    """Return what the score of every case is made of; empty where it is pending.

    A mark has two halves: what is true of the case (its references, its groups), and which run answered it and how.
    """
    groups = campaign.groups()
    true = {case: _hash([mark, groups[case]]) for case, mark in campaign.manifest.reference_hashes().items()}
    found: Marks = {}
    for submission in campaign.submissions():
        state = work.state(campaign, submission)
        whole = state.files.get(work.WHOLE, [])
        rows = {}
        for case, truth in true.items():
            said = _hash([state.attempts.get(case), state.files.get(case, []), whole, case in state.failed])
            rows[case] = "" if case in state.pending else f"{truth}.{said}"
        for task in tasks_of(campaign, submission):
            found.setdefault(task, {})[submission.team] = rows
    return found


def _hash(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Scored:
    """What the campaign's own score table was made of, as the ledger has it.

    Parameters
    ----------
    files : dict of str to str
        Names of the table and of what lies beside it, and their SHA-256.
    marks : Marks
        What every score in it is made of.
    scorer : str
        Hash of the sources that computed it.
    """

    files: dict[str, str] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    scorer: str = ""

    @classmethod
    def of(cls, campaign: Campaign) -> Scored | None:
        """Return what was noted last; ``None`` if nothing was scored yet."""
        known = json.loads(campaign.ledger.meta("scored", "null"))
        return None if known is None else cls(known.get("files", {}), known.get("marks", {}), known.get("scorer", ""))

    def note(self, campaign: Campaign) -> None:
        """Keep it."""
        campaign.ledger.set_meta(scored=json.dumps(vars(self)))

    def is_there(self, folder: Path) -> bool:
        """Return whether the files are those that were noted: a killed process may have left others."""
        try:
            return bool(self.files) and all(sha256_of(folder / name)[0] == it for name, it in self.files.items())
        except OSError:
            return False


def standing(campaign: Campaign) -> Standing:
    """Return what of a campaign is pending, which scores are out of date, and who is out."""
    pending: dict[Key, int] = {}
    stale: dict[Key, Counter[str]] = {}
    now, scored = marks(campaign), Scored.of(campaign)
    there = scored is not None and scored.is_there(campaign.root)
    for task, teams in now.items():
        for team, rows in teams.items():
            before = scored.marks.get(task, {}).get(team) if scored is not None else None
            lacking = [case for case, mark in rows.items() if not mark]
            if before is not None:
                lacking += [case for case in rows if rows[case] and before.get(case) == ""]
            if lacking:
                pending[task, team] = len(lacking)
            why = Counter(_changed(mark, before, case, there=there) for case, mark in rows.items() if mark)
            del why[""]
            if scored is not None and why:
                stale[task, team] = why
    return Standing(
        pending,
        stale,
        frozenset((task, team) for task, teams in now.items() for team in teams),
        frozenset(case.id for case in campaign.manifest.cases),
        tuple(exclusions.excluded(campaign.ledger)),
    )


def _changed(mark: str, before: Mapping[str, str] | None, case: str, *, there: bool) -> str:
    """Return why a score is not what it would be now; empty if it is, or is told as pending."""
    if before is None:
        return "not scored yet"
    if case not in before:
        return "a case was added"
    old = before[case].removeprefix(LEFT_OUT)
    if not old:
        return ""
    if old == mark:
        return "" if there else "the score table is not the one that was noted"
    return "run again" if old.partition(".")[0] == mark.partition(".")[0] else "a reference was corrected"
