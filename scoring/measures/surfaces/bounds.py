"""Bounds of the distances in a block from what is nearest to its corners, and who is nearest where they do not decide.

The squared distance to the nearest of some points, less the square of the place, is a minimum of linear functions and
so concave. Between the corners of a block it is no less than what they give by interpolation, and no more than the
distance to whatever is nearest to one of them. Far from a surface both differ by hundredths of a millimetre. Where all
corners have the same nearest point it is that of the whole block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.points import Floats, Ints

SIDE = 8
"""Corners of a block along the axis of the smallest voxels; about as many mm along the others."""
SLACK = 1e-9
"""Relative size of what rounding could do to a distance, and to a share of the weight."""


@dataclass(frozen=True, eq=False)
class Corners:
    """What is nearest to the corners of blocks.

    Attributes
    ----------
    squares : ndarray of float64, shape (nz + 1, ny + 1, nx + 1)
        Squared distances in mm².
    nearest : ndarray of int32, shape (nz + 1, ny + 1, nx + 1, 3)
        Coordinates z, y, x.
    low, sides : ndarray of int64, shape (3,)
        The first corner of the first block, and how long blocks are: z, y, x.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.
    """

    squares: Floats
    nearest: npt.NDArray[np.int32]
    low: Ints
    sides: Ints
    spacing: Floats

    @property
    def all(self) -> tuple[Any, ...]:
        """Everything, as the kernels take it."""
        return self.squares, self.nearest, self.low, self.sides, self.spacing


@part
def _distinct(nearest, z, y, x, found):  # type: ignore[no-untyped-def]
    """Write what is nearest to the corners of a block, each once, and return how many there are."""
    n = 0
    for k in range(8):
        a, b, c = z + (k >> 2), y + (k >> 1 & 1), x + (k & 1)
        of_z, of_y, of_x = nearest[a, b, c, 0], nearest[a, b, c, 1], nearest[a, b, c, 2]
        new = True
        for j in range(n):
            new &= found[j, 0] != of_z or found[j, 1] != of_y or found[j, 2] != of_x
        if new:
            found[n, 0], found[n, 1], found[n, 2] = of_z, of_y, of_x
            n += 1
    return n


@kernel
def ranges(squares, nearest, low, sides, spacing):  # type: ignore[no-untyped-def]
    """Return bounds of the squared distances in every block; see :class:`Corners` for the arguments."""
    nz, ny, nx = squares.shape[0] - 1, squares.shape[1] - 1, squares.shape[2] - 1
    lows, highs = np.empty((nz, ny, nx)), np.empty((nz, ny, nx))
    bend = 0.0
    for axis in range(3):
        bend += 0.25 * (sides[axis] * spacing[axis]) ** 2
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                least = np.inf
                own = nearest[z, y, x]
                for k in range(8):
                    at_z, at_y, at_x = z + (k >> 2), y + (k >> 1 & 1), x + (k & 1)
                    if squares[at_z, at_y, at_x] < least:
                        least = squares[at_z, at_y, at_x]
                        own = nearest[at_z, at_y, at_x]
                most = 0.0
                for axis in range(3):
                    at = z if axis == 0 else y if axis == 1 else x
                    first = low[axis] + at * sides[axis] - own[axis]
                    away = max(abs(first), abs(first + sides[axis])) * spacing[axis]
                    most += away * away
                lows[z, y, x] = max(least * (1 - SLACK) - bend * (1 + SLACK), 0.0)
                highs[z, y, x] = most * (1 + SLACK)
    return lows, highs


@part
def _along_x(x, side, found, n_found, spacing, squares_x, share, bend_x):  # type: ignore[no-untyped-def]
    """Write what the bounds of a row's points need of x alone: the row begins at ``x``, and so does its block."""
    along = (side * spacing) ** 2
    for i in range(SIDE):
        share[i] = i / side
        bend_x[i] = share[i] * (1 - share[i]) * along
    for k in range(n_found):
        for i in range(SIDE):
            away = (x + i - found[k, 2]) * spacing
            squares_x[k, i] = away * away


