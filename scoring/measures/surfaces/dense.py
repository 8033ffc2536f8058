"""Distances to a surface by an exact distance transform, for points that are many, far, or everywhere.

Searching for the neighbour of each point (:mod:`medpodium.scoring.measures.surfaces.nearest`) is fast where points lie
near the other surface. Noise has a point at every corner, most of them far from anything: there three sweeps over the
box cost a fraction of it, and never more than so much per voxel, whatever the masks look like.

Exact: lower envelopes of parabolas (Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, Theory
of Computing 8, 2012) that keep the offset itself and not only its length. The sweeps along x and z are done for the
whole box and leave ``|dz|, |dx|`` of the best point of every row, four bytes per corner (:func:`spread`); the sweep
along y is done slice by slice, only at points that ask (:func:`look_up`, or :func:`tally` where they are so many that
they are summed up per offset).
"""

from __future__ import annotations

import math

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.planes import Box, Planes
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Spacing

LONGEST = (1 << 16) - 1
"""Offsets are kept in 16 bits."""
_OFTEN = 8
"""Points are summed up per offset where there are so many that every eighth offset may have one."""


@part
def _envelope(heights, places, n, halves, tops, starts):  # type: ignore[no-untyped-def]
    """Find the lower envelope of parabolas ``heights[j] + (step * (i - places[j])) ** 2``.

    ``halves[d]`` is ``1 / (2 d step²)``. The envelope is ``tops[k]`` (numbers of parabolas) from ``starts[k]`` on; the
    index of the last one is returned.
    """
    k = 0
    tops[0] = 0
    starts[0] = -np.inf
    for j in range(1, n):
        h = heights[j]
        at = places[j]
        while True:
            i = tops[k]
            apart = at - places[i]
            bound = (h - heights[i]) * halves[apart] + 0.5 * (at + places[i])
            if bound > starts[k]:
                break
            k -= 1  # the first starts at minus infinity and stays
        k += 1
        tops[k] = j
        starts[k] = bound
    return k


@part
def _row(targets, first, n, far, away):  # type: ignore[no-untyped-def]
    """Write how far the nearest target of a row is from each of ``n`` columns, the first of which is ``first``."""
    width = targets.size
    start = min(first, 0)
    stop = max(first + n, width)
    seen = start - far
    for x in range(start, stop):
        if 0 <= x < width and targets[x] != 0:
            seen = x
        if first <= x < first + n:
            away[x - first] = min(x - seen, far)
    seen = stop + far
    for x in range(stop - 1, start - 1, -1):
        if 0 <= x < width and targets[x] != 0:
            seen = x
        if first <= x < first + n:
            away[x - first] = min(away[x - first], seen - x)


@part
def _squares(n, spacing):  # type: ignore[no-untyped-def]
    squares = np.empty(n)
    for d in range(n):
        squares[d] = (d * spacing) * (d * spacing)
    return squares


@part
def _halves(n, spacing):  # type: ignore[no-untyped-def]
    halves = np.zeros(n)
    for d in range(1, n):
        halves[d] = 1.0 / (2.0 * d * spacing * spacing)
    return halves


