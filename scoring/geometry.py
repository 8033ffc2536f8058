"""Where the voxels of an image lie in the patient, and how two grids differ.

One convention throughout: arrays are ``(z, y, x)`` in C order, world coordinates are ITK's LPS (x to the
patient's left, y to the back, z to the head) in mm. NIfTI headers, which are RAS, are turned when they are read,
so the same image compares equal whether it was saved as NIfTI, MHA or NRRD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of an image.

    Parameters
    ----------
    shape_zyx : tuple of int
        Number of voxels along the array's axes.
    spacing_zyx : tuple of float
        Distance of neighbouring voxels in mm, in the order of the array's axes.
    origin_xyz : tuple of float
        World position (LPS, mm) of the centre of voxel ``array[0, 0, 0]``.
    direction : ndarray, shape (3, 3)
        Unit vectors in LPS as columns, in the order x, y, z of the *image* axes: column 0 is where the array's
        last axis points.
    oriented : bool
        Whether the header states an orientation at all.
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx: tuple[float, float, float]
    origin_xyz: tuple[float, float, float]
    direction: FloatArray
    oriented: bool = True

    @property
    def spacing_xyz(self) -> tuple[float, float, float]:
        """Spacing in mm in the order x, y, z (ITK's)."""
        z, y, x = self.spacing_zyx
        return x, y, z

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Shape in the order x, y, z (ITK's)."""
        z, y, x = self.shape_zyx
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_zyx)) / 1000.0

    @property
    def affine_lps(self) -> FloatArray:
        """Matrix (4, 4) from voxel index ``(i, j, k, 1)`` along x, y, z to LPS in mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.array(self.spacing_xyz)
        affine[:3, 3] = self.origin_xyz
        return affine

    def as_dict(self) -> dict[str, Any]:
        """Return the geometry as plain lists, for JSON."""
        return {
            "shape_zyx": list(self.shape_zyx),
            "spacing_zyx_mm": list(self.spacing_zyx),
            "origin_xyz_lps_mm": list(self.origin_xyz),
            "direction_lps": self.direction.tolist(),
        }


def geometry_from_affine(shape_zyx: tuple[int, int, int], affine_lps: FloatArray, *, oriented: bool = True) -> Geometry:
    """Split an affine (4, 4) from voxel index (i, j, k) to LPS mm into spacing, direction and origin.

    Raises
    ------
    ValueError
        When the matrix has a column of zeros or a value that is not finite.
    """
    matrix = np.asarray(affine_lps, dtype=np.float64)
    with np.errstate(over="ignore"):
        lengths = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(matrix).all() or not np.isfinite(lengths).all() or (lengths <= 0).any():
        raise ValueError("affine is singular or not finite")
    x, y, z = (float(value) for value in lengths)
    ox, oy, oz = (float(value) for value in matrix[:3, 3])
    return Geometry(shape_zyx, (z, y, x), (ox, oy, oz), matrix[:3, :3] / lengths, oriented)
