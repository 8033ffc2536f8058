"""A look at a campaign that is running, from its ledger alone: no other file is read, and nothing is written."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign.ledger import DONE, FAILED, FINAL, INFRA, RUNNING, LedgerCode
from medpodium.findings import Finding, InfrastructureError, UsageError

PENDING = "pending"
_GRACE = 900.0
"""Seconds beyond its time limit after which a run that is noted as running is not believed any more."""


@dataclass(frozen=True)
class Piece:
    """One case of a submission, or its whole set under an empty name.

    Parameters
    ----------
    case, state : str
        What, and ``pending``, ``running``, ``done`` or ``failed``.
    code, cause : str
        Why it failed; why a pending one has no result, where there is more to say than that it was not run.
    seconds : float
        How long it took, or takes so far; nan where unknown.
    memory : float
        Peak memory in MB; nan where it was not measured.
    """

    case: str
    state: str
    code: str = ""
    cause: str = ""
    seconds: float = float("nan")
    memory: float = float("nan")


@dataclass(frozen=True)
class Line:
    """One submission.

    Parameters
    ----------
    team, task, phase
        Who, of which container protocol, and how many tasks have to be run before.
    pieces : tuple of Piece
        One per case, or one for the whole set.
    limit_seconds, limit_memory : float
        What a run may take: s, and MB.
    left : float
        Seconds until its pending pieces are done, one after the other, at the pace so far; nan where unknown.
    """

    team: str
    task: str
    phase: int
    pieces: tuple[Piece, ...]
    limit_seconds: float
    limit_memory: float
    left: float = float("nan")

    def count(self, state: str) -> int:
        """Return how many pieces are in a state."""
        return sum(piece.state == state for piece in self.pieces)


@dataclass(frozen=True)
class Glance:
    """A campaign at one moment.

    Parameters
    ----------
    challenge : str
        Its reference.
    time : str
        When (UTC, ISO 8601).
    lines : tuple of Line
        Submissions in the order in which they are run.
    out : tuple of str
        Teams that withdrew or were disqualified, with the reason.
    left : float
        Seconds until everything is done at the present pace; 0 if it is, nan where unknown.
    """

    challenge: str
    time: str
    lines: tuple[Line, ...]
    out: tuple[str, ...] = ()
    left: float = float("nan")


@dataclass
class _Rows:
    meta: dict[str, str] = field(default_factory=dict)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    attempts: dict[int, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    out: list[dict[str, Any]] = field(default_factory=list)


def look(path: Path) -> Glance:
    """Look at a campaign.

    Parameters
    ----------
    path : Path
        Its folder, or its ledger (a copy will do).

    Raises
    ------
    UsageError
        If there is no ledger, or one of an earlier version.
    InfrastructureError
        If it cannot be read.
    """
    file = path / "ledger.sqlite" if path.is_dir() else path
    if not file.is_file():
        problem = Finding(LedgerCode.ABSENT, str(path), "no ledger here", "give a campaign folder, or its ledger")
        raise UsageError(problem)
    try:
        with _opened(file) as db:
            rows = _read(db)
    except sqlite3.Error as error:
        fix = "give a campaign's ledger.sqlite, and the files beside it"
        raise InfrastructureError(Finding(LedgerCode.DAMAGED, str(file), str(error), fix)) from None
    if "overview" not in rows.meta:
        fix = "use 'medpodium status', which reads the folder"
        problem = Finding(LedgerCode.ABSENT, str(file), "is a ledger of an earlier version", fix)
        raise UsageError(problem)
    return _glance(json.loads(rows.meta["overview"]), rows)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger without writing: where nobody has it open as it is, else shared; a copy where neither can be."""
    log = file.with_name(file.name + "-wal")
    ways = ["immutable=1"] if not log.is_file() else ["mode=ro"]
    for way in ways:
        try:
            with closing(sqlite3.connect(f"{file.resolve().as_uri()}?{way}", uri=True, timeout=5)) as db:
                db.execute("SELECT 1 FROM meta").fetchone()
                yield db
                return
        except sqlite3.OperationalError:
            continue
    with tempfile.TemporaryDirectory(prefix="medpodium-") as temporary:
        copy = Path(temporary) / "ledger.sqlite"
        shutil.copyfile(file, copy)
        if log.is_file():
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
        with closing(sqlite3.connect(copy)) as db:
            yield db


