"""Checking a prediction: every planted mistake is named, a merely imperfect one is not accused."""

from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding
from medpodium.scoring.kinds.protocol import CaseJob
from medpodium.scoring.kinds.segmentation.checking import (
    check_case,
    check_labels,
    check_prediction,
)
from medpodium.scoring.kinds.segmentation.diagnosis import joint_counts, label_counts
from medpodium.scoring.kinds.segmentation.matching import find_repeated, match_files, match_structure_files
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.reader import Mask, read_mask
from medpodium.scoring.masks.structures import read_structures

LABELS = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
SHAPE = (40, 64, 72)
TASK = {
    "structures": {name: {"label": label} for label, name in LABELS.items()},
    "empty": {"both": 1, "reference": 0, "prediction": 0},
    "metrics": {"dice": {"kind": "dice"}},
}


def small() -> bytes:
    """Return an uncompressed NIfTI file of 6 x 5 x 4 voxels."""
    return bytes(nib.Nifti1Image(np.ones((6, 5, 4), np.uint8), np.eye(4)).to_bytes())


def ellipsoid(centre: tuple[int, ...], radii: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    grid = np.indices(SHAPE)
    scaled = [(grid[axis] - centre[axis]) / radii[axis] for axis in range(3)]
    return np.asarray(sum(part**2 for part in scaled) <= 1)


@pytest.fixture(scope="module")
def reference() -> Mask:
    """An abdomen of sorts: nothing in it is symmetric."""
    array = np.zeros(SHAPE, np.uint8)
    array[ellipsoid((26, 24, 20), (10, 12, 14))] = 1
    array[ellipsoid((12, 44, 22), (6, 5, 5))] = 2
    array[ellipsoid((15, 46, 52), (6, 5, 5))] = 3
    array[ellipsoid((28, 40, 60), (5, 6, 6))] = 4
    return Mask(array, Geometry(SHAPE, (2.5, 0.8, 0.8), (0.0, 0.0, 0.0), np.eye(3)))


def findings_for(reference: Mask, array: npt.NDArray[Any]) -> list[Finding]:
    return check_prediction(reference, replace(reference, array=np.ascontiguousarray(array)), LABELS, where="case 1")


def only(reference: Mask, array: npt.NDArray[Any]) -> Finding:
    (finding,) = findings_for(reference, array)
    assert finding.where == "case 1"
    assert finding.fix
    return finding


def test_a_perfect_and_an_imperfect_prediction_are_left_alone(reference: Mask) -> None:
    assert findings_for(reference, reference.array) == []
    eroded = reference.array * ndimage.binary_erosion(reference.array > 0)
    assert findings_for(reference, eroded) == []
    grown = ndimage.grey_dilation(reference.array, size=(3, 3, 3))
    assert findings_for(reference, grown) == []
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(SHAPE) < 0.1, 0, reference.array)
    assert findings_for(reference, noisy) == []


@pytest.mark.parametrize(
    ("axes", "named"),
    [((2,), "x"), ((1,), "y"), ((0,), "z"), ((1, 2), "x and y"), ((0, 1, 2), "x and y and z")],
)
def test_a_flip_is_named(reference: Mask, axes: tuple[int, ...], named: str) -> None:
    finding = only(reference, np.flip(reference.array, axes))
    assert finding.code is MaskCode.LOOKS_FLIPPED
    assert f"flipped along {named} (Dice 0." in finding.cause
    assert "-> 1.00)" in finding.cause


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_swapped_axes_are_named_in_shape_and_content(reference: Mask, order: tuple[int, ...]) -> None:
    array = np.ascontiguousarray(reference.array.transpose(order))
    geometry = replace(reference.geometry, shape_zyx=array.shape)
    findings = check_prediction(reference, Mask(array, geometry), LABELS)
    assert [finding.code for finding in findings] == [MaskCode.AXES_SWAPPED, MaskCode.LOOKS_TRANSPOSED]
    assert ", ".join("zyx"[axis] for axis in order) in findings[1].cause


def test_axes_swapped_in_a_cube_are_found_by_their_content(reference: Mask) -> None:
    cube = Mask(
        np.ascontiguousarray(reference.array[:, 4:44, 10:50]), replace(reference.geometry, shape_zyx=(40, 40, 40))
    )
    (finding,) = check_prediction(cube, replace(cube, array=np.ascontiguousarray(cube.array.T)), LABELS)
    assert finding.code is MaskCode.LOOKS_TRANSPOSED
    assert "order x, y, z" in finding.cause


def test_swapped_labels_are_named_even_when_most_overlap(reference: Mask) -> None:
    table = np.array([0, 1, 3, 2, 4], np.uint8)
    finding = only(reference, table[reference.array])
    assert finding.code is MaskCode.LOOKS_RELABELLED
    assert "3 for 2, 2 for 3 (Dice 0.00 -> 1.00)" in finding.cause


