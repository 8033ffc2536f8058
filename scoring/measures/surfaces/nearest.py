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

import math

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.words import leading_zeros, trailing_zeros

_MOST_TILES = 1 << 20
"""Places for tiles, occupied or not; more only where there are more points."""

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


def tile_shifts(n_targets: int, spacing_zyx: tuple[float, float, float]) -> npt.NDArray[np.int64]:
    """Return tile edges (log2 of voxels per axis) that balance the number of tiles and the points in each.

    A surface is a plane to a tile, so a tile of edge ``n ** 0.25`` holds about ``n ** 0.5`` points.
    """
    edge = 0.8 * n_targets**0.25 * min(spacing_zyx)
    return np.array([max(0, round(math.log2(edge / s))) for s in spacing_zyx], np.int64)


@part
def _occupied(sizes, n):  # type: ignore[no-untyped-def]
    """Turn the sizes of cells into places for what they hold, ``n`` in all; return offsets of those that hold any."""
    n_cells = 0
    place = 0
    offsets = np.empty(min(n, sizes.size) + 1, np.int64)
    for cell in range(sizes.size):
        if sizes[cell] > 0:
            offsets[n_cells] = place
            place += sizes[cell]
            sizes[cell] = offsets[n_cells]
            n_cells += 1
    offsets[n_cells] = n
    return offsets[: n_cells + 1]


@part
def tiles(points, shifts):  # type: ignore[no-untyped-def]
    """Sort points into tiles of ``2 ** shifts`` voxels; return them with tile offsets and tight bounding boxes."""
    box = bounds(points)
    n = points.shape[0]
    shifts = shifts.copy()
    while True:
        n_z = ((box[1, 0] - box[0, 0]) >> shifts[0]) + 1
        n_y = ((box[1, 1] - box[0, 1]) >> shifts[1]) + 1
        n_x = ((box[1, 2] - box[0, 2]) >> shifts[2]) + 1
        if n_z * n_y * n_x <= max(_MOST_TILES, n):
            break
        shifts += 1  # a few points far apart: small tiles would be as many as the volume has voxels
    tile_of = np.empty(n, np.int64)
    sizes = np.zeros(n_z * n_y * n_x + 1, np.int64)
    for i in range(n):
        row = ((points[i, 0] - box[0, 0]) >> shifts[0]) * n_y + ((points[i, 1] - box[0, 1]) >> shifts[1])
        tile_of[i] = row * n_x + ((points[i, 2] - box[0, 2]) >> shifts[2])
        sizes[tile_of[i]] += 1
    offsets = _occupied(sizes, n)
    n_tiles = offsets.size - 1
    ordered = np.empty((n, 3), points.dtype)
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
    return ordered, offsets, boxes


@kernel
def tiled(points, shifts):  # type: ignore[no-untyped-def]
    """Return what :func:`tiles` does."""
    return tiles(points, shifts)


@part
def _length(first, second, spacing):  # type: ignore[no-untyped-def]
    dz = (first[0] - second[0]) * spacing[0]
    dy = (first[1] - second[1]) * spacing[1]
    dx = (first[2] - second[2]) * spacing[2]
    return math.sqrt(dz * dz + dy * dy + dx * dx)


@part
def _square_to_box(z, y, x, boxes, tile, sz, sy, sx):  # type: ignore[no-untyped-def]
    """Return the squared distance from a point to a tile's bounding box."""
    dz = max(boxes[0, tile] - z, z - boxes[3, tile], 0.0) * sz
    dy = max(boxes[1, tile] - y, y - boxes[4, tile], 0.0) * sy
    dx = max(boxes[2, tile] - x, x - boxes[5, tile], 0.0) * sx
    return dz * dz + dy * dy + dx * dx


