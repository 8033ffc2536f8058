"""The structures of a task in a file that names its segments (3D Slicer's, DICOM's), as a volume to be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.masks.codes import MaskCode, refusal, warning
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.header import Segment
from medpodium.scoring.masks.named import SegmentFile, joined_parts, match_segments, say_segments
from medpodium.scoring.masks.structures import Structure, StructureSet


def names_of(task: SegmentationTask) -> dict[str, list[str]]:
    """Return the names that a segment of each structure may have: the structure's, its title, the stem of its file."""
    return {
        name: list(dict.fromkeys(one for one in (name, item.title, item.file) if one))
        for name, item in task.structures.items()
    }


def named_volume(file: SegmentFile, task: SegmentationTask, path: Path, like: Geometry | None = None) -> Volume:
    """Return what a file holds of a task's structures.

    A structure without a segment is empty, and a warning says so. A segment that is no structure is a stranger if it
    holds anything; in a file of 3D Slicer its stored value may still be one of ``extra_labels`` or ``ignore_labels``.

    Parameters
    ----------
    file : SegmentFile
        Its segments.
    task : SegmentationTask
        Its structures.
    path : Path
        Name for findings.
    like : Geometry, optional
        The grid of a file that has none, because it holds nothing.

    Raises
    ------
    MaskError
        If nothing says which grid the file is on.
    """
    matching = match_segments(file.segments, names_of(task), path)
    findings = [*file.findings, *matching.findings, *_missing(task, file, set(matching.structures), path)]
    if file.blank and like is not None and like.shape_zyx != (1, 1, 1):
        return Volume(np.zeros(like.shape_zyx, dtype=np.uint8), like, tuple(findings))
    if file.blank and like is None:
        cause = "holds a single voxel, which is how 3D Slicer saves that there is no image: nothing says the grid"
        raise refusal(MaskCode.SHAPE_INVALID, path, cause, "save the reference as .nii.gz, with background only")
    stored = [segment for segment in matching.strangers if segment.place in file.parts]
    declared = {*task.extra_labels, *task.ignore_labels}
    strangers = [one for one in stored if not (path.name.lower().endswith(".nrrd") and one.label in declared)]
    beside = {
        label: joined_parts(file, [one for one in stored if one.label == label and one not in strangers])
        for label in task.ignore_labels
    }
    structures = {name: joined_parts(file, matching.structures[name]) for name in matching.structures}
    parts = StructureSet({name: structures[name] for name in task.structures if name in structures}, file.geometry)
    findings += _by_number([one for one in stored if one not in strangers], path)
    volume = _volume(parts, beside, task, tuple(findings))
    return replace(volume, strangers=say_segments(strangers)) if strangers else volume


def _volume(
    parts: StructureSet, beside: dict[int, Structure], task: SegmentationTask, findings: tuple[Finding, ...]
) -> Volume:
    """Return a label map, or single structures where these overlap or are known as a whole only."""
    grid = parts.geometry
    every = StructureSet({**parts.structures, **{f"\0{label}": one for label, one in beside.items()}}, grid)
    whole = [name for name in parts.structures if task.structures[name].label is None]
    if whole or every.overlaps():
        ignored = {label: every.full(f"\0{label}") for label in beside}
        return Volume(None, grid, findings, {name: parts.full(name) for name in parts.structures}, beside=ignored)
    labels = {name: min(task.structures[name].labels) for name in parts.structures}
    mask = every.label_map(labels | {f"\0{label}": label for label in beside})
    return Volume(mask.array, grid, findings)


def _missing(task: SegmentationTask, file: SegmentFile, found: set[str], path: Path) -> list[Finding]:
    held = frozenset[int]().union(*(task.structures[name].labels for name in found))
    missing = [name for name, item in task.structures.items() if item.label is not None and item.label not in held]
    if not missing:
        return []
    named = [segment for segment in file.segments if segment.name]
    there = f"it has {say_segments(named)}" if named else "it names none"
    cause = f"has no segment {', '.join(missing)}, so nothing of {'it' if len(missing) == 1 else 'them'}: {there}"
    return [warning(MaskCode.SEGMENT_MISSING, path, cause, "name segments as the challenge names its structures")]


def _by_number(segments: list[Segment], path: Path) -> list[Finding]:
    if not segments:
        return []
    cause = f"took {say_segments(segments)} by label value, as extra_labels or ignore_labels declare it"
    return [warning(MaskCode.SEGMENT_MATCHED, path, cause, "check that this is what the number means")]
