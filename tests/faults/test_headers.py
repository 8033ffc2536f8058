"""What the file says is what is measured: spacing, volume and place of headers that are legal, odd or broken in a part.

Each case was read wrongly, or refused, by version 0.1.0. The truth is analytic, or what surface-distance makes of the
same arrays with the spacing that SimpleITK or nibabel read from the same file.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK
import surface_distance
from click.testing import CliRunner
from ruamel.yaml import YAML

from medpodium.cli import main

Mask = np.ndarray[Any, Any]
METRICS: dict[str, Any] = {
    "nsd1": {"kind": "nsd", "tolerance_mm": 1.0},
    "nsd2": {"kind": "nsd", "tolerance_mm": 2.0},
    "hd95": {"kind": "hd_percentile", "worst": "diagonal"},
    "dice": {"kind": "dice"},
    "fp": {"kind": "fp_volume", "worst": 1000},
}


def ball(shape_zyx: tuple[int, int, int], radius: float, shift_x: int = 0) -> Mask:
    """A ball in voxels around the middle of a volume, moved along x."""
    z, y, x = (np.arange(size) - size // 2 for size in shape_zyx)
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + (x - shift_x) ** 2 <= radius**2
    return inside.astype(np.uint8)


def score(folder: Path, extension: str, metrics: dict[str, Any] = METRICS) -> tuple[pd.Series, list[dict[str, Any]]]:
    """Score team ``one`` and return its scores by metric, and the findings."""
    pattern = "{case}" + extension
    task = {"structures": {"organ": {"label": 1}}, "metrics": metrics}
    task["empty"] = {"both": "skip", "reference": "skip", "prediction": "worst"}
    task["files"] = {"reference": pattern, "prediction": pattern}
    challenge = {"schema": 1, "name": "headers", "title": "Headers", "tasks": {"seg": task}}
    challenge |= {"recipes": {"mean": {"steps": [{"mean": ["case", "structure", "metric"]}, "rank"]}}}
    challenge |= {"ranking": {"seg": "mean"}}
    with (folder / "c.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(challenge, stream)
    out = folder / "scores.csv"
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref")]
    arguments += ["--predictions", f"one={folder / 'one'}", "--out", str(out), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert out.is_file(), result.output
    text = result.stdout
    scores = pd.read_csv(out).set_index("metric")
    found = json.loads(text[text.index("{") :])["findings"]  # by submission, the references' under no name
    return scores["value"], [item for items in found.values() for item in items]


def write(folder: Path, extension: str, make: Callable[[Mask], bytes], reference: Mask, prediction: Mask) -> None:
    for name, mask in (("ref", reference), ("one", prediction)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"case{extension}").write_bytes(make(mask))


def said(findings: list[dict[str, Any]], *words: str) -> list[str]:
    """Return the causes of findings that hold all of these words."""
    return [item["cause"] for item in findings if all(word in item["cause"] for word in words)]


def nrrd(mask: Mask, *lines: str, sizes: str = "", dimension: int = 3) -> bytes:
    sizes = sizes or " ".join(map(str, mask.shape[::-1]))
    head = ["NRRD0004", "type: uint8", f"dimension: {dimension}", f"sizes: {sizes}", *lines, "encoding: gzip"]
    return ("\n".join(head) + "\n\n").encode() + gzip.compress(mask.tobytes(), 1)


def meta(mask: Mask, **changed: str) -> bytes:
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "1 1 1",
        "DimSize": " ".join(map(str, mask.shape[::-1])), "ElementType": "MET_UCHAR", **changed,
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode() + mask.tobytes()


def nifti(mask: Mask, affine: Mask, change: Callable[[bytearray], None] = lambda _: None) -> bytes:
    """Write NIfTI with the same qform and sform, then change bytes of its header."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(mask.T), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    content = bytearray(image.to_bytes())
    change(content)
    return bytes(content)


# --- NRRD: directions count whatever the space is called -------------------------------------------------------------

DIRECTIONS = "space directions: (0.5,0,0) (0,0.5,0) (0,0,3)"
SPACES = ["space dimension: 3", "space: scanner-xyz", "space: 3D-right-handed", "space: 3D-left-handed"]


