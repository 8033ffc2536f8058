"""Which file of a folder belongs to which case, and which files belong to none.

Names are matched exactly, except that Unicode forms count as equal (macOS rewrites them). Two files that only a
case-sensitive system can tell apart are refused: the score would depend on the machine. Hidden and system files are
passed over (:mod:`medpodium.challenges.naming`).
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from medpodium.challenges.naming.hints import Hint, explain, split_ending
from medpodium.challenges.naming.names import composed, folded, is_hidden
from medpodium.challenges.naming.patterns import (
    CASE,
    EXTENSION,
    STRUCTURE,
    case_name,
    format_name,
    parse_name,
    placeholders,
)
from medpodium.challenges.schema import formats
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring.masks.codes import MaskCode, finding, printable, warning
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ReadLimits
from medpodium.scoring.masks.named import holds_nothing

MAX_ENTRIES = 200_000
MAX_DEPTH = 8
MAX_LISTED = 20
"""At most so many stray files get a finding of their own; the rest is one count."""


@dataclass
class _Folder:
    """Every file below a folder, by its path relative to it (POSIX form)."""

    files: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    same_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Wanted:
    """A file that is asked for: of a case, or of one structure of a case."""

    case: str
    structure: str = ""

    @property
    def values(self) -> dict[str, str]:
        """What the pattern's placeholders stand for."""
        return {CASE: self.case, STRUCTURE: self.structure}


def match_files(
    folder: Path,
    pattern: str,
    cases: Iterable[str],
    *,
    others: Collection[str] = (),
    limits: ReadLimits = DEFAULT_LIMITS,
) -> tuple[dict[str, Path], list[Finding]]:
    """Find the file of each case.

    Parameters
    ----------
    folder : Path
        Folder of references or predictions.
    pattern : str
        Relative path with ``{case}``, for example ``"{case}.nii.gz"`` or ``"{case}/mask.nii.gz"``, or with
        placeholders that make the case's name (:mod:`medpodium.challenges.naming.patterns`); with
        ``{extension}`` at its end any format of volumes is taken.
    cases : iterable of str
        The cases that must be there.
    others : collection of str
        Cases that there are and nobody asks for: their files are not reported.
    limits : ReadLimits
        Says whether links are followed.

    Returns
    -------
    (paths, findings) : tuple of dict of str to Path, list of Finding
        File of each case that has exactly one, and everything that is missing, ambiguous or left over.
    """
    wanted = {case: Wanted(case) for case in cases}
    found, findings = _match(folder, pattern, wanted, others, limits)
    return found, findings


def match_structure_files(
    folder: Path,
    pattern: str,
    cases: Iterable[str],
    structures: Iterable[str],
    *,
    others: Collection[str] = (),
    limits: ReadLimits = DEFAULT_LIMITS,
    optional: Collection[tuple[str, str]] = (),
) -> tuple[dict[str, dict[str, Path]], list[Finding]]:
    """Find the files of each case stored as one file per structure.

    Parameters
    ----------
    pattern : str
        Relative path with ``{case}`` and ``{structure}``, for example
        ``"{case}/segmentations/{structure}.nii.gz"``.
    structures : iterable of str
        The structures every case must have.
    optional : collection of (str, str)
        Case and structure of files that need not be there.

    Returns
    -------
    (paths, findings) : tuple of dict of str to dict of str to Path, list of Finding
        ``paths[case][structure]``; see :func:`match_files`.
    """
    names = list(structures)
    wanted = {f"{case}: {name}": Wanted(case, name) for case in cases for name in names}
    found, findings = _match(
        folder, pattern, wanted, others, limits, frozenset(f"{case}: {name}" for case, name in optional)
    )
    paths: dict[str, dict[str, Path]] = {}
    for key, path in found.items():
        paths.setdefault(wanted[key].case, {})[wanted[key].structure] = path
    return paths, findings


