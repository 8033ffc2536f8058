"""What counts as an empty mask is decided on what a metric looks at: lesions that are left, not specks that are not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main

# Each cell has a number of its own, so that a score says which cell it came from.
CHALLENGE = """
schema: 1
name: lesions
title: Lesions
tasks:
  seg:
    empty: {both: 0.75, reference: 0.25, prediction: 0.5}
    structures: {lesion: {label: 1}}
    metrics:
      f1: &rule {kind: lesion_f1, missing: 0.125, lesions: {min_volume_ml: 0.1}}
      sensitivity: {<<: *rule, kind: lesion_sensitivity}
      quality: {<<: *rule, kind: panoptic_quality}
      found: {<<: *rule, kind: lesion_tp}
      invented: {<<: *rule, kind: lesion_fp, worst: 99}
      lost: {<<: *rule, kind: lesion_fn, worst: 99}
      left_out: {<<: *rule, kind: lesion_f1, empty: {both: skip, reference: skip, prediction: 0.5}}
      dice: {kind: dice, missing: 0.125}
recipes:
  mean: {steps: [{mean: [case, structure, metric]}, rank]}
ranking: {seg: mean}
"""
LESION = ["f1", "sensitivity", "quality", "found", "invented", "lost"]
LARGE, SPECK = (8, 8, 8), (2, 2, 2)  # 0.512 and 0.008 ml at 1 mm


def masks(folder: Path, **sizes: tuple[int, int, int] | None) -> None:
    folder.mkdir(parents=True)
    for case, size in sizes.items():
        labels = np.zeros((12, 24, 24), np.uint8)
        if size is not None:
            start = 14 if size == LARGE and folder.name == "invents" else 2
            labels[2 : 2 + size[0], 2 : 2 + size[1], start : start + size[2]] = 1
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(folder / f"{case}.nii.gz"))


def score(folder: Path, *teams: str) -> pd.DataFrame:
    (folder / "c.yaml").write_text(CHALLENGE, encoding="utf-8")
    given = [part for team in teams for part in ("--predictions", f"{team}={folder / team}")]
    out = folder / "scores.csv"
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref"), *given, "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert out.is_file(), result.output
    return pd.read_csv(out, keep_default_na=False, na_values=[""]).set_index(["submission", "case", "metric"])


def test_cell_is_chosen_after_the_minimal_volume(tmp_path: Path) -> None:
    """A reference of specks is an empty reference for every lesion metric (ivadomed#126)."""
    masks(tmp_path / "ref", speck=SPECK, large=LARGE, empty=None)
    masks(tmp_path / "invents", speck=LARGE, large=LARGE, empty=LARGE)
    masks(tmp_path / "specks", speck=SPECK, large=SPECK, empty=SPECK)
    scores = score(tmp_path, "invents", "specks")
    expected = {
        ("invents", "speck"): (0.25, "empty-reference"),
        ("invents", "empty"): (0.25, "empty-reference"),
        ("specks", "speck"): (0.75, "empty-reference"),
        ("specks", "empty"): (0.75, "empty-reference"),
        ("specks", "large"): (0.5, "penalised"),
    }
    for (team, case), (value, status) in expected.items():
        for metric in LESION:
            row = scores.loc[(team, case, metric)]
            assert (row["value"], row["status"]) == (value, status), (team, case, metric)
    assert scores.loc[("invents", "large", "sensitivity"), "value"] == 0.0  # both hold a lesion, nothing is found
    assert scores.loc[("specks", "speck", "dice"), "value"] == 1.0  # Dice looks at voxels, as ever


def test_missing_prediction_of_an_emptied_reference_is_left_out_with_the_others(tmp_path: Path) -> None:
    """Where a policy leaves out cases without a lesion, a missing prediction does not bring one back."""
    masks(tmp_path / "ref", speck=SPECK, large=LARGE)
    masks(tmp_path / "invents", speck=LARGE, large=LARGE)
    masks(tmp_path / "lazy", large=LARGE)
    scores = score(tmp_path, "invents", "lazy")
    for team in ("invents", "lazy"):
        row = scores.loc[(team, "speck", "left_out")]
        assert math.isnan(row["value"]), team
        assert row["status"] == "skipped", team
    assert scores.loc[("lazy", "speck", "f1"), "value"] == 0.125
