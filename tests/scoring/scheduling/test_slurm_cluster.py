"""A real Slurm cluster of one node: the same bytes through it, nobody else in it, and its own words when it refuses."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.findings import InfrastructureError
from medpodium.scoring import table

pytestmark = [pytest.mark.usefixtures("scale_installed"), pytest.mark.slow]

sys.path.insert(0, str(Path(__file__).parent))
one_node = importlib.import_module("one_node")

RULES = """
schema: 1
name: small
title: Small
tasks:
  it:
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 1.0}}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {it: means}
"""
SETTINGS = {"time": "10 min", "memory": "1 GiB", "cores": "1", "interface": "lo"}


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory, require: Any) -> Iterator[None]:
    """Bring the cluster up; its commands, and a home of its own, are what this process sees."""
    require(one_node.available(), "Slurm with munge (Debian: slurm-wlm munge), as root")
    home = tmp_path_factory.mktemp("home")
    cache = os.environ.get("XDG_CACHE_HOME") or str(
        Path.home() / ".cache"
    )  # compiling again would take most of the time
    with one_node.started(tmp_path_factory.mktemp("node")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "HOME": str(home), "XDG_CACHE_HOME": cache}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write thirty cases of two teams."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    rng = np.random.default_rng(3)
    for kind in ("references", "aurora", "borealis"):
        (folder / kind).mkdir()
        for number in range(30):
            labels = np.zeros((8, 8, 8), np.uint8)
            z, y, x = rng.integers(0, 4, 3)
            labels[z : z + 4, y : y + 4, x : x + 2] = 1
            labels[z : z + 4, y : y + 4, x + 2 : x + 4] = 2
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(folder / kind / f"case_{number:02d}.nii.gz"))
    return folder


def settings(folder: Path, **changes: str) -> Path:
    """Write the settings of a Slurm cluster."""
    path = folder / "slurm.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in {**SETTINGS, **changes}.items()), encoding="utf-8")
    return path


def medpodium(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def score(small: Path, out: Path, *more: object) -> Any:
    teams = [word for name in ("aurora", "borealis") for word in ("--predictions", f"{name}={small / name}")]
    return medpodium("score", small / "rules.yaml", "--references", small / "references", *teams, "--out", out, *more)


def squeue() -> list[str]:
    words = ["squeue", "--noheader", "--format=%A"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def while_running(look: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Call a function once in a thread as soon as a job of Slurm runs."""
    found: list[Any] = []

    def wait() -> None:
        deadline = time.monotonic() + 60
        words = ["squeue", "--noheader", "--states=RUNNING", "--format=%A"]
        while time.monotonic() < deadline:
            if subprocess.run(words, capture_output=True, check=True).stdout.strip():
                found.append(look())
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, found


def listening() -> list[tuple[str, int]]:
    own = psutil.Process()
    connections = getattr(own, "net_connections", None) or own.connections
    return [(one.laddr.ip, one.laddr.port) for one in connections("inet") if one.status == "LISTEN"]


INTRUDER = "import distributed, sys; print(distributed.Client(sys.argv[1], timeout=2).scheduler_info()['address'])"


