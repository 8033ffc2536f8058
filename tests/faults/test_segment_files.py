"""Segmentations of 3D Slicer and DICOM are read by the names of their segments, overlaps and left-out slices included.

Sources: pyradiomics#445 (segments of a ``.seg.nrrd`` in one layer or several). The truth is the score of the same
structures as NIfTI: one file each where they overlap, else one label map.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from medpodium.cli import main

LABELS = {"liver": 1, "tumour": 2, "Left kidney": 3}
EMPTY = {"both": 1.0, "reference": 0.0, "prediction": 0.0}
FAR: dict[str, Any] = {"worst": 500, "empty": {"both": 0.0, "reference": 500, "prediction": 500}}
METRICS: dict[str, Any] = {
    "dice": {"kind": "dice"},
    "nsd": {"kind": "nsd", "tolerance_mm": 1.0},
    "hd95": {"kind": "hd_percentile", **FAR},
    "assd": {"kind": "assd", **FAR},
    "volume": {"kind": "absolute_relative_volume_difference", **FAR},
    "fp": {"kind": "fp_volume", **FAR},
}
Binary = npt.NDArray[np.bool_]
Structures = Mapping[str, Binary]


def _files() -> ModuleType:
    path = Path(__file__).parents[1] / "scoring/masks/segment_files.py"
    spec = importlib.util.spec_from_file_location("medpodium_tests_segment_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


files = _files()


def score(
    folder: Path, reference: str, prediction: str, labels: Mapping[str, int] = LABELS, **task: Any
) -> tuple[Result, pd.DataFrame | None]:
    """Score the team's folder ``a`` against ``ref`` at the command line; both patterns are file names."""
    own = {
        "empty": EMPTY,
        "structures": {name: {"label": label, "file": name.replace(" ", "_")} for name, label in labels.items()},
        "files": {"reference": reference, "prediction": prediction},
        "metrics": METRICS,
    }
    challenge = {
        "schema": 1,
        "name": "segments",
        "title": "Segments",
        "tasks": {"seg": own | task},
        "recipes": {
            "mean": {
                "steps": [{"mean": ["case", "structure"]}, {"rank": {"within": "metric"}}, {"mean": "metric"}, "rank"]
            }
        },
        "ranking": {"seg": "mean"},
    }
    with (folder / "c.yaml").open("w") as file:
        YAML(typ="safe").dump(challenge, file)
    out = folder / "scores.csv"
    out.unlink(missing_ok=True)
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref")]
    result = CliRunner().invoke(main, [*arguments, "--predictions", f"a={folder / 'a'}", "--out", str(out)])
    return result, pd.read_csv(out) if out.is_file() else None


def numbers(scores: pd.DataFrame | None, output: str) -> dict[tuple[str, str], float]:
    assert scores is not None, output
    assert set(scores["status"]) == {"ok"}, output
    return {(row.structure, row.metric): row.value for row in scores.itertuples()}


def write(folder: Path, form: str, structures: Structures, affine: npt.NDArray[np.float64], case: str = "p1") -> str:
    """Write a case in one form, and return the pattern of its files."""
    names = list(structures)
    if form == "each":
        for name, mask in structures.items():
            files.write_nifti(folder / f"{case}/{name.replace(' ', '_')}.nii.gz", mask, affine)
        return "{case}/{structure}.nii.gz"
    if form == "labels":
        files.write_nifti(folder / f"{case}.nii.gz", files.label_map(structures, LABELS), affine)
        return "{case}.nii.gz"
    if form.startswith("slicer"):
        turned = {name: structures[name] for name in reversed(names)}  # so that values and numbers are not the labels
        layers, cropped = "layers" in form, "cropped" in form
        files.write_slicer(
            folder / f"{case}.seg.nrrd", turned, affine, layers=layers, cropped=cropped, last="last" in form
        )
        return "{case}.seg.nrrd"
    turned = {name: structures[name] for name in reversed(names)}
    kind = "LABELMAP" if "labelmap" in form else "BINARY"
    files.write_dicom(folder / f"{case}.dcm", turned, affine, kind, omit="whole" not in form)
    return "{case}.dcm"


