"""What the engine is asked once before strangers' code runs on it: whether it sees the files, and obeys the limits.

The container asked with is our own (:mod:`medpodium.containers.sandbox.control`). Files are looked up through the
engine, and limits are read back from the container's own control group and process: what an engine says of itself is
not evidence.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medpodium.containers.failures import EngineCode, Retry, finding, infrastructure
from medpodium.containers.sandbox import bounds, control, monitor, stage
from medpodium.containers.sandbox import filter as calls
from medpodium.containers.sandbox.engine import errors
from medpodium.containers.sandbox.profile import Bind, Sandbox
from medpodium.findings import Finding, InfrastructureError, Severity

Filter = Literal["text", "file"] | None
"""Docker takes a filter of system calls as text; Podman the path of a file with it."""
_SEEN = "/seen"
_TOKEN = "token"  # noqa: S105 - the name of a file
_WORKS: dict[tuple[Any, ...], tuple[str | None, Filter]] = {}
"""Profiles whose limits this process has read back already, by engine, with the user and filter to name for them."""
_ROOTLESS = "0:0"
"""The user of a rootless engine's containers who is, on the host, the one who started the engine."""
_PLENTY = 4096
"""Processes that any runtime can start with, its own threads included."""
_OF_A_KERNEL = 128
"""Processes that a runtime with a kernel of its own (gVisor) needs for threads of its own when a program works."""
_REPORT_SECONDS = 15.0
_NONE = 2.0**60
"""What version 1 of control groups says where there is no limit is above this."""


@dataclass
class Answer:
    """What the engine turned out to do.

    Parameters
    ----------
    bounded : bool
        Whether outputs can lie in a file system of fixed size.
    user : str, optional
        Another user to name, so that programs run, on the host, as the one the profile asks for.
    filter : {None, "text", "file"}
        How the engine takes our filter of system calls instead of its own, if it does.
    findings : list of Finding
        Warnings.
    """

    bounded: bool = False
    user: str | None = None
    filter: Filter = None
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
        If the engine sees other files than this process, ignores a limit, cannot start anything under this profile, or
        runs programs as somebody who cannot write the outputs.
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
        answer.user, answer.filter, found = _limits(client, fixed if answer.bounded else plain, box, labels)
        answer.findings += found
        return answer
    finally:
        stage.remove(folder)


def seccomp(way: Filter, folder: Path) -> str | None:
    """Return the filter of system calls as this engine takes it.

    Parameters
    ----------
    way : {None, "text", "file"}
        See :attr:`Answer.filter`.
    folder : Path
        Of one run, seen by the engine and by no container.
    """
    if way is None:
        return None
    return calls.profile() if way == "text" else calls.as_file(folder)


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


_Known = tuple[str | None, Filter, list[Finding]]


def _limits(client: Any, folder: Path, box: Sandbox, labels: dict[str, str]) -> _Known:
    """Read the limits of a running container back, once per engine and profile; return user, filter and warnings."""
    key = (_where(client), box.runtime, box.memory, box.pids, box.file, box.open_files, box.user)
    if key in _WORKS:
        return (*_WORKS[key], [])
    ways: tuple[Filter, ...] = ("text", "file")
    for way in ways:
        with suppress(InfrastructureError):  # an engine that does not take the filter has one of its own
            asked = replace(box, seccomp=seccomp(way, folder))
            user, wrong, unknown, report = _try_users(client, folder, asked, labels)
            if not wrong and report is not None and report.threads and not report.reaches_host:
                _WORKS[key] = user, way
                return user, way, _unread(unknown)
    user, wrong, unknown, report = _try_users(client, folder, box, labels)
    if wrong:
        raise infrastructure(EngineCode.LIMITS, "this engine", "; ".join(wrong))
    _WORKS[key] = user, None
    found = _unread(unknown)
    if report is not None and report.reaches_host:
        text = "containers can open sockets to the machine that hosts this virtual machine (AF_VSOCK), network or not"
        found.append(finding(EngineCode.HOST_SOCKETS, "this engine", text, Severity.WARNING))
    return user, None, found


_BESIDE = "run medpodium where the engine's processes are seen; in a container: with --pid host --cgroupns host"
"""What makes limits readable that are not."""


def _unread(unknown: list[str]) -> list[Finding]:
    text = "cannot be read back from here: " + ", ".join(unknown)
    return [replace(finding(EngineCode.LIMITS, "limits", text, Severity.WARNING), fix=_BESIDE)] if unknown else []


def _where(client: Any) -> tuple[str, str]:
    """Return what tells engines of one machine apart: every local socket has the same address."""
    url = str(client.api.base_url)
    return url, str(getattr(client.api.get_adapter(url), "socket_path", ""))


def _try_users(
    client: Any, folder: Path, box: Sandbox, labels: dict[str, str]
) -> tuple[str | None, list[str], list[str], control.Report | None]:
    """Try the profile's user, and the one that a rootless engine maps to it; return which is to be named."""
    wrong, unknown, report = _try(client, folder, box, box.user, labels)
    if _USER in wrong:
        again, more, other = _try(client, folder, box, _ROOTLESS, labels)
        if _USER not in again:
            return _ROOTLESS, again, more, other
    return None, wrong, unknown, report


