"""Take the outputs of a hostile container: look without following, copy regular files only, check them elsewhere."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Collection as Choices
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from medpodium.challenges.campaign.cases import Case
from medpodium.challenges.campaign.ledger import disk_full
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.naming.patterns import format_name, parse_name, placeholders
from medpodium.challenges.schema.protocol import ContainerProtocol, OutputFile, parse_bytes, parse_count
from medpodium.containers.failures import RunCode, finding, printable
from medpodium.containers.run.checker import Checker
from medpodium.containers.run.question import Question
from medpodium.containers.sandbox.stage import Stage
from medpodium.findings import Code, Finding, Severity

_CHUNK = 1 << 20
_SPARSE_SLACK = 1 << 20
_MAX_NOTES = 20


@dataclass(frozen=True)
class Entry:
    """Something found in an output folder, as ``lstat`` saw it."""

    path: str
    status: os.stat_result
    readable: bool = True


@dataclass(frozen=True)
class Stored:
    """A collected file, below the submission's folder of predictions."""

    case: str
    path: str
    sha256: str
    bytes: int


@dataclass
class Collection:
    """What a run left: good files, one failure per case that lacks something, and remarks."""

    files: list[Stored] = field(default_factory=list)
    problems: dict[str, Finding] = field(default_factory=dict)
    notes: list[Finding] = field(default_factory=list)

    def note(self, one: Finding) -> None:
        """Add a remark; only the first twenty are kept, so that a flood of files is no flood of remarks."""
        if len(self.notes) < _MAX_NOTES:
            self.notes.append(one)


def scan(root: Path, limit: int) -> tuple[list[Entry], list[Finding]]:
    """List an output folder by descriptors, never following a link.

    Returns
    -------
    (entries, notes)
        Everything but folders, sorted by path; names that are no clean UTF-8, and names that differ in case or Unicode
        form only, are remarks and not listed.
    """
    entries: list[Entry] = []
    notes: list[Finding] = []
    folded: dict[str, str] = {}
    stack: list[tuple[str, int]] = [("", os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))]
    seen = 0
    while stack:
        prefix, descriptor = stack.pop()
        try:
            for name in sorted(os.listdir(descriptor)):  # noqa: PTH208 - a descriptor, no path
                seen += 1
                if seen > limit:
                    break
                problem = _name_problem(prefix + name, folded)
                if problem is not None:
                    notes.append(problem)
                    continue
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    inner = _open(name, descriptor, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                    if inner is None or len(stack) > 500:
                        notes.append(finding(RunCode.UNREADABLE, printable(prefix + name), "the folder cannot be read"))
                    else:
                        stack.append((prefix + name + "/", inner))
                else:
                    entries.append(Entry(prefix + name, status))
        finally:
            os.close(descriptor)
    return sorted(entries, key=lambda entry: entry.path), notes


def _name_problem(path: str, folded: dict[str, str]) -> Finding | None:
    shown = printable(path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), 120)
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return finding(RunCode.BAD_NAME, shown, "the name is no UTF-8", Severity.WARNING)
    if not path.isprintable():
        return finding(RunCode.BAD_NAME, shown, "the name has control characters", Severity.WARNING)
    key = unicodedata.normalize("NFKC", path).casefold()
    if key in folded:
        text = f"the same name as {folded[key]!r} but for case or Unicode form"
        return finding(RunCode.COLLISION, shown, text, Severity.WARNING)
    folded[key] = path
    return None


def _open(name: str, parent: int, flags: int) -> int | None:
    for _ in range(2):
        try:
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=parent)
        except PermissionError:
            try:  # our own file, made by the container under our user: give ourselves the right to read it
                os.chmod(name, stat.S_IRWXU, dir_fd=parent)
            except OSError:
                return None
        except OSError:
            return None
    return None


