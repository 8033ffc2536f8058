"""Jobs on several processes or threads: order, errors, and a worker that dies."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medpodium.scoring.scheduling import pool


def _square(value: int) -> int:
    if value == 13:
        raise ValueError("unlucky")
    return value * value


def _die_once(job: tuple[int, str]) -> int:
    value, folder = job
    mark = Path(folder) / str(value)
    time.sleep(0.01)
    if value % 7 == 3 and not mark.exists():
        mark.touch()
        os._exit(9)
    return value


def _die_always(value: int) -> int:
    if value == 5:
        os._exit(9)
    return value


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("run", [pool.run_jobs, pool.run_threads])
def test_every_job_is_done_once_and_errors_stay_with_their_job(run: Callable[..., Any], workers: int) -> None:
    done = {item.index: item for item in run(_square, range(20), workers)}
    assert sorted(done) == list(range(20))
    assert {index: item.result for index, item in done.items() if item.error is None} == {
        index: index**2 for index in range(20) if index != 13
    }
    error = done[13].error
    assert error is not None
    assert error.summary == "ValueError: unlucky"
    assert "_square" in error.details


def test_threads_work_at_once_after_the_first_job() -> None:
    """Two jobs that wait for each other; the first, which may have to compile what all need, is done before."""
    both = threading.Barrier(2, timeout=60)
    order: list[int] = []

    def meet(job: int) -> int:
        order.append(job)
        if job:
            both.wait()
        return threading.get_ident()

    done = list(pool.run_threads(meet, range(5), 2, first_alone=True))
    assert sorted(item.index for item in done) == list(range(5))
    assert order[0] == 0
    assert done[0] == pool.Done(0, threading.get_ident())
    assert len({item.result for item in done}) == 3


def test_threads_take_short_turns_and_leave_the_interpreter_as_it_was() -> None:
    before = sys.getswitchinterval()
    outer = pool.run_threads(lambda _: sys.getswitchinterval(), range(4), 2)
    assert next(outer).result == pytest.approx(0.0002)
    inner = pool.run_threads(lambda _: sys.getswitchinterval(), range(4), 2)
    next(inner)
    outer.close()  # who began first need not end last
    assert sys.getswitchinterval() == pytest.approx(0.0002)
    inner.close()
    assert sys.getswitchinterval() == before


def test_threads_that_nobody_waits_for_any_more_end() -> None:
    started: list[int] = []
    outcomes = pool.run_threads(started.append, range(1000), 2)
    next(outcomes)
    outcomes.close()
    assert len(started) < 100


def test_dead_worker_costs_nothing(tmp_path: Path) -> None:
    jobs = [(value, str(tmp_path)) for value in range(12)]
    done = list(pool.run_jobs(_die_once, jobs, 2))
    assert sorted(item.index for item in done) == list(range(12))
    assert all(item.result == item.index for item in done)
    assert len(list(tmp_path.iterdir())) == 2


def test_job_that_always_kills_its_worker_is_named() -> None:
    done = {item.index: item for item in pool.run_jobs(_die_always, range(8), 2)}
    assert sorted(done) == list(range(8))
    error = done[5].error
    assert error is not None
    assert "died" in error.summary
    assert all(done[index].result == index for index in range(8) if index != 5)


def test_worker_count_follows_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.worker_count(3, 10**15) == 3
    assert pool.worker_count(None, 10**15) == 1
    assert pool.worker_count(None, 1) >= 1
