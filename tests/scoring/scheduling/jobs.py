"""Jobs for the scheduler tests; workers import this file by its path."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from medpodium.scoring.kinds.protocol import CaseScores, Row


def double(number: int) -> int:
    return 2 * number


def scaled(factor: int, number: int) -> int:
    return factor * number


def raises(number: int) -> int:
    if number == 3:
        raise ValueError("three\nis odd")
    return number


def slow(number: int) -> int:
    time.sleep(0.05)
    return number


def deadly(number: int) -> int:
    """Kill the worker at number 5, every time."""
    if number == 5:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return number


def deadly_once(job: tuple[Path, int]) -> int:
    """Kill the worker at number 5, the first time only."""
    marks, number = job
    if number == 5 and not (marks / "dead").exists():
        (marks / "dead").touch()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return number


def rows_of(number: int) -> CaseScores:
    """Return the rows of one made-up case."""
    structures = [f"structure {index}" for index in range(15)]
    rows = [
        Row("team", f"case {number}", name, metric, (number % 97) / 97, "ok")
        for name in structures
        for metric in ("dice", "nsd")
    ]
    return CaseScores(rows, {"": [], "team": []})
