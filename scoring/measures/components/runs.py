"""The hot loops over components, which are kept as runs: the stretches of neighbouring voxels along x.

A label volume of a scan with a hundred lesions is nearly all background. Here a mask is its runs, sorted by row
(``z * ny + y``) and by x, and nothing else is ever looked at: joining, measuring, overlap and painting follow the
number of runs and not of voxels. Two facts make that exact for dilations, too, without dilating anything:

- *Neighbours.* Two voxels that lie ``(dz, dy, dx)`` apart are neighbours when ``max <= 1`` and the sum of the absolute
  values is at most 1 (6 neighbours), 2 (18) or 3 (26).
- *Dilations.* ``k`` dilations with the 18-neighbourhood reach exactly the offsets with ``max <= k`` and sum at most
  ``2 k``, and the sums of such sets are sets of the same form. So two voxels lie in one component of the dilated mask
  when steps with ``max <= 2 k + 1`` and sum at most ``4 k + 1`` (2, 3) lead from one to the other through the mask.
  The border of the image changes nothing, as every such set holds a way inside the box that two voxels span.

So how far runs of two rows may lie apart is a table over ``(dz, dy)``, negative where they never meet
(:func:`medpodium.scoring.measures.components.joined.reaches`).
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part


@kernel
def find_runs(volume, row_starts, row_stops, member, z_first, z_stop):  # type: ignore[no-untyped-def]
    """Find the runs of a structure.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    row_starts, row_stops : ndarray of int32, shape (nz, ny)
        Extent of every row (``kernels.row_extents``).
    member : ndarray of uint8, shape (n_labels,)
        Whether a label belongs to the structure.
    z_first, z_stop : int
        Slices that are looked at.

    Returns
    -------
    rows, starts, stops : ndarray of int32, shape (n_runs,)
        Row and voxels ``start <= x < stop`` of every run.
    """
    ny = volume.shape[1]
    room = 1024
    rows, starts, stops = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    found = 0
    for z in range(z_first, z_stop):
        for y in range(ny):
            stop = row_stops[z, y]
            x = row_starts[z, y]
            row = volume[z, y]
            while x < stop:
                while x < stop and member[row[x]] == 0:
                    x += 1
                if x == stop:
                    break
                first = x
                while x < stop and member[row[x]] != 0:
                    x += 1
                if found == room:
                    room *= 2
                    rows = _larger(rows, room)
                    starts = _larger(starts, room)
                    stops = _larger(stops, room)
                rows[found], starts[found], stops[found] = z * ny + y, first, x
                found += 1
    return rows[:found].copy(), starts[:found].copy(), stops[:found].copy()


@part
def _larger(values, room):  # type: ignore[no-untyped-def]
    grown = np.empty(room, values.dtype)
    grown[: values.size] = values
    return grown


@part
def _root(parent, one):  # type: ignore[no-untyped-def]
    while parent[one] != one:
        parent[one] = parent[parent[one]]
        one = parent[one]
    return one


@kernel
def join_runs(rows, starts, stops, first_of, ny, reach):  # type: ignore[no-untyped-def]
    """Say which component every run belongs to, numbered from 0 in the order of their first runs.

    Parameters
    ----------
    rows, starts, stops : ndarray of int32, shape (n_runs,)
    first_of : ndarray of int64, shape (nz * ny + 1,)
        First run of every row.
    ny : int
        Rows per slice.
    reach : ndarray of int64, shape (n, n)
        How far apart two voxels of rows ``(dz, dy)`` apart may lie along x; negative where they never meet.

    Returns
    -------
    owner : ndarray of int32, shape (n_runs,)
    count : int
    """
    n = rows.size
    parent = np.arange(n).astype(np.int32)
    far = reach.shape[0] - 1
    begin = 0
    while begin < n:
        row = rows[begin]
        end = first_of[row + 1]
        z, y = row // ny, row % ny
        for one in range(begin + 1, end):
            if starts[one] - stops[one - 1] + 1 <= reach[0, 0]:
                _unite(parent, one, one - 1)
        for dz in range(min(far, z) + 1):
            for dy in range(-min(far, y), min(far, ny - 1 - y) + 1 if dz > 0 else 0):
                gap = reach[dz, abs(dy)]
                if gap < 0:
                    continue
                other = row - dz * ny + dy
                b = first_of[other]
                last = first_of[other + 1]
                a = begin
                while a < end and b < last:
                    if starts[b] <= stops[a] - 1 + gap and starts[a] <= stops[b] - 1 + gap:
                        _unite(parent, a, b)
                    if stops[a] < stops[b]:
                        a += 1
                    else:
                        b += 1
        begin = end
    owner = np.empty(n, np.int32)
    number = np.full(n, -1, np.int32)
    count = 0
    for run in range(n):
        root = _root(parent, run)
        if number[root] < 0:
            number[root] = count
            count += 1
        owner[run] = number[root]
    return owner, count


@part
def _unite(parent, one, other):  # type: ignore[no-untyped-def]
    first, second = _root(parent, one), _root(parent, other)
    if first < second:
        parent[second] = first
    else:
        parent[first] = second


@kernel
def measure_runs(rows, starts, stops, owner, count, ny):  # type: ignore[no-untyped-def]
    """Return the voxels of every component, shape (count,), and its box, shape (count, 6): low z, y, x and high."""
    sizes = np.zeros(count, np.int64)
    boxes = np.empty((count, 6), np.int32)
    boxes[:, :3] = np.iinfo(np.int32).max
    boxes[:, 3:] = -1
    for run in range(rows.size):
        box = boxes[owner[run]]
        z, y = rows[run] // ny, rows[run] % ny
        sizes[owner[run]] += stops[run] - starts[run]
        box[0], box[1], box[2] = min(box[0], z), min(box[1], y), min(box[2], starts[run])
        box[3], box[4], box[5] = max(box[3], z + 1), max(box[4], y + 1), max(box[5], stops[run])
    return sizes, boxes


@kernel
def meeting(rows, starts, stops, owner, order, others, first_of, other_owner, n_others, nz, ny, reach):  # type: ignore[no-untyped-def]
    """Return every pair of components that lie within reach of each other, and the voxels they share.

    Parameters
    ----------
    rows, starts, stops, owner : ndarray of int32, shape (n_runs,)
        Runs of the first mask, and the component of each.
    order : ndarray of int64, shape (n_runs,)
        These runs sorted by component.
    others : pair of ndarray of int32
        Starts and stops of the second mask's runs.
    first_of : ndarray of int64, shape (nz * ny + 1,)
        First of them in every row.
    other_owner : ndarray of int32
    n_others : int
        Components of the second mask.
    nz, ny : int
    reach : ndarray of int64, shape (n, n)
        As in :func:`join_runs`; ``[[0]]`` asks for pairs that share a voxel.

    Returns
    -------
    first, second, shared : ndarray of int64, shape (n_pairs,)
    """
    other_starts, other_stops = others
    far = reach.shape[0] - 1
    room = 256
    first, second, shared = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    found = 0
    seen = np.full(n_others, -1, np.int64)
    place = np.zeros(n_others, np.int64)
    for run in order:
        own = owner[run]
        z, y = rows[run] // ny, rows[run] % ny
        for dz in range(-min(far, z), min(far, nz - 1 - z) + 1):
            for dy in range(-min(far, y), min(far, ny - 1 - y) + 1):
                gap = reach[abs(dz), abs(dy)]
                if gap < 0:
                    continue
                other = rows[run] + dz * ny + dy
                low, high = first_of[other], first_of[other + 1]
                if low == high:
                    continue
                last = high
                while low < high:  # the first run that does not end before this one begins
                    middle = (low + high) // 2
                    if other_stops[middle] - 1 + gap < starts[run]:
                        low = middle + 1
                    else:
                        high = middle
                while low < last and other_starts[low] <= stops[run] - 1 + gap:
                    one = other_owner[low]
                    if seen[one] != own:
                        if found == room:
                            room *= 2
                            first = _larger(first, room)
                            second = _larger(second, room)
                            shared = _larger(shared, room)
                        seen[one], place[one] = own, found
                        first[found], second[found], shared[found] = own, one, 0
                        found += 1
                    if dz == 0 and dy == 0:
                        both = min(stops[run], other_stops[low]) - max(starts[run], other_starts[low])
                        if both > 0:
                            shared[place[one]] += both
                    low += 1
    return first[:found].copy(), second[:found].copy(), shared[:found].copy()


@kernel
def paint_runs(rows, starts, stops, order, limits, wanted, marks, shifts, ny, canvas):  # type: ignore[no-untyped-def]
    """Paint some components into a volume.

    Parameters
    ----------
    rows, starts, stops : ndarray of int32, shape (n_runs,)
    order : ndarray of int64, shape (n_runs,)
        Runs sorted by component.
    limits : ndarray of int64, shape (n_components + 1,)
        Where the runs of a component begin in ``order``.
    wanted, marks : ndarray of int64, shape (n,)
        Components to paint, and with what.
    shifts : ndarray of int64, shape (n, 3)
        How far each is moved along z, y and x.
    ny : int
        Rows per slice of the components' mask.
    canvas : ndarray of uint8, shape (nz, ny, nx)
        Is changed.
    """
    for place in range(wanted.size):
        one = wanted[place]
        for run in order[limits[one] : limits[one + 1]]:
            line = canvas[rows[run] // ny + shifts[place, 0], rows[run] % ny + shifts[place, 1]]
            for x in range(starts[run] + shifts[place, 2], stops[run] + shifts[place, 2]):
                line[x] = marks[place]
