"""A check under another platform's rules: its flags reach the container, and what it would refuse is said."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medpodium.challenges.registry import load
from medpodium.cli import main
from medpodium.containers.sandbox.elsewhere import PLATFORMS
from medpodium.containers.sandbox.profile import sandbox

MEMORY = 64 << 20
CODABENCH = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID"
    " SYS_CHROOT"
)
"""What compute_worker.py of codalab/codabench takes away."""


def box(tiny: Any, folder: Path, **limits: str) -> Any:
    protocol = load(tiny.challenge(folder, limits=limits)).containers["default"]
    return sandbox(protocol, "sha256:x", (), {})


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever checks is root, so that programs may run as the image's user."""
    monkeypatch.setattr("os.getuid", lambda: 0)


@pytest.mark.parametrize("name", PLATFORMS)
def test_both_forms_of_a_profile_say_the_same(tiny: Any, tmp_path: Path, root: None, name: str) -> None:
    made = PLATFORMS[name].applied(box(tiny, tmp_path, memory="4 GiB"))
    arguments, words = made.docker_arguments(), made.command_arguments()
    assert ("user" in arguments) == any(word.startswith("--user=") for word in words) is False
    assert ("pids_limit" in arguments) == any(word.startswith("--pids-limit") for word in words) is False
    assert arguments["read_only"] is False
    assert "--read-only" not in words
    assert [f"--cap-drop={one}" for one in arguments["cap_drop"]] == [w for w in words if w.startswith("--cap-drop")]
    limits = {one["Name"]: one["Hard"] for one in arguments["ulimits"]}
    assert {word for word in words if word.startswith("--ulimit")} == {
        f"--ulimit={k}={v}:{v}" for k, v in limits.items()
    }
    assert arguments["tmpfs"] == {}
    assert "HOME" not in arguments["environment"]


def test_each_platform_applies_what_its_sources_say(tiny: Any, tmp_path: Path, root: None) -> None:
    plain = box(tiny, tmp_path, memory="4 GiB")
    made = {name: one.applied(plain).docker_arguments() for name, one in PLATFORMS.items()}
    limits = {name: {one["Name"]: one["Hard"] for one in args["ulimits"]} for name, args in made.items()}
    assert limits["grand-challenge"]["data"] == 4 * 2**30 - 10**9
    assert {name: args["shm_size"] for name, args in made.items()} == {
        "grand-challenge": 2 * 2**30,
        "codabench": 64 << 20,
        "synapse": 64 << 20,
    }
    assert {name: args.get("network_mode") for name, args in made.items()} == {
        "grand-challenge": "none",
        "codabench": None,
        "synapse": "none",
    }
    assert made["codabench"]["cap_drop"] == CODABENCH.split()
    assert made["codabench"]["userns_mode"] == "host"
    assert made["codabench"]["security_opt"] == ["no-new-privileges:true"]
    assert made["synapse"]["security_opt"] == made["grand-challenge"]["security_opt"] == []
    assert {name: args["mem_limit"] for name, args in made.items()} == dict.fromkeys(made, 4 * 2**30)


def test_who_is_not_root_runs_as_oneself(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1234)
    made = PLATFORMS["synapse"].applied(box(tiny, tmp_path))
    assert made.docker_arguments()["user"] == made.user


def test_a_run_of_the_hidden_test_opens_nothing(tiny: Any, tmp_path: Path) -> None:
    plain = box(tiny, tmp_path)
    assert plain.open is None
    assert {field.name for field in dataclasses.fields(type(plain)) if field.name == "open"} == {"open"}
    assert plain.docker_arguments()["network_mode"] == "none"


