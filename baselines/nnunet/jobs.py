"""Run one job of nnU-Net in a process of its own.

nnU-Net reads its folders from the environment when it is imported, holds on to memory and prints much; a fresh
process keeps all of that away from the caller. The job goes in as JSON, marked lines come back as events.
"""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, broken
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.challenges.sources import python_command
from medpodium.findings import Finding, InfrastructureError, MedpodiumError, Severity, UsageError

MARK = "@@medpodium "
"""Start of a line of the worker that is an event, not text."""

_PATIENCE = 10.0
"""Seconds that an interrupted worker has to end by itself."""
_ERRORS: dict[int, type[MedpodiumError]] = {2: UsageError, 3: InfrastructureError}
OnEvent = Callable[[Mapping[str, Any]], None]


def run_job(
    kind: str,
    job: Mapping[str, Any],
    workspace: Workspace,
    *,
    device: str = "cpu",
    on_event: OnEvent | None = None,
    trainers: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
    on_start: Callable[[subprocess.Popen[str]], None] | None = None,
) -> dict[str, Any]:
    """Run a job and return its result; it ends when this process ends, however that happens.

    Parameters
    ----------
    kind : {"plan", "train", "predict"}
        What to do.
    job : mapping
        Its arguments, plain data.
    workspace : Workspace
        Folders, and where the log goes.
    device : str
        For the number of worker processes.
    on_event : callable, optional
        Told of progress.
    trainers : sequence of Path
        Folders of further trainers.
    variables : mapping of str to str, optional
        Added to its environment.
    on_start : callable, optional
        Handed the process, for :func:`stop`.

    Raises
    ------
    MedpodiumError
        With the worker's own findings.
    InfrastructureError
        If nnU-Net failed otherwise; the finding names the log.
    """
    workspace.logs.mkdir(parents=True, exist_ok=True)
    # as nnU-Net itself: with a GPU, more threads of the libraries only compete with those that load data
    threads = 1 if kind == "train" and device == "cuda" else None
    environment = workspace.environment(device, trainers=trainers, threads=threads)
    environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    if kind == "plan" and environment["nnUNet_n_proc_DA"] == "0":
        environment["nnUNet_n_proc_DA"] = "1"  # the planner takes it for a number of threads
    environment |= variables or {}
    log = workspace.logs / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{kind}.log"
    process = subprocess.Popen(
        python_command("medpodium.baselines.nnunet.worker", unbuffered=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    result: dict[str, Any] | None = None
    tail: deque[str] = deque(maxlen=20)
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        if on_start is not None:
            on_start(process)
        process.stdin.write(json.dumps({"kind": kind, "job": dict(job)}) + "\n")
        process.stdin.flush()  # and left open: the worker ends when it is closed
        with log.open("w", encoding="utf-8", buffering=1) as stream:
            for line in process.stdout:
                if not line.startswith(MARK):
                    stream.write(line)
                    tail.append(line.strip())
                    continue
                event = json.loads(line[len(MARK) :])
                if event["event"] == "findings":
                    raise _ERRORS.get(event["exit_code"], MedpodiumError)(*map(_finding, event["findings"]))
                if event["event"] == "result":
                    result = event["result"]
                elif on_event is not None:
                    on_event(event)
        process.wait()
    finally:
        if process.poll() is None:
            stop(process)
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
    if result is None:
        last = next((line for line in reversed(tail) if line), "no output")
        cause = f"{kind} ended with exit code {process.returncode}: {last[:300]}"
        raise broken(BaselineCode.RUN_FAILED, kind, cause, f"see {log}")
    return result


def stop(process: subprocess.Popen[str]) -> None:
    """End the worker and all it started; the processes of nnU-Net's pools would first finish their cases."""
    import psutil

    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _finding(row: Mapping[str, str]) -> Finding:
    return Finding(BaselineCode(row["code"]), row["where"], row["cause"], row["fix"], Severity(row["severity"]))
