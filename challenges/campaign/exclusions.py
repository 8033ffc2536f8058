"""Teams that were taken out: they withdrew, or were disqualified. Everything they did stays in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medpodium.challenges.campaign.folder import CampaignCode, container_name
from medpodium.challenges.campaign.ledger import Ledger, note, now
from medpodium.findings import Finding, Severity, UsageError

if TYPE_CHECKING:
    from medpodium.challenges.campaign.folder import Campaign

WITHDRAWN, DISQUALIFIED = "withdrawn", "disqualified"
_EVENTS = {WITHDRAWN: "withdraw", DISQUALIFIED: "disqualify"}


@dataclass(frozen=True)
class Exclusion:
    """One team that is out of one container protocol.

    Parameters
    ----------
    team, task : str
        Who, and of which container protocol.
    kind : {"withdrawn", "disqualified"}
        A team that withdrew may submit again; a disqualified one has to be reinstated first.
    reason, time : str
        Why, and since when (UTC, ISO 8601).
    submission : int or None
        What it took out; ``None`` where nothing was submitted.
    """

    team: str
    task: str
    kind: str
    reason: str
    time: str
    submission: int | None = None

    def __str__(self) -> str:
        return f"{self.team} was {self.kind} on {self.time[:10]}: {self.reason}"


def excluded(ledger: Ledger, team: str | None = None, task: str | None = None) -> list[Exclusion]:
    """Return who is out now, in the order in which they went; of one team or container protocol only, if named."""
    query = "SELECT team, task, kind, reason, time, submission FROM exclusion WHERE lifted IS NULL ORDER BY id"
    found = [Exclusion(**row) for row in ledger.rows(query)]
    return [one for one in found if team in (None, one.team) and task in (None, one.task)]


def exclude(campaign: Campaign, team: str, task: str | None, kind: str, reason: str) -> list[Exclusion]:
    """Take a team out of the tasks it has submitted to, or of one; a disqualified one out of all there are.

    Raises
    ------
    UsageError
        If it never submitted anything, is out already in this way, or nothing of it is there to be withdrawn.
    """
    ledger = campaign.ledger
    known = {row["team"] for row in ledger.submissions(active=False)}
    here = {one.task: one.id for one in campaign.submissions(task=task, team=team)}
    if team not in known or (kind == WITHDRAWN and not here):
        there = ", ".join(sorted({one.team for one in campaign.submissions()})) or "nobody"
        what = "never submitted anything" if team not in known else "has no submission that counts"
        raise UsageError(Finding(CampaignCode.UNKNOWN_TEAM, "--team", f"{team!r} {what}", f"there: {there}"))
    wanted = [container_name(campaign.challenge, task)] if task else list(campaign.challenge.containers)
    before = {one.task: one for one in excluded(ledger, team)}
    tasks = [one for one in wanted if kind == DISQUALIFIED or one in here]
    new = [one for one in tasks if one not in before or before[one].kind != kind]
    if not new:
        fix = "nothing to do; 'medpodium campaign reinstate' takes it in again"
        raise UsageError(Finding(CampaignCode.EXCLUDED, "--team", str(before[tasks[0]]), fix))
    found = [
        Exclusion(team, one, kind, reason, now(), here.get(one, before[one].submission if one in before else None))
        for one in new
    ]
    with ledger.transaction() as db:
        for one in found:
            lifted = "UPDATE exclusion SET lifted = ?, lifted_reason = ? WHERE team = ? AND task = ? AND lifted IS NULL"
            db.execute(lifted, (one.time, kind, team, one.task))
            db.execute(
                "INSERT INTO exclusion (team, task, kind, reason, time, submission) VALUES (?, ?, ?, ?, ?, ?)",
                (team, one.task, kind, reason, one.time, one.submission),
            )
            db.execute("UPDATE submission SET active = 0 WHERE team = ? AND task = ?", (team, one.task))
        note(db, _EVENTS[kind], team, tasks=new, reason=reason)
    return found


def reinstate(campaign: Campaign, team: str, task: str | None, reason: str) -> list[Exclusion]:
    """Take a team in again, with the submission and the results it had.

    Raises
    ------
    UsageError
        If it is not out.
    """
    container = container_name(campaign.challenge, task) if task else None
    found = excluded(campaign.ledger, team, container)
    if not found:
        out = ", ".join(sorted({one.team for one in excluded(campaign.ledger)})) or "nobody"
        problem = Finding(CampaignCode.UNKNOWN_TEAM, "--team", f"{team!r} is not out", f"out are: {out}")
        raise UsageError(problem)
    with campaign.ledger.transaction() as db:
        for one in found:
            lifted = "UPDATE exclusion SET lifted = ?, lifted_reason = ? WHERE team = ? AND task = ? AND lifted IS NULL"
            db.execute(lifted, (now(), reason, team, one.task))
            if one.submission is not None:
                db.execute("UPDATE submission SET active = 1 WHERE id = ?", (one.submission,))
        note(db, "reinstate", team, tasks=[one.task for one in found], reason=reason)
    return found


def admit(campaign: Campaign, team: str, task: str) -> None:
    """Refuse a submission of a team that was disqualified from a container protocol."""
    for one in excluded(campaign.ledger, team, task):
        if one.kind == DISQUALIFIED:
            fix = f"medpodium campaign reinstate CAMPAIGN --team {team} --reason ... takes it in again"
            raise UsageError(Finding(CampaignCode.EXCLUDED, "--team", str(one), fix))


def findings(exclusions: Iterable[Exclusion], where: str) -> list[Finding]:
    """Return one remark per team that is out, for whoever reads a ranking."""
    found: dict[tuple[str, str], list[Exclusion]] = {}
    for one in exclusions:
        found.setdefault((one.team, f"{one.kind}{one.reason}"), []).append(one)
    fix = "nothing to do; it is not ranked, and its results stay in the ledger"
    return [Finding(CampaignCode.EXCLUDED, where, str(rows[0]), fix, Severity.NOTE) for rows in found.values()]
