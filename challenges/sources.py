"""Which sources of the package are running: one hash over the files that scores depend on.

A version number says what was released, not what runs: a clone between two releases, or a worker whose copy was
patched, has the version of its neighbour and may score differently.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("challenges", "scoring")
"""Rooms whose code decides a score: what a definition means, and how it is computed."""
RUNNING_ROOMS = (*ROOMS, "containers")
"""The rooms of :data:`ROOMS`, and the one that runs submissions and takes their answers over."""
_PACKAGE = Path(__file__).resolve().parents[1]


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
