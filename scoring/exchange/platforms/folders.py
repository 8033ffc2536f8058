"""Bring predictions from other layouts into the folder layout of a challenge.

Files are linked or copied as they are where the format fits; else the label map is read with the scorer's own reader
and written in the wanted format, voxel by voxel the same.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.naming.patterns import CASE, EXTENSION, format_name, placeholders
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding, MedpodiumError, Severity, UsageError
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.files import place
from medpodium.scoring.groups import refuse_reserved
from medpodium.scoring.kinds.segmentation.volumes import read_volume
from medpodium.scoring.masks.named import names_segments
from medpodium.scoring.masks.reader import mask_extension, read_mask

_SEG_SUFFIX = re.compile(r"[-_](seg|pred|prediction|dseg)$", re.IGNORECASE)
_ENTITY = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(?:_(?P<session>ses-[A-Za-z0-9]+))?_")


@dataclass
class Imported:
    """What an import found.

    Parameters
    ----------
    files : dict of str to Path
        Source file of every case.
    findings : list of Finding
        What was left out and why.
    groups : dict of str to (dict of str to str)
        Case to its groups, where the layout tells.
    labels : dict of str to (dict of int to int)
        Case to how its labels map onto the challenge's; absent where they are the same.
    """

    files: dict[str, Path] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    labels: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, case: str, path: Path) -> None:
        """Take a file for a case; a second one for the same case is a finding."""
        if case in self.files:
            cause = f"case {case} has two files, {self.files[case].name} is used"
            self.findings.append(Finding(PlatformCode.LAYOUT, str(path), cause, "keep one file per case"))
            return
        self.files[case] = path


def brats(folder: Path) -> Imported:
    """Find BraTS-like predictions: ``CASE.nii.gz`` flat, or ``CASE/CASE-seg.nii.gz`` in a folder per case.

    A suffix ``-seg``, ``_seg``, ``-pred`` is not part of the case's name.
    """
    found = Imported()
    for path in _masks(folder):
        stem = path.name[: -len(mask_extension(path.name) or "")]
        case = _SEG_SUFFIX.sub("", stem)
        if path.parent != folder and case != path.parent.name:
            text = f"is in the folder of {path.parent.name} and not named after it"
            found.findings.append(
                Finding(PlatformCode.LAYOUT, str(path), text, "leave it out, or rename it", Severity.WARNING)
            )
            continue
        found.add(case, path)
    return found


def bids(folder: Path, task: SegmentationTask) -> Imported:
    """Find BIDS derivatives: ``sub-*/[ses-*/]<modality>/sub-*_dseg.nii.gz`` with ``*_dseg.tsv`` (index, name).

    The case is the subject, or ``SUBJECT_SESSION``. Where a table of labels names the structures of the challenge with
    other numbers, the labels are mapped by name. ``participants.tsv`` becomes the groups, the subject the patient.
    """
    found = Imported()
    people = _participants(folder, found)
    for path in sorted(folder.rglob("*_dseg.nii*")):
        if is_hidden(path.relative_to(folder).as_posix()):
            continue
        match = _ENTITY.match(path.name)
        if match is None:
            text = "the name does not start with sub-LABEL_"
            found.findings.append(Finding(PlatformCode.LAYOUT, str(path), text, "use BIDS names", Severity.WARNING))
            continue
        subject, session = match["subject"], match["session"]
        case = f"{subject}_{session}" if session else subject
        mapping = _label_mapping(path, folder, task, found)
        if case not in found.files:
            found.groups[case] = {"patient": subject, **people.get(subject, {})}
            if mapping is not None:
                found.labels[case] = mapping
        found.add(case, path)
    return found


def _masks(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = sorted(folder.iterdir())
    deep = [path for inner in inside if inner.is_dir() for path in sorted(inner.iterdir())]
    shown = (path for path in (*inside, *deep) if not is_hidden(path.relative_to(folder).as_posix()))
    return [path for path in shown if path.is_file() and path.name.lower().endswith(formats.VOLUMES)]


def _participants(folder: Path, found: Imported) -> dict[str, dict[str, str]]:
    for place_ in (folder, *folder.parents[:3]):
        path = place_ / "participants.tsv"
        if path.is_file():
            rows = _rows(path, found)
            return {
                row["participant_id"]: {k: v for k, v in row.items() if k != "participant_id" and v != "n/a"}
                for row in rows
                if row.get("participant_id")
            }
    return {}


def _rows(path: Path, found: Imported) -> list[dict[str, str]]:
    try:
        return read_sheet(path).rows
    except UsageError as error:
        found.findings += error.findings
        return []


def _label_mapping(path: Path, folder: Path, task: SegmentationTask, found: Imported) -> dict[int, int] | None:
    """Return how a file's labels map onto the task's, or ``None`` where its table is absent or says the same."""
    stem = path.name[: -len(mask_extension(path.name) or "")]
    tables = [path.with_name(f"{stem}.tsv"), *(one / "dseg.tsv" for one in (path.parent, folder))]
    tables += sorted(folder.glob("*_dseg.tsv"))
    table = next((one for one in tables if one.is_file()), None)
    if table is None:
        return None
    wanted = {}
    for name, item in task.structures.items():
        if item.label is not None:
            wanted[_plain(name)] = item.label
            wanted[_plain(item.title or name)] = item.label
    mapping: dict[int, int] = {0: 0}
    for row in _rows(table, found):
        try:
            index = int(row["index"])
        except (KeyError, ValueError):
            continue
        name = _plain(row.get("name", ""))
        if name in wanted:
            mapping[index] = wanted[name]
        elif index:
            text = f"label {index} ({row.get('name', '')}) is no structure of this challenge: it becomes background"
            code = PlatformCode.LABEL_UNMAPPED
            note = Finding(code, str(table), text, "name it like the challenge's structure", Severity.WARNING)
            if note not in found.findings:
                found.findings.append(note)
            mapping[index] = 0
    return None if all(key == value for key, value in mapping.items()) else mapping


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def write(found: Imported, task: SegmentationTask, out: Path) -> list[str]:
    """Write the predictions in the challenge's layout; returns the names of the cases written.

    A file that cannot be read becomes a finding and is copied as it is where the format fits, so that the score says
    what is wrong with it.

    Raises
    ------
    UsageError
        If the challenge wants one file per structure, or nothing was found.
    """
    pattern = task.files.prediction
    if "{structure}" in pattern:
        cause = f"the challenge wants one file per structure ({pattern})"
        raise UsageError(Finding(PlatformCode.LAYOUT, "predictions", cause, "import label maps into label-map tasks"))
    if not set(placeholders(pattern)) <= {CASE, EXTENSION}:
        cause, fix = f"the names of predictions have several parts ({pattern})", "let the challenge ask for {case}"
        raise UsageError(Finding(PlatformCode.LAYOUT, "predictions", cause, fix))
    if not found.files:
        raise UsageError(
            *(found.findings or [Finding(PlatformCode.LAYOUT, "predictions", "no prediction found", "check the path")])
        )
    written = []
    for case, source in found.files.items():
        extension = mask_extension(source.name) or ""
        target = out / format_name(pattern, {"case": case, "extension": extension})
        mapping = found.labels.get(case)
        if mapping is None and target.name.lower().endswith(extension):
            place(source, target)
        else:
            try:
                _convert(source, target, mapping, task)
            except MedpodiumError as error:
                found.findings += error.findings
                continue
        written.append(case)
    return written


def _convert(source: Path, target: Path, mapping: Mapping[int, int] | None, task: SegmentationTask) -> None:
    import numpy as np
    import SimpleITK

    if names_segments(source):
        _convert_named(source, target, task)
        return
    mask = read_mask(source)
    array = mask.array
    if mapping is not None:
        table = np.zeros(int(array.max()) + 1, dtype=np.uint16)
        for old in np.unique(array):
            table[old] = mapping.get(int(old), int(old))
        array = table[array]
        array = array.astype(np.uint8) if array.max() <= 255 else array
    # The header is taken from the file itself, so that it is not rounded on the way.
    reader: Any = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
    reader.SetFileName(str(source))
    reader.ReadImageInformation()
    image: Any = SimpleITK.GetImageFromArray(array[0] if mask.geometry.planar else array)
    image.SetSpacing(reader.GetSpacing()[:3])
    image.SetOrigin(reader.GetOrigin()[:3])
    image.SetDirection(reader.GetDirection()[:9])
    target.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(target), useCompression=True)


def _convert_named(source: Path, target: Path, task: SegmentationTask) -> None:
    """Write a label map of a file whose segments have names.

    Raises
    ------
    MedpodiumError
        If its segments overlap, or one is no structure.
    """
    import SimpleITK

    volume = read_volume(source, task)
    if volume.labels is None or volume.strangers:
        cause = f"has {volume.strangers}, which no structure is" if volume.strangers else "has segments that overlap"
        fix = f"score it as it is, with 'prediction: \"{{case}}{mask_extension(source)}\"'"
        raise MedpodiumError(Finding(PlatformCode.LAYOUT, str(source), cause, fix))
    grid = volume.geometry
    image: Any = SimpleITK.GetImageFromArray(volume.labels)
    image.SetSpacing(grid.spacing_xyz)
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(grid.direction.ravel().tolist())
    target.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(target), useCompression=True)


def write_cases(found: Imported, path: Path) -> None:
    """Write the table of cases and groups for ``score --cases``."""
    names = list(dict.fromkeys(name for groups in found.groups.values() for name in groups))
    refuse_reserved(names, "participants.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["case", *names])
        for case in found.files:
            writer.writerow([case, *(found.groups.get(case, {}).get(name, "") for name in names)])