_USER = "programs run as another user of the host than the one who owns the outputs"


def _try(
    client: Any, folder: Path, box: Sandbox, user: str, labels: dict[str, str]
) -> tuple[list[str], list[str], control.Report | None]:
    """Start a container of ours under a profile; return what is not in force, in words, and what nobody can say.

    Raises
    ------
    InfrastructureError
        If it does not live, whether or not it would with more processes.
    """
    import docker

    target = folder / secrets.token_hex(4)
    target.mkdir()
    stage.permit(target, box.user, writable=True)
    asked = replace(box, user=user, binds=(Bind(str(target.resolve()), control.OUTPUT, writable=True),))
    with errors(str(folder)), control.created(client, asked, labels) as container:
        report, pid = None, 0
        try:
            container.start()
            report, pid = _report(container, target / control.REPORT)
        except docker.errors.APIError:
            if box.pids >= _PLENTY:
                raise
        if report is not None or pid:
            group = monitor.Cgroup(pid, str(container.id))
            shown = monitor.holds(group, pid, control.PROGRAM.lstrip("/"))
            # Where no process of the container is seen from here, nobody knows whether its kernel is one of its own.
            own_kernel = report is not None and bool(group.folders) and not shown
            if own_kernel and box.pids < _OF_A_KERNEL:
                raise _few(box, f"its kernel's own threads are counted, and need up to {_OF_A_KERNEL}")
            return (*_unlike(box, report, target / control.REPORT, group, shown, own_kernel), report)
    if box.pids < _PLENTY:
        _try(client, folder, replace(box, pids=_PLENTY), user, labels)
        raise _few(box, "nothing starts, but it does with more: threads of its own are counted")
    raise infrastructure(EngineCode.ENGINE_ERROR, "this engine", "a container that only waits ends at once")


def _few(box: Sandbox, why: str) -> InfrastructureError:
    where = f"runtime {box.runtime or 'of this engine'}"
    return infrastructure(EngineCode.FEW_PROCESSES, where, f"the challenge allows {box.pids} processes: {why}")


def _report(container: Any, path: Path) -> tuple[control.Report | None, int]:
    """Wait for the report of a running container; return it, and the process id while it runs (else 0)."""
    deadline, pause = time.monotonic() + _REPORT_SECONDS, 0.002
    while True:
        container.reload()
        pid = int(container.attrs["State"].get("Pid") or 0) if container.attrs["State"].get("Running") else 0
        raw = b""
        with suppress(OSError):
            raw = path.read_bytes()
        report = control.read(raw)
        if report is not None or not pid or time.monotonic() > deadline:
            return report, pid
        # A program that runs, and has had time, but left no file could not write one.
        if not path.exists() and time.monotonic() > deadline - _REPORT_SECONDS + 2.0:
            return None, pid
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)


def _unlike(
    box: Sandbox, report: control.Report | None, file: Path, group: monitor.Cgroup, shown: bool, own_kernel: bool
) -> tuple[list[str], list[str]]:
    """Return what is not in force, in words, and what could not be read."""
    memory, pids = group.limits()
    found: dict[str, tuple[float, float]] = {"bytes of memory": (memory, box.memory), "processes": (pids, box.pids)}
    found["processors"] = (group.cpus(), box.cpus)
    if monitor.host_swaps():
        found["bytes of swap"] = (group.swap(), 0)
    wrong = []
    if shown and not group.folders:
        wrong.append("no control group of its own limits memory, processes and processors")
    if report is None or str(file.stat().st_uid) != box.user.partition(":")[0]:
        wrong.append(_USER)
    if report is not None:
        found |= {
            "bytes per file": (report.file, box.file),
            "open files": (report.open_files, box.open_files),
            "bytes of core dumps": (report.core, 0),
            "bytes of /tmp": (report.scratch, _pages(box.scratch)),
            "bytes of /dev/shm": (report.shm, _pages(box.shm)),
        }
        if report.capabilities:
            wrong.append(f"programs hold capabilities ({report.capabilities:#x})")
        if not report.no_new_privileges:
            wrong.append("programs may gain privileges")
        if report.root_is_writable:
            wrong.append("the image's folders can be written to")
        if not report.filtered and not own_kernel:  # a kernel of its own obeys for it, and is filtered itself
            wrong.append("no filter of system calls is in force")
    for name, (seen, asked) in found.items():
        if seen > asked * (1 + 1e-3):
            wrong.append(f"{name}: {'no limit' if seen >= _NONE else f'{seen:g}'} instead of {asked:g}")
    return wrong, [name for name, (seen, _) in found.items() if seen != seen]


def _pages(size: int) -> int:
    """Return a size in whole pages, as file systems in memory have it."""
    return -(-size // 4096) * 4096
