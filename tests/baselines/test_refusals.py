"""Bad requests: one clear line each, before anything takes long."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (found,) = answer["findings"]
    assert "\n" not in found["cause"] + found["fix"]
    return found


@pytest.mark.parametrize("verb", ["plan", "train", "predict", "package", "transfer"])
def test_without_the_extra_every_verb_says_so(verb: str, run: Any, monkeypatch: Any, tmp_path: Path) -> None:
    from medpodium.baselines import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    arguments = {
        "plan": ("feta", "--images", tmp_path),
        "train": ("feta",),
        "predict": ("feta", "--model", tmp_path, "--images", tmp_path, "--out", tmp_path / "out"),
        "package": (tmp_path, "--challenge", "feta", "--out", tmp_path / "x.tar.gz"),
        "transfer": (tmp_path / "suite.yaml", "--dry-run"),
    }[verb]
    found = only(run("baseline", verb, *arguments, code=3))
    assert found["code"] == "baselines-not-installed"
    assert found["fix"] == "pip install 'medpodium[baselines]'"


@pytest.mark.nnunet
@pytest.mark.usefixtures("nnunet_installed")
class TestWithNnunet:
    """Requests that nnU-Net would fail on late, or silently misread."""

    def test_too_few_cases_for_the_folds(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        for kind, folder in (("images", tiny.images), ("labels", tiny.labels)):
            (tmp_path / kind).mkdir()
            for path in sorted(folder.iterdir())[:3]:
                (tmp_path / kind / path.name).write_bytes(path.read_bytes())
        start = time.process_time()
        where = ("--images", tmp_path / "images", "--labels", tmp_path / "labels", "--workspace", tmp_path / "ws")
        answer = run("baseline", "plan", tiny.challenge, *where, "--folds", "0", code=1)
        assert only(answer)["code"] == "training-cases-too-few"
        assert time.process_time() - start < 30
        assert not (tmp_path / "ws").exists()

    def test_no_labels_at_all(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        (tmp_path / "labels").mkdir()
        where = ("--images", tiny.images, "--labels", tmp_path / "labels", "--workspace", tmp_path / "ws")
        found = only(run("baseline", "plan", tiny.challenge, *where, code=1))
        assert found["code"] == "training-label-missing"
        assert "5 of 5 cases have no label file" in found["cause"]
        assert not (tmp_path / "ws").exists()

    def test_channels_on_different_grids(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        """A second channel that is the first one moved by a voxel has the same shape, and would train nonsense."""
        import SimpleITK

        for path in tiny.images.iterdir():
            image = SimpleITK.ReadImage(str(path))
            (tmp_path / path.name).write_bytes(path.read_bytes())
            if "Tr1" in path.name:
                image.SetOrigin(image.TransformIndexToPhysicalPoint((1, 0, 0)))
            SimpleITK.WriteImage(image, str(tmp_path / path.name.replace("_0000", "_0001")))
        where = ("--images", tmp_path, "--labels", tiny.labels, "--workspace", tmp_path / "ws")
        channels = ("--image-pattern", "ct={case}_0000.nii.gz", "--image-pattern", "late={case}_0001.nii.gz")
        found = only(run("baseline", "plan", tiny.challenge, *where, *channels, code=1))
        assert found["code"] == "training-geometry-mismatch"
        assert found["where"] == "caseTr1: caseTr1_0001.nii.gz"
        assert not (tmp_path / "ws").exists()

    def test_not_planned_and_not_trained(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        answer = run("baseline", "train", tiny.challenge, "--workspace", tmp_path, code=2)
        assert only(answer)["code"] == "baseline-not-planned"
        answer = run("baseline", "predict", tiny.challenge, "--model", tmp_path, "--images", tmp_path, "--out",
                     tmp_path / "o", code=2)  # fmt: skip
        assert only(answer)["code"] == "baseline-not-trained"

    def test_wrong_names(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        where = ("--images", tiny.images, "--labels", tiny.labels, "--workspace", tmp_path)
        found = only(run("baseline", "plan", tiny.challenge, "--baseline", "nnunt", *where, code=2))
        assert found["code"] == "baseline-unknown"
        found = only(run("baseline", "plan", tiny.challenge, "--task", "other", *where, code=2))
        assert found["code"] == "baseline-task-unsuitable"
        found = only(run("baseline", "plan", "liqa/2025", "--baseline", "staging", *where, code=2))
        assert found["code"] == "baseline-unknown"

    def test_a_fine_tuning_trainer_needs_a_checkpoint(self, tmp_path: Path) -> None:
        from medpodium.baselines.nnunet.training import check_start
        from medpodium.findings import UsageError

        with pytest.raises(UsageError, match="STUNetTrainer_base_ft fine-tunes, but no checkpoint is given"):
            check_start("STUNetTrainer_base_ft", None, resume=False)
        with pytest.raises(UsageError, match="no such file"):
            check_start("STUNetTrainer_base_ft", tmp_path / "none.pth", resume=False)
