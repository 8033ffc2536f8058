"""Broken images: each is the fault of its team, typed, and the other teams are run as if it were not there.

An engine answers a broken image with the same kinds of error as its own trouble; none of these images may stop a run.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medpodium.cli import main

pytestmark = pytest.mark.docker


def medpodium(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run a verb with ``--json``; return its exit code and what it printed."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    start = done.stdout.find("{")
    return done.exit_code, json.loads(done.stdout[start:]) if start >= 0 else {}


def elf(machine: int) -> bytes:
    """Return the header of a program for another processor (183 is AArch64)."""
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0
    )


def modes(blob: bytes, name: str, mode: int) -> bytes:
    """Return a layer in which one file has another mode."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(blob)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            member.mode = mode if member.name == name else member.mode
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def broken() -> dict[str, tuple[dict[str, Any], dict[str, bytes], dict[str, str]]]:
    """Return (configuration, files, links) of images that cannot do what the protocol asks; the command is /run.sh."""
    return {
        "workdir-is-a-file": ({"WorkingDir": "/app"}, {"app": b"x"}, {}),
        "workdir-below-a-file": ({"WorkingDir": "/app/src"}, {"app": b"x"}, {}),
        "workdir-is-a-loop": ({"WorkingDir": "/loop"}, {}, {"loop": "loop"}),
        "input-is-a-file": ({}, {"input": b"x"}, {}),
        "env-with-nul": ({"Env": ["PATH=/bin", "BAD=a\0b"]}, {}, {}),
        "env-without-name": ({"Env": ["PATH=/bin", "=x"]}, {}, {}),
        "entrypoint-with-nul": ({"Entrypoint": ["/ru\0n"]}, {}, {}),
        "entrypoint-too-long": ({"Entrypoint": ["/bin/echo", "x" * 200_000]}, {}, {}),
        "words-of-the-machine": ({"WorkingDir": "/no space left/cgroup nvidia"}, {"no space left": b"x"}, {}),
        "command-missing": ({}, {"run.sh": b""}, {}),
        "command-not-executable": ({}, {}, {}),
        "command-for-another-processor": ({}, {"run.sh": elf(183)}, {}),
        "interpreter-missing": ({}, {"run.sh": b"#!/usr/bin/python9\nprint()\n"}, {}),
        "windows-line-ends": ({}, {"run.sh": b"#!/bin/sh\r\ntrue\r\n"}, {}),
        "command-is-a-folder": ({}, {"run.sh/x": b""}, {}),
        "user-unknown": ({"User": "nobody-knows:me"}, {}, {}),
    }


ALLOWED = {"cannot-start", "no-command", "platform-mismatch", "crash"}


@pytest.fixture(scope="module")
def state(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Submit an honest team, all broken images and another honest team; run them by one command."""
    folder = tmp_path_factory.mktemp("images")
    images, references = tiny.cases(folder, 1)
    file, root = tiny.challenge(folder, limits={"time": "5 s"}), folder / "campaign"
    assert medpodium("init", file, root, "--cases", images, "--references", references)[0] == 0
    base = tiny.layer({})
    archives = {}
    for name, (config, files, links) in {"first": ({}, {}, {}), **broken(), "last": ({}, {}, {})}.items():
        script = {} if any(one.startswith("run.sh") for one in files) else tiny.script(f"# {name}\n{tiny.GOOD}")
        blob = tiny.layer({**script, **files}, busybox=False, links=links, folders=False)
        if name == "command-missing":
            blob = tiny.layer({"other.sh": b""}, busybox=False, folders=False)
        if name == "command-not-executable":
            blob = modes(blob, "run.sh", 0o644)
        archives[name] = tiny.archive(folder / f"{name}.tar", layers=[base, blob], config=config)
    refused = {}
    for name, path in archives.items():
        code, said = medpodium("submit", root, path, "--team", name)
        assert code in (0, 2), (name, code, said)
        if code:
            refused[name] = said
    code, ran = medpodium("run", root)
    yield {"code": code, "ran": ran, "refused": refused, "status": medpodium("status", root)[1], "root": root}
    tiny.clean(docker_engine)


def test_broken_images_are_their_teams_fault_and_stop_nobody(state: Any) -> None:
    """0.1.0 called the engine lost at the first of them, and the run ended there, for ever."""
    assert state["code"] == 0, state["ran"]
    counts = {row["team"]: (row["done"], row["failed"], row["pending"]) for row in state["status"]["submissions"]}
    assert counts["first"] == counts["last"] == (1, 0, 0)
    assert [team for team, row in counts.items() if row[2]] == []
    failures = {row["team"]: row for row in state["status"]["failures"]}
    taken = set(broken()) - set(state["refused"]) - {"user-unknown"}
    assert len(taken) >= 14
    assert {team: failures[team]["code"] for team in taken if failures[team]["code"] not in ALLOWED} == {}
    assert counts["user-unknown"] == (1, 0, 0), "the sandbox's user runs it, whatever the image says"


def test_findings_say_what_is_wrong_with_the_command(state: Any) -> None:
    failures = {row["team"]: row for row in state["status"]["failures"]}
    assert failures["workdir-is-a-file"]["code"] == "cannot-start"
    for team in ("command-missing", "command-not-executable", "interpreter-missing", "windows-line-ends"):
        assert failures[team]["code"] == "no-command", failures[team]
    assert failures["command-for-another-processor"]["code"] == "platform-mismatch"
    assert "#!/usr/bin/python9" in failures["interpreter-missing"]["cause"]
    assert "Windows line ends" in failures["windows-line-ends"]["cause"]
    assert "not executable" in failures["command-not-executable"]["cause"]
    text = json.dumps(state["status"])
    assert "/overlay2/" not in text
    assert str(state["root"]) not in text, "teams read causes: nothing of the organizer's machine may be in them"
