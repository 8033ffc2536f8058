"""The whole way on tiny real data: plan, train, predict, score, rank beside two other teams, report; then fine-tune.

Networks trained for a few steps segment nothing well; what is tested is that every step hands over to the next.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import SimpleITK
from scipy import ndimage

pytestmark = [pytest.mark.nnunet, pytest.mark.slow, pytest.mark.usefixtures("nnunet_installed", "jobs_start_at_once")]

QUICK = ("--epochs", 1, "--iterations", 1, "--device", "cpu", "--no-validation")


@pytest.fixture(scope="module")
def trained(tiny: Any, run: Any, trained_plainly: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Plan once; train nnU-Net without this package, adopt it, and train STU-Net-S on the same preprocessed data."""
    workspace, own = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("trainers")
    plan = run(
        "baseline", "plan", tiny.challenge, "--images", tiny.images, "--labels", tiny.labels, "--workspace", workspace
    )
    model = trained_plainly(plan, workspace, own)
    adopted = run("baseline", "adopt", model, "--challenge", tiny.challenge, "--trainer-file", own / "short.py")
    stunet = run("baseline", "train", tiny.challenge, "--workspace", workspace, "--trainer", "STUNetTrainer_small",
                 *QUICK)  # fmt: skip
    return {"workspace": workspace, "plan": plan, "models": {"nnunet": adopted, "stunet": stunet}}


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

    (fold,) = trained["models"]["stunet"]["folds"]
    assert fold["epochs"] == 1
    assert fold["seconds_per_epoch"] > 0
    for name, place in (("nnunet", "fold_0"), ("stunet", "fold_all")):
        checkpoint = Path(trained["models"][name]["model"]) / place / "checkpoint_final.pth"
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
    # a network that was trained for two steps may find nothing of an organ
    assert {row["status"] for row in rows if row["submission"] in ("aurora", "borealis")} == {"ok"}
    assert {row["status"] for row in rows} <= {"ok", "penalised"}
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


def program_here(run: Any, tiny: Any, model: str, context: Path, out: Path) -> Path:
    """Write a build context and point its program at this machine's files instead of the container's mounts."""
    usual = os.umask(0o077)
    try:
        run("baseline", "package", model, "--challenge", tiny.challenge, "--context", context, "--no-build",
            "--base", "local")  # fmt: skip
    finally:
        os.umask(usual)
    # the container runs as another user
    assert all(path.stat().st_mode & 0o004 for path in context.rglob("*"))
    assert (context / "Dockerfile").read_text().splitlines()[1] == "FROM local"
    assert "USER root" in (context / "Dockerfile").read_text()
    settings = json.loads((context / "package.json").read_text())
    assert settings["inputs"] == ["/workspace/inputs/{case}_0000.nii.gz"]
    settings["inputs"] = [f"{tiny.test_images.as_posix()}/{{case}}_0000.nii.gz"]
    settings["outputs"][0]["pattern"] = f"{out.as_posix()}/{{case}}.nii.gz"
    (context / "package.json").write_text(json.dumps(settings))
    return context / "predict.py"


def voxels(path: Path) -> Any:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


