"""What every volume format declares before its voxels, and the checks all of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal, warning
from medpodium.scoring.masks.geometry import RIGHT_ANGLE, Geometry
from medpodium.scoring.masks.inflate import ReadLimits
from medpodium.scoring.measures.overlap import voxel_ml


@dataclass(frozen=True)
class Segment:
    """A segment that a file names.

    Parameters
    ----------
    name : str
        As users see it.
    layer, label : int
        The volume of the file that holds it, and its value there.
    meanings : tuple of str
        What codes say that it is (DICOM), from the most to the least precise.
    """

    name: str
    layer: int
    label: int
    meanings: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Layer and label."""
        return self.layer, self.label


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
    segments : tuple of Segment, optional
        What the file names; ``None`` for a plain label map.
    layers : int
        How many values follow each other for every voxel: one per layer of segments.
    """

    geometry: Geometry
    dtype: np.dtype[Any]
    volumes: int = 1
    slope: float = 1.0
    intercept: float = 0.0
    findings: tuple[Finding, ...] = ()
    segments: tuple[Segment, ...] | None = None
    layers: int = 1

    @property
    def layered(self) -> bool:
        """Whether segments lie in several volumes, so that they may overlap."""
        return self.segments is not None and self.layers * self.volumes > 1

    @property
    def stored_bytes(self) -> int:
        """Size of all voxels that are read: of one volume, or of all layers."""
        volumes = self.layers * (self.volumes if self.segments is not None else 1)
        return self.voxels * volumes * self.dtype.itemsize

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


def check_data_size(path: Path, header: VolumeHeader, possible: int, file_bytes: int, limits: ReadLimits) -> None:
    """Refuse a header that promises more than the limit, or more than the rest of the file can hold.

    Parameters
    ----------
    possible : int
        How many bytes can still come at most. A compressed file is judged by the largest ratio the format can reach,
        so that a tiny file with a huge header is refused before anything is allocated.
    file_bytes : int
        Size of the file, for the message.
    """
    promised = header.stored_bytes
    if promised > limits.max_data_bytes:
        raise refusal(
            MaskCode.SHAPE_TOO_LARGE,
            path,
            f"the header promises {promised} bytes of voxels, the limit is {limits.max_data_bytes}",
            "save the mask as uint8 on the input image's grid",
        )
    if promised > possible:
        raise refusal(
            MaskCode.DATA_TRUNCATED,
            path,
            f"the header promises {promised} bytes of voxels, the file's {file_bytes} bytes cannot hold them",
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


def grid_findings(path: Path, geometry: Geometry) -> list[Finding]:
    """Say that the axes are not at right angles, as after a scan with a tilted gantry, or that a plane is turned."""
    if geometry.planar and np.abs(geometry.direction[2, :2]).max() > RIGHT_ANGLE:
        cause = "the plane's axes leave the world's x, y plane, and SimpleITK then turns it there, or refuses the file"
        return [warning(MaskCode.ORIENTATION_ODD, path, cause, "save it as a volume of one slice")]
    if not geometry.sheared:
        return []
    share = 100 * (1 - geometry.voxel_ml / voxel_ml(geometry.spacing_zyx))
    return [
        warning(
            MaskCode.AFFINE_SHEARED,
            path,
            f"the header's axes are not at right angles: a voxel's volume is {share:.3g} % below the product of its "
            "spacing and was measured so; distances in mm are approximate, and SimpleITK may refuse the file",
            "resample to a rectangular grid",
        )
    ]


def singleton_warning(path: Path, sizes: tuple[int, ...], kept: int) -> Finding:
    """Say that dimensions of size 1 were ignored."""
    return warning(
        MaskCode.SINGLETON_DIMENSION,
        path,
        f"the shape {sizes} has {len(sizes) - kept} dimension(s) of size 1 beside x, y, z",
        "squeeze the array before saving; they are ignored",
    )
