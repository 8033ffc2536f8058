"""Outputs in a file system of their own: it is empty and of its size each time, and outlives nobody who needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medpodium.containers.sandbox import bounds

MIB = 1 << 20
KILLED = """
import os, signal, sys
from pathlib import Path
from medpodium.containers.sandbox import bounds
bounds.mount(Path(sys.argv[1]), size=1 << 20, entries=10, user="65534:65534")
print("mounted", flush=True)
if sys.argv[2] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def may_mount(require) -> None:
    require(bounds.available(), "root and loop devices")


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def touch(path: Path, count: int) -> None:
    for number in range(count):
        (path / f"f{number}").touch()


def test_every_file_system_is_new_empty_and_of_its_size(tmp_path: Path) -> None:
    for number in range(3):
        made = bounds.mount(folder(tmp_path / str(number)), size=2 * MIB, entries=10, user="65534:65534")
        assert made.used() == (0, 0)
        assert list(made.folder.iterdir()) == []
        assert made.folder.stat().st_uid == 65534
        (made.folder / "a").write_bytes(bytes(MIB))
        with pytest.raises(OSError, match="No space left"):
            (made.folder / "b").write_bytes(bytes(12 * MIB))
        with pytest.raises(OSError, match="No space left"):
            touch(made.folder, 200)
    bounds.unmount_below(tmp_path)
    assert bounds.mounted_below(tmp_path) == []


def test_mount_of_a_killed_process_is_taken_down_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    """Whoever is killed unmounts nothing; its folder may even be deleted, and the disk stays in use."""
    words = [sys.executable, "-c", KILLED]
    dead, gone, alive = (folder(tmp_path / name / "m1") for name in ("dead", "gone", "alive"))
    for path in (dead, gone):
        done = subprocess.run([*words, str(path), "dies"], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    next((tmp_path / "gone").glob("m1.*")).unlink()
    with subprocess.Popen([*words, str(alive), "lives"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None
        assert living.stdout.readline() == b"mounted\n"
        mine = bounds.mount(folder(tmp_path / "mine" / "m1"), size=MIB, entries=10, user="65534:65534")
        found = bounds.unmount_orphans()
        # a campaign of another test may have been faster: what counts is that they are gone
        assert not any(os.path.ismount(path) for path in (dead, gone))
        assert not {alive, mine.folder} & set(found)
        assert all(os.path.ismount(path) for path in (alive, mine.folder))
        living.communicate()
    bounds.unmount_orphans()
    assert not os.path.ismount(alive)
    bounds.unmount_below(tmp_path)
    assert bounds.mounted_below(tmp_path) == []
