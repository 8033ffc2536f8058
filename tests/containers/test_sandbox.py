"""The sandbox profile: what it forbids, and that API, printed command and both verbs mean the same container."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges.registry import load
from medpodium.challenges.schema.protocol import ContainerProtocol, Limits
from medpodium.containers.sandbox.profile import Bind, Sandbox, sandbox


@pytest.fixture
def box(tiny: Any, tmp_path: Path) -> Sandbox:
    protocol = load(tiny.challenge(tmp_path)).containers["default"]
    binds = (Bind(str(tmp_path), "/input"), Bind(str(tmp_path), "/output", writable=True))
    return sandbox(protocol, "sha256:" + "0" * 64, binds, {"case": "c1", "team": "t"}, covered=("/vol",))


def test_profile_forbids_by_default(box: Sandbox) -> None:
    arguments = box.docker_arguments()
    assert arguments["network_mode"] == "none"
    assert arguments["read_only"] is True
    assert arguments["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in arguments["security_opt"]
    assert not any("seccomp" in one or "apparmor" in one for one in arguments["security_opt"])
    assert arguments["mem_limit"] == arguments["memswap_limit"] == 64 << 20
    assert arguments["ipc_mode"] == "private"
    assert {"pid_mode", "userns_mode", "privileged", "devices", "volumes", "cap_add"}.isdisjoint(arguments)
    assert not arguments["user"].startswith("0:")
    assert [mount["ReadOnly"] for mount in arguments["mounts"]] == [True, False]
    assert not any("docker.sock" in mount["Source"] for mount in arguments["mounts"])
    assert arguments["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert arguments["environment"]["LD_PRELOAD"] == ""
    assert set(box.tmpfs()) == {"/tmp", "/vol"}


def test_protocol_cannot_override_what_protects_the_host(tiny: Any, tmp_path: Path) -> None:
    env = {"LD_PRELOAD": "/evil.so", "NVIDIA_VISIBLE_DEVICES": "all", "MODEL": "{case}-{team}-{other}"}
    protocol = load(tiny.challenge(tmp_path, env=env)).containers["default"]
    made = sandbox(protocol, "sha256:0", (), {"case": "c1", "team": "t"}).environment()
    assert made["LD_PRELOAD"] == ""
    assert made["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert made["MODEL"] == "c1-t-{other}"


def test_gpus_are_requested_one_by_one(box: Sandbox) -> None:
    request = replace(box, gpus=("0", "GPU-5")).docker_arguments()["device_requests"][0]
    assert request["DeviceIDs"] == ["0", "GPU-5"]
    assert '--gpus="device=0,GPU-5"' in replace(box, gpus=("0", "GPU-5")).command_arguments()


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory", "28"), ("time", "60"), ("shm", "2 gb"), ("pids", "256 processes"), ("time", "0 s"), ("pids", "1.5")],
)
def test_a_limit_without_its_unit_is_an_error(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits.model_validate({field: value})


def test_protocol_hash_ignores_comments_only(tiny: Any, tmp_path: Path) -> None:
    protocol = load(tiny.challenge(tmp_path)).containers["default"]
    data = protocol.model_dump(mode="json")
    same = ContainerProtocol.model_validate({**data, "unconfirmed": "no source", "documented_command": "docker run"})
    other = ContainerProtocol.model_validate({**data, "limits": {**data["limits"], "pids": "65"}})
    assert same.hash == protocol.hash
    assert other.hash != protocol.hash


def inspected(client: Any, name: str) -> dict[str, Any]:
    attributes = client.api.inspect_container(name)
    config = {
        key: attributes["Config"].get(key)
        for key in ("User", "Image", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck", "NetworkDisabled")
    }
    config["Env"] = sorted(attributes["Config"]["Env"])
    config["Entrypoint"] = config["Entrypoint"] or None
    host = attributes["HostConfig"]
    host.pop("ConsoleSize", None)  # the size of the terminal the command line was started in
    for key in ("Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "BlkioWeightDevice", "BlkioDeviceReadBps", "Devices"):
        host[key] = host.get(key) or None  # an empty list and no list are the same
    for key, empty in host.items():
        if empty in ([], {}, "", 0, False):
            host[key] = None
    if (host.get("RestartPolicy") or {}).get("Name") in ("", "no"):
        host["RestartPolicy"] = None
    return {"HostConfig": host, "Config": config}


@pytest.mark.docker
@pytest.mark.parametrize("entrypoint", [None, ["/run.sh"], []])
def test_printed_command_recreates_the_container(
    entrypoint: list[str] | None, tiny: Any, docker_engine: Any, require: Any, tmp_path: Path
) -> None:
    require(shutil.which("docker") is not None, "the docker command line")
    from medpodium.containers.intake import image

    protocol = load(tiny.challenge(tmp_path, entrypoint=entrypoint)).containers["default"]
    pinned, _ = image.take(docker_engine, str(tiny.archive(tmp_path / "team.tar")), protocol, "team", tmp_path)
    binds = (Bind(str(tmp_path), "/input"), Bind(str(tmp_path), "/output", writable=True))
    box = sandbox(protocol, pinned.engine_id, binds, {"case": "c1", "team": "t"}, covered=("/vol",))
    api = docker_engine.containers.create(**box.docker_arguments())
    printed = shlex.split(box.command_line())
    assert printed[:3] == ["timeout", "--signal=KILL", "20"]
    assert printed[3:5] == ["docker", "run"]
    words = [*printed[3:4], "create", *(word for word in printed[5:] if word != "--rm")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    line = done.stdout.strip().splitlines()[-1]
    try:
        assert inspected(docker_engine, line) == inspected(docker_engine, api.id)
    finally:
        api.remove()
        docker_engine.containers.get(line).remove()
        image.discard(docker_engine, pinned)


@pytest.mark.docker
def test_check_image_and_run_issue_the_same_container(
    tiny: Any, docker_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both verbs are watched at the engine: every created container is inspected before it starts."""
    from medpodium.containers import athome
    from medpodium.containers.run import execute

    seen: list[str] = []
    real = execute._Watch.__init__

    def spy(self: Any, container: Any) -> None:
        host = client.api.inspect_container(container.id)["HostConfig"]
        # The staged copies lie in a new folder with a random name each time; nothing else may differ.
        text = re.sub(r"[^\"]*/[0-9a-f]{16}/", "/STAGED/", json.dumps(host, sort_keys=True))
        seen.append(text)
        real(self, container)

    client = docker_engine
    monkeypatch.setattr(execute._Watch, "__init__", spy)
    path = tiny.archive(tmp_path / "team.tar.gz")
    campaign = tiny.campaign(tmp_path / "organizer", count=1)
    tiny.run(client, campaign, {"team": path})
    images, references = tiny.cases(tmp_path / "home", 1)
    verdict = athome.check_image(client, campaign.challenge, str(path), images, references)
    campaign.close()
    assert verdict.passed, verdict.findings
    assert len(seen) == 2
    assert "/STAGED/m0" in seen[0]
    assert seen[0] == seen[1]
    assert verdict.command.startswith("timeout --signal=KILL 20 docker run --rm --network=none --read-only")
