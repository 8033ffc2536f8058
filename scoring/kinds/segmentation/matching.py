"""Which file of a folder belongs to which case, and which files belong to none.

Names are matched exactly, except that Unicode forms count as equal (macOS rewrites them). Two files that only a
case-sensitive system can tell apart are refused: the score would depend on the machine.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from medpodium.challenges.schema import formats
from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, finding, printable, warning
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ReadLimits
from medpodium.scoring.masks.reader import EXTENSIONS, mask_extension

MAX_ENTRIES = 200_000
MAX_DEPTH = 8
MAX_LISTED = 20
"""At most so many stray files get a finding of their own; the rest is one count."""

_SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini"}


@dataclass
class _Folder:
    """Every file below a folder, by its path relative to it (POSIX form)."""

    files: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    same_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def match_files(
    folder: Path, pattern: str, cases: Iterable[str], *, limits: ReadLimits = DEFAULT_LIMITS
) -> tuple[dict[str, Path], list[Finding]]:
    """Find the file of each case.

    Parameters
    ----------
    folder : Path
        Folder of references or predictions.
    pattern : str
        Relative path with ``{case}``, for example ``"{case}.nii.gz"`` or ``"{case}/mask.nii.gz"``; with
        ``{extension}`` at its end any format of volumes is taken.
    cases : iterable of str
        The cases that must be there.
    limits : ReadLimits
        Says whether links are followed.

    Returns
    -------
    (paths, findings) : tuple of dict of str to Path, list of Finding
        File of each case that has exactly one, and everything that is missing, ambiguous or left over.
    """
    wanted = {case: _variants(pattern, case=case) for case in cases}
    return _match(folder, wanted, limits)


def match_structure_files(
    folder: Path,
    pattern: str,
    cases: Iterable[str],
    structures: Iterable[str],
    *,
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
    keys = {f"{case}: {name}": (case, name) for case in cases for name in names}
    wanted = {key: _variants(pattern, case=case, structure=name) for key, (case, name) in keys.items()}
    found, findings = _match(folder, wanted, limits, frozenset(f"{case}: {name}" for case, name in optional))
    paths: dict[str, dict[str, Path]] = {}
    for key, path in found.items():
        case, name = keys[key]
        paths.setdefault(case, {})[name] = path
    return paths, findings


def find_repeated(paths: Mapping[str, Path]) -> list[Finding]:
    """Warn where two cases have the very same bytes, by hard link or by copy (regular files only)."""
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
            if other != case:
                findings.append(
                    warning(
                        MaskCode.FILE_SHARED,
                        paths[case],
                        f"cases {other!r} and {case!r} have the same bytes ({size})",
                        "check that each case was predicted from its own image",
                    )
                )
    return findings


def _variants(pattern: str, **names: str) -> list[str]:
    if "{extension}" not in pattern:
        return [pattern.format(**names)]
    return [pattern.format(extension=extension, **names) for extension in formats.VOLUMES]


def _match(
    folder: Path, wanted: Mapping[str, list[str]], limits: ReadLimits, optional: Collection[str] = frozenset()
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
    for key, names in wanted.items():
        alike = {same for name in names for same in listing.same_name[_folded(name)]}
        used |= alike
        equal = sorted(same for same in alike if any(_composed(same) == _composed(name) for name in names))
        if len(alike) > 1:
            findings.append(_ambiguous(folder, key, sorted(alike), names))
        elif equal:
            paths[key] = folder / equal[0]
        else:
            lacking = _missing(folder, key, names, alike, present, used)
            quiet = key in optional and not alike and lacking.code is MaskCode.CASE_MISSING
            findings += [] if quiet else [lacking]
    findings += _extra(folder, sorted(present - used))
    return paths, findings


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


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
            listing.same_name[_folded(name)].append(name)
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


def _ambiguous(folder: Path, key: str, alike: list[str], names: list[str]) -> Finding:
    shown = " and ".join(repr(printable(name)) for name in alike)
    if len({_composed(name) for name in alike}) == 1:
        code, why = MaskCode.NAME_DUPLICATE_UNICODE, "differ only in Unicode form"
        shown = " and ".join(ascii(name) for name in alike)
    elif len({_folded(name) for name in alike}) == 1:
        code, why = MaskCode.NAME_DUPLICATE_CASE, "differ only in upper and lower case"
    else:
        code, why = MaskCode.NAME_OTHER_EXTENSION, "are both masks of this case"
    return finding(code, folder, f"{key}: {shown} {why}; none is used", f"keep one file, named {names[0]!r}")


def _missing(folder: Path, key: str, names: list[str], alike: set[str], present: set[str], used: set[str]) -> Finding:
    expected = names[0]
    where = folder / expected
    if alike:
        cause = f"{key}: there is only {printable(sorted(alike)[0])!r}, which differs in upper and lower case"
        return finding(MaskCode.CASE_MISSING, where, cause, f"rename it to {expected!r}")
    stem = expected[: len(expected) - len(mask_extension(expected) or "")]
    others = sorted({stem + extension for extension in EXTENSIONS} & present)
    if others:
        used |= set(others)
        cause = f"{key}: there is {others[0]!r}, but {expected!r} is expected"
        return finding(
            MaskCode.NAME_OTHER_EXTENSION,
            where,
            cause,
            f"save the mask in the format of {expected!r}, do not just rename it",
        )
    return finding(MaskCode.CASE_MISSING, where, f"{key}: there is no such file", f"write {expected!r}")


def _extra(folder: Path, names: list[str]) -> list[Finding]:
    strays = [name for name in names if name.rsplit("/", 1)[-1].lower() not in _SYSTEM_FILES]
    findings = [
        warning(MaskCode.FILE_EXTRA, folder / name, "belongs to no case of this challenge", "remove or rename it")
        for name in strays[:MAX_LISTED]
    ]
    if len(strays) > MAX_LISTED:
        cause = f"{len(strays) - MAX_LISTED} more files belong to no case of this challenge"
        findings.append(warning(MaskCode.FILE_EXTRA, folder, cause, "remove them"))
    return findings