def test_labels_that_count_from_another_start_are_named(reference: Mask) -> None:
    table = np.array([0, 11, 12, 13, 14], np.uint8)
    findings = findings_for(reference, table[reference.array])
    assert [finding.code for finding in findings] == [
        MaskCode.LABEL_UNKNOWN, MaskCode.STRUCTURE_MISSING, MaskCode.LOOKS_RELABELLED
    ]  # fmt: skip
    assert "11 for 1, 12 for 2, 13 for 3, 14 for 4" in findings[2].cause
    assert "1 liver, 2 right kidney" in findings[1].cause


@pytest.mark.parametrize(
    ("shift", "named"),
    [((0, 0, 1), "+1 along x"), ((-1, 0, 0), "-1 along z"), ((2, -9, 12), "+12 along x, -9 along y, +2 along z")],
)
def test_a_shift_is_named(reference: Mask, shift: tuple[int, ...], named: str) -> None:
    finding = only(reference, np.roll(reference.array, shift, (0, 1, 2)))
    assert finding.code is MaskCode.LOOKS_SHIFTED
    assert named in finding.cause


def test_a_prediction_of_something_else_is_said_to_be_that(reference: Mask) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.random(SHAPE) < 0.02).astype(np.uint8) * 4
    findings = findings_for(reference, noise)
    assert [finding.code for finding in findings] == [MaskCode.STRUCTURE_MISSING, MaskCode.OVERLAP_LOW]


def test_empty_masks_in_all_four_combinations(reference: Mask) -> None:
    empty = np.zeros(SHAPE, np.uint8)
    assert only(reference, empty).code is MaskCode.PREDICTION_EMPTY
    nothing = replace(reference, array=empty)
    assert findings_for(nothing, empty) == []
    assert findings_for(nothing, reference.array) == []
    assert findings_for(reference, reference.array) == []


def test_grid_labels_and_overlap_are_reported_together(reference: Mask) -> None:
    array = np.flip(reference.array, 2).copy()
    array[0, 0, 0] = 77
    prediction = Mask(array, replace(reference.geometry, origin_xyz=(0.0, 0.0, -500.0)))
    codes = [finding.code for finding in check_prediction(reference, prediction, LABELS)]
    assert codes == [MaskCode.ORIGIN_DIFFERS, MaskCode.LABEL_UNKNOWN, MaskCode.LOOKS_FLIPPED]


def test_many_unknown_labels_are_cut_short() -> None:
    array = np.arange(250, dtype=np.uint8).reshape(1, 10, 25)
    (finding,) = check_labels(array, LABELS, "case 1")
    assert "5 (1 voxels)" in finding.cause
    assert "and 235 more" in finding.cause


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_counts_are_plain_counts(kind: type) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 4, (2, 9, 8, 7)) * rng.integers(0, 2, (2, 9, 1, 7)) * 60).astype(kind)
    rows, columns, counts = joint_counts(one, other)
    assert counts.sum() == one.size
    for (i, label), (j, other_label) in product(enumerate(rows), enumerate(columns)):
        assert counts[i, j] == ((one == label) & (other == other_label)).sum()
    assert label_counts(one) == {int(label): int((one == label).sum()) for label in np.unique(one)}


def test_real_organs_flipped_are_recognised(shared: Path) -> None:
    mask = read_mask(shared / "data/masks/totalsegmentator/example_seg.nii.gz")
    labels = {int(label): f"class {label}" for label in np.unique(mask.array) if label}
    assert check_prediction(mask, mask, labels) == []
    flipped = replace(mask, array=np.ascontiguousarray(mask.array[:, :, ::-1]))
    assert [finding.code for finding in check_prediction(mask, flipped, labels)] == [MaskCode.LOOKS_FLIPPED]


def test_files_are_checked_with_everything_wrong_in_both(tmp_path: Path) -> None:
    (tmp_path / "reference.nii.gz").write_bytes(gzip.compress(b"no NIfTI"))
    (tmp_path / "prediction.nii.gz").write_bytes(b"")
    task = SegmentationTask.model_validate(TASK | {"files": {"reference": "{case}.nii.gz"}})
    job = CaseJob("reference", tmp_path / "reference.nii.gz", {"": tmp_path / "prediction.nii.gz"}, task)
    assert [finding.code for finding in check_case(job)] == [MaskCode.FORMAT_MISMATCH]
    (tmp_path / "reference.nii.gz").write_bytes(gzip.compress(small()))
    assert [finding.code for finding in check_case(job)] == [MaskCode.FILE_EMPTY]


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_files_of_cases_in_paths_with_spaces_and_umlauts(tmp_path: Path) -> None:
    folder = tmp_path / "Vorhersagen für Test"
    fill(folder, "Fall ä 1.nii.gz", "Fall ä 2.nii.gz", "notes/readme.txt")
    paths, findings = match_files(folder, "{case}.nii.gz", ["Fall ä 1", "Fall ä 2", "Fall ä 3"])
    assert paths == {name: folder / f"{name}.nii.gz" for name in ("Fall ä 1", "Fall ä 2")}
    assert [finding.code for finding in findings] == [MaskCode.CASE_MISSING, MaskCode.FILE_EXTRA]


