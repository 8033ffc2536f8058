"""Unpack a participant's archive: regular files only, inside the folder, within limits on number and size."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from medpodium.challenges.naming.names import is_hidden
from medpodium.findings import Finding, UsageError
from medpodium.scoring.exchange.codes import PlatformCode

MAX_FILES = 200_000
MAX_BYTES = 200 * 10**9
_PIECE = 1 << 20


def unpack(archive: Path, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> list[str]:
    """Unpack a ``.zip``, ``.tar`` or ``.tar.gz`` and return the names of its files.

    Links, devices and names that lead out of the folder are refused, never followed.

    Raises
    ------
    UsageError
        If the archive cannot be read, is unsafe or exceeds a limit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    left = max_bytes
    try:
        for name, stream in _members(archive):
            relative = PurePosixPath(name.replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts or not relative.parts or ":" in relative.parts[0]:
                raise _refuse(archive, f"entry {name[:100]!r} leads out of the archive", "pack the files plainly")
            if len(names) >= max_files:
                raise _refuse(archive, f"holds more than {max_files} files", "pack the predictions only")
            target = folder.joinpath(*relative.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                while piece := stream.read(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise _refuse(archive, f"expands to more than {max_bytes} bytes", "compress label maps only")
                    copy.write(piece)
            names.append(relative.as_posix())
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, ValueError) as error:
        cause = f"cannot be unpacked: {type(error).__name__}: {error}".split("\n")[0]
        raise _refuse(archive, cause, "hand in a plain .zip or .tar.gz without encryption") from None
    return names


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if entry.is_dir():
                    continue
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise _refuse(archive, f"entry {entry.filename[:100]!r} is a link or device", "pack regular files")
                with file.open(entry) as stream:
                    yield entry.filename, stream
        return
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if member.isdir():
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise _refuse(archive, f"entry {member.name[:100]!r} is a link or device", "pack regular files")
            yield member.name, content


def _refuse(archive: Path, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(PlatformCode.ARCHIVE, archive.name, cause, fix))


def inner_folder(folder: Path, *, ignored: Collection[str] = ("metadata",)) -> Path:
    """Return the folder itself, or its only subfolder where all files lie inside one (as zip tools like to pack).

    Parameters
    ----------
    folder : Path
        What was unpacked.
    ignored : collection of str
        Names that the platform itself puts beside the files.
    """
    while True:
        entries = [path for path in folder.iterdir() if path.name not in ignored and not is_hidden(path.name)]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
            return folder
        folder = entries[0]
