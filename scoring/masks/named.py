"""Segments by their names: what a file that names them (3D Slicer's, DICOM's) holds of each structure of a challenge.

A name decides, never a number: both formats number their segments in the order in which they were drawn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medpodium.challenges.naming.names import alike, composed
from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, finding, printable, warning
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.header import Segment
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ReadLimits
from medpodium.scoring.masks.reader import Mask, MaskReader, open_mask
from medpodium.scoring.masks.structures import Cropper, Structure, StructureSet

Place = tuple[int, int]
"""Layer, and value in it."""
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class SegmentFile:
    """What a file that names segments holds.

    Parameters
    ----------
    segments : tuple of Segment
        What it names; a value that has no name is one, too.
    parts : dict of (int, int) to Structure
        Voxels of each segment that has any, by layer and value.
    geometry : Geometry
        Its grid.
    findings : tuple of Finding
        What was odd but usable.
    """

    segments: tuple[Segment, ...]
    parts: dict[Place, Structure]
    geometry: Geometry
    findings: tuple[Finding, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether this is a single voxel: 3D Slicer's way to say that there is nothing, whose place means nothing."""
        return self.geometry.shape_zyx == (1, 1, 1)


@dataclass(frozen=True)
class Matching:
    """Which segments make up which structure.

    Parameters
    ----------
    structures : dict of str to list of Segment
        The segments of each structure that has any.
    strangers : list of Segment
        Segments that are no structure.
    findings : list of Finding
        What was matched loosely, joined, or is missing.
    """

    structures: dict[str, list[Segment]] = field(default_factory=dict)
    strangers: list[Segment] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_segments(reader: MaskReader) -> SegmentFile:
    """Read all voxels of a file that names segments.

    Raises
    ------
    MaskError
        As :meth:`medpodium.scoring.masks.reader.MaskReader.read`.
    """
    crops: dict[Place, Cropper] = defaultdict(Cropper)
    for layer, z, plane in reader.planes():
        rows = np.flatnonzero(plane.any(axis=1))
        if rows.size:
            counts = np.bincount(plane[rows[0] : rows[-1] + 1].ravel())
            for label in np.flatnonzero(counts[1:]) + 1:
                crops[layer, int(label)].add(z, plane == label)
    named = tuple(reader.segments or ())
    known = {segment.place for segment in named}
    nameless = tuple(Segment("", *place) for place in sorted(crops) if place not in known)
    parts = {place: crop.structure() for place, crop in crops.items()}
    return SegmentFile((*named, *nameless), parts, reader.geometry, reader.findings)


def match_segments(segments: Collection[Segment], wanted: Mapping[str, Collection[str]], where: str | Path) -> Matching:
    """Find the segments of each structure by their names.

    A name counts as it is written, then without regard to capitals, Unicode forms, and whether words are separated by
    blanks, hyphens or underscores, then by what the segment's code says (DICOM); the looser ways are noted. Several
    segments of one structure are joined.

    Parameters
    ----------
    segments : collection of Segment
        What the file names.
    wanted : mapping of str to collection of str
        The structures, with all the names that each goes by.
    where : str or Path
        File for findings.
    """
    exact, loose = _owners(wanted, composed), _owners(wanted, _plain)
    found = Matching()
    loosely: list[str] = []
    for segment in segments:
        structure = exact.get(composed(segment.name)) if segment.name else None
        if structure is None:
            words = [segment.name, *segment.meanings] if segment.name else []
            structure = next((loose[_plain(word)] for word in words if _plain(word) in loose), None)
            if structure is not None:
                loosely.append(f"{segment.name!r} for {structure!r}")
        if structure is None:
            found.strangers.append(segment)
        else:
            found.structures.setdefault(structure, []).append(segment)
    if loosely:
        cause = f"took the segments {_listed(loosely)}"
        fix = "name segments exactly as the challenge names its structures"
        found.findings.append(finding(MaskCode.SEGMENT_MATCHED, where, cause, fix, Severity.NOTE))
    for structure, own in found.structures.items():
        if len(own) > 1:
            cause = f"{len(own)} segments are {structure!r}: they were joined"
            found.findings.append(
                finding(MaskCode.SEGMENT_MATCHED, where, cause, "nothing to do, or merge them", Severity.NOTE)
            )
    return found


