"""A tiny challenge with three cases and one submission, as NIfTI and as the platform's MetaImage."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result

from medpodium.cli import main
from medpodium.scoring import table

RULES = """
schema: 1
name: tiny
title: Tiny <challenge>
summary: Two organs and a lesion.
groups:
  centre: {levels: [north, south]}
tasks:
  organs:
    kind: segmentation
    files: {reference: "{case}.nii.gz", prediction: "{case}{extension}", images: {ct: "{case}_0000.nii.gz"}}
    structures:
      liver: {label: 1}
      right kidney: {label: 2}
      organs: {union: [1, 2]}
      lesion: {label: 3}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice}
      nsd: {kind: nsd, tolerance_mm: 2.0}
      hd95: {kind: hd_percentile, worst: diagonal}
recipes:
  means:
    steps:
      - mean: [case, structure]
      - rank: {within: metric, ties: min}
      - sum: metric
      - rank: {ties: min}
ranking: {organs: means}
"""

CASES = ["case_01", "case_02", "case_03", "case_04", "case_05"]


@dataclass(frozen=True)
class Tiny:
    """Where the files of the tiny challenge are."""

    rules: Path
    references: Path
    predictions: Path
    cases: Path

    def score(self, out: Path, *more: object, predictions: Path | None = None) -> pd.DataFrame:
        """Return what the verb ``score`` says."""
        medpodium(
            "score", self.rules, "--references", self.references, "--cases", self.cases, "--workers", 1,
            "--predictions", f"submission={predictions or self.predictions}", "--out", out, *more, code=None,
        )  # fmt: skip
        return table.read_scores(out)


def medpodium(*arguments: object, code: int | None = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert code is None or result.exit_code == code, result.output
    return result


def identical(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Return whether two tables are the same to the last bit, columns and order included."""
    bits = [[float(value).hex() for value in one["value"]] for one in (left, right)]
    return left.to_csv(index=False) == right.to_csv(index=False) and bits[0] == bits[1]


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Return the command line."""
    return medpodium


@pytest.fixture(scope="session")
def same() -> Callable[[pd.DataFrame, pd.DataFrame], bool]:
    """Return the comparison of two score tables."""
    return identical


def job(folder: Path, case: str, source: Path | None, status: str = "Succeeded", slug: str = "any") -> dict[str, Any]:
    """Return one entry of predictions.json, its output written where the platform puts it."""
    pk = str(uuid.uuid4())
    image = {"slug": "ct", "kind": "Image", "super_kind": "Image", "relative_path": "images/ct"}
    mask = {"slug": slug, "kind": "Segmentation", "super_kind": "Image", "relative_path": f"images/{slug}"}
    if source is not None:
        target = folder / pk / "output" / "images" / slug / f"{uuid.uuid4()}.mha"
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    inputs = [{"file": None, "image": {"name": f"{case}_0000.mha"}, "value": None, "interface": image}]
    outputs = [{"file": None, "image": {"name": "out.mha"}, "value": None, "interface": mask}]
    return {"pk": pk, "status": status, "inputs": inputs, "outputs": outputs}


@pytest.fixture
def jobs(tiny: Tiny, tmp_path: Path) -> Path:
    """Write an input folder of the platform: out of order, case_02 failed, case_04 missing, one foreign image."""
    folder = tmp_path / "input"
    entries = [
        job(folder, "case_05", tiny.predictions / "case_05.mha"),
        job(folder, "case_02", None, status="Failed"),
        job(folder, "case_01", tiny.predictions / "case_01.mha"),
        job(folder, "somebody else", tiny.predictions / "case_01.mha"),
        job(folder, "case_03", tiny.predictions / "case_03.mha"),
    ]
    (folder / "predictions.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.fixture
def partial(tiny: Tiny, tmp_path: Path) -> tuple[Path, Path]:
    """Return what the verb ``score`` is given for the same jobs: the files left, and why one has none."""
    folder = tmp_path / "partial"
    folder.mkdir()
    for case in ("case_01", "case_03", "case_05"):
        (folder / f"{case}.mha").write_bytes((tiny.predictions / f"{case}.mha").read_bytes())
    failed = tmp_path / "failed.csv"
    failed.write_text(
        "submission,case,metric,value,status\nsubmission,case_02,status,,failed:job-failed\n", encoding="utf-8"
    )
    return folder, failed


def make_mask(seed: int, lesion: bool) -> np.ndarray:
    """Return boxes at random places; the lesion may be absent."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((12, 20, 24), np.uint8)
    for label, size in ((1, 8), (2, 5), (3, 3)):
        if label == 3 and not lesion:
            continue
        z, y, x = (int(rng.integers(0, extent - size)) for extent in labels.shape)
        labels[z : z + size, y : y + size, x : x + size] = label
    return labels


def write(labels: np.ndarray, path: Path) -> None:
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((0.8, 0.8, 2.5))
    image.SetOrigin((-10.0, -20.5, 30.25))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Write the tiny challenge: case_02 without a lesion, case_04 without a prediction."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(RULES, encoding="utf-8")
    for number, case in enumerate(CASES):
        reference = make_mask(number, lesion=number != 1)
        write(reference, folder / "references" / f"{case}.nii.gz")
        if case != "case_04":
            prediction = np.roll(reference, 1 + number % 2, axis=number % 3)
            write(prediction, folder / "aurora" / f"{case}.mha")
    rows = ["case,centre", *(f"{case},{'north' if number % 2 else 'south'}" for number, case in enumerate(CASES))]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Tiny(folder / "tiny.yaml", folder / "references", folder / "aurora", folder / "cases.csv")
