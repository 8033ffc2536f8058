"""Processes copied from this one: they have at once what it has imported, and never wait for its interpreter.

Two threads of one process lose a fifth of their time by handing over Python's lock, and a fresh interpreter needs a
second until it can begin. A copy needs a few milliseconds, and one that dies takes nobody with it.

One copy, the :class:`Deputy`, fetches what the jobs take (loops, and the compiler they need) and copies itself for each
worker, while this process goes on with what it needs itself. It asks for a job whenever a worker can have one.

A copy has only the thread that made it: what another one held at that moment stays locked in it for ever. So it is
made before this process has a second thread of Python's, and only on Linux, whose libraries expect it (on macOS those
of the system do not). For a command, therefore, and not for a library that works in somebody else's process.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from medpodium.scoring.scheduling.pool import Done, run_pool, run_threads

J = TypeVar("J")
R = TypeVar("R")

_DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux's prctl."""


def may_fork() -> bool:
    """Return whether this process can be copied without harm."""
    alone = threading.current_thread() is threading.main_thread() and threading.active_count() == 1
    return sys.platform == "linux" and alone


class Deputy:
    """A copy of this process that does its jobs; ask :func:`may_fork` before.

    It does not notice Ctrl-C, which is this process's to answer, and ends when it does, however that is.

    Parameters
    ----------
    prepare : callable
        Fetches what the jobs take, and returns whether it could.

    Raises
    ------
    OSError
        If no more processes are allowed.
    """

    def __init__(self, prepare: Callable[[], bool]) -> None:
        context = multiprocessing.get_context("fork")
        self._talk, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._talk, os.getpid(), prepare))
        try:
            with _untold(), _interrupted_later():
                self._process.start()
                weakref.finalize(self, self._talk.close)  # or the program's end would wait for one that nobody closed
        except OSError:
            self._talk.close()
            raise
        finally:
            theirs.close()

    @property
    def lives(self) -> bool:
        """Whether jobs can be given to it."""
        return not self._talk.closed and self._process.is_alive()

    def run(
        self, function: Callable[[J], R], jobs: Sequence[J], waiting: deque[int], suspects: list[int], workers: int
    ) -> Iterator[Done[R]]:
        """Do jobs as :func:`medpodium.scoring.scheduling.pool.run_pool` does.

        If it ends meanwhile, ``waiting`` has the jobs that it did not have yet, and ``suspects`` those under way.
        """
        under_way: set[int] = set()
        whole = False
        try:
            self._talk.send((function, len(jobs), workers))
            while (said := self._talk.recv()) is not None:
                if isinstance(said, Done):
                    under_way.remove(said.index)
                    yield said if said.error else replace(said, result=_opened(said.result))
                else:
                    waiting.remove(said)
                    under_way.add(said)
                    self._talk.send(pickle.dumps(jobs[said]))
            whole = True
        except (EOFError, OSError):  # it is no more
            suspects += sorted(under_way)
        finally:
            if not whole:
                self._process.kill()  # and those it made end with it
                self.close()

    def close(self) -> None:
        """Let it end, and wait until it has."""
        self._talk.close()
        self._process.join()


@dataclass(frozen=True)
class _Packed:
    """A function of packed jobs, whose results are packed, too: the deputy hands on what it need not open."""

    function: Callable[[Any], Any]

    def __call__(self, job: bytes) -> bytes:
        return pickle.dumps(self.function(_opened(job)))


def _opened(packed: Any) -> Any:
    return pickle.loads(packed)  # noqa: S301 - packed by this process's own copy, or by the process it was copied from


@dataclass(frozen=True)
class _Asked(Sequence[Any]):
    """The jobs, each of which is asked for when it is its turn."""

    talk: Any
    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        self.talk.send(index)
        return self.talk.recv()


def _serve(talk: Any, other_end: Any, parent: int, prepare: Callable[[], bool]) -> None:
    """Do what the process asks for whose deputy this is, until it asks for nothing more."""
    other_end.close()
    _begin(parent)
    ready = False
    with suppress(Exception):  # the first job will say it better
        ready = prepare()
    copies: ProcessPoolExecutor | None = None
    most = 1
    with suppress(EOFError, OSError):  # the process has closed its end
        while True:
            function, number, workers = talk.recv()
            jobs = _Asked(talk, number)
            waiting, suspects = deque(range(number)), list[int]()
            if ready and workers > most and number > 1:
                if copies is not None:
                    copies.shutdown(wait=True)  # and with it go the threads that look after them
                copies, most = forked_pool(workers), workers
            if copies is None:
                for done in run_threads(_Packed(function), jobs, workers, first_alone=not ready):
                    talk.send(done)
                ready = True
            else:
                for done in run_pool(_Packed(function), jobs, waiting, suspects, workers, copies):
                    talk.send(done)
                if suspects or waiting:
                    break  # one of them died: what it did is for a fresh process
            talk.send(None)
    if copies is not None:
        copies.shutdown(wait=True, cancel_futures=True)


def forked_pool(workers: int) -> ProcessPoolExecutor | None:
    """Return a pool of so many copies of this process, made already.

    ``None`` where no more processes are allowed, or there is no shared memory to talk to them.
    """
    before = multiprocessing.active_children()
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin, (os.getpid(),))
        with _untold():
            pool.submit(_begun).result()
    except (OSError, NotImplementedError, BrokenProcessPool):
        for copy in set(multiprocessing.active_children()).difference(before):
            copy.kill()
            copy.join()
        return None
    return pool


def _begun() -> None:
    """Do nothing: the first job makes the copies."""


@contextmanager
def _untold() -> Iterator[None]:
    """Leave out Python's warning: it counts the threads of NumPy's algebra, which sees to it that it can be copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Put Ctrl-C off, also in a process that is made within the block: until :func:`_begin` it would answer it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        os._exit(1)
    gc.freeze()  # a search would write to every object, and so copy all that is shared
