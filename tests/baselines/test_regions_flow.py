"""With nnU-Net itself, what the plain way leaves out: regions, partial labels, ResEnc, another spacing, fast export."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

pytestmark = [pytest.mark.nnunet, pytest.mark.slow, pytest.mark.usefixtures("nnunet_installed", "jobs_start_at_once")]

SPACING = (5.0, 4.0, 4.0)


@pytest.fixture
def nested(tiny: Any, tmp_path: Path) -> Path:
    """The tiny challenge with both organs as one structure, the liver inside it, and a prediction file for each."""
    text = tiny.challenge.read_text()
    for old, new in (
        ("name: tiny", "name: nested"),
        ("spleen: {label: 1}", "organs: {union: [1, 5]}"),
        ('prediction: "{case}.nii.gz"', 'prediction: "{case}/{structure}.nii.gz"'),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "nested.yaml"
    path.write_text(text)
    return path


def test_nested_regions_from_partial_labels_to_scores(nested: Path, tiny: Any, run: Any, tmp_path: Path) -> None:
    partial = tmp_path / "annotated.csv"
    partial.write_text("case,annotated\ncaseTr0,liver\n")
    workspace = ("--workspace", tmp_path / "ws")
    plan = run("baseline", "plan", nested, "--images", tiny.images, "--labels", tiny.labels, *workspace,
               "--partial", partial, "--planner", "nnUNetPlannerResEncM",
               "--spacing", ",".join(map(str, SPACING)))  # fmt: skip
    assert plan["plan"]["spacing"] == list(SPACING)
    assert plan["plan"]["patch"] == [16, 32, 32]
    (file,) = (tmp_path / "ws" / "nnUNet_preprocessed" / plan["dataset"]).glob("*lans*.json")
    network = json.loads(file.read_text())["configurations"]["3d_fullres"]["architecture"]["network_class_name"]
    assert "ResidualEncoder" in network
    raw = tmp_path / "ws" / "nnUNet_raw" / plan["dataset"]
    written, given = (
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "caseTr0.nii.gz")))
        for folder in (raw / "labelsTr", tiny.labels)
    )
    # the background of a case with partial labels may hide a spleen: 3 is nnU-Net's ignore label
    assert np.array_equal(written, np.array([3, 1, 0, 0, 0, 2])[given])

    model = run("baseline", "train", nested, *workspace, "--epochs", 1, "--iterations", 1, "--device", "cpu",
                "--no-validation")["model"]  # fmt: skip
    made = run("baseline", "predict", nested, "--model", model, "--images", tiny.test_images,
               "--out", tmp_path / "out", "--device", "cpu", "--fast-export")  # fmt: skip
    assert made["settings"]["fast_export"]
    for path in tiny.references.iterdir():
        reference = SimpleITK.ReadImage(str(path))
        assert not np.allclose(reference.GetSpacing()[::-1], SPACING), "probabilities have to be resampled"
        parts = {}
        for name in ("liver", "organs"):
            image = SimpleITK.ReadImage(str(tmp_path / "out" / path.name.partition(".")[0] / f"{name}.nii.gz"))
            assert image.GetSize() == reference.GetSize()
            assert np.allclose(image.GetOrigin(), reference.GetOrigin())
            parts[name] = SimpleITK.GetArrayFromImage(image) > 0
        assert not (parts["liver"] & ~parts["organs"]).any(), "the inner region lies inside the outer one"
    run("score", nested, "--references", tiny.references, f"--predictions=nested={tmp_path / 'out'}",
        "--out", tmp_path / "scores.csv")  # fmt: skip
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["structure"], row["status"]) for row in rows} == {("liver", "ok"), ("organs", "ok")}
