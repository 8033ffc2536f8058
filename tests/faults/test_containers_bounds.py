"""Every place an image can write to is bounded, however it writes; who stays inside the bounds is not harmed."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medpodium.cli import main

pytestmark = pytest.mark.docker

MIB = 1 << 20
OUTPUT = 16
"""The limit of the outputs, in MiB; one file may have 12."""
SPILL = 96
"""What an attacker tries to put on the disk, in MiB."""
HONEST = "cp /input/case1_0000.nii.gz /output/case1.nii.gz"


def fill(folder: str, count: int = SPILL // 8) -> str:
    """Return a script that writes files of 8 MiB into a folder for as long as it can."""
    return repeat(count, f"dd if=/dev/zero of={folder}/f$i bs=1M count=8")


def repeat(count: int, command: str) -> str:
    """Return a script that does something many times or until it fails, and waits until somebody looks."""
    return f"i=0; while [ $i -lt {count} ]; do i=$((i+1)); {command} || break; done; sleep 0.5"


def unlinked(count: int) -> str:
    """Return a script that holds files of 8 MiB open which it has deleted: no folder shows them."""
    write = "exec {0}> /output/d; rm /output/d; head -c 8388608 /dev/zero >&{0} || exit 7; "
    return "".join(write.format(number) for number in range(3, 3 + count))


ATTACKS: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "volume-processing": (fill("/processing"), ["/processing"], {}),
    "volume-relative": (fill("/vol"), ["vol"], {}),
    "volume-two-slashes": (fill("/vol"), ["//vol"], {}),
    "volume-dots": (fill("/vol"), ["/x/../vol"], {}),
    "volume-nested": (fill("/vol/a/b"), ["/vol", "/vol/a/b"], {}),
    "volume-at-a-link": (fill("/workspace"), ["/link"], {"link": "workspace"}),
    "volume-many": (
        "".join(f"dd if=/dev/zero of=/v{n}/f bs=1M count=8; " for n in range(12)),
        [f"/v{n}" for n in range(12)],
        {},
    ),
    "unlinked": (f"{unlinked(6)} sleep 1; {HONEST}", [], {}),
    "unlinked-in-turns": (f"{unlinked(1) * 9} {HONEST}", [], {}),
    "deleted-folder": ("mkdir /output/d; cd /output/d; rmdir /output/d; " + fill("."), [], {}),
    "hard-links": (HONEST + "; " + repeat(3000, "ln /output/case1.nii.gz /output/l$i"), [], {}),
    "tiny-files": (repeat(3000, "echo > /output/f$i"), [], {}),
    "tiny-folders": (repeat(3000, "mkdir /output/f$i"), [], {}),
    "sparse": (repeat(40, "truncate -s 11M /output/s$i"), [], {}),
    "shared-memory": (fill("/dev/shm"), [], {}),
    "queues": (fill("/dev/mqueue"), [], {}),
    "scratch": (fill("/tmp"), [], {}),
    "log-without-end-of-line": ("head -c 40000000 /dev/zero | tr '\\0' a", [], {}),
    "log-of-long-lines": ("x=$(head -c 1000000 /dev/zero | tr '\\0' a); " + repeat(20, "echo $x"), [], {}),
}
"""What is tried, declared as VOLUME, and linked; each must leave less than its bounds on the disk."""


def medpodium(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run a verb with ``--json``; return its exit code and what it printed."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    start = done.stdout.find("{")
    return done.exit_code, json.loads(done.stdout[start:]) if start >= 0 else {}


def open_folders(blob: bytes, folders: list[str]) -> bytes:
    """Return a layer in which these folders exist and anybody may write: a volume takes their mode."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(blob)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        for folder in folders:
            info = tarfile.TarInfo(posixpath.normpath("/" + folder).lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, 0o777
            if folder != "/link":
                target.addfile(info)
    return out.getvalue()


@pytest.fixture(scope="module")
def state(tiny: Any, disk: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run an honest team, all attackers and another honest team, and watch the disk."""
    folder = tmp_path_factory.mktemp("bounds")
    images, references = tiny.cases(folder, 1)
    limits = {"time": "8 s", "output": f"{OUTPUT} MiB"}
    file, root = tiny.challenge(folder, limits=limits), folder / "campaign"
    assert medpodium("init", file, root, "--cases", images, "--references", references)[0] == 0
    base = tiny.layer({})
    # nearly all that is allowed, and deleted again; then an honest prediction
    busy = "dd if=/dev/zero of=/output/a bs=1M count=11; dd if=/dev/zero of=/output/b bs=1M count=4; rm /output/[ab]; "
    teams = {"first": (HONEST, [], {}), **ATTACKS, "busy": (busy + HONEST, [], {}), "last": (HONEST, [], {})}
    for name, (script, volumes, links) in teams.items():
        blob = tiny.layer(tiny.script(f"# {name}\n{script}"), busybox=False, links=links, folders=False)
        blob = open_folders(blob, volumes)
        config = {"Volumes": {one: {} for one in volumes}} if volumes else None
        path = tiny.archive(folder / f"{name}.tar", layers=[base, blob], config=config)
        assert medpodium("submit", root, path, "--team", name)[0] == 0
    engine = Path(docker_engine.info()["DockerRootDir"])
    with disk.Disk(root, engine / "volumes", engine / "containers", seconds=0.1) as places:
        code, said = medpodium("run", root)
    assert code == 0, said
    yield {"status": medpodium("status", root)[1], "most": places.most, "root": root, "engine": engine}
    tiny.clean(docker_engine)


def test_nothing_on_the_disk_beyond_the_bounds(state: Any) -> None:
    """0.1.0: VOLUME /processing and deleted open files went on until the disk was full, and were recorded as done."""
    assert state["most"] <= (OUTPUT + 16) * MIB


def test_honest_teams_are_not_harmed(state: Any) -> None:
    counts = {row["team"]: (row["done"], row["failed"], row["pending"]) for row in state["status"]["submissions"]}
    assert counts["first"] == counts["last"] == counts["busy"] == (1, 0, 0)
    assert [team for team, row in counts.items() if row[2]] == []


def test_who_goes_beyond_the_outputs_fails_by_name(state: Any) -> None:
    codes = {row["team"]: row["code"] for row in state["status"]["failures"]}
    assert codes["unlinked"] in ("output-too-large", "crash")
    assert {codes[name] for name in ("tiny-files", "tiny-folders", "hard-links")} == {"too-many-files"}


def test_nothing_is_left(state: Any) -> None:
    root = state["root"]
    assert list((root / "work").iterdir()) == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    assert not [path for path in (state["engine"] / "volumes").iterdir() if path.is_dir()]


def test_short_runs_never_show_the_whole_machine(state: Any) -> None:
    """A container that ends at once is a zombie, which version 1 shows in the root group: 0.1.0 recorded that."""
    import pandas as pd

    table = pd.read_csv(state["root"] / "runs.csv")
    assert (table["peak_memory"].dropna() <= 64 * MIB / 1e6 + 1).all()
    assert (table["cpu_time"].dropna() < 60).all()
