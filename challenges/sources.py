"""Which sources of the package are running: one hash over the files that scores depend on, and how others run them.

A version number says what was released, not what runs: a clone between two releases, or a worker whose copy was
patched, has the version of its neighbour and may score differently.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("challenges", "scoring")
"""Rooms whose code decides a score: what a definition means, and how it is computed."""
RUNNING_ROOMS = (*ROOMS, "containers")
"""The rooms of :data:`ROOMS`, and the one that runs submissions and takes their answers over."""
_PACKAGE = Path(__file__).resolve().parents[1]
_START = (
    "import sys; sys.path[:] = {path!r}; from runpy import run_module; run_module({module!r}, None, {main!r}, True)"
)


@functools.cache
def source_hash(rooms: tuple[str, ...] = ROOMS) -> str:
    """Return the SHA-256 (hex) of this process's sources that scores depend on.

    It is taken when first asked for and kept: files that change later are not what runs here. It takes a few
    milliseconds.
    """
    return hash_of(_PACKAGE, rooms)


def hash_of(package: Path, rooms: tuple[str, ...] = ROOMS) -> str:
    """Return the SHA-256 (hex) of every Python file below some rooms of a copy of the package.

    It is the same wherever the copy lies and whichever line endings it was checked out with; names and contents count.

    Parameters
    ----------
    package : Path
        Folder of the package (in a clone: the repository's root).
    rooms : tuple of str
        Folders below it, with ``/``.
    """
    total = hashlib.sha256()
    for name, path in sorted(_files(package, rooms)):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def _files(package: Path, rooms: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for room in rooms:
        for path in (package / room).rglob("*.py"):
            yield path.relative_to(package).as_posix(), path


def package_version(name: str = "medpodium") -> str:
    """Return the version of an installed package, ``source`` where it is not installed (but may be importable)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "source"


def python_command(module: str, *words: str, unbuffered: bool = False) -> list[str]:
    """Return the command that runs a module of the package in a process of its own, as ``python -m`` would.

    It looks for modules where this process does. ``-m`` would look into the current folder first, which may hold what
    others wrote (a team's files), or a clone that is not what is installed.

    Parameters
    ----------
    module : str
        Its full name.
    words : str
        Its arguments.
    unbuffered : bool
        Whether what it prints appears at once.
    """
    start = _START.format(path=sys.path, module=module, main="__main__")
    return [sys.executable, *(["-u"] if unbuffered else []), "-c", start, *words]
