"""Surfaces without the image's border: beyond it everything is like the outermost voxels.

A structure that leaves the image has no surface where it was cut off. Of a surface that was traced with background
beyond the border, only points at the border change: their neighbours outside become like those inside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.surfaces.points import Codes, Kind, Points, Surface, Volume

if TYPE_CHECKING:
    from medpodium.scoring.measures.surfaces.planes import VolumePlanes

_BITS = np.arange(8)
_SIDES: tuple[int, int, int] = (4, 2, 1)
"""Place of a neighbour in a code, counted from the highest bit: 4 for the later slice, 2 for the row, 1 for x."""


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
