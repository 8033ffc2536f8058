"""What the points of a surface are made of, and whether there is one at a place."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part

Volume: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"
Kind = Literal["surfel-area", "border-voxel"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Points: TypeAlias = "npt.NDArray[np.int16] | npt.NDArray[np.int32]"
Codes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Spacing = tuple[float, float, float]


class Surface(NamedTuple):
    """The surface points of one structure, ``(z, y, x)`` of shape (n, 3), and their codes, shape (n,)."""

    points: Points
    codes: Codes


_PATIENCE = 32
"""Places that are looked at per point until a surface that is said to be everywhere is not."""


@part
def is_inside(volume, member, z, y, x, z_start, z_stop, edge):  # type: ignore[no-untyped-def]
    """Tell whether a voxel is in a structure; beyond it as in ``planes.surfel_codes``."""
    nz, ny, nx = volume.shape
    if not edge:
        z, y, x = min(max(z, max(z_start, 0)), min(z_stop, nz) - 1), min(max(y, 0), ny - 1), min(max(x, 0), nx - 1)
    elif z < max(z_start, 0) or z >= min(z_stop, nz) or y < 0 or y >= ny or x < 0 or x >= nx:
        return False
    return member[volume[z, y, x]] != 0


@part
def is_point(volume, member, z, y, x, z_start, z_stop, planar, edge, surfels):  # type: ignore[no-untyped-def]
    """Tell whether a structure's surface has a point there, as ``planes.surfel_codes`` or ``border_codes`` does."""
    if surfels:
        first = is_inside(volume, member, z, y, x, z_start, z_stop, edge)
        for k in range(4 if planar else 8):
            own = is_inside(volume, member, z - (k >> 2), y - (k >> 1 & 1), x - (k & 1), z_start, z_stop, edge)
            if own != first:
                return True
        return False
    if not is_inside(volume, member, z, y, x, z_start, z_stop, edge):
        return False
    for step in (-1, 1):
        if not is_inside(volume, member, z, y, x + step, z_start, z_stop, edge):
            return True
        if not is_inside(volume, member, z, y + step, x, z_start, z_stop, edge):
            return True
        if not planar and not is_inside(volume, member, z + step, y, x, z_start, z_stop, edge):
            return True
    return False


@kernel
def look_around(points, steps, low, high, volume, member, z_start, z_stop, planar, edge, surfels):  # type: ignore[no-untyped-def]
    """Look for the first of some steps from each point that leads to a structure's surface.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3)
    steps : ndarray of int64, shape (k, 3)
        Offsets, the nearest first.
    low, high : ndarray of int64, shape (3,)
        The box that holds the surface.
    volume, member, z_start, z_stop, planar, edge
        As for ``planes.surfel_codes``.
    surfels : bool
        Whether the surface is made of surface elements, else of border voxels.

    Returns
    -------
    ndarray of int64, shape (n,)
        Numbers of steps; -1 for none, and for all points from where the search turned out to be long.
    """
    found = np.full(points.shape[0], -1)
    looked = 0
    for i in range(points.shape[0]):
        if looked > _PATIENCE * (i + _PATIENCE):
            break
        for k in range(steps.shape[0]):
            looked += 1
            z, y, x = points[i, 0] + steps[k, 0], points[i, 1] + steps[k, 1], points[i, 2] + steps[k, 2]
            if not (low[0] <= z < high[0] and low[1] <= y < high[1] and low[2] <= x < high[2]):
                continue
            if is_point(volume, member, z, y, x, z_start, z_stop, planar, edge, surfels):
                found[i] = k
                break
    return found
