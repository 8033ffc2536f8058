"""Run a campaign's containers on the workers of a cluster; this process alone writes the ledger.

Each worker needs its own container engine and sees the campaign folder and the hidden cases under the same paths. It
stages, runs and collects one piece of work below the campaign's ``work`` folder and sends back what happened; moving
the files to their place and noting the result stays here. A worker that dies costs the pieces it was running: they
are run again elsewhere, and its containers are killed by their leash.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, overload

from medpodium.challenges.campaign import work as pieces
from medpodium.challenges.campaign.cases import Manifest
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.ledger import INFRA, Attempt, Ledger
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.protocol import ContainerProtocol, parse_count
from medpodium.containers.failures import EngineCode, Retry, infrastructure
from medpodium.containers.intake import image
from medpodium.containers.run import results
from medpodium.containers.run.results import Outcome
from medpodium.containers.run.runner import Options, Report, Runner
from medpodium.containers.sandbox import engine, stage
from medpodium.containers.sandbox.leash import held
from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.scheduling.scheduler import Bound, Needs, Scheduler


@dataclass
class Snapshot:
    """What a worker has to know of the ledger; it has no way to write it.

    Parameters
    ----------
    secret : str
        The campaign's secret, for pseudonyms.
    rows : list of dict
        The active submissions.
    run : str
        Name of the run.
    kept : dict of int to list of Attempt
        Results of the submissions whose predictions others see.
    files : dict of int to list of dict
        What these results left, by attempt.
    """

    secret: str
    rows: list[dict[str, Any]]
    run: str
    kept: dict[int, list[Attempt]] = field(default_factory=dict)
    files: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def meta(self, key: str, default: str = "") -> str:
        """Return the secret; a worker needs nothing else."""
        return self.secret if key == "secret" else default

    def submissions(self) -> list[dict[str, Any]]:
        """Return the submissions as they were when the run began."""
        return self.rows

    def results(self, submission: int | None = None) -> list[Attempt]:
        """Return the results of a submission whose predictions others see."""
        return self.kept.get(submission or 0, [])

    def outputs(self, attempt: int) -> list[dict[str, Any]]:
        """Return what a result left."""
        return self.files.get(attempt, [])

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the warm-ups of this run on this machine."""
        found = Path(tempfile.gettempdir()).glob(f"medpodium-warm-{self.run}-*")
        details = [{"digest": path.read_text(encoding="utf-8"), "run": self.run} for path in found]
        return [{"kind": "warm-up", "detail": detail} for detail in details if kind == "warm-up"]

    def event(self, kind: str, subject: str = "", **detail: Any) -> None:
        """Remember a warm-up for this machine."""
        digest = str(detail.get("digest", subject))
        name = f"medpodium-warm-{self.run}-{digest.rpartition(':')[2][:32]}"
        (Path(tempfile.gettempdir()) / name).write_text(digest, encoding="utf-8")


@dataclass(frozen=True)
class Plan:
    """What all pieces of a run share."""

    root: Path
    challenge: Challenge
    manifest: Manifest
    snapshot: Snapshot
    options: Options


@dataclass(frozen=True)
class Piece:
    """One case of one submission (or its whole set, with an empty name), and the folder to work in."""

    submission: Submission
    name: str
    work: Path


