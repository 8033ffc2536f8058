"""The process that parses collected files has its time by the processor: a busy machine fails no honest team."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medpodium.containers.run.checker import Checker


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("import time; time.sleep(1); print('ready', flush=True)", b"ready\n"),  # as on a machine with no time for it
        ("while True: pass", b""),
        ("raise SystemExit(1)", b""),
    ],
    ids=["waits", "never ends", "dies"],
)
def test_time_is_counted_by_the_processor(posix: None, program: str, answer: bytes) -> None:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert Checker(0.5)._line(process) == answer
    finally:
        process.kill()
        process.communicate()