def _read(db: sqlite3.Connection) -> _Rows:
    db.execute("BEGIN")  # one moment, however many questions

    def ask(query: str) -> list[dict[str, Any]]:
        cursor = db.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    found = _Rows({row["key"]: row["value"] for row in ask("SELECT key, value FROM meta WHERE key = 'overview'")})
    found.submissions = ask("SELECT id, team, task FROM submission WHERE active = 1 ORDER BY id")
    for row in ask("SELECT * FROM attempt ORDER BY id"):
        found.attempts.setdefault(int(row["submission"]), {}).setdefault(str(row["case_id"]), []).append(row)
    if ask("SELECT 1 FROM sqlite_master WHERE name = 'exclusion'"):
        found.out = ask("SELECT team, task, kind, reason, time FROM exclusion WHERE lifted IS NULL ORDER BY id")
    return found


def _glance(known: dict[str, Any], rows: _Rows) -> Glance:
    now = datetime.now(timezone.utc)
    containers: dict[str, Any] = known["containers"]
    lone = next(iter(containers)) if len(containers) == 1 else ""
    answers = {task: own or lone for task, own in known["tasks"].items()} | {name: name for name in containers}

    def phase(name: str, above: tuple[str, ...] = ()) -> int:
        nexts = [answers.get(task, "") for task in containers[name]["sees"]]
        return max(
            (1 + phase(one, (*above, name)) for one in nexts if one in containers and one not in above), default=0
        )

    lines = []
    for entry in rows.submissions:
        own = containers[entry["task"]]
        earlier = [
            rows.attempts.get(other["id"], {})
            for task in own["sees"]
            for other in rows.submissions
            if other["team"] == entry["team"] and other["task"] == answers.get(task) and other["id"] != entry["id"]
        ]
        mine = rows.attempts.get(entry["id"], {})
        names = [""] if own["per"] == "set" else known["cases"]
        pieces = tuple(_piece(name, mine.get(name, []), earlier, float(own["seconds"]), now) for name in names)
        limits = float(own["seconds"]), float(own["memory"]) / 1e6
        lines.append(Line(entry["team"], entry["task"], phase(entry["task"]), pieces, *limits))
    lines.sort(key=lambda line: line.phase)
    lines = [_with_pace(line, lines) for line in lines]
    waiting = sum(line.left for line in lines)
    at_once = max(1, sum(line.count(RUNNING) for line in lines))
    words = [
        f"{row['team']} ({row['task']}) was {row['kind']} on {row['time'][:10]}: {row['reason']}" for row in rows.out
    ]
    stamp = now.isoformat(timespec="seconds")
    return Glance(known["challenge"], stamp, tuple(lines), tuple(words), waiting / at_once)


def _piece(
    name: str,
    attempts: list[dict[str, Any]],
    earlier: list[dict[str, list[dict[str, Any]]]],
    limit: float,
    now: datetime,
) -> Piece:
    known = [row for row in attempts if row["state"] in (*FINAL, RUNNING)]
    if not known:
        machine = attempts[-1]["cause"] if attempts and attempts[-1]["state"] == INFRA else ""
        return Piece(name, PENDING, cause=f"the machine failed: {machine}" if machine else "")
    row = known[-1]
    began = datetime.fromisoformat(row["started"])
    if row["state"] == RUNNING:
        seconds = (now - began).total_seconds()
        if seconds > limit + _GRACE:
            return Piece(name, PENDING, cause="was running when its process ended")
        return Piece(name, RUNNING, seconds=seconds)
    before = [one for cases in earlier for case in {name, ""} for one in cases.get(case, []) if one["state"] in FINAL]
    if any(one["ended"] > row["started"] for one in before if one["ended"]):
        return Piece(name, PENDING, cause="what it sees has changed since it was run")
    detail = json.loads(row["detail"])
    memory = detail.get("resources", {}).get("peak_memory")
    seconds = (datetime.fromisoformat(row["ended"]) - began).total_seconds() if row["ended"] else float("nan")
    state = FAILED if row["state"] == FAILED else DONE
    cases = detail.get("cases", {})
    cause = row["cause"] or (f"{len(cases)} case(s) have no usable output" if cases else "")
    code = row["code"] or ""
    return Piece(name, state, code, cause, seconds, float("nan") if memory is None else float(memory))


def _with_pace(line: Line, lines: list[Line]) -> Line:
    """Return a line with the time that its pending pieces take, at its own pace or that of its task or of all."""
    todo = line.count(PENDING) + line.count(RUNNING)
    if not todo:
        return Line(*_fields(line), left=0.0)
    for peers in ([line], [one for one in lines if one.task == line.task], lines):
        known = [piece.seconds for one in peers for piece in one.pieces if piece.state in FINAL]
        if known:
            mean = sum(known) / len(known)
            begun = sum(min(piece.seconds, mean) for piece in line.pieces if piece.state == RUNNING)
            return Line(*_fields(line), left=todo * mean - begun)
    return line


def _fields(line: Line) -> tuple[str, str, int, tuple[Piece, ...], float, float]:
    return line.team, line.task, line.phase, line.pieces, line.limit_seconds, line.limit_memory
