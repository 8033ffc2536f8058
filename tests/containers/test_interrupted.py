"""Kill the organizer's process, kill the engine, fill the disk: the same verb goes on, and the scores are the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TEAMS = {
    "perfect": 'sleep 0.4; for f in /input/*; do b=${f##*/}; cp "$f" "/output/${b%_0000.nii.gz}.nii.gz"; done',
    "crashing": "sleep 0.4; exit 3",
    "half": "[ -e /input/case2_0000.nii.gz ] && exit 0; cp /input/case?_0000.nii.gz /output/x; cd /output; "
    "for f in /input/*; do b=${f##*/}; mv x ${b%_0000.nii.gz}.nii.gz; done",
}


def prepare(tiny: Any, client: Any, folder: Path, count: int) -> Path:
    """Make a campaign with three submitted teams; returns its folder."""
    from medpodium.containers import athome

    campaign = tiny.campaign(folder, count=count)
    for team, script in TEAMS.items():
        athome.submit(client, campaign, str(tiny.archive(folder / f"{team}.tar", script)), team, None)
    campaign.close()
    return campaign.root


def start(root: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start ``medpodium run`` as an organizer does."""
    arguments = [sys.executable, "-m", "medpodium.cli", "run", str(root), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, env={**os.environ, **environment}, **pipes)


def finish(root: Path, **environment: str) -> dict[str, Any]:
    """Run the verb to its end."""
    process = start(root, **environment)
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()
    return dict(json.loads(out))


def running(root: Path, process: subprocess.Popen[bytes], seconds: float = 60.0) -> bool:
    """Wait until an attempt is under way; false if the process ended first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with sqlite3.connect(f"file:{root / 'ledger.sqlite'}?mode=ro", uri=True, timeout=5) as db:
            if db.execute("SELECT 1 FROM attempt WHERE state = 'running'").fetchone():
                return True
        time.sleep(0.02)
    return False


def outcome(root: Path) -> tuple[Any, dict[str, str]]:
    """Return (scores, collected files by hash) of a finished campaign, after checking its ledger."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.scoring.campaign import score

    with campaigns.opened(root) as campaign:
        keys = [(one.submission, one.work_key) for one in campaign.ledger.results()]
        assert len(keys) == len(set(keys)), "a case was counted twice"
        assert len(keys) == len(TEAMS) * len(campaign.manifest.cases), "a case was lost"
        files = {
            f"{one.submission}/{row['path']}": row["sha256"]
            for one in campaign.ledger.results()
            for row in campaign.ledger.outputs(one.id)
        }
        on_disk = sum(1 for path in (root / "predictions").rglob("*") if path.is_file())
        assert on_disk == len(files)
        assert list((root / "work").iterdir()) == []
        table = score(campaign, "segmentation").scores
    return table.sort_values(["submission", "case", "structure", "metric"]).reset_index(drop=True), files


@pytest.fixture(scope="module")
def undisturbed(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, str]]:
    """Return what an undisturbed campaign comes to."""
    root = prepare(tiny, docker_engine, tmp_path_factory.mktemp("undisturbed"), 3)
    finish(root)
    scores, files = outcome(root)
    assert set(scores["status"]) == {"ok", "failed:crash", "failed:missing-output"}
    return scores, files


def same(found: tuple[Any, dict[str, str]], expected: tuple[Any, dict[str, str]]) -> None:
    assert found[0].equals(expected[0])
    assert found[1] == expected[1]


def test_kill_the_organizer_fourteen_times(
    tiny: Any, docker_engine: Any, tmp_path: Path, undisturbed: tuple[Any, dict[str, str]]
) -> None:
    rng, kills, number = random.Random(5), 0, 0
    while kills < 14:
        number += 1
        root = prepare(tiny, docker_engine, tmp_path / str(number), 3)
        while kills < 14:
            process = start(root)
            alive = running(root, process)
            time.sleep(rng.uniform(0.0, 0.9))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode != -signal.SIGKILL or not alive:
                break
            kills += 1
        finish(root)
        same(outcome(root), undisturbed)
    assert docker_engine.containers.list(all=True, filters={"label": f"medpodium.campaign={secret(root)}"}) == []


