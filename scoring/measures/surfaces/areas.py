"""The area of a surface element (in a plane: the length of a contour), from its neighbour code and the spacing.

DeepMind's surface-distance gives every 2x2x2 neighbourhood the triangles that marching cubes would draw, as normal
vectors whose length is the area (in units of the faces of a voxel). Its 256 entries turn out to be equal under all
48 symmetries of the cube and under swapping inside and outside, so one entry for each of fourteen shapes says
everything: the table below gives the absolute components of the normals, in eighths.

What a surface weighs in marked places is a matter of looking them up, even if it is everywhere.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from itertools import permutations, product
from operator import add

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.points import is_inside, is_point

_CORNER = (1, 1, 1)
_SHAPES: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b00000000: (),
    0b00000001: (_CORNER,),
    0b00000011: ((2, 2, 0), (2, 2, 0)),
    0b00000110: (_CORNER, _CORNER),
    0b00000111: ((4, 0, 0), (2, 2, 2), _CORNER),
    0b00001111: ((4, 0, 0), (4, 0, 0)),
    0b00010110: (_CORNER, _CORNER, _CORNER),
    0b00010111: (_CORNER, (2, 2, 2), (2, 2, 2), _CORNER),
    0b00011000: (_CORNER, _CORNER),
    0b00011001: ((0, 2, 2), (0, 2, 2), _CORNER),
    0b00011011: (_CORNER, (3, 3, 3), (0, 2, 2), (2, 0, 2)),
    0b00011110: ((4, 0, 0), _CORNER, (2, 2, 2), _CORNER),
    0b00111100: ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)),
    0b01101001: (_CORNER, _CORNER, _CORNER, _CORNER),
}
"""Normals of each shape: bit 7 is neighbour ``(-1, -1, -1)``, last axis fastest, bit 0 is ``(0, 0, 0)``."""


@lru_cache(maxsize=1)
def _normals() -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Spread the fourteen shapes over all 256 codes by symmetry."""
    table: dict[int, tuple[tuple[int, int, int], ...]] = {}
    for code, normals in _SHAPES.items():
        cube = np.unpackbits(np.array([code], np.uint8)).reshape(2, 2, 2)
        for axes, flips in product(permutations(range(3)), product((slice(None), slice(None, None, -1)), repeat=3)):
            turned = cube.transpose(axes)[flips]
            moved = tuple((n[axes[0]], n[axes[1]], n[axes[2]]) for n in normals)
            for image in (turned, 1 - turned):
                table.setdefault(int(np.packbits(image)[0]), moved)
    return tuple(table[code] for code in range(256))


