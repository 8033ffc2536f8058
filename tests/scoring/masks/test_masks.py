"""Masks as nibabel and SimpleITK read them, in every format and type, and read no further than needed."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.findings import Severity
from medpodium.scoring.masks import inflate
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.geometry import compare_geometry
from medpodium.scoring.masks.reader import open_mask, read_geometry, read_mask
from medpodium.scoring.masks.structures import read_structures

nib = pytest.importorskip("nibabel")
sitk = pytest.importorskip("SimpleITK")

SHAPE_XYZ = (7, 6, 5)
AFFINE = np.array([[-0.8, 0, 0, 101.5], [0, 0.9, 0, -87.25], [0, 0, 2.5, -600], [0, 0, 0, 1]])
RAS_TO_LPS = np.diag([-1, -1, 1, 1])


def label_map(top: int = 9, seed: int = 0) -> np.ndarray[Any, Any]:
    """Labels with axes (x, y, z), all corners different."""
    labels = np.random.default_rng(seed).integers(0, top + 1, SHAPE_XYZ)
    labels[0, 0, 0], labels[-1, 0, 0], labels[0, -1, 0], labels[0, 0, -1] = top, 1, 2, 3
    return labels


def rotation(seed: int) -> np.ndarray[Any, Any]:
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix if np.linalg.det(matrix) > 0 else -matrix


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "M.NII.GZ"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i2", ">f4"])
def test_nifti_voxels_and_affine_as_nibabel_reads_them(tmp_path: Path, name: str, kind: str) -> None:
    dtype = np.dtype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    image = nib.Nifti1Image(label_map().astype(dtype.newbyteorder("=")), AFFINE, header, dtype=dtype)
    (tmp_path / name).write_bytes(gzip.compress(image.to_bytes()) if name.lower().endswith("gz") else image.to_bytes())
    mask = read_mask(tmp_path / name)
    truth = nib.Nifti1Image.from_bytes(image.to_bytes())
    assert mask.array.dtype == np.uint8
    assert mask.array.flags.c_contiguous
    assert np.array_equal(mask.array, np.asarray(truth.dataobj).T)
    assert np.allclose(mask.geometry.affine_lps, RAS_TO_LPS @ truth.affine)
    assert mask.geometry.shape_xyz == SHAPE_XYZ
    assert mask.geometry.spacing_xyz == pytest.approx((0.8, 0.9, 2.5))
    assert mask.geometry.spacing_zyx == pytest.approx((2.5, 0.9, 0.8))
    assert mask.geometry.voxel_ml == pytest.approx(0.0018)


def test_nifti2(tmp_path: Path) -> None:
    image = nib.Nifti2Image(label_map().astype(np.int16), AFFINE)
    nib.save(image, tmp_path / "m.nii.gz")
    mask = read_mask(tmp_path / "m.nii.gz")
    assert np.array_equal(mask.array, label_map().T)
    assert np.allclose(mask.geometry.affine_lps, RAS_TO_LPS @ AFFINE)


def test_labels_above_255_keep_their_value(tmp_path: Path) -> None:
    labels = np.zeros(300_000, dtype=np.int32)
    labels[[1, 200_000, 200_001, 299_999]] = 255, 256, 65535, 4  # the first piece fits 8 bits, a later one does not
    nib.save(nib.Nifti1Image(labels.reshape(100, 60, 50, order="F"), AFFINE), tmp_path / "m.nii.gz")
    array = read_mask(tmp_path / "m.nii.gz").array
    assert array.dtype == np.uint16
    assert np.array_equal(array.ravel(), labels)


def test_scaling_is_applied(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    image = nib.Nifti1Image(np.asarray(label_map(), np.uint8), AFFINE, header)
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([3, 2], "<f4").tobytes()
    (tmp_path / "m.nii").write_bytes(raw)
    mask = read_mask(tmp_path / "m.nii")
    assert np.array_equal(mask.array, label_map().T * 3 + 2)
    assert [finding.code for finding in mask.findings] == [MaskCode.SCALING_APPLIED]


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_no_scaling_as_the_definition_and_nibabel_have_it(tmp_path: Path, slope: float) -> None:
    raw = bytearray(nib.Nifti1Image(np.asarray(label_map(), np.uint8), AFFINE).to_bytes())
    raw[112:120] = np.array([slope, 7], "<f4").tobytes()
    (tmp_path / "m.nii").write_bytes(raw)
    assert np.array_equal(read_mask(tmp_path / "m.nii").array, label_map().T)


@pytest.mark.parametrize("seed", range(20))
def test_qform_alone_as_nibabel_reads_it(tmp_path: Path, seed: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) * (0.7, 0.9, 3.0)
    if seed % 2:
        affine[:, 2] *= -1  # left-handed: qfac is -1
    affine[:3, 3] = 12, -34, 56
    image = nib.Nifti1Image(np.asarray(label_map(), np.uint8), affine)
    image.set_sform(None, 0)
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "m.nii.gz")
    geometry = read_geometry(tmp_path / "m.nii.gz")
    assert np.allclose(geometry.affine_lps, RAS_TO_LPS @ nib.load(tmp_path / "m.nii.gz").affine, atol=1e-5)
    assert np.allclose(geometry.affine_lps, RAS_TO_LPS @ affine, atol=1e-4)


def test_the_sform_wins_and_a_disagreement_is_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.asarray(label_map(), np.uint8), AFFINE)
    other = AFFINE.copy()
    other[0, 3] += 3
    image.set_qform(other, 1)
    nib.save(image, tmp_path / "m.nii.gz")
    mask = read_mask(tmp_path / "m.nii.gz")
    assert np.allclose(mask.geometry.affine_lps, RAS_TO_LPS @ AFFINE)
    (finding,) = mask.findings
    assert finding.code is MaskCode.QFORM_SFORM_DISAGREE
    assert "3 mm apart along world x" in finding.cause


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_format_as_simpleitk_reads_it(tmp_path: Path, extension: str, compressed: bool, seed: int) -> None:
    image = sitk.GetImageFromArray(label_map(seed=seed).T.astype([np.uint8, np.int16, np.uint32, np.float32][seed]))
    image.SetSpacing((0.7, 0.9, 3.0))
    image.SetOrigin((101.5, -87.25, -600.125))
    image.SetDirection(rotation(seed).ravel().tolist())
    path = tmp_path / f"m{extension}"
    sitk.WriteImage(image, path, useCompression=compressed)
    mask = read_mask(path)
    truth = sitk.ReadImage(path)
    assert np.array_equal(mask.array, sitk.GetArrayFromImage(truth))
    geometry = mask.geometry
    assert geometry.spacing_xyz == pytest.approx(truth.GetSpacing(), rel=1e-6)
    assert geometry.origin_xyz == pytest.approx(truth.GetOrigin(), abs=1e-4)
    assert np.allclose(geometry.direction, np.reshape(truth.GetDirection(), (3, 3)), atol=1e-5)
    last = [size - 1 for size in SHAPE_XYZ]
    corner = geometry.affine_lps @ [*last, 1]
    assert corner[:3] == pytest.approx(truth.TransformIndexToPhysicalPoint(last), abs=1e-3)


def test_the_same_image_is_the_same_grid_in_every_format(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(label_map().T.astype(np.uint8))
    image.SetSpacing((0.7, 0.9, 3.0))
    image.SetOrigin((101.5, -87.25, -600.125))
    image.SetDirection(rotation(3).ravel().tolist())
    names = ["m.nii.gz", "m.nii", "m.mha", "m.nrrd"]
    for name in names:
        sitk.WriteImage(image, tmp_path / name)
    masks = [read_mask(tmp_path / name) for name in names]
    for mask in masks[1:]:
        assert np.array_equal(mask.array, masks[0].array)
        assert compare_geometry(masks[0].geometry, mask.geometry) == []


def test_nrrd_in_ras_is_turned(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(label_map().T.astype(np.uint8))
    image.SetOrigin((1, 2, 3))
    sitk.WriteImage(image, tmp_path / "lps.nrrd", useCompression=False)
    raw = (tmp_path / "lps.nrrd").read_bytes()
    raw = raw.replace(b"left-posterior-superior", b"right-anterior-superior")
    raw = raw.replace(b"(1,0,0) (0,1,0)", b"(-1,0,0) (0,-1,0)").replace(b"(1,2,3)", b"(-1,-2,3)")
    (tmp_path / "ras.nrrd").write_bytes(raw)
    assert compare_geometry(read_geometry(tmp_path / "lps.nrrd"), read_geometry(tmp_path / "ras.nrrd")) == []


def test_mhd_with_embedded_data(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(label_map().T.astype(np.uint8))
    sitk.WriteImage(image, tmp_path / "m.mha", useCompression=False)
    (tmp_path / "m.mha").rename(tmp_path / "m.mhd")
    assert np.array_equal(read_mask(tmp_path / "m.mhd").array, label_map().T)


def test_gzip_members_and_padding_are_one_stream(tmp_path: Path) -> None:
    raw = nib.Nifti1Image(np.asarray(label_map(), np.uint8), AFFINE).to_bytes()
    path = tmp_path / "m.nii.gz"
    path.write_bytes(
        b"".join(gzip.compress(raw[start : start + 100]) for start in range(0, len(raw), 100)) + bytes(512)
    )
    mask = read_mask(path)
    assert np.array_equal(mask.array, label_map().T)
    assert mask.findings == ()


def test_without_isal_the_standard_library_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(label_map(), np.int16), AFFINE), path)
    expected = read_mask(path).array
    monkeypatch.setattr(inflate, "_fast_zlib", zlib)
    assert np.array_equal(read_mask(path).array, expected)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(MaskError, match="mask-data-truncated"):
        read_mask(path)


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 99])
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_slabs_add_up_to_the_volume(tmp_path: Path, slices: int, kind: type) -> None:
    path = tmp_path / "m.nii.gz"
    nib.save(nib.Nifti1Image(label_map(300 if kind is np.int16 else 9).astype(kind), AFFINE), path)
    with open_mask(path) as reader:
        parts = [(first, slab.copy()) for first, slab in reader.slabs(slices)]
    assert [first for first, _ in parts] == list(range(0, SHAPE_XYZ[2], slices))
    assert np.array_equal(np.concatenate([slab for _, slab in parts]), read_mask(path).array)


def test_geometry_is_read_without_voxels(tmp_path: Path) -> None:
    """Also of images, which are no label maps and need not be complete."""
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(*SHAPE_XYZ, 2)), AFFINE)
    (tmp_path / "image.nii").write_bytes(image.to_bytes()[:400])
    geometry = read_geometry(tmp_path / "image.nii")
    assert geometry.shape_xyz == SHAPE_XYZ
    assert geometry.as_dict()["spacing_zyx_mm"] == pytest.approx([2.5, 0.9, 0.8])


def test_reading_costs_one_array(tmp_path: Path) -> None:
    path = tmp_path / "m.nii.gz"
    path.write_bytes(gzip.compress(nib.Nifti1Image(np.zeros((256, 256, 128), np.uint8), AFFINE).to_bytes(), 1))
    read_mask(path)
    for slices, budget in ((None, 1.15), (1, 0.1)):
        tracemalloc.start()
        with open_mask(path) as reader:
            if slices:
                assert sum(int(slab.any()) for _, slab in reader.slabs(slices)) == 0
            else:
                reader.read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < budget * 256 * 256 * 128


def test_real_masks_as_nibabel_reads_them(shared: Path) -> None:
    paths = sorted((shared / "data" / "masks").glob("*/*seg*.nii.gz")) + sorted((shared / "data/masks/amos").glob("*"))
    assert len(paths) >= 7
    for path in paths:
        mask, truth = read_mask(path), nib.load(path)
        assert np.array_equal(mask.array, np.asarray(truth.dataobj).T)
        assert np.allclose(mask.geometry.affine_lps, RAS_TO_LPS @ truth.affine, atol=1e-4)
        assert all(finding.severity is Severity.NOTE for finding in mask.findings)


def write_structure(folder: Path, name: str, box: tuple[slice, ...], value: int = 1) -> Path:
    array = np.zeros(SHAPE_XYZ, np.uint8)
    array[box] = value
    nib.save(nib.Nifti1Image(array, AFFINE), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


def test_structures_may_overlap(tmp_path: Path) -> None:
    paths = {
        "liver": write_structure(tmp_path, "liver", np.s_[1:5, 1:4, 1:4]),
        "tumour": write_structure(tmp_path, "tumour", np.s_[4:6, 2:5, 3:5]),
        "absent": write_structure(tmp_path, "absent", np.s_[0:0, 0:0, 0:0]),
        "ends": write_structure(tmp_path, "ends", np.s_[0:1, 0:1, 0::4]),
    }
    case = read_structures(paths)
    for name, path in paths.items():
        assert np.array_equal(case.full(name), np.asarray(nib.load(path).dataobj).T)
    assert case.structures["liver"].array.shape == (3, 3, 4)
    assert case.structures["absent"].array.size == 0
    assert case.overlaps() == {("liver", "tumour"): 2}
    mask = case.label_map({"liver": 1, "tumour": 2, "absent": 3, "ends": 300}, "case 1")
    assert mask.array.dtype == np.uint16
    assert dict(zip(*(part.tolist() for part in np.unique(mask.array, return_counts=True)), strict=True)) == {
        0: 210 - 36 - 12 + 2 - 2,
        1: 34,
        2: 12,
        300: 2,
    }
    (lost,) = mask.findings
    assert lost.code is MaskCode.STRUCTURES_OVERLAP
    assert "2 voxels" in lost.cause


def test_all_bad_structure_files_are_reported_together(tmp_path: Path) -> None:
    paths = {
        "good": write_structure(tmp_path, "good", np.s_[1:3, 1:3, 1:3]),
        "two labels": write_structure(tmp_path, "two", np.s_[1:3, 1:3, 1:3]),
        "missing": tmp_path / "missing.nii.gz",
        "elsewhere": tmp_path / "elsewhere.nii.gz",
    }
    labels = np.zeros(SHAPE_XYZ, np.uint8)
    labels[1, 1, 1:3] = 1, 2
    nib.save(nib.Nifti1Image(labels, AFFINE), paths["two labels"])
    nib.save(nib.Nifti1Image(labels, np.diag([1, 1, 1, 1])), paths["elsewhere"])
    found = read_structures(paths)
    assert list(found.structures) == ["good"]
    assert set(found.unusable) == {"two labels", "missing", "elsewhere"}
    codes = {finding.code for finding in found.findings}
    assert {MaskCode.STRUCTURE_NOT_BINARY, MaskCode.FILE_MISSING, MaskCode.SPACING_DIFFERS} <= codes


def test_a_structure_marked_by_255_is_read_with_a_warning(tmp_path: Path) -> None:
    case = read_structures({"a": write_structure(tmp_path, "a", np.s_[1:3, 1:3, 1:3], value=255)})
    assert int(case.full("a").sum()) == 8
    (finding,) = case.findings
    assert finding.code is MaskCode.STRUCTURE_NOT_BINARY
    assert "255" in finding.cause