def secret(root: Path) -> str:
    with sqlite3.connect(root / "ledger.sqlite") as db:
        return str(db.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])[:16]


def test_containers_do_not_outlive_a_killed_organizer(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    from medpodium.containers import athome

    campaign = tiny.campaign(tmp_path, count=1, limits={"time": "10 min"})
    athome.submit(docker_engine, campaign, str(tiny.archive(tmp_path / "sleeper.tar", "sleep 600")), "sleeper", None)
    campaign.close()
    process = start(campaign.root)
    mine = {"label": f"medpodium.campaign={secret(campaign.root)}"}

    def theirs() -> list[Any]:
        # Before it, the engine is asked what it obeys with containers of the toolkit's own.
        found = docker_engine.containers.list(filters=mine, ignore_removed=True)
        return [one for one in found if one.attrs["Config"]["Cmd"] == ["/run.sh"]]

    deadline = time.monotonic() + 60
    while not theirs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert theirs()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 30
    while docker_engine.containers.list(all=True, filters=mine) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert docker_engine.containers.list(all=True, filters=mine) == []


def test_two_runs_of_one_campaign_exclude_each_other(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    root = prepare(tiny, docker_engine, tmp_path, 1)
    first = start(root)
    assert running(root, first)
    second = start(root)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 3, errors
    assert b"campaign-busy" in errors
    first.communicate(timeout=120)
    assert first.returncode == 0
    outcome(root)


class Engine:
    """A dockerd of our own, on its own socket, so that killing it hurts nobody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import docker

        (self.folder / "pid").unlink(missing_ok=True)
        arguments = [
            *("unshare", "-n"),  # or it would take away the bridge of the machine's Docker
            "dockerd",
            f"--host={self.host}",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
        ]
        arguments += [f"--pidfile={self.folder}/pid", "--bridge=none", "--iptables=false", "--ip-forward=false"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        for _ in range(600):
            try:
                docker.DockerClient(base_url=self.host, timeout=10).ping()
                return
            except Exception:
                time.sleep(0.1)
            if self.process.poll() is not None:  # it met its dying predecessor; a service manager starts it again
                self.start()
                return
        pytest.fail((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        for _ in range(50):  # its containerd dies with it, a moment later
            if self._containerd() is None:
                return
            time.sleep(0.1)

    def _containerd(self) -> int | None:
        """Return the process id of this engine's containerd, if it lives."""
        path = self.folder / "exec" / "containerd" / "containerd.pid"
        if not path.exists() or not path.read_text().strip():
            return None
        number = int(path.read_text())
        command = Path(f"/proc/{number}/cmdline")
        return number if command.exists() and str(self.folder) in command.read_text() else None

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        number = self._containerd()
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)


@pytest.fixture
def own_engine(docker_engine: Any, require: Any) -> Iterator[Engine]:
    """Return a running engine of our own; its socket path has to be short."""
    require(shutil.which("dockerd") is not None and os.getuid() == 0, "dockerd, and root to start it,")
    folder = Path(f"/tmp/medpodium-engine-{os.getpid()}")
    folder.mkdir()
    engine = Engine(folder)
    engine.start()
    yield engine
    engine.stop()
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(str(folder)):
            subprocess.run(["umount", "-l", line.split()[4]], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def test_kill_the_engine_four_times(
    tiny: Any, own_engine: Engine, tmp_path: Path, undisturbed: tuple[Any, dict[str, str]]
) -> None:
    import docker

    client = docker.DockerClient(base_url=own_engine.host, timeout=60)
    root = prepare(tiny, client, tmp_path, 3)
    rng = random.Random(2)
    process = start(root, DOCKER_HOST=own_engine.host)
    kills = 0
    while kills < 3 and running(root, process):
        kills += 1
        time.sleep(rng.uniform(0.1, 1.0))
        own_engine.kill()
        time.sleep(0.3)
        own_engine.start()
        time.sleep(1.0)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()
    assert kills == 3
    same(outcome(root), undisturbed)
    # An engine that is gone for good ends the verb with one line and exit code 3.
    own_engine.kill()
    process = start(root, DOCKER_HOST=own_engine.host)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"no-container-engine" in errors
    assert b"Traceback" not in errors
    own_engine.start()


@pytest.fixture
def small_disk(tmp_path: Path, require: Any) -> Iterator[Path]:
    """Return a folder on a file system of 160 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(folder)], capture_output=True)
    require(mounted.returncode == 0, f"mounting a small disk ({mounted.stderr.decode().strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk but for some bytes."""
    hog = folder / "hog"
    free = shutil.disk_usage(folder).free
    with hog.open("wb") as stream, contextlib.suppress(OSError):
        os.posix_fallocate(stream.fileno(), 0, max(1, free - leave))
    return hog


def test_fill_the_disk_four_times(
    tiny: Any, docker_engine: Any, small_disk: Path, tmp_path: Path, undisturbed: tuple[Any, dict[str, str]]
) -> None:
    root = prepare(tiny, docker_engine, small_disk, 3)
    rng = random.Random(3)
    codes = []
    for leave in (0, 4096, 200_000, 20 << 20):
        process = start(root)
        if not running(root, process):
            break
        timer = threading.Timer(rng.uniform(0.0, 0.5), fill, (small_disk, leave))
        timer.start()
        _, errors = process.communicate(timeout=240)
        timer.join()
        codes.append(process.returncode)
        assert process.returncode == 3, errors.decode()
        assert b"disk" in errors
        assert b"Traceback" not in errors
        (small_disk / "hog").unlink()
    assert len(codes) == 4
    finish(root)
    same(outcome(root), undisturbed)


LOADED = ("medpodium/perfect:", "medpodium/half:", "medpodium/crashing:")


def test_a_lost_image_is_loaded_again(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    root = prepare(tiny, docker_engine, tmp_path, 1)
    tiny.clean(docker_engine, *LOADED)
    finish(root)
    outcome(root)


def test_an_archive_changed_after_submission_is_not_run(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    root = prepare(tiny, docker_engine, tmp_path, 1)
    tiny.clean(docker_engine, *LOADED)
    tiny.archive(tmp_path / "perfect.tar", "echo another program")
    process = start(root)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3
    assert b"image-changed" in errors
    tiny.archive(tmp_path / "perfect.tar", TEAMS["perfect"])
    finish(root)
    outcome(root)


def test_a_case_changed_after_init_is_not_run(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    root = prepare(tiny, docker_engine, tmp_path, 1)
    path = tmp_path / "images" / "case1_0000.nii.gz"
    right = path.read_bytes()
    path.write_bytes(tiny.nifti(tiny.mask(9)))
    process = start(root)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3
    assert b"case-changed" in errors
    path.write_bytes(right)
    finish(root)
    outcome(root)


def test_engine_absent_says_so_in_one_line(tiny: Any, tmp_path: Path) -> None:
    campaign = tiny.campaign(tmp_path, count=1)
    campaign.close()
    nowhere = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/absent.sock"}
    team = str(tiny.archive(tmp_path / "team.tar"))
    for verb in (
        ["run", str(campaign.root)],
        ["submit", str(campaign.root), team, "--team", "x"],
        ["check", "image", str(tmp_path / "challenge.yaml"), team, "--cases", str(tmp_path / "images")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "medpodium.cli", *verb], env=nowhere, capture_output=True, text=True
        )
        assert done.returncode == 3, done.stderr
        assert "no-container-engine" in done.stderr
        assert "fix:" in done.stderr
        assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "medpodium.cli", "status", str(campaign.root)],
        env=nowhere,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
