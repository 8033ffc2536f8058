"""Rims of masks: what of a structure lies near its boundary, and how well two rims agree.

Cheng, Girshick, Dollár, Berg and Kirillov, *Boundary IoU*, CVPR 2021, arXiv:2103.16562.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medpodium.scoring.measures.surfaces.metrics import SAME
from medpodium.scoring.measures.surfaces.points import Spacing

Mask = npt.NDArray[np.bool_]

_SLAB = 1 << 24
"""Voxels whose distances are computed at once: a distance transform takes 20 bytes for each."""


def eroded_rim(mask: npt.NDArray[Any], steps: int, *, edge: bool = True, planar: bool = False) -> Mask:
    """Return what an erosion takes away: voxels with a voxel outside within so many steps over all neighbours.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Non-zero is foreground; with at least one voxel around it wherever the image has one.
    steps : int
        Width of the rim in voxels.
    edge : bool
        Whether what lies beyond the array is outside; else it is like the outermost voxels.
    planar : bool
        Whether the mask is a plane, shape (1, y, x).
    """
    whole = np.asarray(mask != 0).astype(np.uint8)
    size = 2 * steps + 1
    mode = "constant" if edge else "nearest"
    inner = ndimage.minimum_filter(whole, (1 if planar else size, size, size), mode=mode, cval=0)
    return np.asarray((whole > 0) & (inner == 0))


def near_rim(
    mask: npt.NDArray[Any], width_mm: float, spacing_zyx: Spacing, *, edge: bool = True, planar: bool = False
) -> Mask:
    """Return the voxels of a mask whose centre is within a distance of the centre of a voxel outside.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Non-zero is foreground; with at least one voxel around it wherever the image has one.
    width_mm : float
        Width of the rim.
    spacing_zyx : tuple of three float
        Voxel size in mm.
    edge, planar : bool
        See :func:`eroded_rim`.
    """
    padding = ((0, 0) if planar else (1, 1), (1, 1), (1, 1)) if edge else ((0, 0),) * 3
    whole = np.pad(mask != 0, padding)
    rim = np.zeros(whole.shape, np.bool_)
    halo = 0 if planar else math.ceil(width_mm / spacing_zyx[0]) + 1
    step = max(_SLAB // max(whole[0].size, 1), 1)
    for start in range(0, whole.shape[0], step):  # what lies farther than the halo cannot be within the width
        first, last = max(start - halo, 0), min(start + step + halo, whole.shape[0])
        slab = whole[first:last]
        if slab.all() or not slab.any():
            continue
        found = ndimage.distance_transform_edt(slab, sampling=spacing_zyx)
        stop = min(start + step, whole.shape[0])
        rim[start:stop] = (slab & (found <= width_mm * (1 + SAME)))[start - first : stop - first]
    inside = tuple(slice(low, length - high) for (low, high), length in zip(padding, whole.shape, strict=True))
    return rim[inside]


def rim_iou(reference: Mask, prediction: Mask) -> float:
    """Return the intersection over union of two rims; nan where neither has a voxel."""
    union = int(np.count_nonzero(reference | prediction))
    return int(np.count_nonzero(reference & prediction)) / union if union else math.nan
