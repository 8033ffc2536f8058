"""Jobs on several processes: order, errors, and a worker that dies."""

from __future__ import annotations

import os
import time
from pathlib import Path

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
def test_every_job_is_done_once_and_errors_stay_with_their_job(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(pool, "_STARTING_PAYS_S", 0.0)
    done = {item.index: item for item in pool.run_jobs(_square, range(20), workers)}
    assert sorted(done) == list(range(20))
    assert {index: item.result for index, item in done.items() if item.error is None} == {
        index: index**2 for index in range(20) if index != 13
    }
    error = done[13].error
    assert error is not None
    assert error.summary == "ValueError: unlucky"
    assert "_square" in error.details


def test_dead_worker_costs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pool, "_STARTING_PAYS_S", -1.0)
    jobs = [(value, str(tmp_path)) for value in range(12)]
    done = list(pool.run_jobs(_die_once, jobs, 2))
    assert sorted(item.index for item in done) == list(range(12))
    assert all(item.result == item.index for item in done)
    assert len(list(tmp_path.iterdir())) == 2


def test_job_that_always_kills_its_worker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_STARTING_PAYS_S", -1.0)
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
