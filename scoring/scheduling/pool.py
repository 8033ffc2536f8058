"""Run independent jobs on several processes or threads: bounded memory, progress, and errors stay with their job.

A worker process that dies costs only its own job. Threads start in no time and share what is compiled, but a job that
ends its process ends them all: they are for jobs with memory to spare.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Generic, Protocol, TypeVar

import psutil

J = TypeVar("J")
R = TypeVar("R")

_MEMORY_SHARE = 0.7
"""Share of the memory free at the start that all workers together may use."""
_TURN_S = 0.0002
"""How long a thread keeps Python's lock while another one waits; Python's own 5 ms are half of what a case's kernels
take."""


@dataclass(frozen=True)
class JobError:
    """A job that raised, or whose process died, both times it was tried.

    Parameters
    ----------
    summary : str
        The exception in one line.
    details : str
        The traceback, for a bug report.
    died : bool
        Whether it took its process with it.
    """

    summary: str
    details: str = ""
    died: bool = False


@dataclass(frozen=True)
class Done(Generic[R]):
    """Outcome of one job: its position in the list of jobs, and its result or error."""

    index: int
    result: R | None
    error: JobError | None = None


class Workers(Protocol):
    """Processes that are there already."""

    def run(
        self, function: Callable[[J], R], jobs: Sequence[J], waiting: deque[int], suspects: list[int], workers: int
    ) -> Iterator[Done[R]]:
        """Do the waiting jobs as :func:`run_pool` does."""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(requested: int | None, memory_per_worker: int) -> int:
    """Return how many processes to start: as asked, or as many as cores and free memory allow.

    Parameters
    ----------
    requested : int, optional
        What the user asked for.
    memory_per_worker : int
        Expected peak memory of one worker in bytes.
    """
    if requested is not None:
        return max(1, requested)
    fitting = int(psutil.virtual_memory().available * _MEMORY_SHARE / max(memory_per_worker, 1))
    return max(1, min(cores(), fitting))


def memory_limit() -> int:
    """Return how many bytes a process may have at all: the machine's memory, or its own limit (``ulimit -v``)."""
    most = int(psutil.virtual_memory().total)
    try:
        import resource
    except ImportError:  # not on this system, which has no such limit either
        return most
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return most if limit == resource.RLIM_INFINITY else min(most, limit)


class _Turns:
    """Short turns with Python's lock as long as anybody needs them, and then those that were set before."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._before = 0.0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Keep turns short within the block."""
        with self._lock:
            if not self._users:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _TURN_S))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    sys.setswitchinterval(self._before)


_turns = _Turns()


def run_threads(
    function: Callable[[J], R], jobs: Sequence[J], workers: int, *, first_alone: bool = False
) -> Iterator[Done[R]]:
    """Run ``function`` on every job on threads of this process and yield outcomes as they come, in no fixed order.

    At most two jobs per thread are under way.

    Parameters
    ----------
    function : callable
        Function of one job; threads help it as far as it lets go of Python's lock, as compiled kernels do.
    jobs : sequence
        What to do.
    workers : int
        Number of threads.
    first_alone : bool
        Do the first job before any thread starts: it imports and compiles what all of them need.
    """
    waiting = deque(range(len(jobs)))
    while waiting and (workers <= 1 or len(jobs) == 1 or (first_alone and waiting[0] == 0)):
        index = waiting.popleft()
        yield run_here(function, index, jobs[index])
    if not waiting:
        return
    running: set[Future[Done[R]]] = set()
    pool = ThreadPoolExecutor(min(workers, len(waiting)))
    with _turns.short():
        try:
            while waiting or running:
                while waiting and len(running) < 2 * workers:
                    index = waiting.popleft()
                    running.add(pool.submit(run_here, function, index, jobs[index]))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_jobs(
    function: Callable[[J], R],
    jobs: Sequence[J],
    workers: int,
    *,
    apart: bool = False,
    ready: Workers | None = None,
) -> Iterator[Done[R]]:
    """Run ``function`` on every job on processes and yield outcomes as they come, in no fixed order.

    The first job runs alone: compiled code is then cached before any other worker asks for it. At most two jobs per
    worker are under way, so that memory stays bounded for any number of jobs.

    Parameters
    ----------
    function : callable
        Module-level function of one job; job and result are pickled.
    jobs : sequence
        What to do.
    workers : int
        Number of processes.
    apart : bool
        Give every job a process of its own, one after the other, because some of them are known to end theirs.
    ready : Workers, optional
        Processes that are there already, need no first job and stay when all are done; fresh ones follow if one dies.
    """
    waiting = deque(range(len(jobs)))
    if apart:
        yield from (_run_alone(function, index, jobs[index]) for index in waiting)
        return
    suspects: list[int] = []
    if ready is not None:
        yield from ready.run(function, jobs, waiting, suspects, workers)
    elif waiting:
        yield _run_alone(function, waiting[0], jobs[waiting.popleft()])
    while waiting:
        number = min(workers, len(waiting))
        with _pool(number) as pool:
            yield from run_pool(function, jobs, waiting, suspects, number, pool)
    # A pool does not say whose process died, so whatever was under way is tried again, one job at a time.
    for index in suspects:
        yield _run_alone(function, index, jobs[index])


def run_here(function: Callable[[J], R], index: int, job: J) -> Done[R]:
    """Run one job in this process; what it raises becomes the outcome's error."""
    try:
        return Done(index, function(job))
    except Exception as error:
        return Done(index, None, JobError(one_line_error(error), traceback.format_exc()))


def one_line_error(error: BaseException) -> str:
    """Return an exception as one line: its type and the first line of its message."""
    return f"{type(error).__name__}: {error}".split("\n")[0]


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fresh interpreter per worker: forking a process that holds threads or a GPU is not safe.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def run_pool(
    function: Callable[[J], R],
    jobs: Sequence[J],
    waiting: deque[int],
    suspects: list[int],
    workers: int,
    pool: ProcessPoolExecutor,
) -> Iterator[Done[R]]:
    """Run jobs on a pool until all are done or it breaks, at most two per worker under way.

    Parameters
    ----------
    function, jobs, workers, pool
        What to do, and where.
    waiting : deque of int
        Which jobs to do; those that were begun are taken out.
    suspects : list of int
        Gets the jobs that were under way when a process of the pool died.
    """
    running: dict[Future[R], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                index = waiting[0]
                running[pool.submit(function, jobs[index])] = index
                waiting.popleft()
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                index = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    running[future] = index
                    raise error
                yield _outcome(index, future)
    except BrokenProcessPool:
        for future, index in running.items():
            if future.done() and future.exception() is None:
                yield _outcome(index, future)
            else:
                suspects.append(index)
    finally:
        for future in running:
            future.cancel()


def _run_alone(function: Callable[[J], R], index: int, job: J) -> Done[R]:
    with _pool(1) as pool:
        future = pool.submit(function, job)
        wait([future])
        if isinstance(future.exception(), BrokenProcessPool):
            return Done(index, None, JobError("the scoring process died (out of memory?)", died=True))
        return _outcome(index, future)


def _outcome(index: int, future: Future[R]) -> Done[R]:
    error = future.exception()
    if error is None:
        return Done(index, future.result())
    details = "".join(traceback.format_exception(error))
    return Done(index, None, JobError(one_line_error(error), details))
