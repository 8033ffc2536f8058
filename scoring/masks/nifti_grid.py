"""Where a NIfTI file says its voxels lie: pixdim, quaternion (qform) and matrix (sform) to one grid.

The three may contradict each other, and readers believe different ones. Here the sform places the volume where it
can be used, as in nibabel, then the qform; the spacing is pixdim's where both agree but for rounding, as in
SimpleITK. Every other case is said in a finding. Source: nifti1.h of the NIfTI working group (methods 1 to 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, finding, refusal, warning
from medpodium.scoring.masks.geometry import FloatArray, Geometry, axis_lengths, geometry_from_affine, plain_length
from medpodium.scoring.masks.header import check_spacing

_UNIT_MM = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE_AGREEMENT_VOXELS = 0.05
"""qform and sform agree when no corner of the volume moves by more than this share of the smallest spacing."""
SPACING_AGREEMENT = 1e-5
"""pixdim and sform state the same spacing when they differ by no more than this share of it.

Float32 entries cost 6e-8, cosines printed with six digits 1e-6. A grid of 1 mm, turned, then is one of 1 mm, and not of
1.00000003 mm, whose surfaces are never within 1 mm of each other.
"""
_SPACING_NOTE = 1e-3  # up to here a difference is what printing cosines with few digits costs, and only noted
_Flags = npt.NDArray[np.bool_]
_COPY = "copy the input image's header when saving"


@dataclass(frozen=True)
class GridFields:
    """The fields of a NIfTI header that place its voxels, as stored.

    Parameters
    ----------
    axes : int
        How many axes the file has; the third one of a plane means nothing.
    pixdim : tuple of float
        Eight numbers: qfac, then the spacing along the axes.
    qform_code, sform_code : int
        Above 0 where the quaternion, or the matrix, is to be used.
    quaternion : tuple of float
        b, c, d and the offsets along x, y, z.
    rows : tuple of float
        Three rows of the matrix from voxel index to RAS.
    units : int
        ``xyzt_units``.
    precision : float
        Rounding of the stored numbers: 2**-23 or 2**-52.
    """

    axes: int
    pixdim: tuple[float, ...]
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]
    units: int
    precision: float


def nifti_geometry(
    shape_zyx: tuple[int, int, int], fields: GridFields, path: Path, findings: list[Finding]
) -> Geometry:
    """Return the grid, and add to the findings whatever another reader would take differently.

    Raises
    ------
    MaskError
        When the header places its voxels in no usable way.
    """
    unit = _unit(fields.units, path, findings)
    single = np.array(shape_zyx[::-1]) == 1
    beyond = np.arange(3) >= fields.axes
    stated, usable = _stated_spacing(fields, single)
    sform = _sform(fields, single) if fields.sform_code > 0 else None
    fault = _quaternion_fault(fields) if fields.qform_code > 0 else None
    qform = _qform(fields, stated) if fields.qform_code > 0 and usable.all() and not (fault and fault.fatal) else None
    _refuse_unplaced(fields, sform, qform, stated, path)
    if sform is None and fields.sform_code > 0:
        findings.append(_unused(path, f"the sform {_numbers(fields.rows)} cannot be inverted", "qform"))
    if fault and (sform is not None or not fault.fatal):
        findings.append(_unused(path, fault.text, "sform" if sform is not None else "qform, scaled to length 1,"))
        qform = qform if sform is None else None
    _pixdim_findings(fields, sform, usable, path, findings)
    affine = sform if sform is not None else qform
    spacing = stated
    if sform is not None:
        hollow = axis_lengths(np.reshape(fields.rows, (3, 4))) == 0
        if (hollow & ~beyond).any():
            cause = f"the sform {_numbers(fields.rows)} states no direction for an axis of one voxel; 1 mm was taken"
            findings.append(warning(MaskCode.AFFINE_INVALID, path, cause, _COPY))
        spacing = _agreed_spacing(sform, stated, usable & ~beyond, path, findings)
        if qform is not None:
            _place_findings(shape_zyx, sform, qform, axis_lengths(sform) / stated, path, findings)
    if affine is None:
        affine = np.diag([*stated, 1.0])
        findings.append(
            warning(
                MaskCode.ORIENTATION_MISSING,
                path,
                "the header has neither qform nor sform (both codes are 0), so left and right are unknown",
                _COPY,
            )
        )
    x, y, z = (float(value) * unit for value in spacing)
    in_mm = _RAS_TO_LPS @ np.diag([unit, unit, unit, 1.0]) @ affine
    oriented = sform is not None or qform is not None
    return geometry_from_affine(shape_zyx, in_mm, oriented=oriented, spacing_xyz=(x, y, z))


def _unit(code: int, path: Path, findings: list[Finding]) -> float:
    name, factor = _UNIT_MM.get(code & 0x07, ("mm", 1.0))
    if factor != 1.0:
        findings.append(
            warning(
                MaskCode.UNITS_NOT_MM,
                path,
                f"the header states lengths in {name}; they were converted to mm (nibabel takes them for mm)",
                "save lengths in mm (xyzt_units = 2)",
            )
        )
    return factor


def _stated_spacing(fields: GridFields, single: _Flags) -> tuple[FloatArray, _Flags]:
    """Return pixdim's spacing along x, y, z without its sign, and which of it can be used.

    Along an axis of one voxel nothing is ever measured, so there any number will do.
    """
    stated = np.abs(np.array(fields.pixdim[1:4], dtype=np.float64))
    usable = np.isfinite(stated) & (stated > 0)
    stated[~usable & single] = 1.0
    return stated, usable | single


def _refuse_unplaced(
    fields: GridFields, sform: FloatArray | None, qform: FloatArray | None, stated: FloatArray, path: Path
) -> None:
    if sform is not None or qform is not None:
        return
    if fields.qform_code > 0 or fields.sform_code <= 0:
        check_spacing(path, tuple(stated))
    if fields.qform_code > 0 or fields.sform_code > 0:
        shown = _numbers(fields.rows if fields.sform_code > 0 else fields.quaternion)
        cause = f"the header's affine {shown} cannot be inverted"
        raise refusal(MaskCode.AFFINE_INVALID, path, cause, _COPY)


def _pixdim_findings(
    fields: GridFields, sform: FloatArray | None, usable: _Flags, path: Path, findings: list[Finding]
) -> None:
    shown = _numbers(fields.pixdim[1:4])
    fix = "write positive spacing in mm to pixdim[1..3]"
    if not usable.all():
        cause = f"pixdim's spacing (x, y, z) = {shown} is not positive and finite; it was taken from the sform"
        findings.append(warning(MaskCode.SPACING_INVALID, path, cause, fix))
    elif min(fields.pixdim[1:4]) < 0:
        cause = f"pixdim's spacing (x, y, z) = {shown} is negative; the sign was ignored (SimpleITK mirrors the axis)"
        findings.append(warning(MaskCode.SPACING_INVALID, path, cause, fix))
    if fields.qform_code > 0 and sform is None and fields.pixdim[0] not in (-1.0, 0.0, 1.0):
        cause = f"qfac (pixdim[0]) is {fields.pixdim[0]:g}, neither 1 nor -1; its sign was used (nibabel takes 1)"
        findings.append(warning(MaskCode.AFFINE_INVALID, path, cause, "write 1 or -1 to pixdim[0]"))


def _unused(path: Path, text: str, used: str) -> Finding:
    return warning(
        MaskCode.AFFINE_INVALID, path, f"{text}; the {used} was used, other readers may refuse the file", _COPY
    )


def _sform(fields: GridFields, single: _Flags) -> FloatArray | None:
    """Return the matrix (4, 4) from voxel index to RAS, or None where it cannot be inverted."""
    affine = np.vstack([np.reshape(np.array(fields.rows, dtype=np.float64), (3, 4)), [0, 0, 0, 1]])
    if not np.isfinite(affine).all():
        return None
    missing = np.flatnonzero((axis_lengths(affine) == 0) & single)
    if missing.size == 1:  # a plane of a 2-D file, whose third axis nobody filled in
        others = [axis for axis in range(3) if axis != missing[0]]
        normal = np.cross(affine[:3, others[0]], affine[:3, others[1]])
        length = np.linalg.norm(normal)
        affine[:3, missing[0]] = normal / length if length > 0 else 0.0
    try:
        geometry_from_affine((1, 1, 1), affine)
    except ValueError:
        return None
    return affine


@dataclass(frozen=True)
class _Fault:
    text: str
    fatal: bool


def _quaternion_fault(fields: GridFields) -> _Fault | None:
    if not all(math.isfinite(value) for value in fields.quaternion):
        return _Fault(f"the qform {_numbers(fields.quaternion)} is not finite", True)
    squared = sum(value * value for value in fields.quaternion[:3])
    if squared <= 1 + 3 * fields.precision:
        return None
    shown = f"the qform's quaternion {_numbers(fields.quaternion[:3])} has length {math.sqrt(squared):.8g}, more than 1"
    return _Fault(shown, not math.isfinite(squared))


def _qform(fields: GridFields, stated: FloatArray) -> FloatArray:
    """Affine of a quaternion (b, c, d, offsets), by the formula of the NIfTI-1 definition (method 2)."""
    b, c, d = fields.quaternion[:3]
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:  # as the definition says: a rotation by 180 degrees, rounded
        scale = 1.0 / math.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b * scale, c * scale, d * scale
    else:
        a = math.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if fields.pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * (stated * np.array([1.0, 1.0, handedness]))
    affine[:3, 3] = fields.quaternion[3:6]
    return affine


def _agreed_spacing(
    sform: FloatArray, stated: FloatArray, usable: _Flags, path: Path, findings: list[Finding]
) -> FloatArray:
    """Return pixdim's spacing where the sform agrees but for rounding, else the sform's, saying so."""
    lengths = axis_lengths(sform)
    apart = np.where(usable, np.abs(lengths / np.where(usable, stated, 1.0) - 1), 0.0)
    agrees = usable & (np.abs(lengths - stated) <= SPACING_AGREEMENT * lengths)
    measured = np.array([plain_length(lengths[axis], sform[:3, axis]) for axis in range(3)])
    axis = int(apart.argmax())
    if not (agrees | ~usable).all():
        findings.append(
            finding(
                MaskCode.PIXDIM_SFORM_DISAGREE,
                path,
                f"spacing along {'xyz'[axis]} is {stated[axis]:.7g} by pixdim and {lengths[axis]:.7g} by the sform, "
                f"{100 * apart[axis]:.3g} % apart; the sform was used, as by nibabel's affine (SimpleITK takes pixdim)",
                "write pixdim and the sform from the same affine",
                Severity.WARNING if apart[axis] > _SPACING_NOTE else Severity.NOTE,
            )
        )
    return np.where(agrees, stated, measured)


def _place_findings(
    shape_zyx: tuple[int, int, int],
    sform: FloatArray,
    qform: FloatArray,
    stretch: FloatArray,
    path: Path,
    findings: list[Finding],
) -> None:
    """Say how far qform and sform place the volume apart, a difference in spacing aside."""
    alike = qform.copy()
    alike[:3, :3] *= stretch
    last = np.array(shape_zyx[::-1]) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    moved = np.abs((corners @ (sform - alike).T)[:, :3]).max(axis=0)
    if moved.max() > AFFINE_AGREEMENT_VOXELS * axis_lengths(sform).min():
        axis = int(moved.argmax())
        findings.append(
            warning(
                MaskCode.QFORM_SFORM_DISAGREE,
                path,
                f"qform and sform place the volume up to {moved[axis]:.3g} mm apart along world {'xyz'[axis]}; "
                "the sform was used, as by nibabel (SimpleITK may take the qform)",
                "write both from the same affine",
            )
        )


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
