"""Checks of the hidden cases before a campaign starts: broken files, wrong grids and labels, and leaks."""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign.cases import Case, CaseCode, Manifest
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.naming.sharing import shared
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.containers.failures import printable
from medpodium.findings import Finding, MedpodiumError, Severity, has_errors

_CHUNK = 1 << 20
_THUMB = 16
_NEAR = 0.995
_MAX_SHARED = 20
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
_PERSON = re.compile(r"(?i)patient|name|birth|dob|mrn|hospital|dr\.|\^")
_NO_REFERENCES = {"no-cases", "answers-no-file"}
_TEXT_FIELDS = ((148, 80, "descrip"), (228, 24, "aux_file"), (328, 16, "intent_name"), (14, 18, "db_name"))


def check(
    challenge: Challenge,
    container: str,
    manifest: Manifest,
    training: Path | None = None,
    advance: Callable[[], object] = lambda: None,
) -> list[Finding]:
    """Check every case and reference of a manifest, and compare with a training folder.

    Parameters
    ----------
    challenge : Challenge
        Its labels and grids are the schema.
    container : str
        The protocol the manifest was made for.
    manifest : Manifest
        The hidden cases.
    training : Path, optional
        Folder whose images may have been used to train: same files, same voxels, near-duplicates and same patients
        are reported.
    advance : callable
        Called after every case.
    """
    findings = [*_names(manifest), *shared_files(challenge, manifest), *references(challenge, container, manifest)]
    prints: dict[str, Any] = {}
    for case in manifest.cases:
        findings += _case(case, manifest)
        image = _image_path(manifest, case)
        if image is not None:
            prints[case.id] = _fingerprint(image)
        advance()
    findings += _repeated(manifest)
    if training is not None:
        findings += _leaks(manifest, prints, training)
    return findings


def all_references(challenge: Challenge, manifest: Manifest) -> list[Finding]:
    """Check the references of every task, whichever container answers it."""
    return [one for container in challenge.containers for one in references(challenge, container, manifest)]


def shared_files(challenge: Challenge, manifest: Manifest) -> list[Finding]:
    """Report cases that could share a file in any container protocol: staged, written or collected."""
    cases = {case.id: {**case.values, "case": case.id} for case in manifest.cases}
    found: dict[tuple[str, str], Finding] = {}
    for name, whole in challenge.containers.items():
        protocol, known = whole.for_task(name), challenge.file_stems(name)
        patterns = {rule.stored: known for rule in protocol.outputs if rule.per_case}
        if protocol.per == "set":
            if protocol.pseudonym is None:
                patterns |= {rule.name: known for rule in protocol.outputs if rule.per_case}
            patterns |= {file.target: {} for _, file in protocol.input_files}
        elif len(cases) > 1:
            patterns |= {rule.stored: known for rule in protocol.outputs}
        for pattern, choices in patterns.items():
            for one, other in islice(shared(pattern, cases, choices), _MAX_SHARED):
                cause = f"cases {one!r} and {other!r} can have the same file under {pattern!r} (container {name!r})"
                fix = "rename a case, or give each case a folder of its own in the pattern: {case}/..."
                found.setdefault((one, other), Finding(CaseCode.NAME_AMBIGUOUS, other, cause, fix))
    return list(found.values())[:_MAX_SHARED]


def references(challenge: Challenge, container: str, manifest: Manifest) -> Iterator[Finding]:
    """Check the references of every task that a container answers, as strictly as scoring does.

    A task without any reference is a warning where another one has some: not every task need be scored here.
    """
    import pandas as pd

    from medpodium.scoring.kinds.references import check_references

    cases = pd.DataFrame([{"case": case, **groups} for case, groups in manifest.groups().items()])
    found: dict[str, list[Finding]] = {}
    for name, task in challenge.tasks.items():
        if manifest.references_dir and KINDS[task.kind].computed and task.container in (None, container):
            found[name] = check_references(challenge, name, Path(manifest.references_dir), cases=cases)
    absent = {name for name, own in found.items() if own and {str(one.code) for one in own} <= _NO_REFERENCES}
    for name, own in found.items():
        softer = name in absent and absent != set(found)
        yield from (replace(one, severity=Severity.WARNING) for one in own) if softer else own


