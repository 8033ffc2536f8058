"""README's two commands in one environment: install, use, install again for development, use, remove.

What is installed brings its loops compiled, so that a first score, ranking, report or demo compiles nothing.
Whatever a run leaves inside the installed package stays when pip removes it, becomes a package without modules, and
hides the next installation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import medpodium

SOURCE = Path(medpodium.__file__).parent
RULES = """
schema: 1
name: tiny
title: Tiny
tasks:
  it:
    kind: segmentation
    files: {reference: "{case}.mha", prediction: "{case}.mha"}
    structures: {a: {label: 1}, b: {label: 2}, both: {union: [1, 2]}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}SURFACES}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {it: means}
"""
SURFACES = ", nsd: {kind: nsd, tolerance_mm: 1.0}, hd95: {kind: hd_percentile, worst: diagonal}"


def _copy_of_the_clone(target: Path) -> Path:
    left_out = shutil.ignore_patterns(
        ".git", ".venv", "__pycache__", "tests", "benchmarks", "docs", "build", "*.egg-info", ".*_cache", ".hypothesis"
    )
    return Path(shutil.copytree(SOURCE, target, ignore=left_out))


def _environment(folder: Path) -> tuple[Path, Path]:
    """Make a new environment that sees this one's libraries, but not its medpodium; return its Python and library."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    library = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    seen = folder / "libraries"
    seen.mkdir()
    for place in map(Path, sys.path):
        if place.name not in ("site-packages", "dist-packages") or not place.is_dir():
            continue
        for item in place.iterdir():
            if "medpodium" not in item.name and item.suffix != ".pth" and not (seen / item.name).exists():
                (seen / item.name).symlink_to(item)
    (library / "libraries.pth").write_text(f"{seen}\n")
    return python, library


def _masks(folder: Path) -> None:
    cube = np.zeros((8, 8, 8), np.uint8)
    cube[2:6, 2:6, 2:6] = 1
    cube[4, 2:6, 2:6] = 2
    for name in ("references", "aurora", "borealis"):
        (folder / name).mkdir(parents=True)
        for case in ("one", "two"):
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(cube), str(folder / name / f"{case}.mha"))
    (folder / "rules.yaml").write_text(RULES.replace("SURFACES", SURFACES))
    (folder / "overlap.yaml").write_text(RULES.replace("SURFACES", ""))


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def _setuptools() -> int:
    """Return the release of setuptools; environments of Python 3.12 and later come without it."""
    try:
        return int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        return 0


@pytest.mark.slow
def test_installed_used_installed_for_development_used_and_removed(
    tmp_path: Path, require: Callable[[bool, str], None], posix: None
) -> None:
    require(subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0, "pip")
    # The build runs without isolation, with the setuptools that is here.
    require(_setuptools() >= 77, "setuptools 77 or newer")
    clone = _copy_of_the_clone(tmp_path / "clone")
    python, library = _environment(tmp_path / "environment")
    _masks(tmp_path / "data")
    outside = {name: text for name, text in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON", "PIP_"))}
    outside |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), "PIP_NO_INDEX": "1"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, env=outside, cwd=tmp_path / "data", capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def pip(*words: str | Path) -> str:
        return run(sys.executable, "-m", "pip", "--python", python, *words)

    def use(bootstrap: int, rules: str = "rules.yaml") -> None:
        teams = ("--predictions", "aurora=aurora", "--predictions", "borealis=borealis", "--workers", "1")
        verb = python.parent / "medpodium"
        run(verb, "score", rules, "--references", "references", *teams, "--out", "scores.csv")
        run(verb, "rank", "--help")
        run(verb, "rank", rules, "scores.csv", "--bootstrap", str(bootstrap), "--out", "board.csv")
        assert (tmp_path / "data" / "board.csv").read_text().count("\n") == 3  # a heading and two teams

    install = ("install", "--no-deps", "--no-build-isolation", "--quiet")
    pip(*install, clone)
    (about,) = library.glob("medpodium-*.dist-info")
    assert "Tag: py3-none-any" not in (about / "WHEEL").read_text()
    ready = library / "medpodium" / "scoring" / "measures" / "ready"
    before = _files(ready)
    use(bootstrap=10)
    run(python.parent / "medpodium", "demo", "demo", "--cases", "2")
    assert len(list(ready.rglob("*.nrt"))) == 1
    assert not list((tmp_path / "cache").rglob("*.n[br]*"))
    assert _files(ready) == before
    pip(*install, "--editable", clone)
    assert [path.name for path in library.iterdir() if path.name == "medpodium"] == []
    use(bootstrap=0, rules="overlap.yaml")  # the loops of overlap are enough to be compiled anew, for the clone
    assert not [path for path in clone.rglob("*.nb[ic]") if path.relative_to(clone).parts[0] != "build"]
    assert list((tmp_path / "cache" / "medpodium" / "numba").rglob("*.nbi"))
    pip("uninstall", "--yes", "medpodium")
    assert [path.name for path in library.iterdir() if "medpodium" in path.name] == []
    gone = "import importlib.util, sys; sys.exit(importlib.util.find_spec('medpodium') is not None)"
    run(python, "-c", gone)
