"""Where the voxels of an image lie in the patient, and how two grids differ.

One convention throughout: arrays are ``(z, y, x)`` in C order, world coordinates are ITK's LPS (x to the
patient's left, y to the back, z to the head) in mm. NIfTI headers, which are RAS, are turned when they are read,
so the same image compares equal whether it was saved as NIfTI, MHA or NRRD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, finding
from medpodium.scoring.measures.overlap import voxel_ml

FloatArray = npt.NDArray[np.float64]

RIGHT_ANGLE = 1e-4
"""Axes are at right angles when no two of them have a larger cosine (ITK's limit); the volume is right to 1e-8 then."""
_FLAT = 1e-6  # three unit vectors that span less lie in one plane
AFFINE_ROUNDING = 1e-6
"""What a header's float32 fields, or numbers printed with six digits, cost the length of an axis, relatively."""


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
    planar : bool
        Whether the file has two axes: a plane, stored here as one slice. A volume with a single slice is none.
    spaced : bool
        Whether the file states a spacing; a picture (PNG, TIFF) does not, and its pixels are 1 apart.
    sparse : bool
        Whether the file may leave out what is empty, and orders its axes as the images it was drawn on (segmentations
        of 3D Slicer and DICOM), so that only where its voxels lie can be compared with another grid.
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx: tuple[float, float, float]
    origin_xyz: tuple[float, float, float]
    direction: FloatArray
    oriented: bool = True
    planar: bool = False
    spaced: bool = True
    sparse: bool = False

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
    def sheared(self) -> bool:
        """Whether the axes are not at right angles, as in CT scans with a tilted gantry."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(3)).max() > RIGHT_ANGLE)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml: the determinant of the affine, which is the spacing's product at right angles."""
        box = voxel_ml(self.spacing_zyx)
        return box * abs(float(np.linalg.det(self.direction))) if self.sheared else box

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


def geometry_from_affine(
    shape_zyx: tuple[int, int, int],
    affine_lps: FloatArray,
    *,
    oriented: bool = True,
    spacing_xyz: tuple[float, float, float] | None = None,
) -> Geometry:
    """Split an affine (4, 4) from voxel index (i, j, k) to LPS mm into spacing, direction and origin.

    Parameters
    ----------
    spacing_xyz : tuple of float, optional
        Spacing in mm where the header states it beside the affine; by default the lengths of the affine's columns.

    Raises
    ------
    ValueError
        When the matrix has a value that is not finite, or axes that lie in one plane.
    """
    matrix = np.asarray(affine_lps, dtype=np.float64)
    lengths = axis_lengths(matrix)
    if not np.isfinite(matrix).all() or not np.isfinite(lengths).all() or (lengths <= 0).any():
        raise ValueError("affine is singular or not finite")
    direction = matrix[:3, :3] / lengths
    if abs(np.linalg.det(direction)) < _FLAT:
        raise ValueError("affine is singular: its axes lie in one plane")
    x, y, z = spacing_xyz or tuple(map(plain_length, lengths, matrix[:3, :3].T))
    ox, oy, oz = (float(value) for value in matrix[:3, 3])
    return Geometry(shape_zyx, (z, y, x), (ox, oy, oz), direction, oriented)


def axis_lengths(affine: FloatArray) -> FloatArray:
    """Return the distance in mm of neighbouring voxels along x, y, z: the lengths of the affine's columns."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: FloatArray = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return lengths


def plain_length(length: float, axis: FloatArray) -> float:
    """Return the length of an oblique axis without what its cosines' rounding adds.

    A grid of 1 mm would otherwise be one of 1.00000003 mm, and no surface would be within 1 mm of its neighbour.
    """
    if np.count_nonzero(axis) == 1:
        return float(length)
    plain = float(f"{length:.4g}")
    return plain if abs(plain - length) <= AFFINE_ROUNDING * length else float(f"{length:.12g}")


@dataclass(frozen=True)
class GeometryTolerance:
    """How far two headers may differ and still describe the same grid.

    The defaults let pass what writing a header costs (float32 fields, quaternions, numbers printed with three
    decimals) and nothing that a reader of the images would call another grid.

    Parameters
    ----------
    spacing_relative : float
        Largest relative difference of a spacing.
    origin_mm : float
        Largest absolute difference of an origin coordinate in mm.
    direction : float
        Largest absolute difference of an entry of the direction matrix.
    """

    spacing_relative: float = 1e-3
    origin_mm: float = 1e-2
    direction: float = 1e-3


DEFAULT_TOLERANCE = GeometryTolerance()
_AXES = "xyz"
_COPY_HEADER = "copy the geometry of the input image when saving"


def compare_geometry(
    reference: Geometry,
    prediction: Geometry,
    tolerance: GeometryTolerance = DEFAULT_TOLERANCE,
    where: str = "prediction",
) -> list[Finding]:
    """Say how a prediction's grid differs from its reference's; an empty list means it is the same grid.

    Every coordinate is compared by its absolute difference, so that a negative offset cannot hide, or cancel
    a positive one.

    Parameters
    ----------
    reference, prediction : Geometry
        The two grids.
    tolerance : GeometryTolerance
        What passes.
    where : str
        File or case the findings are about.
    """
    silent = [] if prediction.spaced or not reference.spaced else [_picture_note(where)]
    prediction = _with_what_it_cannot_say(prediction, reference)
    if reference.oriented and prediction.oriented:
        reordered = _reordering(reference, prediction, tolerance)
        if reordered is not None:
            return [_reordered_finding(*reordered, where)]
    findings = [*silent, *compare_shape(reference, prediction, where)]
    findings += _compare_spacing(reference, prediction, tolerance, where)
    if reference.oriented != prediction.oriented:
        who, severity = ("reference", Severity.WARNING) if prediction.oriented else ("prediction", Severity.ERROR)
        cause = f"the {who}'s header states no orientation, so position and direction cannot be compared"
        findings.append(finding(MaskCode.ORIENTATION_MISSING, where, cause, _COPY_HEADER, severity))
    elif reference.oriented:
        findings += _compare_direction(reference, prediction, tolerance, where)
        findings += _compare_origin(reference, prediction, tolerance, where)
    return findings


def _with_what_it_cannot_say(grid: Geometry, reference: Geometry) -> Geometry:
    """Return a grid with what one of both files cannot say taken from the reference.

    That is spacing and place where one is a picture, and the third axis where one is a plane.
    """
    if not (grid.spaced and reference.spaced):
        return replace(reference, shape_zyx=grid.shape_zyx)
    if not (grid.planar or reference.planar):
        return grid
    _, sy, sx = grid.spacing_zyx
    x, y, _ = grid.origin_xyz
    direction = np.column_stack([grid.direction[:, :2], reference.direction[:, 2]])
    place = (x, y, reference.origin_xyz[2])
    return replace(grid, spacing_zyx=(reference.spacing_zyx[0], sy, sx), origin_xyz=place, direction=direction)


def _picture_note(where: str) -> Finding:
    cause = "a picture says neither how large a pixel is nor where it lies: only its shape was compared"
    return finding(
        MaskCode.SPACING_MISSING, where, cause, "nothing to do, or save it in the reference's format", Severity.NOTE
    )


def _same(reference: Geometry, prediction: Geometry, tolerance: GeometryTolerance) -> bool:
    return (
        reference.shape_zyx == prediction.shape_zyx
        and np.allclose(prediction.spacing_zyx, reference.spacing_zyx, rtol=tolerance.spacing_relative, atol=0)
        and np.allclose(prediction.direction, reference.direction, rtol=0, atol=tolerance.direction)
        and np.allclose(prediction.origin_xyz, reference.origin_xyz, rtol=0, atol=tolerance.origin_mm)
    )


def _reordering(
    reference: Geometry, prediction: Geometry, tolerance: GeometryTolerance
) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """Find the other storage order (axes, then reversed ones) in which the reference *is* the prediction's grid."""
    if _same(reference, prediction, tolerance):
        return None
    # Rounding of the spacing adds up over the volume when the first voxel is at the other end of an axis.
    extent = max(size * spacing for size, spacing in zip(reference.shape_zyx, reference.spacing_zyx, strict=True))
    loose = replace(tolerance, origin_mm=tolerance.origin_mm + extent * tolerance.direction)
    for order in permutations(range(3)):
        for reverse in product((False, True), repeat=3):
            if order == (0, 1, 2) and not any(reverse):
                continue
            if _same(_reorder(reference, order, reverse), prediction, loose):
                return order, reverse
    return None


def _reorder(geometry: Geometry, order: tuple[int, ...], reverse: tuple[bool, ...]) -> Geometry:
    """Return the grid of the same voxels stored with image axes (x, y, z) taken in ``order``, some reversed."""
    affine = geometry.affine_lps
    shape = geometry.shape_xyz
    stored = np.eye(4)
    stored[:3, 3] = affine[:3, 3]
    for new, (old, is_reversed) in enumerate(zip(order, reverse, strict=True)):
        stored[:3, new] = affine[:3, old] * (-1.0 if is_reversed else 1.0)
        if is_reversed:
            stored[:3, 3] += affine[:3, old] * (shape[old] - 1)
    x, y, z = (shape[old] for old in order)
    return geometry_from_affine((z, y, x), stored)


def _reordered_finding(order: tuple[int, ...], reverse: tuple[bool, ...], where: str) -> Finding:
    flipped = [_AXES[old] for old, is_reversed in zip(order, reverse, strict=True) if is_reversed]
    if order == (0, 1, 2):
        cause = f"voxels are stored in reverse along {_and(flipped)} (the header says so too), unlike the reference"
        return finding(MaskCode.AXIS_FLIPPED, where, cause, "reorient to the input image's voxel order before saving")
    stored = ", ".join(_AXES[old] for old in order)
    cause = f"axes are swapped: the reference's x, y, z are stored in the order {stored}"
    cause += f", with {_and(flipped)} reversed" if flipped else ""
    return finding(
        MaskCode.AXES_SWAPPED, where, cause, "transpose to the input image's axis order before saving (its header too)"
    )


def compare_shape(reference: Geometry, prediction: Geometry, where: str = "prediction") -> list[Finding]:
    """Say whether two grids differ in their number of voxels along an axis (no more than one finding)."""
    expected, got = reference.shape_xyz, prediction.shape_xyz
    if expected == got:
        return []
    if sorted(expected) == sorted(got):
        order = next(order for order in permutations(range(3)) if tuple(expected[old] for old in order) == got)
        return [
            finding(
                MaskCode.AXES_SWAPPED,
                where,
                f"axes are swapped: shape (x, y, z) is {got}, the reference's is {expected}; "
                f"they look stored in the order {', '.join(_AXES[old] for old in order)}",
                "transpose the array before saving (numpy arrays from SimpleITK are z, y, x)",
            )
        ]
    wrong = [f"{_AXES[i]} {got[i]} instead of {expected[i]}" for i in range(3) if got[i] != expected[i]]
    cause = f"shape (x, y, z) is {got}, the reference's is {expected}: {', '.join(wrong)}"
    return [
        finding(MaskCode.SHAPE_DIFFERS, where, cause, "resample the prediction to the input image's grid (nearest)")
    ]


def _compare_spacing(
    reference: Geometry, prediction: Geometry, tolerance: GeometryTolerance, where: str
) -> list[Finding]:
    expected, got = np.array(reference.spacing_xyz), np.array(prediction.spacing_xyz)
    wrong = np.abs(got - expected) > tolerance.spacing_relative * expected
    if not wrong.any():
        return []
    cause = f"spacing (x, y, z) is {_mm(got)} mm, the reference's is {_mm(expected)} mm: {_and(_named(wrong))} differs"
    fix = _COPY_HEADER
    if np.allclose(got, expected[::-1], rtol=tolerance.spacing_relative, atol=0):
        cause += "; it is the reference's in reverse order"
        fix = "write the spacing in the order x, y, z, not z, y, x"
    elif np.allclose(got, 1.0):
        fix = "set the spacing when saving (it was left at 1): " + _COPY_HEADER
    return [finding(MaskCode.SPACING_DIFFERS, where, cause, fix)]


def _compare_direction(
    reference: Geometry, prediction: Geometry, tolerance: GeometryTolerance, where: str
) -> list[Finding]:
    if np.allclose(prediction.direction, reference.direction, rtol=0, atol=tolerance.direction):
        return []
    cosines = reference.direction.T @ prediction.direction
    whole = np.rint(cosines)
    if np.allclose(cosines, whole, atol=2 * tolerance.direction) and np.array_equal(
        np.abs(whole).sum(axis=0), [1, 1, 1]
    ):
        flipped = _named(np.diag(whole) < 0)
        if np.array_equal(np.abs(whole), np.eye(3)):
            hint = "; flipping both x and y is RAS taken for LPS" if flipped == ["x", "y"] else ""
            return [
                finding(
                    MaskCode.AXIS_FLIPPED,
                    where,
                    f"the direction of {_and(flipped)} is opposite to the reference's{hint}",
                    _COPY_HEADER + ", and check that the voxels are in its order",
                )
            ]
        order = [_AXES[int(np.abs(whole[:, new]).argmax())] for new in range(3)]
        return [
            finding(
                MaskCode.AXES_SWAPPED,
                where,
                f"the direction matrix has the reference's axes in the order {', '.join(order)}",
                _COPY_HEADER + ", and transpose the array to its axis order",
            )
        ]
    turned = np.degrees(np.arccos(np.clip(np.diag(cosines), -1, 1)))
    worst = int(turned.argmax())
    cause = f"direction differs: axis {_AXES[worst]} points {turned[worst]:.3g} degrees away from the reference's"
    return [finding(MaskCode.DIRECTION_DIFFERS, where, cause, _COPY_HEADER)]


def _compare_origin(
    reference: Geometry, prediction: Geometry, tolerance: GeometryTolerance, where: str
) -> list[Finding]:
    expected, got = np.array(reference.origin_xyz), np.array(prediction.origin_xyz)
    offset = got - expected
    wrong = np.abs(offset) > tolerance.origin_mm
    if not wrong.any():
        return []
    shown = ", ".join(f"{_AXES[i]} by {offset[i]:+.6g} mm" for i in np.flatnonzero(wrong))
    cause = f"origin (LPS) is {_mm(got)} mm, the reference's is {_mm(expected)} mm: off along {shown}"
    fix = _COPY_HEADER
    if np.allclose(got * [-1, -1, 1], expected, atol=tolerance.origin_mm):
        fix = "x and y have the wrong sign (RAS taken for LPS): " + _COPY_HEADER
    elif np.allclose(got[::-1], expected, atol=tolerance.origin_mm):
        fix = "write the origin in the order x, y, z, not z, y, x"
    else:
        voxels = np.linalg.solve(reference.affine_lps[:3, :3], offset)
        if np.allclose(voxels, np.rint(voxels), atol=1e-2):
            steps = ", ".join(f"{int(step):+d} along {_AXES[i]}" for i, step in enumerate(np.rint(voxels)) if step)
            fix = f"the offset is whole voxels ({steps}), as after a crop or pad: paste back into the input's grid"
    return [finding(MaskCode.ORIGIN_DIFFERS, where, cause, fix)]


def _named(flags: Any) -> list[str]:
    return [_AXES[i] for i in range(3) if flags[i]]


def _and(names: list[str]) -> str:
    return " and ".join(names)


def _mm(values: Any) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
