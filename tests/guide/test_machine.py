"""The doctor sees what is there and what is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.findings import Severity
from medpodium.guide import machine
from medpodium.scoring.measures import kernels
from medpodium.scoring.measures.compiled import kept


def _looks() -> dict[str, machine.Look]:
    return {look.name: look for look in machine.examine()}


def test_the_machine_of_the_tests_can_score() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    checks = {one["name"]: one for one in json.loads(done.output)["checks"]}
    assert done.exit_code == 0, done.output
    assert checks["Python"]["state"] == checks["packages"]["state"] == "note"
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in checks["Python"]["found"]
    told = CliRunner().invoke(main, ["doctor"]).output
    assert all(name in told for name in checks)


def test_no_engine_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    look = _looks()["container engine"]
    assert look.state is Severity.WARNING
    assert "no container engine answers" in look.found
    assert "docker.io" in look.fix


def test_a_package_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.version
    monkeypatch.setattr(machine, "version", lambda name: "0.0.1" if name.lower() == "numpy" else real(name))
    look = _looks()["packages"]
    assert look.state is Severity.ERROR
    assert look.found.startswith("numpy 0.0.1, needs >=")
    assert CliRunner().invoke(main, ["doctor"]).exit_code == 1


def test_code_that_came_with_the_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept, "cache_folder", lambda: None)
    look = _looks()["compiled code"]
    assert (look.found, look.state) == ("cannot be kept anywhere", Severity.WARNING)
    monkeypatch.setattr(kept, "READY", tmp_path)
    look = _looks()["compiled code"]
    assert "another processor, Python or Numba" in look.found
    assert look.state is Severity.WARNING
    monkeypatch.setattr(kept, "is_ready", lambda function: function is kernels.row_extents)
    look = _looks()["compiled code"]
    assert "came with the package" in look.found
    assert look.state is Severity.NOTE


def test_modules_that_are_compiled_at_every_start_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "machine.pyc"
    monkeypatch.setattr(machine, "cache_from_source", lambda _: str(kept))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    look = _looks()["Python modules"]
    assert look.state is Severity.WARNING
    assert "PYTHONDONTWRITEBYTECODE" in look.found
    assert "compileall" in look.fix
    kept.touch()
    assert _looks()["Python modules"].state is Severity.NOTE


def test_a_look_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def _gone() -> object:
        raise OSError("no such disk")

    monkeypatch.setattr(machine, "_LOOKS", (_gone, machine._python))
    looks = machine.examine()
    assert looks[0].found == "OSError: no such disk"
    assert looks[1].name == "Python"
