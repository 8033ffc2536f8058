"""The whole way on tiny real data: plan, train, predict, score, rank beside two other teams, report; then fine-tune.

Networks trained for a few steps segment nothing well; what is tested is that every step hands over to the next.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

pytestmark = [pytest.mark.nnunet, pytest.mark.slow, pytest.mark.usefixtures("nnunet_installed")]

QUICK = ("--epochs", 1, "--iterations", 2, "--device", "cpu", "--no-validation")


@pytest.fixture(scope="module")
def trained(tiny: Any, run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Plan once; train nnU-Net and STU-Net-S on the same preprocessed data."""
    workspace = tmp_path_factory.mktemp("workspace")
    plan = run(
        "baseline", "plan", tiny.challenge, "--images", tiny.images, "--labels", tiny.labels, "--workspace", workspace
    )
    models = {}
    for name, trainer in (("nnunet", "nnUNetTrainer"), ("stunet", "STUNetTrainer_small")):
        result = run("baseline", "train", tiny.challenge, "--workspace", workspace, "--trainer", trainer, *QUICK)
        models[name] = result
    return {"workspace": workspace, "plan": plan, "models": models}


@pytest.fixture(scope="module")
def predictions(
    trained: dict[str, Any], tiny: Any, run: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Predictions of both baselines and of two other teams: the reference eroded a little and a lot."""
    root = tmp_path_factory.mktemp("predictions")
    for name, result in trained["models"].items():
        export = "--fast-export" if name == "stunet" else "--exact-export"
        made = run("baseline", "predict", tiny.challenge, "--model", result["model"], "--images", tiny.test_images,
                   "--out", root / name, "--device", "cpu", export)  # fmt: skip
        assert made["settings"]["fast_export"] == (name == "stunet")
    for team, times in (("aurora", 1), ("borealis", 3)):
        (root / team).mkdir()
        for path in tiny.references.iterdir():
            image = SimpleITK.ReadImage(str(path))
            voxels = SimpleITK.GetArrayFromImage(image)
            eroded = sum(label * ndimage.binary_erosion(voxels == label, iterations=times) for label in (1, 5))
            result_image = SimpleITK.GetImageFromArray(eroded.astype(np.uint8))
            result_image.CopyInformation(image)
            SimpleITK.WriteImage(result_image, str(root / team / path.name))
    return {path.name: path for path in sorted(root.iterdir())}


def test_the_plan_follows_the_challenge_file(trained: dict[str, Any]) -> None:
    plan = trained["plan"]
    assert plan["plan"]["patch"] == [16, 32, 32]
    assert plan["plan"]["normalisation"] == ["CTNormalization"]
    assert plan["plan"]["batch_size"] == 2
    assert plan["linked"] == 5
    assert plan["structures"] == {"liver": 5, "spleen": 5}
    assert plan["findings"] == []


def test_training_reports_what_it_did(trained: dict[str, Any]) -> None:
    import torch

    for name, result in trained["models"].items():
        (fold,) = result["folds"]
        assert fold["epochs"] == 1
        assert fold["seconds_per_epoch"] > 0
        checkpoint = Path(result["model"]) / "fold_all" / "checkpoint_final.pth"
        weights = torch.load(checkpoint, map_location="cpu", weights_only=False)["network_weights"]
        assert any("conv_blocks_context" in key for key in weights) == (name == "stunet")
        assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def test_a_finished_training_is_not_repeated(trained: dict[str, Any], tiny: Any, run: Any) -> None:
    workspace = ("--workspace", trained["workspace"], "--trainer", "STUNetTrainer_small")
    (fold,) = run("baseline", "train", tiny.challenge, *workspace, *QUICK, "--resume")["folds"]
    assert fold["resumed_at"] == 1
    assert fold["seconds_per_epoch"] is None


def test_scored_ranked_and_reported_beside_two_teams(
    predictions: dict[str, Path], tiny: Any, run: Any, tmp_path: Path
) -> None:
    teams = [f"--predictions={name}={path}" for name, path in predictions.items()]
    run("score", tiny.challenge, "--references", tiny.references, *teams, "--out", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 2 * 2
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["submission"] for row in rows} == {"aurora", "borealis", "nnunet", "stunet"}
    ranking = run(
        "rank", tiny.challenge, tmp_path / "scores.csv", "--out", tmp_path / "leaderboard.csv", "--bootstrap", 20
    )
    assert ranking
    with (tmp_path / "leaderboard.csv").open() as stream:
        order = [row["submission"] for row in csv.DictReader(stream)]
    assert order[:2] == ["aurora", "borealis"]
    run("report", tiny.challenge, tmp_path / "scores.csv", "--out", tmp_path / "report", "--bootstrap", 20)
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "report").glob("*.html")]
    assert any("stunet" in page and "aurora" in page for page in pages)


def test_predictions_keep_the_grid_and_the_challenges_labels(predictions: dict[str, Path], tiny: Any) -> None:
    for name in ("nnunet", "stunet"):
        for path in tiny.references.iterdir():
            reference, made = (SimpleITK.ReadImage(str(file)) for file in (path, predictions[name] / path.name))
            assert made.GetSize() == reference.GetSize()
            assert np.allclose(made.GetOrigin(), reference.GetOrigin())
            assert set(np.unique(SimpleITK.GetArrayFromImage(made))) <= {0, 1, 5}


def test_the_packaged_program_predicts_the_same(
    trained: dict[str, Any], predictions: dict[str, Path], tiny: Any, run: Any, tmp_path: Path
) -> None:
    """The program that goes into the image, run as it is on this machine with the mounts elsewhere."""
    context = tmp_path / "context"
    run("baseline", "package", trained["models"]["nnunet"]["model"], "--challenge", tiny.challenge,
        "--context", context, "--no-build", "--base", "local")  # fmt: skip
    assert (context / "Dockerfile").read_text().splitlines()[1] == "FROM local"
    assert "USER 1000:1000" in (context / "Dockerfile").read_text()
    settings = json.loads((context / "package.json").read_text())
    assert settings["inputs"] == ["/workspace/inputs/{case}_0000.nii.gz"]
    settings["inputs"] = [f"{tiny.test_images.as_posix()}/{{case}}_0000.nii.gz"]
    settings["outputs"][0]["pattern"] = f"{tmp_path.as_posix()}/out/{{case}}.nii.gz"
    (context / "package.json").write_text(json.dumps(settings))
    # nothing of the workspace, of nnU-Net's variables or of medpodium is there in an image
    clean = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet") and key != "PYTHONPATH"}
    program = [sys.executable, str(context / "predict.py")]
    answer = subprocess.run(program, capture_output=True, text=True, env=clean, check=False)
    assert answer.returncode == 0, answer.stderr
    for path in tiny.references.iterdir():
        one, other = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / path.name)))
            for folder in (tmp_path / "out", predictions["nnunet"])
        )
        assert np.array_equal(one, other)


def test_nnunets_own_evaluation_is_read_and_agrees(
    predictions: dict[str, Path], tiny: Any, run: Any, tmp_path: Path
) -> None:
    """nnU-Net's evaluator is an independent implementation of Dice: same files, same numbers."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    cases = []
    for path in sorted(tiny.references.iterdir()):
        row = compute_metrics(str(path), str(predictions["aurora"] / path.name), SimpleITKIO(), [5, 1], None)
        cases.append({**row, "metrics": {str(key): value for key, value in row["metrics"].items()}})
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps({"metric_per_case": cases}, default=float))
    run(
        "import",
        "nnunet",
        summary,
        "--submission",
        "aurora",
        "--challenge",
        tiny.challenge,
        "--out",
        tmp_path / "theirs.csv",
    )
    run("score", tiny.challenge, "--references", tiny.references, f"--predictions=aurora={predictions['aurora']}",
        "--out", tmp_path / "ours.csv")  # fmt: skip
    tables = []
    for name in ("theirs", "ours"):
        with (tmp_path / f"{name}.csv").open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
        tables.append({(row["case"], row["structure"]): float(row["value"]) for row in rows})
    assert tables[0].keys() == tables[1].keys()
    assert len(tables[0]) == 4
    assert all(math.isclose(tables[0][key], tables[1][key], abs_tol=1e-12) for key in tables[0])