def _image_path(manifest: Manifest, case: Case) -> Path | None:
    from medpodium.scoring.masks.reader import mask_extension

    for file in case.inputs.values():
        path = Path(manifest.cases_dir) / file.path
        if mask_extension(path) not in (None, *formats.DICOM):
            return path
    return None


def _case(case: Case, manifest: Manifest) -> Iterator[Finding]:
    from medpodium.scoring.masks.geometry import compare_geometry
    from medpodium.scoring.masks.reader import mask_extension, open_mask, read_geometry
    from medpodium.scoring.masks.segments.placing import inside

    grids = []
    for file in case.inputs.values():
        path = Path(manifest.cases_dir) / file.path
        where = f"{case.id}: {file.path}"
        if mask_extension(path) in (None, *formats.DICOM):
            # a slice of a series says nothing about the volume
            if cause := _damage(path):
                yield Finding(CaseCode.UNREADABLE, where, cause, "repair the file")
            continue
        try:
            with open_mask(path, labels_only=False) as reader:
                grids.append(reader.geometry)
                reader.read_through()
        except MedpodiumError as error:
            yield Finding(CaseCode.UNREADABLE, where, error.findings[0].cause, "repair the image")
        yield from _header_texts(path, f"{case.id}: {file.path}")
    for file in case.references:
        path, where = Path(manifest.references_dir) / file.path, f"{case.id}: {file.path}"
        if mask_extension(path) is None:
            continue
        try:
            own = read_geometry(path)
        except MedpodiumError:
            continue  # said with everything else about the references
        if own.sparse and any(inside(grid, own) for grid in grids):
            continue
        if grids and all(has_errors(compare_geometry(grid, own, where=where)) for grid in grids):
            differences = compare_geometry(grids[0], own, where=where)
            cause = next(one.cause for one in differences if has_errors([one]))
            fix = "resample the reference to the image's grid, or correct its header"
            yield Finding(CaseCode.GEOMETRY, where, cause, fix)


def _damage(path: Path) -> str:
    """Return what is wrong with a file of a format that is not read here, as far as its wrapping tells."""
    try:
        if not path.stat().st_size and path.suffix != ".txt":  # a text may have nothing to say
            return "is empty"
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                while file.read(_CHUNK):
                    pass
        elif path.suffix in (".npz", ".zip"):
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
            return f"is damaged: {printable(bad, 100)}" if bad else ""
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return f"is damaged or cut off: {printable(str(error), 200)}"
    return ""


def _header_texts(path: Path, where: str) -> Iterator[Finding]:
    """Report header texts that may name a person, a place or a date."""
    try:
        with path.open("rb") as file:
            header = (gzip.GzipFile(fileobj=file) if path.name.endswith(".gz") else file).read(348)
    except (OSError, EOFError, zlib.error):
        return
    if len(header) < 348 or struct.unpack_from("<i", header)[0] != 348:
        return
    for start, length, name in _TEXT_FIELDS:
        text = header[start : start + length].split(b"\0")[0].decode("latin-1").strip()
        if text and (_DATE.search(text) or _PERSON.search(text)):
            fix = f"empty the header's {name} before the file is shown to any container"
            cause = f"the header's {name} says {printable(text, 60)!r}"
            yield Finding(CaseCode.IDENTIFIER, where, cause, fix, Severity.WARNING)


def _names(manifest: Manifest) -> list[Finding]:
    """Report case names that carry a date or a group's value: a container could read the answer off them."""
    found = []
    for case in manifest.cases:
        match = _DATE.search(case.id)
        if match:
            fix = "rename the case, or give the protocol a pseudonym pattern"
            text = f"the name carries a date ({match[0]})"
            found.append(Finding(CaseCode.IDENTIFIER, case.id, text, fix, Severity.WARNING))
    columns = sorted({name for case in manifest.cases for name in case.groups})
    for column in columns:
        telling = [
            case.id
            for case in manifest.cases
            if len(case.groups.get(column, "")) > 1 and case.groups[column].lower() in case.id.lower()
        ]
        if len(telling) > len(manifest.cases) / 2:
            fix = "rename the cases, or give the protocol a pseudonym pattern"
            text = f"the names of {len(telling)} of {len(manifest.cases)} cases carry their {column}"
            found.append(Finding(CaseCode.NAME_LEAK, "cases", text, fix, Severity.WARNING))
    return found


