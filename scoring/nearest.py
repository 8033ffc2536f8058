"""Exact nearest-point searches between the surfaces of two masks.

Distances are searched in whole voxels (offsets ``dz, dy, dx``) and turned into millimetres at the end, so that equal
offsets give equal distances. Two searches share the work:

* :func:`near_distances` knows the other surface as one bit per grid point. It visits rows of bits in order of their
  distance and reads 64 points of a row at once; it stops as soon as the next row is farther than the best hit. Most
  points lie on or next to the other surface and cost a few nanoseconds.
* :func:`far_offsets` serves the few points with nothing nearby. It puts the other surface into tiles with tight
  bounding boxes and looks only into tiles that can hold something nearer than the best point so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

REACH = 32
"""The near search sees offsets ``|dx| < REACH`` in a row (half a machine word)."""


def _count_trailing(typing_context, word):  # type: ignore[no-untyped-def] # noqa: ARG001 - numba's calling rule
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def] # noqa: ARG001
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


def _count_leading(typing_context, word):  # type: ignore[no-untyped-def] # noqa: ARG001 - numba's calling rule
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def] # noqa: ARG001
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


# One machine instruction each; both give 64 for the word 0.
_trailing_zeros: Any = intrinsic(_count_trailing)
_leading_zeros: Any = intrinsic(_count_leading)


@njit(cache=True, nogil=True)
def bounds(points):  # type: ignore[no-untyped-def]
    """Return the smallest and largest coordinate of ``points`` per axis, shape (2, 3)."""
    box = np.empty((2, 3), np.int64)
    for axis in range(3):
        box[0, axis] = points[0, axis]
        box[1, axis] = points[0, axis]
    for i in range(points.shape[0]):
        for axis in range(3):
            box[0, axis] = min(box[0, axis], points[i, axis])
            box[1, axis] = max(box[1, axis], points[i, axis])
    return box


@njit(cache=True, nogil=True)
def bit_grid(points, box):  # type: ignore[no-untyped-def]
    """Return the points as bits, shape (nz, ny, words): bit ``x - x_min + 64`` of row ``(z - z_min, y - y_min)``."""
    n_words = (box[1, 2] - box[0, 2] + 64) // 64 + 3
    grid = np.zeros((box[1, 0] - box[0, 0] + 1, box[1, 1] - box[0, 1] + 1, n_words), np.uint64)
    for i in range(points.shape[0]):
        bit = points[i, 2] - box[0, 2] + 64
        grid[points[i, 0] - box[0, 0], points[i, 1] - box[0, 1], bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
    return grid


@njit(cache=True, nogil=True)
def near_distances(queries, weights, codes, targets, row_steps, row_squares, x_squares, ranks, n_ranks, limit):  # type: ignore[no-untyped-def]
    """Find each query's nearest target among nearby ones, summed up per distinct distance.

    Parameters
    ----------
    queries : ndarray of int32, shape (n, 3)
    weights : ndarray of float64, shape (256,)
        Weight of a query by its code (surfel area in mm², or 1).
    codes : ndarray of uint8, shape (n,)
    targets : ndarray of int32, shape (m, 3), m > 0
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
    grid = bit_grid(targets, box)
    n_z, n_y, n_words = grid.shape
    for i in range(queries.shape[0]):
        z = queries[i, 0] - box[0, 0]
        y = queries[i, 1] - box[0, 1]
        first_bit = queries[i, 2] - box[0, 2] + 64 - REACH
        best = limit
        rank = -1
        if 0 <= first_bit < (n_words - 1) * 64:
            word = first_bit >> 6
            shift = np.uint64(first_bit & 63)
            rest = np.uint64(63) - shift
            for k in range(row_squares.size):
                if row_squares[k] >= best:
                    break
                row_z = z + row_steps[k, 0]
                row_y = y + row_steps[k, 1]
                if row_z < 0 or row_z >= n_z or row_y < 0 or row_y >= n_y:
                    continue
                # 64 points of the row: bit REACH is the query's own x; two shifts, as shifting by 64 is undefined
                window = grid[row_z, row_y, word] >> shift
                window |= (grid[row_z, row_y, word + 1] << np.uint64(1)) << rest
                if window == 0:
                    continue
                right = np.int64(_trailing_zeros(window >> np.uint64(REACH)))  # 64 when nothing is set
                left = np.int64(_leading_zeros(window << np.uint64(REACH))) + 1 if window << np.uint64(REACH) else 64
                step = min(right, left)
                square = row_squares[k] + x_squares[step]
                if square < best:
                    best = square
                    rank = ranks[k, step]
        if rank < 0:
            far[n_far] = i
            n_far += 1
        else:
            rank_weights[rank] += weights[codes[i]]
            rank_counts[rank] += 1
    return rank_weights, rank_counts, far[:n_far].copy()