def collect(
    stage: Stage,
    protocol: ContainerProtocol,
    cases: list[Case],
    target: Path,
    checker: Checker,
    cases_dir: Path,
    known: Mapping[str, Choices[str]] | None = None,
) -> Collection:
    """Collect the expected files of a run.

    Parameters
    ----------
    stage : Stage
        The run's folders and the names its cases had.
    protocol : ContainerProtocol
        Which outputs are expected, and the limits.
    cases : list of Case
        The cases of this run.
    target : Path
        New folder that receives the rewritten files.
    checker : Checker
        Parses and rewrites them.
    cases_dir : Path
        Folder of the inputs, whose grids the predictions must have.
    known : mapping of str to collection of str, optional
        What placeholders in names can stand for (``structure``), so that a name is read as one case's only.
    """
    found = Collection()
    stage.output.chmod(stat.S_IRWXU)  # the container owns this folder and may have closed it
    entries, notes = scan(stage.output, int(parse_count(protocol.limits.output_files)))
    for one in notes:
        found.note(one)
    free = {entry.path: entry for entry in entries}
    target.mkdir(parents=True)
    shared = [rule for rule in protocol.outputs if not rule.per_case]
    for case in cases:
        for rule in protocol.outputs:
            if rule.per_case:
                _take(rule, case, stage, protocol, free, target, checker, cases_dir, found, known or {})
    for rule in shared:
        _take(rule, None, stage, protocol, free, target, checker, cases_dir, found, known or {}, cases)
    for path in sorted(path for path in free if not is_hidden(path)):
        found.note(finding(RunCode.UNEXPECTED, printable(path), "was not asked for", Severity.WARNING))
    return found


def _take(
    rule: OutputFile,
    case: Case | None,
    stage: Stage,
    protocol: ContainerProtocol,
    free: dict[str, Entry],
    target: Path,
    checker: Checker,
    cases_dir: Path,
    found: Collection,
    known: Mapping[str, Choices[str]],
    cases: Iterable[Case] = (),
) -> None:
    """Take the file or files of one rule, for one case or for all; a failure goes to the case's account."""
    blamed = [case.id] if case is not None else [one.id for one in cases]
    name = stage.names[case.id] if case is not None else ""
    pattern = rule.name.replace("{case}", name) if case is not None else rule.name
    own: dict[str, Choices[str]] = {**known}
    if case is not None:
        own |= {"case": [name], **{key: [value] for key, value in case.values.items()}}
    readings = {path: ways for path in free if (ways := parse_name(rule.name, path, own))}
    matches = list(readings)
    problem: Finding | None = None
    if not matches and not rule.optional:
        close = [path for path in free if Path(path).name.partition(".")[0] == Path(pattern).name.partition(".")[0]]
        there = f"; found {printable(close[0], 80)!r}" if close else ""
        problem = finding(RunCode.MISSING, pattern, f"no file {pattern!r} in the output folder{there}")
    elif len(matches) > 1 and set(placeholders(rule.name)) <= {"case"}:
        problem = finding(RunCode.AMBIGUOUS, pattern, f"{len(matches)} files match {pattern!r}")
        for path in matches:
            del free[path]
        matches = []
    for path in matches:
        entry = free.pop(path)
        values: dict[str, str] = {**(case.values if case else {}), "case": case.id if case else ""}
        values |= {key: value for key, value in readings[path][0].items() if key != "case"}
        relative = format_name(rule.stored, values)
        like = _like(rule, case, cases_dir)
        outcome = _copy(entry, rule, stage, protocol, target / relative, checker, like, found)
        if isinstance(outcome, Finding):
            problem = problem or outcome
        else:
            found.files.append(Stored(case.id if case else "", relative, *outcome))
    if problem is not None:
        for one in blamed:
            found.problems.setdefault(one, problem)


def _like(rule: OutputFile, case: Case | None, cases_dir: Path) -> str | None:
    if rule.kind != "mask" or case is None or not case.inputs:
        return None
    file = case.inputs.get(rule.like or "", next(iter(case.inputs.values())))
    return str(cases_dir / file.path)


