"""A process of ours imports what this one does, never what lies in the current folder: others may have written that."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medpodium
from medpodium.challenges.sources import python_command

ROOT = Path(medpodium.__file__).resolve().parent
ASIDE = {"tests", "benchmarks", "docs", "build"}


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Return a folder with modules that must not be imported."""
    (tmp_path / "medpodium").mkdir()
    for name in ("medpodium/__init__", "json", "runpy", "click", "numpy"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('sprung').touch()\nraise SystemExit(9)\n")
    return tmp_path


def test_modules_run_as_themselves_whatever_lies_around(trap: Path) -> None:
    command = python_command("medpodium.cli", "explain", "geometry-shape-differs")
    done = subprocess.run(command, cwd=trap, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "geometry-shape-differs" in done.stdout
    assert not (trap / "sprung").exists()


def test_the_demo_runs_the_verbs_of_this_package(trap: Path) -> None:
    run = f"import sys; sys.path[:] = {sys.path!r}; from medpodium.cli import main; main()"
    command = [sys.executable, "-c", run, "demo", "shown", "--cases", "2"]
    done = subprocess.run(command, cwd=trap, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (trap / "sprung").exists()


def test_nothing_of_ours_is_started_by_name() -> None:
    """``-m`` puts the current folder first: :func:`python_command` does not."""
    found = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT)
        if ASIDE & set(own.parts) or own.parts[0].startswith(".") or own.name == "setup.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.List, ast.Tuple)) and "sys.executable" in ast.unparse(node):
                words = [one.value for one in node.elts if isinstance(one, ast.Constant)]
                found += [f"{own}:{node.lineno}"] if "-m" in words else []
    assert not found, found
