"""The process that parses what a container left, seen from the outside."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time

from medpodium.containers.failures import EngineCode, RunCode, finding, infrastructure
from medpodium.containers.run.question import Answer, Question, refused

_CHECK_SECONDS = 120.0


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
                [sys.executable, "-m", "medpodium.containers.run.normalise"],
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
        deadline, line = time.monotonic() + self._seconds, b""
        descriptor = process.stdout.fileno()
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return line
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