@pytest.fixture(scope="module")
def ran(trained: dict[str, Any], tiny: Any, run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The program that goes into the image of the adopted model, run here with the mounts elsewhere, and watched."""
    root = tmp_path_factory.mktemp("program")
    spec = importlib.util.spec_from_file_location("base_image", Path(__file__).with_name("base_image.py"))
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    program = program_here(run, tiny, trained["models"]["nnunet"]["model"], root / "context", root / "out")
    return {"out": root / "out", "read": maker.watch(program, root / "read"), "maker": maker}


def test_the_packaged_program_predicts_the_same(
    ran: dict[str, Any], predictions: dict[str, Path], trained: dict[str, Any], tiny: Any, run: Any, tmp_path: Path
) -> None:
    for path in tiny.references.iterdir():
        assert np.array_equal(voxels(ran["out"] / path.name), voxels(predictions["nnunet"] / path.name))
    # what is never called is not even in the image
    assert not [path for path in ran["read"] if {"_dynamo", "_refs", "seaborn"} & set(path.parts)]
    # a program that cannot build its network and fill it is refused here; so is STU-Net's tried out
    run("baseline", "package", trained["models"]["stunet"]["model"], "--challenge", tiny.challenge,
        "--context", tmp_path / "context", "--no-build")  # fmt: skip


@pytest.fixture
def packaged(
    trained: dict[str, Any], ran: dict[str, Any], tiny: Any, run: Any, docker_engine: Any, require: Any, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """The adopted model as an image and as an archive, on a base image made here; the engine keeps nothing of it."""
    require(sys.platform == "linux", "Linux, whose Python goes into the image,")
    require(shutil.which("docker") is not None, "the docker command line")
    model, base = trained["models"]["nnunet"]["model"], "medpodium-test-baseline-base:latest"
    try:
        ran["maker"].build(base, ran["read"])
        yield run("baseline", "package", model, "--challenge", tiny.challenge, "--team", "packaged", "--base", base,
                  "--network", "none", "--out", tmp_path / "packaged.tar.gz")  # fmt: skip
    finally:
        for name in ("medpodium/packaged", "packaged", "medpodium-test-baseline-base"):
            for image in docker_engine.images.list(name):
                docker_engine.images.remove(image.id, force=True)


def dice(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the Dice values of a score table in which every case has a prediction."""
    found = [row for row in rows if row["metric"] == "dice"]
    assert {row["status"] for row in found} <= {"ok", "penalised"}  # the network may have found nothing of an organ
    return {(row["case"], row["structure"]): float(row["value"]) for row in found}


@pytest.mark.docker
def test_a_model_of_plain_nnunet_is_adopted_packaged_checked_submitted_and_scored_like_a_team(
    packaged: dict[str, Any], predictions: dict[str, Path], tiny: Any, run: Any, docker_engine: Any, tmp_path: Path
) -> None:
    """At home, then the organizer's way, in the sandbox; the scores are those of the same model's predictions here."""
    run("score", tiny.challenge, "--references", tiny.references, f"--predictions=packaged={predictions['nnunet']}",
        "--out", tmp_path / "here.csv")  # fmt: skip
    with (tmp_path / "here.csv").open() as stream:
        expected = dice(csv.DictReader(stream))
    assert len(expected) == 4
    assert any(value > 0 for value in expected.values())

    verdict = run("check", "image", tiny.challenge, packaged["image"], "--team", "packaged",
                  "--cases", tiny.test_images, "--references", tiny.references)  # fmt: skip
    assert verdict["passed"]
    assert [row["status"] for row in verdict["cases"]] == ["ok", "ok"]
    assert dice(verdict["scores"]) == pytest.approx(expected, abs=1e-12)

    # the organizer has the archive only
    docker_engine.images.remove(docker_engine.images.get(packaged["image"]).id, force=True)
    root = tmp_path / "campaign"
    run("init", tiny.challenge, root, "--cases", tiny.test_images, "--references", tiny.references)
    run("submit", root, packaged["archive"], "--team", "packaged")
    runs = run("run", root)["runs"]
    assert sorted((row["case"], row["problem"]) for row in runs) == [("caseTs0", None), ("caseTs1", None)]
    run("score", root)
    scores = dice(pd.read_parquet(root / "scores.parquet").to_dict("records"))
    assert scores == pytest.approx(expected, abs=1e-12)
    assert docker_engine.images.list("medpodium/packaged") == [], "a submission's image is removed when it is done"


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
    run("import", "nnunet", summary, "--submission", "aurora", "--challenge", tiny.challenge,
        "--out", tmp_path / "theirs.csv")  # fmt: skip
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
    run("score", tmp_path / "own.yaml", "--references", raw, f"--predictions=self={raw / 'labelsTr'}",
        "--out", tmp_path / "s.csv")  # fmt: skip
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
    run("baseline", "plan", other, "--baseline", "stunet", "--images", tiny.images, "--labels", labels,
        "--workspace", tmp_path / "ws")  # fmt: skip
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


@pytest.fixture
def suite(trained: dict[str, Any], tmp_path: Path) -> Path:
    """A transfer suite of one raw data set: smaller crops of the same cases, so that validation takes seconds."""
    raw = trained["workspace"] / "nnUNet_raw" / trained["plan"]["dataset"]
    small = tmp_path / "raw" / "Dataset900_Crops"
    for folder in ("imagesTr", "labelsTr"):
        (small / folder).mkdir(parents=True)
        for path in (raw / folder).iterdir():
            crop = SimpleITK.ReadImage(str(path.resolve()))[16:48, 16:48, 8:28]
            SimpleITK.WriteImage(crop, str(small / folder / path.name))
    shutil.copyfile(raw / "dataset.json", small / "dataset.json")
    checkpoint = Path(trained["models"]["stunet"]["model"]) / "fold_all" / "checkpoint_final.pth"
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"datasets: [{{raw: {small}, modality: CT, target_kind: organ}}]\nsizes: [small]\n"
        f"checkpoints: {{small: {checkpoint}}}\nepochs: 1\niterations: 1\npatch_zyx: [16, 32, 32]\n"
    )
    return path