def compare(folder: Path, forms: tuple[str, str], overlap: bool, tilt: float) -> None:
    affine = files.grid(tilt=tilt)
    pair = [files.blobs(seed, list(LABELS)) for seed in (5, 6)]
    if not overlap:
        pair = [files.apart(one) for one in pair]
    found = []
    for number, both in enumerate((("each", "each") if overlap else ("labels", "labels"), forms)):
        place = folder / str(number)
        patterns = [
            write(place / name, form, structures, affine)
            for name, form, structures in zip(("ref", "a"), both, pair, strict=True)
        ]
        result, scores = score(place, *patterns)
        assert result.exit_code == 0, result.output
        found.append(numbers(scores, result.output))
    assert 0 < found[0]["liver", "dice"] < 1
    if forms[0].startswith("dicom"):  # on a smaller grid the same distances are added up in another order
        assert found[1] == pytest.approx(found[0], rel=1e-12)
    else:
        assert found[1] == found[0]


@pytest.mark.parametrize("forms", [("slicer", "slicer"), ("labels", "slicer cropped"), ("slicer", "labels")])
def test_one_layer_with_names_scores_as_a_label_map(forms: tuple[str, str], tmp_path: Path) -> None:
    """The values in the file are numbered otherwise than the challenge's labels (pyradiomics#445)."""
    compare(tmp_path, forms, overlap=False, tilt=0)


@pytest.mark.parametrize(
    "forms", [("slicer layers", "slicer layers"), ("each", "slicer layers cropped"), ("slicer layers last", "each")]
)
def test_overlapping_layers_score_as_one_file_per_structure(forms: tuple[str, str], tmp_path: Path) -> None:
    """Several layers: a list axis before x, y, z as 3D Slicer writes it, or behind them (pyradiomics#445)."""
    compare(tmp_path, forms, overlap=True, tilt=20)


@pytest.mark.parametrize(
    ("forms", "tilt"),
    [
        (("each", "dicom"), 20),
        (("dicom", "dicom"), 0),
        (("dicom", "each"), 20),
        (("dicom", "slicer layers cropped"), 0),
    ],
)
def test_dicom_segmentation_scores_as_one_file_per_structure(
    forms: tuple[str, str], tilt: float, tmp_path: Path
) -> None:
    """Frames without a voxel are left out, in references, too, and others of the prediction are."""
    compare(tmp_path, forms, overlap=True, tilt=tilt)


@pytest.mark.parametrize("forms", [("labels", "dicom labelmap"), ("dicom labelmap whole", "slicer")])
def test_dicom_label_map_scores_as_a_label_map(forms: tuple[str, str], tmp_path: Path) -> None:
    compare(tmp_path, forms, overlap=False, tilt=20)


def test_a_name_that_is_no_structure_fails_as_an_unknown_label_does(tmp_path: Path) -> None:
    """Slicer numbers segments as they are drawn, so that the value 1 is not the challenge's label 1."""
    affine, structures = files.grid(), files.apart(files.blobs(5, list(LABELS)))
    write(tmp_path / "ref", "labels", structures, affine)
    drawn = {"spleen": structures["liver"], "tumour": structures["tumour"]}
    files.write_slicer(tmp_path / "a/p1.seg.nrrd", drawn, affine, layers=False)
    result, scores = score(tmp_path, "{case}.nii.gz", "{case}.seg.nrrd")
    assert result.exit_code == 1
    assert "'spleen'" in result.output
    assert scores is not None
    assert set(scores["status"]) == {"failed:label-unknown"}
    result, scores = score(tmp_path, "{case}.nii.gz", "{case}.seg.nrrd", unknown_labels="ignore")
    assert scores is not None
    values = scores.set_index(["structure", "metric"])["value"]
    assert values["tumour", "dice"] == 1
    assert values["liver", "dice"] == 0


def test_a_structure_without_segment_is_empty_and_said(tmp_path: Path) -> None:
    affine, structures = files.grid(), files.apart(files.blobs(5, list(LABELS)))
    write(tmp_path / "ref", "labels", structures, affine)
    files.write_slicer(tmp_path / "a/p1.seg.nrrd", {"LIVER": structures["liver"]}, affine, layers=False)
    result, scores = score(tmp_path, "{case}.nii.gz", "{case}.seg.nrrd")
    said = " ".join(result.output.split())
    assert "no segment Left kidney, tumour" in said, result.output
    assert "'LIVER'" in said
    assert scores is not None
    values = scores.set_index(["structure", "metric"])["value"]
    assert values["liver", "dice"] == 1
    assert values["tumour", "dice"] == 0


