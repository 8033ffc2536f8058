"""The campaign's ledger: SQLite in WAL mode, one row per submission, attempt, output and event.

Work is keyed by image digest, case hash and protocol hash (:func:`work_key`). A result is written in one transaction,
and a unique index allows one result per submission and key, so a process killed at any point loses at most the case it
was running and the one whose outputs it was looking at, which are run again, and never counts one twice. What an
organizer does is one transaction with the event that says why.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medpodium.challenges.sources import package_version, source_hash
from medpodium.findings import Code, Finding, InfrastructureError, UsageError

RUNNING, DONE, FAILED, INFRA, INTERRUPTED = "running", "done", "failed", "infra", "interrupted"
SUPERSEDED = "superseded"
"""Was a result, until somebody had it made again."""
FINAL = (DONE, FAILED)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS submission (
    id INTEGER PRIMARY KEY, team TEXT NOT NULL, task TEXT NOT NULL, digest TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1, created TEXT NOT NULL, detail TEXT NOT NULL,
    UNIQUE (team, task, digest));
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY, submission INTEGER NOT NULL REFERENCES submission(id), case_id TEXT NOT NULL,
    work_key TEXT NOT NULL, state TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
    code TEXT, cause TEXT, fix TEXT, detail TEXT NOT NULL DEFAULT '{}');
CREATE UNIQUE INDEX IF NOT EXISTS one_result ON attempt (submission, work_key)
    WHERE state IN ('done', 'failed');
CREATE TABLE IF NOT EXISTS output (
    attempt INTEGER NOT NULL REFERENCES attempt(id), case_id TEXT NOT NULL, path TEXT NOT NULL,
    sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (attempt, path));
CREATE TABLE IF NOT EXISTS exclusion (
    id INTEGER PRIMARY KEY, team TEXT NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    time TEXT NOT NULL, submission INTEGER REFERENCES submission(id), lifted TEXT, lifted_reason TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS one_exclusion ON exclusion (team, task) WHERE lifted IS NULL;
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    detail TEXT NOT NULL);
"""


class LedgerCode(Code):
    """What can be wrong with a ledger."""

    DISK_FULL = "disk-full"
    DISK_ERROR = "disk-error"
    BUSY = "campaign-busy"
    DAMAGED = "ledger-damaged"
    """A line of the campaign's ledger cannot be read."""
    ABSENT = "campaign-absent"


@dataclass(frozen=True)
class Attempt:
    """One run of a submission on a case (or, with an empty case, on the whole set)."""

    id: int
    submission: int
    case: str
    work_key: str
    state: str
    code: str | None
    cause: str | None
    fix: str | None
    detail: dict[str, Any]


def now() -> str:
    """Return the present time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def work_key(digest: str, case_hash: str, protocol_hash: str) -> str:
    """Return the key of a piece of work: SHA-256 over image digest, case hash and protocol hash."""
    return hashlib.sha256(f"{digest}\n{case_hash}\n{protocol_hash}".encode()).hexdigest()


def disk_full(where: Path, cause: object) -> InfrastructureError:
    """Return the error for a full disk, saying what is free and how to go on."""
    free = "unknown"
    with suppress(OSError):
        free = f"{shutil.disk_usage(where).free / 2**20:.0f} MiB"
    text = f"no space left ({cause}); {free} free"
    return InfrastructureError(
        Finding(LedgerCode.DISK_FULL, str(where), text, "free some space, then run the same command again")
    )


def disk_failed(where: Path, error: OSError) -> InfrastructureError:
    """Return the error for a file that could not be read or written: the disk is full, or something else is wrong."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(where, error)
    fix = "look at the disk (dmesg) and its rights, then run the same command again; nothing is half done"
    place = str(error.filename or where)
    return InfrastructureError(Finding(LedgerCode.DISK_ERROR, place, error.strerror or str(error), fix))


