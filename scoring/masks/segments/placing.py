"""Where the voxels of one grid lie in another one, where every voxel of it is a voxel there.

Segmentations of 3D Slicer and DICOM may hold the part of an image that is not empty, and store its axes in another
order or direction than a NIfTI file of the same image does. Nothing is resampled here: either each voxel has its
counterpart, or the grids are different ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from medpodium.scoring.masks.geometry import DEFAULT_TOLERANCE, Geometry, GeometryTolerance

_Voxels = TypeVar("_Voxels", bound=npt.NDArray[Any])
_DRIFT = 1e-4
"""Share of the distance between two corners by which rounded spacings may move one of them."""
MOST_VOXELS = 1 << 28
"""A grid that holds two others may have so many voxels, or four times as many as both, whichever is more."""


@dataclass(frozen=True)
class Placement:
    """How a grid lies in another one; all in the order x, y, z.

    Parameters
    ----------
    order : tuple of int
        The own axis that runs along each axis of the other grid.
    reverse : tuple of bool
        Whether it runs the other way.
    start : tuple of int
        Where the first voxel is, once the axes are in that order and direction; may be negative.
    size : tuple of int
        Number of voxels along the other grid's axes.
    """

    order: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    start: tuple[int, int, int]
    size: tuple[int, int, int]

    def inside(self, grid: Geometry) -> bool:
        """Return whether all voxels lie in a grid."""
        ends = (first + count for first, count in zip(self.start, self.size, strict=True))
        return min(self.start) >= 0 and all(end <= size for end, size in zip(ends, grid.shape_xyz, strict=True))

    @property
    def reordered(self) -> bool:
        """Whether axes are in another order or direction."""
        return self.order != (0, 1, 2) or any(self.reverse)

    def put(self, array: _Voxels, grid: Geometry) -> _Voxels:
        """Return an array of the own grid, shape (z, y, x), as one of the other grid, zero where there is nothing."""
        turned = array.transpose([2 - axis for axis in reversed(self.order)])
        turned = np.flip(turned, tuple(2 - axis for axis, flipped in enumerate(self.reverse) if flipped))
        placed: Any = np.zeros(grid.shape_zyx, dtype=array.dtype)
        box = tuple(slice(first, first + size) for first, size in zip(reversed(self.start), turned.shape, strict=True))
        placed[box] = turned
        return cast("_Voxels", placed)


def placement(grid: Geometry, own: Geometry, tolerance: GeometryTolerance) -> Placement | None:
    """Return how a grid lies in another one, or ``None`` where its voxels are not voxels of that one.

    Parameters
    ----------
    grid : Geometry
        The other grid; it may be smaller.
    own : Geometry
        The grid to be placed.
    tolerance : GeometryTolerance
        How far spacing, direction and position may be off.
    """
    if not (grid.oriented and own.oriented) or grid.planar or own.planar:
        return None
    axes = grid.affine_lps[:3, :3]
    steps = np.linalg.solve(axes, own.affine_lps[:3, :3])
    whole = np.rint(steps)
    off = np.abs(steps - whole).max()
    if off > max(tolerance.spacing_relative, tolerance.direction) or not _reorders(whole):
        return None
    order = np.abs(whole).argmax(axis=1)
    reverse = whole.sum(axis=1) < 0
    size = np.array(own.shape_xyz)[order]
    first = np.linalg.solve(axes, np.subtract(own.origin_xyz, grid.origin_xyz))
    nearest = np.rint(first)
    distance = float(np.linalg.norm(axes @ nearest)) + float(np.linalg.norm(size * grid.spacing_xyz))
    if np.abs(axes @ (first - nearest)).max() > tolerance.origin_mm + _DRIFT * distance:
        return None
    start = nearest - np.where(reverse, size - 1, 0)
    return Placement(_three(order), tuple(bool(one) for one in reverse), _three(start), _three(size))  # type: ignore[arg-type]


def inside(grid: Geometry, own: Geometry) -> bool:
    """Return whether all voxels of a grid are voxels of another one, by the usual tolerance."""
    place = placement(grid, own, DEFAULT_TOLERANCE)
    return place is not None and place.inside(grid)


def put(array: _Voxels, own: Geometry, grid: Geometry) -> _Voxels:
    """Return an array (z, y, x) of a grid as one of another grid that holds it.

    Raises
    ------
    ValueError
        If that one does not hold it.
    """
    place = placement(grid, own, DEFAULT_TOLERANCE)
    if place is None or not place.inside(grid):
        raise ValueError("the grid does not lie in the other one")
    return place.put(array, grid)


def around(grid: Geometry, place: Placement) -> tuple[Placement, Geometry] | None:
    """Return the smallest grid that holds a grid and what is placed in it, and the place there.

    ``None`` where it would be too large.
    """
    low = np.minimum(0, place.start)
    high = np.maximum(grid.shape_xyz, np.add(place.start, place.size))
    size = _three(high - low)
    both = np.prod(grid.shape_xyz, dtype=float) + np.prod(place.size, dtype=float)
    if np.prod(size, dtype=float) > max(MOST_VOXELS, 4 * both):
        return None
    x, y, z = (float(value) for value in (grid.affine_lps @ [*low, 1.0])[:3])
    larger = replace(grid, shape_zyx=(size[2], size[1], size[0]), origin_xyz=(x, y, z))
    return replace(place, start=_three(place.start - low)), larger


def _reorders(matrix: npt.NDArray[np.float64]) -> bool:
    """Return whether a matrix of whole numbers has a single 1 or -1 in every row and column."""
    ones = np.abs(matrix)
    return bool((ones.sum(axis=0) == 1).all() and (ones.sum(axis=1) == 1).all() and ones.max() == 1)


def _three(values: npt.ArrayLike) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in np.asarray(values))
    return x, y, z
