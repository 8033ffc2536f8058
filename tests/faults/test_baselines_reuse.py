"""Nothing is reused that was computed from something else, and nothing finished is overwritten or deleted.

nnU-Net's own work is replaced: what matters here is which of its jobs are started, and what stays on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]


class FakeNnunet:
    """Stands in for nnU-Net: notes the trainings it is asked for, and leaves what nnU-Net leaves."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Any]] = []
        self.planned = 0
        self.dice = 0.5
        self.stop = False

    def __call__(self, kind: str, job: dict[str, Any], workspace: Any, *, on_event: Any = None, **_: Any) -> Any:
        folder = workspace.preprocessed / job["dataset"]
        if kind == "plan":
            self.planned += 1
            folder.mkdir(parents=True, exist_ok=True)
            plan = {"plans_name": "P", "configurations": {"3d_fullres": {"patch_size": job["patch"]}}}
            (folder / "P.json").write_text(json.dumps(plan))
            return {"plans": "P", "configuration": job["configuration"], "patch": job["patch"]}
        self.trained.append(job)
        fold = workspace.results / job["dataset"] / f"{job['trainer']}__P__3d_fullres" / f"fold_{job['fold']}"
        (fold / "validation").mkdir(parents=True, exist_ok=True)
        if on_event is not None:
            on_event({"event": "epoch", "done": 1, "total": 3, "loss": -0.25, "dice": [0.5], "seconds": 7200.0})
        if self.stop:
            (fold / "checkpoint_latest.pth").write_text("half")
            raise KeyboardInterrupt
        (fold / "checkpoint_final.pth").write_text(f"weights {len(self.trained)}")
        (fold / "validation" / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": self.dice}}))
        keys = ("epochs", "resumed_at", "seconds_per_epoch", "loaded", "training_dice", "gpu_memory_mb")
        return {"folder": str(fold), "validation_dice": self.dice, **dict.fromkeys(keys)}


@pytest.fixture
def nnunet(no_jobs: Any) -> FakeNnunet:
    fake = FakeNnunet()
    no_jobs(fake)
    return fake


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 2, (6, 7, 8)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), useCompression=True)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A transfer suite of one data set, trained for one epoch."""
    raw = tmp_path / "raw" / "Dataset900_Own"
    for number in range(5):
        save(raw / "imagesTr" / f"c{number}_0000.nii.gz", number)
        save(raw / "labelsTr" / f"c{number}.nii.gz", number + 10)
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps({**facts, "numTraining": 5}))
    path = tmp_path / "suite.yaml"
    path.write_text(f"datasets: [{{raw: {raw}, modality: MR, target_kind: organ}}]\nsizes: [small]\nepochs: 1\n")
    return path


def rewrite(path: Path, old: str, new: str) -> Callable[[], None]:
    return lambda: path.write_text(path.read_text().replace(old, new)) and None


CHANGES = {
    "epochs": lambda suite, raw: rewrite(suite, "epochs: 1\n", "epochs: 1000\n"),
    "iterations": lambda suite, raw: rewrite(suite, "epochs: 1\n", "epochs: 1\niterations: 3\n"),
    "patch": lambda suite, raw: rewrite(suite, "epochs: 1\n", "epochs: 1\npatch_zyx: [32, 32, 32]\n"),
    "a label": lambda suite, raw: lambda: save(raw / "labelsTr" / "c1.nii.gz", 99),
    "an image": lambda suite, raw: lambda: save(raw / "imagesTr" / "c1_0000.nii.gz", 99),
    "no notes": lambda suite, raw: (
        lambda: [path.unlink() for path in suite.parent.glob("ws/**/fold_0/medpodium-run.json")]
    ),
}


def transfer_of(suite: Path, folder: Path) -> tuple[Any, ...]:
    """Return the command that trains a suite below a folder."""
    return ("baseline", "transfer", suite, "--workspace", folder / "ws", "--out", folder / "out", "--device", "cpu")


@pytest.mark.parametrize("change", CHANGES)
def test_a_trial_is_not_reported_as_the_result_of_another_suite(
    change: str, suite: Path, nnunet: FakeNnunet, verb: Any, tmp_path: Path
) -> None:
    """A training with other settings or data is refused by name, and set aside on request; then it is done anew."""
    raw = tmp_path / "raw" / "Dataset900_Own"
    common = transfer_of(suite, tmp_path)
    verb(*common)
    assert verb(*common)["models"] == verb(*common)["models"]
    assert len(nnunet.trained) == 1, "the same suite is not trained twice"
    CHANGES[change](suite, raw)()
    nnunet.dice = 0.9
    refused = verb(*common, code=1)
    assert len(nnunet.trained) == 1
    told = " ".join(item["cause"] for item in refused["findings"])
    assert "--retrain" in told
    if change == "epochs":
        assert "epochs 1, not 1000" in told
    again = verb(*common, "--retrain")
    assert len(nnunet.trained) == 2
    assert "0.9" in (tmp_path / "out" / "results.csv").read_text()
    assert not any("--retrain" in item["cause"] for item in again["findings"])
    kept = [path.read_text() for path in (tmp_path / "ws").rglob("checkpoint_final.pth")]
    assert sorted(kept) == ["weights 1", "weights 2"], "the earlier training is still there"


def test_another_checkpoint_under_the_same_name_is_noticed(
    suite: Path, nnunet: FakeNnunet, verb: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from medpodium.baselines.transfer import suite as transfer

    monkeypatch.setattr(transfer, "check_checkpoints", lambda _: None)
    weights = tmp_path / "small.model"
    weights.write_bytes(b"one")
    suite.write_text(suite.read_text() + f"checkpoints: {{small: {weights}}}\n")
    common = transfer_of(suite, tmp_path)
    verb(*common)
    assert [job["pretrained"] is not None for job in nnunet.trained] == [False, True]
    weights.write_bytes(b"two")
    refused = verb(*common, code=1)
    (found,) = [item for item in refused["findings"] if item["severity"] == "error"]
    assert "STUNetTrainer_small_ft" in found["cause"]
    assert len(nnunet.trained) == 2, "the training from scratch stays valid, the other is refused"


def test_a_cut_off_training_image_stops_its_data_set(
    suite: Path, nnunet: FakeNnunet, verb: Any, tmp_path: Path
) -> None:
    path = tmp_path / "raw" / "Dataset900_Own" / "imagesTr" / "c3_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-60])
    common = transfer_of(suite, tmp_path)
    refused = verb(*common, code=1)
    assert nnunet.planned == 0
    assert "c3_0000.nii.gz" in refused["findings"][0]["cause"]


@pytest.mark.parametrize(
    "patch", ["[48, 128, 160]", "[40, 224, 192]", "[16, 32, 32]", "[33, 47, 61]", "[128, 128, 128]"]
)
def test_a_dry_run_takes_any_patch(patch: str, suite: Path, verb: Any) -> None:
    """The hours follow from the patch; of patches that five poolings by two divide, from its volume alone."""
    suite.write_text(suite.read_text() + f"patch_zyx: {patch}\n")
    (row,) = verb("baseline", "transfer", suite, "--dry-run")["runs"]
    assert row["GPU hours"] >= 0


CASES = ["c0", "c1", "c2", "c3", "c4", "c5"]


@pytest.fixture
def planned(make_model: Any, nnunet: FakeNnunet, verb: Any, tmp_path: Path) -> tuple[Any, ...]:
    """A planned baseline of six cases; returns what both verbs need."""
    made = make_model()
    for number, case in enumerate(CASES):
        image = SimpleITK.GetImageFromArray(np.full((6, 7, 8), number, np.int16))
        label = SimpleITK.GetImageFromArray(np.resize(np.array([0, 3, 7], np.uint8), (6, 7, 8)))
        for folder, name, content in (("images", f"{case}_0000", image), ("labels", case, label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            SimpleITK.WriteImage(content, str(tmp_path / folder / f"{name}.nii.gz"), useCompression=True)
    plan = ("baseline", "plan", made.challenge, "--workspace", tmp_path / "ws", "--images", tmp_path / "images",
            "--labels", tmp_path / "labels")  # fmt: skip
    dataset = verb(*plan)["dataset"]
    train = ("baseline", "train", made.challenge, "--workspace", tmp_path / "ws", "--device", "cpu")
    return plan, train, dataset


def test_a_finished_training_is_never_overwritten(planned: Any, nnunet: FakeNnunet, verb: Any, tmp_path: Path) -> None:
    _, train, _ = planned
    final = Path(verb(*train)["model"]) / "fold_0" / "checkpoint_final.pth"
    refused = verb(*train, code=2)
    assert refused["findings"][0]["code"] == "baseline-already-trained"
    assert final.read_text() == "weights 1"
    other = verb(*train, "--resume", "--learning-rate", 0.5, code=2)["findings"][0]
    assert "learning rate the default, not 0.5" in other["cause"]
    longer = verb(*train, "--resume", "--epochs", 2000, code=2)["findings"][0]
    assert "epochs the default, not 2000" in longer["cause"]
    assert len(nnunet.trained) == 1
    verb(*train, "--restart", "--learning-rate", 0.5)
    assert final.read_text() == "weights 2"
    assert "weights 1" in [path.read_text() for path in (tmp_path / "ws").rglob("checkpoint_final.pth")]
    # folds are looked at before any is trained
    assert verb(*train, "--folds", "1,0", "--learning-rate", 0.5, code=2)["findings"][0]["where"].endswith("fold_0")
    assert len(nnunet.trained) == 2
    verb(*train, "--folds", "1,0", "--learning-rate", 0.5, "--resume")
    assert [job["fold"] for job in nnunet.trained] == [0, 0, 1, 0]
    assert [job["resume"] for job in nnunet.trained] == [False, False, True, True]


def test_an_interrupted_training_goes_on_only_with_its_own_settings(
    planned: Any, nnunet: FakeNnunet, verb: Any
) -> None:
    _, train, _ = planned
    nnunet.stop = True
    verb(*train, code=130)
    nnunet.stop = False
    refused = verb(*train, "--iterations", 7, code=2)["findings"][0]
    assert refused["code"] == "baseline-trained-otherwise"
    assert "iterations the default, not 7" in refused["cause"]
    verb(*train)
    assert [job["resume"] for job in nnunet.trained] == [False, True]


def test_planning_again_keeps_folds_and_configurations(planned: Any, verb: Any, tmp_path: Path) -> None:
    """As long as the data are the same; others are set aside, and refused where something was trained."""
    plan, train, dataset = planned
    preprocessed = tmp_path / "ws" / "nnUNet_preprocessed" / dataset
    splits = [{"train": CASES[:4], "val": CASES[4:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    (preprocessed / "nnUNetPlans_2d").mkdir()
    verb(*plan)
    assert json.loads((preprocessed / "splits_final.json").read_text()) == splits
    assert (preprocessed / "nnUNetPlans_2d").is_dir()
    verb(*train)
    save_label = SimpleITK.GetImageFromArray(np.resize(np.array([0, 3, 7, 7], np.uint8), (6, 7, 8)))
    SimpleITK.WriteImage(save_label, str(tmp_path / "labels" / "c2.nii.gz"), useCompression=True)
    refused = verb(*plan, code=2)["findings"][0]
    assert (refused["code"], "other labels" in refused["cause"]) == ("data-set-planned-otherwise", True)
    assert (preprocessed / "nnUNetPlans_2d").is_dir()
    verb(*plan, "--replace")
    assert not (preprocessed / "nnUNetPlans_2d").exists()
    assert json.loads((preprocessed / "splits_final.json").read_text()) == splits, "they fit the same cases"
    moved = [
        path.name for path in (tmp_path / "ws").rglob("*") if path.name in ("nnUNetPlans_2d", "checkpoint_final.pth")
    ]
    assert sorted(moved) == ["checkpoint_final.pth", "nnUNetPlans_2d"], "moved, not deleted"


def test_splits_that_do_not_fit_are_refused(planned: Any, verb: Any, tmp_path: Path) -> None:
    plan, _, dataset = planned
    path = tmp_path / "splits.json"
    for fold, said in (
        ({"train": CASES[:5], "val": ["stranger"]}, "names stranger"),
        ({"train": CASES[:5], "val": CASES[4:]}, "trains and validates on c4"),
        ({"train": CASES, "val": []}, "has no validation cases"),
    ):
        path.write_text(json.dumps([fold]))
        assert said in verb(*plan, "--splits", path, code=2)["findings"][0]["cause"]
    good = [{"train": CASES[2:], "val": CASES[:2]}]
    path.write_text(json.dumps(good))
    verb(*plan, "--splits", path)
    kept = tmp_path / "ws" / "nnUNet_preprocessed" / dataset / "splits_final.json"
    assert json.loads(kept.read_text()) == good


@pytest.mark.parametrize("folder", ["nnUNet_preprocessed", "nnUNet_results", "nnUNet_raw"])
def test_a_number_that_another_data_set_holds_is_refused_with_a_free_one(
    folder: str, planned: Any, verb: Any, tmp_path: Path
) -> None:
    """nnU-Net finds a data set by its number alone, in each of its folders."""
    plan, _, dataset = planned
    assert dataset.startswith("Dataset500_")
    (tmp_path / "ws" / folder / "Dataset501_Other").mkdir(parents=True)
    refused = verb(*plan, "--dataset-id", 501, code=2)["findings"][0]
    assert "number 501 is Dataset501_Other" in refused["cause"]
    assert "--dataset-id 502" in refused["fix"]


def test_an_unreadable_case_leaves_the_earlier_conversion_alone(planned: Any, verb: Any, tmp_path: Path) -> None:
    """A cut-off training image is refused before anything is converted, a label that is no label while converting."""
    plan, _, dataset = planned
    raw = tmp_path / "ws" / "nnUNet_raw" / dataset
    before = sorted(path.name for path in raw.rglob("*"))
    image = tmp_path / "images" / "c3_0000.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:-20])
    refused = verb(*plan, code=1)["findings"]
    assert [item["where"] for item in refused] == ["c3: c3_0000.nii.gz"]
    assert refused[0]["code"] == "training-file-unreadable"
    image.write_bytes(whole)
    wrong = SimpleITK.GetImageFromArray(np.full((6, 7, 8), 5, np.uint8))
    SimpleITK.WriteImage(wrong, str(tmp_path / "labels" / "c1.nii.gz"), useCompression=True)
    assert verb(*plan, code=1)["findings"][0]["code"] == "training-label-unknown"
    assert sorted(path.name for path in raw.rglob("*")) == before


def test_damage_inside_a_file_is_found_when_asked_for(planned: Any, verb: Any, tmp_path: Path) -> None:
    plan, _, _ = planned
    path = tmp_path / "images" / "c3_0000.nii.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # of the checksum
    path.write_bytes(bytes(content))
    refused = verb(*plan, "--full-check", code=1)["findings"]
    assert [item["where"] for item in refused] == ["c3: c3_0000.nii.gz"]


def test_a_training_without_a_terminal_tells_each_epoch(planned: Any, verb: Any) -> None:
    _, train, _ = planned
    told = verb(*train)["stderr"]
    assert "fold 0: epoch 1/3, loss -0.250, pseudo Dice 0.500, 7200 s, about 4.0 h to go" in told
