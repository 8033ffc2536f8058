"""Wheel and source distribution: what is in them, and that they work installed, on the oldest and the newest Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import medpodium

SOURCE = Path(medpodium.__file__).resolve().parent
ROOMS = ("baselines", "challenges", "compat", "containers", "guide", "reports", "scoring")
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
TESTS = ("tests/test_public.py", "tests/scoring/ranking/test_recipe.py")
"""A part of the suite that needs neither an engine nor time; the demo goes through everything that is compiled."""

Require = Callable[[bool, str], None]


def _installed(name: str) -> bool:
    """Return whether a package is installed; a folder ``build`` in the clone can be imported, too."""
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _clone(folder: Path) -> Path:
    """Copy what is in version control, or all there is where nothing is."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=SOURCE, capture_output=True, check=False)
    if listed.returncode:
        skipped = shutil.ignore_patterns("build", "dist", "__pycache__", ".*", "*.egg-info", "reference")
        return Path(shutil.copytree(SOURCE, folder, ignore=skipped))
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (SOURCE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SOURCE / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, require: Require) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it, as a release does: for any machine."""
    require(_installed("build"), "the package build")
    clone = _clone(tmp_path_factory.mktemp("source") / "medpodium")
    out = tmp_path_factory.mktemp("dist")
    _build(clone, out, MEDPODIUM_PRECOMPILE="0")
    (wheel,), (archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, archive


def _build(clone: Path, out: Path, *options: str, **more: str) -> str:
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(out), str(clone)]
    done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    assert built[0].name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = message_from_bytes(wheel.read(next(one for one in wheel.namelist() if one.endswith("METADATA"))))
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    single = {"__init__.py", "cli.py", "console.py", "findings.py", "py.typed"}
    assert {name for name in names if name.count("/") == 1} == {f"medpodium/{name}" for name in single}
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == set(ROOMS)
    tracked = {f"medpodium/{path.relative_to(SOURCE).as_posix()}" for room in ROOMS for path in _kept(SOURCE / room)}
    assert tracked <= names
    assert not [name for name in names if "test" in Path(name).parts or name.endswith((".pyc", ".nbi", ".nbc"))]
    assert not [name for name in names if "ready" in Path(name).parts]
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.10"
    extras = {"answers", "baselines", "dicom", "scale", "docs", "test", "dev"}
    assert set(about.get_all("Provides-Extra")) == extras
    text = (SOURCE / "docs" / "install.md").read_text(encoding="utf-8")
    assert not [name for name in extras if f"[{name}]" not in text]


def _kept(folder: Path) -> list[Path]:
    """Return the files of a room that somebody needs: modules, challenge files, templates, licences."""
    wanted = (".py", ".yaml", ".j2", ".css", ".js", ".html", ".typ", ".csv", ".LICENSE")
    return [path for path in folder.rglob("*") if path.suffix in wanted]


def test_a_wheel_is_built_where_nothing_can_be_compiled(tmp_path: Path, require: Require) -> None:
    require(_installed("build"), "the package build")
    clone = _clone(tmp_path / "medpodium")
    (clone / "scoring" / "precompile.py").write_text("raise SystemExit('no compiler for this machine')\n")
    # of an earlier build in this clone, which could compile
    left = clone / "build" / "lib" / "medpodium" / "scoring" / "measures" / "ready"
    left.mkdir(parents=True)
    (left / "SHA256SUMS").touch()
    told = _build(clone, tmp_path / "dist", "--wheel")
    assert "could not be compiled now (no compiler for this machine)" in told
    (wheel,) = (tmp_path / "dist").glob("*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "ready" in Path(name).parts]


def test_the_source_distribution_can_be_tested_and_documented(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "SECURITY.md", "docs/conf.py", "tests/conftest.py"} <= names
    assert {"tests/public_interface.txt", ".ci/run", ".ci/backend.py", "docs/tutorials/paper.ipynb"} <= names
    assert not [name for name in names if name.startswith("docs/reference/") or "__pycache__" in name]


def test_the_index_would_take_both(built: tuple[Path, Path], require: Require) -> None:
    require(_installed("twine"), "the package twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _interpreters() -> dict[str, str]:
    """Return the oldest and the newest of the supported Pythons on this machine: on the path, or kept by pyenv."""
    found = {}
    for own in SUPPORTED:
        kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{own}.*/bin/python"))
        for candidate in [*map(str, kept), shutil.which(f"python{own}"), sys.executable]:
            command = [candidate or "", "--version"]
            if candidate and subprocess.run(command, capture_output=True, text=True, check=False).stdout.startswith(
                f"Python {own}."
            ):
                found[own] = candidate
                break
    return {own: found[own] for own in dict.fromkeys([*list(found)[:1], *list(found)[-1:]])}


@pytest.mark.slow
@pytest.mark.parametrize("python", _interpreters().values(), ids=_interpreters())
def test_the_wheel_works_and_passes_tests(
    python: str, built: tuple[Path, Path], require: Require, tmp_path: Path
) -> None:
    """Installed from the wheel with its dependencies, away from the source; tests come from the source distribution."""
    require(_installed("uv"), "the package uv")
    uv = [sys.executable, "-m", "uv"]
    environment, source = tmp_path / "environment", tmp_path / "source"
    own = environment / "bin" / "python"
    outside = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    outside |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_CACHE_DIR": _cache(uv)}

    def run(*command: object) -> str:
        done = subprocess.run(
            [str(one) for one in command], cwd=tmp_path, env=outside, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    run(*uv, "venv", "-q", "--seed", "-p", python, environment)
    wanted = f"{built[0]}[test]"
    try:
        run(*uv, "pip", "install", "-q", "--index-strategy", "unsafe-best-match", "--python", own, wanted)
    except AssertionError:  # uv does not know of the indexes that pip was told of
        run(own, "-m", "pip", "install", "-q", wanted)
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path)
    next(tmp_path.glob("medpodium-*")).rename(source)
    for room in [*ROOMS, "__init__.py"]:  # what is tested is what is installed
        (source / room).rename(tmp_path / room)
    where = run(own, "-c", "import medpodium; print(medpodium.__file__)").strip()
    assert Path(where).is_relative_to(environment)
    run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={source}", "-c", source / "pyproject.toml",
        *(source / name for name in TESTS))  # fmt: skip
    run(environment / "bin" / "medpodium", "demo", tmp_path / "demo", "--cases", "2")
    assert (tmp_path / "demo" / "report" / "index.html").stat().st_size > 10_000


def _cache(uv: list[str]) -> str:
    return subprocess.run([*uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
