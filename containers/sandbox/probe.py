"""What the engine is asked once before strangers' code runs on it: whether it sees the files, and obeys the limits.

The container asked with is our own (:mod:`medpodium.containers.sandbox.control`). Files are looked up through the
engine, and limits are read back from the container's own control group and process: what an engine says of itself is
not evidence.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medpodium.containers.failures import EngineCode, Retry, finding, infrastructure
from medpodium.containers.sandbox import bounds, control, monitor, stage
from medpodium.containers.sandbox.engine import errors
from medpodium.containers.sandbox.profile import Bind, Sandbox
from medpodium.findings import Finding, Severity

_SEEN = "/seen"
_TOKEN = "token"  # noqa: S105 - the name of a file
_ASKED: set[tuple[Any, ...]] = set()
"""Profiles whose limits this process has read back already, by engine."""


@dataclass
class Answer:
    """What the engine turned out to do.

    Parameters
    ----------
    bounded : bool
        Whether outputs can lie in a file system of fixed size.
    findings : list of Finding
        Warnings.
    """

    bounded: bool = False
    findings: list[Finding] = field(default_factory=list)


def ask(client: Any, work: Path, box: Sandbox, labels: dict[str, str]) -> Answer:
    """Ask the engine about a folder and a profile.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    work : Path
        The folder that runs are staged in.
    box : Sandbox
        A profile whose limits will be relied on; its mounts do not matter.
    labels : dict of str to str
        Labels of the container, by which it is found again.

    Raises
    ------
    InfrastructureError
        If the engine sees other files than this process, ignores a limit, or runs programs as another user.
    """
    folder = work / f"probe-{secrets.token_hex(8)}"
    try:
        plain, fixed = folder / "plain", folder / "fixed"
        for path in (plain, fixed):
            path.mkdir(parents=True)
        may = _fixed(fixed, box.user)
        for path in (plain, fixed):
            (path / _TOKEN).write_text(folder.name, encoding="utf-8")
        sees, sees_fixed = _look(client, folder, box, labels)
        if not sees:
            text = "a file of this folder is not there for the engine (other machine, other mounts, a container)"
            raise infrastructure(EngineCode.BLIND, str(work), text)
        answer = Answer(bounded=may and sees_fixed)
        if not answer.bounded:
            text = "outputs are watched, not bounded by the kernel: what is written between two looks is on the disk"
            answer.findings.append(finding(EngineCode.UNBOUNDED, str(work), text, Severity.NOTE))
        answer.findings += _limits(client, folder, box, labels)
        return answer
    finally:
        stage.remove(folder)


def _fixed(folder: Path, user: str) -> bool:
    if not bounds.available():
        return False
    try:
        bounds.mount(folder, size=1 << 20, entries=8, user=user)
    except Retry:
        return False
    return True


def _binds(folder: Path) -> tuple[Bind, ...]:
    return tuple(Bind(str((folder / name).resolve()), f"{_SEEN}/{name}") for name in ("plain", "fixed"))


def _look(client: Any, folder: Path, box: Sandbox, labels: dict[str, str]) -> tuple[bool, bool]:
    """Return whether the engine finds the token of either folder; nothing is started for that."""
    import docker

    found = []
    with errors(str(folder)):
        try:
            with control.created(client, replace(box, binds=_binds(folder)), labels) as container:
                for name in ("plain", "fixed"):
                    found.append(_token(container, f"{_SEEN}/{name}/{_TOKEN}") == folder.name)
        except docker.errors.APIError as error:
            if str(folder.resolve()) not in str(error):
                raise
            return False, False  # Docker refuses to mount what it does not find
    return found[0], found[1]


def _token(container: Any, path: str) -> str:
    import io
    import tarfile

    import docker

    try:
        stream, status = container.get_archive(path)
    except docker.errors.APIError:
        return ""
    if int(status.get("size") or 0) > 1 << 10:
        return ""
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        file = next((tar.extractfile(member) for member in tar if member.isreg()), None)
        return file.read().decode("utf-8", "replace") if file is not None else ""


def _limits(client: Any, folder: Path, box: Sandbox, labels: dict[str, str]) -> list[Finding]:
    """Read the limits of a running container back, once per engine and profile."""
    key = (client.api.base_url, box.runtime, box.memory, box.pids, box.file, box.open_files, box.user)
    if key in _ASKED:
        return []
    with errors(str(folder)), control.created(client, replace(box, binds=_binds(folder)), labels) as container:
        container.start()
        container.reload()
        pid = int(container.attrs["State"].get("Pid") or 0)
        group = monitor.Cgroup(pid, str(container.id))
        wrong, unknown = _unlike(box, group, pid)
    if wrong:
        raise infrastructure(EngineCode.LIMITS, "this engine", "; ".join(wrong))
    _ASKED.add(key)
    if unknown:
        text = "cannot be read back from here: " + ", ".join(unknown)
        return [finding(EngineCode.LIMITS, "limits", text, Severity.WARNING)]
    return []


def _unlike(box: Sandbox, group: monitor.Cgroup, pid: int) -> tuple[list[str], list[str]]:
    """Return what is not in force, in words, and what could not be read."""
    memory, pids = group.limits()
    found: dict[str, tuple[float, float]] = {"bytes of memory": (memory, box.memory), "processes": (pids, box.pids)}
    if box.runtime is None or "runsc" not in box.runtime:  # gVisor keeps these inside its own kernel
        limits = _rlimits(pid)
        found["bytes per file"] = limits.get("Max file size", float("nan")), box.file
        found["open files"] = limits.get("Max open files", float("nan")), box.open_files
    wrong = [f"{seen:g} {name} allowed instead of {asked:g}" for name, (seen, asked) in found.items() if seen > asked]
    unknown = [name for name, (seen, _) in found.items() if seen != seen]
    owner = _owner(pid)
    if owner is not None and f"{owner}" != box.user.partition(":")[0]:
        wrong.append(f"programs run as user {owner} of the host instead of {box.user}, who owns the outputs")
    return wrong, unknown


def _rlimits(pid: int) -> dict[str, float]:
    found = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
            hard = line[26:].split()[1]
            found[line[:26].strip()] = float("inf") if hard == "unlimited" else float(hard)
    return found


def _owner(pid: int) -> int | None:
    if pid <= 0 or os.name != "posix":
        return None
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return None
