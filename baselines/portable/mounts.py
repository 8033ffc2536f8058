"""Which cases an organizer has mounted: files that fit patterns such as ``/input/{case}_0000.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def matches(pattern: str) -> Iterator[tuple[dict[str, str], str]]:
    """Yield (values of the placeholders, path) of every file that fits a pattern."""
    expression = ""
    seen: set[str] = set()
    for piece in re.split(r"(\{\w+\})", pattern):
        name = piece.strip("{}")
        if not piece.startswith("{"):
            expression += re.escape(piece)
        elif name in seen:
            expression += f"(?P={name})"
        else:
            expression += f"(?P<{name}>[^/]+)"
            seen.add(name)
    root = Path(pattern.split("{")[0])
    while not root.is_dir():
        root = root.parent
    for path in sorted(root.rglob("*")):
        found = re.fullmatch(expression, path.as_posix())
        if found and path.is_file():
            yield found.groupdict(), str(path)


def cases(patterns: Iterable[str]) -> dict[str, tuple[dict[str, str], dict[int, str]]]:
    """Return, for every mounted case, the values of the placeholders and its files by the number of their pattern."""
    found: dict[str, tuple[dict[str, str], dict[int, str]]] = {}
    for number, pattern in enumerate(patterns):
        for values, path in matches(pattern):
            known, files = found.setdefault(values["case"], (values, {}))
            known.update(values)
            files[number] = path
    return dict(sorted(found.items()))


def named(pattern: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders of a pattern; a ``*`` becomes a word."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], pattern).replace("*", "prediction")
