"""Run jobs on a Dask cluster: few under way, every loss retried, a job that keeps killing workers named.

Dask retries a job whose worker died by itself, and gives up on one that was seen on several dying workers. As a
worker may hold more than one job, the ones given up are tried again alone, with nothing else under way: what dies
then is to blame, and nothing else ever is.

Dask needs some milliseconds to hand out a task, which is more than a small case takes: short jobs travel several at a
time.
"""

from __future__ import annotations

import asyncio
import functools
import pickle
import queue
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from medpodium.challenges.sources import package_version, source_hash
from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.scheduling.pool import Done, JobError, one_line_error
from medpodium.scoring.scheduling.scheduler import Needs, Scheduler, SchedulerCode, require

J = TypeVar("J")
R = TypeVar("R")

_JOBS_PER_THREAD = 16
"""Jobs known to the cluster per worker thread; all but about one of them wait at its scheduler, not at a worker."""
_TOGETHER = 8
"""Most jobs of one task: each thread then still has two tasks."""
_SHORT_S = 0.05
"""As many jobs travel together as take this long, in seconds; any job of more than half of it travels alone."""
_SMALL_BYTES = 50_000
"""A function pickled to more than this travels once per worker, not with every job."""
_MOST_AT_ONCE = 64
_CONNECT_SECONDS = 15.0
_LOOK_SECONDS = 2.0
_FETCH_SECONDS = 20.0
"""Patience for results that are there, until the cluster is looked after again."""
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError)  # one and the same from Python 3.11 on
_SHOWN = 12
"""Characters of a version or hash in a message."""


class DaskScheduler(Scheduler):
    """A running Dask cluster.

    Parameters
    ----------
    address : str or cluster
        ``tls://HOST:PORT`` or ``tcp://HOST:PORT``, or a cluster object of ``distributed``. The certificates of TLS are
        those that Dask's configuration names.
    patience_s : float
        How long no worker at all may be there before the run gives up, in seconds.

    Raises
    ------
    InfrastructureError
        If ``distributed`` is not installed or nobody answers.
    """

    def __init__(self, address: Any, *, patience_s: float = 300.0) -> None:
        distributed = require("distributed")
        self._where = str(getattr(address, "scheduler_address", address))
        self._patience = patience_s
        try:
            self._client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            cause = f"no Dask scheduler answers ({one_line_error(error)})"
            fix = "start one with 'dask scheduler', and give its address as tls://HOST:PORT or tcp://HOST:PORT"
            raise InfrastructureError(Finding(SchedulerCode.UNREACHABLE, self._where, cause, fix)) from None
        except (TypeError, RuntimeError) as error:  # what Dask says without certificates, by version
            cause = f"no certificate for an encrypted connection ({one_line_error(error)})"
            fix = "name them: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT, ...__CLIENT__KEY (docs/scale.md)"
            raise InfrastructureError(Finding(SchedulerCode.NO_CERTIFICATE, self._where, cause, fix)) from None

    def run(self, function: Callable[[J], R], jobs: Sequence[J], needs: Needs | None = None) -> Iterator[Done[R]]:
        """Run on the cluster's workers."""
        needs = needs or Needs()
        self._await_workers(needs.gpus)
        flight: _Flight[J, R] = _Flight(self._client, self._where, self._patience, needs, self._tend)
        flight.load(function)
        try:
            yield from flight.fly(jobs)
        finally:
            flight.cancel()

    def close(self) -> None:
        """Disconnect; the cluster stays."""
        self._client.close()

    def _tend(self, workers: Sequence[str]) -> None:
        """Look after the cluster, now and then while it is used; one that somebody else started needs nothing.

        Parameters
        ----------
        workers : sequence of str
            Names of the workers that are there.
        """

    def _await_workers(self, gpus: int) -> None:
        """Wait for the first worker, and refuse workers that would score differently or lack what is needed."""
        deadline = time.monotonic() + self._patience
        while not (workers := self._client.scheduler_info(n_workers=-1)["workers"]):
            self._tend([])
            if time.monotonic() > deadline:
                raise no_workers(self._where, self._patience)
            time.sleep(0.2)
        if gpus and not any(item.get("resources", {}).get("GPU", 0) >= gpus for item in workers.values()):
            cause = f"none of {len(workers)} workers offers the resource GPU={gpus}"
            fix = f"start them with: dask worker {self._where} --nthreads 1 --resources GPU={gpus}"
            raise InfrastructureError(Finding(SchedulerCode.NO_RESOURCE, self._where, cause, fix))
        own = scorer_versions()
        try:
            found = self._client.run(scorer_versions, on_error="return")
        except Exception as error:
            found = {self._where: error}
        for worker, versions in found.items():
            if isinstance(versions, Exception) and not isinstance(versions, ImportError):
                continue  # a worker that died meanwhile; each job checks again
            if versions != own:
                raise _differs(worker, versions, own)


