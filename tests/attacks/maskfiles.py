"""Mask files written field by field, and the bounds within which any of them must be handled."""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.inflate import ReadLimits
from medpodium.scoring.masks.reader import read_mask

GZ, NII, MHA, NRRD = "case.nii.gz", "case.nii", "case.mha", "case.nrrd"
CPU_SECONDS = 2.0
PEAK_BYTES = 48 << 20
SHAPE_XYZ = (6, 5, 4)
VOXELS = 120
LABELS = {1: "liver", 2: "tumour"}


def nifti(
    data: bytes | None = None,
    *,
    dim: tuple[int, ...] = (3, *SHAPE_XYZ),
    datatype: int = 2,
    pixdim: tuple[float, ...] = (1, 0.8, 0.8, 2.5),
    offset: float = 352,
    slope: float = 1,
    intercept: float = 0,
    codes: tuple[int, int] = (0, 1),
    rows: tuple[float, ...] = (-0.8, 0, 0, 10, 0, -0.8, 0, 20, 0, 0, 2.5, -30),
    quaternion: tuple[float, ...] = (0, 0, 1, 10, 20, -30),
    magic: bytes = b"n+1\0",
    units: int = 2,
    extension: bytes = b"\0\0\0\0",
) -> bytes:
    """Write a NIfTI-1 file field by field, as its definition lays them out."""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *dim, *(1,) * (8 - len(dim)))
    struct.pack_into("<h", header, 70, datatype)
    struct.pack_into("<8f", header, 76, *pixdim, *(0,) * (8 - len(pixdim)))
    struct.pack_into("<3f", header, 108, offset, slope, intercept)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<6f", header, 256, *quaternion)
    struct.pack_into("<12f", header, 280, *rows)
    header[344:348] = magic
    return bytes(header) + extension + (bytes(VOXELS) if data is None else data)


def packed(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, 1) for part in parts)


def voxels(kind: str, *values: float) -> bytes:
    """Return 120 voxels of a type, the first ones with the given values."""
    array = np.zeros(VOXELS, dtype=kind)
    array[: len(values)] = values
    return array.tobytes()


def meta(data: bytes = bytes(VOXELS), **changed: str) -> bytes:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "0.8 0.8 2.5",
        "DimSize": "6 5 4",
        "ElementType": "MET_UCHAR",
        **changed,
    }
    fields["ElementDataFile"] = fields.pop("ElementDataFile", "LOCAL")
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode() + data


def nrrd(data: bytes = bytes(VOXELS), **changed: str) -> bytes:
    fields = {
        "type": "unsigned char",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "6 5 4",
        "space directions": "(0.8,0,0) (0,0.8,0) (0,0,2.5)",
        "encoding": "raw",
        "space origin": "(0,0,0)",
        **{key.replace("_", " "): value for key, value in changed.items()},
    }
    return b"NRRD0005\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()).encode() + b"\n" + data


def bomb() -> bytes:
    """One gigabyte of zeros behind a volume of 120 voxels."""
    return packed(nifti()) + packed(bytes(1 << 24)) * 64


class Bounded:
    """Asserts that a block takes little CPU time and memory."""

    def __enter__(self) -> Bounded:
        tracemalloc.start()
        self.start = time.process_time()
        return self

    def __exit__(self, *_: Any) -> None:
        seconds = time.process_time() - self.start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < CPU_SECONDS
        assert peak < PEAK_BYTES


def refused(path: Path, code: MaskCode, shows: str, limits: ReadLimits | None = None) -> None:
    with Bounded(), pytest.raises(MaskError) as caught:
        read_mask(path, limits=limits or ReadLimits())
    (finding,) = caught.value.findings
    assert finding.code is code
    assert path.name in finding.where
    assert shows in finding.cause
    assert len(finding.fix) > 8
    assert "\n" not in str(finding)
