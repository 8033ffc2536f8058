"""Processes copied from this one: they have at once what it has imported, and never wait for its interpreter.

Two threads of one process lose a fifth of their time by handing over Python's lock, and a fresh interpreter needs a
second until it can begin. A copy needs a few milliseconds, and one that dies takes nobody with it.

A copy has only the thread that made it: what another one held at that moment stays locked in it for ever. So it is
made before this process has a second thread of Python's, and only on Linux, whose libraries expect it (on macOS those
of the system do not). For a command, therefore, and not for a library that works in somebody else's process.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

_DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux's prctl."""


def may_fork() -> bool:
    """Return whether this process can be copied without harm."""
    alone = threading.current_thread() is threading.main_thread() and threading.active_count() == 1
    return sys.platform == "linux" and alone


def forked_pool(workers: int) -> ProcessPoolExecutor | None:
    """Return a pool of so many copies of this process, made already; ask :func:`may_fork` before.

    They do not notice Ctrl-C, which is this process's to answer, and end when it does, however that is. ``None`` where
    no more processes are allowed, or there is no shared memory to talk to them.
    """
    before = multiprocessing.active_children()
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin, (os.getpid(),))
        with warnings.catch_warnings():
            # Python counts the threads of NumPy's algebra, which sees to it that it can be copied
            warnings.simplefilter("ignore", DeprecationWarning)
            pool.submit(_begun).result()
    except (OSError, NotImplementedError, BrokenProcessPool):
        for copy in set(multiprocessing.active_children()).difference(before):
            copy.kill()
            copy.join()
        return None
    return pool


def _begun() -> None:
    """Do nothing: the first job makes the copies."""


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        os._exit(1)
    gc.freeze()  # a search would write to every object, and so copy all that is shared
