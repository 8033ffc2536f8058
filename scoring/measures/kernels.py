"""The hot loops over label volumes: where labels are and how two volumes overlap.

All volumes are C-ordered ``(z, y, x)`` arrays of ``uint8`` or ``uint16`` (one compiled version each). Three ideas
make these loops, and those of :mod:`medpodium.scoring.measures.tracing.search`, fast:

1. *Rows know their extent.* :func:`row_extents` finds the first and last labelled voxel of every row once; the
   other kernels never look at empty rows or margins, which is most of a medical label map.
2. *Compare whole rows, look closer only where something changes.* A surface or a run can only start where a voxel
   differs from a neighbour. The differences of a row are computed by plain loops over bytes that the compiler
   turns into vector instructions, written to a scratch row, and read back eight bytes at a time: most words are
   zero and are skipped. (Such loops start at 0: that lets the compiler drop Python's negative-index rule, without
   which it finds no vector instructions.) Corners of surfaces are compared by vector instructions that are written as
   such (:mod:`medpodium.scoring.measures.tracing.eights`).
3. *All structures at once.* Labels become structures through a lookup table, and only at those few positions.

What a kernel calls of NumPy beyond making arrays (``any``, ``sum``, ``iinfo``, whole-array expressions) is imported as
numba's module when the compiled kernel is loaded; some of these bring SciPy's linear algebra, 18 MB. So loops do it.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.words import trailing_zeros

_BLOCK = 8
"""Rows looked at together first: most are empty, and one long loop over machine words is the fastest there is."""
_FEW_LABELS = 16
"""Below it, rows of noise are compared with every label; a comparison takes a thirtieth of what counting does."""
_MOST_BYTES = 248
"""So many ones are summed up in a byte."""


@part
def _any(words, start, stop):  # type: ignore[no-untyped-def]
    seen = np.uint64(0)
    some = words[start:stop]
    for i in range(some.size):  # not over the words themselves, which are read one by one then
        seen |= some[i]
    return seen != 0


@kernel
def row_extents(volume):  # type: ignore[no-untyped-def]
    """Find the labelled part of every row.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only

    Returns
    -------
    start, stop : ndarray of int32, shape (nz, ny)
        Voxels ``start <= x < stop`` of a row include all its labelled ones; both 0 for an empty row.
    """
    nz, ny, nx = volume.shape
    start = np.zeros((nz, ny), np.int32)
    stop = np.zeros((nz, ny), np.int32)
    flat = volume.reshape(-1)
    per_word = 8 // flat.itemsize
    words = flat[: flat.size // per_word * per_word].view(np.uint64)
    for first_row in range(0, nz * ny, _BLOCK):
        end_row = min(first_row + _BLOCK, nz * ny)
        end_word = -(-end_row * nx // per_word)  # words may reach into the next block: that only costs a look
        if end_word <= words.size and not _any(words, first_row * nx // per_word, end_word):
            continue
        for r in range(first_row, end_row):
            row = flat[r * nx : (r + 1) * nx]
            largest = row[0]  # a maximum stays a byte, so one instruction compares 32 or more of them
            for x in range(nx):
                largest = max(largest, row[x])
            if largest == 0:
                continue
            word = r * nx // per_word
            while word < words.size and words[word] == 0:
                word += 1
            first = max(word * per_word - r * nx, 0)
            while row[first] == 0:
                first += 1
            last = nx - 1
            word = ((r + 1) * nx - 1) // per_word
            if word < words.size:
                while words[word] == 0:
                    word -= 1
                last = min((word + 1) * per_word - r * nx - 1, last)
            while row[last] == 0:
                last -= 1
            start[r // ny, r % ny] = first
            stop[r // ny, r % ny] = last + 1
    return start, stop


@kernel
def place_rows(piece, first, nx, volume, start, stop):  # type: ignore[no-untyped-def]
    """Put consecutive voxels into a volume of zeros, and keep the extents of its rows as :func:`row_extents` does.

    Only the labelled part of a row is written, so that memory which the system hands out at the first touch is never
    asked for where there is only background: most of a medical label map.

    Parameters
    ----------
    piece : ndarray of uint8 or uint16, shape (n,)
        Voxels, x fastest.
    first : int
        Index of ``piece[0]`` in the volume.
    nx : int
        Voxels per row.
    volume : ndarray of the piece's type, shape (n_voxels,)
        Zero wherever nothing was put before.
    start, stop : ndarray of int32, shape (n_rows,)
        Changed in place; both 0 for an empty row.
    """
    size = piece.size
    per_word = 8 // piece.itemsize
    words = piece[: size // per_word * per_word].view(np.uint64)
    r = first // nx
    x = first - r * nx  # where the piece begins in its first row; a row may come in several pieces
    begin = 0
    while begin < size:
        end_block = min(begin - x + _BLOCK * nx, size)
        end_word = -(-end_block // per_word)
        if end_word <= words.size and not _any(words, begin // per_word, end_word):
            r += _BLOCK
            x = 0
            begin = end_block
            continue
        while begin < end_block:
            end = min(begin - x + nx, size)
            row = piece[begin:end]
            largest = row[0]
            for i in range(end - begin):
                largest = max(largest, row[i])
            if largest != 0:
                word = begin // per_word
                while word < words.size and words[word] == 0:
                    word += 1
                low = max(word * per_word, begin)
                while piece[low] == 0:
                    low += 1
                high = end - 1
                word = high // per_word
                if word < words.size:
                    while words[word] == 0:
                        word -= 1
                    high = min((word + 1) * per_word - 1, high)
                while piece[high] == 0:
                    high -= 1
                source = piece[low : high + 1]
                target = volume[first + low : first + high + 1]
                for i in range(high + 1 - low):
                    target[i] = source[i]
                if stop[r] == 0:
                    start[r] = x + low - begin
                stop[r] = x + high + 1 - begin
            r += 1
            x = 0
            begin = end


@kernel
def clear_rows(volume, nx, start, stop):  # type: ignore[no-untyped-def]
    """Make a volume zero again that :func:`place_rows` filled; parameters as there."""
    for r in range(stop.size):
        if stop[r] > 0:
            row = volume[r * nx + start[r] : r * nx + stop[r]]
            for i in range(stop[r] - start[r]):
                row[i] = 0


@kernel
def mark_values(values, seen):  # type: ignore[no-untyped-def]
    """Set ``seen[value]`` for every value that is there; 0 may be left out.

    Parameters
    ----------
    values : ndarray of uint8 or uint16, shape (n,), read-only
    seen : ndarray of bool, shape (65536,)
        Changed in place.
    """
    per_word = 8 // values.itemsize
    words = values[: values.size // per_word * per_word].view(np.uint64)
    last = np.uint64(0)
    for w in range(words.size):
        if words[w] != last:  # most are background, or the same as the one before
            last = words[w]
            for i in range(w * per_word, (w + 1) * per_word):
                seen[values[i]] = True
    for i in range(words.size * per_word, values.size):
        seen[values[i]] = True


@part
def _number_of(row, label):  # type: ignore[no-untyped-def]
    """Return how often a label is in a row; sums of bytes are taken 32 or more at once."""
    total = 0
    for begin in range(0, row.size, _MOST_BYTES):
        piece = row[begin : begin + _MOST_BYTES]
        number = np.uint8(0)
        for i in range(piece.size):
            number = np.uint8(number + np.uint8(piece[i] == label))
        total += int(number)
    return total


@kernel
def joint_counts(reference, prediction, reference_rows, prediction_rows, index_of, n_indices):  # type: ignore[no-untyped-def]
    """Count every combination of reference label and predicted label, and find the reference's slices.

    Runs of equal pairs are counted at once, so the cost follows the number of runs and not of voxels.

    Parameters
    ----------
    reference, prediction : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    reference_rows, prediction_rows : pair of ndarray of int32
        What :func:`row_extents` found.
    index_of : ndarray of int32, shape (n_labels,)
        Compact index of every label; background is 0.
    n_indices : int
        Number of compact indices.

    Returns
    -------
    counts : ndarray of int64, shape (n_indices, n_indices)
        Voxels with reference index (first axis) and predicted index (second axis).
    z_first, z_stop : ndarray of int64, shape (n_indices,)
        The slices ``z_first <= z < z_stop`` of each index in the reference; both 0 where it is absent.
    """
    nz, ny, nx = reference.shape
    counts = np.zeros((n_indices, n_indices), np.int64)
    z_first = np.full(n_indices, nz, np.int64)
    z_stop = np.zeros(n_indices, np.int64)
    # noise is counted by label, and neighbours that are alike apart: neither waits for the other
    by_label = prediction.itemsize == 1 and n_indices <= 64
    apart = np.zeros((4, n_indices if by_label else 0, 256), np.int64)
    changes = np.zeros((nx + 16) // 8 * 8, reference.dtype)
    words = changes.view(np.uint64)
    per_word = 8 // changes.itemsize
    bits = 64 // per_word
    lane = np.uint64((1 << bits) - 1)
    counted = 0
    for z in range(nz):
        for y in range(ny):
            lo = min(
                reference_rows[0][z, y] if reference_rows[1][z, y] > 0 else nx,
                prediction_rows[0][z, y] if prediction_rows[1][z, y] > 0 else nx,
            )
            hi = max(reference_rows[1][z, y], prediction_rows[1][z, y])
            if hi == 0:
                continue
            r = reference[z, y, lo:hi]
            p = prediction[z, y, lo:hi]
            counted += hi - lo
            width = hi - lo
            for x in range(width - 1):
                changes[x + 1] = (r[x] ^ r[x + 1]) | (p[x] ^ p[x + 1])
            changes[width] = 1  # ends the last run
            n_changing = 0
            for w in range(width // per_word + 1):
                n_changing += words[w] != 0
            if by_label and 4 * n_changing > 3 * (width // per_word + 1):  # without asking where a run ends
                largest = p[0]
                for x in range(width):
                    largest = max(largest, p[x])
                first, behind = reference_rows[0][z, y] - lo, reference_rows[1][z, y] - lo
                if largest >= _FEW_LABELS:
                    first, behind = 0, width
                elif behind <= 0:
                    first, behind = width, width
                if behind - first < width:  # the reference is empty on both sides
                    z_first[0] = min(z_first[0], z)
                    z_stop[0] = z + 1
                    for label in range(largest + 1):
                        apart[0, 0, label] += _number_of(p[:first], label) + _number_of(p[behind:], label)
                x = first
                while x < behind:
                    i = index_of[r[x]]
                    z_first[i] = min(z_first[i], z)
                    z_stop[i] = z + 1
                    end = x + 1
                    while end < behind and r[end] == r[x]:
                        end += 1
                    for own in range(x, end):
                        apart[own & 3, i, p[own]] += 1
                    x = end
                for w in range(width // per_word + 1):
                    words[w] = 0
                continue
            run = np.int64(0)
            for w in range(width // per_word + 1):
                word = words[w]
                words[w] = 0
                while word != 0:
                    place = np.int64(trailing_zeros(word)) // bits
                    word &= ~(lane << np.uint64(place * bits))
                    edge = w * per_word + place
                    i = index_of[r[run]]
                    counts[i, index_of[p[run]]] += edge - run
                    if z < z_first[i]:
                        z_first[i] = z
                    z_stop[i] = z + 1
                    run = edge
    for i in range(apart.shape[1]):
        for label in range(min(256, index_of.size)):
            for k in range(4):
                counts[i, index_of[label]] += apart[k, i, label]
    counts[0, 0] += np.int64(nz) * ny * nx - counted
    for i in range(n_indices):
        if z_stop[i] == 0:
            z_first[i] = 0
    return counts, z_first, z_stop
