"""Fixtures shared by all rooms: the reference data folder, and what a test needs from the machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand files out in the order below, not the one with most tests first.

    And have Ctrl-C heard, also by what tests start: a script that starts them with ``&`` has it ignored.
    """
    config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files with long tests first: one that starts last keeps a single process busy for minutes."""
    marks = ("slow", "docker", "nnunet")
    long = {item.path for item in items if any(item.get_closest_marker(mark) for mark in marks)}
    items.sort(key=lambda item: item.path not in long)


def _not_skipped_in_ci(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI", "").lower() == "true":
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"nothing may be skipped in CI: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail a test that is skipped in CI, however it was skipped: everything is installed there."""
    return _not_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Fail a whole file that is skipped in CI."""
    return _not_skipped_in_ci((yield))


def need(available: bool, what: str) -> None:
    """Skip a test on a machine that lacks something (in CI that is a failure)."""
    if not available:
        pytest.skip(what + " is not available here")


@pytest.fixture(scope="session")
def require() -> Callable[[bool, str], None]:
    """Return :func:`need`, for what only one test needs."""
    return need


@pytest.fixture(scope="session")
def posix() -> None:
    """Ask for a system with users, sockets and FIFOs."""
    need(os.name == "posix", "a POSIX system")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data and oracles next to the checkout."""
    folder = Path(os.environ.get("MEDPODIUM_SHARED", ROOT.parent / "shared"))
    need((folder / "oracle").is_dir(), f"the reference data folder ({folder.name}/ beside the checkout)")
    return folder


def helper(place: str) -> ModuleType:
    """Return a module of the tests that is no test: ``containers/tiny`` is tests/containers/tiny.py."""
    name = f"medpodium_tests_{place.replace('/', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{place}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """Return the helper that makes tiny images, cases and campaigns (tests/containers/tiny.py)."""
    return helper("containers/tiny")


@pytest.fixture(scope="session")
def disk() -> ModuleType:
    """Return the helper that measures how much lies on the disk meanwhile (tests/containers/disk.py)."""
    return helper("containers/disk")


@pytest.fixture(scope="session")
def inprocess() -> ModuleType:
    """Return the helper that runs campaigns without an engine (tests/containers/inprocess.py)."""
    return helper("containers/inprocess")


@pytest.fixture(scope="session")
def recipes(warm: Any) -> ModuleType:
    """Return the helper that follows the recipes of docs/architecture.md (tests/docs/recipes.py)."""
    found = helper("docs/recipes")
    found.PYTHON = warm.python("tables")
    return found


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return what starts Python with libraries imported already: ``warm.python("tables")`` (tests/warm.py)."""
    started = helper("warm").Warm(tmp_path_factory.mktemp("warm"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium that runs headless."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(path is not None, "headless Chromium")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def docker_engine() -> object:
    """Return a client of a running Docker engine."""
    import docker

    try:
        client = docker.from_env(timeout=60)
        client.api.trust_env = False  # a socket has no proxy, and looking for one costs milliseconds a request
        client.ping()
    except docker.errors.DockerException:
        need(False, "a running Docker engine")
        raise
    return client


@pytest.fixture(scope="session")
def nnunet_installed() -> None:
    """Ask for nnU-Net v2 and PyTorch."""
    from importlib.util import find_spec

    need(find_spec("nnunetv2") is not None and find_spec("torch") is not None, "nnunetv2 (medpodium[baselines])")


@pytest.fixture(scope="session")
def scale_installed() -> None:
    """Ask for Dask and its way to Slurm."""
    from importlib.util import find_spec

    need(all(find_spec(name) for name in ("dask", "distributed", "dask_jobqueue")), "Dask (medpodium[scale])")
