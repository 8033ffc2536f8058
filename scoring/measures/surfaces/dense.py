"""Distances to a surface by an exact distance transform, for points that are many, far, or everywhere.

Searching for the neighbour of each point (:mod:`medpodium.scoring.measures.surfaces.nearest`) is fast where points lie
near the other surface. Noise has a point at every corner, most of them far from anything: there three sweeps over the
box cost a fraction of it, and never more than so much per voxel, whatever the masks look like.

Exact: lower envelopes of parabolas (Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, Theory
of Computing 8, 2012) that keep the offset itself and not only its length. A few rows of the box are swept at a time,
so that what is known of them stays in the cache: first every line of targets along y says how far it is, then these are
compared along z, and then each row of points looks along x. Where points are many they are summed up per offset.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.envelopes import along_y, along_z, envelope, halves_of, squares_of, used_lines
from medpodium.scoring.measures.surfaces.planes import Box, Planes
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Spacing

LONGEST = (1 << 16) - 9
"""Offsets are kept in 16 bits; corners of blocks lie up to eight voxels beyond a surface."""
_OFTEN = 16
"""Points are summed up per offset where there are so many that every sixteenth offset may have one."""
_BESIDE = 8
"""Rows that are swept together."""
_ALONE = 3
"""Up to so many points of a row look through all parabolas instead of their envelope."""
_SHORT = 4
"""Offsets along the row below which weights lie next to each other, as nearly all are asked for by turns."""


@part
def _add_run(cells, short, farthest, dz, dy, codes, start, stop, column, weights):  # type: ignore[no-untyped-def]
    """Add the weights of the points ``start <= x < stop`` of a row to their offsets from a column."""
    reach = max(column - start, stop - 1 - column)
    if reach < _SHORT:
        own = short[dz, dy]
        for i in range(start, stop):
            own[abs(column - i)] += weights[codes[i]]
        return
    own = cells[dz, dy]
    farthest[dz, dy] = max(farthest[dz, dy], reach + 1)
    n = min(stop, column + 1) - start
    if n > 0:
        part = codes[start : start + n]
        to = own[column - start - n + 1 : column - start + 1]
        for i in range(n):
            to[n - 1 - i] += weights[part[i]]
        start += n
    n = stop - start
    if n > 0:
        part = codes[start:stop]
        to = own[start - column : stop - column]
        for i in range(n):
            to[i] += weights[part[i]]


@part
def _extent(codes):  # type: ignore[no-untyped-def]
    """Return how many points of a row ask, the first one and where the last one ends."""
    largest = codes[0]  # a maximum stays a byte, so one instruction compares 32 or more of them
    for x in range(codes.size):
        largest = max(largest, codes[x])
    if largest == 0:
        return 0, 0, 0
    first = 0
    stop = codes.size
    while codes[first] == 0:
        first += 1
    while codes[stop - 1] == 0:
        stop -= 1
    number = 0
    for x in range(first, stop):
        number += codes[x] != 0
    return number, first, stop


@kernel
def sweep(targets, corner, asking, slices, first, weights, spacing, x_fastest, cells, short, farthest, values, sums):  # type: ignore[no-untyped-def]
    """Find the nearest target of every point that asks.

    Parameters
    ----------
    targets : ndarray of uint8, shape (tz, tx, ty)
        Non-zero where the other surface has a point, y fastest; somewhere it has one.
    corner : ndarray of int64, shape (3,)
        Where its first corner lies: z, y, x.
    asking : ndarray of uint8, shape (nz, ny, nx)
        Codes of the points that ask; 0 for none.
    slices : ndarray of int64, shape (nz,)
        Where its slices lie, ascending.
    first : ndarray of int64, shape (3,)
        Where its first corner lies; the first entry has no meaning.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.
    x_fastest : bool
        Whether squares are added up from x to z (axis order ``xyz``), else from z to x.
    cells : ndarray of float64, shape (dz, dy, dx)
        Gets the weights of points by their offset; without any entry, every point is written by itself.
    short : ndarray of float64, shape (dz, dy, _SHORT)
        Likewise, for points whose neighbours are as near along x, too.
    farthest : ndarray of int32, shape (dz, dy)
        Gets how many ``dx`` of the cells were used.
    values, sums : ndarray of float64
        Get the distance in mm and the weight of every point where there are no cells.

    Returns
    -------
    int
        How many points were written by themselves.
    """
    tz, tx, ty = targets.shape
    nz, ny, nx = asking.shape
    lines, columns, begins = used_lines(targets)
    n_columns = columns.size
    z_halves = halves_of(max(corner[0] + tz, slices[nz - 1] + 1) - min(corner[0], slices[0]) + 1, spacing[0])
    z_squares = squares_of(z_halves.size, spacing[0])
    y_squares = squares_of(max(corner[1] + ty, first[1] + ny) - min(corner[1], first[1]) + 1, spacing[1])
    x_halves = halves_of(max(corner[2] + tx, first[2] + nx) - min(corner[2], first[2]) + 1, spacing[2])
    x_squares = squares_of(x_halves.size, spacing[2])
    before = np.full(lines.size, -(np.int64(1) << 40))
    behind = np.empty(lines.size, np.int64)
    line_z = np.empty(lines.size, np.int64)
    column_x = np.empty(n_columns, np.int64)
    for at in range(n_columns):
        column_x[at] = columns[at] + corner[2] - first[2]
        for number in range(begins[at], begins[at + 1]):
            line_z[number] = lines[number] + corner[0]
            line = targets[lines[number], columns[at]]
            y = 0
            while line[y] == 0:
                y += 1
            behind[number] = y
    most = max(tz, n_columns) + 1
    heights, tops, starts = np.empty(most), np.empty(most, np.int64), np.empty(most + 1)
    away = np.empty((tz, _BESIDE), np.int64)
    offsets = np.empty((_BESIDE, n_columns, nz), np.uint32)
    numbers = np.empty((nz, _BESIDE), np.int64)
    firsts, stops = np.empty_like(numbers), np.empty_like(numbers)
    some = np.empty(nz, np.int64)
    some_z = np.empty(nz, np.int64)
    summing = cells.size > 0
    written = 0
    for y_first in range(0, ny, _BESIDE):
        n_beside = min(_BESIDE, ny - y_first)
        n_some = 0  # slices in which anybody asks
        for s in range(nz):
            anything = False
            for i in range(n_beside):
                number, begin, end = _extent(asking[s, y_first + i])
                numbers[n_some, i], firsts[n_some, i], stops[n_some, i] = number, begin, end
                anything |= number > 0
            if anything:
                some[n_some], some_z[n_some] = s, slices[s]
                n_some += 1
        if n_some == 0:
            continue
        for at in range(n_columns):
            begin = begins[at]
            n = begins[at + 1] - begin
            for j in range(n):
                line = targets[lines[begin + j], columns[at]]
                y = first[1] + y_first - corner[1]
                found = along_y(line, y, n_beside, before[begin + j], behind[begin + j], away[j])
                before[begin + j], behind[begin + j] = found
            along_z(
                away, line_z[begin : begin + n], n, some_z[:n_some], y_squares, z_halves, n_beside, heights, tops,
                starts, offsets, at,
            )  # fmt: skip
        for i in range(n_beside):
            for s in range(n_some):
                if numbers[s, i] == 0:
                    continue
                codes = asking[some[s], y_first + i]
                near = offsets[i, :, s]
                for at in range(n_columns):
                    heights[at] = z_squares[near[at] >> 16] + y_squares[near[at] & 0xFFFF]
                last = -1
                if summing or numbers[s, i] > _ALONE:
                    last = envelope(heights, column_x, n_columns, x_halves, tops, starts)
                    starts[last + 1] = np.inf
                if summing:
                    start = firsts[s, i]
                    for k in range(last + 1):
                        stop = math.ceil(min(max(starts[k + 1], 0.0), stops[s, i]))
                        if start >= stop:
                            continue
                        at = tops[k]
                        dz, dy = np.int64(near[at] >> 16), np.int64(near[at] & 0xFFFF)
                        _add_run(cells, short, farthest, dz, dy, codes, start, stop, column_x[at], weights)
                        start = stop
                    continue
                k = 0
                for x in range(firsts[s, i], stops[s, i]):
                    if codes[x] == 0:
                        continue
                    if last >= 0:
                        while starts[k + 1] <= x:
                            k += 1
                        at = tops[k]
                    else:
                        at = 0
                        best = np.inf
                        for j in range(n_columns):
                            square = heights[j] + x_squares[abs(column_x[j] - x)]
                            if square < best:
                                best = square
                                at = j
                    z_square, y_square = z_squares[near[at] >> 16], y_squares[near[at] & 0xFFFF]
                    x_square = x_squares[abs(column_x[at] - x)]
                    square = (x_square + y_square) + z_square if x_fastest else (z_square + y_square) + x_square
                    values[written] = math.sqrt(square)
                    sums[written] = weights[codes[x]]
                    written += 1
    return written


@part
def _distance(z, y, x, of_z, of_y, of_x, x_fastest):  # type: ignore[no-untyped-def]
    square = (of_x[x] + of_y[y]) + of_z[z] if x_fastest else (of_z[z] + of_y[y]) + of_x[x]
    return math.sqrt(square)


@kernel
def gathered(cells, short, farthest, spacing, x_fastest):  # type: ignore[no-untyped-def]
    """Return the distances of the offsets that :func:`sweep` saw, in any order and perhaps repeated.

    Returns
    -------
    values, weights : ndarray of float64, shape (m,)
        Distances in mm, and the weights of points at each.
    """
    nz, ny, nx = cells.shape
    of_z, of_y = squares_of(nz, spacing[0]), squares_of(ny, spacing[1])
    of_x = squares_of(max(nx, _SHORT), spacing[2])
    m = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(farthest[z, y]):
                m += cells[z, y, x] > 0.0
            for x in range(_SHORT):
                m += short[z, y, x] > 0.0
    values, weights = np.empty(m), np.empty(m)
    m = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(farthest[z, y]):
                if cells[z, y, x] > 0.0:
                    values[m] = _distance(z, y, x, of_z, of_y, of_x, x_fastest)
                    weights[m] = cells[z, y, x]
                    m += 1
            for x in range(_SHORT):
                if short[z, y, x] > 0.0:
                    values[m] = _distance(z, y, x, of_z, of_y, of_x, x_fastest)
                    weights[m] = short[z, y, x]
                    m += 1
    return values, weights


@kernel
def mark_around(points, rows, reaches, low, nx, near):  # type: ignore[no-untyped-def]
    """Set to 1 what lies around points: ``reaches[k]`` along x on both sides in the row ``rows[k]`` (dz, dy) away.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3)
    rows : ndarray of int64, shape (k, 2)
    reaches : ndarray of int64, shape (k,)
    low : ndarray of int64, shape (3,)
        Where the first corner of ``near`` lies: z, y, x.
    nx : int
        How many of its columns count.
    near : ndarray of uint8, shape (nz, ny, more or nx)
    """
    nz, ny, _ = near.shape
    for i in range(points.shape[0]):
        at_z, at_y, at_x = points[i, 0] - low[0], points[i, 1] - low[1], points[i, 2] - low[2]
        for k in range(rows.shape[0]):
            z, y = at_z + rows[k, 0], at_y + rows[k, 1]
            if 0 <= z < nz and 0 <= y < ny:
                row = near[z, y]
                for x in range(max(at_x - reaches[k], 0), min(at_x + reaches[k] + 1, nx)):
                    row[x] = 1


def cost_ns(targets: tuple[int, int, int], asking: tuple[int, int, int]) -> float:
    """Return about how long it takes to transform one box into another, per point that asks apart."""
    tz, _, tx = targets
    nz, ny, nx = asking
    return ny * tx * (tz * 5.0 + nz * 10.0) + nz * ny * nx * 0.5


def swept(
    own: Planes, other: Planes, within: Box, weights: Floats, spacing_zyx: Spacing, axis_order: str
) -> tuple[Floats, Floats]:
    """Find how far every point of a surface is from the points of another one that lie in a box.

    Parameters
    ----------
    own, other : Planes
        The surface that asks, and the other one.
    within : Box
        Where the other one is looked at.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code, positive for all there are.
    spacing_zyx
        Voxel size in mm.
    axis_order : {"xyz", "zyx"}
        Order in which squares are added up.

    Returns
    -------
    values, weights : ndarray, shape (m,)
        Distances in mm, in any order and perhaps repeated, with the weights of points; empty where there is no target.
    """
    targets = filled(other, within)
    nothing = np.zeros(0)
    if not targets.any():
        return nothing, nothing
    targets = np.ascontiguousarray(targets.transpose(0, 2, 1))
    box = own.box
    slices = inside(own.slices, box)
    asking = filled(own, box)[slices - box.low[0]] if len(slices) < box.shape[0] else filled(own, box)
    points = int(np.count_nonzero(asking))
    cells = tuple(
        max(to - low, high - begin)
        for low, high, begin, to in zip(box.low, box.high, within.low, within.high, strict=True)
    )
    alone = points <= math.prod(cells) // _OFTEN
    per_offset = np.zeros((0, 0, 0) if alone else cells)
    short = np.zeros((*per_offset.shape[:2], _SHORT))
    farthest = np.zeros(per_offset.shape[:2], np.int32)
    values, sums = (np.empty(points if alone else 0) for _ in range(2))
    own_weights = weights.copy()
    own_weights[0] = 0.0
    spacing, xyz, corner = np.array(spacing_zyx), axis_order == "xyz", np.array(within.low)
    sweep(
        targets, corner, asking, slices, np.array(box.low), own_weights, spacing, xyz,
        per_offset, short, farthest, values, sums,
    )  # fmt: skip
    if alone:
        return values, sums
    del targets, asking
    found: tuple[Floats, Floats] = gathered(per_offset, short, farthest, spacing, xyz)
    return found


def filled(surface: Planes, box: Box) -> npt.NDArray[np.uint8]:
    """Return the codes of a surface in a box, shape (z, y, x)."""
    codes = np.zeros(box.shape, np.uint8)
    for z, plane in zip(inside(surface.slices, box), surface.codes(box), strict=True):
        codes[z - box.low[0]] = plane
    return codes


def inside(slices: Ints, box: Box) -> Ints:
    """Return those of some slices that a box has."""
    return slices[(slices >= box.low[0]) & (slices < box.high[0])]
