"""Digests of what a result was computed from: files, settings, and the cases of a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def digest(content: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


class Inventory:
    """Digests of many files; one that has kept its size and time is not read again.

    Parameters
    ----------
    notes : Path
        JSON file that remembers them. Unreadable notes are made anew.
    """

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        try:
            self.known: dict[str, list[Any]] = json.loads(notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}

    def of(self, folder: Path, names: Iterable[str]) -> dict[str, str]:
        """Return the digest of every file below these folders of a folder, by its name there."""
        found: dict[str, str] = {}
        fresh: dict[str, list[Any]] = {}
        for name in names:
            for path in sorted((folder / name).rglob("*")):
                if path.name.startswith(".") or not path.is_file():
                    continue
                source = path.resolve()
                facts = source.stat()
                key, own = str(source), [facts.st_size, facts.st_mtime_ns]
                known = self.known.get(key)
                value = known[2] if known is not None and known[:2] == own else file_digest(source)
                found[path.relative_to(folder).as_posix()] = value
                fresh[key] = [*own, value]
        self.known |= fresh
        self.notes.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.notes, fresh)
        return found


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that another process sees the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    partial.replace(path)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words what differs between two sets of facts, ``epochs 1, not 1000``; long digests by their start."""
    return [
        f"{name.replace('_', ' ')} {_short(old.get(name))}, not {_short(value)}"
        for name, value in new.items()
        if _plain(old.get(name)) != _plain(value)
    ]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _short(value: Any) -> str:
    text = "the default" if value is None else str(value)
    return text[:8] if len(text) == 64 and all(char in "0123456789abcdef" for char in text) else text[:60]
