"""MetaImage headers (.mha, .mhd with embedded data), and what they share with NRRD's: lines of text before the voxels.

They are read here rather than by a library so that a file from outside can neither name another file to open nor ask
for more memory than its size can justify. Source: the MetaIO documentation (ITK).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal, warning
from medpodium.scoring.masks.geometry import FloatArray, Geometry, axis_lengths, geometry_from_affine
from medpodium.scoring.masks.header import (
    VolumeHeader,
    check_spacing,
    checked_shape,
    grid_findings,
    singleton_warning,
)
from medpodium.scoring.masks.inflate import ByteStream, ReadLimits

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
UNIT_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(
        ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 1e-3
    ),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
_LARGEST = 1 << 53  # up to here a float holds every whole number
_MOST_DIMENSIONS = 10  # MetaIO's
_DATA_LINE = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n", re.MULTILINE)
_FIRST_READ = 1 << 14
_UNIT_LENGTH = 1e-3
"""Rows of a direction matrix are unit vectors up to what printing them with three digits costs."""


def head_until(stream: ByteStream, end: re.Pattern[bytes], path: Path, limits: ReadLimits) -> str:
    """Return the header text up to and including the match of ``end``, and leave the stream behind it."""
    head, wanted = b"", _FIRST_READ
    while True:
        piece = stream.read(wanted - len(head))
        head += piece
        match = end.search(head)
        if match:
            stream.give_back(head[match.end() :])
            return head[: match.end()].decode("utf-8", errors="replace")
        if not piece:
            raise refusal(
                MaskCode.HEADER_TRUNCATED,
                path,
                f"the header does not end within the file's {len(head)} bytes",
                "write or upload the file again; it was cut off",
            )
        if len(head) >= limits.max_header_bytes:
            raise refusal(
                MaskCode.HEADER_TOO_LARGE,
                path,
                f"the header does not end within {limits.max_header_bytes} bytes",
                "save the mask without extra header fields",
            )
        wanted = min(2 * wanted, limits.max_header_bytes)


def numbers(fields: Mapping[str, str], key: str, count: int, path: Path, default: str | None = None) -> list[float]:
    """Return a field's finite numbers.

    Raises
    ------
    MaskError
        When they are not numbers, not finite, or not as many as asked for.
    """
    text = fields.get(key, default)
    try:
        values = [float(part) for part in text.split()] if text is not None else []
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise refusal(
            MaskCode.HEADER_INVALID,
            path,
            f"the header's {key!r} is {text!r}, not {count} finite number(s)",
            "save the mask again with a standard library",
        ) from None
    return values


def whole_numbers(
    fields: Mapping[str, str], key: str, count: int, path: Path, default: str | None = None
) -> tuple[int, ...]:
    """Return a field's whole numbers; see :func:`numbers`."""
    values = numbers(fields, key, count, path, default)
    if any(value != int(value) or abs(value) > _LARGEST for value in values):
        raise refusal(
            MaskCode.SHAPE_INVALID, path, f"the header's {key!r} is {fields.get(key)!r}", "state whole numbers"
        )
    return tuple(int(value) for value in values)


