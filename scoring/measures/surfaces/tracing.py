"""The hot loops that trace the surfaces of all structures of a label volume in one pass.

They build on :mod:`medpodium.scoring.measures.kernels`, where the ideas are explained. Structures that share labels
(kidney = left + right beside left kidney) live in different *layers*: rows of the table ``layers``, shape ``(n_layers,
n_labels)``, holding structure numbers from 1, 0 for none.

A structure may be limited to the slices ``z_start <= z < z_stop`` (a challenge that scores an organ only within the
reference's range): outside them its voxels count as background, so its surface is closed at the cut as it would be
in a volume cropped there.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part


@part
def _structures_of_slice(z, layers, z_start, z_stop, out):  # type: ignore[no-untyped-def]
    """Write the label-to-structure table that holds in slice ``z``: limited structures vanish outside theirs."""
    for g in range(layers.shape[0]):
        for label in range(layers.shape[1]):
            s = layers[g, label]
            out[g, label] = s if s > 0 and z_start[s - 1] <= z < z_stop[s - 1] else 0


@part
def _is_limited(nz, z_start, z_stop):  # type: ignore[no-untyped-def]
    """Tell whether any structure is limited to some of the slices."""
    limited = False
    for s in range(z_start.size):
        limited |= z_start[s] > 0 or z_stop[s] < nz
    return limited


@part
def _is_cut(z, nz, z_start, z_stop):  # type: ignore[no-untyped-def]
    """Tell whether a structure's limit lies between slices ``z - 1`` and ``z``, inside the volume."""
    cut = False
    for s in range(z_start.size):
        cut |= (z_start[s] == z and z > 0) or (z_stop[s] == z and z < nz)
    return cut


@part
def _extent_around(start, stop, z, y, nx):  # type: ignore[no-untyped-def]
    """Return the joint extent of the rows ``(z-1, y-1), (z-1, y), (z, y-1), (z, y)``; ``(nx, 0)`` if all empty."""
    lo = nx
    hi = 0
    for rz in range(max(z - 1, 0), min(z + 1, start.shape[0])):
        for ry in range(max(y - 1, 0), min(y + 1, start.shape[1])):
            if stop[rz, ry] > 0:
                lo = min(lo, start[rz, ry])
                hi = max(hi, stop[rz, ry])
    return lo, hi


@part
def _first_room(start, stop, more, like):  # type: ignore[no-untyped-def]
    """Return output arrays that suffice for a point at every corner, and for ``more`` besides.

    Only corners shared by several structures can make them grow. What is never written to takes no memory.
    """
    size = 1024 + more
    nx = 1 << 62
    for z in range(start.shape[0] + 1):
        for y in range(start.shape[1] + 1):
            lo, hi = _extent_around(start, stop, z, y, nx)
            if hi > 0:
                size += hi - lo + 1
    return np.empty((size, 3), like.dtype), np.empty(size, np.uint8), np.empty(size, np.int16)


@part
def _room(points, codes, owners, n, more):  # type: ignore[no-untyped-def]
    """Return the three output arrays, grown when ``more`` further entries may not fit."""
    if n + more <= codes.size:
        return points, codes, owners
    size = 2 * (n + more)
    new_points = np.empty((size, 3), points.dtype)
    new_codes = np.empty(size, np.uint8)
    new_owners = np.empty(size, np.int16)
    for i in range(n):
        new_points[i, 0] = points[i, 0]
        new_points[i, 1] = points[i, 1]
        new_points[i, 2] = points[i, 2]
        new_codes[i] = codes[i]
        new_owners[i] = owners[i]
    return new_points, new_codes, new_owners