@part
def _row_bounds(z, y, squares, at, sides, first, found, n_found, spacing, squares_x, share, bend_x, lows, highs):  # type: ignore[no-untyped-def]
    """Write bounds of the squared distances of a row ``z, y`` of the block ``at``, whose first corner is ``first``.

    ``found`` is what is nearest to the block's corners; the rest is from :func:`_along_x`.
    """
    for k in range(n_found):
        dz, dy = (z - found[k, 0]) * spacing[0], (y - found[k, 1]) * spacing[1]
        beside = dz * dz + dy * dy
        if k == 0:
            for i in range(SIDE):
                highs[i] = beside + squares_x[0, i]
            continue
        for i in range(SIDE):
            square = beside + squares_x[k, i]
            highs[i] = square if square < highs[i] else highs[i]
    if n_found == 1:
        for i in range(SIDE):
            lows[i] = highs[i]
        return
    v, w = (z - first[0]) / sides[0], (y - first[1]) / sides[1]
    a, b, c = at[0], at[1], at[2]
    of_first, of_second, of_third, of_last = (1 - v) * (1 - w), (1 - v) * w, v * (1 - w), v * w
    left = of_first * squares[a, b, c] + of_second * squares[a, b + 1, c]
    left += of_third * squares[a + 1, b, c] + of_last * squares[a + 1, b + 1, c]
    right = of_first * squares[a, b, c + 1] + of_second * squares[a, b + 1, c + 1]
    right += of_third * squares[a + 1, b, c + 1] + of_last * squares[a + 1, b + 1, c + 1]
    bend = v * (1 - v) * (sides[0] * spacing[0]) ** 2 + w * (1 - w) * (sides[1] * spacing[1]) ** 2
    bend += SLACK * (left + right + bend + (sides[2] * spacing[2]) ** 2)
    for i in range(SIDE):
        lows[i] = left + share[i] * (right - left) - bend - bend_x[i]


@part
def _codes_of(codes, z, y, x, n, row):  # type: ignore[no-untyped-def]
    """Copy the codes of a block's row, and tell whether there is any; 0 beyond the surface."""
    some = 0
    for i in range(SIDE):
        row[i] = 0
    for i in range(n):
        row[i] = codes[z, y, x + i]
        some |= row[i]
    return some != 0


@kernel
def add_bounds(codes, z, chosen, squares, nearest, low, sides, spacing, weights, begin, scale, lows_of, highs_of):  # type: ignore[no-untyped-def]
    """Add the weights of the points in some blocks of a layer to bins of their bounds.

    Parameters
    ----------
    codes : ndarray of uint8, shape (side, ny, nx)
        Codes of the layer, as far as the surface goes.
    z : int
        Number of the layer.
    chosen : ndarray of bool, shape (nz, ny, nx)
        Which blocks.
    squares, nearest, low, sides, spacing
        See :class:`Corners`.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0.
    begin, scale : float
        A square has the bin ``(square - begin) * scale``, the first where it is less, the last where it is more.
    lows_of, highs_of : ndarray of float64, shape (n_bins,)
        Get the weights by the lower and the upper bound.
    """
    found = np.empty((8, 3), np.int64)
    at, first = np.empty(3, np.int64), np.empty(3, np.int64)
    lows, highs, squares_x = np.empty(SIDE), np.empty(SIDE), np.empty((8, SIDE))
    share, bend_x, row = np.empty(SIDE), np.empty(SIDE), np.empty(SIDE, np.uint8)
    last = lows_of.size - 1.0
    at[0], first[0] = z, low[0] + z * sides[0]
    for y in range(chosen.shape[1]):
        for x in range(chosen.shape[2]):
            if not chosen[z, y, x]:
                continue
            at[1], at[2], first[1], first[2] = y, x, low[1] + y * sides[1], low[2] + x * sides[2]
            n_found = _distinct(nearest, z, y, x, found)
            n = min(sides[2], codes.shape[2] - x * sides[2])
            _along_x(first[2], sides[2], found, n_found, spacing[2], squares_x, share, bend_x)
            for dz in range(codes.shape[0]):
                for row_y in range(y * sides[1], min((y + 1) * sides[1], codes.shape[1])):
                    if not _codes_of(codes, dz, row_y, x * sides[2], n, row):
                        continue
                    _row_bounds(
                        first[0] + dz, low[1] + row_y, squares, at, sides, first, found, n_found, spacing, squares_x,
                        share, bend_x, lows, highs,
                    )  # fmt: skip
                    for i in range(SIDE):
                        highs[i] = min(max((highs[i] - begin) * scale, 0.0), last)
                        lows[i] = min(max((lows[i] - begin) * scale, 0.0), last)
                    for i in range(n):
                        weight = weights[row[i]]
                        highs_of[np.uint32(highs[i])] += weight
                        lows_of[np.uint32(lows[i])] += weight


