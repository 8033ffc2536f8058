r"""File name patterns: how names are made from cases, and how cases are read off names.

A pattern is a relative path with ``{placeholders}``. ``{case}`` is the case and ``{structure}`` a structure; any other
lower-case word (``{patient}``) stands for one part of the path. Where ``{case}`` is absent, the other placeholders
make the case's name, joined by ``_`` in the order in which they stand. Every placeholder stays inside one component of
the path, and one that occurs twice has the same value twice. ``*`` (outputs of containers only) stands for any
characters inside one component.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath

from medpodium.challenges.naming.names import RESERVED, composed, is_hidden

CASE = "case"
STRUCTURE = "structure"
EXTENSION = "extension"
"""Stands for any ending of a mask file, at the end of a pattern."""
_PIECES = re.compile(r"(\{[a-z][a-z0-9_]*\}|\*)")
_LONGEST = 4096
_READINGS = 4096
"""No more readings of one name are listed: names come from containers, too, and may be made to have millions."""

Values = dict[str, str]
"""What the placeholders of a pattern stand for."""


def relative_pattern(pattern: str) -> str:
    """Return the pattern if it stays inside its folder; `ValueError` for absolute paths and ``..``."""
    path = PurePosixPath(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts or "\\" in pattern or "\0" in pattern:
        raise ValueError(f"pattern {pattern!r} must be a relative path without '..'")
    rest = _PIECES.sub("", pattern)
    if "{" in rest or "}" in rest:
        raise ValueError(f"pattern {pattern!r}: placeholders are {{lower_case}} words")
    return pattern


@lru_cache(maxsize=1024)
def _pieces(pattern: str) -> tuple[str, ...]:
    return tuple(piece for piece in _PIECES.split(relative_pattern(pattern)) if piece)


def placeholders(pattern: str) -> list[str]:
    """Return the names of a pattern's placeholders in the order in which they stand, each once."""
    return list(dict.fromkeys(piece[1:-1] for piece in _PIECES.findall(pattern) if piece != "*"))


def case_parts(pattern: str) -> list[str]:
    """Return the placeholders that make the case's name: ``case``, or all that are no structure."""
    found = placeholders(pattern)
    return [CASE] if CASE in found else [name for name in found if name not in (STRUCTURE, EXTENSION)]


def case_name(pattern: str, values: Mapping[str, str]) -> str:
    """Return the name of the case that a reading of a file name stands for."""
    return "_".join(values[name] for name in case_parts(pattern))


@lru_cache(maxsize=1024)
def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Compile a pattern: each placeholder captures within one path component, repeats must agree.

    Where a name can be read in several ways the expression knows one of them: :func:`parse_name` knows all.

    Examples
    --------
    >>> pattern_regex("{vendor}/{case}/T1.nii.gz").fullmatch("Vendor-A/0007-A/T1.nii.gz")["case"]
    '0007-A'
    """
    seen: set[str] = set()
    parts: list[str] = []
    for piece in _pieces(pattern):
        if piece == "*":
            parts.append("[^/]*")
        elif _PIECES.fullmatch(piece):
            name = piece[1:-1]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)")
            seen.add(name)
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts))


def format_name(pattern: str, values: Mapping[str, object]) -> str:
    """Replace the placeholders of a pattern; `KeyError` names the one that has no value."""
    return re.sub(r"\{([a-z][a-z0-9_]*)\}", lambda match: str(values[match[1]]), pattern)


def parse_name(pattern: str, name: str, known: Mapping[str, Collection[str]] | None = None) -> list[Values]:
    """Return every reading of a name: what the placeholders of the pattern may stand for.

    Parameters
    ----------
    pattern : str
        With placeholders and ``*``.
    name : str
        Path relative to the folder (POSIX form).
    known : mapping of str to collection of str, optional
        The values that a placeholder can have, where they are known.

    Returns
    -------
    list of dict of str to str
        Empty where the name does not fit; several where it is ambiguous (``p1_2_liver`` for ``{case}_{structure}``),
        at most 4,096.
    """
    if len(name) > _LONGEST or pattern_regex(pattern).fullmatch(name) is None:
        return []
    pieces = _pieces(pattern)

    seen: set[tuple[int, int, tuple[str, ...]]] = set()  # a '*' leads to the same place in many ways

    def walk(index: int, at: int, values: Values) -> Iterator[Values]:
        state = (index, at, tuple(values.values()))
        if state in seen:
            return
        seen.add(state)
        if index == len(pieces):
            if at == len(name):
                yield values
            return
        piece = pieces[index]
        if not _PIECES.fullmatch(piece):
            if name.startswith(piece, at):
                yield from walk(index + 1, at + len(piece), values)
            return
        own = piece[1:-1]
        if piece != "*" and own in values:
            if name.startswith(values[own], at):
                yield from walk(index + 1, at + len(values[own]), values)
            return
        slash = name.find("/", at)
        last = len(name) if slash < 0 else slash
        for end in range(at if piece == "*" else at + 1, last + 1):
            if piece == "*":
                yield from walk(index + 1, end, values)
            elif known is None or own not in known or name[at:end] in known[own]:
                yield from walk(index + 1, end, {**values, own: name[at:end]})

    return list(islice(walk(0, 0, {}), _READINGS))


@dataclass
class Cases:
    """The cases that a folder's files belong to.

    Parameters
    ----------
    values : dict of str to (dict of str to str)
        What the placeholders that name a case or a group stand for, by case.
    files : dict of str to (dict of str to str)
        The reading of every file that belongs to a case.
    refused : list of (str, list of dict)
        Files whose names can be read in several ways, or whose case another file gives other values, with the readings.
    """

    values: dict[str, Values] = field(default_factory=dict)
    files: dict[str, Values] = field(default_factory=dict)
    refused: list[tuple[str, list[Values]]] = field(default_factory=list)

    def groups(self) -> dict[str, dict[str, str]]:
        """Return the placeholders besides ``case`` as groups of the cases: group, case, level; one alone is none."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for case, values in self.values.items():
            for name, level in values.items():
                if level != case:
                    found[name][case] = level
        return dict(found)


