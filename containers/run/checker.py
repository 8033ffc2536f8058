"""The process that parses what a container left, seen from the outside."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path

from medpodium.challenges.sources import python_command
from medpodium.containers.failures import EngineCode, RunCode, finding, infrastructure
from medpodium.containers.run.question import Answer, Question, refused

_CHECK_SECONDS = 120.0
"""Processor time for one file: on a machine with other things to do an honest file takes as long as it takes."""
_PATIENCE = 10.0
"""How many times as long a file may keep the process, whatever it does."""


class Checker:
    """The process that parses collected files, with limits of its own; started anew when one of them kills it."""

    def __init__(self, seconds: float = _CHECK_SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Question, where: str) -> Answer:
        """Return the answer about one file; a crash or a hang of the checker is a failure of that file."""
        process = self._running(where)
        assert process.stdin is not None  # noqa: S101 - opened as a pipe
        try:
            process.stdin.write(question.line())
            process.stdin.flush()
            line = self._line(process)
        except (OSError, ValueError):
            line = b""
        if line.endswith(b"\n"):
            return Answer(**json.loads(line))
        self.close()
        return refused(finding(RunCode.CHECK_FAILED, where, "the checker ran out of time or memory on this file"))

    def _running(self, where: str) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                python_command("medpodium.containers.run.normalise"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if self._line(self._process) != b"ready\n":
                self.close()
                raise infrastructure(EngineCode.CHECKER, where, "the checker does not start")
        return self._process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Read one line, or what came before time ran out."""
        assert process.stdout is not None  # noqa: S101 - opened as a pipe
        began, used, line = time.monotonic(), _processor_seconds(process.pid), b""
        descriptor = process.stdout.fileno()
        while not line.endswith(b"\n"):
            waited = time.monotonic() - began
            spent = min(waited, _processor_seconds(process.pid) - used)
            left = min(self._seconds - spent, _PATIENCE * self._seconds - waited)
            if left <= 0:
                return line
            if not select.select([descriptor], [], [], max(left, 0.01))[0]:
                continue
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return line
            line += chunk
        return line

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Checker:
        """Return the checker; it starts with the first question."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process in s; where that cannot be read, the time that passes."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return time.monotonic()