@pytest.mark.parametrize("space", SPACES)
def test_nrrd_directions_count_in_any_space(space: str, tmp_path: Path) -> None:
    """``space dimension: 3`` without a name is legal (JuliaImages#86, pynrrd#5), and its vectors are lengths."""
    reference, prediction = ball((24, 32, 40), 9), ball((24, 32, 40), 9, shift_x=2)
    write(tmp_path, ".nrrd", lambda mask: nrrd(mask, space, DIRECTIONS), reference, prediction)
    image = SimpleITK.ReadImage(str(tmp_path / "ref/case.nrrd"))
    assert image.GetSpacing() == (0.5, 0.5, 3.0)
    found = surface_distance.compute_surface_distances(reference > 0, prediction > 0, image.GetSpacing()[::-1])
    scores, findings = score(tmp_path, ".nrrd")
    assert scores["hd95"] == surface_distance.compute_robust_hausdorff(found, 95) == 1.0
    assert scores["fp"] == pytest.approx(((prediction > reference).sum()) * 0.75 / 1000, rel=1e-12)
    assert said(findings, "no axes of the patient")


@pytest.mark.parametrize(("unit", "factor"), [("um", 1e-3), ("m", 1e3), ("cm", 10.0)])
def test_nrrd_units_count(unit: str, factor: float, tmp_path: Path) -> None:
    """``space units`` says in what the vectors are measured (NRRD definition, section 5)."""
    reference, prediction = ball((16, 16, 20), 6), ball((16, 16, 20), 6, shift_x=1)
    lines = ("space: left-posterior-superior", f'space units: "{unit}" "{unit}" "{unit}"', DIRECTIONS)
    write(tmp_path, ".nrrd", lambda mask: nrrd(mask, *lines), reference, prediction)
    metrics = {name: METRICS[name] for name in ("hd95", "fp")}
    scores, findings = score(tmp_path, ".nrrd", metrics)
    assert scores["hd95"] == pytest.approx(0.5 * factor, rel=1e-9)
    assert scores["fp"] == pytest.approx((prediction > reference).sum() * 0.75 / 1000 * factor**3, rel=1e-9)
    assert said(findings, repr(unit), "converted to mm")


@pytest.mark.parametrize("axis", ["first", "last"])
def test_an_axis_of_one_layer_is_no_axis(axis: str, tmp_path: Path) -> None:
    """A fourth axis of size 1 (``none`` among the directions) is left out (pyradiomics#445)."""
    mask = ball((12, 14, 16), 5)
    vectors = DIRECTIONS.partition(": ")[2]
    shape = " ".join(map(str, mask.shape[::-1]))
    first = axis == "first"
    lines = (
        "space: left-posterior-superior",
        f"space directions: none {vectors}" if first else f"space directions: {vectors} none",
        "kinds: list domain domain domain" if first else "kinds: domain domain domain list",
    )
    sizes = f"1 {shape}" if first else f"{shape} 1"
    write(tmp_path, ".nrrd", lambda mask: nrrd(mask, *lines, sizes=sizes, dimension=4), mask, ball((12, 14, 16), 5, 1))
    scores, findings = score(tmp_path, ".nrrd")
    assert scores["hd95"] == 0.5
    assert said(findings, "size 1")


