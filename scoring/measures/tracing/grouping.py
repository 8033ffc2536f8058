"""Surface points that were found row after row (:mod:`medpodium.scoring.measures.tracing.search`), by structure."""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel


@kernel
def group_by_owner(counts, along, codes, owners, n_structures):  # type: ignore[no-untyped-def]
    """Sort points by structure, keeping scan order within each (a counting sort).

    Parameters
    ----------
    counts, along, codes, owners
        As ``search.surface_elements`` returns them.
    n_structures : int

    Returns
    -------
    points : ndarray of int16 or int32, shape (n, 3)
        ``(z, y, x)``.
    codes : ndarray of uint8, shape (n,)
    offsets : ndarray of int64, shape (n_structures + 1,)
        Structure ``i`` (from 0) has the points ``offsets[i]:offsets[i + 1]``.
    """
    n = codes.size
    # neighbours are counted apart: neither waits for the other's sum to be written
    sizes = np.zeros((4, n_structures + 1), np.int64)
    for i in range(n // 4):
        for k in range(4):
            sizes[k, owners[4 * i + k]] += 1
    for i in range(n // 4 * 4, n):
        sizes[0, owners[i]] += 1
    offsets = np.zeros(n_structures + 1, np.int64)
    for s in range(n_structures):
        offsets[s + 1] = offsets[s] + sizes[0, s + 1] + sizes[1, s + 1] + sizes[2, s + 1] + sizes[3, s + 1]
    place = np.zeros(n_structures + 1, np.uint64)
    for s in range(n_structures):
        place[s + 1] = offsets[s]
    points = np.empty((n, 3), along.dtype)
    flat = points.reshape(-1)
    sorted_codes = np.empty(n, np.uint8)
    at = np.uint64(0)
    for z in range(counts.shape[0]):
        for y in range(counts.shape[1]):
            for _ in range(counts[z, y]):
                owner = np.uint16(owners[at])
                to = place[owner]
                place[owner] = to + np.uint64(1)
                flat[np.uint64(3) * to] = z
                flat[np.uint64(3) * to + np.uint64(1)] = y
                flat[np.uint64(3) * to + np.uint64(2)] = along[at]
                sorted_codes[to] = codes[at]
                at += np.uint64(1)
    return points, sorted_codes, offsets


@kernel
def points_in_order(counts, along):  # type: ignore[no-untyped-def]
    """Return points ``(z, y, x)``, shape (n, 3), in scan order; parameters as in :func:`group_by_owner`."""
    points = np.empty((along.size, 3), along.dtype)
    stop = 0
    for z in range(counts.shape[0]):
        for y in range(counts.shape[1]):
            start = stop
            stop += counts[z, y]
            for i in range(start, stop):
                points[i, 0] = z
                points[i, 1] = y
                points[i, 2] = along[i]
    return points


@kernel
def points_of(counts, along, codes, owners, structure):  # type: ignore[no-untyped-def]
    """Return points and codes of one structure (numbered from 1) alone, as :func:`group_by_owner` would."""
    n = 0
    for i in range(owners.size):
        n += owners[i] == structure
    points = np.empty((n, 3), along.dtype)
    own_codes = np.empty(n, np.uint8)
    k = 0
    stop = 0
    for z in range(counts.shape[0]):
        for y in range(counts.shape[1]):
            start = stop
            stop += counts[z, y]
            for i in range(start, stop):
                if owners[i] == structure:
                    points[k, 0] = z
                    points[k, 1] = y
                    points[k, 2] = along[i]
                    own_codes[k] = codes[i]
                    k += 1
    return points, own_codes
