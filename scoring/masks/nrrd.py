"""NRRD headers (.nrrd, .seg.nrrd), by the format's definition (Teem): spaces, units, per-axis fields, key/value pairs.

Like MetaImage headers they are read here rather than by a library; see :mod:`medpodium.scoring.masks.text_headers`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal, warning
from medpodium.scoring.masks.geometry import FloatArray, Geometry
from medpodium.scoring.masks.header import VolumeHeader, check_spacing, checked_shape, grid_findings, singleton_warning
from medpodium.scoring.masks.inflate import ByteStream, ReadLimits
from medpodium.scoring.masks.segments import slicer
from medpodium.scoring.masks.text_headers import grid_of, head_until, skip_to, spatial_sizes, unit_factor, whole_numbers

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_PATIENT_SPACES = {  # factors that turn a world vector into LPS
    **dict.fromkeys(("left-posterior-superior", "lps", "left-posterior-superior-time", "lpst"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras", "right-anterior-superior-time", "rast"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las", "left-anterior-superior-time", "last"), (1.0, -1.0, 1.0)),
}
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"')
_MOST_DIMENSIONS = 16  # Teem's NRRD_DIM_MAX
_AXIS_KINDS = ("", "???", "none", "domain", "space", "time")  # every other kind is a range: a list, vector, colour, ...


@dataclass(frozen=True)
class _Fields:
    """Fields of a header by their names in lower case without blanks (as Teem takes them), and key/value pairs."""

    path: Path
    named: dict[str, str]
    free: dict[str, str] = field(default_factory=dict)

    def refuse(self, name: str, wanted: str) -> Exception:
        cause = f"the header's {name!r} is {self.named.get(name)!r}, not {wanted}"
        return refusal(MaskCode.HEADER_INVALID, self.path, cause, "save the mask again with a standard library")

    def per_axis(self, name: str, count: int) -> list[float]:
        """Return one number per axis, nan where none is stated; empty where the field is absent."""
        text = self.named.get(name)
        if text is None:
            return []
        try:
            values = [float(part) for part in text.split()]
        except ValueError:
            raise self.refuse(name, f"{count} numbers") from None
        if len(values) != count:
            raise self.refuse(name, f"{count} numbers")
        return values

    def vectors(self, name: str) -> list[tuple[float, ...] | None]:
        """Return the vectors of a field; ``None`` where it says none (pynrrd writes vectors of nan)."""
        found: list[tuple[float, ...] | None] = []
        for match in _VECTOR.finditer(self.named.get(name, "")):
            try:
                vector = None if match[1] is None else tuple(float(part) for part in match[1].split(","))
            except ValueError:
                raise self.refuse(name, "vectors of numbers") from None
            found.append(None if vector is None or any(map(math.isnan, vector)) else vector)
        return found


def read_nrrd_header(stream: ByteStream, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, ByteStream]:
    """Read a NRRD header; return it and the stream of its voxels."""
    magic = stream.read(4)
    if magic != b"NRRD":
        raise refusal(MaskCode.FORMAT_MISMATCH, path, "the content is not NRRD", "give the file its true extension")
    stream.give_back(magic)
    fields = _parse(head_until(stream, _BLANK_LINE, path, limits), path)
    if "datafile" in fields.named:
        raise refusal(
            MaskCode.DATA_DETACHED,
            path,
            f"the voxels are in another file ({fields.named['datafile']!r}), which is never opened",
            "save header and voxels in one .nrrd file",
        )
    kind = fields.named.get("type", "").lower()
    if kind not in _TYPES:
        raise refusal(MaskCode.TYPE_UNSUPPORTED, path, f"type {kind!r} is not read here", "save as unsigned char")
    order = ">" if fields.named.get("endian", "little").lower() == "big" else "<"
    findings: list[Finding] = []
    geometry, volumes, layers = _geometry(fields, limits, findings)
    segments = None
    if slicer.names_segments(fields.free):
        segments = slicer.segments_of(fields.free, layers * volumes, path)
        geometry = replace(geometry, sparse=True)
    header = VolumeHeader(geometry, np.dtype(order + _TYPES[kind]), volumes, segments=segments, layers=layers)
    voxels = _find_voxels(fields, header, stream, limits, findings)
    return replace(header, findings=tuple(findings)), voxels


def _parse(text: str, path: Path) -> _Fields:
    fields = _Fields(path, {})
    for line in text.splitlines()[1:]:
        key, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        if value.startswith("="):
            fields.free[key] = value[1:].replace("\\n", "\n").replace("\\\\", "\\")
        else:
            fields.named[key.lower().replace(" ", "")] = value.strip()
    return fields


def _find_voxels(
    fields: _Fields, header: VolumeHeader, stream: ByteStream, limits: ReadLimits, findings: list[Finding]
) -> ByteStream:
    """Return the stream of the voxels: lines are skipped as they are stored, bytes after decompression."""
    encoding = fields.named.get("encoding", "").lower()
    lines = whole_numbers(fields.named, "lineskip", 1, fields.path, "0")[0]
    skipped = whole_numbers(fields.named, "byteskip", 1, fields.path, "0")[0]
    if lines or encoding not in ("raw", "gzip", "gz"):
        raise refusal(
            MaskCode.ENCODING_UNSUPPORTED,
            fields.path,
            f"encoding {encoding!r} with {lines} skipped lines is not read here",
            "save the mask with encoding gzip or raw",
        )
    voxels = stream if encoding == "raw" else ByteStream(stream, fields.path, "gzip")
    if skipped:
        start = None if skipped == -1 else voxels.position + skipped
        skip_to(voxels, start, header, fields.path, limits, findings, "byte skip")
    return voxels


def _geometry(fields: _Fields, limits: ReadLimits, findings: list[Finding]) -> tuple[Geometry, int, int]:
    """Return the grid, how many volumes follow each other, and how many values each voxel has (layers of segments)."""
    path = fields.path
    count = whole_numbers(fields.named, "dimension", 1, path)[0]
    if not 1 <= count <= _MOST_DIMENSIONS:
        raise refusal(MaskCode.SHAPE_INVALID, path, f"has {count} dimensions", "save the mask with 3 dimensions")
    sizes = whole_numbers(fields.named, "sizes", count, path)
    if any(size < 1 for size in sizes):
        raise refusal(MaskCode.SHAPE_INVALID, path, f"the header's sizes are {sizes}", "write its true shape")
    directions = fields.vectors("spacedirections")
    if directions and len(directions) != count:
        raise fields.refuse("spacedirections", f"{count} vectors")
    axes = _spatial_axes(fields, sizes, directions)
    layers = _layers(fields, sizes, axes)
    (x, y, z), volumes = spatial_sizes(path, tuple(sizes[axis] for axis in axes), [])
    if count > 3 and volumes * layers == 1 and not slicer.names_segments(fields.free):
        findings.append(singleton_warning(path, sizes, min(len(axes), 3)))
    shape_zyx = checked_shape(path, (x, y, z), limits)
    if any(directions[axis] is not None for axis in axes[:3] if directions):
        geometry = _by_directions(fields, shape_zyx, [directions[axis] for axis in axes[:3]], findings)
    else:
        geometry = _by_spacings(fields, shape_zyx, axes[:3], count, findings)
    geometry = replace(geometry, planar=len(axes) < 3)
    findings += grid_findings(path, geometry)
    return geometry, volumes, layers


def _spatial_axes(fields: _Fields, sizes: Sequence[int], directions: Sequence[tuple[float, ...] | None]) -> list[int]:
    """Return the axes along which voxels lie: those with a direction, else those whose kind is no list or colour."""
    kinds = [*fields.named.get("kinds", "").lower().split(), *[""] * len(sizes)][: len(sizes)]
    if any(direction is not None for direction in directions):
        spatial = [direction is not None and not _is_time(direction) for direction in directions]
    else:
        spatial = [kind in _AXIS_KINDS for kind in kinds]
    axes = [axis for axis, is_spatial in enumerate(spatial) if is_spatial]
    # A further axis counts volumes; one of size 1 counts nothing.
    return axes + [
        axis for axis in range(len(sizes)) if axis not in axes and axis > max(axes, default=-1) and sizes[axis] > 1
    ]


def _is_time(direction: tuple[float, ...]) -> bool:
    """Return whether an axis leads through the fourth axis of a space, time, and no other."""
    return any(direction[3:]) and not any(direction[:3])


def _layers(fields: _Fields, sizes: tuple[int, ...], axes: Sequence[int]) -> int:
    """Return how many values a voxel has: an axis before or among x, y, z along which no voxels lie.

    Several are refused, unless they are layers of a segmentation: the first axis, and no further one beside x, y, z.
    """
    values = math.prod(size for axis, size in enumerate(sizes) if axis not in axes)
    layered = slicer.names_segments(fields.free) and values == sizes[0] and 0 not in axes and len(axes) <= 3
    if values == 1 or layered:
        return values
    kinds = fields.named.get("kinds", "").lower()
    code = MaskCode.TYPE_COLOUR if "color" in kinds or "colour" in kinds else MaskCode.FOUR_DIMENSIONAL
    raise refusal(
        code,
        fields.path,
        f"has {values} values per voxel: {len(sizes)} dimensions, sizes {sizes}; a label map has 1",
        "save one label map, or one file per structure where structures overlap",
    )


def _by_directions(
    fields: _Fields,
    shape_zyx: tuple[int, int, int],
    directions: Sequence[tuple[float, ...] | None],
    findings: list[Finding],
) -> Geometry:
    """Return the grid of the axes' vectors, which count whatever the space around them is called."""
    path = fields.path
    space = fields.named.get("space", "").lower()
    factors = np.array(_PATIENT_SPACES.get(space, (1.0, 1.0, 1.0)))
    if space not in _PATIENT_SPACES:
        called = (
            f"the space {space!r} names" if space else f"'space dimension: {fields.named.get('spacedimension')}' names"
        )
        findings.append(
            warning(
                MaskCode.ORIENTATION_MISSING,
                path,
                f"{called} no axes of the patient; its vectors were taken for left-posterior-superior, as by SimpleITK",
                "save with space left-posterior-superior, as ITK does",
            )
        )
    elif space.endswith(("-time", "t")) and factors.min() < 0:
        cause = f"the space {space!r} has a time axis, and SimpleITK then leaves its x and y unturned"
        findings.append(warning(MaskCode.ORIENTATION_ODD, path, cause, "save x, y, z in space left-posterior-superior"))
    units = [unit_factor(name, path, findings) for name in _QUOTED.findall(fields.named.get("spaceunits", ""))[:3]]
    scale = np.array([*units, *[1.0] * 3][:3])
    columns = np.zeros((3, 3))
    for axis, direction in enumerate(directions):
        columns[: len(direction or ()), axis] = (direction or ())[:3]
    columns = _completed(columns, len(directions)) * (factors * scale)[:, None]
    (origin, *_) = [*fields.vectors("spaceorigin"), None]
    position = np.zeros(3)
    position[: len(origin or ())] = (origin or ())[:3]
    return grid_of(path, shape_zyx, columns, (position * factors * scale).tolist())


