"""What an engine ignores is found out and refused in one line, whatever it says of itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medpodium.challenges.registry import load
from medpodium.containers.sandbox import monitor, probe
from medpodium.containers.sandbox.profile import sandbox
from medpodium.findings import InfrastructureError, Severity

pytestmark = pytest.mark.docker


class Deaf:
    """A client of an engine that takes every wish and forgets some, as rootless engines do."""

    def __init__(self, client: Any, **changes: Any) -> None:
        self._client, self._changes = client, changes
        where = f"deaf to {sorted(changes)}"  # another engine than the one behind it, whose answers are remembered
        self.api = SimpleNamespace(base_url=where, get_adapter=client.api.adapters.get)
        self.images = client.images
        self.containers = self

    def create(self, **wishes: Any) -> Any:
        """Make a container, the engine's way."""
        for name, value in self._changes.items():
            if value is None:
                wishes.pop(name, None)
            else:
                wishes[name] = value
        return self._client.containers.create(**wishes)


def ask(tiny: Any, client: Any, folder: Path) -> probe.Answer:
    work = folder / "work"
    work.mkdir()
    protocol = load(tiny.challenge(folder)).containers["default"]
    try:
        return probe.ask(client, work, sandbox(protocol, "", (), {}), {})
    finally:
        assert list(work.iterdir()) == []


def test_everything_that_an_engine_ignores_is_named_at_once(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    names = ("pids_limit", "mem_limit", "memswap_limit", "ulimits", "cap_drop", "security_opt", "read_only", "shm_size")
    deaf = Deaf(docker_engine, **dict.fromkeys(names), user="0:0", cap_add=["NET_ADMIN"], tmpfs={"/tmp": "rw"})
    with pytest.raises(InfrastructureError) as caught:
        ask(tiny, deaf, tmp_path)
    (found,) = caught.value.findings
    assert found.code == "engine-limits-ignored"
    for text in (
        "bytes of memory", "processes", "bytes per file", "bytes of /tmp", "bytes of /dev/shm", "capabilities",
        "may gain privileges", "folders can be written to", "another user of the host",
    ):  # fmt: skip
        assert text in found.cause


def test_engine_without_the_filter_of_calls_is_refused(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    options = ["no-new-privileges:true", "seccomp=unconfined"]
    with pytest.raises(InfrastructureError, match="no filter of system calls"):
        ask(tiny, Deaf(docker_engine, security_opt=options), tmp_path)


def test_engine_that_runs_programs_as_somebody_else_is_refused(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    """Rootless engines map users: nobody inside is not nobody outside, and cannot write what nobody owns."""
    with pytest.raises(InfrastructureError, match="another user of the host"):
        ask(tiny, Deaf(docker_engine, user="12345:12345"), tmp_path)


def test_engine_that_obeys_is_asked_once(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    answer = ask(tiny, Deaf(docker_engine), tmp_path)
    assert answer.user is None
    assert [one.code for one in answer.findings if one.code != "output-only-watched"] == []


def test_engine_whose_processes_are_not_seen_from_here_is_not_taken_for_a_kernel_of_its_own(
    tiny: Any, docker_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Medpodium in a container of its own sees no process of the engine: that must neither refuse nor excuse it."""
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(monitor, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(probe, "_WORKS", {})
    found = [one for one in ask(tiny, docker_engine, tmp_path).findings if one.code == "engine-limits-ignored"]
    assert [one.severity for one in found] == [Severity.WARNING]
    assert "processes" in found[0].cause
    assert "--pid host" in found[0].fix
    (tmp_path / "open").mkdir()
    with pytest.raises(InfrastructureError, match="no filter of system calls"):
        ask(tiny, Deaf(docker_engine, security_opt=["no-new-privileges:true", "seccomp=unconfined"]), tmp_path / "open")
