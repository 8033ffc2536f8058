"""What the work on one prediction may take: asked between the steps, each of which is bounded by the volume.

A kernel cannot be stopped, and need not be: nothing here takes longer than so much per voxel. So it is enough to ask
before each step whether there is time left, and whether the memory it is about to ask for is granted. What one thread
spends is its own affair; threads that score other submissions, and their memory, are not touched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class OverBudgetError(Exception):
    """A prediction takes more than it may; its text says what, in words."""


@dataclass
class _Spending:
    until_s: float
    seconds: float
    most_bytes: float


class _Own(threading.local):
    def __init__(self) -> None:
        self.spending: _Spending | None = None


_own = _Own()


@contextmanager
def spending(cpu_seconds: float | None, most_bytes: float | None) -> Iterator[None]:
    """Limit what this thread does here.

    Parameters
    ----------
    cpu_seconds : float, optional
        CPU time of this thread.
    most_bytes : float, optional
        Memory that a single step may ask for.
    """
    from medpodium.scoring.measures.compiled.times import told_of_compiling

    before = _own.spending
    seconds = float("inf") if cpu_seconds is None else cpu_seconds
    _own.spending = _Spending(time.thread_time() + seconds, seconds, float("inf") if most_bytes is None else most_bytes)
    try:
        with told_of_compiling(_given_back):
            yield
    finally:
        _own.spending = before


def _given_back(seconds: float) -> None:
    """Give back the time in which something was compiled: whoever comes first on a machine would pay for all."""
    if _own.spending is not None:
        _own.spending.until_s += seconds


@contextmanager
def unlimited() -> Iterator[None]:
    """Leave out what is done here: the reference's part of the work is nobody's fault."""
    held, start = _own.spending, time.thread_time()
    _own.spending = None
    try:
        yield
    finally:
        if held is not None:
            held.until_s += time.thread_time() - start
        _own.spending = held


def step(n_bytes: int = 0) -> None:
    """Ask whether the next step may be taken.

    Parameters
    ----------
    n_bytes : int
        How much memory it is going to ask for.

    Raises
    ------
    OverBudgetError
        If the time is used up, or it takes too much memory.
    """
    held = _own.spending
    if held is None:
        return
    if time.thread_time() > held.until_s:
        raise OverBudgetError(f"takes more than {held.seconds:g} s of CPU time")
    if n_bytes > held.most_bytes:
        raise OverBudgetError(f"needs {n_bytes / 1e9:.2g} GB at once, more than {held.most_bytes / 1e9:g} GB")
