"""The audit reads the files with other people's libraries, so that a fault of reading shows, and says who read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.scoring.kinds.segmentation import audit
from medpodium.scoring.masks.reader import Mask, MaskReader

CHALLENGE = """
schema: 1
name: audited
title: Audited
tasks:
  seg:
    empty: {both: skip, reference: skip, prediction: worst}
    files: {reference: "{case}EXTENSION", prediction: "{case}EXTENSION"}
    structures: {organ: {label: 1}, core: {label: 2}, whole: {union: [1, 2]}}
    metrics:
      nsd: {kind: nsd, tolerance_mm: 1.0}
      hd95: {kind: hd_percentile, worst: diagonal}
      border: {kind: assd, definition: border-voxel, worst: diagonal}
      dice: {kind: dice}
      lesions: {kind: lesion_f1}
recipes: {mean: {steps: [{mean: [case, structure, metric]}, rank]}}
ranking: {seg: mean}
"""
READING = ["(spacing, mm)", "(volume of a voxel, ml)", "(voxels per label)"]


def labels(shift: int = 0) -> np.ndarray[Any, Any]:
    z, y, x = np.ogrid[-12:12, -14:14, -16:16]
    squared = z**2 + y**2 + (x - shift) ** 2
    return (squared <= 100).astype(np.uint8) + (squared <= 25)


def oblique() -> np.ndarray[Any, Any]:
    angle = np.radians(31)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


def nifti(path: Path, mask: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(mask.T), affine), path)


def metaimage(path: Path, mask: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> None:
    image = SimpleITK.GetImageFromArray(mask)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path))


def audited(folder: Path, extension: str = ".nii.gz") -> pd.DataFrame:
    (folder / "c.yaml").write_text(CHALLENGE.replace("EXTENSION", extension), encoding="utf-8")
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref"), "--predictions"]
    arguments += [f"one={folder / 'one'}", "--out", str(folder / "scores.csv"), "--audit", "--json", "--workers", "1"]
    result = CliRunner().invoke(main, arguments)
    text = result.stdout
    assert "{" in text, result.output
    return pd.DataFrame(json.loads(text[text.index("{") :])["audit"]).set_index(["metric", "reader"]).sort_index()


def scored_and_audited(folder: Path) -> pd.DataFrame:
    """Audit the scores of a folder whose challenge file is written already."""
    out = folder / "scores.csv"
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref"), "--out", str(out)]
    assert CliRunner().invoke(main, [*arguments, "--predictions", f"one={folder / 'one'}"]).exit_code == 0
    challenge = registry.load(str(folder / "c.yaml"))
    rows = audit.audit_segmentation(challenge, pd.read_csv(out), folder / "ref", {"one": folder / "one"})
    return pd.DataFrame(rows).set_index(["metric", "reader"])


def fill(folder: Path, write: Callable[..., None], extension: str, affine: np.ndarray[Any, Any]) -> None:
    for name, shift in (("ref", 0), ("one", 2)):
        (folder / name).mkdir(parents=True)
        for case in ("a", "b"):
            write(folder / name / f"{case}{extension}", labels(shift if case == "a" else -shift), affine)


def test_an_oblique_grid_differs_by_nothing_for_either_reader(tmp_path: Path) -> None:
    fill(tmp_path, nifti, ".nii.gz", oblique())
    rows = audited(tmp_path)
    for reader in ("SimpleITK", "nibabel"):
        for metric in ("nsd", "hd95", "border", "dice"):
            row = rows.loc[(metric, reader)]
            assert row["compared"] == 6
            assert row["max_abs"] <= 1e-12
        for what in READING:
            assert rows.loc[(what, reader), "compared"] > 0
            assert rows.loc[(what, reader), "max_abs"] == 0
    assert rows.loc[("lesions", ""), "compared"] == 0
    assert rows.loc[("nsd", "SimpleITK"), "library"] == "surface-distance"


@pytest.mark.parametrize("extension", [".mha", ".nrrd"])
def test_other_formats_are_read_by_simpleitk(extension: str, tmp_path: Path) -> None:
    fill(tmp_path, metaimage, extension, oblique() @ np.diag([0.8, 0.8, 2.5, 1]))
    rows = audited(tmp_path, extension)
    assert set(rows.index.get_level_values("reader")) == {"", "SimpleITK"}
    assert rows.loc[("nsd", "SimpleITK"), "compared"] == 6
    assert rows["max_rel"].max() <= 1e-9


def test_what_a_reader_refuses_is_listed(tmp_path: Path) -> None:
    """SimpleITK takes no NIfTI-2; nibabel's numbers stand alone then."""
    fill(
        tmp_path,
        lambda path, mask, affine: nibabel.save(nibabel.Nifti2Image(np.ascontiguousarray(mask.T), affine), path),
        ".nii.gz",
        oblique(),
    )
    rows = audited(tmp_path)
    assert rows.loc[("(files refused)", "SimpleITK"), "compared"] == 4
    assert "reference of a" in rows.loc[("(files refused)", "SimpleITK"), "where"]
    assert ("nsd", "SimpleITK") not in rows.index
    assert rows.loc[("nsd", "nibabel"), "max_abs"] <= 1e-12