@functools.cache
def scorer_versions() -> Mapping[str, str]:
    """Return what scores depend on besides their inputs: versions, and ``sources``, the hash of what really runs."""
    names = ("medpodium", "numpy", "numba", "SimpleITK")
    return {**{name: package_version(name) for name in names}, "sources": source_hash()}


@dataclass(frozen=True)
class Batch(Generic[J]):
    """Jobs that travel together. Dask looks into lists for tasks of its own, and not into this."""

    jobs: tuple[J, ...]


@dataclass(frozen=True)
class Outcomes(Generic[R]):
    """Result or error of each job of a batch, and how long all took, in seconds."""

    found: tuple[tuple[R | None, JobError | None], ...]
    seconds: float


def perform(function: Callable[[J], R], batch: Batch[J], versions: Mapping[str, str]) -> Outcomes[R]:
    """Do jobs on a worker, one after the other; a worker that came late is checked here."""
    own = scorer_versions()
    if own != versions:
        raise _differs("this worker", own, versions)
    started = time.perf_counter()
    found = tuple(_outcome(function, job) for job in batch.jobs)
    return Outcomes(found, time.perf_counter() - started)


def _outcome(function: Callable[[J], R], job: J) -> tuple[R | None, JobError | None]:
    try:
        return function(job), None
    except InfrastructureError:  # ends the run, whatever the other jobs say
        raise
    except Exception as error:
        return None, JobError(one_line_error(error), "".join(traceback.format_tb(error.__traceback__)))


def unpack(payload: bytes) -> Any:
    """Turn shipped bytes into the function again."""
    return pickle.loads(payload)  # noqa: S301 - made by this process a moment ago


def _differs(worker: str, versions: object, own: Mapping[str, str]) -> InfrastructureError:
    shown = versions if isinstance(versions, dict) else {"medpodium": f"not importable ({versions})"}
    odd = ", ".join(
        f"{key} {shown.get(key, 'absent')[:_SHOWN]} instead of {own[key][:_SHOWN]}"
        for key in own
        if shown.get(key) != own[key]
    )
    fix = "install the same versions from the same sources on every worker, and start the workers again"
    return InfrastructureError(Finding(SchedulerCode.VERSION_DIFFERS, worker, odd, fix))


def no_workers(where: str, seconds: float) -> InfrastructureError:
    """Return the error of a cluster without workers."""
    cause = f"no worker for {seconds:.0f} s"
    fix = f"start workers with: dask worker {where} --nthreads 1; then run the same command again"
    return InfrastructureError(Finding(SchedulerCode.NO_WORKERS, where, cause, fix))


