"""Nearest targets along lines and lower envelopes of parabolas: the parts of an exact distance transform.

Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, Theory of Computing 8, 2012. What is kept is
the offset to the nearest target and not only its length, so that lengths are computed once and in one order.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.nearest import bounds


@part
def envelope(heights, places, n, halves, tops, starts):  # type: ignore[no-untyped-def]
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
def squares_of(n, spacing):  # type: ignore[no-untyped-def]
    """Return the squared length of 0 to ``n - 1`` steps."""
    squares = np.empty(n)
    for d in range(n):
        squares[d] = (d * spacing) * (d * spacing)
    return squares


@part
def halves_of(n, spacing):  # type: ignore[no-untyped-def]
    """Return ``1 / (2 d step²)`` for 0 to ``n - 1`` steps; 0 for none."""
    halves = np.zeros(n)
    for d in range(1, n):
        halves[d] = 1.0 / (2.0 * d * spacing * spacing)
    return halves


@part
def used_lines(targets):  # type: ignore[no-untyped-def]
    """List lines of targets that have any: their ``z``, by x and then z; every such x, and where its lines begin."""
    tz, tx, _ = targets.shape
    used = np.zeros((tx, tz), np.bool_)
    n_used = 0
    for z in range(tz):
        for x in range(tx):
            line = targets[z, x]
            seen = line[0]
            for y in range(line.size):
                seen |= line[y]
            used[x, z] = seen != 0
            n_used += seen != 0
    lines = np.empty(n_used, np.int64)
    columns = np.empty(tx, np.int64)
    begins = np.empty(tx + 1, np.int64)
    n_lines = 0
    n_columns = 0
    for x in range(tx):
        begins[n_columns] = n_lines
        for z in range(tz):
            if used[x, z]:
                lines[n_lines] = z
                n_lines += 1
        if n_lines > begins[n_columns]:
            columns[n_columns] = x
            n_columns += 1
    begins[n_columns] = n_lines
    return lines, columns[:n_columns].copy(), begins


@part
def along_y(line, y, n, before, behind, away):  # type: ignore[no-untyped-def]
    """Write how far the nearest target of a line is from ``y`` to ``y + n``; return the nearest on both sides.

    ``before`` is the last target that was passed, ``behind`` the next one; either may be far beyond the line.
    """
    width = line.size
    for i in range(n):
        while behind < y + i:
            before = behind
            behind += 1
            while behind < width and line[behind] == 0:
                behind += 1
            if behind >= width:
                behind = np.int64(1) << 40
        away[i] = min(y + i - before, behind - y - i)
    return before, behind


@part
def along_z(away, places, n, slices, squares, halves, n_beside, heights, tops, starts, offsets, at):  # type: ignore[no-untyped-def]
    """Write ``|dz| << 16 | |dy|`` of the nearest target of one column, for some rows at all slices.

    ``offsets`` has the shape (n_beside, n_columns, nz): the slices of a column lie side by side.
    """
    for i in range(n_beside):
        for j in range(n):
            heights[j] = squares[away[j, i]]
        last = envelope(heights, places, n, halves, tops, starts)
        starts[last + 1] = np.inf
        own = offsets[i, at]
        k = 0
        j = tops[0]
        place = places[j]
        code = np.uint32(away[j, i])
        stop = starts[1]
        for s in range(slices.size):
            z = slices[s]
            if stop <= z:
                while starts[k + 1] <= z:
                    k += 1
                j = tops[k]
                place = places[j]
                code = np.uint32(away[j, i])
                stop = starts[k + 1]
            own[s] = np.uint32(abs(place - z) << 16) | code


@part
def _lines_of(points):  # type: ignore[no-untyped-def]
    """Sort points into the lines along y that have any.

    Returns
    -------
    rows : ndarray of int64, shape (n,)
        Their ``y``, ascending within a line.
    starts, line_z : ndarray of int64, shape (n_lines + 1,) and (n_lines,)
        Where the points of a line begin, and its ``z``: lines are sorted by x and then z.
    columns, begins : ndarray of int64, shape (n_columns,) and (n_columns + 1,)
        Every ``x`` that is used, and where its lines begin.
    """
    box = bounds(points)
    n = points.shape[0]
    nz, ny, nx = box[1, 0] - box[0, 0] + 1, box[1, 1] - box[0, 1] + 1, box[1, 2] - box[0, 2] + 1
    places = np.zeros(ny + 1, np.int64)
    for i in range(n):
        places[points[i, 1] - box[0, 1] + 1] += 1
    for y in range(ny):
        places[y + 1] += places[y]
    order = np.empty(n, np.int64)
    for i in range(n):
        y = points[i, 1] - box[0, 1]
        order[places[y]] = i
        places[y] += 1
    places = np.zeros(nx * nz + 1, np.int64)
    for i in range(n):
        places[(points[i, 2] - box[0, 2]) * nz + points[i, 0] - box[0, 0] + 1] += 1
    n_lines, n_columns = 0, 0
    starts, line_z = np.empty(min(n, nx * nz) + 1, np.int64), np.empty(min(n, nx * nz), np.int64)
    columns, begins = np.empty(nx, np.int64), np.empty(nx + 1, np.int64)
    for x in range(nx):
        begins[n_columns] = n_lines
        for k in range(x * nz, (x + 1) * nz):
            if places[k + 1] > 0:
                starts[n_lines], line_z[n_lines] = places[k], k - x * nz + box[0, 0]
                n_lines += 1
            places[k + 1] += places[k]
        if n_lines > begins[n_columns]:
            columns[n_columns] = x + box[0, 2]
            n_columns += 1
    starts[n_lines], begins[n_columns] = n, n_lines
    rows = np.empty(n, np.int64)
    for i in order:
        k = (points[i, 2] - box[0, 2]) * nz + points[i, 0] - box[0, 0]
        rows[places[k]] = points[i, 1]
        places[k] += 1
    return rows, starts, line_z[:n_lines], columns[:n_columns], begins


@kernel
def lattice_nearest(points, slices, rows, columns, spacing):  # type: ignore[no-untyped-def]
    """Return the squared distances of the corners of a lattice to the nearest of some points, and where those are.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3), n > 0
    slices, rows, columns : ndarray of int64, shape (nz,), (ny,) and (nx,)
        Coordinates z, y and x of the lattice, each ascending.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    squares : ndarray of float64, shape (nz, ny, nx)
        Squared distances in mm².
    nearest : ndarray of int32, shape (nz, ny, nx, 3)
        Coordinates z, y, x of a nearest point.
    """
    nz, ny, nx = slices.size, rows.size, columns.size
    own_rows, starts, line_z, used, begins = _lines_of(points)
    n_used = used.size
    box = bounds(points)
    z_halves = halves_of(max(box[1, 0], slices[-1]) - min(box[0, 0], slices[0]) + 1, spacing[0])
    z_squares = squares_of(z_halves.size, spacing[0])
    y_squares = squares_of(max(box[1, 1], rows[-1]) - min(box[0, 1], rows[0]) + 1, spacing[1])
    x_halves = halves_of(max(box[1, 2], columns[-1]) - min(box[0, 2], columns[0]) + 1, spacing[2])
    x_squares = squares_of(x_halves.size, spacing[2])
    most = max(line_z.size, n_used) + 1
    heights, tops, limits = np.empty(most), np.empty(most, np.int64), np.empty(most + 1)
    at_point = starts[:-1].copy()  # of each line, the nearest to the row before
    lines, squares = np.empty((nz, n_used), np.int64), np.empty((nz, n_used))
    found = np.empty((nz, ny, nx))
    nearest = np.empty((nz, ny, nx, 3), np.int32)
    for row in range(ny):
        y = rows[row]
        for at in range(n_used):
            begin = begins[at]
            n = begins[at + 1] - begin
            for j in range(n):
                i, stop = at_point[begin + j], starts[begin + j + 1]
                while i + 1 < stop and abs(own_rows[i + 1] - y) <= abs(own_rows[i] - y):
                    i += 1
                at_point[begin + j] = i
                heights[j] = y_squares[abs(own_rows[i] - y)]
            last = envelope(heights, line_z[begin : begin + n], n, z_halves, tops, limits)
            limits[last + 1] = np.inf
            k = 0
            for s in range(nz):
                while limits[k + 1] <= slices[s]:
                    k += 1
                lines[s, at] = begin + tops[k]
                squares[s, at] = heights[tops[k]] + z_squares[abs(line_z[begin + tops[k]] - slices[s])]
        for s in range(nz):
            own = squares[s]
            last = envelope(own, used, n_used, x_halves, tops, limits)
            limits[last + 1] = np.inf
            k = 0
            for x in range(nx):
                while limits[k + 1] <= columns[x]:
                    k += 1
                at = tops[k]
                line = lines[s, at]
                found[s, row, x] = own[at] + x_squares[abs(used[at] - columns[x])]
                to = nearest[s, row, x]
                to[0], to[1], to[2] = line_z[line], own_rows[at_point[line]], used[at]
    return found, nearest
