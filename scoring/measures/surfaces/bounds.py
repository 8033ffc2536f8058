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
def _across(squares, blocks, j, sides, first, found, n_found, spacing, flat, lower, slope):  # type: ignore[no-untyped-def]
    """Write what the bounds of the points of a block need of y and x alone, for all slices: :func:`_slice_bounds`."""
    width = SIDE * sides[1]
    for k in range(n_found):
        own = flat[k]
        for m in range(width):
            dy = (first[1] + m // SIDE - found[k, 1]) * spacing[1]
            dx = (first[2] + m % SIDE - found[k, 2]) * spacing[2]
            own[m] = dy * dy + dx * dx
    if n_found == 1:
        return
    z, y, x = blocks[j, 0], blocks[j, 1], blocks[j, 2]
    along_y, along_x = (sides[1] * spacing[1]) ** 2, (sides[2] * spacing[2]) ** 2
    corners = (
        squares[z, y, x], squares[z, y, x + 1], squares[z, y + 1, x], squares[z, y + 1, x + 1],
        squares[z + 1, y, x], squares[z + 1, y, x + 1], squares[z + 1, y + 1, x], squares[z + 1, y + 1, x + 1],
    )  # fmt: skip
    slack = SLACK * (max(corners) + along_y + along_x + (sides[0] * spacing[0]) ** 2)
    for m in range(width):
        w, u = (m // SIDE) / sides[1], (m % SIDE) / sides[2]
        here = (1 - w) * ((1 - u) * corners[0] + u * corners[1]) + w * ((1 - u) * corners[2] + u * corners[3])
        there = (1 - w) * ((1 - u) * corners[4] + u * corners[5]) + w * ((1 - u) * corners[6] + u * corners[7])
        lower[m] = here - w * (1 - w) * along_y - u * (1 - u) * along_x - slack
        slope[m] = there - here


@part
def _slice_bounds(dz, sides, first, found, n_found, spacing, flat, lower, slope, lows, highs):  # type: ignore[no-untyped-def]
    """Write bounds of the squared distances of the points of a slice of a block, ``dz`` from its first corner.

    ``found`` is what is nearest to the block's corners, the rest is from :func:`_across`.
    """
    width = SIDE * sides[1]
    for k in range(n_found):
        own = flat[k]
        away = (first[0] + dz - found[k, 0]) * spacing[0]
        square = away * away
        if k == 0:
            for m in range(width):
                highs[m] = own[m] + square
            continue
        for m in range(width):
            highs[m] = own[m] + square if own[m] + square < highs[m] else highs[m]
    if n_found == 1:
        for m in range(width):
            lows[m] = highs[m]
        return
    v = dz / sides[0]
    bend = v * (1 - v) * (sides[0] * spacing[0]) ** 2
    for m in range(width):
        lows[m] = lower[m] + v * slope[m] - bend


@kernel
def gather(plane, at, blocks, first, stop, y, x, sides, cells):  # type: ignore[no-untyped-def]
    """Put the codes of a slice into those of the blocks it cuts.

    Parameters
    ----------
    plane : ndarray of uint8, shape (ny, nx)
        Codes of the slice; its first corner is that of the blocks ``y, x``.
    at : int
        Which slice of the blocks it is.
    blocks : ndarray of int64, shape (n, 3)
        Numbers z, y, x of blocks, of which the slice cuts those from ``first`` on, before ``stop``.
    sides : ndarray of int64, shape (3,)
    cells : ndarray of uint64, shape (n, side, side)
        Gets the codes row by row, a byte each, the first one lowest.
    """
    for k in range(first, stop):
        low = (blocks[k, 2] - x) * sides[2]
        n = min(sides[2], plane.shape[1] - low)
        for dy in range(sides[1]):
            own_y = (blocks[k, 1] - y) * sides[1] + dy
            if own_y >= plane.shape[0]:
                break
            word = np.uint64(0)
            for i in range(n):
                word |= np.uint64(plane[own_y, low + i]) << np.uint64(8 * i)
            cells[k, at, dy] = word


@kernel
def add_bounds(cells, blocks, squares, nearest, low, sides, spacing, weights, begin, scale, lows_of, highs_of):  # type: ignore[no-untyped-def]
    """Add the weights of the points in some blocks to bins of their bounds.

    Parameters
    ----------
    cells, blocks
        Codes and numbers of the blocks; see :func:`gather`.
    squares, nearest, low, sides, spacing
        See :class:`Corners`.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0.
    begin, scale : float
        A square has the bin ``(square - begin) * scale``, the first where it is less, the last where it is more.
    lows_of, highs_of : ndarray of float64, shape (n_bins,)
        Get the weights by the lower and the upper bound.
    """
    found, first = np.empty((8, 3), np.int64), np.empty(3, np.int64)
    lows, highs, lower, slope = np.empty(SIDE**2), np.empty(SIDE**2), np.empty(SIDE**2), np.empty(SIDE**2)
    flat = np.empty((8, SIDE**2))
    last = lows_of.size - 1.0
    for j in range(blocks.shape[0]):
        for axis in range(3):
            first[axis] = low[axis] + blocks[j, axis] * sides[axis]
        n_found = _distinct(nearest, blocks[j, 0], blocks[j, 1], blocks[j, 2], found)
        _across(squares, blocks, j, sides, first, found, n_found, spacing, flat, lower, slope)
        for dz in range(sides[0]):
            _slice_bounds(dz, sides, first, found, n_found, spacing, flat, lower, slope, lows, highs)
            for m in range(SIDE * sides[1]):
                high, least = (highs[m] - begin) * scale, (lows[m] - begin) * scale
                high, least = high if high > 0.0 else 0.0, least if least > 0.0 else 0.0
                highs[m], lows[m] = high if high < last else last, least if least < last else last
            for dy in range(sides[1]):
                word = cells[j, dz, dy]
                if word == 0:
                    continue
                for m in range(SIDE * dy, SIDE * dy + SIDE):
                    weight = weights[word & np.uint64(255)]
                    word >>= np.uint64(8)
                    highs_of[np.uint32(highs[m])] += weight
                    lows_of[np.uint32(lows[m])] += weight


@part
def _square(dz, dy, dx, x_fastest):  # type: ignore[no-untyped-def]
    return (dx * dx + dy * dy) + dz * dz if x_fastest else (dz * dz + dy * dy) + dx * dx


@part
def _apart(boxes, tile, low, high, spacing):  # type: ignore[no-untyped-def]
    """Return the squared distance between the box of a tile (low and high z, y, x) and another one."""
    square = 0.0
    for axis in range(3):
        away = max(boxes[axis, tile] - high[axis], low[axis] - boxes[3 + axis, tile], 0.0)
        square += (away * spacing[axis]) ** 2
    return square


@part
def _may_be_nearest(points, i, low, high, found, n_found, spacing, slack):  # type: ignore[no-untyped-def]
    """Tell whether a point is as near to some place in a box as every one of those found for a block's corners.

    How much nearer, in squares, is a linear function of the place: at the middle, and what half a side adds.
    """
    for k in range(n_found):
        gain = 0.0
        for axis in range(3):
            twice, step = low[axis] + high[axis], spacing[axis]
            apart = found[k, axis] - points[i, axis]
            gain += (apart * (found[k, axis] + points[i, axis] - twice) + abs(apart) * (high[axis] - low[axis])) * (
                step * step
            )
        if gain < -slack:
            return False
    return True


@kernel
def collect(  # type: ignore[no-untyped-def]
    cells, blocks, squares, nearest, low, sides, spacing, weights, least, most, points, starts, boxes, x_fastest,
    patience, values, parts,
):  # fmt: skip
    """Find the distances of the points in some blocks that may lie between two.

    Parameters
    ----------
    cells, blocks, squares, nearest, low, sides, spacing, weights
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
    n : int
        How many were written; -1 where it was given up.
    below : float
        Weight of the points that are nearer for sure.
    """
    found, first = np.empty((8, 3), np.int64), np.empty(3, np.int64)
    lows, highs, lower, slope = np.empty(SIDE**2), np.empty(SIDE**2), np.empty(SIDE**2), np.empty(SIDE**2)
    flat = np.empty((8, SIDE**2))
    left, left_parts = np.empty((SIDE**3, 3), np.int64), np.empty(SIDE**3)
    low_left, high_left = np.empty(3, np.int64), np.empty(3, np.int64)
    near = np.empty((points.shape[0] + 8, 3), np.int64)
    below = 0.0
    n = 0
    sz, sy, sx = spacing[0], spacing[1], spacing[2]
    for j in range(blocks.shape[0]):
        for axis in range(3):
            first[axis] = low[axis] + blocks[j, axis] * sides[axis]
        n_found = _distinct(nearest, blocks[j, 0], blocks[j, 1], blocks[j, 2], found)
        _across(squares, blocks, j, sides, first, found, n_found, spacing, flat, lower, slope)
        n_left = 0
        reach = 0.0
        nearer = 0.0
        for dz in range(sides[0]):
            _slice_bounds(dz, sides, first, found, n_found, spacing, flat, lower, slope, lows, highs)
            for dy in range(sides[1]):
                word = cells[j, dz, dy]
                if word == 0:
                    continue
                for i in range(SIDE):
                    code = word & np.uint64(255)
                    word >>= np.uint64(8)
                    m = SIDE * dy + i
                    if code == 0 or lows[m] > most:
                        continue
                    if highs[m] < least:
                        nearer += weights[code]
                    elif n_found > 1:
                        left[n_left, 0], left[n_left, 1], left[n_left, 2] = first[0] + dz, first[1] + dy, first[2] + i
                        left_parts[n_left] = weights[code]
                        reach = max(reach, highs[m])
                        n_left += 1
                    else:
                        away_z, away_y = (first[0] + dz - found[0, 0]) * sz, (first[1] + dy - found[0, 1]) * sy
                        away_x = (first[2] + i - found[0, 2]) * sx
                        values[n] = math.sqrt(_square(away_z, away_y, away_x, x_fastest))
                        parts[n] = weights[code]
                        n += 1
        below += nearer
        if n_left == 0:
            continue
        near[:n_found] = found[:n_found]
        n_near = n_found
        for axis in range(3):
            low_left[axis], high_left[axis] = left[:n_left, axis].min(), left[:n_left, axis].max()
        slack = SLACK * reach
        for tile in range(starts.size - 1):
            if _apart(boxes, tile, low_left, high_left, spacing) > reach + slack:
                continue
            for k in range(starts[tile], starts[tile + 1]):
                if _may_be_nearest(points, k, low_left, high_left, found, n_found, spacing, slack):
                    near[n_near, 0], near[n_near, 1], near[n_near, 2] = points[k, 0], points[k, 1], points[k, 2]
                    n_near += 1
        patience -= n_near * n_left + 4 * starts.size
        if patience < 0:
            return -1, below
        for i in range(n_left):
            best = np.inf
            for k in range(n_near):
                away_z, away_y = (left[i, 0] - near[k, 0]) * sz, (left[i, 1] - near[k, 1]) * sy
                square = _square(away_z, away_y, (left[i, 2] - near[k, 2]) * sx, x_fastest)
                best = square if square < best else best
            values[n] = math.sqrt(best)
            parts[n] = left_parts[i]
            n += 1
    return n, below


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
