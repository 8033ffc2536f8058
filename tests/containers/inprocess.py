"""Whole campaigns without an engine: a runner whose containers are functions, and a process that dies where it is told.

``World`` is an organizer's desk: hidden cases, references, teams, and every verb, called as the command line calls it.
What a container would do follows from its image's number and the case alone, so that two campaigns with the same final
state have the same scores, whatever happened on the way.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.challenges import registry
from medpodium.challenges.campaign import archives, exclusions, growth, manifests, truth, work
from medpodium.challenges.campaign import cases as case_files
from medpodium.challenges.campaign import folder as campaigns
from medpodium.containers.failures import RunCode, finding
from medpodium.containers.run.collect import Collection, Stored
from medpodium.containers.run.execute import Ended
from medpodium.containers.run.results import Outcome
from medpodium.containers.run.runner import Runner
from medpodium.containers.sandbox import monitor
from medpodium.containers.sandbox.profile import sandbox
from medpodium.findings import InfrastructureError
from medpodium.scoring import rescoring
from medpodium.scoring.scheduling.scheduler import ThreadScheduler

PATTERNS = ["{case}.nii.gz"]
SHAPE = (4, 6, 6)
ROOMS = ("challenges/campaign", "containers/run/", "scoring/campaign.py", "scoring/rescoring.py", "scoring/table.py")


def challenge(tiny: Any, *, measured: bool = True) -> dict[str, Any]:
    """Return a challenge with two phases (lesions see the organs) and one container that gets the whole set."""
    data = json.loads(json.dumps(tiny.CHALLENGE))
    task, first = data["tasks"]["segmentation"], data["containers"]["default"]
    if measured:
        task["metrics"]["time"] = {"kind": "running_time", "missing": 20.0}
    names = ("organs", "lesions", "atlas")
    data["tasks"] = {name: {**json.loads(json.dumps(task)), "container": name} for name in names}
    cascade = {"path": "/before", "kind": "cascade", "task": "organs"}
    second = json.loads(json.dumps(first)) | {"mounts": [first["mounts"][0], cascade, first["mounts"][1]]}
    third = json.loads(json.dumps(first)) | {"per": "set"}
    data["containers"] = {"organs": first, "lesions": second, "atlas": third}
    data["tasks"]["atlas"]["metrics"].pop("time", None)
    data["ranking"] = dict.fromkeys(names, "mean")
    return data


def image(number: int) -> str:
    """Return the digest of an image."""
    return "sha256:" + hashlib.sha256(f"image {number}".encode()).hexdigest()


class InProcess(Runner):
    """A runner whose containers are functions of the image's digest, the case and what it sees."""

    def __init__(self, campaign: Any, tiny: Any) -> None:
        super().__init__(None, campaign)
        self.tiny = tiny
        self.executed: list[tuple[str, str, str]] = []

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the campaign and clear up, as with an engine."""
        self.campaign.ledger.lock()
        self._clear_leftovers()
        yield

    def contain(self, submission: Any, protocol: Any, pinned: Any, name: str, work: Path) -> Callable[[], Outcome]:
        """Do what the image does, and leave what a container would have left."""
        self.executed.append((submission.team, submission.task, name))
        earlier = self.cascades(submission)
        problems: dict[str, Any] = {}
        files: dict[str, bytes] = {}
        problem = None
        seed = int(submission.digest[7:15], 16)
        for case in self._cases(name):
            chance = int(hashlib.sha256(f"{seed} {case.id}".encode()).hexdigest(), 16) % 8
            if chance == 0:
                problem = finding(RunCode.CRASH, case.id, "exit code 3")
                problems[case.id] = problem
                continue
            if chance == 1:
                problems[case.id] = finding(RunCode.MISSING, case.id, "no file")
                continue
            seen = [digest for given in earlier.values() for _, digest in given.files.get(case.id, [])]
            shift = int(hashlib.sha256(json.dumps([seed % 3, seen]).encode()).hexdigest(), 16) % 3
            files[case.id] = self.tiny.nifti(np.roll(picture(case.id), shift, axis=2))
        return lambda: outcome(work, protocol, files, problem if name else None, problems, 1.0 + seed % 7)


def outcome(
    work: Path,
    protocol: Any,
    files: dict[str, bytes],
    problem: Any = None,
    problems: dict[str, Any] | None = None,
    seconds: float = 1.0,
) -> Outcome:
    """Return what a container came to that left these predictions."""
    (work / "collected").mkdir(parents=True)
    collection = Collection(problems=problems or {})
    for case, data in files.items():
        target = work / "collected" / f"{case}.nii.gz"
        target.write_bytes(data)
        collection.files.append(Stored(case, target.name, hashlib.sha256(data).hexdigest(), len(data)))
    ended = Ended(3 if problem else 0, problem, seconds, 0.0, seconds, monitor.Curve(), b"", log_cut=False)
    return Outcome(ended, collection, sandbox(protocol, "", (), {}), problem)


def picture(case: str, version: int = 0) -> np.ndarray:
    """Return what is true of a case, or was thought to be."""
    rng = np.random.default_rng(int(hashlib.sha256(f"{case} {version}".encode()).hexdigest()[:8], 16))
    array = np.zeros(SHAPE, np.uint8)
    low = rng.integers(0, 2, 3)
    array[low[0] : low[0] + 2, low[1] : low[1] + 3 + version % 2, low[2] : low[2] + 3] = 1
    array[low[0], low[1] + 1, low[2] + 1] = 2
    return array


@dataclass
class World:
    """Folders of hidden data, a campaign, and what an organizer does."""

    tiny: Any
    place: Path
    root: Path = field(init=False)
    versions: dict[str, int] = field(default_factory=dict)
    executed: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.place / "campaign"
        for folder in (self.images, self.labels):
            folder.mkdir(parents=True, exist_ok=True)
        self.file = self.place / "challenge.yaml"
        self.file.write_text(json.dumps(challenge(self.tiny)))
        self.loaded = registry.load(self.file)

    @property
    def images(self) -> Path:
        return self.place / "images"

    @property
    def labels(self) -> Path:
        return self.place / "labels"

    def put(self, *cases: str) -> None:
        """Lay new cases into the folders."""
        for case in cases:
            self.versions[case] = 0
            data = self.tiny.nifti(picture(case))
            (self.images / f"{case}_0000.nii.gz").write_bytes(data)
            (self.labels / f"{case}.nii.gz").write_bytes(data)

    def correct(self, case: str) -> None:
        """Write another reference of a case."""
        self.versions[case] += 1
        data = self.tiny.nifti(picture(case, self.versions[case]))
        (self.labels / f"{case}.nii.gz").write_bytes(data)

    def stock(self) -> case_files.Manifest:
        found, findings = case_files.build(
            self.loaded.containers["organs"], self.images, self.labels, PATTERNS, None, PATTERNS
        )
        assert not [one for one in findings if one.severity == "error"], findings
        return found

    def make(self, root: Path | None = None, cases: set[str] | None = None) -> None:
        manifest = self.stock()
        if cases is not None:
            manifest = replace(manifest, cases=tuple(case for case in manifest.cases if case.id in cases))
        campaigns.create(root or self.root, self.loaded, manifest).close()

    # -- verbs, as the command line calls them --

    def submit(self, team: str, task: str, number: int, root: Path | None = None) -> None:
        with campaigns.opened(root or self.root) as campaign:
            exclusions.admit(campaign, team, task)
            digest = image(number)
            record = {"digest": digest, "engine_id": digest, "tag": "t:1", "layers": [], "volumes": [], "bytes": 1}
            campaign.ledger.add_submission(team, task, digest, {"image": record, "findings": []}, f"image {number}")

    def exclude(self, team: str, kind: str) -> None:
        with campaigns.opened(self.root) as campaign:
            exclusions.exclude(campaign, team, None, kind, "a reason")

    def reinstate(self, team: str) -> None:
        with campaigns.opened(self.root) as campaign:
            exclusions.reinstate(campaign, team, None, "an appeal")

    def run(self, root: Path | None = None, teams: tuple[str, ...] = ()) -> int:
        with campaigns.opened(root or self.root) as campaign:
            runner = InProcess(campaign, self.tiny)
            with runner.session():
                runner.run([one for one in campaign.submissions() if not teams or one.team in teams])
            return len(runner.executed)

    def rerun(self) -> int:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
            return sum(len(work.retry(campaign, one, "the machine was slow")) for one in campaign.submissions())

    def update(self) -> None:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
            manifest, changed = truth.update(campaign, self.labels, PATTERNS)
            truth.keep(campaign, manifest, changed, "a mistake")

    def add(self) -> None:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
            manifest, names, findings = growth.joined(campaign, self.stock())
            assert not findings, findings
            if names:
                growth.add(campaign, manifest, names, "more")

    def remove(self, case: str) -> None:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
            if case in campaign.case_names():
                growth.remove(campaign, [case], "wrong patient")

    def score(self, *, root: Path | None = None, out: Path | None = None) -> rescoring.Done:
        return rescoring.score_campaign(root or self.root, rescoring.Ask(out=out, place=ThreadScheduler()))

    def move(self, target: Path) -> None:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
        archives.move(self.root, target)
        with campaigns.opened(target) as campaign:
            manifests.change(campaign, campaign.manifest, "move", str(target))

    def archive(self, file: Path, *, data: bool = False) -> None:
        with campaigns.opened(self.root) as campaign:
            campaign.ledger.lock()
            truth.verify(campaign, campaign.submissions(), PATTERNS)
            archives.write(campaign, file, data=data, images=False)

    def found(self) -> None:
        """Go to where the campaign is, after a move that may have been killed."""
        if not campaigns.is_campaign(self.root):
            there = [path for path in self.place.glob("campaign*") if campaigns.is_campaign(path)]
            self.root = there[0] if there else self.root


def dying(action: Callable[[], object], line: int) -> bool:
    """Do something in a process of its own that is killed at the n-th line it executes in the rooms of campaigns.

    Returns
    -------
    bool
        Whether it was killed; false if it ended before.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        count = 0

        def step(frame: Any, event: str, _: object) -> Any:
            nonlocal count
            if event == "line":
                count += 1
                if count >= line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return step

        def enter(frame: Any, event: str, _: object) -> Any:
            return step if any(room in frame.f_code.co_filename for room in ROOMS) else None

        threading.settrace(enter)  # what is done beside the next run, too
        sys.settrace(enter)
        try:
            action()
        except BaseException:
            sys.settrace(None)
            import traceback

            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the verb failed where it should only have been killed"
    return False