@part
def _copy_row(volume, z, y, lo, hi, out):  # type: ignore[no-untyped-def]
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
def _neighbour_codes(quad, width, tallest, owner, others, outside):  # type: ignore[no-untyped-def]
    """Compare the eight voxels around every corner of a row, with vector instructions only.

    For corner ``i``: ``owner`` becomes the largest of the eight labels, ``outside`` the bits of the voxels that have
    another label (0 where all eight agree), ``others`` is 0 if those are background.
    """
    a, b, c, d = quad[0], quad[1], quad[2], quad[3]
    for i in range(width + 1):
        tallest[i] = max(max(a[i], b[i]), max(c[i], d[i]))
    for i in range(width):
        owner[i] = max(tallest[i], tallest[i + 1])
    for i in range(width):
        o = owner[i]
        first = ((a[i] != o) << 7) | ((a[i + 1] != o) << 6) | ((b[i] != o) << 5) | ((b[i + 1] != o) << 4)
        second = ((c[i] != o) << 3) | ((c[i + 1] != o) << 2) | ((d[i] != o) << 1) | (d[i + 1] != o)
        outside[i] = first | second
    none = np.uint8(0)
    for i in range(width):
        o = owner[i]
        rest = max(a[i] if a[i] != o else none, a[i + 1] if a[i + 1] != o else none)
        rest = max(rest, max(b[i] if b[i] != o else none, b[i + 1] if b[i + 1] != o else none))
        rest = max(rest, max(c[i] if c[i] != o else none, c[i + 1] if c[i + 1] != o else none))
        others[i] = max(rest, max(d[i] if d[i] != o else none, d[i + 1] if d[i + 1] != o else none))


@part
def _put(points, codes, owners, n, z, y, x, code, owner):  # type: ignore[no-untyped-def]
    points[n, 0] = z
    points[n, 1] = y
    points[n, 2] = x
    codes[n] = code
    owners[n] = owner


@part
def _is_noise(n, looked, slices):  # type: ignore[no-untyped-def]
    """Tell whether points are everywhere: the first slice of anything solid is all surface, but only once."""
    return 2 * n > 3 * looked or (slices > 2 and 10 * n > 9 * looked)


