"""Files that are there complete or not at all, even when the power goes: written beside, forced to the disk, moved."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write a text file so that whoever reads it sees the old text or the new one, never a part."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    settle([path.parent])


def settle(folders: Iterable[Path]) -> None:
    """Force names that were made in or moved to folders to the disk; a system without that (Windows) does it itself."""
    for folder in folders:
        with suppress(PermissionError):  # Windows opens no folder
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def make_folder(folder: Path, top: Path) -> None:
    """Make a folder below another one, its way there forced to the disk, too."""
    missing = [one for one in (folder, *folder.parents) if one.is_relative_to(top) and not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    settle(one.parent for one in reversed(missing))