@kernel
def spread(targets, corner, slices, x_first, nx, spacing):  # type: ignore[no-untyped-def]
    """Find, for every row of targets, the nearest point of that row's plane ``(z, x)`` at given slices and columns.

    Parameters
    ----------
    targets : ndarray of uint8, shape (tz, ty, tx)
        Non-zero where the other surface has a point.
    corner : ndarray of int64, shape (3,)
        Where its first corner lies.
    slices : ndarray of int64, shape (nz,)
        Slices at which points ask, ascending.
    x_first, nx : int
        Columns at which they ask.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    rows : ndarray of int64, shape (ny,)
        The rows ``y`` that have a target in some slice.
    offsets : ndarray of uint16, shape (nz, ny, nx, 2)
        ``|dz|, |dx|`` in voxels.
    """
    tz, ty, _ = targets.shape
    nz = slices.size
    used = np.zeros((tz, ty), np.bool_)
    for z in range(tz):
        for y in range(ty):
            used[z, y] = targets[z, y].any()
    n_rows = 0
    rows = np.empty(ty, np.int64)
    for y in range(ty):
        if used[:, y].any():
            rows[n_rows] = y
            n_rows += 1
    offsets = np.empty((nz, n_rows, nx, 2), np.uint16)
    low = min(corner[0], slices[0])
    high = max(corner[0] + tz, slices[nz - 1] + 1)
    halves = _halves(high - low + 1, spacing[0])
    squares = _squares(max(x_first + nx, corner[2] + targets.shape[2]) - min(x_first, corner[2]) + 1, spacing[2])
    away = np.empty((tz, nx), np.int64)
    places = np.empty(tz, np.int64)
    heights = np.empty(tz)
    tops = np.empty(tz, np.int64)
    starts = np.empty(tz + 1)
    for at in range(n_rows):
        y = rows[at]
        n = 0
        for z in range(tz):
            if used[z, y]:
                _row(targets[z, y], x_first - corner[2], nx, squares.size - 1, away[n])
                places[n] = corner[0] + z
                n += 1
        for x in range(nx):
            for j in range(n):
                heights[j] = squares[away[j, x]]
            last = _envelope(heights, places, n, halves, tops, starts)
            starts[last + 1] = np.inf
            k = 0
            for i in range(nz):
                z = slices[i]
                while starts[k + 1] <= z:
                    k += 1
                j = tops[k]
                offsets[i, at, x, 0] = abs(places[j] - z)
                offsets[i, at, x, 1] = away[j, x]
    for at in range(n_rows):
        rows[at] += corner[1]
    return rows[:n_rows].copy(), offsets


@part
def _column(offsets, rows, x, of_z, of_x, halves, heights, tops, starts):  # type: ignore[no-untyped-def]
    """Find the envelope of one column of a slice; see :func:`_envelope`."""
    for at in range(rows.size):
        heights[at] = of_z[offsets[at, x, 0]] + of_x[offsets[at, x, 1]]
    last = _envelope(heights, rows, rows.size, halves, tops, starts)
    starts[last + 1] = np.inf


@kernel
def look_up(offsets, rows, asking, y_first, weights, spacing, x_fastest, squares, sums, n):  # type: ignore[no-untyped-def]
    """Find the squared distance of every point that asks in one slice.

    Parameters
    ----------
    offsets : ndarray of uint16, shape (ty, nx, 2)
        What :func:`spread` found for this slice.
    rows : ndarray of int64, shape (ty,)
    asking : ndarray of uint8, shape (ny, nx)
        Codes of the points that ask; 0 for none.
    y_first : int
        The first row of ``asking``.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code.
    spacing : ndarray of float64, shape (3,)
    x_fastest : bool
        Whether squares are added up from x to z (axis order ``xyz``), else from z to x.
    squares, sums : ndarray of float64
        Get squared distances in mm² and weights from place ``n`` on.
    n : int

    Returns
    -------
    int
        The next place.
    """
    ny, nx = asking.shape
    apart = max(rows[rows.size - 1], y_first + ny) - min(rows[0], y_first) + 1
    halves, of_y = _halves(apart, spacing[1]), _squares(apart, spacing[1])
    of_z, of_x = _squares(offsets[:, :, 0].max() + 1, spacing[0]), _squares(offsets[:, :, 1].max() + 1, spacing[2])
    heights, tops, starts = np.empty(rows.size), np.empty(rows.size, np.int64), np.empty(rows.size + 1)
    wanted = np.zeros(nx, np.bool_)
    for y in range(ny):
        for x in range(nx):
            wanted[x] |= asking[y, x] != 0
    for x in range(nx):
        if not wanted[x]:
            continue
        _column(offsets, rows, x, of_z, of_x, halves, heights, tops, starts)
        k = 0
        for i in range(ny):
            code = asking[i, x]
            if code == 0:
                continue
            y = y_first + i
            while starts[k + 1] <= y:
                k += 1
            at = tops[k]
            z_square, x_square = of_z[offsets[at, x, 0]], of_x[offsets[at, x, 1]]
            y_square = of_y[abs(rows[at] - y)]
            squares[n] = (x_square + y_square) + z_square if x_fastest else (z_square + y_square) + x_square
            sums[n] = weights[code]
            n += 1
    return n


