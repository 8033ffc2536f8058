"""Find, read and resolve challenge files: built-in ones by name, anybody's own by path.

Any verb takes ``name``, ``name/edition`` or a path to a YAML file, optionally followed by ``@variant``. A file holds
the base rules; ``editions`` and ``variants`` are overrides merged onto it: mappings are merged key by key, anything
else replaces what was there, and ``null`` removes a key.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from medpodium.challenges.schema.base import Location
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding, UsageError

_BUILT_IN = Path(__file__).parent
_MAX_BYTES = 2_000_000
_RESERVED = ("editions", "variants", "default_edition")


class DefinitionCode(Code):
    """What can be wrong when a challenge file is read."""

    UNKNOWN_CHALLENGE = "challenge-unknown"
    UNKNOWN_EDITION = "edition-unknown"
    """The challenge file has no such edition.

    Take one of those that are named, or declare it under editions.
    """
    UNKNOWN_VARIANT = "variant-unknown"
    """The challenge file has no such scoring variant.

    Take one of those that are named, or declare it under variants.
    """
    UNREADABLE = "definition-unreadable"
    NOT_YAML = "definition-not-yaml"
    INVALID_FIELD = "definition-invalid-field"
    """A field of the challenge file has a value that it cannot have.

    Correct the field; the reference of challenge files says what it can be.
    """


@dataclass(frozen=True)
class Source:
    """A challenge file as written: plain data and the line every field stands on."""

    path: Path
    data: dict[str, Any]
    lines: dict[Location, int]

    @property
    def editions(self) -> list[str]:
        """Names of the editions, in file order."""
        return [str(name) for name in self.data.get("editions") or {}]

    @property
    def variants(self) -> list[str]:
        """Names of the scoring variants, in file order."""
        return [str(name) for name in self.data.get("variants") or {}]

    @property
    def default_edition(self) -> str:
        """The edition meant when none is named."""
        return str(self.data.get("default_edition") or (self.editions[-1] if self.editions else "1"))


def names() -> list[str]:
    """Return the names of the built-in challenges, sorted."""
    return sorted(path.parent.name for path in _BUILT_IN.glob("*/challenge.yaml"))


def load(reference: str | Path, *, variant: str | None = None) -> Challenge:
    """Load a challenge.

    Parameters
    ----------
    reference : str or Path
        Built-in name, ``name/edition``, or path of a YAML file; a path may carry an edition after a colon
        (``my.yaml:2025``). Each may end in ``@variant``.
    variant : str, optional
        Scoring variant; takes precedence over ``@variant``.

    Returns
    -------
    Challenge
        Resolved to one edition and one variant.

    Raises
    ------
    UsageError
        If it does not exist or breaks a rule of the schema; every broken rule is a finding with file and line.

    Examples
    --------
    >>> import medpodium
    >>> challenge = medpodium.load_challenge("feta/2022")
    >>> list(challenge.ranking)
    ['segmentation']
    >>> medpodium.load_challenge("flare-pancancer/2023@as-published").variant
    'as-published'
    """
    text, _, asked = str(reference).partition("@") if not Path(str(reference)).exists() else (str(reference), "", "")
    source, edition = locate(text)
    return resolve(source, edition, variant or asked or None)


def locate(reference: str) -> tuple[Source, str | None]:
    """Return the file a reference means and the edition it names, if any."""
    path = Path(reference)
    if path.is_file():
        return read(path), None
    head, colon, edition = reference.rpartition(":")
    if colon and Path(head).is_file():
        return read(Path(head)), edition
    if path.suffix.lower() in (".yaml", ".yml"):
        raise UsageError(
            Finding(DefinitionCode.UNREADABLE, reference, "no such file", "check the path of the challenge file")
        )
    name, _, edition = reference.partition("/")
    # Aliases stand inside the files; all of them are read only for a name that is no folder's.
    known = {name: name} if name in names() else _aliases()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        fix = f"did you mean {near[0]}? " if near else ""
        fix += f"built in: {', '.join(names())}; or give the path of your own YAML file"
        raise UsageError(Finding(DefinitionCode.UNKNOWN_CHALLENGE, reference, "no challenge of this name", fix))
    return read(_BUILT_IN / known[name] / "challenge.yaml"), edition or None


@cache
def _aliases() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names():
        found[name] = name
        for alias in read(_BUILT_IN / name / "challenge.yaml").data.get("aliases") or []:
            found[str(alias)] = name
    return found


@cache
def _read_built_in(path: Path) -> Source:
    return _parse(path)


def read(path: Path) -> Source:
    """Read a challenge file without validating it.

    Raises
    ------
    UsageError
        If the file cannot be read, is larger than 2 MB, is not YAML or holds no mapping.
    """
    return _read_built_in(path) if path.is_relative_to(_BUILT_IN) else _parse(path)


def _parse(path: Path) -> Source:
    def refuse(code: DefinitionCode, where: str, cause: str, fix: str) -> UsageError:
        return UsageError(Finding(code, where, cause, fix))

    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise refuse(DefinitionCode.UNREADABLE, str(path), f"{size} bytes", "a challenge file is at most 2 MB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(DefinitionCode.UNREADABLE, str(path), str(error), "give a readable UTF-8 YAML file") from None
    try:
        node = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        cause = str(error.problem or error.context or "not valid YAML").split("\n")[0]
        raise refuse(DefinitionCode.NOT_YAML, where, cause, "correct the YAML at this line") from None
    except YAMLError as error:
        raise refuse(DefinitionCode.NOT_YAML, str(path), str(error).split("\n")[0], "correct the YAML") from None
    if not isinstance(node, dict):
        raise refuse(DefinitionCode.NOT_YAML, str(path), "holds no mapping", "start with 'schema: 1' and 'name: ...'")
    lines = dict(_lines(node))
    return Source(path, _plain(node), lines)


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key) if not isinstance(key, str) else key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, str):
        return str(node)
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    return float(node) if isinstance(node, float) else node


def _lines(node: Any, path: Location = ()) -> Iterator[tuple[Location, int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            mark = node.lc.data.get(key) if node.lc.data else None
            if mark:
                yield (*path, str(key)), mark[0] + 1
            yield from _lines(value, (*path, str(key)))
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            mark = node.lc.data.get(index) if node.lc.data else None
            if mark:
                yield (*path, index), mark[0] + 1
            yield from _lines(value, (*path, index))


def resolve(source: Source, edition: str | None = None, variant: str | None = None) -> Challenge:
    """Merge an edition and a variant onto the base rules and validate the result.

    Raises
    ------
    UsageError
        If the edition or variant is unknown, or the merged rules break the schema.
    """
    chosen = edition or source.default_edition
    _must_exist(DefinitionCode.UNKNOWN_EDITION, "edition", chosen, source.editions or ["1"], source.path)
    data = {key: value for key, value in source.data.items() if key not in _RESERVED}
    lines = dict(source.lines)
    data = _merge(data, (source.data.get("editions") or {}).get(chosen) or {}, ("editions", chosen), lines)
    allowed = [*source.variants, "corrected"]
    # An edition may bring or refine variants of its own.
    own = data.pop("variants", None) or {}
    wanted = variant or "corrected"
    _must_exist(DefinitionCode.UNKNOWN_VARIANT, "variant", wanted, [*allowed, *own], source.path)
    data = _merge(data, (source.data.get("variants") or {}).get(wanted) or {}, ("variants", wanted), lines)
    data = _merge(data, own.get(wanted) or {}, ("editions", chosen, "variants", wanted), lines)
    data |= {"edition": chosen, "variant": wanted}
    try:
        return Challenge.model_validate(data)
    except ValidationError as error:
        raise UsageError(*_findings(error, source.path, lines)) from None


def _must_exist(code: DefinitionCode, what: str, name: str, known: list[str], path: Path) -> None:
    if name not in known:
        listed = ", ".join(dict.fromkeys(known))
        raise UsageError(
            Finding(code, f"{path.parent.name}/{path.name}", f"no {what} {name!r}", f"choose one of: {listed}")
        )


def _merge(base: dict[str, Any], over: dict[str, Any], origin: Location, lines: dict[Location, int]) -> dict[str, Any]:
    """Merge an override; the lines of overridden fields move to where the override stands."""

    def merge(left: Any, right: Any, at: Location, source: Location) -> Any:
        if source in lines:
            lines[at] = lines[source]
        if not (isinstance(left, dict) and isinstance(right, dict)):
            for path in [path for path in lines if path[: len(source)] == source]:
                lines[at + path[len(source) :]] = lines[path]
            return right
        merged = dict(left)
        for key, value in right.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(left.get(key), value, (*at, key), (*source, key))
        return merged

    result: dict[str, Any] = merge(base, over, (), origin)
    return result


def _findings(error: ValidationError, path: Path, lines: dict[Location, int]) -> list[Finding]:
    found = []
    for problem in error.errors(include_url=False):
        where, line = _where(problem["loc"], lines, lacking=problem["type"] == "missing")
        place = f"{path}:{line}" if line else str(path)
        value = problem.get("input")
        told = isinstance(value, (dict, list)) or problem["type"] in ("missing", "extra_forbidden")
        shown = "" if told else f" (value {value!r})"
        message = problem["msg"].removeprefix("Value error, ")
        cause = f"{where or 'file'}: {message[0].lower()}{message[1:]}{shown}"
        fix = _FIXES.get(problem["type"], "correct this field")
        found.append(Finding(DefinitionCode.INVALID_FIELD, place, cause, fix))
    return found


_FIXES = {
    "missing": "add the field",
    "extra_forbidden": "remove the field, or correct its name",
    "union_tag_invalid": "use one of the names listed",
}


def _where(loc: Location, lines: dict[Location, int], *, lacking: bool) -> tuple[str, int | None]:
    """Turn pydantic's location (with its union tags) into a field path and a line; a lacking field has none itself."""
    path: Location = ()
    line = None
    for part in loc:
        candidate = (*path, part)
        if candidate in lines:
            path, line = candidate, lines[candidate]
    named = [*path, loc[-1]] if lacking else path
    return ".".join(map(str, named)), line