def test_a_fourth_axis_of_one_in_metaimage_is_left_out(tmp_path: Path) -> None:
    """As NIfTI's singleton axes are (pyradiomics#445)."""
    mask = ball((12, 14, 16), 5)
    fields = {
        "NDims": "4", "DimSize": "16 14 12 1", "ElementSpacing": "0.5 0.5 3 1", "Offset": "0 0 0 0",
        "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    }  # fmt: skip
    write(tmp_path, ".mha", lambda mask: meta(mask, **fields), mask, ball((12, 14, 16), 5, 1))
    scores, findings = score(tmp_path, ".mha")
    assert scores["hd95"] == 0.5
    assert said(findings, "size 1")


def test_argmax_is_advised_only_where_it_is_right(tmp_path: Path) -> None:
    """Of two binary volumes that overlap, the argmax is not the label map (pyradiomics#445)."""
    mask = ball((12, 14, 16), 5)
    fields = {
        "NDims": "4", "DimSize": "16 14 12 2", "ElementSpacing": "1 1 1 1", "Offset": "0 0 0 0",
        "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    }  # fmt: skip
    for second, right in ((ball((12, 14, 16), 5, 1), "one file per structure"), (1 - mask, "argmax")):
        write(tmp_path, ".mha", meta, mask, mask)
        (tmp_path / "one/case.mha").write_bytes(meta(mask, **fields) + second.tobytes())
        _, findings = score(tmp_path, ".mha")
        (fix,) = [item["fix"] for item in findings if "2 binary volumes" in item["cause"]]
        assert right in fix
        assert ("argmax" in fix) is (right == "argmax")


# --- NIfTI: one grid from pixdim, qform and sform --------------------------------------------------------------------


def turned(degrees: float) -> Mask:
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


def test_an_oblique_millimetre_is_a_millimetre(tmp_path: Path) -> None:
    """A turned grid of 1 mm was one of 1.00000003 mm, by the norms of float32 cosines, and no tie was within 1 mm."""
    reference, prediction = ball((32, 32, 36), 12), ball((32, 32, 36), 12, shift_x=2)
    affine = turned(31)
    write(tmp_path / "nifti", ".nii.gz", lambda mask: gzip.compress(nifti(mask, affine)), reference, prediction)
    matrix = " ".join(f"{value:.17g}" for value in (np.diag([-1, -1, 1]) @ affine[:3, :3]).T.ravel())
    write(tmp_path / "meta", ".mha", lambda mask: meta(mask, TransformMatrix=matrix), reference, prediction)
    assert SimpleITK.ReadImage(str(tmp_path / "nifti/ref/case.nii.gz")).GetSpacing() == (1.0, 1.0, 1.0)
    found = surface_distance.compute_surface_distances(reference.T > 0, prediction.T > 0, (1.0, 1.0, 1.0))
    scores, findings = score(tmp_path / "nifti", ".nii.gz")
    assert not findings
    for tolerance in (1, 2):
        truth = surface_distance.compute_surface_dice_at_tolerance(found, tolerance)
        assert scores[f"nsd{tolerance}"] == pytest.approx(truth, abs=1e-12)
    assert scores["nsd1"] == pytest.approx(0.77381, abs=5e-6)
    assert scores["nsd2"] == 1.0
    pd.testing.assert_series_equal(scores, score(tmp_path / "meta", ".mha")[0], rtol=1e-14)


def test_the_audit_reads_the_files_anew(tmp_path: Path) -> None:
    """Given the scorer's own spacing, as it was, no library could see that the spacing was wrong."""
    reference, prediction = ball((16, 16, 20), 6), ball((16, 16, 20), 6, shift_x=2)
    write(tmp_path, ".nii", lambda mask: nifti(mask, turned(31)), reference, prediction)
    score(tmp_path, ".nii")
    arguments = ["score", str(tmp_path / "c.yaml"), "--references", str(tmp_path / "ref"), "--audit", "--json"]
    arguments += ["--predictions", f"one={tmp_path / 'one'}", "--out", str(tmp_path / "scores.csv")]
    text = CliRunner().invoke(main, arguments).stdout
    rows = {(row["metric"], row.get("reader")): row for row in json.loads(text[text.index("{") :])["audit"]}
    for reader in ("SimpleITK", "nibabel"):
        assert rows["(spacing, mm)", reader]["compared"] == 6
        assert rows["(spacing, mm)", reader]["max_abs"] == 0
        assert rows["nsd1", reader]["max_abs"] <= 1e-12


def test_float32_rows_of_nrrd_are_a_millimetre(tmp_path: Path) -> None:
    """The same grid as NRRD, whose spacing is nothing but the length of its rows."""
    reference, prediction = ball((32, 32, 36), 12), ball((32, 32, 36), 12, shift_x=2)
    rows = turned(31)[:3, :3].T.astype(np.float32).astype(float)
    text = " ".join("(" + ",".join(f"{value:.17g}" for value in row) + ")" for row in rows)
    lines = ("space: left-posterior-superior", f"space directions: {text}")
    write(tmp_path, ".nrrd", lambda mask: nrrd(mask, *lines), reference, prediction)
    scores, _ = score(tmp_path, ".nrrd")
    assert scores["nsd2"] == 1.0
    assert scores["nsd1"] == pytest.approx(0.77381, abs=5e-6)


def test_a_tilted_gantry_keeps_its_volume(tmp_path: Path) -> None:
    """A voxel of a sheared grid is as large as its determinant, not as the product of its edges (dcm2niix#253)."""
    tilt = np.radians(20)
    affine = np.eye(4)
    affine[:3, 2] = 0, 3 * np.sin(tilt), 3 * np.cos(tilt)

    def content(mask: Mask) -> bytes:
        image = nibabel.Nifti1Image(np.ascontiguousarray(mask.T), None)
        image.set_sform(affine, 1)
        image.header["pixdim"][1:4] = 1, 1, 3
        return image.to_bytes()

    reference, prediction = ball((16, 20, 24), 6), ball((16, 20, 24), 6, shift_x=2)
    write(tmp_path, ".nii", content, reference, prediction)
    edge = reference.sum() * np.linalg.det(affine) / 1000
    lesions = {"kind": "lesion_tp", "lesions": {"min_volume_ml": float(edge * 1.02)}}
    scores, findings = score(tmp_path, ".nii", {"fp": METRICS["fp"], "kept": lesions, "dice": METRICS["dice"]})
    truth = nibabel.load(tmp_path / "one/case.nii")
    volume = abs(np.linalg.det(truth.affine[:3, :3]))
    assert scores["fp"] == pytest.approx((prediction > reference).sum() * volume / 1000, rel=1e-6)
    assert np.isnan(scores["kept"])  # no lesion is left; 6.4 % too large, they were above the minimal volume
    assert said(findings, "right angles", "6.03 %")


def test_spacing_that_differs_is_called_spacing(tmp_path: Path) -> None:
    """pixdim 0.6 and sform 0.8 along z are a third apart; that is no matter of place (dcm2niix#1018)."""
    affine = np.diag([1.0, 1.0, 0.8, 1.0])

    def change(content: bytearray) -> None:
        struct.pack_into("<f", content, 76 + 12, 0.6)

    mask = ball((16, 20, 24), 6)
    write(tmp_path, ".nii", lambda mask: nifti(mask, affine, change), mask, mask)
    _, findings = score(tmp_path, ".nii")
    assert said(findings, "spacing along z", "0.6", "0.8", "33.3 %")
    assert not said(findings, "place the volume")


# --- Odd but usable --------------------------------------------------------------------------------------------------

NAN = float("nan")
IDENTITY = np.eye(4)


def extended(content: bytes, size: int = 2 << 20) -> bytes:
    """Put an extension of 2 MiB between header and voxels (as scanners' own headers are kept)."""
    head = bytearray(content[:348])
    struct.pack_into("<f", head, 108, 352 + size)
    return bytes(head) + b"\1\0\0\0" + struct.pack("<2i", size, 6) + bytes(size - 8) + content[352:]


ODD: dict[str, tuple[str, Callable[[Mask], bytes], str]] = {
    "quaternion of NaN": (
        ".nii", lambda mask: nifti(mask, IDENTITY, lambda head: struct.pack_into("<3f", head, 256, NAN, 0, 0)), "qform"
    ),
    "quaternion longer than 1": (
        ".nii", lambda mask: nifti(mask, IDENTITY, lambda head: struct.pack_into("<3f", head, 256, 1, 1, 0)), "1.41"
    ),
    "extension of 2 MiB": (".nii", lambda mask: extended(nifti(mask, IDENTITY)), "extensions"),
    "extension of 2 MiB in gzip": (
        ".nii.gz", lambda mask: gzip.compress(extended(nifti(mask, IDENTITY)), 1), "extensions"
    ),
    "bytes after the voxels": (".nii", lambda mask: nifti(mask, IDENTITY) + bytes(512), "512 bytes follow"),
    "bytes after the voxels of mha": (".mha", lambda mask: meta(mask) + bytes(512), "512 bytes follow"),
    "voxels at the end of mha": (
        ".mha", lambda mask: meta(mask, HeaderSize="-1").replace(b"LOCAL\n", b"LOCAL\n12345"), "HeaderSize -1"
    ),
    "mha in gzip": (".mha", lambda mask: gzip.compress(meta(mask)), "gzip"),
    "nrrd in gzip": (
        ".nrrd",
        lambda mask: gzip.compress(nrrd(mask, "space: LPS", "space directions: (1,0,0) (0,1,0) (0,0,1)")),
        "gzip",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_scored_with_a_warning(name: str, tmp_path: Path) -> None:
    """Files that nibabel or SimpleITK read are read, and what is odd is said (nibabel#105)."""
    extension, make, word = ODD[name]
    reference, prediction = ball((16, 20, 24), 6), ball((16, 20, 24), 6, shift_x=1)
    write(tmp_path, extension, make, reference, prediction)
    scores, findings = score(tmp_path, extension)
    both = int((reference & prediction).sum())
    assert scores["dice"] == 2 * both / (int(reference.sum()) + int(prediction.sum()))
    assert scores["hd95"] == 1.0
    assert said(findings, word)
    assert not [item for item in findings if item["severity"] == "error"]