def cases_in(pattern: str, names: Iterable[str], known: Mapping[str, Collection[str]] | None = None) -> Cases:
    """Return the cases that files belong to, by a pattern.

    A name with several readings (``{case}_{structure}``) belongs to the case that another name proves, else to the
    shortest case, whose structure is the longest. Where two cases are proven it is refused.

    Parameters
    ----------
    pattern : str
        With ``{case}``, or with placeholders that make the case's name.
    names : iterable of str
        Relative paths; hidden and system files are passed over.
    known : mapping of str to collection of str, optional
        The values that a placeholder can have (``structure``).
    """
    found = Cases()
    unclear: list[tuple[str, list[Values]]] = []

    def take(name: str, values: Values) -> None:
        case = case_name(pattern, values)
        own = {key: value for key, value in values.items() if key not in (CASE, STRUCTURE, EXTENSION)}
        if found.values.setdefault(case, own) != own:
            found.refused.append((name, [{CASE: case, **found.values[case]}, {CASE: case, **own}]))
        else:
            found.files[name] = values

    for name in sorted(name for name in names if not is_hidden(name)):
        readings = parse_name(pattern, composed(name), known)
        if len(readings) == 1:
            take(name, readings[0])
        elif readings:
            unclear.append((name, readings))
    proven = set(found.values)
    for name, readings in unclear:
        likely = [values for values in readings if case_name(pattern, values) in proven]
        if len(likely) == 1:
            take(name, likely[0])
        elif likely or STRUCTURE not in readings[0]:
            found.refused.append((name, likely or readings))
        else:
            take(name, max(readings, key=lambda values: len(values[STRUCTURE])))
    return found


def say_readings(readings: Iterable[Mapping[str, str]]) -> str:
    """Return readings in words: ``case 'p1', structure '2_liver' or case 'p1_2', structure 'liver'``."""
    return " or ".join(", ".join(f"{key} {value!r}" for key, value in values.items()) for values in readings)


def file_pattern_problems(reference: str, pattern: str, *, side: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a pattern of a task with one file (or one per structure) for every case.

    Parameters
    ----------
    reference : str
        The task's pattern of references, whose placeholders say what a case is.
    pattern : str
        The pattern asked about.
    side : {"reference", "prediction", "image"}
        What it names.

    Yields
    ------
    (cause, fix)
        In a line each.
    """
    allowed = "use {case} and {structure}, or words of your own that together name the case ({patient}/{study})"
    if pattern.startswith(("/", "\\")) or ".." in pattern.split("/") or "\\" in pattern:
        yield f"{pattern!r} leaves its folder", "give a path relative to the folder, with '/'"
        return
    rest = _PIECES.sub("", pattern)
    if "{" in rest or "}" in rest:
        yield f"{pattern!r} has a brace that is no placeholder", f"placeholders are lower-case words; {allowed}"
        return
    if "*" in pattern:
        yield f"{pattern!r} has a '*', which would take any of several files", "name that part, for instance {series}"
    if is_hidden(pattern):
        yield f"{pattern!r} names a hidden file, and those belong to no case", "rename the files"
    if re.search(r"\}\{(?!extension\}$)", pattern):
        yield f"{pattern!r} has two placeholders without anything between them", "put a separator between them"
    own = placeholders(pattern)
    if EXTENSION in own and not pattern.endswith("{extension}"):
        yield f"{pattern!r} has {{extension}} inside the name", "put it at the end, or write the ending"
    taken = [name for name in case_parts(pattern) + own if name in RESERVED and name not in (CASE, STRUCTURE)]
    if taken:
        yield f"the placeholder {{{taken[0]}}} is named like a column of the score table", "choose another word"
    if not case_parts(pattern):
        yield f"{pattern!r} has no {{case}}", "say where the case's name stands"
        return
    if side == "reference":
        return
    other = {*placeholders(reference), CASE, STRUCTURE}
    unknown = [name for name in own if name not in other and name != EXTENSION]
    if unknown:
        yield f"unknown placeholder {{{unknown[0]}}}, which the references do not have", allowed
    elif CASE not in own and case_parts(pattern) != case_parts(reference):
        fix = f"use {{case}}, or the same placeholders in the same order as {reference!r}"
        yield f"{pattern!r} makes other case names than the references' pattern", fix
