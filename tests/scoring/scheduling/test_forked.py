"""Copies of this process: what they know, what they outlive, and when there are none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import psutil
import pytest

from medpodium.scoring.scheduling import forked, pool, scheduler
from medpodium.scoring.scheduling.scheduler import LocalScheduler, Needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")

_known: list[int] = []


def _knows(job: int) -> tuple[int, int, int]:
    return job, os.getpid(), sum(_known)


def _fails(job: int) -> int:
    if job == 2:
        raise ValueError("unlucky")
    if job == 5:
        os._exit(9)
    return job


def _interrupted(job: int) -> int:
    if job:
        os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()


@pytest.fixture
def copies() -> Iterator[ProcessPoolExecutor]:
    made = forked.forked_pool(2)
    assert made is not None
    with made:
        yield made


def test_copies_know_what_this_process_knows_and_stay(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """One file of this name is imported by a worker that starts afresh, too: there nothing would be known."""
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    monkeypatch.setattr(sys.modules[__name__], "_known", [40, 2])
    with LocalScheduler(2, forks=True) as place:
        done = [list(place.run(_knows, range(20), Needs(prepare=lambda: True))) for _ in range(2)]
        assert place._copies is not None
        made = set(place._copies._processes)
    results = [[item.result for item in sorted(each, key=lambda item: item.index)] for each in done]
    assert [[result[::2] for result in own if result] for own in results] == [[(job, 42) for job in range(20)]] * 2
    worked = {result[1] for own in results for result in own if result}
    assert len(made) == 2
    assert worked <= made  # the same two for everything, or one that is faster
    assert os.getpid() not in made
    assert not [warning for warning in recwarn if "fork" in str(warning.message)]
    assert not any(psutil.pid_exists(number) for number in made)


def test_what_fails_in_a_copy_is_that_job_alone(copies: ProcessPoolExecutor) -> None:
    """One raises, one ends its copy each time: all others are done, some of them by processes that follow."""
    done = {item.index: item for item in pool.run_jobs(_fails, range(12), 2, ready=copies)}
    assert {index: item.result for index, item in done.items()} == {
        index: None if index in (2, 5) else index for index in range(12)
    }
    first, second = done[2].error, done[5].error
    assert first is not None
    assert first.summary == "ValueError: unlucky"
    assert not first.died
    assert second is not None
    assert second.died
    again = pool.run_jobs(_fails, [1, 3], 2, ready=copies)  # they are no longer of use
    assert sorted(item.result or 0 for item in again) == [1, 3]


def test_copies_leave_interrupts_to_the_process_that_made_them(copies: ProcessPoolExecutor) -> None:
    found = [item.error for item in pool.run_jobs(_interrupted, range(6), 2, ready=copies)]
    assert found == [None] * 6


@pytest.mark.parametrize("allowed", [0, 1])
def test_threads_where_no_more_processes_are_allowed(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """A container may limit them, and what was made before the limit is told does not stay."""
    made: list[int] = []
    real = os.fork

    def fork() -> int:
        if len(made) == allowed:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        made.append(1)
        return real()

    monkeypatch.setattr(forked, "may_fork", lambda: True)
    monkeypatch.setattr(os, "fork", fork)
    before = set(multiprocessing.active_children())
    with LocalScheduler(2, forks=True) as place:
        for _ in range(2):
            done = list(place.run(_knows, range(4), Needs(prepare=lambda: True)))
            assert {item.result[1] for item in done if item.result} == {os.getpid()}
    assert len(made) == allowed
    assert set(multiprocessing.active_children()) == before


_PARENT = """
import os, sys, time
sys.path[:0] = {path!r}
from medpodium.scoring.scheduling import forked

pool = forked.forked_pool(2)
busy = [pool.submit(time.sleep, 600) for _ in range(2)]
print(*pool._processes, flush=True)
time.sleep(600)
"""


def test_copies_end_with_the_process_that_made_them() -> None:
    command = [sys.executable, "-c", _PARENT.format(path=sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        copies = [psutil.Process(int(number)) for number in parent.stdout.readline().split()]
        assert len(copies) == 2
        parent.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(_lives(copy) for copy in copies):
        time.sleep(0.05)
    assert not any(_lives(copy) for copy in copies)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_copies_beside_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits holds nothing, but nobody knows that of all of them."""
    found = subprocess.run(
        [sys.executable, "-c", _ALONE.format(path=sys.path)], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "False", "True"]
    monkeypatch.setattr(scheduler, "run_jobs", None)
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with LocalScheduler(2, forks=True) as place:
            done = list(place.run(_knows, range(4), Needs(prepare=lambda: True)))
    finally:
        end.set()
        other.join()
    assert {item.result[1] for item in done if item.result} == {os.getpid()}


_ALONE = """
import sys, threading
sys.path[:0] = {path!r}
from medpodium.scoring.scheduling.forked import may_fork

end = threading.Event()
other = threading.Thread(target=end.wait)
print(may_fork())
other.start()
print(may_fork())
end.set()
other.join()
print(may_fork())
"""


def test_only_a_command_copies_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library works in somebody's notebook, where nobody knows what would be copied."""
    from medpodium.scoring.scheduling.options import Where, choose

    asked: list[int] = []
    monkeypatch.setattr(forked, "may_fork", lambda: asked.append(1) or False)
    for place, times in ((LocalScheduler(2), 0), (choose(Where(workers=2)), 1)):
        list(place.run(_knows, range(3), Needs(prepare=lambda: True)))
        assert len(asked) == times
