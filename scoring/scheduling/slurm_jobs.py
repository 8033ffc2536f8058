"""Slurm jobs that are kept running: submitted, watched, replaced when they end, cancelled at last.

Whatever keeps workers from coming is told as soon as Slurm says it: a submission it refuses, a job it can never start,
jobs that end before their workers are there. Waiting is only for jobs that wait in the queue.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.scheduling.scheduler import SchedulerCode

NAME = "medpodium-$SLURM_JOB_ID"
"""Name of a job's workers, as its script says it; several workers of one job get a number behind it."""
_LOOK_SECONDS = 2.0
_COMMAND_SECONDS = 60.0
_PAUSE_SECONDS = 30.0
"""How long nothing is submitted after a failure, while other jobs do the work."""
_MOST_BARREN = 2
"""So many jobs in a row may end before their workers came; a node can be broken, or somebody cancelled one."""
_ALIVE = (
    "PENDING",
    "RUNNING",
    "CONFIGURING",
    "SUSPENDED",
    "REQUEUED",
    "REQUEUE_HOLD",
    "RESIZING",
    "STAGE_OUT",
    "STOPPED",
)
_NEVER = (
    "AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "JobHeldAdmin", "JobHeldUser",
    "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed", "launch_failed_requeued_held",
)  # fmt: skip
"""Reasons for which a job waits until somebody changes it or the cluster."""
_LOG_LINES = 5


@dataclass
class SlurmJobs:
    """The jobs of one run.

    Parameters
    ----------
    script : Path
        What ``sbatch`` gets; its workers are called :data:`NAME`.
    logs : Path
        Folder of the jobs' outputs.
    wanted : int
        How many jobs to keep running.
    """

    script: Path
    logs: Path
    wanted: int
    running: list[str] = field(default_factory=list)
    _barren: list[str] = field(default_factory=list)
    _fruitful: set[str] = field(default_factory=set)
    _looked: float = -1e9
    _resume: float = -1e9

    def tend(self, workers: Iterable[str]) -> None:
        """Look after the jobs: submit what is missing, and give up where nothing will come.

        Parameters
        ----------
        workers : iterable of str
            Names of the workers that are there.

        Raises
        ------
        InfrastructureError
            With Slurm's own words, if there is no worker and none will come.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        names = list(workers)
        self._fruitful |= {one for one in self.running if any(name.startswith(_worker(one)) for name in names)}
        if self._fruitful & set(self.running):
            self._barren.clear()
        states = self._states() if self.running else {}
        if states is None:
            return  # the controller does not answer now; how long that may last is the caller's patience
        for one in [one for one in self.running if states.get(one, ("GONE", ""))[0] not in _ALIVE]:
            self.running.remove(one)
            if one not in self._fruitful:
                self._barren.append(one)
                self._resume = now + _PAUSE_SECONDS
                if not names and len(self._barren) >= _MOST_BARREN:
                    raise self._ended(one, states.get(one, ("gone", ""))[0])
        if not names:
            self._check_hope(states)
        if now >= self._resume or not self.running:
            self._submit(self.wanted - len(self.running))

    def end(self) -> None:
        """Cancel what still waits or runs."""
        if self.running:
            _call("scancel", *self.running)
            self.running.clear()

    def _submit(self, count: int) -> None:
        for _ in range(count):
            code, said, problem = _call("sbatch", "--parsable", str(self.script))
            number = re.match(r"\d+", said.strip())
            if code == 0 and number is not None:
                self.running.append(number[0])
                continue
            self._resume = time.monotonic() + _PAUSE_SECONDS
            if not self.running:
                raise _error(SchedulerCode.REFUSED, "sbatch", _words(problem or said), _REFUSED_FIX)
            return

    def _states(self) -> dict[str, tuple[str, str]] | None:
        """Return (state, reason) of the user's jobs; nothing if Slurm does not answer."""
        user = str(os.getuid())
        code, said, _ = _call("squeue", "--noheader", "--states=all", f"--user={user}", "--format=%A|%T|%r")
        if code != 0:
            return None
        lines = (line.strip().split("|", 2) for line in said.splitlines())
        return {words[0]: (words[1], words[2]) for words in lines if len(words) == 3}

    def _check_hope(self, states: dict[str, tuple[str, str]]) -> None:
        reasons = [states[one][1] for one in self.running if one in states]
        if reasons and all(reason in _NEVER for reason in reasons):
            cause = f"job {self.running[0]} waits for ever: {reasons[0]}"
            raise _error(SchedulerCode.REFUSED, "Slurm", cause, _REFUSED_FIX)

    def _ended(self, job: str, state: str) -> InfrastructureError:
        lines: list[str] = []
        for path in sorted(self.logs.glob(f"*-{job}.*")):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "; ".join(line.strip() for line in lines[-_LOG_LINES:] if line.strip())
        count = len(self._barren)
        cause = f"{count} Slurm jobs in a row ended before their workers came, the last one {state.lower()}"
        cause += f": {_words(last)}" if last else ", without a word"
        fix = "try the script of --slurm-script by hand: Python, the prologue, and files must be there on the nodes"
        return _error(SchedulerCode.JOBS_ENDED, f"job {job}", cause, fix)


_REFUSED_FIX = "correct the settings of --slurm; --slurm-script prints what is submitted"


def _worker(job: str) -> str:
    return NAME.replace("$SLURM_JOB_ID", job)


def _error(code: SchedulerCode, where: str, cause: str, fix: str) -> InfrastructureError:
    return InfrastructureError(Finding(code, where, cause, fix))


def _words(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    shown = "; ".join(line for line in lines if line) or "no reason given"
    return "".join(char if char.isprintable() else "?" for char in shown)[:500]


def _call(*words: str) -> tuple[int, str, str]:
    """Run a command of Slurm; a code other than 0 with its words where it fails, is absent or hangs."""
    try:
        answer = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, "", str(error)
    return answer.returncode, answer.stdout, answer.stderr