@part
def _square(dz, dy, dx, x_fastest):  # type: ignore[no-untyped-def]
    return (dx * dx + dy * dy) + dz * dz if x_fastest else (dz * dz + dy * dy) + dx * dx


@part
def _apart(boxes, tile, first, sides, spacing):  # type: ignore[no-untyped-def]
    """Return the squared distance between the box of a tile (low and high z, y, x) and a block."""
    square = 0.0
    for axis in range(3):
        away = max(boxes[axis, tile] - (first[axis] + sides[axis]), first[axis] - boxes[3 + axis, tile], 0.0)
        square += (away * spacing[axis]) ** 2
    return square


@part
def _may_be_nearest(points, i, first, sides, found, n_found, spacing):  # type: ignore[no-untyped-def]
    """Tell whether a point is nearer to some place in a block than every one of those found for its corners.

    How much nearer, in squares, is a linear function of the place: at the middle, and what half a side adds.
    """
    for k in range(n_found):
        gain = 0.0
        for axis in range(3):
            middle, step = first[axis] + 0.5 * sides[axis], spacing[axis]
            apart = found[k, axis] - points[i, axis]
            gain += apart * ((found[k, axis] - middle) + (points[i, axis] - middle)) * step * step
            gain += abs(apart) * sides[axis] * step * step
        if gain <= 0.0:
            return False
    return True


