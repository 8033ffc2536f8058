"""The pieces of work of a submission: their keys, what is done, what waits for an earlier task, what was collected.

A key covers everything a run can see: the image, the case, the protocol and, where an earlier task's predictions are
mounted, those. So a result counts as long as all of that is what it was, and no longer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from medpodium.challenges.campaign.cases import Manifest, sha256_of
from medpodium.challenges.campaign.ledger import FINAL, INFRA, INTERRUPTED, RUNNING, SUPERSEDED, Ledger, work_key
from medpodium.challenges.schema.protocol import ContainerProtocol

WHOLE = ""
"""The name of the one piece of a submission that is run on the whole set."""

Files = dict[str, list[tuple[str, str]]]
"""Relative path and SHA-256 of the collected files, by case (those of all cases together under the empty name)."""


@dataclass(frozen=True)
class Submission:
    """One team's entry; ``task`` is the container protocol it follows, which one or several tasks share."""

    id: int
    team: str
    task: str
    digest: str
    detail: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where its files are, below ``predictions`` and ``runs``."""
        return Path(self.task) / self.team / self.digest.rpartition(":")[2][:16]


class Campaign(Protocol):
    """What has to be known of a campaign here."""

    manifest: Manifest
    ledger: Ledger

    root: Path

    def predictions_dir(self, submission: Submission) -> Path:
        """Return the folder of a submission's collected predictions."""

    def submissions(self, *, task: str | None = None, team: str | None = None) -> Sequence[Submission]:
        """Return the active submissions, all or those that answer a task."""

    def protocol(self, task: str = "") -> ContainerProtocol:
        """Return a container protocol by its name or by a task's."""

    def container(self, task: str) -> str:
        """Return the name of the container protocol that a task means."""


@dataclass(frozen=True)
class State:
    """Where a submission stands.

    Parameters
    ----------
    pending, failed : set of str
        Cases that have no result yet, and cases whose run failed.
    files : Files
        What was collected and counts now.
    attempts : dict of str to int
        The run that every case's result is of.
    """

    pending: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    files: Files = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


def earlier_tasks(protocol: ContainerProtocol) -> list[str]:
    """Return the tasks whose predictions a protocol mounts."""
    return list(dict.fromkeys(mount.task for mount in protocol.mounts if mount.task is not None))


def level(campaign: Campaign, task: str) -> int:
    """Return how many tasks have to be run before this one; 0 for most."""

    def depth(name: str, above: tuple[str, ...]) -> int:
        protocol = campaign.protocol(name)
        nexts = [campaign.container(one) for one in earlier_tasks(protocol)]
        return max((1 + depth(one, (*above, name)) for one in nexts if one not in (*above, name)), default=0)

    return depth(task, ())


def before(campaign: Campaign, submission: Submission) -> dict[str, Submission | None]:
    """Return the same team's submission to every task whose predictions this one sees."""
    found: dict[str, Submission | None] = {}
    for task in earlier_tasks(campaign.protocol(submission.task)):
        theirs = campaign.submissions(task=task, team=submission.team)
        found[task] = theirs[0] if theirs and theirs[0].id != submission.id else None
    return found


def keys(campaign: Campaign, submission: Submission) -> dict[str, str]:
    """Return the pieces of work of a submission: case (empty for the whole set) to key."""
    protocol = campaign.protocol(submission.task)
    if protocol.per == "set":
        plain = {WHOLE: work_key(submission.digest, campaign.manifest.hash, protocol.hash)}
    else:
        cases = campaign.manifest.cases
        plain = {case.id: work_key(submission.digest, case.hash, protocol.hash) for case in cases}
    earlier = {task: _state_of(campaign, one) for task, one in before(campaign, submission).items()}
    if not earlier:
        return plain
    seen = {name: {task: _seen(known, name) for task, known in earlier.items()} for name in plain}
    return {name: _with(key, seen[name]) for name, key in plain.items()}


def _state_of(campaign: Campaign, submission: Submission | None) -> State | None:
    return None if submission is None else state(campaign, submission)


def _with(key: str, seen: object) -> str:
    return hashlib.sha256(f"{key}\n{json.dumps(seen, sort_keys=True)}".encode()).hexdigest()


def _seen(known: State | None, name: str) -> object:
    """Return what a run of this piece sees of an earlier task."""
    if known is None:
        return "not submitted"
    if name == WHOLE:
        return [sorted(known.pending), sorted(known.failed), sorted(known.files.items())]
    word = "pending" if name in known.pending else "failed" if name in known.failed else "done"
    return [word, known.files.get(name, []), known.files.get(WHOLE, [])]


def state(campaign: Campaign, submission: Submission) -> State:
    """Return where a submission stands."""
    every = {case.id for case in campaign.manifest.cases}
    wanted = keys(campaign, submission)
    results = {one.work_key: one for one in campaign.ledger.results(submission.id)}
    pending: set[str] = set()
    failed: set[str] = set()
    files: Files = {}
    attempts: dict[str, int] = {}
    for name, key in wanted.items():
        result = results.get(key)
        covers = every if name == WHOLE else {name}
        if result is None:
            pending |= covers
            continue
        attempts |= dict.fromkeys(covers, result.id)
        failed |= set(result.detail.get("cases", {})) or (covers if result.code else set())
        for row in campaign.ledger.outputs(result.id):
            files.setdefault(str(row["case_id"]), []).append((str(row["path"]), str(row["sha256"])))
    return State(pending, failed, {case: sorted(found) for case, found in files.items()}, attempts)


