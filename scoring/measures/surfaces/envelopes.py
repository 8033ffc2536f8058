"""Nearest targets along lines and lower envelopes of parabolas: the parts of an exact distance transform.

Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, Theory of Computing 8, 2012. What is kept is
the offset to the nearest target and not only its length, so that lengths are computed once and in one order.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part


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
    for z in range(tz):
        for x in range(tx):
            used[x, z] = targets[z, x].any()
    lines = np.empty(used.sum(), np.int64)
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
def _row_of(targets, z, x, y, dz, dy, corner):  # type: ignore[no-untyped-def]
    """Return a target that is ``dz, dy`` from ``z, y`` in one direction or the other: its z and y."""
    tz, _, ty = targets.shape
    for own_z in (z - dz - corner[0], z + dz - corner[0]):
        for own_y in (y - dy - corner[1], y + dy - corner[1]):
            if 0 <= own_z < tz and 0 <= own_y < ty and targets[own_z, x, own_y] != 0:
                return own_z + corner[0], own_y + corner[1]
    return z, y  # never: the envelope says that there is one


@kernel
def lattice_nearest(targets, corner, slices, rows, columns, spacing):  # type: ignore[no-untyped-def]
    """Return the squared distances of the points of a lattice to their nearest targets, and where those are.

    Parameters
    ----------
    targets : ndarray of uint8, shape (tz, tx, ty)
        Non-zero where there is a target, y fastest; somewhere there is one.
    corner : ndarray of int64, shape (3,)
        Where its first corner lies: z, y, x.
    slices, rows, columns : ndarray of int64, shape (nz,), (ny,) and (nx,)
        Coordinates z, y and x of the lattice, each ascending.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    squares : ndarray of float64, shape (nz, ny, nx)
        Squared distances in mm².
    nearest : ndarray of int32, shape (nz, ny, nx, 3)
        Coordinates z, y, x of a nearest target.
    """
    tz, tx, ty = targets.shape
    nz, ny, nx = slices.size, rows.size, columns.size
    lines, used, begins = used_lines(targets)
    n_used = used.size
    z_halves = halves_of(max(corner[0] + tz, slices[-1] + 1) - min(corner[0], slices[0]) + 1, spacing[0])
    z_squares = squares_of(z_halves.size, spacing[0])
    y_squares = squares_of(max(corner[1] + ty, rows[-1] + 1) - min(corner[1], rows[0]) + 1, spacing[1])
    x_halves = halves_of(max(corner[2] + tx, columns[-1] + 1) - min(corner[2], columns[0]) + 1, spacing[2])
    x_squares = squares_of(x_halves.size, spacing[2])
    before = np.full(lines.size, -(np.int64(1) << 40))
    behind = np.empty(lines.size, np.int64)
    line_z = lines + corner[0]
    used_x = used + corner[2]
    for at in range(n_used):
        for number in range(begins[at], begins[at + 1]):
            y = 0
            while targets[lines[number], used[at], y] == 0:
                y += 1
            behind[number] = y
    most = max(tz, n_used) + 1
    heights, tops, starts = np.empty(most), np.empty(most, np.int64), np.empty(most + 1)
    away = np.empty((tz, 1), np.int64)
    offsets = np.empty((1, n_used, nz), np.uint32)
    found = np.empty((nz, ny, nx))
    nearest = np.empty((nz, ny, nx, 3), np.int32)
    for row in range(ny):
        for at in range(n_used):
            begin = begins[at]
            n = begins[at + 1] - begin
            for j in range(n):
                line = targets[lines[begin + j], used[at]]
                next_two = along_y(line, rows[row] - corner[1], 1, before[begin + j], behind[begin + j], away[j])
                before[begin + j], behind[begin + j] = next_two
            along_z(
                away, line_z[begin : begin + n], n, slices, y_squares, z_halves, 1, heights, tops, starts, offsets, at
            )
        for s in range(nz):
            near = offsets[0, :, s]
            for at in range(n_used):
                heights[at] = z_squares[near[at] >> 16] + y_squares[near[at] & 0xFFFF]
            last = envelope(heights, used_x, n_used, x_halves, tops, starts)
            starts[last + 1] = np.inf
            k = 0
            for x in range(nx):
                while starts[k + 1] <= columns[x]:
                    k += 1
                at = tops[k]
                dz, dy = np.int64(near[at] >> 16), np.int64(near[at] & 0xFFFF)
                found[s, row, x] = heights[at] + x_squares[abs(used_x[at] - columns[x])]
                own_z, own_y = _row_of(targets, slices[s], used[at], rows[row], dz, dy, corner)
                nearest[s, row, x, 0], nearest[s, row, x, 1], nearest[s, row, x, 2] = own_z, own_y, used_x[at]
    return found, nearest
