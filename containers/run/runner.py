"""Run submissions on hidden cases, one at a time and resumable; the machine's failures are told from theirs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign import work as pieces
from medpodium.challenges.campaign.cases import Case
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.ledger import FAILED, INFRA, disk_failed
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.protocol import ContainerProtocol, parse_count
from medpodium.containers.failures import EngineCode, Retry, RunCode, finding
from medpodium.containers.intake import image
from medpodium.containers.run import results
from medpodium.containers.run.aftermath import Aftermath
from medpodium.containers.run.blame import answered
from medpodium.containers.run.checker import Checker
from medpodium.containers.run.execute import execute
from medpodium.containers.run.results import Outcome
from medpodium.containers.sandbox import bounds, engine, probe, stage
from medpodium.containers.sandbox.elsewhere import Platform
from medpodium.containers.sandbox.gpu import Gpus, find
from medpodium.containers.sandbox.leash import held
from medpodium.containers.sandbox.profile import LABEL, Sandbox, covered, sandbox
from medpodium.findings import Finding, InfrastructureError

ENGINE_PATIENCE = 60.0
"""Seconds that a run waits for a lost engine to come back."""

_OF_ONE_TEAM = (
    EngineCode.ENGINE_ERROR,
    EngineCode.IMAGE_ABSENT,
    EngineCode.IMAGE_CHANGED,
    EngineCode.INPUT_CHANGED,
    EngineCode.PREDICTION_CHANGED,
)
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
    elsewhere : Platform, optional
        Another platform, whose rules hold instead of the hidden test's: for a check of one's own image only.
    """

    gpu_ids: tuple[str, ...] = ()
    runtime: str | None = None
    keep_images: bool = False
    patience: float = ENGINE_PATIENCE
    elsewhere: Platform | None = None

    def rules(self, box: Sandbox, outputs: Path) -> Sandbox:
        """Return the profile to run under; what another platform opens needs outputs that any user can write."""
        if self.elsewhere is None:
            return box
        outputs.chmod(0o777)
        return self.elsewhere.applied(box)


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
        self.machine = probe.Answer()
        self._removals = engine.Removals()
        self._aftermath = Aftermath()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the campaign, clear what a killed run left behind, and keep the leash, for the length of a block."""
        self.campaign.ledger.lock()
        self._clear_leftovers()
        with held(self.leash_id, self.campaign.root / "work"), self.checker:
            if self.client is not None:
                self.ask_engine({one.task for one in self.campaign.submissions()})
            yield

    def ask_engine(self, tasks: set[str]) -> None:
        """Ask the engine what it sees and obeys, before anybody's container runs."""
        for task in sorted(tasks):
            box = sandbox(self.fit(self.campaign.protocol(task)), "", (), {}, runtime=self.options.runtime)
            try:
                self.machine = probe.ask(self.client, self.campaign.root / "work", box, self._labels())
            except Retry:
                engine.wait_for(self.client, self.options.patience)
                self.machine = probe.ask(self.client, self.campaign.root / "work", box, self._labels())

    def _labels(self) -> dict[str, str]:
        return {f"{LABEL}.campaign": self.campaign.secret[:16], f"{LABEL}.run": self.leash_id}

    def _clear_leftovers(self) -> None:
        if self.client is not None:
            engine.sweep(self.client, {f"{LABEL}.campaign": self.campaign.secret[:16]})
        left = self.campaign.ledger.interrupt_running()
        if left:
            self.campaign.ledger.event("resume", attempts=left)
        bounds.unmount_orphans()
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
        ordered = sorted(submissions, key=lambda one: (pieces.level(self.campaign, one.task), one.id))
        stuck: list[Finding] = []
        try:
            for submission in ordered:
                for step in (partial(self._run_submission, submission, report), self.settle):
                    try:
                        step()
                    except InfrastructureError as error:
                        if error.findings[0].code not in _OF_ONE_TEAM:
                            raise
                        stuck += error.findings  # an image that the engine cannot handle must not hold up the others
        except BaseException:
            with suppress(Exception):  # what stopped it is what has to be told
                self.settle()
            raise
        if stuck:
            raise InfrastructureError(*stuck)

    def settle(self) -> None:
        """Wait until what the runs so far left is looked at, noted and cleared away.

        Raises
        ------
        InfrastructureError
            When something could not be.
        """
        try:
            self._aftermath.wait()
        finally:
            self._clear()

    def _clear(self) -> None:
        try:
            self._removals.wait()
        except OSError as error:
            raise disk_failed(self.campaign.root, error) from None

    def runnable(self, submission: Submission, report: Report | None) -> list[str]:
        """Return the pieces that can be run now, in their order; what an earlier task decides is noted or left.

        A case that the team's earlier task has failed on is a failure without a run; what waits for an earlier task
        stays pending.
        """
        campaign = self.campaign
        campaign.predictions_dir(submission).mkdir(parents=True, exist_ok=True)
        pieces.tidy(campaign, submission)
        lost = pieces.lost_before(campaign, submission)
        waiting, keys, left = pieces.waiting(campaign, submission), campaign.keys(submission), []
        for name in campaign.pending(submission):
            if name in lost:
                cause = f"task {lost[name]!r} has no prediction of this case, and there is nothing to go on from"
                problem = finding(RunCode.CASCADE, f"{submission.team}, case {name}", cause)
                pieces.tidy(campaign, submission, name)
                attempt = campaign.ledger.start(submission.id, name, keys[name])
                campaign.ledger.finish(attempt, FAILED, finding=problem, detail={"attempt": attempt})
                if report is not None:
                    report(submission, name, problem)
            elif name not in waiting:
                left.append(name)
        protocol = campaign.protocol(submission.task)
        return stage.case_order(left, protocol, campaign.secret, submission.digest)

    def _run_submission(self, submission: Submission, report: Report | None) -> None:
        protocol = self.fit(self.campaign.protocol(submission.task))
        pinned = image.Pinned.from_dict(submission.detail["image"])
        names = self.runnable(submission, report)
        for name in names:
            if submission.id not in {one.id for one in self.campaign.submissions(team=submission.team)}:
                return  # it was replaced or taken out meanwhile
            self._one_piece(submission, protocol, pinned, name, report)
        if names and pinned.archive and not pinned.existed and not self.options.keep_images:
            self.settle()  # an image in use stays
            shared = [one for one in self.campaign.submissions() if one.digest == submission.digest]
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
        self,
        submission: Submission,
        protocol: ContainerProtocol,
        pinned: image.Pinned,
        name: str,
        report: Report | None,
    ) -> None:
        """Run one case (or the whole set) until its container has ended in a way that is the submission's own.

        Its files are looked at and noted while the next container runs, where that does not take its processors.
        """
        ledger, key = self.campaign.ledger, self.campaign.keys(submission)[name]
        pieces.tidy(self.campaign, submission, name)
        for tries in range(protocol.retries + 1):
            attempt = ledger.start(submission.id, name, key)
            work = self.campaign.root / "work" / secrets.token_hex(8)
            try:
                try:
                    left = self.contain(submission, protocol, pinned, name, work)
                except BaseException:
                    self._removals.then(stage.remove, work)
                    raise
            except Retry as problem:
                ledger.finish(attempt, INFRA, finding=problem.finding)
                ledger.event("infrastructure", f"{submission.team}/{name}", problem=str(problem.finding))
                engine.wait_for(self.client, self.options.patience)
                self._aftermath.join()  # the next try has the machine for itself
                with suppress(InfrastructureError):  # the sweep does what is left
                    self._clear()
                engine.sweep(self.client, self._labels())
                if tries == protocol.retries:
                    raise InfrastructureError(answered(problem.finding)) from None
            except (InfrastructureError, OSError) as error:
                raise self._lost(attempt, error) from None
            else:
                conclude = partial(self._conclude, submission, name, attempt, left, work, report)
                self._aftermath.begin(conclude, beside=self._has_room_beside(protocol))
                return
        raise AssertionError("unreachable")

    def _conclude(
        self,
        submission: Submission,
        name: str,
        attempt: int,
        left: Callable[[], Outcome],
        work: Path,
        report: Report | None,
    ) -> None:
        """Look at what a run left, note what it came to, and clear it away."""
        try:
            problem = results.record(self.campaign, self.run_id, submission, name, attempt, left(), work)
        except (InfrastructureError, OSError) as error:
            raise self._lost(attempt, error) from None
        finally:
            self._removals.then(stage.remove, work)
        if report is not None:
            report(submission, name, problem)
        self._clear()

    def _lost(self, attempt: int, error: InfrastructureError | OSError) -> InfrastructureError:
        """Note that the machine failed on a run; return what to raise."""
        lost = disk_failed(self.campaign.root, error) if isinstance(error, OSError) else error
        with suppress(Exception):  # the disk may be too full even for this line; the restart notes it then
            self.campaign.ledger.finish(attempt, INFRA, finding=lost.findings[0])
        return lost

    def _has_room_beside(self, protocol: ContainerProtocol) -> bool:
        """Return whether this machine has a processor that containers are not given: timings stay what they are."""
        return (os.cpu_count() or 1) > parse_count(protocol.limits.cpus)

    def _cases(self, name: str) -> list[Case]:
        return [self.campaign.manifest[name]] if name else list(self.campaign.manifest.cases)

    def attempt(
        self, submission: Submission, protocol: ContainerProtocol, pinned: image.Pinned, name: str, work: Path
    ) -> Outcome:
        """Run one case (or the whole set) once in the folder ``work``, and look at what it left."""
        return self.contain(submission, protocol, pinned, name, work)()

    def contain(
        self, submission: Submission, protocol: ContainerProtocol, pinned: image.Pinned, name: str, work: Path
    ) -> Callable[[], Outcome]:
        """Run one case (or the whole set) once in the folder ``work``, after the warm-up runs it may still need.

        The one method that needs an engine; whoever runs submissions otherwise (a test) replaces it.

        Returns
        -------
        callable
            Looks at what the ended container left; may be called in another thread, once.
        """
        image.verify(self.client, pinned, protocol, submission.team)
        cases = self._cases(name)
        secret = self.campaign.secret
        names = stage.pseudonyms(protocol, cases, secret, submission.digest)
        if protocol.warm_up and not self._warm(submission):
            self._aftermath.join()
            for _ in range(protocol.warm_up):
                warm = work.with_name(f"{work.name}-warm")
                try:
                    self._once(submission, protocol, pinned, cases, names, warm)()
                finally:
                    self._removals.then(stage.remove, warm)
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
    ) -> Callable[[], Outcome]:
        placeholders = {**(cases[0].values if protocol.per == "case" else {}), "team": submission.team}
        if protocol.per == "case":
            placeholders["case"] = names[cases[0].id]
        gpus = find(int(parse_count(protocol.limits.gpus)), self.options.gpu_ids)
        if int(parse_count(protocol.limits.gpus)) and not gpus.handles:
            # A participant without a GPU can still see everything else; the hidden test says it in its records.
            gpus = Gpus((), [], gpus.status)
        empty = sandbox(protocol, pinned.engine_id, (), placeholders)
        cascades = self.cascades(submission)
        (work.parent).mkdir(parents=True, exist_ok=True)
        bounded = self.machine.bounded
        if not stage.has_room(work.parent, protocol, cases):
            self.settle()  # the last runs' files may take the room of this one's
        staged = stage.prepare(
            work, protocol, self.campaign.manifest, cases, names, empty.user, cascades, bounded=bounded
        )
        box = sandbox(
            protocol,
            pinned.engine_id,
            staged.binds,
            placeholders,
            gpus=gpus.ids,
            covered=covered(pinned.volumes, protocol),
            runtime=self.options.runtime,
            user=self.machine.user,
            seccomp=probe.seccomp(self.machine.filter, staged.root),
        )
        box = self.options.rules(box, staged.output)
        where = submission.team + (f", case {cases[0].id}" if protocol.per == "case" else "")
        ended = execute(
            self.client,
            box,
            staged.outputs,
            where=where,
            labels=self._labels(),
            gpus=gpus,
            timing=protocol.timing,
            ready_line=protocol.ready_line,
            removals=self._removals,
        )

        def look() -> Outcome:
            found = results.judge(self.campaign, self.checker, protocol, cases, staged, ended, box, submission)
            # here, not by whoever removes the folder: that may be another machine
            self._removals.then(bounds.unmount_below, staged.root)
            return found

        return look

    def cascades(self, submission: Submission) -> dict[str, stage.Cascade]:
        """Return what the same team's earlier tasks left, by task."""
        found = {}
        for task, one in pieces.before(self.campaign, submission).items():
            if one is not None:
                patterns = tuple(rule.stored for rule in self.campaign.protocol(one.task).outputs)
                files = pieces.state(self.campaign, one).files
                found[task] = stage.Cascade(self.campaign.predictions_dir(one), patterns, files)
        return found
