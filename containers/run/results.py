"""What a run came to: its files are collected, moved to their place and noted; exactly what is noted is on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign import durable
from medpodium.challenges.campaign.cases import Case
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.ledger import DONE, FAILED
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.challenges.sources import RUNNING_ROOMS, package_version, source_hash
from medpodium.containers.failures import EngineCode, RunCode, infrastructure
from medpodium.containers.run.checker import Checker
from medpodium.containers.run.collect import Collection, collect
from medpodium.containers.run.diagnose import diagnose
from medpodium.containers.run.execute import Ended
from medpodium.containers.sandbox.profile import Sandbox
from medpodium.containers.sandbox.stage import Stage
from medpodium.findings import Finding, Severity


@dataclass
class Outcome:
    """What one run came to."""

    ended: Ended
    collection: Collection
    box: Sandbox
    problem: Finding | None = None
    notes: list[Finding] = field(default_factory=list)


def judge(
    campaign: Campaign,
    checker: Checker,
    protocol: ContainerProtocol,
    cases: list[Case],
    staged: Stage,
    ended: Ended,
    box: Sandbox,
    submission: Submission,
) -> Outcome:
    """Collect what a run left, unless it failed in a way that makes its files worthless.

    Raises
    ------
    InfrastructureError
        When the host's disk was full.
    """
    problem = ended.problem
    where = submission.team + (f", case {cases[0].id}" if protocol.per == "case" else "")
    if problem is not None:
        usage = shutil.disk_usage(staged.root)
        if usage.free < 1 << 20 and problem.code is not RunCode.OUTPUT_TOO_LARGE:
            raise infrastructure(EngineCode.HOST_DISK, where, "the host's disk was full when the run failed")
    kept = problem is None or (
        protocol.nonzero_exit == "keep" and problem.code in (RunCode.CRASH, RunCode.PIDS, RunCode.OOM)
    )
    collection = Collection()
    if kept:
        target = staged.root / "collected"
        known = campaign.challenge.file_stems(submission.task)
        collection = collect(staged, protocol, cases, target, checker, campaign.cases_dir, known)
        if problem is not None and not collection.problems:
            note = replace(problem, severity=Severity.WARNING)
            problem = None
            collection.note(note)
    notes = [*ended.notes, *collection.notes]
    if problem is not None or collection.problems:
        notes += diagnose(ended.log, where)
    return Outcome(ended, collection, box, problem, notes)


def record(
    campaign: Campaign, run: str, submission: Submission, name: str, attempt: int, outcome: Outcome, work: Path
) -> Finding | None:
    """Move the files of a run to their place, then note the result in one transaction.

    The names are noted before anything is moved: a process killed in between leaves files that the ledger knows of.
    """
    target = campaign.predictions_dir(submission)
    outputs = [(one.case, one.path, one.sha256, one.bytes) for one in outcome.collection.files]
    campaign.ledger.intend(attempt, outputs)
    for stored in outcome.collection.files:
        final = target / stored.path
        durable.make_folder(final.parent, campaign.root)
        (work / "collected" / stored.path).replace(final)
    durable.settle({(target / stored.path).parent for stored in outcome.collection.files})
    problems = outcome.collection.problems
    worst = outcome.problem or (next(iter(problems.values())) if problems else None)
    detail = _detail(run, name, attempt, outcome, problems)
    _write_record(campaign.runs_dir(submission) / (name or "all-cases"), submission, attempt, outcome, detail)
    whole = outcome.problem or (worst if name else None)
    if whole is None and problems and len(problems) == len(campaign.manifest.cases):
        whole = worst
    campaign.ledger.finish(attempt, FAILED if whole else DONE, finding=whole, detail=detail, outputs=outputs)
    return worst


def _detail(run: str, name: str, attempt: int, outcome: Outcome, problems: dict[str, Finding]) -> dict[str, Any]:
    ended = outcome.ended
    resources: dict[str, Any] = {"running_time": ended.wall, **ended.resources()}
    detail: dict[str, Any] = {
        "attempt": attempt,
        "exit_code": ended.exit_code,
        "resources": {key: (value if value == value else None) for key, value in resources.items()},
        "notes": [one.as_dict() for one in outcome.notes],
        "run": run,
        "medpodium": package_version(),
        "sources": source_hash(RUNNING_ROOMS),
    }
    if not name:
        detail["cases"] = {case: one.as_dict() for case, one in problems.items()}
    return detail


def _write_record(place: Path, submission: Submission, attempt: int, outcome: Outcome, detail: dict[str, Any]) -> None:
    folder = place / f"{attempt:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_bytes(escape_log(outcome.ended.log))
    written = {**detail, "command": outcome.box.command_line(), "image": submission.digest}
    (folder / "run.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    if outcome.ended.curve.samples:
        outcome.ended.curve.write(folder / "curve.parquet")


def escape_log(log: bytes) -> bytes:
    """Return a log that is safe to print: every control character but the newline is escaped."""
    text = log.decode("utf-8", "backslashreplace")
    safe = (char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return "".join(safe).encode()