@kernel
def tally(offsets, rows, asking, y_first, weights, spacing, sums, counts):  # type: ignore[no-untyped-def]
    """Find the offset of every point that asks in one slice, and add it to what is known of that offset.

    Parameters are those of :func:`look_up`, but for

    sums : ndarray of float64, shape (dz, dx, dy)
    counts : ndarray of uint32, shape (dz, dx, dy)
        Weight and number of points per offset; points of a column follow each other in it.
    """
    ny, nx = asking.shape
    apart = max(rows[rows.size - 1], y_first + ny) - min(rows[0], y_first) + 1
    halves = _halves(apart, spacing[1])
    of_z, of_x = _squares(sums.shape[0], spacing[0]), _squares(sums.shape[1], spacing[2])
    heights, tops, starts = np.empty(rows.size), np.empty(rows.size, np.int64), np.empty(rows.size + 1)
    for x in range(nx):
        _column(offsets, rows, x, of_z, of_x, halves, heights, tops, starts)
        k = 0
        i = 0
        while i < ny:
            while starts[k + 1] <= y_first + i:
                k += 1
            at = tops[k]
            row = rows[at] - y_first
            stop = np.int64(ny) if starts[k + 1] > y_first + ny else np.int64(np.ceil(starts[k + 1])) - y_first
            own = sums[offsets[at, x, 0], offsets[at, x, 1]]
            number = counts[offsets[at, x, 0], offsets[at, x, 1]]
            while i < stop:
                code = asking[i, x]
                if code != 0:
                    own[abs(row - i)] += weights[code]
                    number[abs(row - i)] += np.uint32(1)
                i += 1


@kernel
def gathered(sums, counts, spacing, x_fastest):  # type: ignore[no-untyped-def]
    """Return squared distances, in any order and perhaps repeated, of the offsets that :func:`tally` saw.

    Returns
    -------
    squares, weights : ndarray of float64, shape (m,)
    numbers : ndarray of int64, shape (m,)
    """
    nz, nx, ny = sums.shape
    of_z, of_y, of_x = _squares(nz, spacing[0]), _squares(ny, spacing[1]), _squares(nx, spacing[2])
    m = 0
    for z in range(nz):
        for x in range(nx):
            for y in range(ny):
                m += counts[z, x, y] > 0
    squares, weights, numbers = np.empty(m), np.empty(m), np.empty(m, np.int64)
    m = 0
    for z in range(nz):
        for x in range(nx):
            number = counts[z, x]
            for y in range(ny):
                if number[y] > 0:
                    x_square, y_square, z_square = of_x[x], of_y[y], of_z[z]
                    squares[m] = (x_square + y_square) + z_square if x_fastest else (z_square + y_square) + x_square
                    weights[m] = sums[z, x, y]
                    numbers[m] = number[y]
                    m += 1
    return squares, weights, numbers