def _copy(
    entry: Entry,
    rule: OutputFile,
    stage: Stage,
    protocol: ContainerProtocol,
    target: Path,
    checker: Checker,
    like: str | None,
    found: Collection,
) -> tuple[str, int] | Finding:
    """Copy one file out, have it checked and rewritten; return (sha256, bytes) of the result or what is wrong."""
    limit = parse_bytes(protocol.limits.file)
    where = printable(entry.path)
    problem = _entry_problem(entry.status, where, limit)
    if problem is not None:
        return problem
    # The ending is kept: the reader goes by it. The folder is new, so no name can collide.
    raw = target.with_name("raw-" + target.name.partition(".")[0] + _ending(entry.path))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not _copy_bytes(stage.output, entry, raw, limit):
            return finding(RunCode.UNREADABLE, where, "cannot be read, or changed while it was copied")
        if rule.kind == "other":
            raw.rename(target)
        else:
            names = {seen: real for real, seen in stage.names.items()}
            answer = checker.ask(Question(rule.kind, str(raw), str(target), limit, like, names), where)
            if answer.refusal is not None:
                # A partly written target must not pass for a prediction.
                target.unlink(missing_ok=True)
                cause = printable(answer.refusal["cause"].replace(str(raw), where).replace(raw.name, where))
                return Finding(cast("Code", answer.refusal["code"]), where, cause, answer.refusal["fix"])
            for one in answer.notes:
                level = Severity.NOTE if one["severity"] == "note" else Severity.WARNING
                cause = printable(one["cause"].replace(raw.name, where))
                found.note(Finding(cast("Code", one["code"]), where, cause, one["fix"], level))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(target.parent, error) from None
        raise
    finally:
        raw.unlink(missing_ok=True)
    return _sync(target)


def _ending(path: str) -> str:
    name = Path(path).name
    return name[name.index(".") :][-16:] if "." in name else ""


def _entry_problem(status: os.stat_result, where: str, limit: int) -> Finding | None:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    for is_kind, what in kinds:
        if is_kind(status.st_mode):
            return finding(RunCode.NOT_REGULAR, where, f"is {what}")
    if not stat.S_ISREG(status.st_mode):
        return finding(RunCode.NOT_REGULAR, where, "is no regular file")
    if status.st_nlink != 1:
        return finding(RunCode.HARD_LINK, where, f"has {status.st_nlink} links")
    if status.st_size == 0:
        return finding(RunCode.EMPTY_FILE, where, "has no bytes")
    if status.st_size > limit:
        return finding(RunCode.OUTPUT_TOO_LARGE, where, f"has {status.st_size} bytes, allowed {limit}")
    if status.st_size - status.st_blocks * 512 > _SPARSE_SLACK:
        return finding(RunCode.SPARSE, where, f"claims {status.st_size} bytes but holds {status.st_blocks * 512}")
    return None


def _copy_bytes(root: Path, entry: Entry, target: Path, limit: int) -> bool:
    """Copy a file by walking descriptors from the output folder; refuses whatever is not what was listed."""
    parts = entry.path.split("/")
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            flags = os.O_NOFOLLOW | os.O_RDONLY | (os.O_NONBLOCK if last else os.O_DIRECTORY)
            inner = _open(part, descriptor, flags)
            os.close(descriptor)
            descriptor = -1
            if inner is None:
                return False
            descriptor = inner
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != (entry.status.st_dev, entry.status.st_ino) or status.st_nlink != 1:
            return False
        copied = 0
        with target.open("xb") as writer:
            while chunk := os.read(descriptor, _CHUNK):
                copied += len(chunk)
                if copied > limit:
                    return False
                writer.write(chunk)
        return copied == entry.status.st_size
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _sync(path: Path) -> tuple[str, int]:
    """Force a file to the disk and return its SHA-256 and size: the ledger never knows more than the disk."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        os.fsync(stream.fileno())
    return digest.hexdigest(), size