@pytest.mark.parametrize(
    ("name", "config", "changes", "said"),
    [
        (
            "grand-challenge", {"User": "", "Cmd": ["/x"]}, {},
            [("USER", "error"), ("command", "warning"), ("time", "warning")],
        ),
        ("grand-challenge", {"User": "7"}, {"limits": {"time": "1 h"}}, [("command", "error")]),
        (
            "grand-challenge", {"User": "7", "Cmd": ["/x"]}, {"command": None, "limits": {"time": "25 h"}},
            [("time", "warning")],
        ),
        ("codabench", {"User": "root"}, {"limits": {"time": "700 s"}}, [("time", "warning")]),
        ("codabench", {"User": "root"}, {"limits": {"time": "600 s"}}, []),
        ("synapse", {"User": "0", "Cmd": ["/x"]}, {"command": None}, [("outputs", "warning")]),
        ("synapse", {"Cmd": ["/x"]}, {"command": None, "outputs": [{"name": "predictions.csv", "kind": "table"}]}, []),
    ],
)  # fmt: skip
def test_what_a_platform_would_not_take_is_said(
    tiny: Any, tmp_path: Path, name: str, config: dict[str, Any], changes: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    protocol = load(tiny.challenge(tmp_path, **changes)).containers["default"]
    found = PLATFORMS[name].findings(config, protocol)
    assert [(one.where, one.severity) for one in found] == said
    assert all(one.fix and one.code == "platform-differs" for one in found)


LOOKS = """
id -u; grep -E 'NoNewPrivs|CapEff' /proc/self/status; ulimit -d; df -k /dev/shm | tail -n 1; ls /sys/class/net
grep ' / [a-z0-9]* rw' /proc/mounts > /dev/null && echo root-writable; echo HOME=$HOME
"""


@pytest.mark.docker
@pytest.mark.parametrize("name", PLATFORMS)
def test_the_rules_reach_the_container_and_the_printed_line(
    tiny: Any, docker_engine: Any, tmp_path: Path, name: str
) -> None:
    rules = tiny.challenge(tmp_path, limits={"memory": "2 GiB", "time": "30 s"})
    images, references = tiny.cases(tmp_path, 1)
    layer = tiny.layer(tiny.script(LOOKS + tiny.GOOD))
    path = tiny.archive(tmp_path / "elsewhere.tar", layers=[layer], config={"User": "4321:4321"})
    words = ["check", "image", rules, path, "--cases", images, "--references", references, "--platform", name]
    words += ["--keep", tmp_path / "kept", "--team", "elsewhere"]
    result = CliRunner().invoke(main, [*map(str, words), "--json"])
    tiny_said = json.loads(result.stdout[result.stdout.index("{") :])
    assert result.exit_code == 0, result.output
    assert tiny_said["platform"]["name"] == name
    assert any(one["unconfirmed"] for one in tiny_said["platform"]["settings"])
    done = subprocess.run(["/bin/sh", "-c", tiny_said["by_hand"]], capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stderr
        log = next((tmp_path / "kept").rglob("log.txt")).read_text()
        for text in (log, done.stdout):
            assert "4321" in text
            assert "root-writable" in text
            assert ("eth0" in text) == (name == "codabench")
        assert f"NoNewPrivs:\t{1 if name == 'codabench' else 0}" in done.stdout
        assert "CapEff:\t0000000000000000" in done.stdout
        data = str((2 * 2**30 - 10**9) >> 10) if name == "grand-challenge" else "unlimited"
        assert data in done.stdout.splitlines()
        shm = next(line for line in done.stdout.splitlines() if "/dev/shm" in line).split()
        assert int(shm[1]) == {"grand-challenge": 1024, "codabench": 64, "synapse": 64}[name] << 10
    finally:
        tiny.clean(docker_engine, "medpodium/elsewhere")


@pytest.mark.docker
def test_people_see_the_rules_with_what_is_unconfirmed(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    rules, (images, _) = tiny.challenge(tmp_path), tiny.cases(tmp_path, 1)
    path = tiny.archive(tmp_path / "elsewhere.tar", config={"User": ""})
    words = ["check", "image", rules, path, "--cases", images, "--platform", "grand-challenge", "--team", "elsewhere"]
    result = CliRunner().invoke(main, [*map(str, words)], env={"COLUMNS": "200"})
    tiny.clean(docker_engine, "medpodium/elsewhere")
    assert result.exit_code == 1, result.output
    for text in (
        "RLIMIT_DATA",
        "unconfirmed",
        "the phase's organizer chooses the instance",
        "refuses images that run as root",
    ):
        assert text in result.output
    assert "docker run" in result.output