@njit(cache=True, nogil=True)
def _tiles(points, edges):  # type: ignore[no-untyped-def]
    """Sort points into tiles of ``edges`` voxels; return them with tile offsets and tight bounding boxes."""
    box = bounds(points)
    n_y = (box[1, 1] - box[0, 1]) // edges[1] + 1
    n_x = (box[1, 2] - box[0, 2]) // edges[2] + 1
    n_z = (box[1, 0] - box[0, 0]) // edges[0] + 1
    n = points.shape[0]
    tile_of = np.empty(n, np.int64)
    sizes = np.zeros(n_z * n_y * n_x + 1, np.int64)
    for i in range(n):
        tile = (points[i, 0] - box[0, 0]) // edges[0] * n_y + (points[i, 1] - box[0, 1]) // edges[1]
        tile_of[i] = tile * n_x + (points[i, 2] - box[0, 2]) // edges[2]
        sizes[tile_of[i]] += 1
    # only occupied tiles are kept: number them, and turn sizes into places
    n_tiles = 0
    place = 0
    offsets = np.empty(min(n, sizes.size) + 1, np.int64)
    for tile in range(sizes.size):
        if sizes[tile] > 0:
            offsets[n_tiles] = place
            place += sizes[tile]
            sizes[tile] = offsets[n_tiles]
            n_tiles += 1
    offsets[n_tiles] = n
    ordered = np.empty((n, 3), np.int32)
    for i in range(n):
        k = sizes[tile_of[i]]
        sizes[tile_of[i]] += 1
        for axis in range(3):
            ordered[k, axis] = points[i, axis]
    boxes = np.empty((6, n_tiles))
    for tile in range(n_tiles):
        tile_box = bounds(ordered[offsets[tile] : offsets[tile + 1]])
        for axis in range(3):
            boxes[axis, tile] = tile_box[0, axis]
            boxes[3 + axis, tile] = tile_box[1, axis]
    return ordered, offsets[: n_tiles + 1], boxes


@njit(cache=True, nogil=True)
def far_offsets(queries, targets, edges, spacing):  # type: ignore[no-untyped-def]
    """Find each query's nearest target, however far.

    Parameters
    ----------
    queries : ndarray of int32, shape (n, 3)
    targets : ndarray of int32, shape (m, 3), m > 0
    edges : ndarray of int64, shape (3,)
        Tile size in voxels; any size is correct, about 8 of the finest voxels is fast.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    offsets : ndarray of int64, shape (n, 3)
        ``|dz|, |dy|, |dx|`` to the nearest target, in voxels.
    """
    points, starts, boxes = _tiles(targets, edges)
    n_tiles = starts.size - 1
    lower = np.empty(n_tiles)
    offsets = np.empty((queries.shape[0], 3), np.int64)
    sz, sy, sx = spacing[0], spacing[1], spacing[2]
    winner = 0
    for i in range(queries.shape[0]):
        z, y, x = queries[i, 0], queries[i, 1], queries[i, 2]
        nearest_tile = 0
        for tile in range(n_tiles):
            dz = max(boxes[0, tile] - z, z - boxes[3, tile], 0.0) * sz
            dy = max(boxes[1, tile] - y, y - boxes[4, tile], 0.0) * sy
            dx = max(boxes[2, tile] - x, x - boxes[5, tile], 0.0) * sx
            lower[tile] = dz * dz + dy * dy + dx * dx
        for tile in range(n_tiles):
            if lower[tile] < lower[nearest_tile]:
                nearest_tile = tile
        # the previous query was next door: its nearest target is a good first bound
        dz, dy, dx = (points[winner, 0] - z) * sz, (points[winner, 1] - y) * sy, (points[winner, 2] - x) * sx
        best = dz * dz + dy * dy + dx * dx
        for turn in range(n_tiles + 1):
            tile = nearest_tile if turn == 0 else turn - 1
            if lower[tile] >= best:
                continue
            for k in range(starts[tile], starts[tile + 1]):
                dz, dy, dx = (points[k, 0] - z) * sz, (points[k, 1] - y) * sy, (points[k, 2] - x) * sx
                square = dz * dz + dy * dy + dx * dx
                if square < best:
                    best = square
                    winner = k
        offsets[i, 0] = abs(points[winner, 0] - z)
        offsets[i, 1] = abs(points[winner, 1] - y)
        offsets[i, 2] = abs(points[winner, 2] - x)
    return offsets
