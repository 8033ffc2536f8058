"""From files to volumes that can be measured: one label map or one file per structure, on the reference's grid.

A file of one structure that is missing or unusable costs a submission that structure. In a reference it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding, MedpodiumError, has_errors
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.kinds.segmentation.plane import as_measured
from medpodium.scoring.kinds.segmentation.segments import named_volume
from medpodium.scoring.masks.codes import MaskCode, MaskError, finding
from medpodium.scoring.masks.geometry import Geometry, GeometryTolerance, compare_geometry, compare_shape
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, OWN_FILES, ReadLimits
from medpodium.scoring.masks.named import read_segments
from medpodium.scoring.masks.reader import open_mask
from medpodium.scoring.masks.segments.placing import Placement, around, placement
from medpodium.scoring.masks.sparse import KeptMemory
from medpodium.scoring.masks.structures import Compare, StructureSet, read_structures

MaskFiles = Path | Mapping[str, Path]
"""A label map's file, or the file of each structure."""


class UnusableError(MedpodiumError):
    """A prediction that was read but cannot be scored: wrong grid, unknown labels."""


def stored_structures(task: SegmentationTask) -> dict[str, str]:
    """Return the structures that have a file of their own, with the stem of that file; unions are made from them."""
    return {name: item.file or name for name, item in task.structures.items() if item.label is not None}


def asked_structures(task: SegmentationTask, case: str) -> dict[str, str]:
    """Return the :func:`stored_structures` that a case is scored on, alone or in a union."""
    labels = frozenset[int]().union(*(task.structures[name].labels for name in task.scored_structures(case)))
    return {name: stem for name, stem in stored_structures(task).items() if task.structures[name].labels <= labels}


def read_volume(
    files: MaskFiles,
    task: SegmentationTask,
    limits: ReadLimits = DEFAULT_LIMITS,
    like: Geometry | None = None,
    compare: Compare | None = None,
    memory: KeptMemory | None = None,
) -> Volume:
    """Read a label map, or one file per structure, as the volume to be measured.

    Structures stored one per file may overlap; then each is measured on its own.

    Parameters
    ----------
    files : Path or mapping of str to Path
        The label map, or the file of each structure.
    task : SegmentationTask
        Its structures.
    limits : ReadLimits
        How much is read at most.
    like : Geometry, optional
        Files of another shape are refused before their voxels are read, unless they name segments (or the reference
        does): then their voxels are put where they lie on this grid, or on the smallest one that holds both.
    compare : callable, optional
        How the grids of files per structure are compared (with ``like``, or with the first one).
    memory : KeptMemory, optional
        Where a plain label map is put, if the volume is needed no longer than until the next one is read there.

    Raises
    ------
    MedpodiumError
        If nothing of it can be used. A single file per structure that cannot be is a finding, and named in
        ``unusable``.
    """
    if isinstance(files, Path):
        return _read_map(files, task, limits, like, memory)[0]
    if like is not None and like.sparse:
        volume = read_volume(files, task, limits, compare=compare)
        placed = _place(task, like, volume.geometry, place_of(files))
        return volume if placed is None else volume.onto(*placed)
    found = read_structures(files, limits=limits, like=like, compare=compare)
    unusable = dict.fromkeys(set(stored_structures(task)) - set(files), "") | found.unusable
    if found.overlaps():
        single = {name: found.full(name) for name in found.structures}
        return Volume(None, found.geometry, found.findings, single, unusable)
    labels = {name: next(iter(task.structures[name].labels)) for name in found.structures}
    mask = found.label_map(labels)
    return Volume(mask.array, mask.geometry, mask.findings, unusable=unusable)


def _read_map(
    path: Path, task: SegmentationTask, limits: ReadLimits, like: Geometry | None, memory: KeptMemory | None
) -> tuple[Volume, bool]:
    """Read a file that holds all structures, and say whether its voxels were put on the grid asked for."""
    with open_mask(path, limits=limits) as reader:
        placed = None
        if like is not None and (like.sparse or reader.geometry.sparse):
            nothing = reader.segments is not None and reader.geometry.shape_zyx == (1, 1, 1)
            placed = None if nothing else _place(task, like, reader.geometry, str(path))
        else:
            reader.refuse_unlike(like)
        if reader.segments is not None:
            volume = named_volume(read_segments(reader), task, path, like)
        else:
            mask = reader.read(memory)
            volume = Volume(mask.array, mask.geometry, mask.findings, rows=mask.rows)
    return (volume, False) if placed is None else (volume.onto(*placed), True)


