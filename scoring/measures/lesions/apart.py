"""Surfaces of single lesions and of what they are matched to, each pair taken out of its masks.

There may be hundreds of pairs of a few voxels each, so a call per pair would cost more than its voxels do. Pairs are
laid side by side in one small volume, with a number of their own and background between them, and all of their surfaces
are found at once. Nothing of a pair depends on where it lies, so the distances are those of the pair alone.

What is large may be the match of many: a prediction of noise is one component that every lesion meets. Its surface is
found once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from medpodium.scoring.measures.components.joined import Components, Counts
from medpodium.scoring.measures.lesions.matching import Matched
from medpodium.scoring.measures.surfaces.distances import SurfaceDistances, distances, kept
from medpodium.scoring.measures.surfaces.outline import find_surfaces
from medpodium.scoring.measures.surfaces.points import Kind, Spacing, Surface

if TYPE_CHECKING:
    from medpodium.scoring.measures.surfaces.planes import VolumePlanes

_NUMBERS = 255
"""Pairs in one volume: as many as a byte can tell apart."""
_VOXELS = 1 << 18
"""Voxels of a volume that holds several pairs; a large one has a volume of its own."""


def distances_apart(
    matched: Matched, lesions: Counts, spacing_zyx: Spacing, kind: Kind, *, planar: bool
) -> Iterator[SurfaceDistances]:
    """Yield the distances between reference lesions and what they are matched to, nothing else being near.

    Parameters
    ----------
    matched : Matched
        Which lesions belong together.
    lesions : ndarray of int64, shape (n,)
        Reference lesions, ascending, each with a match.
    spacing_zyx : tuple of float
        Voxel size in mm.
    kind : {"surfel-area", "border-voxel"}
        What a surface is made of.
    planar : bool
        Whether they are measured in the plane.

    Yields
    ------
    SurfaceDistances
        One for each lesion.
    """
    if not lesions.size:
        return
    wanted = np.zeros(matched.reference.sizes.size, np.bool_)
    wanted[lesions] = True
    partners, owners = (each[wanted[matched.rows]] for each in (matched.columns, matched.rows))
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    own, other = matched.reference.boxes[lesions], matched.prediction.boxes[partners]
    low = np.minimum(own[:, :3], np.minimum.reduceat(other[:, :3], first)).astype(np.int64)
    sides = np.maximum(own[:, 3:], np.maximum.reduceat(other[:, 3:], first)) - low
    first = np.append(first, partners.size)
    large = _Large(matched, spacing_zyx, kind, planar)
    table = np.arange(_NUMBERS + 1, dtype=np.int32)[None]
    for start, stop in _volumes(sides):
        number = stop - start
        if number == 1 and sides[start].prod() > _VOXELS:
            yield large.pair(lesions[start : start + 1], partners[first[start] : first[start + 1]])
            continue
        (nz, _, nx), ny = sides[start:stop].max(axis=0), sides[start:stop, 1]
        places = np.cumsum(ny + 1) - (ny + 1)
        shifts = -low[start:stop]
        shifts[:, 1] += places
        marks = np.arange(1, number + 1)
        both = np.zeros((2, nz, int(ny.sum()) + number - 1, nx), np.uint8)
        matched.reference.paint(lesions[start:stop], marks, shifts, both[0])
        times = np.diff(first[start : stop + 1])
        theirs = partners[first[start] : first[stop]]
        matched.prediction.paint(theirs, np.repeat(marks, times), np.repeat(shifts, times, axis=0), both[1])
        surfaces = [find_surfaces(one, table, _NUMBERS, spacing_zyx, kind=kind, planar=planar) for one in both]
        for one in range(number):
            yield distances(surfaces[0], surfaces[1], one)


class _Large:
    """Distances of pairs that have volumes of their own; keeps the surface of the last match."""

    def __init__(self, matched: Matched, spacing_zyx: Spacing, kind: Kind, planar: bool) -> None:
        self._matched, self._spacing, self._kind, self._planar = matched, spacing_zyx, kind, planar
        self._partners: Counts = np.zeros(0, np.int64)
        self._known: tuple[Surface | VolumePlanes, Counts] | None = None

    def pair(self, lesion: Counts, partners: Counts) -> SurfaceDistances:
        """Return the distances between a lesion and what it is matched to."""
        if self._known is None or not np.array_equal(partners, self._partners):
            self._known = self._surface(self._matched.prediction, partners)
            self._partners = partners
        theirs, corner = self._known
        own, low = self._surface(self._matched.reference, lesion)
        own = kept(own)
        moved = Surface((own.points + (low - corner)).astype(np.int32), own.codes)
        return SurfaceDistances(moved, theirs, self._spacing, self._kind, planar=self._planar)

    def _surface(self, components: Components, wanted: Counts) -> tuple[Surface | VolumePlanes, Counts]:
        """Return the surface of some components and where the first corner of their box lies."""
        boxes = components.boxes[wanted].astype(np.int64)
        low, high = boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)
        volume = np.zeros(high - low, np.uint8)
        marks = np.ones(wanted.size, np.int64)
        components.paint(wanted, marks, np.tile(-low, (wanted.size, 1)), volume)
        table = np.array([[0, 1]], np.int32)
        return find_surfaces(volume, table, 1, self._spacing, kind=self._kind, planar=self._planar).of(0), low


def _volumes(sides: Counts) -> Iterator[tuple[int, int]]:
    """Yield from which pair to which one, not included, a volume goes; sides are those of the pairs, shape (n, 3)."""
    start, length, nz, nx = 0, 0, 0, 0
    for place, (z, y, x) in enumerate(sides.tolist()):
        nz, nx, longer = max(nz, z), max(nx, x), length + y + 1
        if place > start and (place - start == _NUMBERS or nz * longer * nx > _VOXELS):
            yield start, place
            start, nz, nx, longer = place, z, x, y + 1
        length = longer
    yield start, len(sides)
