"""What every volume format declares before its voxels, and the checks all of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.inflate import MAX_DEFLATE_RATIO, ReadLimits, Wrapping


@dataclass(frozen=True)
class VolumeHeader:
    """A volume before its voxels are read.

    Parameters
    ----------
    geometry : Geometry
        Grid of the volume.
    dtype : numpy.dtype
        Type of the stored voxels, byte order included.
    volumes : int
        How many volumes follow each other (1 for a mask; more for a 4-D stack).
    slope, intercept : float
        Stored value times slope plus intercept is the value.
    findings : tuple of Finding
        What is odd but usable.
    """

    geometry: Geometry
    dtype: np.dtype[Any]
    volumes: int = 1
    slope: float = 1.0
    intercept: float = 0.0
    findings: tuple[Finding, ...] = field(default=())

    @property
    def voxels(self) -> int:
        """Number of voxels of one volume."""
        return math.prod(self.geometry.shape_zyx)

    @property
    def scaled(self) -> bool:
        """Whether stored values are not the values themselves."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def checked_shape(path: Path, sizes_xyz: tuple[int, int, int], limits: ReadLimits) -> tuple[int, int, int]:
    """Return the shape in array order (z, y, x) after checking it against the limits."""
    if min(sizes_xyz) < 1:
        raise refusal(
            MaskCode.SHAPE_INVALID,
            path,
            f"the header's shape (x, y, z) = {sizes_xyz} has an axis without voxels",
            "write the volume again with its true shape",
        )
    voxels = math.prod(sizes_xyz)
    if voxels > limits.max_voxels:
        raise refusal(
            MaskCode.SHAPE_TOO_LARGE,
            path,
            f"the header's shape (x, y, z) = {sizes_xyz} promises {voxels} voxels, the limit is {limits.max_voxels}",
            "save the mask on the input image's grid",
        )
    x, y, z = sizes_xyz
    return z, y, x


def check_data_size(
    path: Path, header: VolumeHeader, available_bytes: int, wrapping: Wrapping, limits: ReadLimits
) -> None:
    """Refuse a header that promises more than the limit, or more than the rest of the file can hold.

    A compressed file is judged by the largest ratio the format can reach, so that a tiny file with a huge
    header is refused before anything is allocated.
    """
    promised = header.voxels * header.dtype.itemsize
    if promised > limits.max_data_bytes:
        raise refusal(
            MaskCode.SHAPE_TOO_LARGE,
            path,
            f"the header promises {promised} bytes of voxels, the limit is {limits.max_data_bytes}",
            "save the mask as uint8 on the input image's grid",
        )
    possible = available_bytes if wrapping == "raw" else available_bytes * MAX_DEFLATE_RATIO
    if promised > possible:
        raise refusal(
            MaskCode.DATA_TRUNCATED,
            path,
            f"the header promises {promised} bytes of voxels, the file's {available_bytes} bytes cannot hold them",
            "write or upload the file again; it was cut off, or its header is wrong",
        )


def check_spacing(path: Path, spacing_xyz: tuple[float, ...]) -> None:
    """Refuse spacing that is not a positive finite number of mm."""
    if not all(math.isfinite(value) and value > 0 for value in spacing_xyz):
        shown = ", ".join(f"{value:g}" for value in spacing_xyz)
        raise refusal(
            MaskCode.SPACING_INVALID,
            path,
            f"the header's spacing (x, y, z) = ({shown}) mm is not positive and finite",
            "copy the geometry from the input image's header",
        )