def test_a_transfer_suite_trains_validates_and_is_compared(
    suite: Path, run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Nothing is replaced: nnU-Net trains from scratch and fine-tunes, and validates to its end."""
    from medpodium.baselines.transfer import suite as transfer

    out = tmp_path / "out"
    common = ("baseline", "transfer", suite, "--workspace", tmp_path / "ws", "--out", out, "--device", "cpu")
    answer = run(*common)
    (row,) = pd.read_csv(out / "results.csv").to_dict("records")
    assert (row["Dataset"], row["channels"], row["train"]) == ("Dataset900_Crops", 1, 4)
    for model in ("small", "small_ft"):
        (fold,) = (tmp_path / "ws" / "nnUNet_results").glob(f"*/STUNetTrainer_{model}__*/fold_0")
        (made,) = (fold / "validation").glob("*.nii.gz")
        truth, found = voxels(tmp_path / "raw" / "Dataset900_Crops" / "labelsTr" / made.name), voxels(made)
        parts = [(truth == label, found == label) for label in (1, 2)]
        assert all(one.any() for one, _ in parts)
        expected = np.mean([2 * (one & two).sum() / (one.sum() + two.sum()) for one, two in parts])
        assert row[f"dice_{model}"] == pytest.approx(expected, abs=1e-6)
    (pair,) = answer["pairs"]
    assert (pair["scratch"], pair["fine_tuned"], pair["n"]) == ("small", "small_ft", 1)
    assert pair["mean_gain"] == pytest.approx(row["dice_small_ft"] - row["dice_small"])
    scores = dict(pd.read_csv(out / "scores.csv")[["submission", "value"]].itertuples(index=False))
    assert scores == {"small": row["dice_small"], "small_ft": row["dice_small_ft"]}

    monkeypatch.setattr(transfer, "run_job", lambda *_, **__: pytest.fail("something was trained twice"))
    assert run(*common) == answer


def test_ctrl_c_leaves_no_process_and_resume_goes_on(trained: dict[str, Any], tiny: Any, run: Any) -> None:
    """Pressed when the terminal shows the first epoch's loss; a terminal sends it to the whole session."""
    pty = pytest.importorskip("pty")
    common = ("baseline", "train", tiny.challenge, "--workspace", trained["workspace"], "--folds", 0, "--iterations", 1,
              "--trainer", "STUNetTrainer_small", "--device", "cpu", "--no-validation")  # fmt: skip
    screen, terminal = pty.openpty()
    # more than it can get through: a busy machine may show the first one late
    command = [sys.executable, "-m", "medpodium.cli", *map(str, common), "--epochs", "1000"]
    with subprocess.Popen(command, stderr=terminal, start_new_session=True, env={**os.environ, "TERM": "xterm"}) as one:
        os.close(terminal)
        shown = b""
        while b"loss" not in shown:
            assert select.select([screen], [], [], 180)[0], "no progress"
            shown += os.read(screen, 4096)
        os.killpg(one.pid, signal.SIGINT)
        with contextlib.suppress(OSError):  # the last one has closed the terminal
            while more := os.read(screen, 4096):
                shown += more
        assert one.wait(timeout=60) == 130
    os.close(screen)
    assert b"1/1000" in shown
    assert b"run the same command with --resume to go on" in b" ".join(shown.split())
    assert [other for other in psutil.pids() if session(other) == one.pid] == []
    (fold,) = run(*common, "--epochs", 2, "--resume")["folds"]
    assert fold["resumed_at"] >= 1


def session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def test_a_gpu_that_is_not_there_is_named_before_anything_starts(
    trained: dict[str, Any], suite: Path, tiny: Any, run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    import torch

    from medpodium.baselines.nnunet import flow as nnunet
    from medpodium.baselines.transfer import suite as transfer

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for module in (nnunet, transfer):
        monkeypatch.setattr(module, "run_job", lambda *_, **__: pytest.fail("a job was started"))
    model = trained["models"]["stunet"]["model"]
    for verb in (
        ("train", tiny.challenge, "--workspace", trained["workspace"]),
        ("predict", tiny.challenge, "--model", model, "--images", tiny.test_images, "--out", tmp_path / "out"),
        ("transfer", suite, "--workspace", tmp_path / "ws", "--out", tmp_path / "out"),
    ):
        (found,) = run("baseline", *verb, "--device", "cuda", code=3)["findings"]
        assert found["cause"] == "--device cuda, but PyTorch sees no GPU"
    assert not (tmp_path / "out").exists()
