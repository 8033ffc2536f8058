"""Copies of this process: what they know, what they outlive, and when there are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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


class _Jobs(Sequence[int]):
    """Jobs that know how many of them were asked for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = 0

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        self.asked += 1
        return index


def _ready() -> bool:
    return True


def _broken() -> bool:
    raise ValueError("no compiler")


def _below() -> set[int]:
    """Return the processes that this one and its own have made (a pool of fresh ones leaves one that tracks it)."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def deputy() -> Iterator[forked.Deputy]:
    made = forked.Deputy(_ready)
    number = made._process.pid
    yield made
    made.close()
    assert number not in _below()


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_know_what_this_process_knows_and_stay(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, workers: int
) -> None:
    """One file of this name is imported by a worker that starts afresh, too: there nothing would be known."""
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    monkeypatch.setattr(sys.modules[__name__], "_known", [40, 2])
    before = _below()
    with LocalScheduler(workers, forks=True) as place:
        done = [list(place.run(_knows, range(20), Needs(prepare=_ready))) for _ in range(2)]
        made = _below() - before
    results = [[item.result for item in sorted(each, key=lambda item: item.index)] for each in done]
    assert [[result[::2] for result in own if result] for own in results] == [[(job, 42) for job in range(20)]] * 2
    worked = {result[1] for own in results for result in own if result}
    assert len(made) == (1 if workers == 1 else 3)
    assert worked <= made  # the same for everything
    assert os.getpid() not in made
    assert not [warning for warning in recwarn if "fork" in str(warning.message)]
    assert not any(psutil.pid_exists(number) for number in made)


def test_there_are_as_many_copies_as_the_largest_set_of_jobs_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign scores several sets, one after the other, and the first of them may be a single case."""
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    before, made = _below(), []
    with LocalScheduler(3, forks=True) as place:
        for number in (1, 2, 9, 2):
            done = list(place.run(_knows, range(number), Needs(prepare=_ready)))
            assert sorted(item.result[0] for item in done if item.result) == list(range(number))
            made.append(len(_below() - before) - 1)
    assert made == [0, 2, 3, 3]
    assert _below() == before


@pytest.mark.parametrize("prepare", [_ready, lambda: False, _broken])
def test_what_jobs_take_is_fetched_by_the_one_that_does_them(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[], bool]
) -> None:
    """This process is free meanwhile; what could not be fetched the first job will say."""
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    here: list[int] = []

    def fetch() -> bool:
        here.append(1)
        return prepare()

    with LocalScheduler(2, forks=True) as place:
        done = {item.index: item.result for item in place.run(_knows, range(9), Needs(prepare=fetch))}
    assert sorted(result[0] for result in done.values() if result) == list(range(9))
    assert not here


def test_what_fails_in_a_copy_is_that_job_alone(deputy: forked.Deputy) -> None:
    """One raises, one ends its copy each time: all others are done, some of them by processes that follow."""
    done = {item.index: item for item in pool.run_jobs(_fails, range(12), 2, ready=deputy)}
    assert {index: item.result for index, item in done.items()} == {
        index: None if index in (2, 5) else index for index in range(12)
    }
    first, second = done[2].error, done[5].error
    assert first is not None
    assert first.summary == "ValueError: unlucky"
    assert not first.died
    assert second is not None
    assert second.died
    assert not deputy.lives
    again = pool.run_jobs(_fails, [1, 3], 2, ready=deputy)  # it is no longer of use
    assert sorted(item.result or 0 for item in again) == [1, 3]


@pytest.mark.parametrize("number", [1, 8])
def test_a_job_that_ends_the_only_worker_is_that_job_alone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(forked, "may_fork", lambda: True)
    with LocalScheduler(1, forks=True) as place:
        done = {item.index: item for item in place.run(_fails, [*range(number - 1), 5], Needs(prepare=_ready))}
        after = list(place.run(_knows, range(3), Needs(prepare=_ready)))
    assert len(done) == number
    died = {index for index, item in done.items() if item.error and item.error.died}
    assert died == {number - 1, *({5} if number > 5 else ())}
    assert {item.result[1] for item in after if item.result} == {os.getpid()}


def test_copies_leave_interrupts_to_the_process_that_made_them(deputy: forked.Deputy) -> None:
    found = [item.error for item in pool.run_jobs(_interrupted, range(6), 2, ready=deputy)]
    assert found == [None] * 6


def test_jobs_are_asked_for_when_it_is_their_turn(deputy: forked.Deputy) -> None:
    """However many there are: two for each worker are under way, and what is done waits to be fetched."""
    jobs = _Jobs(10_000)
    outcomes = pool.run_jobs(_knows, jobs, 2, ready=deputy)
    for number in range(1, 50):
        next(outcomes)
        assert jobs.asked <= number + 4
    outcomes.close()  # type: ignore[attr-defined]
    assert not deputy.lives
    assert jobs.asked < 60


@pytest.mark.parametrize("allowed", [0, 1, 2])
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
    before = _below()
    with LocalScheduler(2, forks=True) as place:
        for _ in range(2):
            done = list(place.run(_knows, range(4), Needs(prepare=_ready)))
            assert sorted(item.result[0] for item in done if item.result) == [0, 1, 2, 3]
            (worked,) = {item.result[1] for item in done if item.result}
            assert (worked == os.getpid()) == (allowed == 0)
        assert len(_below() - before) == min(allowed, 1)
    assert len(made) == min(allowed, 1)  # those that the first one makes are counted there
    assert _below() == before


_PARENT = """
import os, sys, time
sys.path[:0] = {path!r}
from medpodium.scoring.scheduling import forked, pool

deputy = forked.Deputy(lambda: True)
print("ready", flush=True)
list(pool.run_jobs(time.sleep, [600] * 4, 2, ready=deputy))
"""


def test_copies_end_with_the_process_that_made_them() -> None:
    command = [sys.executable, "-c", _PARENT.format(path=sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        until = time.monotonic() + 30
        copies: list[psutil.Process] = []
        while len(copies) < 3 and time.monotonic() < until:
            copies = psutil.Process(parent.pid).children(recursive=True)
        assert len(copies) == 3
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
            done = list(place.run(_knows, range(4), Needs(prepare=_ready)))
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
        list(place.run(_knows, range(3), Needs(prepare=_ready)))
        assert len(asked) == times
