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
from medpodium.scoring.measures.tracing.eights import BLOCK, differing, labelled, largest, next_largest
from medpodium.scoring.measures.tracing.scanning import (
    copy_row,
    first_room,
    grown,
    is_cut,
    is_limited,
    is_noise,
    join_rows,
    structures_of_slice,
)
from medpodium.scoring.measures.words import trailing_zeros


@part
def _is_single(layers):  # type: ignore[no-untyped-def]
    """Tell whether every structure has one label in each layer: comparing labels compares structures then."""
    single = True
    n_structures = 0
    for g in range(layers.shape[0]):
        for label in range(layers.shape[1]):
            n_structures = max(n_structures, layers[g, label])
    seen = np.zeros(n_structures + 1, np.int64)  # the last layer, counted from 1, that has the structure
    for g in range(layers.shape[0]):
        for label in range(layers.shape[1]):
            s = layers[g, label]
            single &= s == 0 or seen[s] <= g
            seen[s] = g + 1
    return single


@part
def _put_all(change, x, found, kinds, table, along, codes, owners, n):  # type: ignore[no-untyped-def]
    """Write a point for every label of a corner that has a bit, if the label is a structure's; return their number.

    ``found`` has the largest label of every corner of a block, then the next of each, and so on.
    """
    last = np.uint64(n)
    end = np.uint64(found.size)
    while change != 0:
        at = trailing_zeros(change)
        change &= change - np.uint64(1)
        corner = x + np.int64(at)
        while at < end:
            owner = table[found[at]]
            along[last] = corner
            codes[last] = kinds[at]
            owners[last] = owner
            last += np.uint64(owner != 0)
            at += np.uint64(BLOCK)
    return np.int64(last)


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
    counts : ndarray of int32, shape (nz + 1, ny + 1)
        Surfels in each row of corners.
    along : ndarray of int16 or int32, shape (n,)
        Coordinate ``x`` of each, in scan order.
    codes : ndarray of uint8, shape (n,)
    owners : ndarray of int16, shape (n,)
        Structure number, from 1.
    whole : bool
        Whether these are all.
    """
    nz, ny, nx = volume.shape
    start, stop = rows
    lo_of = np.empty(ny + 2, np.int32)
    hi_of = np.empty(ny + 2, np.int32)
    flat = volume.reshape(-1)
    pitch = nx + 2 + BLOCK
    quad = np.zeros(4 * pitch, volume.dtype)
    # of each block of corners in a row: which differ, and their labels with codes, the largest label first
    n_blocks = nx // BLOCK + 1
    changes = np.zeros(n_blocks, np.uint64)
    ends = np.zeros(n_blocks, np.int64)
    found = np.zeros(8 * BLOCK * n_blocks, volume.dtype)
    kinds = np.zeros(8 * BLOCK * n_blocks, np.uint8)
    single = _is_single(layers)
    limited = is_limited(nz, z_start, z_stop)
    low = layers.copy()
    high = layers.copy()
    eight = np.zeros(8, np.int32)
    n_layers = layers.shape[0]
    counts = np.zeros((nz + 1, ny + 1), np.int32)
    along, codes, owners = first_room(start, stop, 8 * n_layers * (nx + 1), like)
    n = 0
    looked = 0
    first = 0
    whole = True
    for z in range(1 if planar else nz + 1):
        above = z if planar else z - 1
        if looked == 0:
            first = z
        if n > most or (n > few and 2 * n > looked) or (n > few // 16 and is_noise(n, looked, z - first)):
            whole = False
            break
        cut = False
        if limited:
            structures_of_slice(above, layers, z_start, z_stop, low)
            structures_of_slice(z, layers, z_start, z_stop, high)
            cut = is_cut(z, nz, z_start, z_stop)
        either = high if z < nz else low  # both slices follow the same table, unless this is a cut
        join_rows(start, stop, z, np.int32(nx), lo_of, hi_of)
        for y in range(ny + 1):
            lo, hi = np.int64(lo_of[y]), np.int64(hi_of[y])
            if hi == 0:
                continue
            width = hi - lo + 1
            looked += int(width)
            if n + 8 * n_layers * width > codes.size:
                along, codes, owners = grown(along, codes, owners, n, 2 * (n + 8 * n_layers * width))
            # Corner i lies between places i and i + 1 of four rows. They are those of the volume, which has background
            # on either side, or copies where that is missing: at the image's border and where blocks end beyond it.
            a = (above * ny + y - 1) * nx + lo - 1
            c = a + (z - above) * ny * nx
            row = nx
            labels = flat
            inside = lo > 0 and hi < nx and 0 < y < ny and (planar or 0 < z < nz)
            if not inside or c + row + (width + BLOCK - 1) // BLOCK * BLOCK >= flat.size:
                for k in range(4):
                    copy = quad[k * pitch : (k + 1) * pitch]
                    copy_row(volume, z if k > 1 else above, y - 1 + k % 2, lo, hi, copy)
                a, c, row = 0, 2 * pitch, pitch
                labels = quad
            b, d = a + row, c + row
            # First compare all, then write points: each loop keeps its numbers in registers.
            for i in range(0, width, BLOCK):
                j = i // BLOCK
                four = a + i, b + i, c + i, d + i
                change = labelled(labels, *four) if cut else differing(labels, *four)
                if width - i < BLOCK:
                    change &= (np.uint64(1) << np.uint64(width - i)) - np.uint64(1)
                changes[j] = change
                if change == 0 or cut:
                    continue
                end = 8 * i
                more = change & largest(labels, *four, found, kinds, end)
                end += BLOCK
                while more != 0:
                    more = change & next_largest(labels, *four, found, kinds, end)
                    end += BLOCK
                ends[j] = end
            n_before = n
            for j in range((width + BLOCK - 1) // BLOCK):
                change = changes[j]
                if change == 0:
                    continue
                begin, end = 8 * BLOCK * j, ends[j]
                x = lo + BLOCK * j
                if not cut and n_layers == 1 and (single or end == begin + BLOCK):
                    n = _put_all(change, x, found[begin:end], kinds[begin:end], either[0], along, codes, owners, n)
                    continue
                while change != 0:
                    lane = np.int64(trailing_zeros(change))
                    change &= change - np.uint64(1)
                    for g in range(n_layers):
                        if not cut:
                            for at in range(begin + lane, end, BLOCK):
                                owner = either[g, found[at]]
                                code = kinds[at]
                                new = owner != 0
                                for other in range(begin + lane, end, BLOCK):  # labels of the same structure
                                    same = either[g, found[other]] == owner
                                    code |= kinds[other] if same else np.uint8(0)
                                    new &= other >= at or not same
                                along[n] = x + lane
                                codes[n] = code
                                owners[n] = owner
                                n += new and code != 255
                            continue
                        corner = BLOCK * j + lane
                        for i in range(2):
                            eight[i] = low[g, labels[a + corner + i]]
                            eight[2 + i] = low[g, labels[b + corner + i]]
                            eight[4 + i] = high[g, labels[c + corner + i]]
                            eight[6 + i] = high[g, labels[d + corner + i]]
                        while True:
                            owner = 0
                            for i in range(8):
                                owner = max(owner, eight[i])
                            if owner == 0:
                                break
                            code = 0
                            for i in range(8):
                                if eight[i] == owner:
                                    code |= 128 >> i
                                    eight[i] = 0
                            if code != 255:
                                along[n] = x + lane
                                codes[n] = code
                                owners[n] = owner
                                n += 1
            counts[z, y] = n - n_before
    return counts, along[:n], codes[:n], owners[:n], whole and n <= most


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
    counts : ndarray of int32, shape (nz, ny)
        Border voxels in each row.
    along : ndarray of int16 or int32, shape (n,)
        Coordinate ``x`` of each, in scan order.
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
    limited = is_limited(nz, z_start, z_stop)
    here = layers.copy()
    below = layers.copy()
    above = layers.copy()
    counts = np.zeros((nz, ny), np.int32)
    along, codes, owners = first_room(start, stop, layers.shape[0] * nx, like)
    n = 0
    looked = 0
    first = 0
    whole = True
    for z in range(nz):
        if looked == 0:
            first = z
        if n > most or (n > few and 2 * n > looked) or (n > few // 16 and is_noise(n, looked, z - first)):
            whole = False
            break
        cut = False
        if limited:
            structures_of_slice(z - 1, layers, z_start, z_stop, below)
            structures_of_slice(z, layers, z_start, z_stop, here)
            structures_of_slice(z + 1, layers, z_start, z_stop, above)
            cut = is_cut(z, nz, z_start, z_stop) or is_cut(z + 1, nz, z_start, z_stop)
        for y in range(ny):
            lo, hi = start[z, y], stop[z, y]
            if hi == 0:
                continue
            copy_row(volume, z, y, lo, hi, five[0])
            copy_row(volume, z, y - 1, lo, hi, five[1])
            copy_row(volume, z, y + 1, lo, hi, five[2])
            copy_row(volume, z if planar else z - 1, y, lo, hi, five[3])
            copy_row(volume, z if planar else z + 1, y, lo, hi, five[4])
            m, a, b, c, d = five[0], five[1], five[2], five[3], five[4]
            width = hi - lo
            looked += width
            n_before = n
            for i in range(width):
                sides[i] = (m[i + 1] ^ a[i + 1]) | (m[i + 1] ^ b[i + 1]) | (m[i + 1] ^ c[i + 1])
            for i in range(width):
                sides[i] |= (m[i + 1] ^ d[i + 1]) | (m[i + 1] ^ m[i]) | (m[i + 1] ^ m[i + 2])
            for i in range(width):
                changes[i] = sides[i] if m[i + 1] != 0 else 0
            if cut:
                for i in range(width):
                    changes[i] = m[i + 1]
            if n + layers.shape[0] * width > codes.size:
                along, codes, owners = grown(along, codes, owners, n, 2 * (n + layers.shape[0] * width))
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
                            along[n] = lo + i
                            codes[n] = 0
                            owners[n] = owner
                            n += 1
            counts[z, y] = n - n_before
    return counts, along[:n], codes[:n], owners[:n], whole and n <= most