@part
def _blocks_of_tiles(starts, boxes, shifts):  # type: ignore[no-untyped-def]
    """Sort tiles into blocks of ``2 ** shifts`` voxels; return the tiles, where blocks begin, and both kinds of boxes.

    Returns
    -------
    begins, ends : ndarray of int64, shape (n_tiles,)
        Points of each tile.
    boxes : ndarray of float64, shape (6, n_tiles)
        Box of each tile, in the same order.
    offsets : ndarray of int64, shape (n_blocks + 1,)
        Tiles of each block.
    around : ndarray of float64, shape (6, n_blocks)
    """
    n_tiles = starts.size - 1
    low = np.empty(3, np.int64)
    high = np.empty(3, np.int64)
    for axis in range(3):
        low[axis] = np.int64(boxes[axis, 0])
        high[axis] = low[axis]
        for tile in range(n_tiles):
            low[axis] = min(low[axis], np.int64(boxes[axis, tile]))
            high[axis] = max(high[axis], np.int64(boxes[axis, tile]))
    n_y = ((high[1] - low[1]) >> shifts[1]) + 1
    n_x = ((high[2] - low[2]) >> shifts[2]) + 1
    block_of = np.empty(n_tiles, np.int64)
    sizes = np.zeros((((high[0] - low[0]) >> shifts[0]) + 1) * n_y * n_x + 1, np.int64)
    for tile in range(n_tiles):
        row = ((np.int64(boxes[0, tile]) - low[0]) >> shifts[0]) * n_y
        row += (np.int64(boxes[1, tile]) - low[1]) >> shifts[1]
        block_of[tile] = row * n_x + ((np.int64(boxes[2, tile]) - low[2]) >> shifts[2])
        sizes[block_of[tile]] += 1
    offsets = _occupied(sizes, n_tiles)
    n_blocks = offsets.size - 1
    begins = np.empty(n_tiles, np.int64)
    ends = np.empty(n_tiles, np.int64)
    own = np.empty((6, n_tiles))
    for tile in range(n_tiles):
        k = sizes[block_of[tile]]
        sizes[block_of[tile]] += 1
        begins[k] = starts[tile]
        ends[k] = starts[tile + 1]
        for side in range(6):
            own[side, k] = boxes[side, tile]
    around = np.empty((6, n_blocks))
    for block in range(n_blocks):
        for axis in range(3):
            around[axis, block] = own[axis, offsets[block]]
            around[3 + axis, block] = own[3 + axis, offsets[block]]
            for k in range(offsets[block], offsets[block + 1]):
                around[axis, block] = min(around[axis, block], own[axis, k])
                around[3 + axis, block] = max(around[3 + axis, block], own[3 + axis, k])
    return begins, ends, own, offsets, around


@kernel
def far_offsets(queries, targets, shifts, spacing):  # type: ignore[no-untyped-def]
    """Find each query's nearest target, however far.

    Targets lie in tiles and these in blocks: few blocks are looked at, few of their tiles, and few points of these.

    Parameters
    ----------
    queries : ndarray of int16 or int32, shape (n, 3)
        Fast when neighbours follow each other, as in scan order.
    targets : ndarray of int16 or int32, shape (m, 3), m > 0
    shifts : ndarray of int64, shape (3,)
        Size of tiles, log2 of voxels; any size is correct, see :func:`tile_shifts` for a fast one. They are halved
        here, and blocks have twice the edge.
    spacing : ndarray of float64, shape (3,)
        Voxel size along z, y, x in mm.

    Returns
    -------
    offsets : ndarray of int64, shape (n, 3)
        ``|dz|, |dy|, |dx|`` to the nearest target, in voxels.
    """
    inner = shifts.copy()
    for axis in range(3):
        inner[axis] = max(shifts[axis] - 1, 0)
    points, starts, tile_boxes = tiles(targets, inner)
    begins, ends, boxes, blocks, around = _blocks_of_tiles(starts, tile_boxes, shifts + 1)
    n_blocks = blocks.size - 1
    nearby = np.empty(n_blocks, np.int64)
    n_nearby = 0
    slack = 16 * min(spacing[0], spacing[1], spacing[2])
    anchor = -1
    offsets = np.empty((queries.shape[0], 3), np.int64)
    sz, sy, sx = spacing[0], spacing[1], spacing[2]
    winner = 0
    for i in range(queries.shape[0]):
        z, y, x = queries[i, 0], queries[i, 1], queries[i, 2]
        # the previous query was next door: its nearest target is a good first bound
        dz, dy, dx = (points[winner, 0] - z) * sz, (points[winner, 1] - y) * sy, (points[winner, 2] - x) * sx
        best = dz * dz + dy * dy + dx * dx
        if anchor < 0 or _length(queries[i], queries[anchor], spacing) > slack:
            # whatever is nearest to a query within `slack` of this one lies in one of these blocks
            anchor = i
            n_nearby = 0
            farthest = (math.sqrt(best) + 2 * slack) ** 2
            for block in range(n_blocks):
                if _square_to_box(z, y, x, around, block, sz, sy, sx) <= farthest:
                    nearby[n_nearby] = block
                    n_nearby += 1
        for j in range(n_nearby):
            block = nearby[j]
            if _square_to_box(z, y, x, around, block, sz, sy, sx) >= best:
                continue
            for tile in range(blocks[block], blocks[block + 1]):
                if _square_to_box(z, y, x, boxes, tile, sz, sy, sx) >= best:
                    continue
                for k in range(begins[tile], ends[tile]):
                    dz, dy, dx = (points[k, 0] - z) * sz, (points[k, 1] - y) * sy, (points[k, 2] - x) * sx
                    square = dz * dz + dy * dy + dx * dx
                    if square < best:
                        best = square
                        winner = k
        offsets[i, 0] = abs(points[winner, 0] - z)
        offsets[i, 1] = abs(points[winner, 1] - y)
        offsets[i, 2] = abs(points[winner, 2] - x)
    return offsets
