"""The process that nnU-Net runs in: how it ends when it is no longer wanted."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from medpodium.baselines.nnunet import jobs

BUSY = "import time; print('busy', flush=True); time.sleep(600)"


@pytest.mark.parametrize("deaf", [False, True])
def test_a_stopped_worker_takes_its_own_processes_along(deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of a pool that was in the middle of a case would finish it first."""
    monkeypatch.setattr(jobs, "_PATIENCE", 1.0)
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    starts = f"{ignore}import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    worker = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "busy\n"
    (child,) = psutil.Process(worker.pid).children()
    jobs.stop(worker)
    worker.stdout.close()
    assert worker.returncode is not None
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