@kernel
def collect(  # type: ignore[no-untyped-def]
    codes, z, chosen, squares, nearest, low, sides, spacing, weights, least, most, points, starts, boxes, x_fastest,
    patience, values, parts,
):  # fmt: skip
    """Find the distances of the points in some blocks of a layer that may lie between two.

    Parameters
    ----------
    codes, z, chosen, squares, nearest, low, sides, spacing, weights
        As for :func:`add_bounds`.
    least, most : float
        The squares of both.
    points, starts, boxes
        The other surface, sorted into tiles (``nearest.tiles``).
    x_fastest : bool
        Whether squares are added up from x to z (axis order ``xyz``), else from z to x.
    patience : int
        So many pairs of points may be compared.
    values, parts : ndarray of float64
        Get the distance in mm and the weight of every point.

    Returns
    -------
    n, compared : int
        How many were written, and how many pairs were compared; more than ``patience`` where it was given up.
    below : float
        Weight of the points that are nearer for sure.
    """
    found = np.empty((8, 3), np.int64)
    at, first = np.empty(3, np.int64), np.empty(3, np.int64)
    lows, highs, squares_x = np.empty(SIDE), np.empty(SIDE), np.empty((8, SIDE))
    share, bend_x, row = np.empty(SIDE), np.empty(SIDE), np.empty(SIDE, np.uint8)
    open_z, open_y, open_x = np.empty(SIDE**3, np.int64), np.empty(SIDE**3, np.int64), np.empty(SIDE**3, np.int64)
    open_parts = np.empty(SIDE**3)
    near = np.empty((points.shape[0] + 8, 3), np.int64)
    compared = 0
    below = 0.0
    written = 0
    sz, sy, sx = spacing[0], spacing[1], spacing[2]
    at[0], first[0] = z, low[0] + z * sides[0]
    for y in range(chosen.shape[1]):
        for x in range(chosen.shape[2]):
            if not chosen[z, y, x]:
                continue
            at[1], at[2], first[1], first[2] = y, x, low[1] + y * sides[1], low[2] + x * sides[2]
            n_found = _distinct(nearest, z, y, x, found)
            n = min(sides[2], codes.shape[2] - x * sides[2])
            n_open = 0
            reach = 0.0
            _along_x(first[2], sides[2], found, n_found, spacing[2], squares_x, share, bend_x)
            for dz in range(codes.shape[0]):
                for row_y in range(y * sides[1], min((y + 1) * sides[1], codes.shape[1])):
                    if not _codes_of(codes, dz, row_y, x * sides[2], n, row):
                        continue
                    of_z, of_y = first[0] + dz, low[1] + row_y
                    _row_bounds(
                        of_z, of_y, squares, at, sides, first, found, n_found, spacing, squares_x, share, bend_x,
                        lows, highs,
                    )  # fmt: skip
                    for i in range(n):
                        if row[i] == 0:
                            continue
                        if highs[i] < least:
                            below += weights[row[i]]
                        elif n_found == 1:
                            if highs[i] <= most:
                                dx = (first[2] + i - found[0, 2]) * sx
                                away = (of_z - found[0, 0]) * sz, (of_y - found[0, 1]) * sy, dx
                                values[written] = math.sqrt(_square(*away, x_fastest))
                                parts[written] = weights[row[i]]
                                written += 1
                        elif lows[i] <= most:
                            open_z[n_open], open_y[n_open], open_x[n_open] = of_z, of_y, first[2] + i
                            open_parts[n_open] = weights[row[i]]
                            reach = max(reach, highs[i])
                            n_open += 1
            if n_open == 0:
                continue
            near[:n_found] = found[:n_found]
            n_near = n_found
            for tile in range(starts.size - 1):
                if _apart(boxes, tile, first, sides, spacing) > reach * (1 + SLACK):
                    continue
                for k in range(starts[tile], starts[tile + 1]):
                    if _may_be_nearest(points, k, first, sides, found, n_found, spacing):
                        near[n_near, 0], near[n_near, 1], near[n_near, 2] = points[k, 0], points[k, 1], points[k, 2]
                        n_near += 1
            compared += n_near * n_open + 4 * starts.size
            if compared > patience:
                return written, compared, below
            for j in range(n_open):
                best = np.inf
                of_z, of_y, of_x = open_z[j], open_y[j], open_x[j]
                for k in range(n_near):
                    dz, dy, dx = (of_z - near[k, 0]) * sz, (of_y - near[k, 1]) * sy, (of_x - near[k, 2]) * sx
                    square = _square(dz, dy, dx, x_fastest)
                    best = square if square < best else best
                values[written] = math.sqrt(best)
                parts[written] = open_parts[j]
                written += 1
    return written, compared, below


def passed(
    by_low: Floats, by_high: Floats, below: float, least: float, most: float, begin: float, scale: float
) -> tuple[float, float] | None:
    """Return squares between which the sum of weights passes from ``least`` to ``most``; ``None`` if it is elsewhere.

    Parameters
    ----------
    by_low, by_high : ndarray of float64, shape (n,)
        Weights by the bins of lower and upper bounds; see :func:`add_bounds`. What is less than the first or more than
        the last begins with is in these, too.
    below : float
        Weight that is nearer than all of these.
    begin, scale : float
        As for :func:`add_bounds`.
    """
    first = int(np.searchsorted(below + np.cumsum(by_low), least))
    last = int(np.searchsorted(below + np.cumsum(by_high), most))
    if (first == 0 and begin > 0.0) or last >= by_high.size - 1:
        return None
    return begin + first / scale, begin + (last + 1) / scale
