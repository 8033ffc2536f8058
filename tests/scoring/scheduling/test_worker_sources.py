"""A worker of the same version with other sources scores differently, so it is refused; a copy elsewhere is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import medpodium
from medpodium.findings import InfrastructureError
from medpodium.scoring.scheduling.dask import Batch, DaskScheduler, perform, scorer_versions

pytestmark = [pytest.mark.usefixtures("scale_installed"), pytest.mark.slow]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    # tcp, because the workers are other processes
    options = {"n_workers": 0, "processes": False, "protocol": "tcp", "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(**options) as started:
        yield started


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package, as another machine would have it."""
    package = tmp_path / "there" / "medpodium"
    source = Path(medpodium.__file__).parent
    for folder in ("scoring", "challenges"):
        shutil.copytree(source / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    for name in ("__init__.py", "console.py", "findings.py"):
        shutil.copy(source / name, package)
    return package


@contextmanager
def _worker(address: str, package: Path) -> Iterator[None]:
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    with subprocess.Popen(
        [*command, "--no-dashboard"], env=environment, cwd=package.parent, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _double(number: int) -> int:
    return 2 * number


def _run(cluster: Any, package: Path) -> list[int | None]:
    with _worker(cluster.scheduler_address, package), DaskScheduler(cluster, patience_s=60) as scheduler:
        return [done.result for done in scheduler.run(abs, [-1, 2])]


def test_a_copy_of_these_sources_works(cluster: Any, copy: Path) -> None:
    assert sorted(_run(cluster, copy)) == [1, 2]


def test_other_sources_of_the_same_version_are_refused(cluster: Any, copy: Path) -> None:
    path = copy / "scoring" / "policy.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nWORST = 0.75\n", encoding="utf-8")
    expected = r"sources [0-9a-f]{12} instead of [0-9a-f]{12};.* same sources"
    with pytest.raises(InfrastructureError, match=expected) as caught:
        _run(cluster, copy)
    assert "medpodium" not in caught.value.findings[0].cause.partition("sources")[0]  # the version is the same
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("change", [lambda own: own | {"sources": "0" * 64}, lambda own: own])
def test_a_worker_that_came_late_checks_itself(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    asked = change(dict(scorer_versions()))
    if asked == scorer_versions():
        assert perform(_double, Batch((2, 3)), asked).found == ((4, None), (6, None))
    else:
        with pytest.raises(InfrastructureError, match="sources"):
            perform(_double, Batch((2,)), asked)


def test_a_worker_of_a_version_without_the_hash_is_refused() -> None:
    old = {name: text for name, text in scorer_versions().items() if name != "sources"}
    with pytest.raises(InfrastructureError, match="sources"):
        perform(_double, Batch((2,)), old)
