"""Folders and files that an import or an export writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from medpodium.findings import Finding, UsageError
from medpodium.scoring.exchange.codes import PlatformCode


def new_folder(folder: Path) -> Path:
    """Make a folder for an export; `UsageError` if it holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(Finding(PlatformCode.EXISTS, str(folder), "the folder is not empty", "choose a new folder"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def place(source: Path, target: Path) -> None:
    """Put a file at another place: as a hard link where the file system allows, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)
