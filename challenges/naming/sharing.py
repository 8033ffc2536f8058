"""Whether two cases can share a file: what is written for one must never be read, replaced or removed as another's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import product

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}|(\*)")
_ONE, _ANY = "\0one", "\0any"
"""Stand for one character, and for any number of characters, inside one component of the path."""
_MOST = 1000
_LONGEST = 400

Name = tuple[str, ...]
"""A name whose characters are known but for those that a submission chooses."""


def names(pattern: str, values: Mapping[str, str], known: Mapping[str, Collection[str]] | None = None) -> list[Name]:
    """Return what the files of one case can be called.

    Parameters
    ----------
    pattern : str
        With placeholders and ``*``.
    values : mapping of str to str
        Placeholders that the case decides.
    known : mapping of str to collection of str, optional
        What other placeholders can stand for; those not listed can stand for anything but nothing.
    """
    free = [name for name in dict.fromkeys(m[1] for m in _PLACE.finditer(pattern) if m[1]) if name not in values]
    choices = {name: sorted(known[name]) for name in free if known and known.get(name)}
    many = 1
    for one in choices.values():
        many *= len(one)
    if many > _MOST:
        choices = {}
    found = []
    for picked in product(*choices.values()):
        own = {**values, **dict(zip(choices, picked, strict=True))}
        parts: list[str] = []
        at = 0
        for match in _PLACE.finditer(pattern):
            parts += pattern[at : match.start()]
            at = match.end()
            if match[1] in own:
                parts += own[match[1]]
            else:
                parts += [_ANY] if match[2] else [_ONE, _ANY]
        found.append((*parts, *pattern[at:]))
    return found


def _prefix(name: Name) -> str:
    return "".join(name[: next((i for i, one in enumerate(name) if one in (_ONE, _ANY)), len(name))])


def overlap(one: Name, other: Name) -> bool:
    """Return whether one and the same file could have both names."""
    if len(one) > _LONGEST or len(other) > _LONGEST:
        return True
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(other):
            return True
        here, there = one[i] if i < len(one) else "", other[j] if j < len(other) else ""
        steps = []
        if here == _ANY:
            steps.append((i + 1, j))
            steps += [(i, j + 1)] if there not in ("", "/") else []
        if there == _ANY:
            steps.append((i, j + 1))
            steps += [(i + 1, j)] if here not in ("", "/") else []
        if _ANY not in (here, there) and here and there:
            wild = _ONE in (here, there) and "/" not in (here, there)
            steps += [(i + 1, j + 1)] if here == there or wild else []
        for step in steps:
            if step not in reached:
                reached.add(step)
                todo.append(step)
    return False


def shared(
    pattern: str, cases: Mapping[str, Mapping[str, str]], known: Mapping[str, Collection[str]] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield pairs of cases that could share a file under a pattern, each pair once.

    Parameters
    ----------
    pattern : str
        How files are named.
    cases : mapping of str to mapping
        What each case's placeholders stand for, ``case`` included.
    known : mapping of str to collection of str, optional
        As :func:`names` takes it.
    """
    rows = sorted(
        (_prefix(name), name, case) for case, values in cases.items() for name in names(pattern, values, known)
    )
    said: set[tuple[str, str]] = set()
    for index, (prefix, name, case) in enumerate(rows):
        # Sorted by what is fixed at the front: whatever can be the same begins with this, and follows at once.
        for further, other, owner in rows[index + 1 :]:
            if not further.startswith(prefix):
                break
            pair = (min(case, owner), max(case, owner))
            if case != owner and pair not in said and overlap(name, other):
                said.add(pair)
                yield pair
