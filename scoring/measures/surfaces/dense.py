"""The nearest point of a surface for every corner of a box, for surfaces that nearly fill it.

Searching for the neighbours of each point (:mod:`medpodium.scoring.measures.surfaces.nearest`) is fast where points lie
near the other surface. Noise has a point at every corner, most of them far from anything: there one sweep per axis over
the whole box costs a tenth of it. Exact: lower envelopes of parabolas (Felzenszwalb and Huttenlocher, *Distance
transforms of sampled functions*, Theory of Computing 8, 2012), which keep the point itself and not only its distance.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part


@part
def _envelope(heights, valid, step, places, starts, winners):  # type: ignore[no-untyped-def]
    """Find the lowest parabola ``heights[j] + (step * (i - j)) ** 2`` at every place ``i`` of a line; -1 for none."""
    n = heights.size
    k = -1
    for j in range(n):
        if not valid[j]:
            continue
        bound = -np.inf
        while k >= 0:
            i = places[k]
            bound = ((heights[j] - heights[i]) / (step * step) + (j * j - i * i)) / (2.0 * (j - i))
            if bound > starts[k]:
                break
            k -= 1
            bound = -np.inf
        k += 1
        places[k] = j
        starts[k] = bound
    if k < 0:
        winners[:n] = -1
        return
    last = k
    k = 0
    for i in range(n):
        while k < last and starts[k + 1] <= i:
            k += 1
        winners[i] = places[k]


@kernel
def nearest_everywhere(targets, origin, shape, spacing):  # type: ignore[no-untyped-def]
    """Find the nearest target of every corner of a box.

    Parameters
    ----------
    targets : ndarray of int16 or int32, shape (m, 3), m > 0
    origin, shape : ndarray of int64, shape (3,)
        First corner and number of corners along z, y, x; holds all targets.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    of_z, of_y, of_x : ndarray of the targets' type, shape ``shape``
        The nearest target's slice; its row, at that slice; its column, at that slice and row (from the box's origin).
    """
    nz, ny, nx = shape[0], shape[1], shape[2]
    of_x = np.full((nz, ny, nx), -1, targets.dtype)
    of_y = np.empty((nz, ny, nx), targets.dtype)
    of_z = np.empty((nz, ny, nx), targets.dtype)
    for i in range(targets.shape[0]):
        x = targets[i, 2] - origin[2]
        of_x[targets[i, 0] - origin[0], targets[i, 1] - origin[1], x] = x
    longest = max(nz, ny)
    heights = np.empty(longest)
    valid = np.empty(longest, np.bool_)
    places = np.empty(longest, np.int64)
    starts = np.empty(longest)
    winners = np.empty(longest, np.int64)
    for z in range(nz):
        for y in range(ny):
            row = of_x[z, y]
            seen = -1
            for x in range(nx):  # the nearest on the left, found as such by being itself
                if row[x] == x:
                    seen = x
                row[x] = seen
            seen = -1
            for x in range(nx - 1, -1, -1):
                if row[x] == x:
                    seen = x
                elif seen >= 0 and (row[x] < 0 or seen - x < x - row[x]):
                    row[x] = seen
        for x in range(nx):
            for y in range(ny):
                valid[y] = of_x[z, y, x] >= 0
                far = (of_x[z, y, x] - x) * spacing[2]
                heights[y] = far * far
            _envelope(heights[:ny], valid[:ny], spacing[1], places, starts, winners)
            for y in range(ny):
                of_y[z, y, x] = winners[y]
    for y in range(ny):
        for x in range(nx):
            for z in range(nz):
                own = of_y[z, y, x]
                valid[z] = own >= 0
                if own >= 0:
                    dy = (own - y) * spacing[1]
                    dx = (of_x[z, own, x] - x) * spacing[2]
                    heights[z] = dy * dy + dx * dx
            _envelope(heights[:nz], valid[:nz], spacing[0], places, starts, winners)
            for z in range(nz):
                of_z[z, y, x] = winners[z]
    return of_z, of_y, of_x


@kernel
def looked_up(queries, origin, of_z, of_y, of_x):  # type: ignore[no-untyped-def]
    """Return ``|dz|, |dy|, |dx|`` from each query to its nearest target, in voxels, shape (n, 3)."""
    offsets = np.empty((queries.shape[0], 3), np.int64)
    for i in range(queries.shape[0]):
        z, y, x = queries[i, 0] - origin[0], queries[i, 1] - origin[1], queries[i, 2] - origin[2]
        at_z = of_z[z, y, x]
        at_y = of_y[at_z, y, x]
        offsets[i, 0] = abs(at_z - z)
        offsets[i, 1] = abs(at_y - y)
        offsets[i, 2] = abs(of_x[at_z, at_y, x] - x)
    return offsets