def intrude(before: list[tuple[str, int]]) -> dict[str, Any]:
    """Do what another user of the machine would: connect to every new port, and ask the scheduler what it knows."""
    # what lies there is looked at first: the run may be over before nobody has answered
    secrets = [path for path in Path(os.environ["HOME"]).rglob("*") if path.name.endswith(".pem")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in secrets}
    folders = {stat.S_IMODE(path.parent.stat().st_mode) for path in secrets}
    new, told = [place for place in listening() if place not in before], []
    for address, port in new:
        # what serves pages to anybody, and what takes Dask's own messages
        with (
            contextlib.suppress(OSError, HTTPException),
            urllib.request.urlopen(f"http://{address}:{port}/info/main/workers.html", timeout=2),
        ):
            told.append(f"{address}:{port} shows its workers")
        command = [sys.executable, "-c", INTRUDER, f"tcp://{address}:{port}"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            told.append(subprocess.run(command, capture_output=True, text=True, timeout=8, check=False).stdout.strip())
    return {
        "addresses": {address for address, _ in new},
        "told": [one for one in told if one],
        "modes": modes,
        "folders": folders,
    }


def test_scores_through_slurm_are_the_same_bytes_and_nobody_else_gets_in(small: Path, tmp_path: Path) -> None:
    """0.1.0 listened without encryption: any user of the machine could read along and run code."""
    assert score(small, tmp_path / "here.csv").exit_code == 0
    before = listening()
    thread, found = while_running(lambda: intrude(before))
    result = score(small, tmp_path / "slurm.csv", "--slurm", settings(tmp_path))
    thread.join(180)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "slurm.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert found[0]["addresses"] == {"127.0.0.1"}
    assert found[0]["told"] == []
    assert found[0]["modes"] == {0o600}
    assert found[0]["folders"] == {0o700}
    assert list(Path(os.environ["HOME"]).glob(".medpodium*")) == []  # keys and outputs of jobs are gone with the run


def test_a_cancelled_job_costs_nothing_and_ranks_are_the_same(small: Path, tmp_path: Path) -> None:
    from medpodium.scoring.kinds import engine
    from medpodium.scoring.scheduling.slurm import SlurmScheduler, read_settings

    rules = registry.load(small / "rules.yaml")
    teams = {name: small / name for name in ("aurora", "borealis")}
    here = engine.score_task(rules, "it", small / "references", teams, workers=1)
    seen: list[str] = []
    phases: list[int] = []

    def cancel(done: int, _: int) -> None:
        phases.extend([done] if done == 1 else [])
        if len(phases) == 2 and done == 5:  # references are checked first, then cases are scored
            seen.extend(squeue())
            subprocess.run(["scancel", *seen], check=True)

    with SlurmScheduler(read_settings(settings(tmp_path))) as place:
        found = engine.score_task(rules, "it", small / "references", teams, scheduler=place, progress=cancel)
        seen.extend(squeue())
    for name, result in (("here", here), ("there", found)):
        table.write_scores(result.scores, tmp_path / f"{name}.csv")
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert len(set(seen)) == 2  # the job that was cancelled, and the one that took its place
    boards = []
    for more in ([], ["--slurm", settings(tmp_path)]):
        out = tmp_path / f"board{len(boards)}.csv"
        words = ("rank", small / "rules.yaml", tmp_path / "here.csv", "--bootstrap", 1500, "--out", out, *more)
        assert medpodium(*words).exit_code == 0
        boards.append(out.read_bytes())
    assert boards[0] == boards[1]


@pytest.mark.docker
def test_containers_run_in_slurm_jobs(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    tiny.campaign(tmp_path, count=3).close()
    failing = f"case $(ls /input) in case3*) exit 7;; esac; {tiny.GOOD}"
    for team, script in (("good", tiny.GOOD), ("failing", failing)):
        archive = tiny.archive(tmp_path / f"{team}.tar", script)
        assert medpodium("submit", tmp_path / "campaign", archive, "--team", team).exit_code == 0
    result = medpodium("run", tmp_path / "campaign", "--slurm", settings(tmp_path))
    assert result.exit_code == 0, result.output
    assert "6 runs done, 1 of them failed" in result.output
    assert medpodium("score", tmp_path / "campaign", "--out", tmp_path / "scores.csv").exit_code == 1  # the failed run
    scores = table.read_scores(tmp_path / "scores.csv")
    good = scores[scores["submission"] == "good"]
    assert (good["value"] == 1.0).all()
    lost = scores[(scores["submission"] == "failing") & (scores["case"] == "case3")]
    assert set(lost["status"]) == {"failed:crash"}
    tiny.clean(docker_engine, "medpodium/good", "medpodium/failing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queue": "nowhere"}, "invalid partition"),
        ({"time": "10 h"}, "PartitionTimeLimit"),
        ({"python": "/no/such/python"}, "/no/such/python"),
        ({"directives": '["--constraint=gpu9000"]'}, "feature"),
    ],
    ids=["refused", "never starts", "ends at once", "no such node"],
)
def test_slurms_own_words_come_at_once(small: Path, tmp_path: Path, changes: dict[str, str], words: str) -> None:
    """0.1.0 waited for up to 24 h."""
    watch, patience = time.monotonic(), {"patience": "20 s"}  # so that this test ends on 0.1.0
    result = score(small, tmp_path / "scores.csv", "--slurm", settings(tmp_path, **changes, **patience))
    assert result.exit_code == 3, result.output
    assert words in result.output
    assert time.monotonic() - watch < 18
    assert "Traceback" not in result.output
    assert squeue() == []


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    from medpodium.scoring.scheduling.slurm import SlurmScheduler, read_settings

    for changes, where in (({"interface": "nope0"}, "nope0"), ({"shared_directory": "/no/such"}, "/no/such")):
        with pytest.raises(InfrastructureError, match="slurm-settings-invalid") as caught:
            SlurmScheduler(read_settings(settings(tmp_path, **changes)))
        assert where in str(caught.value)
