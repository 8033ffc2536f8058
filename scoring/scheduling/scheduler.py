"""Where jobs run: on this machine, on a Dask cluster or on Slurm, behind one small interface.

A verb hands its jobs to a :class:`Scheduler` and takes outcomes as they come; it alone writes files and ledgers.
Whatever the place, at most a fixed number of jobs per worker is under way, so memory does not grow with the number
of jobs, and a dead worker costs only the jobs it was doing: they are done again elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from medpodium.findings import Code, Finding, InfrastructureError
from medpodium.scoring.scheduling.pool import Done, cores, memory_limit, run_jobs, run_threads, worker_count

if TYPE_CHECKING:
    from medpodium.scoring.scheduling.forked import Deputy

J = TypeVar("J")
R = TypeVar("R")
D = TypeVar("D")

_TIMES_TO_BE_SAFE = 3
"""Jobs run on threads of the verb's process only if this process could have so many times more memory than they need
together: one that takes more than it should must not take everything computed so far with it."""


class SchedulerCode(Code):
    """What can be wrong with the place where jobs run."""

    NOT_INSTALLED = "scheduler-not-installed"
    UNREACHABLE = "scheduler-unreachable"
    NO_WORKERS = "no-workers"
    NO_RESOURCE = "no-worker-with-resource"
    VERSION_DIFFERS = "worker-version-differs"
    """A worker has other versions of what scores depend on."""
    LOST = "scheduler-lost"
    SETTINGS = "slurm-settings-invalid"
    BOTH = "scheduler-given-twice"
    JOB_FAILED = "job-failed-everywhere"
    """A part of the work failed on every worker it was given to."""
    FILE_NOT_SEEN = "file-not-seen-by-worker"
    OPEN = "scheduler-not-encrypted"
    NO_CERTIFICATE = "scheduler-certificate"
    REFUSED = "slurm-refused"
    """Slurm does not take the jobs, or will never start them as they are.

    Ask for a partition, an account and resources that the cluster has; sinfo and sacctmgr show them.
    """
    JOBS_ENDED = "slurm-jobs-ended"
    """Jobs of Slurm started and ended before their workers reached the scheduler."""


@dataclass(frozen=True)
class Needs:
    """What one job needs.

    Parameters
    ----------
    memory_bytes : int
        Expected peak memory; sizes the pool of this machine.
    gpus : int
        GPUs a worker must offer, as the Dask resource ``GPU``.
    apart : bool
        The jobs are known to end their process now and then: one at a time, each in a process of its own.
    prepare : callable, optional
        Does what the first job of this process would else do for all others (imports, compiling), and returns whether
        it could: then several threads begin at once. Without it, the first job runs alone.
    """

    memory_bytes: int = 0
    gpus: int = 0
    apart: bool = False
    prepare: Callable[[], bool] | None = None

    def ready(self) -> bool:
        """Prepare this process, and return whether that worked; what goes wrong there a job will say better."""
        try:
            return self.prepare is not None and self.prepare()
        except Exception:
            return False


@dataclass(frozen=True)
class Bound(Generic[D, J, R]):
    """A function of (data, job) with its data: the data go to a worker once, not with every job."""

    function: Callable[[D, J], R]
    data: D

    def __call__(self, job: J) -> R:
        """Do one job."""
        return self.function(self.data, job)


class Scheduler(ABC):
    """A place where jobs run; use it in a ``with`` block."""

    @abstractmethod
    def run(self, function: Callable[[J], R], jobs: Sequence[J], needs: Needs | None = None) -> Iterator[Done[R]]:
        """Run ``function`` on every job and yield outcomes as they come, in no fixed order.

        Parameters
        ----------
        function : callable
            Module-level function of one job, or a :class:`Bound`; it, the job and the result are pickled.
        jobs : sequence
            What to do; an item is asked for when it is its turn, so the sequence may make them then.
        needs : Needs, optional
            What one job takes.

        Yields
        ------
        Done
            Every job exactly once: its result, or the error it raised; a job that killed its worker twice is an
            error as well.

        Raises
        ------
        InfrastructureError
            If the place itself is lost; outcomes yielded before are valid.
        """

    def close(self) -> None:  # noqa: B027 - most places have nothing to close
        """Let go of the place; workers somebody else started stay."""

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalScheduler(Scheduler):
    """The cores at hand: threads where memory is ample, else processes (:mod:`medpodium.scoring.scheduling.pool`).

    Parameters
    ----------
    workers : int, optional
        Number of threads or processes; as many as cores and memory allow when left out.
    forks : bool
        Take copies of this process instead of threads, where there are several processors and it can be copied without
        harm (:mod:`medpodium.scoring.scheduling.forked`): for a command, whose process is its own.
    """

    def __init__(self, workers: int | None = None, *, forks: bool = False) -> None:
        self._workers = workers
        self._forks = forks
        self._deputy: Deputy | None = None

    def run(self, function: Callable[[J], R], jobs: Sequence[J], needs: Needs | None = None) -> Iterator[Done[R]]:
        """Run on this machine."""
        needs = needs or Needs()
        count = min(worker_count(self._workers, needs.memory_bytes), max(len(jobs), 1))
        # A job that runs out of memory in this process would take everything computed so far with it.
        if not needs.apart and needs.memory_bytes * (count + _TIMES_TO_BE_SAFE) <= memory_limit():
            deputy = self._deputy_for(needs)
            if deputy is not None:
                return run_jobs(function, jobs, count, ready=deputy)
            ready = count > 1 and len(jobs) > 1 and needs.ready()
            return run_threads(function, jobs, count, first_alone=not ready)
        return run_jobs(function, jobs, count, apart=needs.apart)

    def _deputy_for(self, needs: Needs) -> Deputy | None:
        """Return a copy of this process as it was when one was asked for first, as long as it lives."""
        if self._forks and needs.prepare is not None and cores() > 1:
            from medpodium.scoring.scheduling.forked import Deputy, may_fork

            self._forks = False  # only once: from then on there may be threads here
            if may_fork():
                with suppress(OSError):
                    self._deputy = Deputy(needs.prepare)
        return self._deputy if self._deputy is not None and self._deputy.lives else None

    def close(self) -> None:
        """End the copies."""
        if self._deputy is not None:
            self._deputy.close()
            self._deputy = None


class ThreadScheduler(Scheduler):
    """Threads of this process, for array arithmetic that shares large data.

    Parameters
    ----------
    workers : int
        Number of threads.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = max(1, workers)

    def run(self, function: Callable[[J], R], jobs: Sequence[J], needs: Needs | None = None) -> Iterator[Done[R]]:
        """Run on this process's threads, two jobs per thread under way."""
        return run_threads(function, jobs, self._workers)


def require(module: str) -> Any:
    """Import a library of the extra ``scale``.

    Raises
    ------
    InfrastructureError
        If it is not installed; the finding says what to install.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        cause = f"the library {module} is not installed"
        fix = "install the extra: pip install 'medpodium[scale]'"
        raise InfrastructureError(Finding(SchedulerCode.NOT_INSTALLED, module, cause, fix)) from None
