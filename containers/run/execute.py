"""One container, from creation to its certain end: started, watched, measured, killed at its limits, removed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medpodium.containers.failures import EngineCode, Retry, RunCode, finding, infrastructure
from medpodium.containers.run.blame import start
from medpodium.containers.run.command import why_not
from medpodium.containers.sandbox import monitor
from medpodium.containers.sandbox.engine import Removals, errors, remove
from medpodium.containers.sandbox.gpu import NO_GPU, Gpus
from medpodium.containers.sandbox.outputs import Outputs
from medpodium.containers.sandbox.profile import Sandbox
from medpodium.findings import Finding, Severity

_SAMPLE_SECONDS = 0.05
_WATCH_SECONDS = 0.2
_KILL_SECONDS = 10.0
_HOST_IS_SHORT = 0.1
"""Share of the host's memory left below which a killed process may be the host's doing."""


@dataclass
class Ended:
    """How a container ended.

    Parameters
    ----------
    exit_code : int
        Of its first process; 137 after a kill.
    problem : Finding, optional
        The submission's failure, if it failed by exit code, limit or start.
    wall, startup, inference : float
        Seconds: from creation to the end; from creation to the first process (or to the ready line); the rest.
    curve : Curve
        Resource readings.
    log : bytes
        Newest part of standard output and error, with time stamps.
    log_cut : bool
        Whether older parts were dropped.
    """

    exit_code: int
    problem: Finding | None
    wall: float
    startup: float
    inference: float
    curve: monitor.Curve
    log: bytes
    log_cut: bool
    gpu: str = NO_GPU
    notes: list[Finding] = field(default_factory=list)

    def resources(self) -> dict[str, float | str]:
        """Return the measures of the run, named as the columns of the resources table."""
        times = {"startup_time": self.startup, "inference_time": self.inference}
        return {**times, **self.curve.summary(), "gpu": self.gpu}


class _Watch:
    """Waits for a container in a thread of its own, so that the limits can be watched meanwhile."""

    def __init__(self, container: Any) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None
        self._container = container
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        try:
            # No read timeout: a long run is silent, and the end of the engine breaks the connection by itself.
            self._container.client.api.wait(self._container.id, timeout=None)
        except Exception as error:
            self.error = error
        self.done.set()


def execute(
    client: Any,
    box: Sandbox,
    output: Outputs,
    *,
    where: str,
    labels: dict[str, str] | None = None,
    gpus: Gpus | None = None,
    timing: str = "container",
    ready_line: str | None = None,
    removals: Removals | None = None,
) -> Ended:
    """Run one container to its end.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    box : Sandbox
        Its profile and limits.
    output : Outputs
        What the run may write, and how it is counted.
    where : str
        Case or file, for messages.
    labels : dict of str to str
        Labels of the container, by which leftovers are found again.
    gpus : Gpus, optional
        Devices to sample.
    timing : {"container", "process"}
        What :attr:`Ended.wall` starts with.
    ready_line : str, optional
        Log line that ends start-up.
    removals : Removals, optional
        Where the removal of the container goes on after this returns.

    Raises
    ------
    Retry
        When the engine, not the submission, failed.
    InfrastructureError
        When a container cannot be killed.
    """
    devices = gpus or Gpus((), [], NO_GPU)
    notes = devices.settle()
    host_kills = monitor.host_oom_kills()
    tried = time.monotonic()
    found = start(client, box, labels or {}, where)
    if isinstance(found, Finding):
        return Ended(127, found, time.monotonic() - tried, 0.0, 0.0, monitor.Curve(), b"", log_cut=False)
    container, began = found
    try:
        watch = _Watch(container)
        process_began = time.monotonic()
        curve, problem = _supervise(container, watch, box, output, devices, began, where)
        ended = time.monotonic()
        with errors(where):
            container.reload()
        log, cut = _log(container, box.log, where)
        state = container.attrs["State"]
        code = int(state.get("ExitCode", -1))
        problem = problem or _exit_problem(state, code, curve, box, host_kills, log, where)
        if problem is not None and problem.code in (RunCode.NO_COMMAND, RunCode.CRASH):
            # Some engines' first process leaves with a code of its own when there is no command to start.
            problem = why_not(container, code, where) or problem
        began = process_began if timing == "process" else began
        startup = _startup(ready_line, log, state, process_began - began)
        if cut:
            notes.append(finding(RunCode.LOG_FLOOD, where, f"the log is cut at {box.log} bytes", Severity.NOTE))
        wall = ended - began
        return Ended(code, problem, wall, startup, max(0.0, wall - startup), curve, log, cut, devices.status, notes)
    finally:
        if removals is None:
            remove(container)
        else:
            removals.begin(container)


def _supervise(
    container: Any, watch: _Watch, box: Sandbox, output: Outputs, devices: Gpus, began: float, where: str
) -> tuple[monitor.Curve, Finding | None]:
    """Sample and watch until the container ends or exceeds a limit; then it is dead."""
    curve = monitor.Curve()
    group = _cgroup(container)
    deadline = began + box.seconds
    problem: Finding | None = None
    last_watch, pause = began, 0.004
    while not watch.done.wait(max(0.0, min(pause, deadline - time.monotonic()))):
        now = time.monotonic()
        pause = min(_SAMPLE_SECONDS, pause * 1.5)
        if group is not None:
            _sample(curve, group, devices, now - began)
        if now >= deadline:
            problem = finding(RunCode.TIMEOUT, where, f"ran longer than {box.seconds:g} s")
        elif now - last_watch >= _WATCH_SECONDS:
            problem = output.problem(where, group) or _gpu_problem(curve, box, where)
            if problem is None and output.host_is_full():
                _kill(container, watch, where)
                raise infrastructure(EngineCode.HOST_DISK, where, "the host's disk was all but full while it ran")
            last_watch = now + (time.monotonic() - now) * 4  # a folder that is slow to walk is walked less often
        if problem is not None:
            _kill(container, watch, where)
            break
    if watch.error is not None and problem is None:
        with errors(where):
            raise watch.error
    return curve, problem or output.final_problem(where)


def _cgroup(container: Any) -> monitor.Cgroup | None:
    try:
        container.reload()
        pid = int(container.attrs["State"].get("Pid") or 0)
    except Exception:
        return None
    return monitor.Cgroup(pid, str(container.id)) if pid else None


def _sample(curve: monitor.Curve, group: monitor.Cgroup, devices: Gpus, elapsed: float) -> None:
    memory = group.memory()
    if memory != memory:
        return
    own, device = devices.sample(group.pids()) if devices.handles else (float("nan"), float("nan"))
    curve.samples.append(monitor.Sample(elapsed, memory, group.cpu(), own, device))
    curve.oom_kills = max(curve.oom_kills, group.oom_kills())
    curve.pids_refused = max(curve.pids_refused, group.pids_refused())
    curve.memory_high = group.memory_high()
    curve.host_free = min(curve.host_free, monitor.host_free_memory())


def _gpu_problem(curve: monitor.Curve, box: Sandbox, where: str) -> Finding | None:
    if box.gpu_memory is None or not curve.samples or not curve.samples[-1].gpu_memory > box.gpu_memory:
        return None
    used = curve.samples[-1].gpu_memory
    return finding(RunCode.GPU_MEMORY, where, f"used {used:.0f} bytes of graphics memory, allowed {box.gpu_memory}")


def _kill(container: Any, watch: _Watch, where: str) -> None:
    """Kill, and do not go on before the engine says that it is dead."""
    import docker

    with errors(where):
        try:
            container.kill(signal="SIGKILL")
        except docker.errors.APIError:
            # Engines have different words for a container that has ended in the meantime; its end is what counts.
            if not watch.done.wait(_KILL_SECONDS):
                raise
    if not watch.done.wait(_KILL_SECONDS):
        text = f"container {container.short_id} of {where} survives SIGKILL"
        raise infrastructure(EngineCode.UNKILLABLE, where, text)


def _exit_problem(
    state: dict[str, Any], code: int, curve: monitor.Curve, box: Sandbox, host_kills: int, log: bytes, where: str
) -> Finding | None:
    if state.get("OOMKilled") and code != 0:
        return finding(RunCode.OOM, where, f"used more than {box.memory} bytes of memory")
    if code == 0:
        return None
    if code == 137 and curve.oom_kills:
        return finding(RunCode.OOM, where, f"used more than {box.memory} bytes of memory")
    # A submission can have one of its own processes killed for its own limit, in its last moment, and leave like this.
    if code == 137 and monitor.host_oom_kills() > host_kills and curve.host_free < _HOST_IS_SHORT:
        raise Retry(finding(EngineCode.HOST_OOM, where, "the host killed the process for its own lack of memory"))
    if code == 153:
        return finding(RunCode.FILE_LIMIT, where, f"wrote a file larger than {box.file} bytes")
    if code in (126, 127):
        return finding(RunCode.NO_COMMAND, where, f"exit code {code}: the command is missing or not executable")
    if curve.pids_refused:
        return finding(RunCode.PIDS, where, f"exit code {code}, after more than {box.pids} processes and threads")
    text = f"exit code {code}"
    last = log.decode("utf-8", "replace").strip().rpartition("\n")[2].partition(" ")[2].strip()
    return finding(RunCode.CRASH, where, f"{text}; last words: {last[:200]}" if last else text)


def _log(container: Any, limit: int, where: str) -> tuple[bytes, bool]:
    """Return the newest ``limit`` bytes of the log, and whether there was more."""
    kept, total = bytearray(), 0
    with errors(where):
        for chunk in container.logs(stream=True, timestamps=True, follow=False):
            total += len(chunk)
            kept += chunk
            if len(kept) > 2 * limit:
                del kept[:-limit]
    return bytes(kept[-limit:]), total >= limit


def _startup(ready_line: str | None, log: bytes, state: dict[str, Any], engine_startup: float) -> float:
    """Return start-up in s: the engine's share, plus the time until the ready line if there is one."""
    if ready_line is not None:
        for line in log.decode("utf-8", "replace").splitlines():
            stamp, _, text = line.partition(" ")
            if ready_line in text:
                started, ready = _instant(state.get("StartedAt", "")), _instant(stamp)
                if started is not None and ready is not None:
                    return engine_startup + max(0.0, ready - started)
    return engine_startup


def _instant(text: str) -> float | None:
    """Return the seconds since 1970 of a time stamp with nanoseconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(head + "+00:00").timestamp() + float("0." + (fraction or "0"))
    except ValueError:
        return None
