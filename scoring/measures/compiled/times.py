"""How long a thread compiles, told while it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

_listener_of_events: Any = event.Listener  # numba has no types for it


class _Compiling(_listener_of_events):  # type: ignore[misc]
    """Hears of all threads, and listens to the one that made it."""

    def __init__(self, told: Callable[[float], None]) -> None:
        self._told = told
        self._thread = threading.get_ident()
        self._depth = 0
        self._start = 0.0

    def on_start(self, event: object) -> None:
        """Begin."""
        if threading.get_ident() == self._thread:
            self._start = self._start if self._depth else time.thread_time()
            self._depth += 1

    def on_end(self, event: object) -> None:
        """End."""
        if threading.get_ident() == self._thread and self._depth:
            self._depth -= 1
            if self._depth == 0:
                self._told(time.thread_time() - self._start)


@contextmanager
def told_of_compiling(told: Callable[[float], None]) -> Iterator[None]:
    """Call a function with the CPU seconds whenever this thread has compiled something within the block."""
    with event.install_listener("numba:compile", _Compiling(told)):
        yield
