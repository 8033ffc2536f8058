"""MetaImage (.mha, .mhd with embedded data) and NRRD headers.

Both are a few lines of text before the voxels. They are read here rather than by a library so that a file from
outside can neither name another file to open nor ask for more memory than its size can justify.
Sources: the MetaIO documentation (ITK) and the NRRD file-format definition (Teem).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal, warning
from medpodium.scoring.masks.geometry import FloatArray, Geometry, geometry_from_affine
from medpodium.scoring.masks.header import VolumeHeader, check_spacing, checked_shape
from medpodium.scoring.masks.inflate import ReadLimits, Wrapping

_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_NRRD_SPACES = {  # factors that turn a world vector into LPS
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_META_DATA_LINE = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n", re.MULTILINE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FIRST_READ = 1 << 14


def _head_until(file: BinaryIO, end: re.Pattern[bytes], path: Path, limits: ReadLimits) -> tuple[str, int]:
    """Return the header text up to and including the match of ``end``, and where the voxels start."""
    head, wanted = b"", _FIRST_READ
    while True:
        piece = file.read(wanted - len(head))
        head += piece
        match = end.search(head)
        if match:
            return head[: match.end()].decode("utf-8", errors="replace"), match.end()
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


def _numbers(fields: Mapping[str, str], key: str, count: int, path: Path, default: str | None = None) -> list[float]:
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


def _sizes(fields: Mapping[str, str], key: str, count: int, path: Path) -> tuple[int, ...]:
    values = _numbers(fields, key, count, path)
    if any(value != int(value) for value in values):
        raise refusal(MaskCode.SHAPE_INVALID, path, f"the header's {key!r} is {fields[key]!r}", "state whole numbers")
    return tuple(int(value) for value in values)


def _three_dimensions(count: int, path: Path) -> None:
    if count == 4:
        raise refusal(
            MaskCode.FOUR_DIMENSIONAL,
            path,
            "has 4 dimensions, a label map has 3",
            "save one label map (for scores per class: their argmax)",
        )
    if count != 3:
        raise refusal(MaskCode.SHAPE_INVALID, path, f"has {count} dimensions, a label map has 3", "save 3 dimensions")


def _from_columns(
    path: Path, shape_zyx: tuple[int, int, int], columns: FloatArray, origin: Sequence[float], oriented: bool = True
) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    try:
        return geometry_from_affine(shape_zyx, affine, oriented=oriented)
    except ValueError:
        raise refusal(
            MaskCode.AFFINE_INVALID,
            path,
            f"the header's axes {np.round(columns, 4).tolist()} cannot be inverted",
            "copy the geometry from the input image",
        ) from None


def read_metaimage_header(file: BinaryIO, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, Wrapping]:
    """Read a MetaImage header and leave the file at the first byte of its voxel data."""
    text, offset = _head_until(file, _META_DATA_LINE, path, limits)
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
    _three_dimensions(_sizes(fields, "NDims", 1, path)[0], path)
    channels = _sizes(fields, "ElementNumberOfChannels", 1, path)[0] if "ElementNumberOfChannels" in fields else 1
    if channels != 1:
        code = MaskCode.TYPE_COLOUR if channels in (3, 4) else MaskCode.TYPE_VECTOR
        raise refusal(code, path, f"has {channels} values per voxel, a label map has 1", "save the label map itself")
    slope = float(_numbers(fields, "ElementToIntensityFunctionSlope", 1, path, "1")[0])
    intercept = float(_numbers(fields, "ElementToIntensityFunctionOffset", 1, path, "0")[0])
    if (slope, intercept) != (1.0, 0.0):
        raise refusal(
            MaskCode.SCALING_INVALID,
            path,
            f"asks for intensity scaling (slope {slope:g}, offset {intercept:g}), which libraries ignore",
            "save labels without scaling",
        )
    code_name = fields.get("ElementType", "")
    if code_name not in _META_TYPES:
        raise refusal(
            MaskCode.TYPE_UNSUPPORTED, path, f"ElementType {code_name!r} is not read here", "save as MET_UCHAR"
        )
    x, y, z = _sizes(fields, "DimSize", 3, path)
    shape_zyx = checked_shape(path, (x, y, z), limits)
    spacing_key = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    spacing = _numbers(fields, spacing_key, 3, path, "1 1 1")
    check_spacing(path, tuple(spacing))
    matrix_key = _first(fields, "TransformMatrix", "Rotation", "Orientation")
    matrix = np.reshape(_numbers(fields, matrix_key, 9, path, "1 0 0 0 1 0 0 0 1"), (3, 3))
    origin = _numbers(fields, _first(fields, "Offset", "Position", "Origin"), 3, path, "0 0 0")
    geometry = _from_columns(path, shape_zyx, matrix.T * np.array(spacing), origin)
    big = any(_true(fields.get(key)) for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    _check_meta_encoding(fields, path)
    file.seek(offset)
    wrapping: Wrapping = "zlib" if _true(fields.get("CompressedData")) else "raw"
    return VolumeHeader(geometry, np.dtype((">" if big else "<") + _META_TYPES[code_name])), wrapping


def _check_meta_encoding(fields: Mapping[str, str], path: Path) -> None:
    if not _true(fields.get("BinaryData", "True")):
        raise refusal(MaskCode.ENCODING_UNSUPPORTED, path, "voxels are written as text", "save binary voxels")
    if fields.get("HeaderSize", "0") != "0":
        raise refusal(
            MaskCode.ENCODING_UNSUPPORTED,
            path,
            f"HeaderSize {fields['HeaderSize']!r} hides bytes before the voxels",
            "save the mask again with a standard library",
        )


def _first(fields: Mapping[str, str], *keys: str) -> str:
    return next((key for key in keys if key in fields), keys[0])


def _true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "t", "1", "yes")


def read_nrrd_header(file: BinaryIO, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, Wrapping]:
    """Read a NRRD header and leave the file at the first byte of its voxel data."""
    if file.read(4) != b"NRRD":
        raise refusal(MaskCode.FORMAT_MISMATCH, path, "the content is not NRRD", "give the file its true extension")
    file.seek(0)
    text, offset = _head_until(file, _BLANK_LINE, path, limits)
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        key, colon, value = line.partition(":")
        if colon:
            fields[key.strip().lower().replace("datafile", "data file")] = value.strip()
    if "data file" in fields:
        raise refusal(
            MaskCode.DATA_DETACHED,
            path,
            f"the voxels are in another file ({fields['data file']!r}), which is never opened",
            "save header and voxels in one .nrrd file",
        )
    _three_dimensions(_sizes(fields, "dimension", 1, path)[0], path)
    kind = fields.get("type", "").lower()
    if kind not in _NRRD_TYPES:
        raise refusal(MaskCode.TYPE_UNSUPPORTED, path, f"type {kind!r} is not read here", "save as unsigned char")
    x, y, z = _sizes(fields, "sizes", 3, path)
    shape_zyx = checked_shape(path, (x, y, z), limits)
    findings: list[Finding] = []
    geometry = _nrrd_geometry(fields, shape_zyx, path, findings)
    wrapping = _nrrd_wrapping(fields, path)
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    file.seek(offset)
    return VolumeHeader(geometry, np.dtype(order + _NRRD_TYPES[kind]), findings=tuple(findings)), wrapping


def _nrrd_wrapping(fields: Mapping[str, str], path: Path) -> Wrapping:
    encoding = fields.get("encoding", "").lower()
    skips = [fields.get(key, "0") for key in ("line skip", "lineskip", "byte skip", "byteskip")]
    if any(skip != "0" for skip in skips) or encoding not in ("raw", "gzip", "gz"):
        raise refusal(
            MaskCode.ENCODING_UNSUPPORTED,
            path,
            f"encoding {encoding!r} with skips {skips} is not read here",
            "save the mask with encoding gzip or raw",
        )
    return "raw" if encoding == "raw" else "gzip"


def _nrrd_geometry(
    fields: Mapping[str, str], shape_zyx: tuple[int, int, int], path: Path, findings: list[Finding]
) -> Geometry:
    space = fields.get("space", "").lower()
    if "space directions" in fields and space in _NRRD_SPACES:
        plain: dict[str, Any] = {
            key: re.sub(r"[(),]", " ", fields.get(key, "0 0 0")) for key in ("space directions", "space origin")
        }
        rows = np.reshape(_numbers(plain, "space directions", 9, path), (3, 3))
        factors = np.array(_NRRD_SPACES[space])
        columns: FloatArray = (rows * factors).T
        origin = np.array(_numbers(plain, "space origin", 3, path)) * factors
        return _from_columns(path, shape_zyx, columns, origin.tolist())
    spacing = _numbers(fields, "spacings", 3, path, "1 1 1")
    check_spacing(path, tuple(spacing))
    findings.append(
        warning(
            MaskCode.ORIENTATION_MISSING,
            path,
            f"the header states no patient orientation (space {space!r})",
            "save with space left-posterior-superior, as ITK does",
        )
    )
    return _from_columns(path, shape_zyx, np.diag(spacing), [0.0, 0.0, 0.0], oriented=False)
