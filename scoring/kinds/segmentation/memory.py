"""How much memory a case is given, and whose fault it is when that is not enough."""

from __future__ import annotations

import math

from medpodium.findings import Finding
from medpodium.scoring.kinds.protocol import over_budget
from medpodium.scoring.kinds.segmentation.volumes import MaskFiles, place_of
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.scheduling.pool import memory_limit

_PEAK_BYTES_PER_VOXEL = 20
"""Two masks and, for noise, a surface point at every corner and the nearest one of the other mask."""
_BASE_BYTES = 400_000_000


def budget(voxels: int) -> int:
    """Return the memory in bytes that scoring a case may take: 400 MB and 20 bytes per voxel of the reference."""
    return _BASE_BYTES + _PEAK_BYTES_PER_VOXEL * voxels


def blame(reference: Geometry, files: MaskFiles | None) -> Finding | None:
    """Return the finding of a prediction that ran out of memory; ``None`` where the machine gives less than it should.

    Parameters
    ----------
    reference : Geometry
        The grid of the case.
    files : Path or mapping of str to Path, optional
        The prediction; ``None`` where there is none, so that it cannot have been its fault.
    """
    needed = budget(math.prod(reference.shape_zyx))
    if files is None or memory_limit() < needed:
        return None
    return over_budget(place_of(files), needed)