@kernel
def _added(squares, weights, numbers, distinct):  # type: ignore[no-untyped-def]
    """Sum up weights and numbers per distinct squared distance; those are looked for near where they should be."""
    n = distinct.size
    scale = (n - 1) / distinct[n - 1] if distinct[n - 1] > 0.0 else 0.0
    first = np.empty(n + 1, np.int64)
    at = 0
    for bucket in range(n + 1):
        while at < n - 1 and distinct[at] * scale < bucket:
            at += 1
        first[bucket] = at
    sums = np.zeros(n)
    counts = np.zeros(n, np.int64)
    for i in range(squares.size):
        at = first[np.int64(squares[i] * scale)]
        while distinct[at] < squares[i]:
            at += 1
        sums[at] += weights[i]
        counts[at] += numbers[i]
    return sums, counts


def _summed(squares: Floats, weights: Floats, numbers: Ints) -> tuple[Floats, Floats, Ints]:
    """Return distinct distances in mm, ascending, with their weights and numbers.

    Sorting the squares alone takes a quarter of the time that an order of them takes.
    """
    if not len(squares):
        return squares, weights, numbers
    distinct = np.sort(squares)
    distinct = distinct[np.flatnonzero(np.concatenate([[True], distinct[1:] != distinct[:-1]]))]
    sums, counts = _added(squares, weights, numbers, distinct)
    values = np.sqrt(distinct)
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))  # two squares may have one root
    if len(first) == len(values):
        return values, sums, counts
    return values[first], np.add.reduceat(sums, first), np.add.reduceat(counts, first)


def cost_ns(targets: tuple[int, int, int], asking: tuple[int, int, int]) -> float:
    """Return about how long it takes to transform one box into another, per point that asks apart."""
    tz, ty, _ = targets
    nz, ny, nx = asking
    return nx * ty * (tz * 9.0 + nz * 8.0) + nz * nx * ny * 0.5


def swept(
    own: Planes, other: Planes, within: Box, weights: Floats, spacing_zyx: Spacing, axis_order: str
) -> tuple[Floats, Floats, Ints]:
    """Find how far every point of a surface is from the points of another one that lie in a box.

    Parameters
    ----------
    own, other : Planes
        The surface that asks, and the other one.
    within : Box
        Where the other one is looked at; has at least one of its points.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code.
    spacing_zyx
        Voxel size in mm.
    axis_order : {"xyz", "zyx"}
        Order in which squares are added up.

    Returns
    -------
    values, weights, counts : ndarray, shape (m,)
        Distinct distances in mm, ascending, with the weights and numbers of points; empty where there is no target.
    """
    spacing = np.array(spacing_zyx)
    targets = np.zeros(within.shape, np.uint8)
    for z, plane in zip(_inside(other.slices, within), other.codes(within), strict=True):
        targets[z - within.low[0]] = plane
    box = own.box
    slices = _inside(own.slices, box)
    rows, offsets = spread(targets, np.array(within.low), slices, box.low[2], box.shape[2], spacing)
    del targets
    nothing = np.zeros(0)
    if not rows.size:
        return nothing, nothing, nothing.astype(np.int64)
    y, ny = box.low[1], box.shape[1]
    cells = (*(int(offsets[..., axis].max()) + 1 for axis in (0, 1)), max(int(rows[-1]) - y, y + ny - int(rows[0])) + 1)
    xyz = axis_order == "xyz"
    if own.most <= math.prod(cells) // _OFTEN:
        squares, sums, n = np.empty(own.most), np.empty(own.most), 0
        for at, plane in enumerate(own.codes(box)):
            n = look_up(offsets[at], rows, plane, y, weights, spacing, xyz, squares, sums, n)
        return _summed(squares[:n], sums[:n], np.ones(n, np.int64))
    per_offset, numbers = np.zeros(cells), np.zeros(cells, np.uint32)
    for at, plane in enumerate(own.codes(box)):
        tally(offsets[at], rows, plane, y, weights, spacing, per_offset, numbers)
    del offsets
    return _summed(*gathered(per_offset, numbers, spacing, xyz))


def _inside(slices: Ints, box: Box) -> Ints:
    """Return those of some slices that a box has."""
    return slices[(slices >= box.low[0]) & (slices < box.high[0])]