def test_a_raw_data_set_is_a_folder_of_references(trained: dict[str, Any], tiny: Any, run: Any, tmp_path: Path) -> None:
    """Labels of the converted data set, renumbered, scored against themselves."""
    raw = trained["workspace"] / "nnUNet_raw" / trained["plan"]["dataset"]
    run("import", "dataset", raw, "--out", tmp_path / "own.yaml")
    run(
        "score",
        tmp_path / "own.yaml",
        "--references",
        raw,
        f"--predictions=self={raw / 'labelsTr'}",
        "--out",
        tmp_path / "s.csv",
    )
    with (tmp_path / "s.csv").open() as stream:
        assert {float(row["value"]) for row in csv.DictReader(stream)} == {1.0}


def test_fine_tuning_with_other_channels_and_classes(
    trained: dict[str, Any], tiny: Any, run: Any, tmp_path: Path
) -> None:
    """Two channels and one class from a checkpoint of one channel and two classes."""
    text = tiny.challenge.read_text()
    text = text.replace("spleen: {label: 1}", "spleen: {label: 1, role: x}").replace("name: tiny", "name: two-channels")
    text = text.replace(
        'images: {ct: "{case}_0000.nii.gz"}', 'images: {ct: "{case}_0000.nii.gz", again: "{case}_0000.nii.gz"}'
    )
    text = text.replace("      liver: {label: 5}\n", "").replace("label: 1,", "label: 5,")
    other = tmp_path / "other.yaml"
    other.write_text(text)
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in tiny.labels.iterdir():
        image = SimpleITK.ReadImage(str(path))
        SimpleITK.WriteImage((image == 5) * 5, str(labels / path.name))
    run(
        "baseline",
        "plan",
        other,
        "--baseline",
        "stunet",
        "--images",
        tiny.images,
        "--labels",
        labels,
        "--workspace",
        tmp_path / "ws",
    )
    checkpoint = Path(trained["models"]["stunet"]["model"]) / "fold_all" / "checkpoint_final.pth"
    common = ("baseline", "train", other, "--baseline", "stunet", "--workspace", tmp_path / "ws", *QUICK,
              "--trainer", "STUNetTrainer_small_ft", "--pretrained", checkpoint)  # fmt: skip
    refused = run(*common, code=2)
    assert refused["findings"][0]["code"] == "checkpoint-stem-undeclared"
    result = run(*common, "--stem", "repeat")
    loaded = result["folds"][0]["loaded"]
    assert len(loaded["stem"]) == 2
    assert len(loaded["heads"]) == 10
    assert loaded["tensors"] > 100