def failing(action: Callable[[], object], number: int, error: int, root: Path) -> str:
    """Do something in a process of its own in which the n-th write to a campaign's disk fails.

    Parameters
    ----------
    number, error : int
        Which write, and the ``errno`` it fails with: files opened to be written, renamed and made below ``root``, and
        statements of the ledger.
    root : Path
        The disk.

    Returns
    -------
    str
        Empty if it ended before; else the names of the errors it ended with (``disk-full``).
    """
    sys.stdout.flush()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        count = 0

        def fails() -> bool:
            nonlocal count
            count += 1
            return count == number

        def hook(event: str, given: tuple[Any, ...]) -> None:
            writes = event in ("os.rename", "os.mkdir") or (
                event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if writes and str(root) in str(given[0]) and fails():
                raise OSError(error, os.strerror(error), str(given[0]))

        class Faulty(sqlite3.Connection):
            def execute(self, sql: str, *given: Any) -> Any:
                if sql.startswith(("BEGIN I", "INSERT", "UPDATE", "COMMIT")) and fails():
                    full = error == errno.ENOSPC
                    raise sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
                return super().execute(sql, *given)

        sys.addaudithook(hook)
        connect = sqlite3.connect
        sqlite3.connect = lambda *given, **more: connect(*given, **{**more, "factory": Faulty})
        said, code = b"", 0
        try:
            action()
        except InfrastructureError as lost:
            said = " ".join(str(one.code) for one in lost.findings).encode()
        except OSError as lost:
            said = f"disk-error {lost.errno}".encode()
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 2
        os.write(sending, said)
        os._exit(code)
    os.close(sending)
    with os.fdopen(receiving, "rb") as stream:
        said = stream.read().decode()
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 0, "the verb failed in another way than it should"
    return said


def check(root: Path, *, references: bool = True) -> None:
    """Hold what is true of every campaign at any time but while somebody works on it.

    Every result is there once, everything that was collected is in its place or set aside with the bytes that were
    noted, and what lies in the place of predictions is what counts (once it was tidied).
    """
    with campaigns.opened(root) as campaign:
        ledger = campaign.ledger
        keys = [(one.submission, one.work_key) for one in ledger.results()]
        assert len(keys) == len(set(keys)), "a result is there twice"
        rows = {row["id"]: row for row in ledger.submissions(active=False)}
        final = ("done", "failed", "superseded")
        for attempt in ledger.attempts():
            if attempt["state"] not in final:
                continue
            row = rows[attempt["submission"]]
            entry = work.Submission(row["id"], row["team"], row["task"], row["digest"], row["detail"])
            aside = root / "superseded" / entry.folder / f"{attempt['id']:06d}"
            for output in ledger.outputs(attempt["id"]):
                places = (campaign.predictions_dir(entry) / output["path"], aside / output["path"])
                hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in places if path.is_file()]
                assert output["sha256"] in hashes, f"lost: {places[0]}"
        truth.verify(campaign, campaign.submissions(), PATTERNS, references=references)
