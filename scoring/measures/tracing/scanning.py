"""What the loops share that trace surfaces row after row (:mod:`medpodium.scoring.measures.tracing.search`).

Which slices a structure is limited to, where rows have labels, room for what is found, and when to give up.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import part


@part
def structures_of_slice(z, layers, z_start, z_stop, out):  # type: ignore[no-untyped-def]
    """Write the label-to-structure table that holds in slice ``z``: limited structures vanish outside theirs."""
    for g in range(layers.shape[0]):
        for label in range(layers.shape[1]):
            s = layers[g, label]
            out[g, label] = s if s > 0 and z_start[s - 1] <= z < z_stop[s - 1] else 0


@part
def is_limited(nz, z_start, z_stop):  # type: ignore[no-untyped-def]
    """Tell whether any structure is limited to some of the slices."""
    limited = False
    for s in range(z_start.size):
        limited |= z_start[s] > 0 or z_stop[s] < nz
    return limited


@part
def is_cut(z, nz, z_start, z_stop):  # type: ignore[no-untyped-def]
    """Tell whether a structure's limit lies between slices ``z - 1`` and ``z``, inside the volume."""
    cut = False
    for s in range(z_start.size):
        cut |= (z_start[s] == z and z > 0) or (z_stop[s] == z and z < nz)
    return cut


@part
def join_rows(start, stop, z, nx, lo, hi):  # type: ignore[no-untyped-def]
    """Write the joint extents of the rows ``(z-1, y-1), (z-1, y), (z, y-1), (z, y)``; ``(nx, 0)`` if all are empty.

    ``lo`` and ``hi`` have a place for every ``y`` in ``0, ..., ny``, and one that is overwritten.
    """
    ny = start.shape[1]
    lo[:] = nx
    hi[:] = 0
    low, high = lo[1:], hi[1:]
    for rz in range(max(z - 1, 0), min(z + 1, start.shape[0])):
        first, behind = start[rz], stop[rz]
        for y in range(ny):
            low[y] = min(low[y], first[y] if behind[y] > 0 else nx)
        for y in range(ny):
            high[y] = max(high[y], behind[y])
    for y in range(ny + 1):
        lo[y] = min(lo[y], low[y])
        hi[y] = max(hi[y], high[y])


@part
def first_room(start, stop, more, like):  # type: ignore[no-untyped-def]
    """Return output arrays that suffice for a point at every corner, and for ``more`` besides.

    Only corners shared by several structures can make them grow. What is never written to takes no memory.
    """
    nx = np.int32(2**31 - 1)
    lo = np.empty(start.shape[1] + 2, np.int32)
    hi = np.empty(start.shape[1] + 2, np.int32)
    size = 1024 + more
    for z in range(start.shape[0] + 1):
        join_rows(start, stop, z, nx, lo, hi)
        for y in range(start.shape[1] + 1):
            size += hi[y] - lo[y] + 1 if hi[y] > 0 else 0
    return room(size, like)


@part
def room(size, like):  # type: ignore[no-untyped-def]
    """Return three arrays of ``size`` entries, in one piece of memory: large ones go back to the system when unused."""
    memory = np.empty(size * (like.itemsize + 3), np.uint8)
    along, behind = memory[: size * like.itemsize], size * (like.itemsize + 2)
    return along.view(like.dtype), memory[behind:], memory[along.size : behind].view(np.int16)


@part
def grown(along, codes, owners, n, size):  # type: ignore[no-untyped-def]
    """Return larger arrays with the first ``n`` entries."""
    new_along, new_codes, new_owners = room(size, along)
    for i in range(n):
        new_along[i] = along[i]
        new_codes[i] = codes[i]
        new_owners[i] = owners[i]
    return new_along, new_codes, new_owners


@part
def copy_row(volume, z, y, lo, hi, out):  # type: ignore[no-untyped-def]
    """Copy voxels ``lo <= x < hi`` of a row to ``out[1:]`` with one background voxel on either side."""
    n = hi - lo
    if 0 <= z < volume.shape[0] and 0 <= y < volume.shape[1]:
        row = volume[z, y, lo:hi]
        for i in range(n):
            out[i + 1] = row[i]
    else:
        for i in range(n):
            out[i + 1] = 0
    out[0] = 0
    out[n + 1] = 0


@part
def is_noise(n, looked, slices):  # type: ignore[no-untyped-def]
    """Tell whether points are everywhere: the first slice of anything solid is all surface, but only once."""
    return 2 * n > 3 * looked or (slices > 2 and 10 * n > 9 * looked)
