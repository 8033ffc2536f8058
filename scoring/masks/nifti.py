"""NIfTI-1 and NIfTI-2 headers (single files), read by their published byte layout.

Source: the NIfTI-1.1 and NIfTI-2 header definitions (nifti1.h, nifti2.h) of the NIfTI working group.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, finding, refusal, warning
from medpodium.scoring.masks.header import VolumeHeader, checked_shape, grid_findings, singleton_warning
from medpodium.scoring.masks.inflate import ByteStream, ReadLimits
from medpodium.scoring.masks.nifti_grid import GridFields, nifti_geometry

_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOUR = {128: "RGB24", 2304: "RGBA32"}
_COMPLEX = {32: "complex64", 1792: "complex128", 2048: "complex256"}


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
    if layout.size == 540:
        cause, fix = "is NIfTI-2, which SimpleITK does not read", "save as NIfTI-1 where axes and labels fit"
        findings.append(finding(MaskCode.HEADER_ODD, path, cause, fix, Severity.NOTE))
    shape_zyx, volumes = _shape(values(layout.dim), path, limits, findings)
    qform_code, sform_code = values(layout.codes)
    fields = GridFields(
        values(layout.dim)[0],
        values(layout.pixdim), qform_code, sform_code, values(layout.quaternion), values(layout.rows),
        values(layout.units)[0], 2.0**-23 if layout.size == 348 else 2.0**-52,
    )  # fmt: skip
    geometry = nifti_geometry(shape_zyx, fields, path, findings)
    geometry = replace(geometry, planar=values(layout.dim)[0] < 3)
    findings += grid_findings(path, geometry)
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
        findings.append(singleton_warning(path, sizes, 3))
    return shape_zyx, math.prod(extra)


def _scaling(pair: tuple[float, ...], path: Path, findings: list[Finding]) -> tuple[float, float]:
    slope, intercept = pair
    if slope == 0 or math.isnan(slope):  # "no scaling" by the definition, and by what nibabel leaves behind
        if intercept != 0 and not math.isnan(intercept):
            cause = (
                f"scl_inter {intercept:g} was ignored, as scl_slope {slope:g} says (nibabel, too; SimpleITK adds it)"
            )
            fix = "save labels without scaling (scl_slope 1, scl_inter 0)"
            findings.append(warning(MaskCode.SCALING_IGNORED, path, cause, fix))
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
    gap = int(offset) - layout.size
    if gap > limits.max_extension_bytes:
        raise refusal(
            MaskCode.HEADER_TOO_LARGE,
            path,
            f"the voxels start at byte {int(offset)}, extensions are skipped up to {limits.max_extension_bytes} bytes",
            "save the mask without header extensions",
        )
    flag = stream.read(min(4, gap))
    if len(flag) + stream.skip(gap - len(flag)) < gap:
        raise refusal(MaskCode.HEADER_TRUNCATED, path, "ends inside the header extensions", "write the file again")
    if flag[:1] not in (b"", b"\0") or gap > limits.max_header_bytes:
        findings.append(
            finding(
                MaskCode.HEADER_EXTENSION,
                path,
                f"the header carries {gap - 4} bytes of extensions, which were not read",
                "save the mask without header extensions",
                Severity.WARNING if gap > limits.max_header_bytes else Severity.NOTE,
            )
        )
