"""Cases stored as one file per structure, where structures may overlap.

A label map cannot hold two structures in one voxel, so such a case is a :class:`StructureSet`: one binary array
per structure, cropped to what it contains. It becomes a label map only on request, and then says what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, MedpodiumError, has_errors
from medpodium.scoring.masks.codes import MaskCode, MaskError, finding, printable, warning
from medpodium.scoring.masks.geometry import Geometry, compare_geometry
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ReadLimits
from medpodium.scoring.masks.reader import Mask, MaskReader, open_mask
from medpodium.scoring.measures.boxes import Box

Binary = npt.NDArray[np.uint8]
_WHITE = 255
"""What marks a structure in a picture, by custom."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One binary structure, cropped to its bounding box.

    Parameters
    ----------
    box : tuple of slice
        Where the crop lies in the volume, axes (z, y, x); empty slices for an empty structure.
    array : ndarray of uint8, shape (z, y, x)
        0 or 1 within the box.
    """

    box: Box
    array: Binary


@dataclass(frozen=True, eq=False)
class StructureSet:
    """Structures of one case, on one grid, free to overlap.

    Parameters
    ----------
    structures : dict of str to Structure
        In the order they were asked for.
    geometry : Geometry
        Grid of all of them.
    findings : tuple of Finding
        What was odd but usable, and why the unusable ones are.
    unusable : dict of str to str
        Structures whose own file cannot be used, and the code of the first reason.
    """

    structures: dict[str, Structure]
    geometry: Geometry
    findings: tuple[Finding, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)

    def full(self, name: str) -> Binary:
        """Return one structure as a 0/1 array of the whole volume, shape (z, y, x)."""
        array = np.zeros(self.geometry.shape_zyx, dtype=np.uint8)
        array[self.structures[name].box] = self.structures[name].array
        return array

    def overlaps(self) -> dict[tuple[str, str], int]:
        """Return the number of shared voxels of every pair of structures that shares any."""
        shared = {}
        for (name, one), (other_name, other) in combinations(self.structures.items(), 2):
            count = _shared_voxels(one, other)
            if count:
                shared[name, other_name] = count
        return shared

    def label_map(self, labels: Mapping[str, int], where: str = "") -> Mask:
        """Paint the structures into one label map; where two overlap, the one later in the set wins.

        Parameters
        ----------
        labels : mapping of str to int
            Label of each structure, 1 to 65535.
        where : str
            Case the findings are about.

        Returns
        -------
        Mask
            With one ``mask-structures-overlap`` warning per overlapping pair.
        """
        top = max((labels[name] for name in self.structures), default=0)
        array = np.zeros(self.geometry.shape_zyx, dtype=np.uint8 if top <= 255 else np.uint16)
        for name, structure in self.structures.items():
            array[structure.box][structure.array > 0] = labels[name]
        lost = tuple(
            warning(
                MaskCode.STRUCTURES_OVERLAP,
                where,
                f"{name!r} and {other!r} share {count} voxels; in the label map they belong to {other!r}",
                "score the structures separately, or write them without overlap",
            )
            for (name, other), count in self.overlaps().items()
        )
        return Mask(array, self.geometry, (*self.findings, *lost))


Compare = Callable[[Geometry, Geometry, str], list[Finding]]
"""How the grid of a file (the second one) differs from the grid it should have; named in findings as the third."""


def read_structures(
    paths: Mapping[str, Path],
    *,
    limits: ReadLimits = DEFAULT_LIMITS,
    like: Geometry | None = None,
    compare: Compare | None = None,
) -> StructureSet:
    """Read one binary file per structure (TotalSegmentator's way), one at a time.

    A file that cannot be used costs its own structure only.

    Parameters
    ----------
    paths : mapping of str to Path
        File of each structure.
    limits : ReadLimits
        How much is read at most, per file.
    like : Geometry, optional
        The grid the files should have; the first file's own when left out. Another shape is refused before voxels
        are read.
    compare : callable, optional
        How grids are compared; in full, with the usual tolerance, when left out.

    Raises
    ------
    MaskError
        When no file can be used at all; with the findings of all of them.
    """
    structures: dict[str, Structure] = {}
    findings: list[Finding] = []
    unusable: dict[str, str] = {}
    geometry = like
    for name, path in paths.items():
        own: list[Finding] = []
        try:
            with open_mask(path, limits=limits) as reader:
                reader.refuse_unlike(like)
                if geometry is not None:
                    own += (compare or _in_full)(geometry, reader.geometry, printable(path))
                if not has_errors(own):
                    found = _read_cropped(reader, path, own)
                    own += reader.findings
        except MedpodiumError as error:
            own += error.findings
        if has_errors(own):
            unusable[name] = next(str(one.code) for one in own if has_errors([one]))
        else:
            structures[name] = found
            geometry = geometry or reader.geometry
        findings += own
    if geometry is None or not structures:
        raise MaskError(*findings)
    return StructureSet(structures, geometry, tuple(findings), unusable)


def _in_full(expected: Geometry, own: Geometry, where: str) -> list[Finding]:
    return compare_geometry(expected, own, where=where)


class Cropper:
    """Collects the slices of one structure, in any order, and keeps of each only what is not empty."""

    def __init__(self) -> None:
        self._slices: dict[int, tuple[int, int, Binary]] = {}

    def add(self, z: int, plane: npt.NDArray[np.bool_]) -> None:
        """Add a slice, shape (y, x)."""
        rows = np.flatnonzero(plane.any(axis=1))
        if not rows.size:
            return
        band = plane[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(band.any(axis=0))
        y, x = int(rows[0]), int(columns[0])
        self._slices[z] = (y, x, band[:, x : columns[-1] + 1].astype(np.uint8))

    def structure(self) -> Structure:
        """Return what was collected, cropped to its box."""
        if not self._slices:
            return Structure((slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=np.uint8))
        corners = [(y, x, y + part.shape[0], x + part.shape[1]) for y, x, part in self._slices.values()]
        (y0, x0, _, _), (_, _, y1, x1) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
        z0, z1 = min(self._slices), max(self._slices) + 1
        array = np.zeros((z1 - z0, y1 - y0, x1 - x0), dtype=np.uint8)
        for z, (y, x, part) in self._slices.items():
            array[z - z0, y - y0 : y - y0 + part.shape[0], x - x0 : x - x0 + part.shape[1]] = part
        return Structure((slice(z0, z1), slice(y0, y1), slice(x0, x1)), array)


def _read_cropped(reader: MaskReader, path: Path, findings: list[Finding]) -> Structure:
    """Keep only the slices that hold something, then crop them."""
    kept = Cropper()
    values: set[int] = set()
    if reader.segments is not None:  # the file's name says the structure, whatever its only segment is called
        return _only_segment(reader, path, findings)
    for z, slab in reader.slabs(1):
        if slab.any():
            kept.add(z, slab[0] > 0)
            values |= {int(slab[slab > 0].min()), int(slab.max())}
    if len(values) > 1:
        findings.append(
            finding(
                MaskCode.STRUCTURE_NOT_BINARY,
                path,
                f"holds several labels ({min(values)} to {max(values)}), a file per structure holds one",
                "save 0 and 1, or give the label map as one file",
            )
        )
    elif values and values != {1} and not (values == {_WHITE} and not reader.geometry.spaced):
        findings.append(
            warning(
                MaskCode.STRUCTURE_NOT_BINARY,
                path,
                f"marks the structure by {values.copy().pop()} instead of 1",
                "save 0 and 1; it was read as 1",
            )
        )
    return kept.structure()


def _only_segment(reader: MaskReader, path: Path, findings: list[Finding]) -> Structure:
    kept = Cropper()
    places: set[tuple[int, int]] = set()
    for layer, z, plane in reader.planes():
        if plane.any():
            kept.add(z, plane > 0)
            places |= {(layer, int(plane[plane > 0].min())), (layer, int(plane.max()))}
    if len(places) > 1:
        cause = f"holds several of its {len(reader.segments or ())} segments, a file per structure holds one"
        fix = "save each segment to its own file, or give all of them as one file per case"
        findings.append(finding(MaskCode.STRUCTURE_NOT_BINARY, path, cause, fix))
    return kept.structure()


def _shared_voxels(one: Structure, other: Structure) -> int:
    meet = [
        slice(max(a.start, b.start), max(min(a.stop, b.stop), max(a.start, b.start)))
        for a, b in zip(one.box, other.box, strict=True)
    ]

    def within(structure: Structure) -> Binary:
        z, y, x = (
            slice(common.start - own.start, common.stop - own.start)
            for common, own in zip(meet, structure.box, strict=True)
        )
        return structure.array[z, y, x]

    if any(common.start >= common.stop for common in meet):
        return 0
    return int(np.count_nonzero(within(one) & within(other)))
