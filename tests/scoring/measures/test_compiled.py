"""Compiled code is kept where it can be, never in the package, and scoring works where nothing can be kept.

A package that was built with its code compiled is read from, and as good as any other where that does not fit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
from numba.core.registry import cpu_target

import medpodium
from medpodium.scoring.measures import kernels
from medpodium.scoring.measures.compiled import kept

READY = Path("scoring") / "measures" / "ready"
SCORE = """
import numba
import numpy as np
from numba.core.runtime import nrtdynmod
made, make = [], nrtdynmod.create_nrt_module
nrtdynmod.create_nrt_module = lambda context: made.append(1) or make(context)
from medpodium.scoring.measures import kernels
volume = np.zeros((2, 3, 16), np.uint8)
volume[1, 1, 4:9] = 3
volume.flags.writeable = False
start, stop = kernels.row_extents(volume)
assert numba.config.CACHE_DIR == "" or "NUMBA_CACHE_DIR" in __import__("os").environ
hits = sum(kernels.row_extents.stats.cache_hits.values())
# what is there already is loaded without the compiler's tables
assert hits == 0 or "numba.np.arraymath" not in __import__("sys").modules
print(kernels.__file__, start[1, 1], stop[1, 1], hits, len(made))
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
    hits, runtimes = _counts(package, home, **more)
    assert not (hits and runtimes)  # where the one is, the other is, too
    return hits > 0


def _counts(package: Path, home: Path, **more: str) -> tuple[int, int]:
    """Score with a copy of the package: how often it found its code compiled, and how often it compiled the runtime."""
    places = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(home))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= places | {"PYTHONPATH": str(package.parent)} | more
    done = subprocess.run(
        [sys.executable, "-c", SCORE], env=environment, cwd=home.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path, start, stop, hits, runtimes = done.stdout.rsplit(maxsplit=4)
    assert Path(path).is_relative_to(package)
    assert (int(start), int(stop)) == (4, 9)
    return int(hits), int(runtimes)


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
    (index,) = _kept(tmp_path)
    assert _score(copied, home)
    # another function of the kernels' folder may be part of any of them
    with (copied / "scoring" / "measures" / "surfaces" / "dense.py").open("a") as source:
        source.write("# another release\n")
    assert not _score(copied, home, NUMBA_CACHE_DIR=str(index.parents[1]))
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


@pytest.fixture(scope="module")
def built(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package that brings its code compiled, as a build leaves it."""
    home = tmp_path_factory.mktemp("built") / "home"
    home.mkdir()
    package = Path(shutil.copytree(installed, home.parent / "library" / "medpodium"))
    assert not _score(package, home)
    (index,) = _kept(home)
    kept.make_ready(index.parents[1], package / READY)
    return package


def _with_code(built: Path, folder: Path) -> tuple[Path, Path]:
    """Return a copy of a built package, and a new home."""
    (folder / "home").mkdir()
    return Path(shutil.copytree(built, folder / "library" / "medpodium")), folder / "home"


def _state(package: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in package.rglob("*") if "__pycache__" not in path.parts]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@pytest.mark.parametrize("home_is_writable", [True, False])
def test_what_the_package_brings_is_used_and_left_alone(built: Path, tmp_path: Path, home_is_writable: bool) -> None:
    package, home = _with_code(built, tmp_path)
    if not home_is_writable:
        home.rmdir()
        home.write_text("")
    for path in package.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    before = _state(package)
    assert _score(package, home)
    assert not _kept(home)
    assert _state(package) == before


def test_code_of_other_sources_is_not_used(built: Path, tmp_path: Path) -> None:
    package, home = _with_code(built, tmp_path)
    with (package / "scoring" / "measures" / "surfaces" / "dense.py").open("a") as source:
        source.write("# patched\n")
    assert not _score(package, home)


def test_damaged_code_in_the_package_is_compiled_anew(built: Path, tmp_path: Path) -> None:
    package, home = _with_code(built, tmp_path)
    (code,) = (package / READY).rglob("*.nbc")
    _flip(code)
    before = _state(package)
    assert not _score(package, home)
    assert len(_kept(home)) == 1
    assert _state(package) == before


def _flip(code: Path) -> None:
    """Change one bit of what is machine code, which unpickles as well as before."""
    content = bytearray(code.read_bytes())
    content[len(content) // 2] ^= 1
    code.write_bytes(content)


def _cut(code: Path) -> None:
    code.write_bytes(code.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("which", "harm"),
    [
        ("*.py", Path.touch),
        *(("*.nbi", _cut), ("*.nbi", Path.unlink), ("*.nbc", _cut), ("*.nbc", _flip)),
        *(("SHA256SUMS", Path.unlink), ("SHA256SUMS", _cut)),
    ],
)
def test_only_whole_code_for_this_processor_is_loaded(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, harm: Callable[[Path], None]
) -> None:
    package, _ = _with_code(built, tmp_path)
    monkeypatch.setattr(kept, "READY", package / READY)
    monkeypatch.setattr(kept, "_sums", kept._sums.__wrapped__)
    (key,) = kernels.row_extents._cache.ready._load_index()
    assert kept.is_ready(kernels.row_extents)
    here = cpu_target.target_context
    other = SimpleNamespace(codegen=lambda: SimpleNamespace(magic_tuple=lambda: (*key[1][:1], "generic", "")))
    assert kernels.row_extents._cache._load_ready(key[0], other) is None
    for code in (package / "scoring" / "measures").rglob(which):
        harm(code)
    assert (kernels.row_extents._cache._load_ready(key[0], here) is None) == (which != "*.py")


@pytest.mark.parametrize("harm", [Path.unlink, _cut, _flip])
def test_a_runtime_that_is_not_whole_is_compiled_and_kept_anew(
    installed: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert not _score(installed, home)
    (runtime,) = home.rglob("*.nrt")
    harm(runtime)
    assert _counts(installed, home) == (1, 1)
    assert _counts(installed, home) == (1, 0)
    assert list(home.rglob("*.nrt")) == [runtime]


def test_a_runtime_of_the_package_that_is_not_whole_is_not_used(built: Path, tmp_path: Path) -> None:
    package, home = _with_code(built, tmp_path)
    (runtime,) = (package / READY).rglob("*.nrt")
    _flip(runtime)
    assert _counts(package, home) == (1, 1)
    assert len(list(home.rglob("*.nrt"))) == 1


def test_what_other_packages_compile_stays_where_it_would_be(tmp_path: Path) -> None:
    seen = [numba.config.CACHE_DIR]
    with suppress(KeyError), kept._numba_keeps_in(tmp_path):
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
    monkeypatch.setattr(kept, "_sources", lambda: "a" * 64)
    own = kept.cache_folder.__wrapped__()
    assert own.is_relative_to(tmp_path)
    days = {"yesterday": 0.5, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0}
    for name, age in days.items():
        (own.parent / name / "measures").mkdir(parents=True)
        (own.parent / name / "measures" / "code.nbc").write_text("")
        used = time.time() - age * 86_400
        os.utime(own.parent / name, (used, used))
    monkeypatch.setattr(kept, "_sources", lambda: "b" * 64)
    other = kept.cache_folder.__wrapped__()
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
        if path.relative_to(root).parts[0] in ("tests", "build") or path == Path(kept.__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert "import njit" not in text, path
        assert "numba.njit" not in text, path
        assert "numba.jit" not in text, path