def find_repeated(paths: Mapping[str, Path]) -> list[Finding]:
    """Warn where two cases have the very same bytes, by hard link or by copy (regular files only).

    Masks without any label are alike by nature and no reason to warn.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for case, path in paths.items():
        if path.is_file() and not path.is_symlink():
            by_size[path.stat().st_size].append(case)
    first_with: dict[bytes, str] = {}
    findings = []
    for size, cases in by_size.items():
        for case in cases if size and len(cases) > 1 else []:
            with paths[case].open("rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(1 << 20):
                    digest.update(piece)
            other = first_with.setdefault(digest.digest(), case)
            if other != case and not _empty(paths[case]):
                findings.append(
                    warning(
                        MaskCode.FILE_SHARED,
                        paths[case],
                        f"cases {other!r} and {case!r} have the same bytes ({size})",
                        "check that each case was predicted from its own image",
                    )
                )
    return findings


def _empty(path: Path) -> bool:
    """Return whether a mask holds no label; a file that cannot be read is not known to be empty."""
    try:
        return holds_nothing(path)
    except MedpodiumError:
        return False


def _match(
    folder: Path,
    pattern: str,
    wanted: Mapping[str, Wanted],
    others: Collection[str],
    limits: ReadLimits,
    optional: Collection[str] = frozenset(),
) -> tuple[dict[str, Path], list[Finding]]:
    if not folder.is_dir():
        return {}, [
            finding(MaskCode.FOLDER_MISSING, folder, "there is no such folder", "give the folder that holds the masks")
        ]
    listing = _list(folder, limits)
    findings = listing.findings
    present = set(listing.files)
    paths: dict[str, Path] = {}
    used: set[str] = set()
    expected = _expected(pattern, wanted, listing.files)
    shared = _shared(expected)
    lacking: dict[str, list[str]] = {}
    for key, names in expected.items():
        alike = {same for name in names for same in listing.same_name[folded(name)]}
        used |= alike
        equal = sorted(same for same in alike if any(composed(same) == composed(name) for name in names))
        if key in shared:
            findings.append(_two_meanings(folder, names[0], key, shared[key]))
        elif len(alike) > 1:
            findings.append(_ambiguous(folder, key, sorted(alike), names))
        elif equal:
            paths[key] = folder / equal[0]
        else:
            lacking[key] = names or [_shown(pattern, wanted[key])]
            used -= alike
    findings += _missing(folder, lacking, sorted(present - used), len(wanted), used, optional)
    left = sorted(present - used)
    known = set(_of_others(pattern, left, wanted, others))
    findings += _extra(folder, [name for name in left if name not in known])
    return paths, findings


def _expected(pattern: str, wanted: Mapping[str, Wanted], files: Sequence[str]) -> dict[str, list[str]]:
    """Return the names that each file asked for may have.

    Where the pattern's placeholders alone make the case's name, they are read off the files that are there.
    """
    endings = formats.VOLUMES if EXTENSION in placeholders(pattern) else ("",)
    if set(placeholders(pattern)) <= {CASE, STRUCTURE, EXTENSION}:
        return {
            key: [format_name(pattern, {**one.values, EXTENSION: ending}) for ending in endings]
            for key, one in wanted.items()
        }
    keys = {(composed(one.case), one.structure): key for key, one in wanted.items()}
    known = {STRUCTURE: {one.structure for one in wanted.values()}, EXTENSION: set(formats.VOLUMES)}
    found: dict[str, list[str]] = {key: [] for key in wanted}
    for name in files:
        for values in parse_name(pattern, composed(name), known):
            key = keys.get((composed(case_name(pattern, values)), values.get(STRUCTURE, "")))
            if key is not None:
                found[key].append(name)
    return found


def _shown(pattern: str, one: Wanted) -> str:
    """Return how a file would be called, as far as that is known."""
    return format_name(pattern, {name: one.values.get(name, f"{{{name}}}") for name in placeholders(pattern)})


def _shared(expected: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the keys whose file would be another key's file, too (``p1_2_liver`` of ``p1`` and of ``p1_2``)."""
    owners: dict[str, str] = {}
    found: dict[str, str] = {}
    for key, names in expected.items():
        for name in names:
            other = owners.setdefault(folded(name), key)
            if other != key:
                found |= {key: other, other: key}
    return found


def _of_others(
    pattern: str, names: Iterable[str], wanted: Mapping[str, Wanted], others: Collection[str]
) -> Iterator[str]:
    """Yield the files of cases that exist and are not asked for."""
    if not others:
        return
    known = {composed(case) for case in others}
    values_of = {STRUCTURE: {one.structure for one in wanted.values()}, EXTENSION: set(formats.VOLUMES)}
    for name in names:
        readings = parse_name(pattern, composed(name), values_of)
        if any(case_name(pattern, values) in known for values in readings):
            yield name


