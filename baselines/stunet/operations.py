"""Count the operations of an STU-Net from its shape alone: without PyTorch, in no time, for hundreds of trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

WIDTHS = (1, 2, 4, 8, 16, 16)
SIZES = {"small": (16, 1), "base": (32, 1), "large": (64, 2), "huge": (96, 3)}
"""Base width and residual blocks per stage; a test compares them with the network's own."""
POOLINGS = 5

Strides = tuple[int, int, int]


@lru_cache(maxsize=4096)
def forward_operations(
    size: str, channels: int, classes: int, patch_zyx: tuple[int, ...], strides: tuple[Strides, ...] | None = None
) -> float:
    """Count the floating-point operations of a forward pass; only convolutions are counted.

    A multiplication and its addition count as two; the published TFLOPs count them as one.

    Parameters
    ----------
    size : str
        Key of ``SIZES``.
    channels, classes : int
        Of the data set.
    patch_zyx : tuple of int
        Voxels.
    strides : tuple of (z, y, x), optional
        Of the plan's stages, the first one (1, 1, 1); five poolings by two when left out.
    """
    base, blocks = SIZES[size]
    widths = [base * factor for factor in WIDTHS]
    pools = [(2, 2, 2)] * POOLINGS if strides is None else _five(strides)
    grids = [tuple(patch_zyx)]
    for pool in pools:
        grids.append(tuple(-(-edge // step) for edge, step in zip(grids[-1], pool, strict=True)))
    total = _stage(channels, widths[0], blocks, math.prod(grids[0]))
    for level, pool in enumerate(pools):
        fine, coarse, voxels = widths[level], widths[level + 1], math.prod(grids[level])
        total += _stage(fine, coarse, blocks, math.prod(grids[level + 1]))
        # what is upsampled may be a voxel longer than what it is joined with
        total += coarse * fine * math.prod(edge * step for edge, step in zip(grids[level + 1], pool, strict=True))
        total += _stage(2 * fine, fine, blocks, voxels) + fine * classes * voxels
    return 2.0 * total


def _five(strides: Sequence[Sequence[int]]) -> list[Strides]:
    found = [(int(z), int(y), int(x)) for z, y, x in strides][1:]
    return (found + [(1, 1, 1)] * POOLINGS)[:POOLINGS]


def _stage(inputs: int, outputs: int, blocks: int, voxels: int) -> int:
    """Multiplications of a stage: two 3x3x3 convolutions per block, and a 1x1x1 one around the first block."""
    first = 27 * inputs * outputs + 27 * outputs**2 + inputs * outputs
    return voxels * (first + (blocks - 1) * 2 * 27 * outputs**2)