def run_piece(plan: Plan, piece: Piece) -> Outcome | Finding:
    """Run one piece on a worker; the machine's own failure is returned as a finding, to be tried again."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = plan.options.gpu_ids or tuple(one for one in visible.split(",") if one.strip())
    stage.remove(piece.work)
    if not plan.root.is_dir():
        return infrastructure(EngineCode.ENGINE_ERROR, str(plan.root), "this worker does not see it").findings[0]
    try:
        campaign = Campaign(plan.root, plan.challenge, plan.manifest, cast("Ledger", plan.snapshot))
        runner = Runner(engine.connect(), campaign, replace(plan.options, gpu_ids=gpus))
        leash = f"{plan.snapshot.run}-{secrets.token_hex(4)}"
        runner.leash_id, runner.run_id = leash, plan.snapshot.run
        protocol = runner.fit(campaign.protocol(piece.submission.task))
        pinned = image.Pinned.from_dict(piece.submission.detail["image"])
        with held(leash, piece.work), runner.checker:
            runner.ask_engine({piece.submission.task})
            outcome = runner.attempt(piece.submission, protocol, pinned, piece.name, piece.work)
            runner.settle()  # what is mounted here is unmounted here
            return outcome
    except Retry as problem:
        return problem.finding
    except InfrastructureError as error:
        return error.findings[0]


@dataclass
class _Pieces(Sequence[Piece]):
    """Pieces in order; each begins its attempt in the ledger when a worker is about to get it."""

    campaign: Campaign
    wanted: list[tuple[Submission, str]]
    attempts: dict[int, int] = field(default_factory=dict)
    folders: dict[int, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.wanted)

    @overload
    def __getitem__(self, index: int) -> Piece: ...

    @overload
    def __getitem__(self, index: slice) -> list[Piece]: ...

    def __getitem__(self, index: int | slice) -> Piece | list[Piece]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        submission, name = self.wanted[index]
        if index not in self.attempts:
            key = self.campaign.keys(submission)[name]
            self.attempts[index] = self.campaign.ledger.start(submission.id, name, key)
            self.folders[index] = self.campaign.root / "work" / secrets.token_hex(8)
        return Piece(submission, name, self.folders[index])


class Fleet:
    """Runs the submissions of one campaign on many machines.

    Parameters
    ----------
    runner : Runner
        Opened by :meth:`Runner.session`; notes the results.
    scheduler : Scheduler
        Where containers run; one at a time per worker, so that timings are fair.
    """

    def __init__(self, runner: Runner, scheduler: Scheduler) -> None:
        self._runner = runner
        self._campaign = runner.campaign
        self._scheduler = scheduler

    def run(self, submissions: list[Submission], report: Report | None = None) -> None:
        """Run every pending piece; a submission's failure is recorded and never stops the run.

        Raises
        ------
        InfrastructureError
            When machines kept failing on a piece; everything else is done, and the same call goes on later.
        """
        problems: list[Finding] = []
        levels = {one.id: pieces.level(self._campaign, one.task) for one in submissions}
        for level in sorted(set(levels.values())):
            for protocol, entries in self._by_protocol([one for one in submissions if levels[one.id] == level]):
                problems += self._run(protocol, entries, report)
        if problems:
            raise InfrastructureError(*problems)

    def _by_protocol(self, submissions: list[Submission]) -> Iterator[tuple[ContainerProtocol, list[Submission]]]:
        """Group submissions that need the same."""
        groups: dict[str, tuple[ContainerProtocol, list[Submission]]] = {}
        for submission in submissions:
            protocol = self._campaign.protocol(submission.task)
            groups.setdefault(protocol.hash, (protocol, []))[1].append(submission)
        yield from groups.values()

    def _snapshot(self, submissions: list[Submission]) -> Snapshot:
        """Return what workers need to know, with the results that these submissions see."""
        campaign, ledger = self._campaign, self._campaign.ledger
        found = Snapshot(campaign.secret, ledger.submissions(), self._runner.run_id)
        todo = list(submissions)
        while todo:
            for one in filter(None, pieces.before(campaign, todo.pop()).values()):
                if one.id not in found.kept:
                    found.kept[one.id] = ledger.results(one.id)
                    found.files |= {result.id: ledger.outputs(result.id) for result in found.kept[one.id]}
                    todo.append(one)
        return found

    def _run(self, protocol: ContainerProtocol, submissions: list[Submission], report: Report | None) -> list[Finding]:
        campaign = self._campaign
        todo = _Pieces(campaign, [])
        for submission in submissions:
            todo.wanted += [(submission, name) for name in self._runner.runnable(submission, report)]
        snapshot = self._snapshot(submissions)
        plan = Plan(campaign.root.resolve(), campaign.challenge, campaign.manifest, snapshot, self._runner.options)
        needs = Needs(gpus=int(parse_count(protocol.limits.gpus)))
        problems = []
        for done in self._scheduler.run(Bound(run_piece, plan), todo, needs):
            submission, name = todo.wanted[done.index]
            attempt, work = todo.attempts.pop(done.index), todo.folders.pop(done.index)
            try:
                if isinstance(done.result, Outcome):
                    pieces.tidy(campaign, submission, name)
                    run = self._runner.run_id
                    found = results.record(campaign, run, submission, name, attempt, done.result, work)
                    if report is not None:
                        report(submission, name, found)
                    continue
                problem = done.result
                if problem is None:
                    text = done.error.summary if done.error else "no result"
                    where = f"{submission.team}, {name or 'all cases'}"
                    problem = infrastructure(EngineCode.ENGINE_ERROR, where, text).findings[0]
                campaign.ledger.finish(attempt, INFRA, finding=problem)
                problems.append(problem)
            finally:
                stage.remove(work)
        return problems
