"""Broken and hostile mask files: each has its own finding, costs little, and harms no case beside it."""

from __future__ import annotations

import gzip
import runpy
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medpodium.findings import MedpodiumError, Severity
from medpodium.scoring.kinds.segmentation.checking import check_labels, check_prediction
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.inflate import ReadLimits
from medpodium.scoring.masks.reader import read_mask

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("maskfiles.py"))))
nifti, packed, voxels, refused = files.nifti, files.packed, files.voxels, files.refused
meta, nrrd, bomb = files.meta, files.nrrd, files.bomb
GZ, NII, MHA, NRRD = files.GZ, files.NII, files.MHA, files.NRRD
SHAPE_XYZ, VOXELS = files.SHAPE_XYZ, files.VOXELS
LABELS = {1: "liver", 2: "tumour"}
SMOOTH = np.linspace(0.001, 0.999, VOXELS)

# name: (file name, content, code, what the message must show)
BROKEN: dict[str, tuple[str, Callable[[], bytes], MaskCode, str]] = {
    "empty file": (GZ, lambda: b"", MaskCode.FILE_EMPTY, "0 bytes"),
    "unknown extension": ("case.npy", nifti, MaskCode.FORMAT_UNKNOWN, "case.npy"),
    "pickle as npz": ("case.npz", lambda: b"\x80\x04cos\nsystem\n.", MaskCode.FORMAT_UNKNOWN, "case.npz"),
    "zip named nii.gz": (GZ, lambda: b"PK\3\4" + bytes(400), MaskCode.FORMAT_MISMATCH, "50 4b"),
    "gzip twice": (GZ, lambda: packed(packed(nifti())), MaskCode.FORMAT_MISMATCH, "compressed twice"),
    "text in gzip": (GZ, lambda: packed(b"hello world" * 50), MaskCode.FORMAT_MISMATCH, "68 65 6c 6c"),
    "text named mha": (MHA, lambda: b"ElementDataFile = LOCAL\n", MaskCode.FORMAT_MISMATCH, "MetaImage"),
    "text named nrrd": (NRRD, lambda: b"hello", MaskCode.FORMAT_MISMATCH, "NRRD"),
    "short header": (NII, lambda: nifti()[:200], MaskCode.HEADER_TRUNCATED, "200 of 348"),
    "three bytes": (NII, lambda: b"\x5c\1\0", MaskCode.HEADER_TRUNCATED, "too short"),
    "endless mha header": (MHA, lambda: b"Comment = " + b"x" * (2 << 20), MaskCode.HEADER_TOO_LARGE, "1048576"),
    "mha without data line": (MHA, lambda: b"ObjectType = Image\n", MaskCode.HEADER_TRUNCATED, "19 bytes"),
    "analyze magic": (NII, lambda: nifti(magic=b"\0\0\0\0"), MaskCode.HEADER_INVALID, "magic"),
    "hdr/img pair": (NII, lambda: nifti(magic=b"ni1\0"), MaskCode.DATA_DETACHED, ".hdr/.img"),
    "mha names a host file": (
        MHA, lambda: meta(b"", ElementDataFile="/etc/passwd"), MaskCode.DATA_DETACHED, "/etc/passwd"
    ),
    "mha names a list": (MHA, lambda: meta(b"", ElementDataFile="LIST"), MaskCode.DATA_DETACHED, "LIST"),
    "nrrd names a host file": (NRRD, lambda: nrrd(b"", data_file="../x.raw"), MaskCode.DATA_DETACHED, "../x.raw"),
    "nrrd as bzip2": (NRRD, lambda: nrrd(encoding="bzip2"), MaskCode.ENCODING_UNSUPPORTED, "bzip2"),
    "mha as text": (MHA, lambda: meta(BinaryData="False"), MaskCode.ENCODING_UNSUPPORTED, "text"),
    "mha hides bytes": (MHA, lambda: meta(HeaderSize="9000"), MaskCode.ENCODING_UNSUPPORTED, "9000"),
    "voxels inside the header": (NII, lambda: nifti(offset=100), MaskCode.HEADER_INVALID, "100"),
    "voxels after a gigabyte": (NII, lambda: nifti(offset=2.0**30), MaskCode.HEADER_TOO_LARGE, str(2**30)),
    "offset is NaN": (NII, lambda: nifti(offset=float("nan")), MaskCode.HEADER_INVALID, "nan"),
    "10^12 voxels": (
        GZ, lambda: packed(nifti(dim=(3, 10000, 10000, 10000))), MaskCode.SHAPE_TOO_LARGE, "1000000000000"
    ),
    "10^12 voxels in mha": (MHA, lambda: meta(DimSize="10000 10000 10000"), MaskCode.SHAPE_TOO_LARGE, "10000"),
    "a gigabyte promised by 400 bytes": (
        GZ, lambda: packed(nifti(dim=(3, 1000, 1000, 1000))), MaskCode.DATA_TRUNCATED, "1000000000"
    ),
    "negative axis": (NII, lambda: nifti(dim=(3, 6, -5, 4)), MaskCode.SHAPE_INVALID, "-5"),
    "axis of nothing": (NII, lambda: nifti(dim=(3, 6, 0, 4)), MaskCode.SHAPE_INVALID, "(6, 0, 4)"),
    "9 dimensions": (NII, lambda: nifti(dim=(9, 6, 5, 4)), MaskCode.SHAPE_INVALID, "9"),
    "nrrd of 10^4928 voxels": (
        NRRD, lambda: nrrd(dimension="16", sizes=" ".join(["1e308"] * 16)), MaskCode.SHAPE_INVALID, "1e308"
    ),
    "fractional nrrd size": (NRRD, lambda: nrrd(sizes="6 5 4.5"), MaskCode.SHAPE_INVALID, "4.5"),
    "nrrd sizes are words": (NRRD, lambda: nrrd(sizes="a b c"), MaskCode.HEADER_INVALID, "a b c"),
    "two spacings in mha": (MHA, lambda: meta(ElementSpacing="1 1"), MaskCode.HEADER_INVALID, "ElementSpacing"),
    "4-D": (
        NII, lambda: nifti(voxels("u1", 7) * 3, dim=(4, *SHAPE_XYZ, 3)), MaskCode.FOUR_DIMENSIONAL, "(6, 5, 4, 3)"
    ),
    "4-D nrrd": (
        NRRD,
        lambda: nrrd(dimension="4", sizes="2 6 5 4", space_directions="none (1,0,0) (0,1,0) (0,0,1)"),
        MaskCode.FOUR_DIMENSIONAL,
        "4 dimensions",
    ),
    "nrrd with too few directions": (
        NRRD, lambda: nrrd(dimension="4", sizes="2 6 5 4"), MaskCode.HEADER_INVALID, "spacedirections"
    ),
    "4-D mha": (
        MHA,
        lambda: meta(bytes(2 * VOXELS), NDims="4", DimSize="6 5 4 2", ElementSpacing="1 1 1 1", Offset="0 0 0 0",
                     TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"),
        MaskCode.FOUR_DIMENSIONAL,
        "(6, 5, 4, 2)",
    ),
    "one-hot stack": (
        GZ, lambda: packed(nifti(voxels("u1", 1) * 3, dim=(4, *SHAPE_XYZ, 3))), MaskCode.ONE_HOT_STACK, "3 binary"
    ),
    "probability stack": (
        NII,
        lambda: nifti(SMOOTH.astype("f4").tobytes() * 2, dim=(4, *SHAPE_XYZ, 2), datatype=16),
        MaskCode.PROBABILITY_MAP,
        "2 probability",
    ),
    "vector image": (NII, lambda: nifti(bytes(360), dim=(5, *SHAPE_XYZ, 1, 3)), MaskCode.TYPE_VECTOR, "3 values"),
    "vector mha": (MHA, lambda: meta(ElementNumberOfChannels="2"), MaskCode.TYPE_VECTOR, "2 values"),
    "RGB": (NII, lambda: nifti(bytes(360), datatype=128), MaskCode.TYPE_COLOUR, "RGB24"),
    "RGB mha": (MHA, lambda: meta(bytes(360), ElementNumberOfChannels="3"), MaskCode.TYPE_COLOUR, "3 values"),
    "complex": (NII, lambda: nifti(bytes(960), datatype=32), MaskCode.TYPE_COMPLEX, "complex64"),
    "float128": (NII, lambda: nifti(bytes(1920), datatype=1536), MaskCode.TYPE_UNSUPPORTED, "1536"),
    "unknown mha type": (MHA, lambda: meta(ElementType="MET_STRING"), MaskCode.TYPE_UNSUPPORTED, "MET_STRING"),
    "spacing 0": (NII, lambda: nifti(pixdim=(1, 0, 1, 1), codes=(1, 0)), MaskCode.SPACING_INVALID, "(0, 1, 1)"),
    "spacing NaN": (MHA, lambda: meta(ElementSpacing="1 1 -2"), MaskCode.SPACING_INVALID, "-2"),
    "singular affine": (NII, lambda: nifti(rows=(0.0,) * 12), MaskCode.AFFINE_INVALID, "cannot be inverted"),
    "NaN affine": (NII, lambda: nifti(rows=(float("nan"),) * 12), MaskCode.AFFINE_INVALID, "nan"),
    "NaN quaternion": (
        NII, lambda: nifti(codes=(1, 0), quaternion=(float("nan"), 0, 0, 0, 0, 0)), MaskCode.AFFINE_INVALID, "nan"
    ),
    "infinite scaling": (NII, lambda: nifti(slope=float("inf")), MaskCode.SCALING_INVALID, "inf"),
    "truncated gzip": (GZ, lambda: packed(nifti())[:-30], MaskCode.DATA_TRUNCATED, "stop in the middle"),
    "gzip without checksum": (GZ, lambda: packed(nifti())[:-8], MaskCode.DATA_TRUNCATED, "stop in the middle"),
    "gzip with wrong checksum": (
        GZ, lambda: packed(nifti())[:-8] + b"abcd" + packed(nifti())[-4:], MaskCode.DATA_CORRUPT, "damaged"
    ),
    "gzip with flipped bits": (
        GZ, lambda: packed(nifti())[:40] + b"\xff\xff\xff" + packed(nifti())[43:], MaskCode.DATA_CORRUPT, "damaged"
    ),
    "fewer voxels in gzip": (GZ, lambda: packed(nifti(bytes(100))), MaskCode.DATA_TRUNCATED, "100 of the 120"),
    "fewer voxels": (NII, lambda: nifti(bytes(100)), MaskCode.DATA_TRUNCATED, "120 bytes"),
    "zlib mha cut": (
        MHA, lambda: meta(zlib.compress(bytes(VOXELS))[:-3], CompressedData="True"), MaskCode.DATA_TRUNCATED, "stop"
    ),
    "gzip bomb": (GZ, bomb, MaskCode.DATA_BEYOND_VOLUME, "more bytes than its header declares"),
    "another volume after the volume": (NII, lambda: nifti(bytes(240)), MaskCode.DATA_BEYOND_VOLUME, "more bytes"),
    "NaN": (NII, lambda: nifti(voxels("f4", 1, np.nan), datatype=16), MaskCode.VALUE_NAN, "(1, 0, 0) has value nan"),
    "infinity": (NII, lambda: nifti(voxels("f4", np.inf), datatype=16), MaskCode.VALUE_INFINITE, "inf"),
    "float labels 0.9": (NII, lambda: nifti(voxels("f4", 1, 0.9), datatype=16), MaskCode.VALUE_NOT_INTEGRAL, "0.9"),
    "probability map": (
        NII, lambda: nifti(SMOOTH.astype("f4").tobytes(), datatype=16), MaskCode.PROBABILITY_MAP, "0.001"
    ),
    "negative label": (NII, lambda: nifti(voxels("i2", 1, -1), datatype=4), MaskCode.VALUE_NEGATIVE, "value -1"),
    "label 70000": (NII, lambda: nifti(voxels("i4", 70000), datatype=8), MaskCode.VALUE_TOO_LARGE, "70000"),
    "int64 label 2^40": (
        NII, lambda: nifti(voxels("i8", 2**40), datatype=1024), MaskCode.VALUE_TOO_LARGE, "1.09951e+12"
    ),
    "scaled to fractions": (NII, lambda: nifti(voxels("u1", 1), slope=0.5), MaskCode.VALUE_NOT_INTEGRAL, "0.5"),
}  # fmt: skip


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A good case beside the bad one."""
    path = tmp_path / "good.nii.gz"
    path.write_bytes(packed(nifti(voxels("u1", 1, 2))))
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_file_has_its_own_finding(name: str, tmp_path: Path, good: Path) -> None:
    file_name, content, code, shows = BROKEN[name]
    path = tmp_path / file_name
    path.write_bytes(content())
    refused(path, code, shows)
    assert np.bincount(read_mask(good).array.ravel()).tolist() == [118, 1, 1]


def test_the_fields_written_here_are_what_nibabel_reads(good: Path) -> None:
    """The files above are broken by one field each, not by a mistake in the writer."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(good)
    assert image.shape == SHAPE_XYZ
    assert np.allclose(image.header.get_zooms(), (0.8, 0.8, 2.5))
    assert np.asarray(image.dataobj).ravel(order="F")[:3].tolist() == [1, 2, 0]
    assert read_mask(good).findings == ()


ODD: dict[str, tuple[str, Callable[[], bytes], MaskCode, str]] = {
    "plain nifti named gz": (GZ, nifti, MaskCode.FORMAT_MISMATCH, "not gzip"),
    "gzip named nii": (NII, lambda: packed(nifti()), MaskCode.FORMAT_MISMATCH, "1f 8b"),
    "gzip around mha": (MHA, lambda: packed(meta()), MaskCode.FORMAT_MISMATCH, "1f 8b"),
    "gzip around a compressed mha": (
        MHA, lambda: packed(meta(zlib.compress(bytes(VOXELS)), CompressedData="True")), MaskCode.FORMAT_MISMATCH, "1f"
    ),
    "gzip around nrrd": (NRRD, lambda: packed(nrrd()), MaskCode.FORMAT_MISMATCH, "1f 8b"),
    "mha at the end": (MHA, lambda: meta(b"junk" + bytes(VOXELS), HeaderSize="-1"), MaskCode.HEADER_EXTENSION, "-1"),
    "bytes after the volume": (NII, lambda: nifti(bytes(121)), MaskCode.DATA_TRAILING, "1 bytes follow the 120"),
    "bytes after the volume in gzip": (GZ, lambda: packed(nifti(bytes(239))), MaskCode.DATA_TRAILING, "119 bytes"),
    "bytes after mha": (MHA, lambda: meta(bytes(125)), MaskCode.DATA_TRAILING, "5 bytes"),
    "bytes after nrrd": (NRRD, lambda: nrrd(bytes(125)), MaskCode.DATA_TRAILING, "5 bytes"),
    "two megabytes of extensions": (
        NII, lambda: nifti(offset=2.0**21, extension=b"\1".ljust(2**21 - 348, b"\0")), MaskCode.HEADER_EXTENSION, "2096"
    ),
    "trailing bytes": (GZ, lambda: packed(nifti()) + b"secret", MaskCode.DATA_TRAILING, "73 65 63 72 65 74"),
    "int64": (NII, lambda: nifti(voxels("i8", 1), datatype=1024), MaskCode.TYPE_WIDE, "int64"),
    "float64": (NII, lambda: nifti(voxels("f8", 1), datatype=64), MaskCode.TYPE_WIDE, "float64"),
    "fifth dimension of 1": (
        NII, lambda: nifti(dim=(5, *SHAPE_XYZ, 1, 1)), MaskCode.SINGLETON_DIMENSION, "(6, 5, 4, 1, 1)"
    ),
    "scaled labels": (NII, lambda: nifti(slope=2), MaskCode.SCALING_APPLIED, "2"),
    "no orientation": (NII, lambda: nifti(codes=(0, 0)), MaskCode.ORIENTATION_MISSING, "neither qform nor sform"),
    "qform against sform": (
        NII,
        lambda: nifti(codes=(1, 1), quaternion=(0, 0, 1, 10, 20, -28)),
        MaskCode.QFORM_SFORM_DISAGREE,
        "2 mm apart along world z",
    ),
    "pixdim against sform": (
        NII, lambda: nifti(pixdim=(1, 0.8, 0.8, 5)), MaskCode.PIXDIM_SFORM_DISAGREE, "50 %"
    ),
    "sheared": (
        NII, lambda: nifti(rows=(1, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)), MaskCode.AFFINE_SHEARED, "right angles"
    ),
    "quotes without end": (
        NRRD, lambda: nrrd(space_units="\"\\" * 200_000), MaskCode.UNITS_NOT_MM, "no unit known here"
    ),
    "lengths in metres": (NII, lambda: nifti(units=1), MaskCode.UNITS_NOT_MM, "metres"),
    "hidden header extension": (
        NII,
        lambda: nifti(offset=384, extension=b"\1\0\0\0" + struct.pack("<2i", 32, 6) + b"hidden".ljust(24)),
        MaskCode.HEADER_EXTENSION,
        "32 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_and_say_what_is_odd(name: str, tmp_path: Path) -> None:
    file_name, content, code, shows = ODD[name]
    path = tmp_path / file_name
    path.write_bytes(content())
    with files.Bounded():
        mask = read_mask(path)
    assert mask.array.shape == SHAPE_XYZ[::-1]
    (finding,) = (found for found in mask.findings if found.code is code)
    assert finding.severity is not Severity.ERROR
    assert path.name in finding.where
    assert shows in finding.cause


def test_a_float_rounding_error_is_not_a_wrong_label(tmp_path: Path) -> None:
    path = tmp_path / NII
    path.write_bytes(nifti(voxels("f4", 1.0000001, 1.99999), datatype=16))
    assert read_mask(path).array.ravel()[:3].tolist() == [1, 2, 0]


def test_limits_are_kept(tmp_path: Path) -> None:
    path = tmp_path / NII
    path.write_bytes(nifti(voxels("f8"), datatype=64))
    refused(path, MaskCode.SHAPE_TOO_LARGE, "120 voxels", ReadLimits(max_voxels=119))
    refused(path, MaskCode.SHAPE_TOO_LARGE, "960 bytes", ReadLimits(max_data_bytes=959))
    refused(path, MaskCode.FILE_TOO_LARGE, "1312", ReadLimits(max_file_bytes=1311))


def test_labels_out_of_schema_are_listed(tmp_path: Path) -> None:
    path = tmp_path / NII
    path.write_bytes(nifti(voxels("u2", 1, 2, 7, 7, 256, 257), datatype=512))
    mask = read_mask(path)
    assert mask.array.dtype == np.uint16
    wraps, unknown = check_labels(mask.array, LABELS, str(path))
    assert wraps.code is MaskCode.LABEL_WRAPS
    assert "256 (1 voxels, would become 0)" in wraps.cause
    assert "257 (1 voxels, would become 1)" in wraps.cause
    assert unknown.code is MaskCode.LABEL_UNKNOWN
    assert "7 (2 voxels)" in unknown.cause
    assert "1 liver, 2 tumour" in unknown.fix


def test_every_bad_case_is_reported_and_the_others_are_checked(tmp_path: Path, good: Path) -> None:
    reference = read_mask(good)
    seen = []
    for number, (file_name, content, _, _) in enumerate(BROKEN.values()):
        if file_name == GZ:
            path = tmp_path / f"{number}.nii.gz"
            path.write_bytes(content())
            try:
                read_mask(path)
            except MedpodiumError as error:
                seen += error.findings
            assert check_prediction(reference, read_mask(good), LABELS) == []
    assert len(seen) == sum(file_name == GZ for file_name, *_ in BROKEN.values())


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    """Flip bytes anywhere in good files of every format: a mask or a finding, nothing else."""
    rng = np.random.default_rng(7)
    gzipped_nrrd = nrrd(gzip.compress(bytes(VOXELS)), encoding="gzip")
    zipped_meta = meta(zlib.compress(bytes(VOXELS)), CompressedData="True")
    nifti2 = bytearray(nifti(datatype=64, offset=544).ljust(544 + 8 * VOXELS, b"\0"))
    struct.pack_into("<i8s2h", nifti2, 0, 540, b"n+2\0\r\n\x1a\n", 64, 64)
    struct.pack_into("<8q", nifti2, 16, 3, *SHAPE_XYZ, 1, 1, 1, 1)
    struct.pack_into("<8dq2d", nifti2, 104, 1, 0.8, 0.8, 2.5, 0, 0, 0, 0, 544, 1, 0)
    struct.pack_into("<2i", nifti2, 344, 1, 0)
    nifti2[544:] = bytes(8 * VOXELS)
    good = {GZ: packed(nifti()), NII: nifti(), MHA: zipped_meta, NRRD: gzipped_nrrd, "second.nii": bytes(nifti2)}
    outcomes = {"read": 0, "refused": 0}
    for name, content in good.items():
        path = tmp_path / name
        path.write_bytes(content)
        read_mask(path)
        for _ in range(250):
            damaged = bytearray(content)
            for place in rng.integers(0, min(len(damaged), 700), rng.integers(1, 5)):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(bytes(damaged[: rng.integers(1, len(damaged) + 1)] if rng.random() < 0.3 else damaged))
            try:
                read_mask(path, limits=ReadLimits(max_voxels=1_000_000))
                outcomes["read"] += 1
            except MaskError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 100
