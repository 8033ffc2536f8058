"""The hidden cases: a manifest of files, hashes and groups, and the checks before anything is run on them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medpodium.challenges.naming.names import clashes, is_hidden, reserved_columns
from medpodium.challenges.naming.patterns import (
    Values,
    case_name,
    case_parts,
    format_name,
    parse_name,
    placeholders,
    say_readings,
)
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.findings import Code, Finding, Severity, UsageError

_CHUNK = 1 << 20
_CASE_COLUMNS = ("case", "case_id", "participant_id", "subject", "id", "name")


class CaseCode(Code):
    """What can be wrong with the cases of a challenge."""

    NO_CASES = "cases-none"
    FOLDER_ABSENT = "cases-folder-absent"
    INPUT_MISSING = "case-input-missing"
    REFERENCE_MISSING = "case-reference-missing"
    REFERENCE_WITHOUT_CASE = "reference-without-case"
    NOT_REGULAR = "case-file-not-regular"
    NAME_AMBIGUOUS = "case-name-ambiguous"
    COLUMN_RESERVED = "groups-column-reserved"
    GROUPS_UNREADABLE = "groups-unreadable"
    GROUP_MISSING = "case-group-missing"
    GROUP_WITHOUT_CASE = "group-without-case"
    CHANGED = "case-changed"
    REFERENCE_CHANGED = "reference-changed"
    PREDICTION_CHANGED = "prediction-changed"
    GEOMETRY = "case-geometry"
    """An image and the reference of a case do not lie on one grid."""
    UNREADABLE = "case-unreadable"
    """An image of a hidden case cannot be read, so no team could."""
    DUPLICATE = "case-duplicate"
    PATIENT_OVERLAP = "leak-patient-overlap"
    IMAGE_OVERLAP = "leak-image-overlap"
    """A hidden image is among the training images, as a file or as voxels."""
    IDENTIFIER = "leak-identifier"
    NAME_LEAK = "leak-name"


@dataclass(frozen=True)
class CaseFile:
    """A file of a case: where it is, below its folder, and what it was when the campaign was made."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Case:
    """One test subject.

    Parameters
    ----------
    id : str
        The organizer's name of the case.
    inputs : dict of str to CaseFile
        Source pattern of the protocol to the file.
    references : tuple of CaseFile
        Hidden ground truth; empty where none is at hand.
    values : dict of str to str
        What the other placeholders of the source patterns matched (``vendor``).
    groups : dict of str to str
        Centre, domain, patient, ...; from the groups table.
    """

    id: str
    inputs: dict[str, CaseFile]
    references: tuple[CaseFile, ...] = ()
    values: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 over everything a container may see of the case; the reference is no part of it."""
        seen = {"id": self.id, "inputs": {key: file.sha256 for key, file in self.inputs.items()}}
        text = json.dumps(seen | {"values": self.values, "groups": self.groups}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """All cases of a campaign, and the folders their paths are relative to.

    ``references`` are those of all cases together (a table of classes).
    """

    cases_dir: str
    references_dir: str
    cases: tuple[Case, ...]
    references: tuple[CaseFile, ...] = ()

    def __getitem__(self, case: str) -> Case:
        """Return a case by its name; `KeyError` if absent."""
        return self._by_id[case]

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    @property
    def hash(self) -> str:
        """SHA-256 over all case hashes."""
        return hashlib.sha256("\n".join(sorted(case.hash for case in self.cases)).encode()).hexdigest()

    def reference_hashes(self) -> dict[str, str]:
        """Return a SHA-256 over the references of each case, those of all cases together included."""
        common = [(file.path, file.sha256) for file in self.references]
        seen = {case.id: [(file.path, file.sha256) for file in case.references] for case in self.cases}
        return {
            name: hashlib.sha256(json.dumps([sorted(files), sorted(common)]).encode()).hexdigest()
            for name, files in seen.items()
        }

    @property
    def reference_hash(self) -> str:
        """SHA-256 over the references of all cases; where their folder is, is no part of it."""
        return hashlib.sha256(json.dumps(self.reference_hashes(), sort_keys=True).encode()).hexdigest()

    def groups(self) -> dict[str, dict[str, str]]:
        """Return the groups (and matched placeholders) of every case, by case."""
        return {case.id: {**case.values, **case.groups} for case in self.cases}

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as plain data."""
        return {"cases_dir": self.cases_dir, "references_dir": self.references_dir} | {
            "cases": [asdict(case) | {"hash": case.hash} for case in self.cases],
            "references": [asdict(file) for file in self.references],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Manifest:
        """Read what :meth:`as_dict` wrote."""
        cases = tuple(
            Case(
                id=row["id"],
                inputs={key: CaseFile(**value) for key, value in row["inputs"].items()},
                references=tuple(CaseFile(**value) for value in row["references"]),
                values=row["values"],
                groups=row["groups"],
            )
            for row in data["cases"]
        )
        common = tuple(CaseFile(**value) for value in data.get("references", []))
        return cls(data["cases_dir"], data["references_dir"], cases, common)


def sha256_of(path: Path) -> tuple[str, int]:
    """Return the SHA-256 (hex) of a file and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _tree(folder: Path) -> list[str]:
    """Return every file below a folder that may belong to a case, as a relative path; hidden ones do not."""
    found = []
    for root, folders, files in os.walk(folder):
        folders.sort()
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in sorted(files)]
    return [name for name in found if not is_hidden(name)]


def _take(folder: Path, relative: str) -> CaseFile:
    return CaseFile(relative, *sha256_of(folder / relative))


def build(
    protocol: ContainerProtocol,
    cases_dir: Path,
    references_dir: Path | None = None,
    reference_patterns: Iterable[str] = (),
    groups: dict[str, dict[str, str]] | None = None,
    needed: Iterable[str] | None = None,
) -> tuple[Manifest, list[Finding]]:
    """Take stock of the cases: match the protocol's source patterns, hash every file.

    Parameters
    ----------
    protocol : ContainerProtocol
        Its input files say which files make up a case.
    cases_dir, references_dir : Path
        Folders of the inputs and of the hidden references.
    reference_patterns : iterable of str
        Patterns of the reference files; their placeholders name the case, or a structure.
    needed : iterable of str, optional
        Those of which every case needs a file; all of them when left out.
    groups : dict, optional
        Groups of each case, as :func:`read_groups` returns them.

    Returns
    -------
    (manifest, findings)
        Cases sorted by name. A case without a required input is a finding and left out.

    Raises
    ------
    UsageError
        If a folder is absent or holds no case at all, or a placeholder is named like a column of the score table.
    """
    _check_columns(
        (name for _, file in protocol.input_files for name in placeholders(file.source) if name != "case"),
        "the container protocol's inputs",
    )
    for folder in filter(None, (cases_dir, references_dir)):
        if not folder.is_dir():
            raise UsageError(Finding(CaseCode.FOLDER_ABSENT, str(folder), "no such folder", "check the path"))
    findings: list[Finding] = []
    tree = _tree(cases_dir)
    inputs: dict[str, dict[str, str]] = defaultdict(dict)
    values: dict[str, dict[str, str]] = defaultdict(dict)
    required = [file.source for _, file in protocol.input_files if not file.optional]
    for _, rule in protocol.input_files:
        if "case" not in placeholders(rule.source):
            continue
        for relative in tree:
            readings = parse_name(rule.source, relative)
            if not readings:
                continue
            if (cases_dir / relative).is_symlink() and not (cases_dir / relative).is_file():
                findings.append(_not_regular(relative))
                continue
            case = readings[0]["case"]
            if len(readings) > 1 or rule.source in inputs[case]:
                findings.append(_ambiguous(relative, readings, inputs[case].get(rule.source)))
                continue
            inputs[case][rule.source] = relative
            values[case] |= {key: text for key, text in readings[0].items() if key != "case"}
    inputs = {name: files for name, files in inputs.items() if files}
    for one, other in clashes(inputs):
        cause, fix = f"cases {one!r} and {other!r} differ only in capitals or Unicode form", "rename one of them"
        findings.append(Finding(CaseCode.NAME_AMBIGUOUS, other, cause, fix))
    patterns = list(reference_patterns)
    references = _references(references_dir, patterns, inputs, findings)
    common = _common(references_dir, patterns)
    wanted = patterns if needed is None else list(needed)
    # a table of classes is one file for all cases
    per_case = not wanted or any(case_parts(pattern) for pattern in wanted)
    there = references if needed is None else _references(references_dir, wanted, inputs, [])
    if not inputs:
        fix = f"the protocol looks for {', '.join(required)} below this folder"
        raise UsageError(Finding(CaseCode.NO_CASES, str(cases_dir), "no file matches the protocol's inputs", fix))
    cases = []
    for name in sorted(inputs):
        lacking = [source for source in required if "{case}" in source and source not in inputs[name]]
        if lacking:
            text = f"lacks {', '.join(format_name(source, {'case': name, **values[name]}) for source in lacking)}"
            findings.append(Finding(CaseCode.INPUT_MISSING, name, text, "add the file or remove the case"))
            continue
        if references_dir is not None and per_case and name not in there:
            text = "has no reference"
            findings.append(Finding(CaseCode.REFERENCE_MISSING, name, text, "add it or remove the case"))
        own = {source: _take(cases_dir, relative) for source, relative in sorted(inputs[name].items())}
        truth = tuple(_take(references_dir, path) for path in references.get(name, [])) if references_dir else ()
        cases.append(Case(name, own, truth, values[name], (groups or {}).get(name, {})))
    findings += _group_findings(groups, inputs)
    for name in sorted(set(references) - set(inputs)):
        text = "a reference without a case"
        fix = "remove it, or add the case"
        findings.append(Finding(CaseCode.REFERENCE_WITHOUT_CASE, name, text, fix, Severity.WARNING))
    truth_dir = str(references_dir.resolve()) if references_dir else ""
    together = tuple(_take(references_dir, path) for path in common) if references_dir else ()
    return Manifest(str(cases_dir.resolve()), truth_dir, tuple(cases), together), findings


def _not_regular(relative: str) -> Finding:
    return Finding(CaseCode.NOT_REGULAR, relative, "is no regular file", "replace the link by the file itself")


def _ambiguous(relative: str, readings: list[Values], other: str | None) -> Finding:
    if len(readings) > 1:
        cause, fix = f"can be read as {say_readings(readings)}", "rename it, or put a separator into the pattern"
    else:
        cause = f"case {readings[0]['case']!r} has {other!r}, too"
        fix = "give every case a name of its own, or let several placeholders name it together"
    return Finding(CaseCode.NAME_AMBIGUOUS, relative, cause, fix)


def _check_columns(names: Iterable[str], where: str) -> None:
    """Refuse groups of cases that are named like a column of the score table."""
    taken = reserved_columns(names)
    if taken:
        cause = f"{taken[0]!r} is named like a column of the score table, whose values it would overwrite"
        raise UsageError(Finding(CaseCode.COLUMN_RESERVED, where, cause, "choose another name for it"))


def _references(
    folder: Path | None, patterns: Iterable[str], cases: Collection[str], findings: list[Finding]
) -> dict[str, list[str]]:
    """Return the reference files of every case; a name with several readings is that of the case there is."""
    found: dict[str, list[str]] = defaultdict(list)
    if folder is None:
        return found
    tree = _tree(folder)
    for pattern in dict.fromkeys(patterns):
        if not case_parts(pattern):
            continue
        for relative in tree:
            readings = parse_name(pattern, relative)
            named = {case_name(pattern, values): values for values in readings}
            likely = [case for case in named if case in cases] or list(named)[:1]
            if len(likely) > 1:
                findings.append(_ambiguous(relative, [named[case] for case in likely], None))
            elif likely and relative not in found[likely[0]]:
                found[likely[0]].append(relative)
    return {name: paths for name, paths in found.items() if paths}


def _common(folder: Path | None, patterns: Iterable[str]) -> list[str]:
    """Return the references of all cases together: files whose pattern names no case."""
    named = [pattern for pattern in dict.fromkeys(patterns) if not case_parts(pattern)]
    return [pattern for pattern in named if folder is not None and (folder / pattern).is_file()]


def references_of(folder: Path, patterns: Iterable[str], cases: Collection[str]) -> dict[str, list[str]]:
    """Return the reference files there are now, as relative paths by case; of all cases together under no name."""
    patterns = list(patterns)
    found = _references(folder, patterns, cases, [])
    return found | ({"": common} if (common := _common(folder, patterns)) else {})


def _group_findings(groups: dict[str, dict[str, str]] | None, cases: Iterable[str]) -> list[Finding]:
    if not groups:
        return []
    known, findings = set(cases), []
    for name in sorted(known - set(groups)):
        fix = "add a row for this case to the groups table"
        findings.append(Finding(CaseCode.GROUP_MISSING, name, "is not in the groups table", fix, Severity.WARNING))
    for name in sorted(set(groups) - known):
        text = "in the groups table, but there is no such case"
        findings.append(Finding(CaseCode.GROUP_WITHOUT_CASE, name, text, "remove the row", Severity.WARNING))
    return findings


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """Read the groups of each case from a CSV or TSV.

    A column named case, participant_id or alike names the case, else the first; every other one is a group.

    Raises
    ------
    UsageError
        If it cannot be read, has no header, names a case twice or has a column named like one of the score table.
    """
    sheet = read_sheet(path)
    key = next((name for name in sheet.columns if name.lower() in _CASE_COLUMNS), sheet.columns[0])
    sheet.refuse_control_characters([key])
    _check_columns((name for name in sheet.named if name != key), str(path))
    found: dict[str, dict[str, str]] = {}
    for number, row in zip(sheet.lines, sheet.rows, strict=True):
        name = row.pop(key)
        if not name or name in found:
            text = f"case {name!r} is empty or named twice"
            raise UsageError(Finding(CaseCode.GROUPS_UNREADABLE, f"{path}:{number}", text, "one row per case"))
        found[name] = {column: level for column, level in row.items() if column}
    return found


def verify(manifest: Manifest, case: Case) -> list[Finding]:
    """Hash a case's files again and report every change since the campaign was made."""
    findings = []
    for folder, files in (
        (manifest.cases_dir, case.inputs.values()),
        (manifest.references_dir, case.references),
    ):
        for file in files:
            path = Path(folder) / file.path
            try:
                same = sha256_of(path)[0] == file.sha256
                text = "content differs from the manifest"
            except OSError as error:
                same, text = False, str(error)
            if not same:
                fix = "restore the file, or make a new campaign"
                findings.append(Finding(CaseCode.CHANGED, f"{case.id}: {file.path}", text, fix))
    return findings
