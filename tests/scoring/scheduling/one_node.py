"""A Slurm cluster of one node on loopback: munged, slurmctld and slurmd, started here and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
_PATIENCE = 60.0
_CONF = """
ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CryptoType=crypto/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=1
MinJobAge=60
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName={name} NodeAddr=127.0.0.1 NodeHostname={name} CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={name} Default=YES MaxTime=60 State=UP
"""


def available() -> bool:
    """Return whether everything is installed; daemons of several users need root."""
    return os.name == "posix" and os.geteuid() == 0 and all(shutil.which(name, path=path()) for name in PROGRAMS)


def path() -> str:
    """Return the search path with the folders of daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(what: str, ready: object, root: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in root.glob("*.log"))
            raise AssertionError(f"{what} did not come up:\n{logs}")
        time.sleep(0.1)


@contextlib.contextmanager
def started(root: Path, cpus: int = 4) -> Iterator[dict[str, str]]:
    """Start the cluster below a new folder; yield the variables that its commands need."""
    # The daemons refuse to trust folders that others may write to; a socket's path has at most 107 characters.
    for name in ("munge", "state", "spool"):
        (root / name).mkdir(parents=True, mode=0o755)
    (root / "munge").chmod(0o711)
    key = root / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    conf = root / "slurm.conf"
    values = {"name": host, "root": root, "ports": _free_ports(2), "cpus": cpus, "user": "root"}
    conf.write_text(_CONF.format(**values), encoding="utf-8")
    environment = {"SLURM_CONF": str(conf), "PATH": path()}
    munge = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={root}/munge/socket",
        f"--pid-file={root}/munge/pid", f"--log-file={root}/munge/log", f"--seed-file={root}/munge/seed",
    ]  # fmt: skip
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (root / f"{words[0]}.out").open("wb") as out:
            daemons.append(subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **environment}))

    def up() -> bool:
        words = ["sinfo", "--noheader", "--format=%T"]
        answer = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
        return answer.stdout.strip() == "idle"

    try:
        start(*munge)
        _wait("munged", lambda: (root / "munge" / "socket").exists(), root)
        start("slurmctld", "-D", "-f", str(conf))
        start("slurmd", "-D", "-N", host, "-f", str(conf))
        _wait("Slurm", up, root)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