@kernel
def surface_elements(volume, rows, layers, z_start, z_stop, planar, like, most, few):  # type: ignore[no-untyped-def]
    """Find the surface elements (surfels) of every structure.

    A surfel sits at a corner shared by eight voxels that are not all inside or all outside the structure. Corner
    ``(z, y, x)`` is shared by the voxels ``z-1, z`` by ``y-1, y`` by ``x-1, x``; voxels beyond the volume are
    outside. The neighbour code has bit 7 for ``(z-1, y-1, x-1)``, then x fastest, down to bit 0 for ``(z, y, x)``
    (the bit order of DeepMind's surface-distance for an array in the same axis order).

    In a plane (``planar``) the slice above is the slice itself, so that only the contour is found; corners have
    ``z = 0`` and the code says every pixel twice: 17 times surface-distance's code of the four pixels around it.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    rows : pair of ndarray of int32, shape (nz, ny)
        What :func:`row_extents` found.
    layers : ndarray of int32, shape (n_layers, n_labels)
        Structure number of each label, from 1; 0 for none.
    z_start, z_stop : ndarray of int64, shape (n_structures,)
        Slices each structure is limited to.
    planar : bool
        Whether the volume is a plane, shape (1, ny, nx).
    like : ndarray of int16 or int32
        Points are of its type.
    most : int
        So many points are enough: the search ends after the slice that has more.
    few : int
        After so many points it ends, too, where every other voxel that was looked at has one, and after a fraction of
        these where that is sure already.

    Returns
    -------
    points : ndarray of int16 or int32, shape (n, 3)
        Corners as ``(z, y, x)``, in scan order.
    codes : ndarray of uint8, shape (n,)
    owners : ndarray of int16, shape (n,)
        Structure number, from 1.
    whole : bool
        Whether these are all.
    """
    nz, ny, nx = volume.shape
    start, stop = rows
    # Scratch rows start at the extent: column i + 1 holds voxel lo + i, the margins on both sides are background.
    quad = np.zeros((4, nx + 2), volume.dtype)
    tallest = np.zeros(nx + 2, volume.dtype)
    owner_label = np.zeros(nx + 1, volume.dtype)
    others = np.zeros(nx + 1, volume.dtype)
    outside = np.zeros((nx + 16) // 8 * 8, np.uint8)
    words = outside.view(np.uint64)
    limited = _is_limited(nz, z_start, z_stop)
    low = layers.copy()
    high = layers.copy()
    eight = np.zeros(8, np.int32)
    points, codes, owners = _first_room(start, stop, 8 * layers.shape[0] * (nx + 1), like)
    n = 0
    looked = 0
    first = 0
    whole = True
    for z in range(1 if planar else nz + 1):
        if looked == 0:
            first = z
        if n > most or (n > few and 2 * n > looked) or (n > few // 16 and _is_noise(n, looked, z - first)):
            whole = False
            break
        cut = False
        if limited:
            _structures_of_slice(z - 1, layers, z_start, z_stop, low)
            _structures_of_slice(z, layers, z_start, z_stop, high)
            cut = _is_cut(z, nz, z_start, z_stop)
        either = high if z < nz else low  # both slices follow the same table, unless this is a cut
        for y in range(ny + 1):
            lo, hi = _extent_around(start, stop, z, y, nx)
            if hi == 0:
                continue
            width = hi - lo + 1
            looked += width
            for k in range(4):
                _copy_row(volume, 0 if planar else z - 1 + k // 2, y - 1 + k % 2, lo, hi, quad[k])
            _neighbour_codes(quad, width, tallest, owner_label, others, outside)
            if cut:
                for i in range(width):
                    outside[i] = 1 if owner_label[i] != 0 else 0
            points, codes, owners = _room(points, codes, owners, n, 8 * layers.shape[0] * width)
            for w in range((width - 1) // 8 + 1):
                if words[w] == 0:
                    continue
                for i in range(w * 8, (w + 1) * 8):
                    if outside[i] == 0:
                        continue
                    for g in range(layers.shape[0]):
                        if others[i] == 0 and not cut:  # one label and background: nearly everywhere
                            owner = either[g, owner_label[i]]
                            if owner != 0:
                                _put(points, codes, owners, n, z, y, lo + i, 255 - outside[i], owner)
                                n += 1
                            continue
                        for k in range(4):
                            eight[k] = low[g, quad[k // 2, i + k % 2]]
                            eight[k + 4] = high[g, quad[2 + k // 2, i + k % 2]]
                        while True:
                            owner = 0
                            for k in range(8):
                                owner = max(owner, eight[k])
                            if owner == 0:
                                break
                            code = 0
                            for k in range(8):
                                if eight[k] == owner:
                                    code |= 128 >> k
                                    eight[k] = 0
                            if code != 255:
                                _put(points, codes, owners, n, z, y, lo + i, code, owner)
                                n += 1
            for w in range((width - 1) // 8 + 1):
                words[w] = 0
    return points[:n], codes[:n], owners[:n], whole and n <= most


@kernel
def border_voxels(volume, rows, layers, z_start, z_stop, planar, like, most, few):  # type: ignore[no-untyped-def]
    """Find the border voxels of every structure: those with one of six neighbours outside it.

    The border is what ``mask ^ binary_erosion(mask)`` with the 6-neighbourhood gives (MedPy, MONAI); voxels beyond
    the volume are outside. In a plane (``planar``) there are four neighbours.

    Parameters
    ----------
    volume, rows, layers, z_start, z_stop, planar, like, most, few
        As for :func:`surface_elements`.

    Returns
    -------
    points : ndarray of int16 or int32, shape (n, 3)
        Voxels as ``(z, y, x)``, in scan order.
    codes : ndarray of uint8, shape (n,)
        All 0, so that surfels and border voxels share one layout.
    owners : ndarray of int16, shape (n,)
        Structure number, from 1.
    whole : bool
        Whether these are all.
    """
    nz, ny, nx = volume.shape
    start, stop = rows
    five = np.zeros((5, nx + 2), volume.dtype)  # the row, then its neighbours; column i + 1 holds voxel lo + i
    sides = np.zeros(nx, volume.dtype)
    changes = np.zeros((nx + 16) // 8 * 8, volume.dtype)
    words = changes.view(np.uint64)
    per_word = 8 // changes.itemsize
    limited = _is_limited(nz, z_start, z_stop)
    here = layers.copy()
    below = layers.copy()
    above = layers.copy()
    points, codes, owners = _first_room(start, stop, layers.shape[0] * nx, like)
    n = 0
    looked = 0
    first = 0
    whole = True
    for z in range(nz):
        if looked == 0:
            first = z
        if n > most or (n > few and 2 * n > looked) or (n > few // 16 and _is_noise(n, looked, z - first)):
            whole = False
            break
        cut = False
        if limited:
            _structures_of_slice(z - 1, layers, z_start, z_stop, below)
            _structures_of_slice(z, layers, z_start, z_stop, here)
            _structures_of_slice(z + 1, layers, z_start, z_stop, above)
            cut = _is_cut(z, nz, z_start, z_stop) or _is_cut(z + 1, nz, z_start, z_stop)
        for y in range(ny):
            lo, hi = start[z, y], stop[z, y]
            if hi == 0:
                continue
            _copy_row(volume, z, y, lo, hi, five[0])
            _copy_row(volume, z, y - 1, lo, hi, five[1])
            _copy_row(volume, z, y + 1, lo, hi, five[2])
            _copy_row(volume, z if planar else z - 1, y, lo, hi, five[3])
            _copy_row(volume, z if planar else z + 1, y, lo, hi, five[4])
            m, a, b, c, d = five[0], five[1], five[2], five[3], five[4]
            width = hi - lo
            looked += width
            for i in range(width):
                sides[i] = (m[i + 1] ^ a[i + 1]) | (m[i + 1] ^ b[i + 1]) | (m[i + 1] ^ c[i + 1])
            for i in range(width):
                sides[i] |= (m[i + 1] ^ d[i + 1]) | (m[i + 1] ^ m[i]) | (m[i + 1] ^ m[i + 2])
            for i in range(width):
                changes[i] = sides[i] if m[i + 1] != 0 else 0
            if cut:
                for i in range(width):
                    changes[i] = m[i + 1]
            points, codes, owners = _room(points, codes, owners, n, layers.shape[0] * width)
            for w in range((width - 1) // per_word + 1):
                if words[w] == 0:
                    continue
                for i in range(w * per_word, (w + 1) * per_word):
                    if changes[i] == 0:
                        continue
                    changes[i] = 0
                    for g in range(layers.shape[0]):
                        owner = here[g, m[i + 1]]
                        if owner == 0:
                            continue
                        border = here[g, m[i]] != owner or here[g, m[i + 2]] != owner
                        border = border or here[g, a[i + 1]] != owner or here[g, b[i + 1]] != owner
                        border = border or below[g, c[i + 1]] != owner or above[g, d[i + 1]] != owner
                        if border:
                            points[n, 0] = z
                            points[n, 1] = y
                            points[n, 2] = lo + i
                            codes[n] = 0
                            owners[n] = owner
                            n += 1
    return points[:n], codes[:n], owners[:n], whole and n <= most


@kernel
def group_by_owner(points, codes, owners, n_structures):  # type: ignore[no-untyped-def]
    """Sort points by structure, keeping scan order within each (a counting sort).

    Returns
    -------
    points : ndarray of int16 or int32, shape (n, 3)
    codes : ndarray of uint8, shape (n,)
    offsets : ndarray of int64, shape (n_structures + 1,)
        Structure ``i`` (from 0) has the points ``offsets[i]:offsets[i + 1]``.
    """
    n = codes.size
    offsets = np.zeros(n_structures + 1, np.int64)
    for i in range(n):
        offsets[owners[i]] += 1
    for s in range(n_structures):
        offsets[s + 1] += offsets[s]
    place = offsets[:-1].copy()
    sorted_points = np.empty((n, 3), points.dtype)
    sorted_codes = np.empty(n, np.uint8)
    for i in range(n):
        s = owners[i] - 1
        k = place[s]
        place[s] += 1
        sorted_points[k, 0] = points[i, 0]
        sorted_points[k, 1] = points[i, 1]
        sorted_points[k, 2] = points[i, 2]
        sorted_codes[k] = codes[i]
    return sorted_points, sorted_codes, offsets
