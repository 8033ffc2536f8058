"""Exact nearest-point searches between the surfaces of two masks.

Distances are searched in whole voxels (offsets ``dz, dy, dx``) and turned into millimetres at the end, so that equal
offsets give equal distances. Two searches share the work:

* :func:`near_distances` knows the other surface as one bit per grid point. It visits rows of bits in order of their
  distance and reads 64 points of a row at once; it stops as soon as the next row is farther than the best hit. Most
  points lie on or next to the other surface and cost a few nanoseconds.
* :func:`.tiles.far_offsets` serves the few points with nothing nearby. It puts the other surface into tiles with tight
  bounding boxes and looks only into tiles that can hold something nearer than the best point so far.
"""

from __future__ import annotations

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.words import leading_zeros, trailing_zeros

_PATIENCE = 32
"""Places that are looked at per point until a surface that is said to be everywhere is not."""

REACH = 32
"""The near search sees offsets ``|dx| < REACH`` in a row (half a machine word)."""


@part
def bounds(points):  # type: ignore[no-untyped-def]
    """Return the smallest and largest coordinate of ``points`` per axis, shape (2, 3)."""
    z_low, y_low, x_low = points[0, 0], points[0, 1], points[0, 2]
    z_high, y_high, x_high = z_low, y_low, x_low
    for i in range(points.shape[0]):  # the numbers stay as small as they are stored: that many fit one instruction
        z_low, z_high = min(z_low, points[i, 0]), max(z_high, points[i, 0])
        y_low, y_high = min(y_low, points[i, 1]), max(y_high, points[i, 1])
        x_low, x_high = min(x_low, points[i, 2]), max(x_high, points[i, 2])
    box = np.empty((2, 3), np.int64)
    box[0, 0], box[0, 1], box[0, 2] = z_low, y_low, x_low
    box[1, 0], box[1, 1], box[1, 2] = z_high, y_high, x_high
    return box


@part
def bit_grid(points, box):  # type: ignore[no-untyped-def]
    """Return the points as bits, and words per row: bit ``x - x_min + 64`` of row ``(z - z_min, y - y_min)``."""
    n_words = (box[1, 2] - box[0, 2] + 64) // 64 + 3
    n_y = box[1, 1] - box[0, 1] + 1
    grid = np.zeros((box[1, 0] - box[0, 0] + 1) * n_y * n_words, np.uint64)
    z_low, y_low, x_low = box[0, 0], box[0, 1], box[0, 2] - 64
    for i in range(points.shape[0]):
        bit = np.uint64(points[i, 2] - x_low)
        row = (points[i, 0] - z_low) * n_y + points[i, 1] - y_low
        grid[np.uint64(row * n_words) + (bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))
    return grid, n_words


