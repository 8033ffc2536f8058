"""Bounding boxes of what a volume holds, so that work is done where something is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Box = tuple[slice, slice, slice]


def foreground_box(*arrays: npt.NDArray[Any]) -> Box:
    """Return the smallest box that holds every non-zero voxel of all arrays.

    Parameters
    ----------
    *arrays : ndarray, all of one shape (z, y, x)
        Masks or label maps.

    Returns
    -------
    tuple of three slice
        Along z, y, x; empty slices when there is no such voxel.
    """
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(np.any([array.any(axis=others) for array in arrays], axis=0))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    return box[0], box[1], box[2]
