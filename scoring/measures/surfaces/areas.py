"""The area of a surface element (in a plane: the length of a contour), from its neighbour code and the spacing.

DeepMind's surface-distance gives every 2x2x2 neighbourhood the triangles that marching cubes would draw, as normal
vectors whose length is the area (in units of the faces of a voxel). Its 256 entries turn out to be equal under all
48 symmetries of the cube and under swapping inside and outside, so one entry for each of fourteen shapes says
everything: the table below gives the absolute components of the normals, in eighths.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from itertools import permutations, product
from operator import add

import numpy as np
import numpy.typing as npt

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
        Lengths in mm at 17 times the code of the four pixels (see ``tracing.surface_elements``); 0 elsewhere.
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