@kernel
def near_distances(queries, weights, codes, targets, row_steps, row_squares, x_squares, ranks, n_ranks, limit):  # type: ignore[no-untyped-def]
    """Find each query's nearest target among nearby ones, summed up per distinct distance.

    Parameters
    ----------
    queries : ndarray of int16 or int32, shape (n, 3)
    weights : ndarray of float64, shape (256,)
        Weight of a query by its code (surfel area in mm², or 1).
    codes : ndarray of uint8, shape (n,)
    targets : ndarray of int16 or int32, shape (m, 3), m > 0
    row_steps : ndarray of int32, shape (k, 2)
        Row offsets ``(dz, dy)`` in ascending order of distance, the first ``(0, 0)``.
    row_squares : ndarray of float64, shape (k,)
        Squared distance of each row, mm².
    x_squares : ndarray of float64, shape (REACH + 1,)
        Squared distance of ``dx`` voxels along the row, mm².
    ranks : ndarray of int32, shape (k, REACH + 1)
        Rank of the distance of offset ``(dz, dy, dx)`` among all distances in reach.
    n_ranks : int
    limit : float
        Squared distance below which nothing can be overlooked, mm².

    Returns
    -------
    rank_weights : ndarray of float64, shape (n_ranks,)
    rank_counts : ndarray of int64, shape (n_ranks,)
    far : ndarray of int64
        Queries with nothing nearer than ``limit``.
    """
    rank_weights = np.zeros(n_ranks)
    rank_counts = np.zeros(n_ranks, np.int64)
    far = np.empty(queries.shape[0], np.int64)
    n_far = 0
    box = bounds(targets)
    grid, n_words = bit_grid(targets, box)
    z_low, y_low, x_low = box[0, 0], box[0, 1], box[0, 2] - 64
    n_z = np.uint64(box[1, 0] - box[0, 0] + 1)
    n_y = np.uint64(box[1, 1] - box[0, 1] + 1)
    n_bits = np.uint64((n_words - 1) * 64)
    reach = np.uint64(REACH)
    words_to = np.empty(row_squares.size, np.int64)
    for k in range(row_squares.size):
        words_to[k] = (row_steps[k, 0] * np.int64(n_y) + row_steps[k, 1]) * n_words
    touching_weight = 0.0  # most points lie on the other surface: distance 0
    n_touching = 0
    for i in range(queries.shape[0]):
        z = queries[i, 0] - z_low
        y = queries[i, 1] - y_low
        bit = queries[i, 2] - x_low
        first_bit = np.uint64(bit - REACH)  # a negative number becomes a huge one
        best = limit
        nearest = np.int64(-1)
        if first_bit < n_bits:
            row = (z * np.int64(n_y) + y) * n_words
            if np.uint64(z) < n_z and np.uint64(y) < n_y:
                own = grid[np.uint64(row) + (np.uint64(bit) >> np.uint64(6))]
                if (own >> (np.uint64(bit) & np.uint64(63))) & np.uint64(1):
                    touching_weight += weights[codes[i]]
                    n_touching += 1
                    continue
            first_word = row + np.int64(first_bit >> np.uint64(6))
            shift = first_bit & np.uint64(63)
            rest = np.uint64(63) - shift
            for k in range(row_squares.size):
                if row_squares[k] >= best:
                    break
                if np.uint64(z + row_steps[k, 0]) >= n_z or np.uint64(y + row_steps[k, 1]) >= n_y:
                    continue
                # 64 points of the row: bit REACH is the query's own x; two shifts, as shifting by 64 is undefined
                word = np.uint64(first_word + words_to[k])
                window = grid[word] >> shift
                window |= (grid[word + np.uint64(1)] << np.uint64(1)) << rest
                # no branch, as what is there cannot be foreseen; nothing at REACH or beyond is nearer than the limit
                right = trailing_zeros(window >> reach)  # 64 when nothing is set
                left = leading_zeros(window << reach) + np.uint64(1)  # 65 when nothing is set
                step = min(min(right, left), reach)
                square = row_squares[k] + x_squares[step]
                nearest = np.int64(step) + k * (REACH + 1) if square < best else nearest
                best = min(square, best)
        rank = -1 if nearest < 0 else ranks[nearest // (REACH + 1), nearest % (REACH + 1)]
        if rank < 0:
            far[n_far] = i
            n_far += 1
        else:
            rank_weights[rank] += weights[codes[i]]
            rank_counts[rank] += 1
    rank_weights[ranks[0, 0]] += touching_weight
    rank_counts[ranks[0, 0]] += n_touching
    return rank_weights, rank_counts, far[:n_far].copy()


@part
def is_inside(volume, member, z, y, x, z_start, z_stop, edge):  # type: ignore[no-untyped-def]
    """Tell whether a voxel is in a structure; beyond it as in ``planes.surfel_codes``."""
    nz, ny, nx = volume.shape
    if not edge:
        z, y, x = min(max(z, max(z_start, 0)), min(z_stop, nz) - 1), min(max(y, 0), ny - 1), min(max(x, 0), nx - 1)
    elif z < max(z_start, 0) or z >= min(z_stop, nz) or y < 0 or y >= ny or x < 0 or x >= nx:
        return False
    return member[volume[z, y, x]] != 0


@part
def is_point(volume, member, z, y, x, z_start, z_stop, planar, edge, surfels):  # type: ignore[no-untyped-def]
    """Tell whether a structure's surface has a point there, as ``planes.surfel_codes`` or ``border_codes`` does."""
    if surfels:
        first = is_inside(volume, member, z, y, x, z_start, z_stop, edge)
        for k in range(4 if planar else 8):
            own = is_inside(volume, member, z - (k >> 2), y - (k >> 1 & 1), x - (k & 1), z_start, z_stop, edge)
            if own != first:
                return True
        return False
    if not is_inside(volume, member, z, y, x, z_start, z_stop, edge):
        return False
    for step in (-1, 1):
        if not is_inside(volume, member, z, y, x + step, z_start, z_stop, edge):
            return True
        if not is_inside(volume, member, z, y + step, x, z_start, z_stop, edge):
            return True
        if not planar and not is_inside(volume, member, z + step, y, x, z_start, z_stop, edge):
            return True
    return False


@kernel
def look_around(points, steps, low, high, volume, member, z_start, z_stop, planar, edge, surfels):  # type: ignore[no-untyped-def]
    """Look for the first of some steps from each point that leads to a structure's surface.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3)
    steps : ndarray of int64, shape (k, 3)
        Offsets, the nearest first.
    low, high : ndarray of int64, shape (3,)
        The box that holds the surface.
    volume, member, z_start, z_stop, planar, edge
        As for ``planes.surfel_codes``.
    surfels : bool
        Whether the surface is made of surface elements, else of border voxels.

    Returns
    -------
    ndarray of int64, shape (n,)
        Numbers of steps; -1 for none, and for all points from where the search turned out to be long.
    """
    found = np.full(points.shape[0], -1)
    looked = 0
    for i in range(points.shape[0]):
        if looked > _PATIENCE * (i + _PATIENCE):
            break
        for k in range(steps.shape[0]):
            looked += 1
            z, y, x = points[i, 0] + steps[k, 0], points[i, 1] + steps[k, 1], points[i, 2] + steps[k, 2]
            if not (low[0] <= z < high[0] and low[1] <= y < high[1] and low[2] <= x < high[2]):
                continue
            if is_point(volume, member, z, y, x, z_start, z_stop, planar, edge, surfels):
                found[i] = k
                break
    return found
