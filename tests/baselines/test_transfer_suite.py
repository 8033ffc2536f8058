"""The transfer suite: what is planned, what is resumed, what the analysis gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of STU-Net-S for one channel and 105 classes."""
    import torch

    from medpodium.baselines.stunet.stunet import POOLINGS, SIZES, STUNet

    path = tmp_path_factory.mktemp("weights") / "small.model"
    torch.save({"state_dict": STUNet(1, 105, SIZES["small"], [(2, 2, 2)] * POOLINGS).state_dict()}, path)
    return path


@pytest.fixture
def suite(tmp_path: Path, weights: Path) -> Path:
    """Two raw data sets, one of them of the published suite by name."""
    for name, cases in (("Dataset002_Heart", 20), ("Dataset900_Own", 6)):
        folder = tmp_path / "raw" / name
        (folder / "labelsTr").mkdir(parents=True)
        (folder / "imagesTr").mkdir()
        for number in range(cases):
            (folder / "labelsTr" / f"c{number:02d}.nii.gz").write_bytes(b"")
        facts = {
            "channel_names": {"0": "MR"},
            "labels": {"background": 0, "a": 1},
            "numTraining": cases,
            "file_ending": ".nii.gz",
        }
        (folder / "dataset.json").write_text(json.dumps(facts))
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"datasets:\n- {{raw: {tmp_path}/raw/Dataset002_Heart, name: Task002_Heart}}\n"
        f"- {{raw: {tmp_path}/raw/Dataset900_Own, modality: CT, target_kind: organ}}\n"
        f"sizes: [small, base]\ncheckpoints: {{small: {weights}}}\n"
    )
    return path


def test_a_dry_run_lists_pairs_and_estimates_hours(suite: Path, run: Any) -> None:
    answer = run("baseline", "transfer", suite, "--dry-run")
    trainers = [row["trainer"] for row in answer["runs"]]
    assert trainers == ["STUNetTrainer_small", "STUNetTrainer_small_ft", "STUNetTrainer_base"] * 2
    hours = {row["trainer"]: row["GPU hours"] for row in answer["runs"]}
    # 0.51 TMAC x 2, batch 2, (3 x 250 + 50) passes of 1000 epochs at 40 TFLOP/s
    expected = 0.506 * 2 * 2 * 800 * 1000 / 40 / 3600
    assert hours["STUNetTrainer_base"] == pytest.approx(expected, rel=0.03)  # two classes instead of 105
    assert answer["gpu_hours"] == pytest.approx(sum(row["GPU hours"] for row in answer["runs"]))
    faster = run("baseline", "transfer", suite, "--dry-run", "--teraflops", 80)
    assert faster["gpu_hours"] == pytest.approx(answer["gpu_hours"] / 2, rel=0.05)


def test_runs_are_resumed_and_handed_to_the_analysis(suite: Path, run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """nnU-Net itself is replaced: its part is tested on real data, here it is which jobs are started, and when."""
    from medpodium.baselines.transfer import suite as transfer

    started: list[tuple[str, str]] = []
    dice = {"small": 0.70, "small_ft": 0.80, "base": 0.75}
    stop_at = {"name": "STUNetTrainer_small_ft"}

    def job(kind: str, job: Any, workspace: Any, **_: Any) -> dict[str, Any]:
        from medpodium.baselines.failures import BaselineCode, broken

        if kind == "plan":
            (workspace.preprocessed / job["dataset"]).mkdir(parents=True)
            return {"plans": "P", "configuration": "3d_fullres"}
        started.append((job["dataset"], job["trainer"]))
        if job["trainer"] == stop_at["name"]:
            raise broken(BaselineCode.RUN_FAILED, "train", "no memory left", "see the log")
        assert (job["pretrained"] is not None) == job["trainer"].endswith("_ft")
        value = dice[job["trainer"].removeprefix("STUNetTrainer_")]
        folder = workspace.results / job["dataset"] / f"{job['trainer']}__P__3d_fullres" / "fold_0" / "validation"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": value}}))
        return {"validation_dice": value}

    monkeypatch.setattr(transfer, "run_job", job)
    common = (
        "baseline",
        "transfer",
        suite,
        "--workspace",
        tmp_path / "ws",
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    answer = run(*common, code=1)
    assert len(started) == 6  # a failed run never stops the others
    assert {item["code"] for item in answer["findings"]} >= {"nnunet-failed"}
    status = ("baseline", "transfer", suite, "--workspace", tmp_path / "ws", "--status")
    assert run(*status)["counts"] == {"done": 4, "open": 2}
    started.clear()
    stop_at["name"] = ""
    answer = run(*common)
    assert run(*status)["counts"] == {"done": 6}
    suite.write_text(f"epochs: 7\n{suite.read_text()}")
    stale = run(*status)
    assert stale["counts"] == {"stale": 6}
    assert stale["runs"][0]["told"].startswith("epochs ")
    assert started == [("Dataset002_Heart", "STUNetTrainer_small_ft"), ("Dataset900_Own", "STUNetTrainer_small_ft")]
    (pair,) = answer["pairs"]
    assert (pair["scratch"], pair["fine_tuned"], pair["n"], pair["wins"]) == ("small", "small_ft", 2, 2)
    assert pair["mean_gain"] == pytest.approx(0.10)
    ranking = run(
        "rank", "stunet-transfer", tmp_path / "out" / "scores.csv", "--out", tmp_path / "board.csv", "--bootstrap", 10
    )
    assert ranking
    assert (tmp_path / "board.csv").read_text().splitlines()[1].find("small_ft") >= 0


def test_bad_suites(suite: Path, run: Any, tmp_path: Path) -> None:
    good = suite.read_text()
    for text, cause in (
        (good.replace("Dataset900_Own", "Dataset901_Gone"), "holds no dataset.json"),
        (good.replace("small.model", "none.model"), "no such file"),
        (good.replace("[small", "[tiny"), "should be 'small', 'base', 'large' or 'huge'"),
        ("datasets: []\n", "at least 1 item"),
    ):
        suite.write_text(text)
        (found,) = run("baseline", "transfer", suite, "--dry-run", code=2)["findings"]
        assert cause in found["cause"]


def test_a_checkpoint_that_does_not_fit_stops_the_suite_before_anything_is_trained(
    suite: Path, weights: Path, run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from medpodium.baselines.transfer import suite as transfer

    monkeypatch.setattr(transfer, "run_job", lambda *_, **__: pytest.fail("a job was started"))
    suite.write_text(suite.read_text().replace("checkpoints: {small", "checkpoints: {base"))
    out = ("--workspace", tmp_path / "ws", "--out", tmp_path / "out", "--device", "cpu")
    (found,) = run("baseline", "transfer", suite, *out, code=2)["findings"]
    assert found["code"] == "checkpoint-does-not-fit"
    assert "the checkpoint is STU-Net-S for 1 channel, the network STU-Net-B for 1 channel" in found["cause"]
    assert not (tmp_path / "out").exists()