def _repeated(manifest: Manifest) -> list[Finding]:
    """Report cases whose input files are the same bytes."""
    seen: dict[str, str] = {}
    found = []
    for case in manifest.cases:
        for file in case.inputs.values():
            other = seen.setdefault(file.sha256, case.id)
            if other != case.id:
                text = f"has the same file as case {other}"
                fix = "remove one of them; a case must not count twice"
                found.append(Finding(CaseCode.DUPLICATE, f"{case.id}: {file.path}", text, fix))
    return found


def _leaks(manifest: Manifest, prints: dict[str, Any], training: Path) -> list[Finding]:
    """Report hidden images that are in the training folder, however they are named, and patients in both."""
    from medpodium.scoring.masks.reader import mask_extension

    found: list[Finding] = []
    inside = (path for path in training.rglob("*") if not is_hidden(path.relative_to(training).as_posix()))
    files = sorted(path for path in inside if path.is_file() and mask_extension(path) is not None)
    known = {path: _fingerprint(path) for path in files}
    for name, print_of in prints.items():
        for path, other in known.items():
            verdict = _alike(print_of, other)
            if verdict:
                fix = "remove the case from the hidden set, or retract the training image"
                where = f"{name}: {path.relative_to(training)}"
                level = Severity.ERROR if print_of[0] == other[0] else Severity.WARNING
                found.append(Finding(CaseCode.IMAGE_OVERLAP, where, verdict, fix, level))
    patients = {}
    for case in manifest.cases:
        patient = next((value for key, value in case.groups.items() if "patient" in key.lower()), "")
        if patient:
            patients[patient] = case.id
    for path in files:
        stems = set(re.split(r"[/_.]", path.relative_to(training).as_posix()))
        for patient in stems & set(patients):
            text = f"patient {patient} of this case also names the training file {path.name}"
            fix = "split by patient: remove the case or the training image"
            found.append(Finding(CaseCode.PATIENT_OVERLAP, patients[patient], text, fix))
    return found


def _fingerprint(path: Path) -> tuple[str, Any]:
    """Return (SHA-256 of the voxels, a 16 x 16 x 16 thumbnail) of an image; empty when it cannot be read."""
    import numpy as np
    import SimpleITK

    try:
        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float32, copy=False)
    except RuntimeError:
        return "", None
    digest = hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
    if array.ndim != 3 or min(array.shape) < 2:
        return digest, None
    thumb: Any = array
    for axis, size in enumerate(array.shape):
        edges = np.linspace(0, size, min(_THUMB, size) + 1).astype(int)[:-1]
        sums = np.add.reduceat(thumb, edges, axis=axis)
        shape = [-1 if one == axis else 1 for one in range(3)]
        thumb = sums / np.diff([*edges, size]).astype(np.float32).reshape(shape)
    # Mean intensities of a fixed number of blocks: the same scan resampled, cropped a little or rescaled in intensity
    # stays almost the same vector, two patients do not.
    flat: Any = _stretch(thumb, _THUMB)
    flat -= flat.mean()
    norm = float(np.linalg.norm(flat))
    return digest, flat / norm if norm > 0 else None


def _stretch(block: Any, size: int) -> Any:
    import numpy as np

    for axis in range(block.ndim):
        index = np.arange(size) * block.shape[axis] // size
        block = np.take(block, index, axis=axis)
    return block.ravel().astype(np.float64)


def _alike(one: tuple[str, Any], other: tuple[str, Any]) -> str:
    if one[0] and one[0] == other[0]:
        return "the voxels are the same as in this training image"
    if one[1] is None or other[1] is None:
        return ""
    likeness = float(one[1] @ other[1])
    return f"looks like this training image (correlation {likeness:.4f} of thumbnails)" if likeness > _NEAR else ""
