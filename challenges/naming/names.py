"""Which names are taken, hidden, equal or unusable.

One rule for all rooms: two names that differ only in capitals, in Unicode form (macOS decomposes what is typed), or in
blanks and dots at their end are the same name to some system, so no two teams, columns or files may be called so.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator

RESERVED = (
    *("challenge", "edition", "task", "submission", "case", "structure", "metric", "value", "status", "definition"),
    *("published_rank", "judged_by"),
    *("truth", "answer", "confidence", "share", "count", "time", "event"),
)
"""Columns of score tables and observations; a group of cases by such a name would overwrite them."""

_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060"
"""Marks without width that copying leaves at the ends of a name: byte-order mark, joiners, directions."""
_SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "lost+found", "@eadir", "#recycle"}
_SYSTEM |= {"$recycle.bin", "system volume information"}


def composed(name: str) -> str:
    """Return a name in composed Unicode form (NFC)."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what two names have in common that only capitals or Unicode forms tell apart."""
    return composed(composed(name).casefold())


def trimmed(text: str) -> str:
    """Return a cell or a name without blanks and invisible marks around it, in composed form."""
    return composed(text.strip().strip(_INVISIBLE).strip())


def alike(name: str) -> str:
    """Return what equal names have in common: see the rule of this module."""
    return folded(trimmed(name)).rstrip(". ")


def clashes(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of different names that are alike, each name with the first one it is taken for."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[alike(name)].append(name)
    for first, *others in groups.values():
        for other in others:
            yield first, other


def reserved_columns(columns: Iterable[str]) -> list[str]:
    """Return the columns that are named like one of the score table, whatever their capitals and blanks."""
    return [name for name in columns if alike(name) in RESERVED]


def is_hidden(path: str) -> bool:
    """Return whether a file is hidden or a system's own and so belongs to no case.

    Parameters
    ----------
    path : str
        Relative to the folder that was given (POSIX form). Dot files (``._x`` of macOS, ``.ipynb_checkpoints``), the
        parts of ``__MACOSX``, ``Thumbs.db`` and ``desktop.ini`` of Windows, lock files of office programs (``~$x``).
    """
    return any(
        part.startswith((".", "~$", ".~lock.")) or part.casefold() in _SYSTEM
        for part in path.split("/")
        if part not in ("", ".", "..")
    )


def control_character(name: str) -> str | None:
    """Return the first control character of a name, if it has one."""
    return next((char for char in name if ord(char) < 32 or 127 <= ord(char) < 160), None)
