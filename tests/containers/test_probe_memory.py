"""What one engine takes is not remembered for another: every local socket has the same address."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from medpodium.containers.sandbox import probe


def test_engines_at_two_sockets_are_asked_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (docker.DockerClient(base_url=f"unix://{tmp_path}/{name}.sock", version="1.41") for name in "ab")
    assert one.api.base_url == other.api.base_url
    takes = {id(one): "file", id(other): "text"}

    def seccomp(way: Any, folder: Path) -> str:
        return str(way)

    def tried(client: Any, folder: Path, box: Any, labels: dict[str, str]) -> Any:
        report = SimpleNamespace(threads=box.seccomp == takes[id(client)], reaches_host=False)
        return None, [], [], report

    monkeypatch.setattr(probe, "_WORKS", {})
    monkeypatch.setattr(probe, "seccomp", seccomp)
    monkeypatch.setattr(probe, "_try_users", tried)
    monkeypatch.setattr(probe, "replace", lambda box, **own: SimpleNamespace(**{**vars(box), **own}))
    names = ("runtime", "memory", "pids", "file", "open_files", "user", "seccomp")
    box: Any = SimpleNamespace(**dict.fromkeys(names))
    assert [probe._limits(client, tmp_path, box, {})[1] for client in (one, other, one)] == ["file", "text", "file"]