_read = MaskReader.read


def broken_spacing(reader: MaskReader, *given: Any) -> Mask:
    mask = _read(reader, *given)
    return Mask(mask.array, replace(mask.geometry, spacing_zyx=(1.0, 1.0, 1.0)), mask.findings)


def shifted_labels(reader: MaskReader, *given: Any) -> Mask:
    mask = _read(reader, *given)
    return Mask(np.where(mask.array == 2, np.uint8(1), mask.array), mask.geometry, mask.findings)


@pytest.mark.parametrize(("fault", "shows"), [(broken_spacing, READING[:2]), (shifted_labels, READING[2:])])
def test_a_fault_of_reading_shows(
    fault: Any, shows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reader that is broken on purpose, scores agree with themselves, and not with who reads the files anew."""
    fill(tmp_path, nifti, ".nii.gz", oblique() @ np.diag([0.8, 0.8, 2.5, 1]))
    monkeypatch.setattr(MaskReader, "read", fault)
    rows = audited(tmp_path)
    for reader in ("SimpleITK", "nibabel"):
        for what in READING:
            assert (rows.loc[(what, reader), "max_abs"] > 0) is np.bool_(what in shows)
            assert bool(rows.loc[(what, reader), "where"]) is (what in shows)
        assert rows.loc[("hd95" if shows == READING[:2] else "dice", reader), "max_abs"] > 0.05
    monkeypatch.undo()
    assert audited(tmp_path)["max_abs"].max() <= 1e-12


def test_a_slice_declared_a_plane(tmp_path: Path) -> None:
    """The libraries are given arrays of two axes then; how thick the slice is matters to nobody."""
    text = CHALLENGE.replace("EXTENSION", ".nii").replace("      lesions: {kind: lesion_f1}\n", "")
    (tmp_path / "c.yaml").write_text(text.replace("    files:", "    dimensions: 2\n    files:"), encoding="utf-8")
    for name, shift in (("ref", 0), ("one", 2)):
        (tmp_path / name).mkdir()
        nifti(tmp_path / name / "a.nii", labels(shift)[12:13], np.diag([0.75, 0.5, 5, 1]))
    table = scored_and_audited(tmp_path)
    assert table.loc[("border", "SimpleITK"), "compared"] == 3
    assert table["max_abs"].max() <= 1e-12


def test_one_file_per_structure_and_a_plane(tmp_path: Path) -> None:
    text = CHALLENGE.replace("{case}EXTENSION", "{case}/{structure}.nii").replace(
        "      lesions: {kind: lesion_f1}\n", ""
    )
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    for name, shift in (("ref", 0), ("one", 2)):
        (tmp_path / name / "a").mkdir(parents=True)
        for structure, inside in (("organ", labels(shift) > 0), ("core", labels(shift) > 1)):
            nifti(tmp_path / name / "a" / f"{structure}.nii", inside[12].astype(np.uint8), np.diag([0.7, 0.7, 1, 1]))
    table = scored_and_audited(tmp_path)
    assert table.loc[("nsd", "nibabel"), "compared"] == 3
    assert table["max_abs"].max() <= 1e-6  # pixdim's float32 0.7
