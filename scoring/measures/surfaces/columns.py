"""Surface elements of a structure that is nearly everywhere, without an array of their codes in between.

What noise costs is looking at every corner. For the weight of a block it is enough to look up two corners at a time:
these lie between three columns of four voxels, which are twelve bits. And where few blocks are asked for, only they
are worked out, eight corners in a machine word.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces.bounds import SIDE
from medpodium.scoring.measures.surfaces.planes import VolumePlanes, members_of
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Words, is_inside

_ALL_INSIDE = (1 << 4 * (SIDE + 1)) - 1
"""Nine columns of voxels that all belong to the structure."""
_LANES = 0x0101010101010101
"""A one in every byte."""


def weigh(own: VolumePlanes, sides: tuple[int, int, int], weights: Floats, sums: Floats) -> None:
    """Add the weights of a structure's surface elements to those of their blocks.

    Parameters
    ----------
    own : VolumePlanes
        The surface; its kind is ``surfel-area``.
    sides : tuple of three int
        Corners of a block along z, y, x.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0, where there is none.
    sums : ndarray of float64, shape (nz, ny, nx)
        Changed in place.
    """
    box = np.array(own.box)
    by_corner, by_pair = _by_columns(weights.tobytes())
    _weigh(own.volume, own.member, own.only, *own.how[:4], box[0], box[1], np.array(sides), by_corner, by_pair, sums)


def codes_in(own: VolumePlanes, low: Ints, sides: Ints, blocks: Ints, cells: Words) -> None:
    """Write the codes of a structure's surface elements in some blocks; parameters are those of ``bounds.gather``.

    ``low`` is the first corner of the first block of all.
    """
    _codes_in(own.volume, own.member, *own.how[:4], np.array(own.box.high), low, sides, blocks, cells)


@lru_cache(maxsize=8)
def _by_columns(weights: bytes) -> tuple[Floats, Floats]:
    """Return the weight of a corner by two columns, shape (256,), and that of two corners by three, shape (4096,).

    The first column has the lowest bits.
    """
    by_code = np.frombuffer(weights).copy()
    by_code[255] = 0.0
    first, second = np.arange(256) & 15, np.arange(256) >> 4
    code = np.zeros(256, np.int64)
    for bit in range(4):
        code |= (first >> bit & 1) << (2 * bit + 1) | (second >> bit & 1) << (2 * bit)
    by_corner = by_code[code]
    pairs = np.arange(4096)
    return by_corner, by_corner[pairs & 255] + by_corner[pairs >> 4]


@kernel
def _weigh(volume, member, only, z_start, z_stop, planar, edge, low, high, sides, by_corner, by_pair, sums):  # type: ignore[no-untyped-def]
    """Do what :func:`weigh` says for the corners from ``low`` on, before ``high``."""
    ny, nx = high[1] - low[1], high[2] - low[2]
    width = (nx // 8 + 2) * 8
    rows = np.zeros((2, width), np.uint8)
    row_words = (
        rows.reshape(-1).view(np.uint64).reshape(2, width // 8)
    )  # once: a view of a row takes as long as the row
    halves = np.zeros((ny, width // 8), np.uint32)  # of the slice before
    nibbles = np.zeros(width // 8, np.uint32)  # eight columns each
    whole = nx // SIDE if sides[2] == SIDE else 0
    first, stop = max(z_start, 0), min(z_stop, volume.shape[0])
    margin = 1 if low[2] == 0 else 0  # the voxel before the volume's first one
    begin = low[2] - 1 + margin
    n = min(nx + 1 - margin, volume.shape[2] - begin)
    row_of = np.arange(ny) // sides[1]
    one, four, eight, sixteen, twelve = np.uint64(1), np.uint64(4), np.uint64(8), np.uint64(16), np.uint64(4095)
    in_twos, in_fours = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
    for z in range(low[0] - 1, high[0]):
        of_slice = sums[max(z - low[0], 0) // sides[0]]
        for y in range(-1, ny):  # row by row: what is worked out of one is still at hand for the next step
            own_y = low[1] + y
            if only.size > 0 and first <= z < stop and 0 <= own_y < volume.shape[1] and edge:
                label, row, own = only[0], volume[z, own_y, begin : begin + n], rows[y & 1, margin : margin + n]
                for i in range(n):
                    own[i] = row[i] == label
            else:
                some = rows[y & 1 : (y & 1) + 1]
                members_of(volume, member, only, z, z_start, z_stop, edge, own_y, low[2] - 1, some)
            if y < 0:
                continue
            upper, lower, above = row_words[1 - (y & 1)], row_words[y & 1], halves[y]
            for i in range(nibbles.size):  # half a column is two bits of four
                word = (upper[i] << one) | lower[i]
                word = (word | (word >> four)) & in_twos
                word = (word | (word >> eight)) & in_fours
                half = np.uint32(word | (word >> sixteen))
                nibbles[i] = ((half if planar else above[i]) << np.uint32(2)) | half
                above[i] = half
            if z < low[0]:
                continue
            to = of_slice[row_of[y]]
            for at in range(whole):
                word = np.uint64(nibbles[at]) | (np.uint64(nibbles[at + 1] & np.uint32(15)) << np.uint64(32))
                if word == 0 or word == _ALL_INSIDE:
                    continue
                before = by_pair[word & twelve] + by_pair[(word >> eight) & twelve]
                behind = by_pair[(word >> sixteen) & twelve] + by_pair[word >> np.uint64(24)]
                to[at] += before + behind
            for at in range(whole, to.size):
                total = 0.0
                for x in range(at * sides[2], min((at + 1) * sides[2], nx)):
                    here = nibbles[x >> 3] >> np.uint32(4 * (x & 7))
                    there = nibbles[(x + 1) >> 3] >> np.uint32(4 * ((x + 1) & 7))
                    total += by_corner[(here & np.uint32(15)) | ((there & np.uint32(15)) << np.uint32(4))]
                to[at] += total


@part
def _row(volume, member, z, y, x, z_start, z_stop, edge):  # type: ignore[no-untyped-def]
    """Return where a structure is in the eight voxels from ``x`` on, a byte each, and in those from ``x + 1`` on."""
    nz, ny, nx = volume.shape
    first, last = np.uint64(0), np.uint64(0)
    if max(z_start, 0) <= z < min(z_stop, nz) and 0 <= y < ny and x >= 0 and x + SIDE < nx:
        row = volume[z, y, x : x + SIDE + 1]
        for i in range(SIDE):
            first |= np.uint64(member[row[i]]) << np.uint64(8 * i)
        last = np.uint64(member[row[SIDE]])
    else:
        for i in range(SIDE):
            inside = is_inside(volume, member, z, y, x + i, z_start, z_stop, edge)
            first |= np.uint64(inside) << np.uint64(8 * i)
        last = np.uint64(is_inside(volume, member, z, y, x + SIDE, z_start, z_stop, edge))
    return first, (first >> np.uint64(8)) | (last << np.uint64(56))


@kernel
def _codes_in(volume, member, z_start, z_stop, planar, edge, high, low, sides, blocks, cells):  # type: ignore[no-untyped-def]
    """Do what :func:`codes_in` says for the corners before ``high``."""
    above = np.empty(SIDE, np.uint64)
    sevens = np.uint64(_LANES * 127)
    for j in range(blocks.shape[0]):
        z, y = low[0] + blocks[j, 0] * sides[0], low[1] + blocks[j, 1] * sides[1]
        x = low[2] + blocks[j, 2] * sides[2]
        nz, ny, nx = min(sides[0], high[0] - z), min(sides[1], high[1] - y), min(sides[2], high[2] - x)
        used = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(8 * (SIDE - nx))
        for dz in range(-1, nz):
            own_z = z if planar else z + dz
            upper, upper_next = _row(volume, member, own_z, y - 1, x - 1, z_start, z_stop, edge)
            for dy in range(ny):
                lower, lower_next = _row(volume, member, own_z, y + dy, x - 1, z_start, z_stop, edge)
                half = (upper << np.uint64(3)) | (upper_next << np.uint64(2)) | (lower << np.uint64(1)) | lower_next
                upper, upper_next = lower, lower_next
                code = (above[dy] << np.uint64(4)) | half
                above[dy] = half
                if dz < 0:
                    continue
                other = ~code  # where it is 0 all eight voxels are inside
                some = (((other & sevens) + sevens) | other) >> np.uint64(7) & np.uint64(_LANES)
                cells[j, dz, dy] = code & (some * np.uint64(255)) & used
