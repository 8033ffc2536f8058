"""NIfTI-1 and NIfTI-2 headers (single files), read by their published byte layout.

Source: the NIfTI-1.1 and NIfTI-2 header definitions (nifti1.h, nifti2.h) of the NIfTI working group.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, finding, refusal, warning
from medpodium.scoring.masks.geometry import FloatArray, Geometry, geometry_from_affine
from medpodium.scoring.masks.header import VolumeHeader, check_spacing, checked_shape
from medpodium.scoring.masks.inflate import ByteStream, ReadLimits

_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOUR = {128: "RGB24", 2304: "RGBA32"}
_COMPLEX = {32: "complex64", 1792: "complex128", 2048: "complex256"}
_UNIT_MM = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE_AGREEMENT_VOXELS = 0.05
"""qform and sform agree when no corner of the volume moves by more than this share of the smallest spacing."""


@dataclass(frozen=True)
class _Layout:
    size: int
    magic: int
    magic_text: bytes
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    scaling: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]


_LAYOUTS = {
    348: _Layout(348, 344, b"n+1\0", (40, "8h"), 70, (76, "8f"), (108, "f"), (112, "2f"), (123, "b"), (252, "2h"),
                 (256, "6f"), (280, "12f")),
    540: _Layout(540, 4, b"n+2\0", (16, "8q"), 12, (104, "8d"), (168, "q"), (176, "2d"), (500, "i"), (344, "2i"),
                 (352, "6d"), (400, "12d")),
}  # fmt: skip


def read_nifti_header(stream: ByteStream, path: Path, limits: ReadLimits) -> VolumeHeader:
    """Read the header and leave the stream at the first voxel.

    Raises
    ------
    MaskError
        When the header is not a readable single-file NIfTI header within the limits.
    """
    start = stream.read(4)
    order, layout = _recognise(start, path)
    raw = start + stream.read(layout.size - 4)
    if len(raw) < layout.size:
        raise refusal(
            MaskCode.HEADER_TRUNCATED,
            path,
            f"the NIfTI header has {len(raw)} of {layout.size} bytes",
            "write or upload the file again; it was cut off",
        )
    _check_magic(raw, layout, path)

    def values(place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + place[1], raw, place[0])

    dtype = _stored_type(struct.unpack_from(order + "h", raw, layout.datatype)[0], order, path)
    findings: list[Finding] = []
    shape_zyx, volumes = _shape(values(layout.dim), path, limits, findings)
    geometry = _geometry(shape_zyx, values, layout, path, findings)
    slope, intercept = _scaling(values(layout.scaling), path, findings)
    _skip_to_voxels(stream, values(layout.offset)[0], layout, path, limits, findings)
    return VolumeHeader(geometry, dtype, volumes, slope, intercept, tuple(findings))


def _recognise(start: bytes, path: Path) -> tuple[str, _Layout]:
    if len(start) < 4:
        raise refusal(MaskCode.HEADER_TRUNCATED, path, "is too short for a NIfTI header", "write the file again")
    for order in "<>":
        layout = _LAYOUTS.get(struct.unpack(order + "i", start)[0])
        if layout:
            return order, layout
    twice = "; it was compressed twice" if start[:2] == b"\x1f\x8b" else ""
    raise refusal(
        MaskCode.FORMAT_MISMATCH,
        path,
        f"the content is not NIfTI (it starts with {start.hex(' ')}{twice})",
        "save the mask as NIfTI, or give the file the extension of its true format",
    )


def _check_magic(raw: bytes, layout: _Layout, path: Path) -> None:
    magic = raw[layout.magic : layout.magic + 4]
    if magic == layout.magic_text:
        return
    if magic[:2] == b"ni":
        raise refusal(
            MaskCode.DATA_DETACHED,
            path,
            "is the header half of a .hdr/.img pair",
            "save the mask as one .nii.gz file",
        )
    raise refusal(
        MaskCode.HEADER_INVALID,
        path,
        f"the header's magic is {magic!r}, not {layout.magic_text!r} (an ANALYZE file, or damaged)",
        "save the mask as NIfTI-1 in one .nii.gz file",
    )


def _stored_type(code: int, order: str, path: Path) -> np.dtype[Any]:
    if code in _TYPES:
        return np.dtype(order + _TYPES[code])
    if code in _COLOUR:
        raise refusal(
            MaskCode.TYPE_COLOUR,
            path,
            f"voxels are colours ({_COLOUR[code]}), not labels",
            "save the label map itself (uint8), not its colour rendering",
        )
    if code in _COMPLEX:
        raise refusal(MaskCode.TYPE_COMPLEX, path, f"voxels are {_COMPLEX[code]} numbers", "save labels as uint8")
    raise refusal(
        MaskCode.TYPE_UNSUPPORTED, path, f"datatype code {code} is not a number type read here", "save as uint8"
    )


def _shape(
    dim: tuple[int, ...], path: Path, limits: ReadLimits, findings: list[Finding]
) -> tuple[tuple[int, int, int], int]:
    count = dim[0]
    if not 1 <= count <= 7:
        raise refusal(
            MaskCode.SHAPE_INVALID, path, f"the header states {count} dimensions", "save the mask with 3 dimensions"
        )
    sizes = dim[1 : count + 1]
    x, y, z = (*sizes[:3], 1, 1)[:3]
    shape_zyx = checked_shape(path, (x, y, z), limits)
    extra = sizes[3:]
    if any(size < 1 for size in extra):
        raise refusal(MaskCode.SHAPE_INVALID, path, f"the header's dimensions are {sizes}", "save 3 dimensions")
    if math.prod(extra[1:]) > 1:
        raise refusal(
            MaskCode.TYPE_VECTOR,
            path,
            f"has {math.prod(extra[1:])} values per voxel (shape {sizes}), a label map has 1",
            "save the label map itself",
        )
    if extra and math.prod(extra) == 1:
        findings.append(
            warning(
                MaskCode.SINGLETON_DIMENSION,
                path,
                f"the shape {sizes} has {len(extra)} dimension(s) of size 1 after x, y, z",
                "squeeze the array before saving; they are ignored",
            )
        )
    return shape_zyx, math.prod(extra)


def _geometry(
    shape_zyx: tuple[int, int, int], values: Any, layout: _Layout, path: Path, findings: list[Finding]
) -> Geometry:
    pixdim = values(layout.pixdim)
    qform_code, sform_code = values(layout.codes)
    unit = _unit(values(layout.units)[0], path, findings)
    if sform_code <= 0 or qform_code > 0:
        check_spacing(path, tuple(abs(value) for value in pixdim[1:4]))
    qform = _qform(values(layout.quaternion), pixdim, path) if qform_code > 0 else None
    sform = np.vstack([np.reshape(values(layout.rows), (3, 4)), [0, 0, 0, 1]]) if sform_code > 0 else None
    if sform is not None:
        affine = sform
    elif qform is not None:
        affine = qform
    else:
        affine = np.diag([*(abs(value) for value in pixdim[1:4]), 1.0])
        findings.append(
            warning(
                MaskCode.ORIENTATION_MISSING,
                path,
                "the header has neither qform nor sform (both codes are 0), so left and right are unknown",
                "copy the input image's header when saving",
            )
        )
    try:
        geometry = geometry_from_affine(
            shape_zyx,
            _RAS_TO_LPS @ (np.diag([unit, unit, unit, 1.0]) @ affine),
            oriented=affine is sform or affine is qform,
        )
    except ValueError:
        raise refusal(
            MaskCode.AFFINE_INVALID,
            path,
            f"the header's affine {np.round(affine[:3], 4).tolist()} cannot be inverted",
            "copy the input image's header when saving",
        ) from None
    _check_agreement(geometry, sform, qform, pixdim, path, findings)
    return geometry


def _unit(code: int, path: Path, findings: list[Finding]) -> float:
    name, factor = _UNIT_MM.get(code & 0x07, ("mm", 1.0))
    if factor != 1.0:
        findings.append(
            warning(
                MaskCode.UNITS_NOT_MM,
                path,
                f"the header states lengths in {name}; they were converted to mm",
                "save lengths in mm (xyzt_units = 2)",
            )
        )
    return factor


def _qform(numbers: tuple[float, ...], pixdim: tuple[float, ...], path: Path) -> FloatArray:
    """Affine of a quaternion (b, c, d, offsets), by the formula of the NIfTI-1 definition (method 2)."""
    b, c, d = numbers[:3]
    if not all(math.isfinite(value) for value in numbers):
        raise refusal(
            MaskCode.AFFINE_INVALID, path, f"the header's qform {numbers} is not finite", "copy the input's header"
        )
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
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([abs(pixdim[1]), abs(pixdim[2]), abs(pixdim[3]) * handedness])
    affine[:3, 3] = numbers[3:6]
    return affine


def _check_agreement(
    geometry: Geometry,
    sform: FloatArray | None,
    qform: FloatArray | None,
    pixdim: tuple[float, ...],
    path: Path,
    findings: list[Finding],
) -> None:
    gram = geometry.direction.T @ geometry.direction
    if np.abs(gram - np.eye(3)).max() > 1e-3:
        findings.append(
            warning(
                MaskCode.AFFINE_SHEARED,
                path,
                "the header's axes are not at right angles, so distances in mm are approximate",
                "resample to a rectangular grid",
            )
        )
    if sform is None:
        return
    if qform is not None:
        last = np.array(geometry.shape_xyz) - 1
        corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
        moved = np.abs((corners @ (sform - qform).T)[:, :3]).max(axis=0)
        if moved.max() > AFFINE_AGREEMENT_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
            axis = int(moved.argmax())
            findings.append(
                warning(
                    MaskCode.QFORM_SFORM_DISAGREE,
                    path,
                    f"qform and sform place the volume up to {moved[axis]:.3g} mm apart along world {'xyz'[axis]}; "
                    "the sform was used",
                    "write both from the same affine",
                )
            )
        return
    norms = np.linalg.norm(sform[:3, :3], axis=0)
    stated = np.abs(pixdim[1:4])
    if not np.allclose(norms, stated, rtol=1e-3, atol=0):
        findings.append(
            warning(
                MaskCode.PIXDIM_SFORM_DISAGREE,
                path,
                f"spacing (x, y, z) is {tuple(np.round(stated, 4).tolist())} by pixdim and "
                f"{tuple(np.round(norms, 4).tolist())} by the sform; the sform was used",
                "write pixdim and the sform from the same affine",
            )
        )


def _scaling(pair: tuple[float, ...], path: Path, findings: list[Finding]) -> tuple[float, float]:
    slope, intercept = pair
    if slope == 0 or math.isnan(slope):  # "no scaling" by the definition, and by what nibabel leaves behind
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise refusal(
            MaskCode.SCALING_INVALID,
            path,
            f"scl_slope {slope} and scl_inter {intercept} are not finite",
            "save labels without scaling (scl_slope 1, scl_inter 0)",
        )
    if (slope, intercept) != (1.0, 0.0):
        findings.append(
            finding(
                MaskCode.SCALING_APPLIED,
                path,
                f"stored values were scaled by scl_slope {slope:g} and scl_inter {intercept:g}",
                "save labels without scaling; some tools ignore it",
                Severity.NOTE,
            )
        )
    return slope, intercept


def _skip_to_voxels(
    stream: ByteStream, offset: float, layout: _Layout, path: Path, limits: ReadLimits, findings: list[Finding]
) -> None:
    if not math.isfinite(offset) or offset < layout.size or offset != int(offset):
        raise refusal(
            MaskCode.HEADER_INVALID,
            path,
            f"vox_offset {offset:g} lies inside the header of {layout.size} bytes",
            "save the mask again as .nii.gz",
        )
    if offset > limits.max_header_bytes:
        raise refusal(
            MaskCode.HEADER_TOO_LARGE,
            path,
            f"the voxels start at byte {int(offset)}, headers are read up to {limits.max_header_bytes} bytes",
            "save the mask without header extensions",
        )
    gap = int(offset) - layout.size
    between = stream.read(gap)
    if len(between) < gap:
        raise refusal(MaskCode.HEADER_TRUNCATED, path, "ends inside the header extensions", "write the file again")
    if between[:1] not in (b"", b"\0"):
        findings.append(
            finding(
                MaskCode.HEADER_EXTENSION,
                path,
                f"the header carries {gap - 4} bytes of extensions, which were not read",
                "save the mask without header extensions",
                Severity.NOTE,
            )
        )
