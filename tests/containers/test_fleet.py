"""Containers of a campaign on the workers of a cluster: the same results, and one writer of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.containers.run.fleet import Fleet
from medpodium.containers.run.runner import Runner
from medpodium.findings import InfrastructureError
from medpodium.scoring.masks.reader import read_mask
from medpodium.scoring.scheduling.dask import DaskScheduler

pytestmark = [pytest.mark.usefixtures("scale_installed"), pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[DaskScheduler]:
    import dask
    from distributed import LocalCluster

    patient = {"distributed.comm.timeouts.connect": "120s", "distributed.scheduler.allowed-failures": 1}
    with (
        dask.config.set(patient),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        DaskScheduler(cluster.scheduler_address) as found,
    ):
        yield found


def test_runs_on_workers_give_what_runs_here_give(
    tiny: Any, docker_engine: Any, scheduler: DaskScheduler, tmp_path: Path
) -> None:
    from medpodium.containers import athome

    campaign = tiny.campaign(tmp_path, count=4)
    failing = f"case $(ls /input) in case3*) exit 7;; esac; {tiny.GOOD}"
    for team, script in (("good", tiny.GOOD), ("failing", failing)):
        athome.submit(docker_engine, campaign, str(tiny.archive(tmp_path / f"{team}.tar", script)), team, None)
    runner = Runner(None, campaign)
    seen = []
    with runner.session():
        Fleet(runner, scheduler).run(campaign.submissions(), lambda entry, case, _: seen.append((entry.team, case)))
    assert sorted(seen) == [(team, f"case{number}") for team in ("failing", "good") for number in (1, 2, 3, 4)]
    table = campaign.resources().set_index(["submission", "case"])
    assert table.loc[("failing", "case3"), "status"] == "failed:crash"
    assert (table["status"] == "ok").sum() == 7
    assert (table["attempts"] == 1).all()
    folder = campaign.predictions_dirs("segmentation")["good"]
    for number in (1, 2, 3, 4):
        found = read_mask(folder / f"case{number}.nii.gz").array
        assert np.array_equal(found, read_mask(tmp_path / "labels" / f"case{number}.nii.gz").array)
    assert not list((campaign.root / "work").iterdir())
    assert not any(campaign.pending(entry) for entry in campaign.submissions())
    campaign.close()


def test_without_a_gpu_worker_nothing_starts(
    tiny: Any, docker_engine: Any, scheduler: DaskScheduler, tmp_path: Path
) -> None:
    from medpodium.containers import athome

    campaign = tiny.campaign(tmp_path, count=1, limits={"gpus": "1"})
    athome.submit(docker_engine, campaign, str(tiny.archive(tmp_path / "team.tar")), "team", None)
    runner = Runner(None, campaign)
    with runner.session(), pytest.raises(InfrastructureError, match=r"no-worker-with-resource"):
        Fleet(runner, scheduler).run(campaign.submissions())
    assert campaign.pending(campaign.submissions()[0]) == ["case1"]
    campaign.close()
