"""The container engine: finding it, knowing when it is gone, and checking the runtime's versions."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from medpodium.challenges.schema.protocol import ContainerProtocol, parse_count
from medpodium.containers.failures import EngineCode, Retry, finding, infrastructure
from medpodium.containers.sandbox.gpu import find
from medpodium.findings import Finding, Severity

_SAFE_RUNC = (1, 1, 12)  # CVE-2024-21626: working directory that is a leaked descriptor
_SAFE_TOOLKIT = (1, 17, 8)  # CVE-2025-23266 and the earlier escapes of the NVIDIA container toolkit


def connect(timeout: float = 120.0) -> Any:
    """Return a Docker client (``DOCKER_HOST`` decides which engine; Podman's socket works the same way).

    Raises
    ------
    InfrastructureError
        With one line and the fix, when the package or a running engine is missing.
    """
    try:
        import docker
    except ImportError:
        raise infrastructure(EngineCode.NO_SDK, "docker", "the Python package 'docker' is not installed") from None
    try:
        client = docker.from_env(timeout=timeout)
        if str(client.api.base_url).startswith("http+docker"):
            client.api.trust_env = False  # a socket has no proxy, and looking for one costs milliseconds a request
        client.ping()
    except Exception as error:
        text = re.sub(r"\s+", " ", str(error))[:200]
        raise infrastructure(EngineCode.NO_ENGINE, "docker", f"no container engine answers ({text})") from None
    return client


def is_lost(error: BaseException) -> bool:
    """Return whether an exception of the SDK means that nobody answered.

    An answer of the engine, whatever its status, is none of these: whose fault it tells of is another question, and
    the engine is asked (:func:`answers`) before it is called lost.
    """
    import requests

    return isinstance(error, (requests.exceptions.RequestException, ConnectionError)) and not isinstance(
        error, requests.exceptions.HTTPError
    )


def answers(client: Any) -> bool:
    """Return whether the engine answers now."""
    try:
        return bool(client.ping())
    except Exception:
        return False


@contextmanager
def errors(where: str) -> Iterator[None]:
    """Turn the SDK's exceptions into a request to try again; what a submission can cause is handled before."""
    import docker
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException, ConnectionError) as error:
        code = EngineCode.ENGINE_LOST if is_lost(error) else EngineCode.ENGINE_ERROR
        raise Retry(finding(code, where, str(error))) from error


def wait_for(client: Any, seconds: float) -> None:
    """Wait until the engine answers again.

    Raises
    ------
    InfrastructureError
        When it does not within this time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.ping()
            return
        except Exception as error:
            if time.monotonic() > deadline:
                text = f"the engine has not come back within {seconds:.0f} s ({type(error).__name__})"
                raise infrastructure(EngineCode.ENGINE_LOST, "docker", text) from None
        time.sleep(0.25)


def _version(text: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


def preflight(client: Any, *, gpus: bool = False) -> list[Finding]:
    """Check the runtime before hostile images run on it.

    Returns
    -------
    list of Finding
        Warnings: a runc or NVIDIA toolkit older than the last known escape, nvidia as the default runtime.
    """
    with errors("docker version"):
        parts = client.version().get("Components") or []
        info = client.info()
    found = []
    versions = {str(part.get("Name", "")).lower(): str(part.get("Version", "")) for part in parts}
    runc = versions.get("runc", "")
    if _version(runc) and _version(runc) < _SAFE_RUNC:
        text = f"runc {runc} is older than 1.1.12 (CVE-2024-21626)"
        found.append(finding(EngineCode.OLD_RUNTIME, "runc", text, Severity.WARNING))
    if info.get("DefaultRuntime") == "nvidia" and not gpus:
        text = "nvidia is the default runtime, so an image can obtain GPUs that nobody asked for"
        found.append(finding(EngineCode.RUNTIME_DEFAULT, "docker", text, Severity.WARNING))
    toolkit = _toolkit() if gpus else ""
    if _version(toolkit) and _version(toolkit) < _SAFE_TOOLKIT:
        text = f"NVIDIA container toolkit {toolkit} is older than 1.17.8 (CVE-2025-23266)"
        found.append(finding(EngineCode.OLD_RUNTIME, "nvidia-container-toolkit", text, Severity.WARNING))
    return found


def shortages(protocol: ContainerProtocol, gpu_ids: tuple[str, ...]) -> list[Finding]:
    """Return a warning for everything the protocol hands out that this machine has less of."""
    found = []
    wanted = int(parse_count(protocol.limits.gpus))
    if wanted and not find(wanted, gpu_ids).handles:
        text = f"the protocol hands out {wanted} GPU(s), this machine has none: it runs without"
        found.append(finding(EngineCode.NO_GPU, "this machine", text, Severity.WARNING))
    have = os.cpu_count() or 1
    if parse_count(protocol.limits.cpus) > have:
        text = f"the protocol hands out {protocol.limits.cpus} processor cores, this machine has {have}"
        found.append(finding(EngineCode.FEWER_CPUS, "this machine", text, Severity.WARNING))
    return found


def _toolkit() -> str:
    import shutil
    import subprocess

    program = shutil.which("nvidia-ctk")
    if program is None:
        return ""
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def describe(client: Any) -> dict[str, str]:
    """Return the engine's versions and features that a record of a run should name."""
    with errors("docker info"):
        info, version = client.info(), client.version()
    return {
        "engine": str(version.get("Version", "")),
        "api": str(version.get("ApiVersion", "")),
        "kernel": str(info.get("KernelVersion", "")),
        "system": str(info.get("OperatingSystem", "")),
        "cgroup": str(info.get("CgroupVersion", "1")),
        "storage": str(info.get("Driver", "")),
        "runtime": str(info.get("DefaultRuntime", "")),
        "cpus": str(info.get("NCPU", "")),
        "memory": str(info.get("MemTotal", "")),
    }


def remove(container: Any) -> None:
    """Remove the container with its anonymous volumes; what the engine cannot do now is done on resuming."""
    try:
        container.remove(force=True, v=True)
    except Exception:
        return


class Removals:
    """What is cleared away while outputs are looked at and the ledger is written: engines and disks take their time."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failed: list[Exception] = []
        self._busy = threading.Lock()

    def begin(self, container: Any) -> None:
        """Remove a container that has ended."""
        self.then(remove, container)

    def then(self, action: Callable[..., object], *given: Any) -> None:
        """Do something when all that was begun before is done."""
        with self._busy:  # the next container may end while the files of this one are looked at
            before = self._threads[-1] if self._threads else None

            def act() -> None:
                if before is not None:
                    before.join()
                try:
                    action(*given)
                except Exception as error:
                    self._failed.append(error)

            self._threads.append(threading.Thread(target=act))
            self._threads[-1].start()

    def wait(self) -> None:
        """Wait until all is done that was begun before; what failed first is raised here."""
        with self._busy:
            begun, self._threads = self._threads, []
        for thread in begun:
            thread.join()
        with self._busy:
            failed, self._failed = self._failed, []
        if failed:
            raise failed[0]


def sweep(client: Any, labels: dict[str, str]) -> int:
    """Remove every container with these labels, running or not; returns how many there were."""
    filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
    with errors("leftover containers"):
        found = client.containers.list(all=True, filters=filters, ignore_removed=True)
    for container in found:
        remove(container)
    return len(found)
