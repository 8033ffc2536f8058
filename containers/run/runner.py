"""Run submissions on hidden cases, one at a time and resumable; the machine's failures are told from theirs."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign.cases import Case
from medpodium.challenges.campaign.folder import Campaign, Submission
from medpodium.challenges.campaign.ledger import DONE, FAILED, INFRA, disk_full
from medpodium.challenges.naming.patterns import parse_name
from medpodium.challenges.schema.protocol import ContainerProtocol, parse_count
from medpodium.challenges.sources import RUNNING_ROOMS, package_version, source_hash
from medpodium.containers.failures import EngineCode, Retry, RunCode, finding, infrastructure
from medpodium.containers.intake import image
from medpodium.containers.run.checker import Checker
from medpodium.containers.run.collect import Collection, collect
from medpodium.containers.run.diagnose import diagnose
from medpodium.containers.run.execute import Ended, execute
from medpodium.containers.sandbox import engine, stage
from medpodium.containers.sandbox.gpu import Gpus, find
from medpodium.containers.sandbox.leash import held
from medpodium.containers.sandbox.profile import LABEL, Sandbox, sandbox
from medpodium.findings import Finding, InfrastructureError, Severity

ENGINE_PATIENCE = 60.0
"""Seconds that a run waits for a lost engine to come back."""

_OF_ONE_TEAM = (EngineCode.ENGINE_ERROR, EngineCode.IMAGE_ABSENT, EngineCode.IMAGE_CHANGED, EngineCode.INPUT_CHANGED)
"""Failures of the machine that may have to do with one image only."""

Report = Callable[[Submission, str, Finding | None], None]


@dataclass
class Options:
    """How to run, beyond what the challenge says.

    Parameters
    ----------
    gpu_ids : tuple of str
        Devices to hand out; the first ones if empty.
    runtime : str, optional
        Another container runtime of the engine, such as ``runsc`` (gVisor).
    keep_images : bool
        Leave images that intake loaded in the engine after the last case.
    patience : float
        Seconds to wait for a lost engine.
    """

    gpu_ids: tuple[str, ...] = ()
    runtime: str | None = None
    keep_images: bool = False
    patience: float = ENGINE_PATIENCE


@dataclass
class Outcome:
    """What one run came to."""

    ended: Ended
    collection: Collection
    box: Sandbox
    problem: Finding | None = None
    notes: list[Finding] = field(default_factory=list)


class Runner:
    """Runs the submissions of one campaign on one machine, one container at a time so that timings are fair.

    Parameters
    ----------
    client : docker.DockerClient
        The engine; ``None`` where other machines run the containers.
    campaign : Campaign
        Opened; its ledger is locked by :meth:`session`.
    options : Options
        Devices, runtime, patience.
    """

    def __init__(self, client: Any, campaign: Campaign, options: Options | None = None) -> None:
        self.client = client
        self.campaign = campaign
        self.options = options or Options()
        self.checker = Checker()
        self.run_id = secrets.token_hex(8)
        self.leash_id = self.run_id

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the campaign, clear what a killed run left behind, and keep the leash, for the length of a block."""
        self.campaign.ledger.lock()
        self._clear_leftovers()
        with held(self.leash_id), self.checker:
            yield

    def _labels(self) -> dict[str, str]:
        return {f"{LABEL}.campaign": self.campaign.secret[:16], f"{LABEL}.run": self.leash_id}

    def _clear_leftovers(self) -> None:
        if self.client is not None:
            engine.sweep(self.client, {f"{LABEL}.campaign": self.campaign.secret[:16]})
        left = self.campaign.ledger.interrupt_running()
        if left:
            self.campaign.ledger.event("resume", attempts=left)
        for folder in (self.campaign.root / "work").iterdir():
            stage.remove(folder)

    # -- submissions --

    def run(self, submissions: list[Submission], report: Report | None = None) -> None:
        """Run every pending case of these submissions.

        A submission's failure is recorded and never stops the run. Calling this again does what is left.

        Raises
        ------
        InfrastructureError
            When the machine keeps failing; nothing is lost, the same call goes on later.
        """
        ordered = sorted(submissions, key=lambda one: (is_cascade(self.campaign.protocol(one.task)), one.id))
        stuck: list[Finding] = []
        for submission in ordered:
            try:
                self._run_submission(submission, report)
            except InfrastructureError as error:
                if error.findings[0].code not in _OF_ONE_TEAM:
                    raise
                stuck += error.findings  # an image that the engine cannot handle must not hold up the others
        if stuck:
            raise InfrastructureError(*stuck)

    def _run_submission(self, submission: Submission, report: Report | None) -> None:
        protocol = self.fit(self.campaign.protocol(submission.task))
        pending = self.campaign.pending(submission)
        pinned = image.Pinned.from_dict(submission.detail["image"])
        self.campaign.predictions_dir(submission).mkdir(parents=True, exist_ok=True)
        if not pending:
            return
        secret, digest = self.campaign.secret, submission.digest
        for name in stage.case_order(pending, protocol, secret, digest):
            attempt_problem = self._one_piece(submission, protocol, pinned, name)
            if report is not None:
                report(submission, name, attempt_problem)
        if pinned.archive and not pinned.existed and not self.options.keep_images:
            shared = [one for one in self.campaign.submissions() if one.digest == digest]
            if not any(self.campaign.pending(one) for one in shared):
                with suppress(Retry):
                    image.discard(self.client, pinned)

    def fit(self, protocol: ContainerProtocol) -> ContainerProtocol:
        """Take no more processors than the host has; the engine would refuse."""
        have = os.cpu_count() or 1
        if parse_count(protocol.limits.cpus) <= have:
            return protocol
        return protocol.model_copy(update={"limits": protocol.limits.model_copy(update={"cpus": str(have)})})

    def _one_piece(
        self, submission: Submission, protocol: ContainerProtocol, pinned: image.Pinned, name: str
    ) -> Finding | None:
        """Run one case (or the whole set) until it has a result that is the submission's own."""
        ledger, key = self.campaign.ledger, self.campaign.keys(submission)[name]
        self.forget(submission, protocol, name)
        for tries in range(protocol.retries + 1):
            attempt = ledger.start(submission.id, name, key)
            work = self.campaign.root / "work" / secrets.token_hex(8)
            try:
                try:
                    image.verify(self.client, pinned, protocol, submission.team)
                    outcome = self.attempt(submission, protocol, pinned, name, work)
                    return self.record(submission, name, attempt, outcome, work)
                finally:
                    stage.remove(work)
            except Retry as problem:
                ledger.finish(attempt, INFRA, finding=problem.finding)
                ledger.event("infrastructure", f"{submission.team}/{name}", problem=str(problem.finding))
                engine.wait_for(self.client, self.options.patience)
                engine.sweep(self.client, self._labels())
                if tries == protocol.retries:
                    raise InfrastructureError(problem.finding) from None
            except InfrastructureError as error:
                with suppress(Exception):  # the disk may be too full even for this line; the restart notes it then
                    ledger.finish(attempt, INFRA, finding=error.findings[0])
                raise
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise disk_full(self.campaign.root, error) from None
                raise
        raise AssertionError("unreachable")

    def forget(self, submission: Submission, protocol: ContainerProtocol, name: str) -> None:
        """Remove what a killed run moved into place but did not note; a failure now must not keep it."""
        folder = self.campaign.predictions_dir(submission)
        known = {"case": {one.id for one in self.campaign.manifest.cases}}
        for case in self._cases(name):
            for rule in protocol.outputs:
                for path in folder.glob(re.sub(r"\{[a-z][a-z0-9_]*\}", "*", rule.stored)):
                    readings = parse_name(rule.stored, path.relative_to(folder).as_posix(), known)
                    if readings and all(values.get("case", case.id) == case.id for values in readings):
                        path.unlink()

    def _cases(self, name: str) -> list[Case]:
        return [self.campaign.manifest[name]] if name else list(self.campaign.manifest.cases)

    def attempt(
        self, submission: Submission, protocol: ContainerProtocol, pinned: image.Pinned, name: str, work: Path
    ) -> Outcome:
        """Run one case (or the whole set) once in the folder ``work``, after the warm-up runs it may still need."""
        cases = self._cases(name)
        secret = self.campaign.secret
        names = stage.pseudonyms(protocol, cases, secret, submission.digest)
        if protocol.warm_up and not self._warm(submission):
            for _ in range(protocol.warm_up):
                warm = work.with_name(f"{work.name}-warm")
                try:
                    self._once(submission, protocol, pinned, cases, names, warm)
                finally:
                    stage.remove(warm)
            self.campaign.ledger.event("warm-up", submission.team, digest=submission.digest, run=self.run_id)
        return self._once(submission, protocol, pinned, cases, names, work)

    def _warm(self, submission: Submission) -> bool:
        return any(
            event["detail"].get("digest") == submission.digest and event["detail"].get("run") == self.run_id
            for event in self.campaign.ledger.events("warm-up")
        )

    def _once(
        self,
        submission: Submission,
        protocol: ContainerProtocol,
        pinned: image.Pinned,
        cases: list[Case],
        names: dict[str, str],
        work: Path,
    ) -> Outcome:
        placeholders = {**(cases[0].values if protocol.per == "case" else {}), "team": submission.team}
        if protocol.per == "case":
            placeholders["case"] = names[cases[0].id]
        gpus = find(int(parse_count(protocol.limits.gpus)), self.options.gpu_ids)
        if int(parse_count(protocol.limits.gpus)) and not gpus.handles:
            # A participant without a GPU can still see everything else; the hidden test says it in its records.
            gpus = Gpus((), [], gpus.status)
        empty = sandbox(protocol, pinned.engine_id, (), placeholders)
        cascades = self._cascades(submission, protocol)
        (work.parent).mkdir(parents=True, exist_ok=True)
        staged = stage.prepare(work, protocol, self.campaign.manifest, cases, names, empty.user, cascades)
        box = sandbox(
            protocol,
            pinned.engine_id,
            staged.binds,
            placeholders,
            gpus=gpus.ids,
            covered=covered(pinned.volumes, protocol),
            runtime=self.options.runtime,
        )
        where = submission.team + (f", case {cases[0].id}" if protocol.per == "case" else "")
        ended = execute(
            self.client,
            box,
            staged.output,
            where=where,
            labels=self._labels(),
            gpus=gpus,
            timing=protocol.timing,
            ready_line=protocol.ready_line,
        )
        return self._judge(protocol, cases, staged, ended, box, where)

    def _judge(
        self,
        protocol: ContainerProtocol,
        cases: list[Case],
        staged: stage.Stage,
        ended: Ended,
        box: Sandbox,
        where: str,
    ) -> Outcome:
        """Collect what the run left, unless it failed in a way that makes its files worthless."""
        problem = ended.problem
        if problem is not None:
            usage = shutil.disk_usage(staged.root)
            if usage.free < 1 << 20 and problem.code is not RunCode.OUTPUT_TOO_LARGE:
                text = "the host's disk was full when the run failed"
                raise infrastructure(EngineCode.HOST_DISK, where, text)
        kept = problem is None or (
            protocol.nonzero_exit == "keep" and problem.code in (RunCode.CRASH, RunCode.PIDS, RunCode.OOM)
        )
        collection = Collection()
        if kept:
            target = staged.root / "collected"
            collection = collect(staged, protocol, cases, target, self.checker, self.campaign.cases_dir)
            if problem is not None and not collection.problems:
                note = replace(problem, severity=Severity.WARNING)
                problem = None
                collection.note(note)
        notes = [*ended.notes, *collection.notes]
        if problem is not None or collection.problems:
            notes += diagnose(ended.log, where)
        return Outcome(ended, collection, box, problem, notes)

    def _cascades(self, submission: Submission, protocol: ContainerProtocol) -> dict[str, Path]:
        found = {}
        for mount in protocol.mounts:
            if mount.task is not None:
                before = self.campaign.submissions(task=mount.task, team=submission.team)
                if before:
                    found[mount.task] = self.campaign.predictions_dir(before[0])
        return found

    # -- results --

    def record(self, submission: Submission, name: str, attempt: int, outcome: Outcome, work: Path) -> Finding | None:
        """Move the files to their place, then note the result in one transaction: what is noted is on disk."""
        target = self.campaign.predictions_dir(submission)
        outputs = []
        for stored in outcome.collection.files:
            final = target / stored.path
            final.parent.mkdir(parents=True, exist_ok=True)
            (work / "collected" / stored.path).replace(final)
            outputs.append((stored.case, stored.path, stored.sha256, stored.bytes))
        problems = outcome.collection.problems
        worst = outcome.problem or (next(iter(problems.values())) if problems else None)
        detail = self._detail(name, attempt, outcome, problems)
        self._write_record(submission, name, attempt, outcome, detail)
        whole = outcome.problem or (worst if name else None)
        if whole is None and problems and len(problems) == len(self.campaign.manifest.cases):
            whole = worst
        self.campaign.ledger.finish(attempt, FAILED if whole else DONE, finding=whole, detail=detail, outputs=outputs)
        return worst

    def _detail(self, name: str, attempt: int, outcome: Outcome, problems: dict[str, Finding]) -> dict[str, Any]:
        ended = outcome.ended
        resources: dict[str, Any] = {"running_time": ended.wall, **ended.resources()}
        detail: dict[str, Any] = {
            "attempt": attempt,
            "exit_code": ended.exit_code,
            "resources": {key: (value if value == value else None) for key, value in resources.items()},
            "notes": [one.as_dict() for one in outcome.notes],
            "run": self.run_id,
            "medpodium": package_version(),
            "sources": source_hash(RUNNING_ROOMS),
        }
        if not name:
            detail["cases"] = {case: one.as_dict() for case, one in problems.items()}
        return detail

    def _write_record(
        self, submission: Submission, name: str, attempt: int, outcome: Outcome, detail: dict[str, Any]
    ) -> None:
        folder = self.campaign.runs_dir(submission) / (name or "all-cases") / f"{attempt:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_bytes(escape_log(outcome.ended.log))
        record = {**detail, "command": outcome.box.command_line(), "image": submission.digest}
        (folder / "run.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        if outcome.ended.curve.samples:
            outcome.ended.curve.write(folder / "curve.parquet")


def is_cascade(protocol: ContainerProtocol) -> bool:
    """Return whether a protocol mounts another task's predictions."""
    return any(mount.kind == "cascade" for mount in protocol.mounts)


def covered(volumes: tuple[str, ...], protocol: ContainerProtocol) -> tuple[str, ...]:
    """Return the VOLUME folders of an image that no mount of the protocol covers anyway."""
    taken = {mount.path.rstrip("/") for mount in protocol.mounts} | {"/tmp", ""}  # noqa: S108 - in the container
    clean = (os.path.normpath(volume) for volume in volumes if volume.startswith("/"))
    return tuple(path for path in clean if path not in taken and path != "/" and not path.startswith("/proc"))


def escape_log(log: bytes) -> bytes:
    """Return a log that is safe to print: every control character but the newline is escaped."""
    text = log.decode("utf-8", "backslashreplace")
    safe = (char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return "".join(safe).encode()


def machine_findings(protocol: ContainerProtocol, options: Options) -> list[Finding]:
    """Return a warning for everything the protocol hands out that this machine has less of."""
    found = []
    wanted = int(parse_count(protocol.limits.gpus))
    if wanted and not find(wanted, options.gpu_ids).handles:
        text = f"the protocol hands out {wanted} GPU(s), this machine has none: it runs without"
        found.append(finding(EngineCode.NO_GPU, "this machine", text, Severity.WARNING))
    have = os.cpu_count() or 1
    if parse_count(protocol.limits.cpus) > have:
        text = f"the protocol hands out {protocol.limits.cpus} processor cores, this machine has {have}"
        found.append(finding(EngineCode.FEWER_CPUS, "this machine", text, Severity.WARNING))
    return found
