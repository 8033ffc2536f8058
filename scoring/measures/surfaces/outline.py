"""The surfaces of all structures of a mask, in the two definitions the field uses.

``surfel-area``
    Surface elements on the half-voxel grid, weighted by area in mm² (DeepMind surface-distance; FLARE).
``border-voxel``
    Border voxels under the 6-neighbourhood, each of weight 1 (MedPy, MONAI, MetricsReloaded).

In a plane the surface is a contour: elements weighted by length in mm, border pixels under the 4-neighbourhood.

A structure that leaves the image has no surface where it was cut off, for those who ask without the image's border:
beyond it everything is like the outermost voxels. Of a surface that was traced with background there, only points at
the border change: their neighbours outside become like those inside (:func:`without_border`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures import budget, kernels
from medpodium.scoring.measures.surfaces.points import Codes, Ints, Kind, Points, Spacing, Surface, Volume
from medpodium.scoring.measures.tracing import grouping, search

if TYPE_CHECKING:
    from medpodium.scoring.measures.surfaces.planes import VolumePlanes

_BITS = np.arange(8)
_SIDES: tuple[int, int, int] = (4, 2, 1)
"""Place of a neighbour in a code, counted from the highest bit: 4 for the later slice, 2 for the row, 1 for x."""
_GROUPED = 1 << 24
"""Up to so many points are copied into the order of their structures; noise in a large image has ten times as many."""
_FEW = 1 << 21
"""So many points are always kept; more only where at most every other labelled voxel has one."""
_LONGEST = np.iinfo(np.int16).max - 1
"""Points are stored as int16 up to here: NIfTI-1 allows no longer axis, and half the memory is half the time."""


@dataclass(frozen=True)
class Labels:
    """Where the structures of a mask are, for surfaces of too many points to keep.

    Attributes
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    rows : pair of ndarray of int32, shape (nz, ny)
        What ``kernels.row_extents`` found.
    layers : ndarray of int32, shape (n_layers, n_labels)
        Structure number of each label, from 1.
    z_ranges : ndarray of int64, shape (n_structures, 2)
        Slices each structure is limited to.
    """

    volume: Volume
    rows: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    layers: npt.NDArray[np.int32]
    z_ranges: Ints


@dataclass(frozen=True)
class ScanOrder:
    """Points as they were found, row after row: a copy in the order of the structures would be too large.

    Attributes
    ----------
    counts : ndarray of int32, shape (nz, ny)
        Points in each row.
    along : ndarray of int16 or int32, shape (n,)
        Coordinate ``x`` of each.
    codes : ndarray of uint8, shape (n,)
    owners : ndarray of int16, shape (n,)
        Structure number of each, from 1.
    """

    counts: npt.NDArray[np.int32]
    along: npt.NDArray[Any]
    codes: Codes
    owners: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Surfaces:
    """The surface points of every structure of one mask.

    Attributes
    ----------
    kind
        Which definition of a surface.
    points : ndarray of int16 or int32, shape (n, 3)
        ``(z, y, x)`` of voxel corners (``surfel-area``) or voxels (``border-voxel``), structure after structure.
    codes : ndarray of uint8, shape (n,)
        Neighbour codes of surfels; 0 for border voxels.
    offsets : ndarray of int64, shape (n_structures + 1,)
        Structure ``i`` has the points ``offsets[i]:offsets[i + 1]``.
    spacing_zyx
        Voxel size in mm.
    planar
        Whether these are contours in a plane: every ``z`` is 0.
    found : ScanOrder, optional
        All points, where there are very many; ``points`` are none and ``offsets`` 0 then.
    labels : Labels, optional
        The mask, where its surfaces have too many points to keep: there are none then.
    """

    kind: Kind
    points: Points
    codes: Codes
    offsets: Ints
    spacing_zyx: Spacing
    planar: bool = False
    found: ScanOrder | None = None
    labels: Labels | None = None

    def of(self, structure: int) -> Surface | VolumePlanes:
        """Return the surface of one structure (numbered from 0): its points and codes, or where to find them."""
        if self.labels is not None:
            return self._planes(self.labels, structure)
        if self.found is not None:
            found = self.found
            return Surface(*grouping.points_of(found.counts, found.along, found.codes, found.owners, structure + 1))
        part = slice(self.offsets[structure], self.offsets[structure + 1])
        return Surface(self.points[part], self.codes[part])

    def _planes(self, labels: Labels, structure: int) -> VolumePlanes:
        from medpodium.scoring.measures.surfaces import planes  # only noise needs them

        member = (labels.layers == structure + 1).any(axis=0).astype(np.uint8)
        start, stop = (int(z) for z in labels.z_ranges[structure])
        voxels = planes.structure_box(labels.volume, *labels.rows, member, start, stop)
        return planes.VolumePlanes(labels.volume, member, (start, stop), voxels, self.kind, self.planar)


def find_surfaces(
    volume: Volume,
    layers: npt.NDArray[np.int32],
    n_structures: int,
    spacing_zyx: Sequence[float],
    *,
    kind: Kind = "surfel-area",
    z_ranges: Ints | None = None,
    rows: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None,
    planar: bool = False,
) -> Surfaces:
    """Find the surfaces of all structures of a label volume in one pass.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), C order
    layers : ndarray of int32, shape (n_labels,) or (n_layers, n_labels)
        Structure number (from 1; 0 for none) of each label; several layers where structures share labels.
        ``n_labels`` exceeds the largest label in the volume.
    n_structures
        Number of structures over all layers.
    spacing_zyx
        Voxel size in mm.
    kind
        Which definition of a surface.
    z_ranges : ndarray of int64, shape (n_structures, 2), optional
        Slices ``start <= z < stop`` each structure is limited to, as if the volume ended there.
    rows
        What ``kernels.row_extents`` found, if known already.
    planar
        Whether the volume is a plane, shape (1, ny, nx), whose contours are wanted.

    Returns
    -------
    Surfaces
    """
    volume = frozen(volume)
    if rows is None:
        rows = kernels.row_extents(volume)
    if z_ranges is None:
        z_ranges = np.tile(np.array([0, volume.shape[0]], np.int64), (n_structures, 1))
    like = np.empty((0, 3), np.int16 if max(volume.shape) <= _LONGEST else np.int32)
    find: Any = search.surface_elements if kind == "surfel-area" else search.border_voxels
    most = max(_FEW, int((rows[1] - rows[0]).sum(dtype=np.int64)) // 2)
    layers = np.atleast_2d(layers)
    budget.step()
    first, behind = z_ranges[:, 0].copy(), z_ranges[:, 1].copy()
    *found, whole = find(volume, rows, layers, first, behind, planar, like, most, _FEW // 2)
    sz, sy, sx = (float(s) for s in spacing_zyx)
    none, no_codes, no_offsets = like, np.empty(0, np.uint8), np.zeros(n_structures + 1, np.int64)
    if not whole:
        labels = Labels(volume, rows, layers, z_ranges)
        return Surfaces(kind, none, no_codes, no_offsets, (sz, sy, sx), planar, labels=labels)
    number = len(found[2])
    budget.step(2 * number * (3 * like.itemsize + 3))
    if number > _GROUPED and n_structures > 1:
        return Surfaces(kind, none, no_codes, no_offsets, (sz, sy, sx), planar, ScanOrder(*found))
    points, codes, offsets = grouping.group_by_owner(*found, n_structures)
    return Surfaces(kind, points, codes, offsets, (sz, sy, sx), planar)


def frozen(volume: Volume) -> Volume:
    """Return a read-only C-ordered view, so that kernels compile once for read-only and writable arrays.

    Raises
    ------
    ValueError
        If the volume is not a three-dimensional array of uint8 or uint16.
    """
    if volume.ndim != 3 or volume.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected a 3-D volume of uint8 or uint16, got {volume.ndim}-D {volume.dtype}")
    view: Any = np.ascontiguousarray(volume).view()
    view.flags.writeable = False
    read_only: Volume = view
    return read_only


def without_border(
    surface: Surface | VolumePlanes,
    volume: Volume,
    member: npt.NDArray[np.uint8],
    z_range: tuple[int, int],
    kind: Kind,
    *,
    planar: bool = False,
) -> Surface | VolumePlanes:
    """Return the points of a surface that are left when the image's border is none.

    Parameters
    ----------
    surface : Surface or VolumePlanes
        As traced, with background beyond the border; noise is not kept as points, and stays so.
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx)
        The mask.
    member : ndarray of uint8, shape (n_labels,)
        1 for the labels of the structure.
    z_range : tuple of two int
        Slices the structure is limited to; they end as the image does.
    kind : {"surfel-area", "border-voxel"}
        Which definition of a surface.
    planar : bool
        Whether the volume is a plane.
    """
    if not isinstance(surface, Surface):
        return replace(surface, edge=False)
    low = np.array([z_range[0], 0, 0])
    high = np.array([z_range[1], *volume.shape[1:]])
    if kind == "surfel-area":
        return _recoded(surface, low, high, planar)
    at_border = np.zeros(len(surface.points), np.bool_)
    for axis in range(3):
        along = surface.points[:, axis]
        at_border |= (along == low[axis]) | (along == high[axis] - 1)
    own = surface.points[at_border].astype(np.int64)
    exposed = np.zeros(len(own), np.bool_)
    for axis in (1, 2) if planar else (0, 1, 2):
        for step in (-1, 1):
            beside = own.copy()
            beside[:, axis] += step
            inside = (beside[:, axis] >= low[axis]) & (beside[:, axis] < high[axis])
            beside[~inside] = own[~inside]
            exposed |= member[volume[tuple(beside.T)]] == 0
    keep = ~at_border
    keep[at_border] = exposed
    return Surface(surface.points[keep], surface.codes[keep])


def _recoded(surface: Surface, low: npt.NDArray[Any], high: npt.NDArray[Any], planar: bool) -> Surface:
    """Give corners at the border the code that they have among repeated voxels, and leave out those without surface."""
    points: Points = surface.points
    codes: Codes = surface.codes.copy()
    for axis in (1, 2) if planar else (0, 1, 2):
        side = _SIDES[axis]
        first, last = points[:, axis] == low[axis], points[:, axis] == high[axis]
        codes[first] = _copied(codes[first], side, later=True)
        codes[last] = _copied(codes[last], side, later=False)
    keep = (codes != 0) & (codes != 255)
    return Surface(points[keep], codes[keep])


def _copied(codes: Codes, side: int, *, later: bool) -> Codes:
    """Return codes whose neighbours on one side of an axis are those of the other side."""
    source = _BITS | side if later else _BITS & ~side
    found = np.zeros(len(codes), np.uint8)
    for place, taken in zip(_BITS.tolist(), source.tolist(), strict=True):
        found |= (((codes >> (7 - taken)) & 1) << (7 - place)).astype(np.uint8)
    return found