class Ledger:
    """The SQLite file of a campaign.

    Parameters
    ----------
    path : Path
        The database; made if absent when ``create`` is true.
    create : bool
        Whether to make a new one.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise UsageError(
                Finding(LedgerCode.ABSENT, str(path), "no ledger here", "make a campaign with 'medpodium init'")
            )
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None
        self._one = threading.RLock()
        """Held while a thread reads or writes: a run's result is noted while the next run begins."""
        with self._errors():
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)

    @property
    def db(self) -> sqlite3.Connection:
        """The open connection."""
        if self._db is None:
            raise ValueError("the ledger is closed")
        return self._db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            text = str(error)
            if "full" in text:
                raise disk_full(self.path.parent, error) from None
            if any(words in text for words in ("disk I/O", "unable to open", "readonly", "locked")):
                fix = "look at the disk (dmesg) and its rights, then run the same command again; nothing is half done"
                raise InfrastructureError(Finding(LedgerCode.DISK_ERROR, str(self.path), text, fix)) from None
            fix = "restore it from a copy; the predictions beside it are untouched"
            raise InfrastructureError(Finding(LedgerCode.DAMAGED, str(self.path), text, fix)) from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one: all of them are on disk afterwards, or none."""
        with self._one, self._errors():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the database and give up the exclusive lock, if held."""
        for connection in (self._db, self._lock):
            if connection is not None:
                connection.close()
        self._db = self._lock = None

    def lock(self) -> None:
        """Hold the campaign for this process alone; the system gives the lock back when the process dies.

        Raises
        ------
        InfrastructureError
            When another process holds it.
        """
        lock = sqlite3.connect(self.path.with_name("lock.sqlite"), timeout=0, isolation_level=None)
        try:
            lock.execute("PRAGMA journal_mode=MEMORY")
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if "locked" not in str(error):
                raise disk_full(self.path.parent, error) from None
            fix = "wait for the other 'medpodium run' or stop it, then run this command again"
            finding = Finding(LedgerCode.BUSY, str(self.path.parent), "another process runs this campaign", fix)
            raise InfrastructureError(finding) from None
        self._lock = lock

    def unlock(self) -> None:
        """Give up the exclusive lock before the ledger is closed."""
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    # -- facts about the campaign --

    def set_meta(self, **values: str) -> None:
        """Store facts about the campaign."""
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def meta(self, key: str, default: str = "") -> str:
        """Return a fact about the campaign."""
        with self._one, self._errors():
            row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def event(self, kind: str, subject: str = "", **detail: Any) -> None:
        """Append an event with its time, and with the version and the sources of the package that did it."""
        with self.transaction() as db:
            note(db, kind, subject, **detail)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the events, oldest first."""
        rows = self.rows("SELECT time, kind, subject, detail FROM event ORDER BY id")
        found = [dict(row) | {"detail": json.loads(row["detail"])} for row in rows]
        return [event for event in found if kind is None or event["kind"] == kind]

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Return what a query finds, each row by the names of its columns."""
        with self._one, self._errors():
            cursor = self.db.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    # -- submissions --

    def add_submission(self, team: str, task: str, digest: str, detail: dict[str, Any], source: str = "") -> int:
        """Register a submission; it replaces the team's earlier one for this task, whose results stay.

        A team that had withdrawn takes part again; a disqualified one has to be reinstated first (see
        :mod:`medpodium.challenges.campaign.exclusions`).
        """
        with self.transaction() as db:
            lifted = "UPDATE exclusion SET lifted = ?, lifted_reason = ? WHERE team = ? AND task = ? AND lifted IS NULL"
            db.execute(lifted, (now(), "submitted again", team, task))
            db.execute("UPDATE submission SET active = 0 WHERE team = ? AND task = ?", (team, task))
            db.execute(
                "INSERT INTO submission (team, task, digest, active, created, detail) "
                "VALUES (?, ?, ?, 1, ?, ?) "
                "ON CONFLICT (team, task, digest) DO UPDATE SET active = 1, detail = excluded.detail",
                (team, task, digest, now(), json.dumps(detail, default=str)),
            )
            row = db.execute(
                "SELECT id FROM submission WHERE team = ? AND task = ? AND digest = ?", (team, task, digest)
            ).fetchone()
            note(db, "submit", team, digest=digest, task=task, source=source)
        return int(row[0])

    def submissions(self, *, active: bool = True) -> list[dict[str, Any]]:
        """Return the submissions, in order of arrival; ``detail`` is what intake found out."""
        where = "WHERE active = 1" if active else ""
        rows = self.rows(f"SELECT * FROM submission {where} ORDER BY id")  # noqa: S608 - a constant
        return [row | {"detail": json.loads(row["detail"])} for row in rows]

    # -- attempts --

    def start(self, submission: int, case: str, key: str) -> int:
        """Note that a run begins; returns the attempt's id."""
        with self.transaction() as db:
            cursor = db.execute(
                "INSERT INTO attempt (submission, case_id, work_key, state, started) VALUES (?, ?, ?, ?, ?)",
                (submission, case, key, RUNNING, now()),
            )
        return int(cursor.lastrowid or 0)

    def intend(self, attempt: int, outputs: list[tuple[str, str, str, int]]) -> None:
        """Note which files an attempt is about to put into place, as (case, path, sha256, bytes)."""
        with self.transaction() as db:
            rows = [(attempt, *output) for output in outputs]
            db.executemany("INSERT OR REPLACE INTO output VALUES (?, ?, ?, ?, ?)", rows)

    def noted_files(self, submission: int, case: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return every file that a run of a submission, or of one piece of it, noted: path to runs, oldest first."""
        query = (
            "SELECT path, sha256, attempt, state, work_key FROM output JOIN attempt ON attempt.id = output.attempt "
            "WHERE submission = ? AND (? IS NULL OR attempt.case_id = ?) ORDER BY path, attempt"
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows(query, (submission, case, case)):
            found.setdefault(str(row["path"]), []).append(row)
        return found

    def finish(
        self,
        attempt: int,
        state: str,
        *,
        finding: Finding | None = None,
        detail: dict[str, Any] | None = None,
        outputs: list[tuple[str, str, str, int]] | None = None,
    ) -> None:
        """Note how a run ended, with its outputs as (case, path, sha256, bytes), in one transaction."""
        with self.transaction() as db:
            db.execute(
                "UPDATE attempt SET state = ?, ended = ?, code = ?, cause = ?, fix = ?, detail = ? WHERE id = ?",
                (
                    state,
                    now(),
                    str(finding.code) if finding else None,
                    finding.cause if finding else None,
                    finding.fix if finding else None,
                    json.dumps(detail or {}, default=str),
                    attempt,
                ),
            )
            rows = [(attempt, *output) for output in outputs or []]
            db.executemany("INSERT OR REPLACE INTO output VALUES (?, ?, ?, ?, ?)", rows)

    def supersede(self, attempts: list[int], team: str, reason: str) -> None:
        """Take results back, so that their work is pending again; the rows stay, with what they found."""
        with self.transaction() as db:
            db.executemany("UPDATE attempt SET state = ? WHERE id = ?", [(SUPERSEDED, one) for one in attempts])
            note(db, "supersede", team, attempts=attempts, reason=reason)

    def interrupt_running(self) -> list[int]:
        """Mark attempts that a killed process left behind; returns their ids."""
        left = [int(row["id"]) for row in self.rows("SELECT id FROM attempt WHERE state = ?", (RUNNING,))]
        if left:
            with self.transaction() as db:
                db.execute("UPDATE attempt SET state = ?, ended = ? WHERE state = ?", (INTERRUPTED, now(), RUNNING))
        return left

    def result(self, submission: int, key: str) -> Attempt | None:
        """Return the one final attempt of a submission on a piece of work, if there is one."""
        rows = self.rows(
            "SELECT * FROM attempt WHERE submission = ? AND work_key = ? AND state IN ('done', 'failed')",
            (submission, key),
        )
        return _attempt(rows[0]) if rows else None

    def results(self, submission: int | None = None) -> list[Attempt]:
        """Return the final attempts, of one submission or of all."""
        query = "SELECT * FROM attempt WHERE state IN ('done', 'failed')"
        if submission is None:
            return [_attempt(row) for row in self.rows(query + " ORDER BY id")]
        return [_attempt(row) for row in self.rows(query + " AND submission = ? ORDER BY id", (submission,))]

    def attempts(self, submission: int | None = None) -> list[dict[str, Any]]:
        """Return every attempt as stored, in order; of one submission, or of all."""
        query = "SELECT * FROM attempt WHERE ? IS NULL OR submission = ? ORDER BY id"
        return self.rows(query, (submission, submission))

    def outputs(self, attempt: int) -> list[dict[str, Any]]:
        """Return the collected files of an attempt."""
        return self.rows("SELECT case_id, path, sha256, bytes FROM output WHERE attempt = ? ORDER BY path", (attempt,))


def note(db: sqlite3.Connection, kind: str, subject: str, **detail: Any) -> None:
    """Append an event within a transaction that is open."""
    detail |= {"medpodium": package_version(), "sources": source_hash()}
    db.execute(
        "INSERT INTO event (time, kind, subject, detail) VALUES (?, ?, ?, ?)",
        (now(), kind, subject, json.dumps(detail, default=str)),
    )


def _attempt(row: dict[str, Any]) -> Attempt:
    return Attempt(
        id=int(row["id"]),
        submission=int(row["submission"]),
        case=str(row["case_id"]),
        work_key=str(row["work_key"]),
        state=str(row["state"]),
        code=row["code"],
        cause=row["cause"],
        fix=row["fix"],
        detail=json.loads(row["detail"]),
    )