def _list(folder: Path, limits: ReadLimits) -> _Folder:
    """List files below a folder, down to a fixed depth and count, without following links into folders."""
    listing = _Folder()
    pending = [("", 0)]
    entries = 0
    while pending:
        below, depth = pending.pop()
        for entry in _entries(folder, below, listing.findings):
            entries += 1
            if entries > MAX_ENTRIES:
                listing.findings.append(_too_full(folder, f"holds more than {MAX_ENTRIES} entries"))
                return listing
            name = below + entry.name
            if is_hidden(name):
                continue
            _check_name(folder, name, listing.findings)
            if entry.is_dir(follow_symlinks=limits.follow_links):
                if depth == MAX_DEPTH:
                    listing.findings.append(_too_full(folder / name, f"lies more than {MAX_DEPTH} folders deep"))
                elif not _leads_back(entry):
                    pending.append((name + "/", depth + 1))
                continue
            if entry.is_symlink() and entry.is_dir():
                cause = "is a symbolic link to a folder, which is not followed"
                listing.findings.append(finding(MaskCode.FILE_SYMLINK, folder / name, cause, "put a real folder there"))
                continue
            listing.files.append(name)
            listing.same_name[folded(name)].append(name)
    return listing


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link to a folder that contains it."""
    if not entry.is_symlink():
        return False
    holder = Path(os.path.realpath(Path(entry.path).parent))
    return Path(os.path.realpath(entry.path)) in (holder, *holder.parents)


def _too_full(where: Path, cause: str) -> Finding:
    return finding(MaskCode.FOLDER_TOO_FULL, where, cause, "give a folder with the masks only")


def _entries(folder: Path, below: str, findings: list[Finding]) -> list[os.DirEntry[str]]:
    try:
        return sorted(islice(os.scandir(folder / below), MAX_ENTRIES + 1), key=lambda item: item.name)
    except OSError as error:
        cause = f"the folder cannot be listed ({error.strerror or error})"
        findings.append(
            finding(MaskCode.FILE_UNREADABLE, folder / below, cause, "make it readable for every user (chmod a+rx)")
        )
        return []


def _check_name(folder: Path, name: str, findings: list[Finding]) -> None:
    last = name.rsplit("/", 1)[-1]
    if any(0xDC80 <= ord(char) <= 0xDCFF for char in last):
        cause = f"the name {printable(last)!r} is not valid UTF-8"
        findings.append(warning(MaskCode.NAME_NOT_UNICODE, folder / name, cause, "rename the file"))
    elif any(unicodedata.category(char) in ("Cc", "Cf") for char in last):
        cause = f"the name {printable(last)!r} holds control characters"
        findings.append(warning(MaskCode.NAME_CONTROL_CHARACTER, folder / name, cause, "rename the file"))


def _two_meanings(folder: Path, name: str, key: str, other: str) -> Finding:
    cause = f"the name may mean {key!r} or {other!r}; it is used for neither"
    return finding(
        MaskCode.NAME_TWO_MEANINGS, folder / name, cause, "put a separator into the pattern that no name contains"
    )


def _ambiguous(folder: Path, key: str, alike: list[str], names: list[str]) -> Finding:
    shown = " and ".join(repr(printable(name)) for name in alike)
    if len({composed(name) for name in alike}) == 1:
        code, why = MaskCode.NAME_DUPLICATE_UNICODE, "differ only in Unicode form"
        shown = " and ".join(ascii(name) for name in alike)
    elif len({folded(name) for name in alike}) == 1:
        code, why = MaskCode.NAME_DUPLICATE_CASE, "differ only in upper and lower case"
    else:
        code, why = MaskCode.NAME_OTHER_EXTENSION, "are both masks of this case"
    return finding(code, folder, f"{key}: {shown} {why}; none is used", f"keep one file, named {names[0]!r}")


def _missing(
    folder: Path,
    lacking: Mapping[str, Sequence[str]],
    strays: Sequence[str],
    asked: int,
    used: set[str],
    optional: Collection[str] = (),
) -> list[Finding]:
    """Report what is missing; where one rule explains several files at once, that is one finding for all of them.

    The files that it explains are added to ``used``: they are not strays besides.
    """
    names = {own[0]: key for key, own in lacking.items()}
    findings = []
    while (hint := explain(names, [name for name in strays if name not in used], formats.MASKS)) is not None:
        used |= set(hint.pairs.values())
        if len(hint.pairs) > 1:
            findings.append(finding(MaskCode.NAMES_DIFFER, folder, printable(hint.cause(asked, "files")), hint.fix))
        for name, there in hint.pairs.items():
            key = names.pop(name)
            if len(hint.pairs) == 1:
                findings.append(_one_hint(folder, key, name, there, hint))
    return findings + [
        finding(MaskCode.CASE_MISSING, folder / name, f"{key}: there is no such file", f"write {name!r}")
        for name, key in names.items()
        if key not in optional
    ]


def _one_hint(folder: Path, key: str, name: str, there: str, hint: Hint) -> Finding:
    if folded(there) == folded(name):
        cause = f"{key}: there is only {printable(there)!r}, which differs in upper and lower case"
        return finding(MaskCode.CASE_MISSING, folder / name, cause, f"rename it to {name!r}")
    code = MaskCode.CASE_MISSING
    if split_ending(there, formats.MASKS)[0] == split_ending(name, formats.MASKS)[0]:
        code = MaskCode.NAME_OTHER_EXTENSION
    cause = f"{key}: there is {printable(there)!r}, but {name!r} is expected"
    return finding(code, folder / name, cause, hint.fix)


def _extra(folder: Path, names: list[str]) -> list[Finding]:
    findings = [
        warning(MaskCode.FILE_EXTRA, folder / name, "belongs to no case of this challenge", "remove or rename it")
        for name in names[:MAX_LISTED]
    ]
    if len(names) > MAX_LISTED:
        cause = f"{len(names) - MAX_LISTED} more files belong to no case of this challenge"
        findings.append(warning(MaskCode.FILE_EXTRA, folder, cause, "remove them"))
    return findings