@dataclass
class _Flight(Generic[J, R]):
    """The jobs under way of one :meth:`DaskScheduler.run`."""

    client: Any
    where: str
    patience: float
    needs: Needs
    tend: Callable[[Sequence[str]], None]
    flying: dict[Any, tuple[int, ...]] = field(default_factory=dict)
    landed: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    function: Any = None
    versions: Mapping[str, str] = field(default_factory=scorer_versions)
    _room: int = 0
    _longest: float = _SHORT_S
    _looked: float = -1e9
    _seen: float = field(default_factory=time.monotonic)

    def load(self, function: Callable[[J], R]) -> None:
        """Ship a large function once; as the result of a task it is made again if its worker dies."""
        payload = pickle.dumps(function, protocol=pickle.HIGHEST_PROTOCOL)
        self.function = function
        if len(payload) > _SMALL_BYTES:
            self.function = self.client.submit(unpack, payload, pure=False)

    def fly(self, jobs: Sequence[J]) -> Iterator[Done[R]]:
        """Keep the window full and yield what lands; then try what died with its workers, one at a time."""
        suspects: list[int] = []
        pending = 0
        while pending < len(jobs) or self.flying:
            while pending < len(jobs) and (free := self._window() - sum(map(len, self.flying.values()))) > 0:
                together = range(pending, min(pending + self._together(free), len(jobs)))
                self._launch(together, jobs)
                pending = together.stop
            for done in self._land():
                if done.error is _KILLED:
                    suspects.append(done.index)
                else:
                    yield done
        for index in sorted(suspects):
            self._launch([index], jobs)
            while not (landed := self._land()):
                pass
            for done in landed:
                yield Done(index, None, _DEADLY) if done.error is _KILLED else done

    def cancel(self) -> None:
        """Call back what is still under way (the user stopped, or an error ends the run)."""
        if self.flying and self.client.status == "running":
            self.client.cancel(list(self.flying))
        self.flying.clear()
        self.function = None

    def _launch(self, indices: Sequence[int], jobs: Sequence[J]) -> None:
        resources = {"GPU": self.needs.gpus} if self.needs.gpus else None
        batch = Batch(tuple(jobs[index] for index in indices))
        future = self.client.submit(perform, self.function, batch, self.versions, pure=False, resources=resources)
        self.flying[future] = tuple(indices)
        future.add_done_callback(self.landed.put)

    def _together(self, free: int) -> int:
        """Return how many jobs the next task has: by the longest of late, and one where it needs a GPU."""
        return 1 if self.needs.gpus else max(1, min(free, _TOGETHER, int(_SHORT_S / max(self._longest, 1e-6))))

    def _land(self) -> list[Done[R]]:
        """Wait for outcomes; none after a while without one, when the cluster was looked at."""
        try:
            landed = [self.landed.get(timeout=_LOOK_SECONDS)]
        except queue.Empty:
            self._look()
            return []
        while len(landed) < _MOST_AT_ONCE:
            try:
                landed.append(self.landed.get_nowait())
            except queue.Empty:
                break
        # Results that are there are fetched together: a round trip per job would cost more than a small job.
        ready = [future for future in landed if future in self.flying and future.status == "finished"]
        results, late = self._fetch(ready)
        outcomes = []
        for future in landed:
            if future in results:
                indices, got = self.flying.pop(future), results[future]
                self._longest = max(got.seconds / len(indices), 0.9 * self._longest)
                outcomes += [Done(index, *found) for index, found in zip(indices, got.found, strict=True)]
            elif future in late:  # it lands again when it has been made again
                future.add_done_callback(self.landed.put)
                continue
            elif future in self.flying:
                error = self._failure(future)
                outcomes += [Done(index, None, error) for index in self.flying.pop(future)]
            future.release()
        return outcomes

    def _fetch(self, futures: list[Any]) -> tuple[dict[Any, Outcomes[R]], set[Any]]:
        """Return what came, and what is late: lost with its worker, and being made again by one that may have to come.

        Whoever waited for that here would not look after the cluster meanwhile, and wait forever.
        """
        if not futures:
            return {}, set()
        try:
            came = self.client.sync(self.client._gather, futures, callback_timeout=_FETCH_SECONDS)
            return dict(zip(futures, came, strict=True)), set()
        except _TIMEOUTS:
            self._look()
            wait = 0.1
        except Exception:  # a result was lost with its worker, and making it again failed; the others are still good
            wait = _FETCH_SECONDS
        results: dict[Any, Outcomes[R]] = {}
        late = set()
        for future in futures:
            try:
                results[future] = future.result(timeout=wait)
            except _TIMEOUTS:
                late.add(future)
            except Exception:  # noqa: S112 - told by its status
                continue
        return results, late

    def _failure(self, future: Any) -> JobError:
        """Tell what Dask or the function's way to the worker raised from what a worker's death did."""
        import distributed

        if future.status == "error":
            error = future.exception()
            if isinstance(error, InfrastructureError):
                raise error
            if not isinstance(error, (distributed.KilledWorker, distributed.client.FutureCancelledError)):
                return JobError(one_line_error(error), "".join(_traceback(future)))
        elif self.client.status != "running":
            raise self._lost()
        return _KILLED

    def _window(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        return self._room

    def _look(self) -> None:
        """See how many workers there are, and give up when there was none for long."""
        now = self._looked = time.monotonic()
        if self.client.status not in ("running", "connecting"):
            raise self._lost()
        if self.client.status == "running":
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
            self.tend([str(item.get("name", "")) for item in workers.values()])
            if self.needs.gpus:
                fitting = [item.get("resources", {}).get("GPU", 0) // self.needs.gpus for item in workers.values()]
                self._room = 2 * int(sum(fitting))
            else:
                self._room = _JOBS_PER_THREAD * sum(item["nthreads"] for item in workers.values())
            if self._room:
                self._seen = now
        self._room = max(1, self._room)
        if now - self._seen > self.patience:
            raise no_workers(self.where, self.patience)

    def _lost(self) -> InfrastructureError:
        cause = "the connection to the Dask scheduler was lost"
        fix = "see whether it still runs, then run the same command again"
        return InfrastructureError(Finding(SchedulerCode.LOST, self.where, cause, fix))


_KILLED = JobError("worker died")
_DEADLY = JobError(
    "its worker died every time it was tried, at last with nothing else under way (out of memory?)", died=True
)


def _traceback(future: Any) -> list[str]:
    try:
        return traceback.format_tb(future.traceback())
    except Exception:
        return []
