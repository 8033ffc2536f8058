"""Container engines that a test brings up for itself, in mounts and a network of their own, and takes down again.

The machine's own Docker is used where a test asks for it; everything else is started here, as root, and stopped by its
process id. Each sees one folder for campaigns in which later mounts of the test reach it. Without a network of its own,
a second Docker would take the bridge of the machine's away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_OCI = '''#!{python}
"""Lower a container's limits to what this process may set, then become the runtime: root here may lack a privilege."""
import json, os, resource, sys
words = sys.argv[1:]
if "create" in words:
    folder = next((words[i + 1] for i, word in enumerate(words) if word in ("--bundle", "-b")), ".")
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        settings = json.load(file)
    for limit in settings.get("process", {{}}).get("rlimits", []):
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY:
            limit["hard"], limit["soft"] = min(limit["hard"], hard), min(limit["soft"], hard)
    with open(path, "w") as file:
        json.dump(settings, file)
os.execv({runtime!r}, [{runtime!r}, *words])
'''
_ALONE = """
for place in $(awk '/ \\/dev\\/loop/ && index($5, ENVIRON["ARENA"]) != 1 {print $5}' /proc/self/mountinfo); do
  umount -l "$place"
done
# crun takes the mount of version 2 beside those of version 1 for the one that counts
umount /sys/fs/cgroup/unified 2>/dev/null
exec "$@"
"""
_START_SECONDS = 60.0
NAMES = ("docker", "crun", "runsc", "podman")
_PROGRAMS = {
    "docker": ("dockerd", "runc"),
    "crun": ("dockerd", "crun"),
    "runsc": ("dockerd", "runsc"),
    "podman": ("podman", "crun", "catatonit", "conmon"),
}


@dataclass
class Engine:
    """An engine that answers.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    client : docker.DockerClient
        Speaks to it.
    runtime : str, optional
        The runtime to ask for.
    folder : Path
        Where campaigns have to lie.
    data : tuple of Path
        Where it keeps volumes and what belongs to containers.
    socket : str
        Its address, for ``DOCKER_HOST``; empty for the machine's own.
    """

    name: str
    client: Any
    runtime: str | None
    folder: Path
    data: tuple[Path, ...] = ()
    socket: str = ""
    process: subprocess.Popen[bytes] | None = None
    mounted: list[Path] = field(default_factory=list)
    root: Path | None = None

    def close(self) -> None:
        """Stop it and remove everything it kept."""
        if self.client is not None:
            self.client.close()
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(30)
        for place in self.mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)
        if self.root is not None:
            shutil.rmtree(self.root, ignore_errors=True)


def missing(name: str) -> list[str]:
    """Return the programs that an engine needs and this machine lacks."""
    found = [program for program in _PROGRAMS[name] if not _which(program)]
    return found + ([] if os.getuid() == 0 else ["root"])


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/libexec/podman:/usr/lib/podman")


def own_docker(folder: Path) -> Engine:
    """Return the machine's own Docker."""
    import docker

    client = docker.from_env(timeout=60)
    client.api.trust_env = False  # a socket has no proxy, and looking for one costs milliseconds a request
    return Engine("docker", client, None, folder)


def again(engine: Engine) -> Engine:
    """Return the same engine with a client of its own, for another thread."""
    import docker

    client = docker.DockerClient(base_url=engine.socket, timeout=120) if engine.socket else docker.from_env(timeout=60)
    client.api.trust_env = False
    return replace(engine, client=client, process=None, mounted=[], root=None)


def start(name: str, root: Path) -> Engine:
    """Bring up an engine that keeps everything below a new folder."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    arena = root / "arena"
    arena.mkdir()
    subprocess.run(["mount", "--bind", str(arena), str(arena)], check=True)
    subprocess.run(["mount", "--make-shared", str(arena)], check=True)
    socket = f"unix://{root / 'engine.sock'}"
    words, data = _podman(root, socket) if name == "podman" else _dockerd(root, socket)
    with (root / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "-m", "-n", "--propagation", "slave", "sh", "-c", _ALONE, "sh", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,  # Podman's monitor leaves an empty file "oom" where it was started
            start_new_session=True,
            env=os.environ | {"ARENA": str(arena)},
        )
    runtime = name if name in ("crun", "runsc") else None
    engine = Engine(name, None, runtime, arena, data, socket, process, [arena], root)
    engine.client = _answering(engine)
    return engine


def _answering(engine: Engine) -> Any:
    import docker

    assert engine.root is not None
    assert engine.process is not None
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client = docker.DockerClient(base_url=engine.socket, version="auto", timeout=120)
            client.api.trust_env = False
            client.ping()
        except Exception:
            if time.monotonic() > deadline or engine.process.poll() is not None:
                text = (engine.root / "log.txt").read_text(errors="replace")[-2000:]
                engine.close()
                raise RuntimeError(f"{engine.name} does not answer: {text}") from None
            time.sleep(0.1)
        else:
            return client


def _dockerd(root: Path, socket: str) -> tuple[list[str], tuple[Path, ...]]:
    runtimes = {"crun": {"path": _which("crun")}, "runsc": {"path": _which("runsc"), "runtimeArgs": ["--network=none"]}}
    settings = root / "daemon.json"
    settings.write_text(json.dumps({"runtimes": {key: one for key, one in runtimes.items() if one["path"]}}))
    words = ["dockerd", f"--config-file={settings}", f"--data-root={root / 'data'}", f"--exec-root={root / 'exec'}"]
    words += [f"--pidfile={root / 'pid'}", "-H", socket, "--bridge=none", "--iptables=false"]
    return words, (root / "data" / "volumes", root / "data" / "containers")


def _podman(root: Path, socket: str) -> tuple[list[str], tuple[Path, ...]]:
    wrapper = root / "oci"
    wrapper.write_text(_OCI.format(python=sys.executable, runtime=_which("crun")))
    wrapper.chmod(0o755)
    words = ["podman", f"--root={root / 'data'}", f"--runroot={root / 'run'}", f"--tmpdir={root / 'tmp'}"]
    words += ["--cgroup-manager=cgroupfs", f"--runtime={wrapper}", "--storage-driver=overlay", "--events-backend=file"]
    words += ["system", "service", "--time=0", socket]
    return words, (root / "data" / "volumes", root / "data" / "overlay-containers")
