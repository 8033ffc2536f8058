"""``medpodium.compat.nnunet`` writes nnU-Net's ``summary.json``, byte for byte."""

from __future__ import annotations

import json
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK

import medpodium
from medpodium.compat.nnunet import compute_metrics_on_folder

REGIONS: list[Any] = [1, 2, 5, (1, 2), (3, 2)]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three cases with a prediction, one without; label 5 is nowhere."""
    for number in range(4):
        rng = np.random.default_rng(number)
        for name, noise in (("refs", 0.0), ("preds", 0.2)):
            mask = np.zeros((6, 8, 9), np.uint8)
            mask[1:4, 2:6, 2:7], mask[4, 1:3], mask[0, 0] = 1, 2, 4
            mask[(rng.random(mask.shape) < noise) & (mask < 3)] = rng.integers(0, 4)
            (tmp_path / name).mkdir(exist_ok=True)
            if name == "refs" or number < 3:
                SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), str(tmp_path / name / f"c{number}.nii.gz"))
    return tmp_path


@pytest.mark.nnunet
@pytest.mark.parametrize("ignore", [None, 4])
def test_summary_is_the_same_file(folders: Path, monkeypatch: pytest.MonkeyPatch, ignore: int | None) -> None:
    pytest.importorskip("nnunetv2")
    from nnunetv2.evaluation import evaluate_predictions as theirs
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    # in this process: its own would each load torch first
    threads = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(theirs, "multiprocessing", threads)
    words = (str(folders / "refs"), str(folders / "preds"))
    results = []
    for name, function, reader in (
        ("theirs", theirs.compute_metrics_on_folder, SimpleITKIO()),
        ("ours", compute_metrics_on_folder, None),
    ):
        out = str(folders / f"{name}.json")
        with pytest.warns(RuntimeWarning, match="empty"):  # label 5 has no Dice anywhere
            results.append(function(*words, out, reader, ".nii.gz", REGIONS, ignore, 2))
    assert (folders / "ours.json").read_bytes() == (folders / "theirs.json").read_bytes()
    np.testing.assert_equal(results[1], results[0])


def test_counts_by_hand(folders: Path) -> None:
    got = compute_metrics_on_folder(str(folders / "refs"), str(folders / "refs"), None, None, ".nii.gz", [1, (1, 2)])
    assert len(got["metric_per_case"]) == 4
    first = got["metric_per_case"][0]["metrics"][1]
    assert first == {"Dice": 1, "IoU": 1, "FP": 0, "TP": 60, "FN": 0, "TN": 372, "n_pred": 60, "n_ref": 60}
    assert got["mean"][1, 2]["n_ref"] == 60 + 2 * 9
    assert got["foreground_mean"]["TP"] == (60 + 78) / 2


def test_lost_predictions_and_other_grids(folders: Path) -> None:
    refs, preds = str(folders / "refs"), str(folders / "preds")
    with pytest.raises(AssertionError, match=r"c3\.nii\.gz"):
        compute_metrics_on_folder(refs, preds, None, None, ".nii.gz", [1], chill=False)
    image = SimpleITK.ReadImage(f"{preds}/c0.nii.gz")
    image.SetOrigin((5, 0, 0))
    SimpleITK.WriteImage(image, f"{preds}/c0.nii.gz")
    with pytest.raises(medpodium.MedpodiumError, match="geometry-origin-differs"):
        compute_metrics_on_folder(refs, preds, None, None, ".nii.gz", [1])
    out = folders / "one.json"
    compute_metrics_on_folder(refs, refs, str(out), None, ".nii.gz", [1])
    assert json.loads(out.read_text(encoding="utf-8"))["mean"]["1"]["Dice"] == 1.0