@lru_cache(maxsize=64)
def surfel_areas(spacing_zyx: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the area of a surface element for every neighbour code.

    Parameters
    ----------
    spacing_zyx
        Voxel size in mm.

    Returns
    -------
    ndarray of float64, shape (256,)
        Areas in mm²; 0 for codes 0 and 255.
    """
    sz, sy, sx = spacing_zyx
    faces = np.array([sy * sx, sz * sx, sz * sy]) / 8
    # one by one: the built-in sum compensates since Python 3.12, and a score must not depend on the interpreter
    areas = np.array([reduce(add, (float(np.linalg.norm(n * faces)) for n in own), 0.0) for own in _normals()])
    areas.flags.writeable = False
    return areas


@lru_cache(maxsize=64)
def contour_lengths(spacing_zyx: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the length of a contour element for every neighbour code of a plane.

    surface-distance's ``create_table_neighbour_code_to_contour_length``: half the diagonal of a pixel where one of the
    four pixels around a corner is alone (twice that where two lie across), else the pixel's side along the contour.

    Parameters
    ----------
    spacing_zyx
        Pixel size in mm; its first entry has no meaning in a plane.

    Returns
    -------
    ndarray of float64, shape (256,)
        Lengths in mm at 17 times the code of the four pixels (see ``search.surface_elements``); 0 elsewhere.
    """
    _, sy, sx = spacing_zyx
    half_diagonal = 0.5 * math.sqrt(sy**2 + sx**2)
    lengths = np.zeros(256)
    for code in range(1, 15):  # bits: (y-1, x-1), (y-1, x), (y, x-1), (y, x)
        along_x, along_y, across = code in (0b0011, 0b1100), code in (0b0101, 0b1010), code in (0b0110, 0b1001)
        lengths[17 * code] = sx if along_x else sy if along_y else 2 * half_diagonal if across else half_diagonal
    lengths.flags.writeable = False
    return lengths


def weights_of(kind: str, spacing_zyx: tuple[float, float, float], planar: bool) -> npt.NDArray[np.float64]:
    """Return what a point of a surface weighs by its code: mm² (``surfel-area``), mm in a plane, or 1."""
    if kind != "surfel-area":
        return ones()
    return contour_lengths(spacing_zyx) if planar else surfel_areas(spacing_zyx)


@lru_cache(maxsize=1)
def ones() -> npt.NDArray[np.float64]:
    """Return weight 1 for every code (border voxels)."""
    weights = np.ones(256)
    weights.flags.writeable = False
    return weights


@part
def _column(volume, member, z, y, x, z_start, z_stop, planar, edge):  # type: ignore[no-untyped-def]
    """Return where a structure is in the four voxels with one ``x`` around a corner: bits 6, 4, 2 and 0."""
    above = z if planar else z - 1
    nz, ny, nx = volume.shape
    if above >= max(z_start, 0) and z < min(z_stop, nz) and 0 < y < ny and 0 <= x < nx:
        first = member[volume[above, y - 1, x]] << 6 | member[volume[above, y, x]] << 4
        return np.int64(first | member[volume[z, y - 1, x]] << 2 | member[volume[z, y, x]])
    column = 0
    for k in range(4):
        own_z = z if k > 1 else above
        column = column << 2 | is_inside(volume, member, own_z, y - 1 + (k & 1), x, z_start, z_stop, edge)
    return column


@kernel
def weight_of_marked(near, corner, weights, volume, member, z_start, z_stop, planar, edge, surfels):  # type: ignore[no-untyped-def]
    """Return the weight of a structure's surface where something is marked: noise is looked at in few places only.

    Parameters
    ----------
    near : ndarray of uint8, shape (nz, ny, nx)
        Non-zero where it is; ``nx`` is a multiple of 8.
    corner : ndarray of int64, shape (3,)
        Where its first corner lies: z, y, x.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0.
    volume, member, z_start, z_stop, planar, edge, surfels
        As for ``nearest.look_around``.
    """
    total = 0.0
    for z in range(near.shape[0]):
        for y in range(near.shape[1]):
            row = near[z, y]
            words = row.view(np.uint64)
            own = 0.0
            known, column = -2, 0  # the column of voxels that was looked at last
            for w in range(words.size):
                if words[w] == 0:
                    continue
                for i in range(8 * w, 8 * w + 8):
                    if row[i] == 0:
                        continue
                    at_z, at_y, at_x = z + corner[0], y + corner[1], i + corner[2]
                    if not surfels:
                        if is_point(volume, member, at_z, at_y, at_x, z_start, z_stop, planar, edge, surfels):
                            own += weights[1]
                        continue
                    if known != i - 1:
                        column = _column(volume, member, at_z, at_y, at_x - 1, z_start, z_stop, planar, edge)
                    before, known = column, i
                    column = _column(volume, member, at_z, at_y, at_x, z_start, z_stop, planar, edge)
                    code = before << 1 | column
                    own += weights[code] if code != 255 else 0.0
            total += own
    return total


@kernel
def weight_of_points(near, corner, weights, points, codes):  # type: ignore[no-untyped-def]
    """Return the weight of those of some points that are marked.

    Parameters
    ----------
    near, corner, weights
        As for :func:`weight_of_marked`.
    points : ndarray of int16 or int32, shape (n, 3)
    codes : ndarray of uint8, shape (n,)
        0 counts as 1.
    """
    nz, ny, nx = near.shape
    total, own, z_before = 0.0, 0.0, -1
    for i in range(points.shape[0]):
        z, y, x = points[i, 0] - corner[0], points[i, 1] - corner[1], points[i, 2] - corner[2]
        if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx and near[z, y, x] != 0:
            if z != z_before:  # slice by slice: a sum of millions rounds more than sums of sums
                total, own, z_before = total + own, 0.0, z
            own += weights[max(codes[i], 1)]
    return total + own