def test_a_decomposed_name_alone_is_the_case(tmp_path: Path) -> None:
    """macOS writes file names in decomposed form; nobody can help that."""
    fill(tmp_path, "cafe\u0301.nii.gz")
    paths, findings = match_files(tmp_path, "{case}.nii.gz", ["caf\u00e9"])
    assert paths["caf\u00e9"].read_bytes()
    assert findings == []


def test_any_mask_format_when_the_pattern_leaves_it_open(tmp_path: Path) -> None:
    fill(tmp_path, "a/mask.mha", "b/mask.nii.gz", "c/mask.nrrd", "c/mask.nii")
    paths, findings = match_files(tmp_path, "{case}/mask{extension}", ["a", "b", "c"])
    assert paths == {"a": tmp_path / "a/mask.mha", "b": tmp_path / "b/mask.nii.gz"}
    (finding,) = findings
    assert finding.code is MaskCode.NAME_OTHER_EXTENSION
    assert "'c/mask.nii' and 'c/mask.nrrd'" in finding.cause


def test_one_file_per_structure(tmp_path: Path) -> None:
    fill(tmp_path, "s1/segmentations/liver.nii.gz", "s1/segmentations/spleen.nii.gz", "s2/segmentations/liver.nii.gz")
    pattern = "{case}/segmentations/{structure}.nii.gz"
    paths, findings = match_structure_files(tmp_path, pattern, ["s1", "s2"], ["liver", "spleen"])
    assert set(paths["s1"]) == {"liver", "spleen"}
    assert set(paths["s2"]) == {"liver"}
    (finding,) = findings
    assert finding.code is MaskCode.CASE_MISSING
    assert "s2: spleen" in finding.cause


def test_a_missing_folder_is_one_finding(tmp_path: Path) -> None:
    paths, (finding,) = match_files(tmp_path / "nowhere", "{case}.nii.gz", ["a"])
    assert paths == {}
    assert finding.code is MaskCode.FOLDER_MISSING


def test_many_strays_are_counted_not_listed(tmp_path: Path) -> None:
    fill(tmp_path, *(f"stray{number}.txt" for number in range(50)))
    _, findings = match_files(tmp_path, "{case}.nii.gz", [])
    assert len(findings) == 21
    assert "30 more files" in findings[-1].cause


def test_a_deep_tree_is_given_up(tmp_path: Path) -> None:
    fill(tmp_path, "/".join("d" * 12) + "/x.nii.gz", "a.nii.gz")
    paths, findings = match_files(tmp_path, "{case}.nii.gz", ["a"])
    assert MaskCode.FOLDER_TOO_FULL in {finding.code for finding in findings}
    assert "a" in paths


def test_the_same_bytes_for_two_cases_are_suspicious(tmp_path: Path) -> None:
    for name, content in {"a": b"same", "b": b"else", "c": b"same", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    (finding,) = find_repeated({name: tmp_path / name for name in "abcd"})
    assert finding.code is MaskCode.FILE_SHARED
    assert "'a' and 'c'" in finding.cause


def test_another_shape_costs_only_its_header(tmp_path: Path) -> None:
    """The voxels of the larger file are damaged, and nobody notices, because nobody reads them."""
    (tmp_path / "reference.nii").write_bytes(small())
    image = nib.Nifti1Image(np.ones((9, 5, 4), np.uint8), np.eye(4)).to_bytes()
    path = tmp_path / "prediction.nii.gz"
    path.write_bytes(gzip.compress(image)[:-5])
    findings = check_case(CaseJob("c", tmp_path / "reference.nii", {"": path}, SegmentationTask.model_validate(TASK)))
    assert [finding.code for finding in findings] == [MaskCode.SHAPE_DIFFERS]
    with pytest.raises(MaskError, match="x 9 instead of 6"):
        read_mask(path, like=read_mask(tmp_path / "reference.nii").geometry)
    with pytest.raises(MaskError, match="x 9 instead of 6"):
        read_structures({"liver": path}, like=read_mask(tmp_path / "reference.nii").geometry)