def grid_of(
    path: Path,
    shape_zyx: tuple[int, int, int],
    columns: FloatArray,
    origin: Sequence[float],
    *,
    oriented: bool = True,
    spacing_xyz: tuple[float, float, float] | None = None,
) -> Geometry:
    """Return the grid of a header's axes (as columns, LPS, mm) and origin.

    Raises
    ------
    MaskError
        When the axes lie in one plane or are not finite.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    try:
        return geometry_from_affine(shape_zyx, affine, oriented=oriented, spacing_xyz=spacing_xyz)
    except ValueError:
        raise refusal(
            MaskCode.AFFINE_INVALID,
            path,
            f"the header's axes {np.round(columns, 4).tolist()} cannot be inverted",
            "copy the geometry from the input image",
        ) from None


def spatial_sizes(path: Path, sizes: tuple[int, ...], findings: list[Finding]) -> tuple[tuple[int, int, int], int]:
    """Return x, y, z of a volume whose first axes these are, and how many volumes follow each other.

    Axes of size 1 after the third are ignored with a warning; a plane is a volume of one slice.
    """
    if any(size < 1 for size in sizes):
        raise refusal(MaskCode.SHAPE_INVALID, path, f"the header's sizes are {sizes}", "write its true shape")
    x, y, z = (*sizes[:3], 1, 1)[:3]
    volumes = math.prod(sizes[3:])
    if len(sizes) > 3 and volumes == 1:
        findings.append(singleton_warning(path, sizes, 3))
    return (x, y, z), volumes


def read_metaimage_header(stream: ByteStream, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, ByteStream]:
    """Read a MetaImage header; return it and the stream of its voxels."""
    text = head_until(stream, _DATA_LINE, path, limits)
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = value.strip()
    if "NDims" not in fields and "ObjectType" not in fields:
        raise refusal(
            MaskCode.FORMAT_MISMATCH, path, "the content is not MetaImage", "give the file its true extension"
        )
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise refusal(
            MaskCode.DATA_DETACHED,
            path,
            f"the voxels are in another file ({fields['ElementDataFile']!r}), which is never opened",
            "save header and voxels in one .mha file",
        )
    findings: list[Finding] = []
    dtype = _stored_type(fields, path)
    geometry, volumes = _geometry(fields, path, limits, findings)
    header = VolumeHeader(geometry, dtype, volumes)
    voxels = _find_voxels(fields, header, stream, path, limits, findings)
    return replace(header, findings=tuple(findings)), voxels


def _stored_type(fields: Mapping[str, str], path: Path) -> np.dtype[Any]:
    channels = whole_numbers(fields, "ElementNumberOfChannels", 1, path, "1")[0]
    if channels != 1:
        code = MaskCode.TYPE_COLOUR if channels in (3, 4) else MaskCode.TYPE_VECTOR
        raise refusal(code, path, f"has {channels} values per voxel, a label map has 1", "save the label map itself")
    slope = numbers(fields, "ElementToIntensityFunctionSlope", 1, path, "1")[0]
    intercept = numbers(fields, "ElementToIntensityFunctionOffset", 1, path, "0")[0]
    if (slope, intercept) != (1.0, 0.0):
        raise refusal(
            MaskCode.SCALING_INVALID,
            path,
            f"asks for intensity scaling (slope {slope:g}, offset {intercept:g}), which libraries ignore",
            "save labels without scaling",
        )
    name = fields.get("ElementType", "")
    if name not in _TYPES:
        raise refusal(MaskCode.TYPE_UNSUPPORTED, path, f"ElementType {name!r} is not read here", "save as MET_UCHAR")
    big = any(_true(fields.get(key)) for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    return np.dtype((">" if big else "<") + _TYPES[name])


def _geometry(
    fields: Mapping[str, str], path: Path, limits: ReadLimits, findings: list[Finding]
) -> tuple[Geometry, int]:
    """Return the grid and the number of volumes.

    A row of TransformMatrix is where an axis points, in LPS. Its length is 1; where it is not, SimpleITK states
    ElementSpacing as the spacing and yet puts the voxels as far apart as the row says.
    """
    count = whole_numbers(fields, "NDims", 1, path)[0]
    if not 2 <= count <= _MOST_DIMENSIONS:
        cause = f"has {count} dimensions, a label map has 3"
        raise refusal(MaskCode.SHAPE_INVALID, path, cause, "save the mask with 3 dimensions")
    sizes, volumes = spatial_sizes(path, whole_numbers(fields, "DimSize", count, path), findings)
    shape_zyx = checked_shape(path, sizes, limits)
    key = _first(fields, "ElementSpacing", "ElementSize")
    spacing = np.ones(max(count, 3))
    spacing[:count] = numbers(fields, key, count, path, "1 " * count)
    spacing = spacing[:3] * _unit(fields, path, findings)
    check_spacing(path, tuple(spacing.tolist()))
    matrix, origin = np.eye(max(count, 3)), np.zeros(max(count, 3))
    key = _first(fields, "TransformMatrix", "Rotation", "Orientation")
    identity = " ".join(str(value) for value in np.eye(count).ravel())
    matrix[:count, :count] = np.reshape(numbers(fields, key, count * count, path, identity), (count, count))
    key = _first(fields, "Offset", "Position", "Origin")
    origin[:count] = numbers(fields, key, count, path, "0 " * count)
    matrix = matrix[:3, :3]
    lengths = axis_lengths(matrix.T)
    stretched = np.abs(lengths - 1) > _UNIT_LENGTH
    if stretched.any():
        axis = int(stretched.argmax())
        findings.append(
            warning(
                MaskCode.DIRECTION_STRETCHED,
                path,
                f"the direction of {'xyz'[axis]} has length {lengths[axis]:.6g} instead of 1, so its voxels lie "
                f"{lengths[axis] * spacing[axis]:.6g} mm apart and were measured so (SimpleITK: {spacing[axis]:g})",
                "write unit vectors as TransformMatrix, and lengths as ElementSpacing",
            )
        )
    x, y, z = (float(value) for value in np.where(stretched, lengths, 1.0) * spacing)
    geometry = grid_of(path, shape_zyx, matrix.T * spacing, origin[:3].tolist(), spacing_xyz=(x, y, z))
    geometry = replace(geometry, planar=count == 2)
    findings += grid_findings(path, geometry)
    return geometry, volumes


def _unit(fields: Mapping[str, str], path: Path, findings: list[Finding]) -> float:
    name = fields.get("DistanceUnits", "mm").lower()
    return unit_factor(name, path, findings) if name not in ("", "?") else 1.0


def _find_voxels(
    fields: Mapping[str, str],
    header: VolumeHeader,
    stream: ByteStream,
    path: Path,
    limits: ReadLimits,
    findings: list[Finding],
) -> ByteStream:
    """Return the stream of the voxels, past whatever the header hides before them."""
    if not _true(fields.get("BinaryData", "True")):
        raise refusal(MaskCode.ENCODING_UNSUPPORTED, path, "voxels are written as text", "save binary voxels")
    zipped = _true(fields.get("CompressedData"))
    start = whole_numbers(fields, "HeaderSize", 1, path, "0")[0]
    if start:
        skip_to(stream, None if start == -1 and not zipped else start, header, path, limits, findings, "HeaderSize")
    if zipped and "CompressedDataSize" not in fields:
        cause = "voxels are compressed, and CompressedDataSize is absent, without which SimpleITK reads rubbish"
        findings.append(warning(MaskCode.HEADER_ODD, path, cause, "save the mask again with a standard library"))
    return ByteStream(stream, path, "zlib") if zipped else stream


def skip_to(
    stream: ByteStream,
    start: int | None,
    header: VolumeHeader,
    path: Path,
    limits: ReadLimits,
    findings: list[Finding],
    field: str,
) -> None:
    """Go to where a field says that the voxels start, with a warning.

    Parameters
    ----------
    start : int or None
        Position in the file; ``None`` for where the last ``voxels`` of the file start.
    field : str
        The field that says so.

    Raises
    ------
    MaskError
        When that is not ahead, or too far.
    """
    gap = -1 if start is None else start - stream.position
    if start is None:
        reached = stream.skip_to_last(header.voxels * header.volumes * header.layers * header.dtype.itemsize)
    else:
        reached = 0 <= gap <= limits.max_extension_bytes and stream.skip(gap) == gap
    if not reached:
        raise refusal(
            MaskCode.ENCODING_UNSUPPORTED,
            path,
            f"{field} {-1 if start is None else start} points to no place where the voxels could start",
            "save the mask again with a standard library",
        )
    if start is None or gap:
        findings.append(
            warning(
                MaskCode.HEADER_EXTENSION,
                path,
                f"{field} {-1 if start is None else start}: the voxels start at byte {stream.position}, "
                "what lies before was not read",
                "save the mask again with a standard library",
            )
        )


def unit_factor(name: str, path: Path, findings: list[Finding]) -> float:
    """Return how many mm a unit of length is, and say where it is another than mm, or an unknown one."""
    factor = UNIT_MM.get(name.strip().lower())
    if factor == 1.0:
        return 1.0
    said = f"the header states lengths in {name!r}"
    cause = f"{said}, which no unit known here is called; they were taken for mm"
    if factor is not None:
        cause = f"{said}; they were converted to mm (SimpleITK takes them for mm)"
    found = warning(MaskCode.UNITS_NOT_MM, path, cause, "save lengths in mm")
    if found not in findings:
        findings.append(found)
    return factor or 1.0


def _first(fields: Mapping[str, str], *keys: str) -> str:
    return next((key for key in keys if key in fields), keys[0])


def _true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "t", "1", "yes")