def _completed(columns: FloatArray, known: int) -> FloatArray:
    """Give a plane in space its normal as third axis (1 mm), and a line two."""
    found = columns.copy()
    if known == 2:
        normal = np.cross(found[:, 0], found[:, 1])
        length = np.linalg.norm(normal)
        found[:, 2] = normal / length if length > 0 else 0.0
    elif known == 1:
        found[:, 1:] = np.linalg.svd(found[:, :1])[0][:, 1:]
    return found


def _by_spacings(
    fields: _Fields,
    shape_zyx: tuple[int, int, int],
    axes: Sequence[int],
    count: int,
    findings: list[Finding],
) -> Geometry:
    """Return the grid of a file without directions: its spacings, else 1 mm (no library takes axis mins and maxs)."""
    path = fields.path
    steps = fields.per_axis("spacings", count) or [math.nan] * count
    units = _QUOTED.findall(fields.named.get("units", ""))
    units = units if len(units) == count else [""] * count
    spacing = [
        1.0
        if math.isnan(steps[axis])
        else steps[axis] * (unit_factor(units[axis], path, findings) if units[axis] else 1.0)
        for axis in axes
    ]
    unknown = any(math.isnan(steps[axis]) for axis in axes)
    source = (
        "is not stated for every axis, and was taken for 1 mm there, as by SimpleITK"
        if unknown
        else "is that of 'spacings'"
    )
    x, y, z = (*spacing, 1.0, 1.0)[:3]
    check_spacing(path, (x, y, z))
    findings.append(
        warning(
            MaskCode.ORIENTATION_MISSING,
            path,
            f"the header states no orientation (space {fields.named.get('space', '')!r}, no space directions); "
            f"the spacing {source}",
            "save with space left-posterior-superior, as ITK does",
        )
    )
    return grid_of(path, shape_zyx, np.diag((x, y, z)), [0.0, 0.0, 0.0], oriented=False)
