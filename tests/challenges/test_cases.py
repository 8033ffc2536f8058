"""The manifest of hidden cases, and the integrity and leakage checks before a campaign."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.challenges.campaign import cases as case_files
from medpodium.challenges.registry import load
from medpodium.containers.intake import integrity
from medpodium.findings import Severity, UsageError


def built(tiny: Any, folder: Path, **options: Any) -> Any:
    loaded = load(tiny.challenge(folder))
    images, references = folder / "images", folder / "labels"
    protocol = loaded.containers["default"]
    manifest, found = case_files.build(protocol, images, references, ["{case}.nii.gz"], **options)
    return loaded, manifest, found


def codes(findings: Any) -> set[str]:
    return {str(one.code) for one in findings}


def test_manifest_names_every_file_with_its_hash(tiny: Any, tmp_path: Path) -> None:
    images, _ = tiny.cases(tmp_path, 2)
    _, manifest, found = built(tiny, tmp_path)
    assert found == []
    assert [case.id for case in manifest.cases] == ["case1", "case2"]
    file = manifest["case1"].inputs["{case}_0000.nii.gz"]
    assert file.sha256 == hashlib.sha256((images / "case1_0000.nii.gz").read_bytes()).hexdigest()
    assert case_files.Manifest.from_dict(manifest.as_dict()) == manifest


def test_case_hash_depends_on_what_a_container_sees_only(tiny: Any, tmp_path: Path) -> None:
    images, references = tiny.cases(tmp_path, 1)
    before = built(tiny, tmp_path)[1]["case1"].hash
    (references / "case1.nii.gz").write_bytes(tiny.nifti(tiny.mask(5)))
    assert built(tiny, tmp_path)[1]["case1"].hash == before
    (images / "case1_0000.nii.gz").write_bytes(tiny.nifti(tiny.mask(6)))
    assert built(tiny, tmp_path)[1]["case1"].hash != before


def test_lacking_files_and_groups_are_findings(tiny: Any, tmp_path: Path) -> None:
    _, references = tiny.cases(tmp_path, 2)
    (references / "case1.nii.gz").rename(references / "case9.nii.gz")
    found = built(tiny, tmp_path, groups={"case2": {"centre": "A"}, "case8": {"centre": "B"}})[2]
    expected = {"case-reference-missing", "reference-without-case", "case-group-missing", "group-without-case"}
    assert codes(found) == expected


def test_no_case_at_all_is_an_error(tiny: Any, tmp_path: Path) -> None:
    images, _ = tiny.cases(tmp_path, 1)
    (images / "case1_0000.nii.gz").unlink()
    with pytest.raises(UsageError, match="_0000"):
        built(tiny, tmp_path)


def test_change_of_a_hidden_file_is_noticed(tiny: Any, tmp_path: Path) -> None:
    images, _ = tiny.cases(tmp_path, 1)
    manifest = built(tiny, tmp_path)[1]
    assert case_files.verify(manifest, manifest["case1"]) == []
    data = bytearray((images / "case1_0000.nii.gz").read_bytes())
    data[-9] ^= 1
    (images / "case1_0000.nii.gz").write_bytes(data)
    assert codes(case_files.verify(manifest, manifest["case1"])) == {"case-changed"}


def test_placeholders_and_optional_inputs_of_liqa(tiny: Any, tmp_path: Path) -> None:
    for vendor, case, names in (("Vendor-A", "0007-A", ("GED4", "T1")), ("Vendor-B1", "0007-B1", ("GED4",))):
        folder = tmp_path / vendor / case
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.nii.gz").write_bytes(tiny.nifti(tiny.mask(1)))
    protocol = load("liqa").containers["liseg"]
    manifest, found = case_files.build(protocol, tmp_path)
    assert found == []
    assert [case.values["vendor"] for case in manifest.cases] == ["Vendor-A", "Vendor-B1"]
    assert len(manifest["0007-A"].inputs) == 2
    assert len(manifest["0007-B1"].inputs) == 1


@pytest.mark.parametrize(
    "text", ["case,centre\nc1,A\n", "participant_id\tcentre\nc1\tA\n", "\ufeffcentre;case\nA;c1\n"]
)
def test_groups_table_in_any_common_form(text: str, tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    assert case_files.read_groups(tmp_path / "groups.csv") == {"c1": {"centre": "A"}}


def test_groups_table_naming_a_case_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("case,centre\nc1,A\nc1,B\n")
    with pytest.raises(UsageError, match="twice"):
        case_files.read_groups(tmp_path / "groups.csv")


def test_clean_cases_have_no_findings(tiny: Any, tmp_path: Path) -> None:
    tiny.cases(tmp_path, 3)
    loaded, manifest, _ = built(tiny, tmp_path)
    assert integrity.check(loaded, "default", manifest) == []


def test_broken_grid_labels_and_duplicates_are_found(tiny: Any, tmp_path: Path) -> None:
    images, references = tiny.cases(tmp_path, 4)
    (references / "case1.nii.gz").write_bytes(tiny.nifti(tiny.mask(0), (1.0, 1.0, 5.0)))
    (references / "case2.nii.gz").write_bytes(tiny.nifti(tiny.mask(1) * 9))
    (references / "case3.nii.gz").write_bytes(b"\x1f\x8bnothing")
    shutil.copy(images / "case1_0000.nii.gz", images / "case4_0000.nii.gz")
    loaded, manifest, _ = built(tiny, tmp_path)
    found = {str(one.code): one.where for one in integrity.check(loaded, "default", manifest)}
    assert found.keys() == {"case-geometry", "reference-label-unknown", "mask-data-truncated", "case-duplicate"}
    assert "case1" in found["case-geometry"]
    assert "case2" in found["reference-label-unknown"]
    assert "case3" in found["mask-data-truncated"]
    assert "case4" in found["case-duplicate"]


@pytest.mark.parametrize("data", [b"", b"<html>503 Service Unavailable</html>"])
def test_images_that_are_no_images_are_found(tiny: Any, tmp_path: Path, data: bytes) -> None:
    images, _ = tiny.cases(tmp_path, 2)
    (images / "case2_0000.nii.gz").write_bytes(data)
    loaded, manifest, _ = built(tiny, tmp_path)
    found = [one for one in integrity.check(loaded, "default", manifest) if str(one.code) == "case-unreadable"]
    assert [one.where for one in found] == ["case2: case2_0000.nii.gz"]


def test_identifiers_in_names_and_headers_are_found(tiny: Any, tmp_path: Path) -> None:
    images, references = tiny.cases(tmp_path, 1)
    (images / "case1_0000.nii.gz").write_bytes(tiny.nifti(tiny.mask(0), descrip=b"Patient: Doe^John"))
    (images / "x-20190412_0000.nii.gz").write_bytes(tiny.nifti(tiny.mask(3)))
    (references / "x-20190412.nii.gz").write_bytes(tiny.nifti(tiny.mask(3)))
    loaded, manifest, _ = built(tiny, tmp_path)
    found = [one for one in integrity.check(loaded, "default", manifest) if str(one.code) == "leak-identifier"]
    assert {one.severity for one in found} == {Severity.WARNING}
    assert {one.where.partition(":")[0] for one in found} == {"case1", "x-20190412"}


def test_names_that_carry_a_group_are_found(tiny: Any, tmp_path: Path) -> None:
    tiny.cases(tmp_path, 3, prefix="siteA-")
    loaded, manifest, _ = built(tiny, tmp_path, groups={f"siteA-{n}": {"centre": "siteA"} for n in (1, 2, 3)})
    assert codes(integrity.check(loaded, "default", manifest)) == {"leak-name"}


def test_training_images_among_the_hidden_ones_are_found(tiny: Any, tmp_path: Path) -> None:
    """Same voxels under another name and header; a rescaled near-duplicate; a patient in both; and no false alarm."""
    rng = np.random.default_rng(0)
    images, references = tiny.cases(tmp_path, 3)
    scans = [rng.normal(0, 100, (24, 24, 24)).cumsum(0).cumsum(1).astype(np.int16) for _ in range(4)]
    training = tmp_path / "training"
    training.mkdir()
    for number in (1, 2, 3):
        (images / f"case{number}_0000.nii.gz").write_bytes(tiny.nifti(scans[number - 1]))
        truth = np.where(np.arange(24) < number, 1, 2) * np.ones((24, 24, 1))
        (references / f"case{number}.nii.gz").write_bytes(tiny.nifti(truth.astype(np.uint8)))
    (training / "other.nii.gz").write_bytes(tiny.nifti(scans[0], descrip=b"renamed"))
    near = (scans[1] * 0.9 + 20 + rng.normal(0, 5, scans[1].shape)).astype(np.float32)
    (training / "again.nii.gz").write_bytes(tiny.nifti(near))
    (training / "P0003_scan2.nii.gz").write_bytes(tiny.nifti(scans[3]))
    groups = {"case1": {"patient": "P0001"}, "case2": {"patient": "P0002"}, "case3": {"patient": "P0003"}}
    loaded, manifest, _ = built(tiny, tmp_path, groups=groups)
    found = [
        (str(one.code), one.where.partition(":")[0], one.severity)
        for one in integrity.check(loaded, "default", manifest, training)
    ]
    assert found == [
        ("leak-image-overlap", "case1", Severity.ERROR),
        ("leak-image-overlap", "case2", Severity.WARNING),
        ("leak-patient-overlap", "case3", Severity.ERROR),
    ]
