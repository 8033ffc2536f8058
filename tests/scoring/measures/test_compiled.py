"""Compiled code is kept where it can be, never in the package, and scoring works where nothing can be kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numba
import pytest

import medpodium
from medpodium.scoring.measures import compiled

SCORE = """
import numba
import numpy as np
from medpodium.scoring.measures import kernels
volume = np.zeros((2, 3, 16), np.uint8)
volume[1, 1, 4:9] = 3
volume.flags.writeable = False
start, stop = kernels.row_extents(volume)
assert numba.config.CACHE_DIR == "" or "NUMBA_CACHE_DIR" in __import__("os").environ
hits = sum(kernels.row_extents.stats.cache_hits.values())
# what is there already is loaded without the compiler's tables
assert hits == 0 or "numba.np.arraymath" not in __import__("sys").modules
print(kernels.__file__, start[1, 1], stop[1, 1], hits)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package, as an installer would lay it out."""
    package = tmp_path_factory.mktemp("installed") / "medpodium"
    source = Path(medpodium.__file__).parent
    for folder in ("scoring", "challenges"):
        shutil.copytree(source / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    for name in ("__init__.py", "findings.py"):
        shutil.copy(source / name, package)
    return package


def _score(package: Path, home: Path, **more: str) -> bool:
    """Score with a copy of the package, and return whether it found its code compiled."""
    places = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(home))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= places | {"PYTHONPATH": str(package.parent)} | more
    done = subprocess.run(
        [sys.executable, "-c", SCORE], env=environment, cwd=home.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path, start, stop, hits = done.stdout.rsplit(maxsplit=3)
    assert Path(path).is_relative_to(package)
    assert (int(start), int(stop)) == (4, 9)
    return int(hits) > 0


def _kept(folder: Path) -> list[Path]:
    return [found for found in folder.rglob("*.nbi") if "row_extents" in found.name]


@pytest.mark.parametrize("home_is_writable", [True, False])
def test_code_is_kept_in_the_users_cache_or_nowhere(installed: Path, tmp_path: Path, home_is_writable: bool) -> None:
    home = tmp_path / "home"
    if home_is_writable:
        home.mkdir()
    else:
        home.write_text("")  # a file in the folder's place stops even an administrator, whom permissions would not
    assert not _score(installed, home)
    assert len(_kept(tmp_path)) == home_is_writable
    assert not _kept(installed)


def test_a_copy_elsewhere_uses_what_the_first_compiled(installed: Path, tmp_path: Path) -> None:
    home, copied = tmp_path / "home", tmp_path / "elsewhere" / "medpodium"
    home.mkdir()
    shutil.copytree(installed, copied)
    for path in copied.rglob("*.py"):
        os.utime(path, (1e9, 1e9))  # installers write the time they like
    assert not _score(installed, home)
    (kept,) = _kept(tmp_path)
    assert _score(copied, home)
    # another function of the kernels' folder may be part of any of them
    with (copied / "scoring" / "measures" / "surfaces" / "dense.py").open("a") as source:
        source.write("# another release\n")
    assert not _score(copied, home, NUMBA_CACHE_DIR=str(kept.parents[1]))
    assert len(_kept(tmp_path)) == 2


@pytest.mark.parametrize("writable", [True, False])
def test_the_environment_names_the_place(installed: Path, tmp_path: Path, writable: bool) -> None:
    home, named = tmp_path / "home", tmp_path / "named"
    home.mkdir()
    if not writable:
        named.write_text("")
    _score(installed, home, NUMBA_CACHE_DIR=str(named))
    assert len(_kept(tmp_path)) == writable
    assert not _kept(home)
    assert not _kept(installed)


def test_what_other_packages_compile_stays_where_it_would_be(tmp_path: Path) -> None:
    seen = [numba.config.CACHE_DIR]
    with suppress(KeyError), compiled._numba_keeps_in(tmp_path):
        seen.append(numba.config.CACHE_DIR)
        raise KeyError
    assert [*seen, numba.config.CACHE_DIR] == [seen[0], str(tmp_path), seen[0]]
    assert not numba.config.CACHE_LOCATOR_CLASSES


def test_changed_sources_have_a_folder_of_their_own_and_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiled, "_sources", lambda: "a" * 64)
    own = compiled.cache_folder.__wrapped__()
    assert own.is_relative_to(tmp_path)
    days = {"yesterday": 0.5, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0}
    for name, age in days.items():
        (own.parent / name / "measures").mkdir(parents=True)
        (own.parent / name / "measures" / "code.nbc").write_text("")
        used = time.time() - age * 86_400
        os.utime(own.parent / name, (used, used))
    monkeypatch.setattr(compiled, "_sources", lambda: "b" * 64)
    other = compiled.cache_folder.__wrapped__()
    assert other.parent == own.parent
    # the newest three of the others stay (the first of them was made a moment ago), and whatever is in use
    left = {path.name for path in own.parent.iterdir()}
    assert left == {own.name, other.name, "yesterday", "three"}
    assert (own.parent / "three" / "measures" / "code.nbc").is_file()


def test_no_compiled_function_is_kept_by_numba_itself() -> None:
    """``cache=True`` anywhere else would write into the package."""
    root = Path(medpodium.__file__).parent
    for path in root.rglob("*.py"):
        # "pip install ." leaves a copy of the sources in build/
        if path.relative_to(root).parts[0] in ("tests", "build") or path == Path(compiled.__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert "import njit" not in text, path
        assert "numba.njit" not in text, path
        assert "numba.jit" not in text, path