def _place(task: SegmentationTask, like: Geometry, own: Geometry, where: str) -> tuple[Placement, Geometry] | None:
    """Return where the voxels of a file lie, and on which grid; ``None`` where it has to be compared as it is.

    Raises
    ------
    MaskError
        If they do not lie on the grid voxel by voxel, or some lie outside of it and it is a whole image's.
    """
    place = placement(like, own, _tolerance(task))
    if place is None:
        if own.shape_zyx == like.shape_zyx:
            return None
        if task.geometry.check == "shape":
            raise MaskError(*compare_shape(like, own, where))
        raise MaskError(*compare_geometry(like, own, _tolerance(task), where))
    if place.inside(like):
        return place, like
    both = around(like, place) if like.sparse else None
    if both is None:
        (x, y, z), (i, j, k) = place.start, np.add(place.start, place.size) - 1
        cause = (
            f"holds the voxels ({x}, {y}, {z}) to ({i}, {j}, {k}) of the reference's grid, which has {like.shape_xyz}"
        )
        fix = "save the segmentation on the input image's grid"
        raise MaskError(finding(MaskCode.SHAPE_DIFFERS, where, cause, fix))
    return both


def read_reference(files: MaskFiles, task: SegmentationTask, memory: KeptMemory | None = None) -> Volume:
    """Read a reference as it is measured (in the plane or not), links followed.

    ``memory`` is that of :func:`read_volume`.

    Raises
    ------
    MedpodiumError
        If any of its files cannot be used, with everything that is wrong with them.
    """
    volume = read_volume(files, task, OWN_FILES, compare=_full_comparison(task), memory=memory)
    if has_errors(volume.findings):
        raise MaskError(*volume.findings)
    return as_measured(task, volume, place_of(files))


def read_structure_files(files: Mapping[str, Path], task: SegmentationTask) -> StructureSet:
    """Read a reference that is one file per structure, links followed; what is wrong with single files is a finding.

    Raises
    ------
    MedpodiumError
        If none of its files can be used.
    """
    return read_structures(files, limits=OWN_FILES, compare=_full_comparison(task))


def _full_comparison(task: SegmentationTask) -> Compare:
    """Return how the files of one reference are compared: in full, whatever is asked of predictions."""
    tolerance = _tolerance(task)
    return lambda one, other, where: compare_geometry(one, other, tolerance, where)


def read_prediction(
    files: MaskFiles,
    task: SegmentationTask,
    reference: Geometry,
    found: list[Finding],
    limits: ReadLimits = DEFAULT_LIMITS,
    memory: KeptMemory | None = None,
) -> Volume:
    """Read a prediction and compare its grid with the reference's, as strictly as the task says.

    Parameters
    ----------
    found : list of Finding
        Gets what is odd but usable, and what is wrong with single structures.
    memory : KeptMemory, optional
        See :func:`read_volume`.

    Raises
    ------
    MedpodiumError
        If it cannot be scored at all.
    """

    def compare(one: Geometry, other: Geometry, where: str) -> list[Finding]:
        return compare_grids(task, one, other, where)

    if not isinstance(files, Path):
        volume = read_volume(files, task, limits, reference, compare)
        found += volume.findings  # every file was compared on its own
        return volume
    volume, placed = _read_map(files, task, limits, reference, memory)
    found += volume.findings
    if placed:
        return volume
    differences = compare(reference, volume.geometry, str(files))
    errors = [item for item in differences if has_errors([item])]
    found += [item for item in differences if item not in errors]
    if errors:
        raise UnusableError(*errors)
    return volume


def compare_grids(task: SegmentationTask, reference: Geometry, prediction: Geometry, where: str) -> list[Finding]:
    """Say how a prediction's grid differs from its reference's, by the rules of the task."""
    if task.geometry.check == "shape":
        return compare_shape(reference, prediction, where)
    return compare_geometry(reference, prediction, _tolerance(task), where)


def unknown_labels(task: SegmentationTask, labels: list[int], where: str) -> Finding:
    """Return the finding of a prediction with labels outside the schema."""
    shown = ", ".join(map(str, labels[:8])) + ("..." if len(labels) > 8 else "")
    allowed = ", ".join(map(str, sorted(task.known_labels)))
    return Finding(
        MaskCode.LABEL_UNKNOWN, where, f"label {shown} is not in the schema", f"use only the labels {allowed}"
    )


def unknown_segments(task: SegmentationTask, strangers: str, where: str) -> Finding:
    """Return the finding of a prediction with segments that are no structures."""
    cause = f"has {strangers}, which no structure of the challenge is"
    return finding(MaskCode.LABEL_UNKNOWN, where, cause, f"name segments {', '.join(task.structures)}")


def place_of(files: MaskFiles) -> str:
    """Name a prediction in findings: its file, or the folder of its files."""
    return str(files) if isinstance(files, Path) else str(next(iter(files.values())).parent)


def _tolerance(task: SegmentationTask) -> GeometryTolerance:
    rules = task.geometry
    return GeometryTolerance(rules.spacing_relative, rules.origin_mm, rules.direction)