def pending(campaign: Campaign, submission: Submission) -> list[str]:
    """Return the pieces that still have no result, those that wait for an earlier task included."""
    done = {attempt.work_key for attempt in campaign.ledger.results(submission.id)}
    return [case for case, key in keys(campaign, submission).items() if key not in done]


def waiting(campaign: Campaign, submission: Submission) -> dict[str, str]:
    """Return the pending pieces that cannot be run yet, each with what it waits for."""
    found: dict[str, str] = {}
    for task, one in before(campaign, submission).items():
        known = _state_of(campaign, one)
        for name in pending(campaign, submission):
            if known is None:
                found.setdefault(name, f"nothing was submitted to {task!r}, whose predictions it sees")
            elif known.pending and (name == WHOLE or name in known.pending):
                found.setdefault(name, f"{task!r}, whose predictions it sees, has not been run yet")
    return found


def why_pending(campaign: Campaign, submission: Submission) -> dict[str, str]:
    """Return why every pending piece has no result."""
    waits = waiting(campaign, submission)
    last: dict[str, dict[str, Any]] = {}
    for row in campaign.ledger.attempts(submission.id):
        last[str(row["case_id"])] = row
    words = {INFRA: "the machine failed: ", INTERRUPTED: "interrupted", SUPERSEDED: "taken back", RUNNING: "running"}
    found = {}
    for name in pending(campaign, submission):
        if name in waits or name not in last:
            found[name] = waits.get(name, "not run yet")
            continue
        row = last[name]
        if row["state"] in FINAL:
            found[name] = "what it sees has changed since it was run"
        else:
            cause = f"{row['cause'] or ''}" if row["state"] == INFRA else ""
            found[name] = f"{words[row['state']]}{cause}"
    return found


def lost_before(campaign: Campaign, submission: Submission) -> dict[str, str]:
    """Return the cases for which the same team's earlier task failed: case to task. Nothing need be run for them."""
    found: dict[str, str] = {}
    if campaign.protocol(submission.task).per == "set":
        return found
    for task, one in before(campaign, submission).items():
        if one is not None:
            found |= dict.fromkeys(sorted(state(campaign, one).failed), task)
    return found


def tidy(campaign: Campaign, submission: Submission, name: str | None = None) -> None:
    """Have exactly those predictions in place that count now; nothing that was computed is deleted.

    A file belongs to the run that noted it with its content. What a stale, replaced or killed run left is moved to a
    folder of that run, and comes back when the run counts again (an earlier image was submitted anew). A file that no
    run noted like this stays where it is, and is named by whoever verifies.

    Parameters
    ----------
    name : str, optional
        Only what runs of this piece left.
    """
    folder = campaign.predictions_dir(submission)
    current = set(keys(campaign, submission).values())
    for path, rows in campaign.ledger.noted_files(submission.id, name).items():
        wanted = next((row for row in rows if row["state"] in FINAL and row["work_key"] in current), None)
        place = folder / path
        if place.is_file() and any(row is not wanted for row in rows):
            sha256 = sha256_of(place)[0]
            if wanted is not None and sha256 == wanted["sha256"]:
                continue
            owner = next((row for row in reversed(rows) if row["sha256"] == sha256), None)
            if owner is not None:
                _move(place, _aside(campaign, submission, owner["attempt"]) / path)
        if wanted is not None and not place.is_file():
            kept = _aside(campaign, submission, wanted["attempt"]) / path
            if kept.is_file():
                _move(kept, place)


def _aside(campaign: Campaign, submission: Submission, attempt: int) -> Path:
    return campaign.root / "superseded" / submission.folder / f"{attempt:06d}"


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def retry(
    campaign: Campaign,
    submission: Submission,
    reason: str,
    *,
    cases: Collection[str] = (),
    codes: Collection[str] = (),
) -> list[str]:
    """Take back the failures of a submission, and results whose files are not what was collected.

    Parameters
    ----------
    reason : str
        Why; it is kept in the ledger.
    cases, codes : collection of str
        Only these cases, and only failures with these codes; all of them when left out.

    Returns
    -------
    list of str
        The pieces that are pending again.
    """
    folder, current = campaign.predictions_dir(submission), set(keys(campaign, submission).values())
    again: dict[int, str] = {}
    for result in campaign.ledger.results(submission.id):
        problems = dict(result.detail.get("cases", {})) or ({result.case: {"code": result.code}} if result.code else {})
        found = {case for case, one in problems.items() if not codes or one["code"] in codes}
        hit = bool(found & set(cases)) or result.case in cases if cases else bool(found)
        if result.work_key not in current or (cases and not hit):
            continue
        rows = campaign.ledger.outputs(result.id)
        changed = not codes and not all(_as_collected(folder / row["path"], row["sha256"]) for row in rows)
        if (found and hit) or changed:
            again[result.id] = result.case
    if again:
        campaign.ledger.supersede(list(again), submission.team, reason)
        tidy(campaign, submission)
    return list(again.values())


def _as_collected(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path)[0] == sha256