def read_labelled(
    path: str | Path,
    labels: Mapping[str, int],
    *,
    limits: ReadLimits = DEFAULT_LIMITS,
    aliases: Mapping[str, Collection[str]] | None = None,
) -> Mask:
    """Read a label map, whether its labels are numbers or names.

    Parameters
    ----------
    path : str or Path
        A mask of any format.
    labels : mapping of str to int
        Label of each structure, for files that name their segments.
    limits : ReadLimits
        How much is read at most.
    aliases : mapping of str to collection of str, optional
        Further names of structures.

    Returns
    -------
    Mask
        Where segments overlap, the structure later in ``labels`` wins, with a warning. Segments that are no structure
        are left out, with a warning.

    Raises
    ------
    MaskError
        When the file cannot be used.
    """
    path = Path(path)
    with open_mask(path, limits=limits) as reader:
        if reader.segments is None:
            return reader.read()
        file = read_segments(reader)
    matching = match_segments(file.segments, all_names(labels, aliases), path)
    joined = {name: joined_parts(file, matching.structures.get(name, [])) for name in labels}
    found = StructureSet(joined, file.geometry, (*file.findings, *matching.findings))
    mask = found.label_map(labels, str(path))
    left_out = [segment for segment in matching.strangers if segment.place in file.parts]
    if left_out:
        cause = f"left out {say_segments(left_out)}, which is no structure of the challenge"
        lost = warning(MaskCode.LABEL_UNKNOWN, path, cause, f"name segments {_listed(list(labels))}")
        return Mask(mask.array, mask.geometry, (*mask.findings, lost))
    return mask


def names_segments(path: str | Path) -> bool:
    """Return whether a mask file names its segments.

    Raises
    ------
    MaskError
        When its header cannot be used.
    """
    with open_mask(path) as reader:
        return reader.segments is not None


def holds_nothing(path: str | Path) -> bool:
    """Return whether a mask file has no voxel that is not background.

    Raises
    ------
    MaskError
        When the file cannot be used.
    """
    with open_mask(path) as reader:
        if reader.segments is None:
            return not reader.read().array.any()
        return not any(plane.any() for _, _, plane in reader.planes())


def all_names(
    structures: Collection[str], aliases: Mapping[str, Collection[str]] | None = None
) -> dict[str, list[str]]:
    """Return the names that each structure goes by: its own first."""
    return {name: [name, *(aliases or {}).get(name, ())] for name in structures}


def joined_parts(file: SegmentFile, segments: Collection[Segment]) -> Structure:
    """Return the voxels that any of some segments has."""
    parts = [file.parts[segment.place] for segment in segments if segment.place in file.parts]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Cropper().structure()
    starts = np.min([[side.start for side in part.box] for part in parts], axis=0).tolist()
    stops = np.max([[side.stop for side in part.box] for part in parts], axis=0).tolist()
    whole = np.zeros(np.subtract(stops, starts), dtype=np.uint8)
    for part in parts:
        whole[tuple(slice(side.start - low, side.stop - low) for side, low in zip(part.box, starts, strict=True))] |= (
            part.array
        )
    z, y, x = (slice(low, high) for low, high in zip(starts, stops, strict=True))
    return Structure((z, y, x), whole)


def say_segments(segments: Collection[Segment]) -> str:
    """Return segments in words."""
    words = [repr(segment.name) if segment.name else f"label {segment.label} without a name" for segment in segments]
    return f"the segment{'s' if len(words) > 1 else ''} {_listed(words)}"


def _owners(names: Mapping[str, Collection[str]], form: Callable[[str], str]) -> dict[str, str]:
    """Return the structure that each name means; a name of two structures means none, unless it is one's own."""
    found: dict[str, str] = {}
    for known in (((one, name) for name, own in names.items() for one in own), ((name, name) for name in names)):
        owners: dict[str, set[str]] = defaultdict(set)
        for one, structure in known:
            owners[form(one)].add(structure)
        found |= {one: next(iter(own)) for one, own in owners.items() if len(own) == 1}
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", alike(name)).strip()


def _listed(words: Collection[str]) -> str:
    shown = [printable(word) for word in list(words)[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")