Broken = Callable[[Any], None]


def _without(name: str) -> Broken:
    return lambda seg: delattr(seg, name)


def _set(name: str, value: Any) -> Broken:
    return lambda seg: setattr(seg, name, value)


def _encapsulate(seg: Any) -> None:
    from pydicom.encaps import encapsulate

    seg.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    seg.PixelData = encapsulate([b"\0" * 8] * seg.NumberOfFrames)
    seg["PixelData"].is_undefined_length = True
    seg["PixelData"].VR = "OB"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "CT Image Storage"),
        (_set("SegmentationType", "FRACTIONAL"), "threshold"),
        (_set("NumberOfFrames", 100_000_000), "promises 100000000 frames"),
        (_set("PixelData", b"\0" * 8), "holds 8 of the"),
        (_set("PerFrameFunctionalGroupsSequence", []), "describes 0 of its"),
        (_without("PixelData"), "no voxels"),
        (_without("Rows"), "DICOM header cannot be used"),
        (lambda seg: setattr(seg.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.1.99"), "compressed as a whole"),
        (_encapsulate, "JPEG 2000"),
    ],
)
def test_hostile_dicom_is_one_finding(change: Broken, said: str, tmp_path: Path) -> None:
    import pydicom

    affine, structures = files.grid(), files.apart(files.blobs(5, list(LABELS)))
    write(tmp_path / "ref", "labels", structures, affine)
    write(tmp_path / "a", "dicom", structures, affine)
    path = tmp_path / "a/p1.dcm"
    broken = pydicom.dcmread(path)
    change(broken)
    with path.open("wb") as file:
        pydicom.filewriter.dcmwrite(file, broken)
    result, scores = score(tmp_path, "{case}.nii.gz", "{case}.dcm")
    assert result.exit_code == 1, result.output
    assert said in " ".join(result.output.split())
    assert scores is not None
    assert scores["status"].str.startswith("failed:").all()


def test_a_shifted_grid_is_refused(tmp_path: Path) -> None:
    structures = files.apart(files.blobs(5, list(LABELS)))
    write(tmp_path / "ref", "labels", structures, files.grid())
    for form in ("dicom", "slicer cropped"):
        pattern = write(tmp_path / "a", form, structures, files.grid(origin=(-90, 40, 18)))
        result, scores = score(tmp_path, "{case}.nii.gz", pattern)
        assert result.exit_code == 1, result.output
        assert scores is not None
        assert scores["status"].str.startswith("failed:").all(), form


@pytest.mark.parametrize("shift", [-4, 4])
def test_slices_that_the_reference_leaves_out_count(shift: int, tmp_path: Path) -> None:
    """A prediction above or below all slices of the reference is wrong there, as in a file with every slice."""
    affine, structures = files.grid(), files.apart(files.blobs(5, list(LABELS)))
    moved = {name: np.roll(mask, shift, axis=0) for name, mask in structures.items()}
    found = []
    for number, form in enumerate(("labels", "dicom")):
        place = tmp_path / str(number)
        patterns = [write(place / "ref", form, structures, affine), write(place / "a", form, moved, affine)]
        found.append(numbers(score(place, *patterns)[1], "no scores"))
    assert found[0]["liver", "fp"] > 0
    assert found[1] == pytest.approx(found[0], rel=1e-12)


def test_a_library_that_is_missing_is_nobodys_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``dicom`` nothing is scored, and one line says what to install."""
    structures, affine = files.apart(files.blobs(5, list(LABELS))), files.grid()
    patterns = [
        write(tmp_path / "ref", "labels", structures, affine),
        write(tmp_path / "a", "dicom", structures, affine),
    ]
    find = importlib.util.find_spec
    dicom = importlib.import_module("medpodium.scoring.masks.segments.dicom")
    monkeypatch.setattr(dicom, "find_spec", lambda name: None if name == "highdicom" else find(name))
    result, scores = score(tmp_path, *patterns)
    assert result.exit_code == 3, result.output
    assert 'pip install "medpodium[dicom]"' in result.output
    assert scores is None
