"""A Dask cluster of several processes on this machine: same bytes, nothing lost, flat memory."""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.findings import InfrastructureError
from medpodium.scoring import table
from medpodium.scoring.evidence.bootstrap import bootstrap
from medpodium.scoring.kinds import engine
from medpodium.scoring.kinds.caseflow import ScoreRows
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.scheduling.dask import DaskScheduler
from medpodium.scoring.scheduling.scheduler import Bound, LocalScheduler, Needs, Scheduler, ThreadScheduler

pytestmark = [pytest.mark.usefixtures("scale_installed"), pytest.mark.slow]

# Workers import this module by its name, so it has to be importable there, too.
sys.path.insert(0, str(Path(__file__).parent))
jobs = importlib.import_module("jobs")

RULES = """
schema: 1
name: small
title: Small
tasks:
  it:
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}, both: {union: [1, 2]}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 1.0}}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {it: means}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    patient = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.comm.timeouts.connect": "120s",
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.worker.profile.enabled": False,
        # The scheduler's own diary, in this process here, fills up to 100,000 entries otherwise.
        "distributed.admin.log-length": 500,
        "distributed.admin.low-level-log-length": 500,
    }
    with (
        dask.config.set(patient),
        LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, resources={"GPU": 1},
            silence_logs=50,
        ) as started,
    ):  # fmt: skip
        yield started


@pytest.fixture
def scheduler(cluster: Any) -> Iterator[DaskScheduler]:
    with DaskScheduler(cluster.scheduler_address) as found:
        yield found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 90 cases of two teams; most files are links to a few, which is all the scorer needs."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    rng = np.random.default_rng(3)
    for kind in ("references", "aurora", "borealis"):
        (folder / kind).mkdir()
        for number in range(9):
            labels = np.zeros((8, 8, 8), np.uint8)
            z, y, x = rng.integers(0, 4, 3)
            labels[z : z + 4, y : y + 4, x : x + 2] = 1
            labels[z : z + 4, y : y + 4, x + 2 : x + 4] = 2
            first = folder / kind / f"case_{number:03d}.nii.gz"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(first))
            for copy in range(1, 10):
                if (kind, number, copy) != ("borealis", 4, 4):
                    (folder / kind / f"case_{number + 9 * copy:03d}.nii.gz").hardlink_to(first)
    return folder


def _score(folder: Path, scheduler: Scheduler, out: Path, progress: Any = None) -> bytes:
    rules = registry.load(folder / "rules.yaml")
    teams = {name: folder / name for name in ("aurora", "borealis")}
    result = engine.score_task(rules, "it", folder / "references", teams, scheduler=scheduler, progress=progress)
    table.write_scores(result.scores, out)
    return out.read_bytes()


def test_scores_are_the_same_bytes_anywhere(small: Path, scheduler: Scheduler, tmp_path: Path) -> None:
    local = _score(small, LocalScheduler(1), tmp_path / "local.csv")
    assert _score(small, scheduler, tmp_path / "dask.csv") == local
    assert len(local.splitlines()) == 1 + 90 * 2 * 6


def test_ten_workers_killed_and_nothing_lost(small: Path, cluster: Any, scheduler: Scheduler, tmp_path: Path) -> None:
    local = _score(small, LocalScheduler(1), tmp_path / "local.csv")
    rng = random.Random(7)
    when = sorted(rng.sample(range(3, 85), 10))
    killed: list[int] = []
    phases = []

    def strike(done: int, _: int) -> None:
        if done == 1:  # of the references, which are checked first, then of the cases
            phases.append(done)
        if len(phases) == 2 and done in when:
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline:
                alive = [worker.process.pid for worker in cluster.workers.values() if worker.process is not None]
                alive = [pid for pid in alive if pid is not None and psutil.pid_exists(pid)]
                with contextlib.suppress(psutil.NoSuchProcess, ValueError, IndexError):
                    victim = psutil.Process(rng.choice(alive))
                    victim.kill()
                    killed.append(victim.pid)
                    return
                time.sleep(0.2)

    assert _score(small, scheduler, tmp_path / "dask.csv", strike) == local
    assert len(killed) == 10
    assert len(phases) == 2


def test_a_job_that_kills_its_worker_is_named_and_the_others_are_done(scheduler: Scheduler) -> None:
    done = {item.index: item for item in scheduler.run(jobs.deadly, range(12))}
    assert sorted(done) == list(range(12))
    assert {index: item.error.summary for index, item in done.items() if item.error and index != 5} == {}
    assert "worker died" in done[5].error.summary
    assert all(done[index].result == index for index in done if index != 5)


def test_a_job_whose_worker_died_once_is_done_elsewhere(scheduler: Scheduler, tmp_path: Path) -> None:
    done = {item.index: item.result for item in scheduler.run(jobs.deadly_once, [(tmp_path, n) for n in range(12)])}
    assert done == {number: number for number in range(12)}
    assert (tmp_path / "dead").exists()


@pytest.mark.parametrize("place", ["dask", "local", "threads"])
def test_every_place_keeps_the_same_promises(place: str, scheduler: Scheduler) -> None:
    chosen = {"dask": scheduler, "local": LocalScheduler(1), "threads": ThreadScheduler(3)}[place]
    done = {item.index: item for item in chosen.run(jobs.raises, range(6))}
    assert done[3].error.summary == "ValueError: three"
    assert {index: item.result for index, item in done.items() if index != 3} == {0: 0, 1: 1, 2: 2, 4: 4, 5: 5}
    large = Bound(jobs.scaled, np.arange(50_000))
    sums = {item.index: int(np.sum(item.result)) for item in chosen.run(large, [1, 2, 3])}
    assert sums == {index: factor * (50_000 * 49_999 // 2) for index, factor in enumerate((1, 2, 3))}
    assert list(chosen.run(jobs.double, [])) == []


def test_jobs_are_bound_to_gpus(scheduler: Scheduler) -> None:
    found = {item.index: item.result for item in scheduler.run(jobs.double, [1, 2, 3], Needs(gpus=1))}
    assert found == {0: 2, 1: 4, 2: 6}
    with pytest.raises(InfrastructureError, match=r"no-worker-with-resource: .*--resources GPU=2"):
        list(scheduler.run(jobs.double, [1], Needs(gpus=2)))


@pytest.fixture
def near() -> Iterator[DaskScheduler]:
    """Three workers without processes of their own: twenty thousand trips between processes take most of the time."""
    import dask
    from distributed import LocalCluster

    # The scheduler's own diary is in this process, and so is what samples the workers' threads.
    quiet = {
        "distributed.admin.log-length": 500,
        "distributed.admin.low-level-log-length": 500,
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(quiet),
        LocalCluster(n_workers=3, threads_per_worker=1, processes=False, dashboard_address=":0") as started,
        DaskScheduler(started.scheduler_address) as found,
    ):
        yield found


def test_memory_of_the_client_stays_flat(near: DaskScheduler) -> None:
    """Twenty thousand cases of thirty scores: what grows is the table, about thirty bytes per score."""
    number, asked = 20_000, []

    class Cases(list[int]):
        def __len__(self) -> int:
            return number

        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            return index

    rows = ScoreRows([f"case {index}" for index in range(number)])
    process, seen, most_under_way = psutil.Process(), {}, 0
    for count, done in enumerate(near.run(jobs.rows_of, Cases()), start=1):
        rows.add(done.index, done.result.rows)
        most_under_way = max(most_under_way, len(asked) - count)
        if count in (2_000, number):
            seen[count] = process.memory_info().rss
    assert len(rows) == number * 30
    assert most_under_way <= 3 * 16
    table_bytes = 28 * 30 * (number - 2_000)
    assert seen[number] - seen[2_000] < table_bytes + 40_000_000
    frame = rows.frame()
    assert list(frame["case"].iloc[[0, 30, -1]]) == ["case 0", "case 1", "case 19999"]
    assert frame["value"].iloc[30 * 98] == 1 / 97


def test_ranking_is_the_same_bytes_anywhere(small: Path, cluster: Any, tmp_path: Path) -> None:
    _score(small, LocalScheduler(1), tmp_path / "scores.csv")
    boards = []
    for more in ([], ["--scheduler", cluster.scheduler_address]):
        out = tmp_path / f"board{len(boards)}.csv"
        arguments = ["rank", small / "rules.yaml", tmp_path / "scores.csv", "--bootstrap", "1500", "--out", out, *more]
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        boards.append(out.read_bytes())
    assert boards[0] == boards[1]
    # and every resample, not only what the leaderboard shows of them
    directions = {"dice": "higher", "nsd": "higher"}
    array, _ = build(table.read_scores(tmp_path / "scores.csv"), "it", directions)
    prepared = Prepared(array, registry.load(small / "rules.yaml").recipes["means"].steps)
    here = bootstrap(prepared, 1500, seed=5, task="it", workers=2)
    with DaskScheduler(cluster.scheduler_address) as there:
        far = bootstrap(prepared, 1500, seed=5, task="it", scheduler=there)
    assert here.ranks.tobytes() == far.ranks.tobytes()
    assert here.values.tobytes() == far.values.tobytes()
    assert here.taus.tobytes() == far.taus.tobytes()


def test_nobody_answers() -> None:
    with pytest.raises(InfrastructureError, match=r"scheduler-unreachable: .*dask scheduler") as caught:
        DaskScheduler("tcp://127.0.0.1:9")
    assert caught.value.exit_code == 3


def test_rows_keep_the_order_of_cases() -> None:
    rows = ScoreRows(["x", "y"])
    rows.add(1, jobs.rows_of(1).rows)
    rows.add(0, jobs.rows_of(0).rows)
    assert isinstance(rows.frame(), pd.DataFrame)
    assert list(rows.frame()["case"].unique()) == ["x", "y"]
