"""Models that plain nnU-Net trained, images that are damaged, networks of other people's trainers: nothing is lost.

The network of the model made here names the class of a voxel by its intensity, so what is right is known beforehand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.nnunet


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))


def test_a_model_of_plain_nnunet_is_adopted_and_goes_on_after_bad_images(
    make_model: Any, verb: Any, images: Any, jobs_here: list[str], tmp_path: Path
) -> None:
    """Labels by name, in the challenge's values; one unreadable and one cut-off image cost no other case anything."""
    made, folder, out = make_model(), tmp_path / "images", tmp_path / "out"
    adopted = verb("baseline", "adopt", made.model, "--challenge", made.challenge)
    assert adopted["values"] == {"0": 0, "1": 3, "2": 7}
    assert adopted["channels"] == ["t1"]
    assert adopted["settings"]["trainer"] == "BandsTrainer"
    for number, name in enumerate(("a", "b", "c", "d")):
        images.write(folder / f"{name}_0000.nii.gz", images.bands(number))
    images.cut(folder / "b_0000.nii.gz")
    (folder / "c_0000.nii.gz").write_bytes(b"no image")
    common = ("baseline", "predict", made.challenge, "--model", made.model, "--images", folder, "--out", out,
              "--device", "cpu", "--no-mirroring")  # fmt: skip
    first = verb(*common, code=1)
    assert {item["where"] for item in first["findings"]} == {"b", "c"}, first["findings"]
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {"a.nii.gz", "d.nii.gz"}
    for number, name in ((0, "a"), (3, "d")):
        assert np.array_equal(images.read(out / f"{name}.nii.gz"), images.labels(number))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}

    (folder / "c_0000.nii.gz").unlink()
    images.write(folder / "b_0000.nii.gz", images.bands(1))
    second = verb(*common)
    assert second["kept"] == ["a", "d"]
    assert [row["case"] for row in second["cases"]] == ["b"]
    assert all((out / name).stat().st_mtime_ns == moment for name, moment in before.items())
    assert np.array_equal(images.read(out / "b.nii.gz"), images.labels(1))

    assert jobs_here == ["load", "predict", "predict"]
    jobs_here.clear()
    assert verb(*common)["kept"] == ["a", "b", "d"]
    other = verb(*common, "--step-size", 0.7, code=2)
    assert other["findings"][0]["code"] == "predictions-of-another-model"
    assert "step size 0.5, not 0.7" in other["findings"][0]["cause"]
    images.write(out / "a.nii.gz", images.bands(9))
    changed = verb(*common, code=2)
    assert "was changed since it was predicted" in changed["findings"][0]["cause"]
    assert jobs_here == [], "nothing was left to do, or it was refused"


@pytest.mark.usefixtures("jobs_here")
def test_one_unreadable_image_loses_no_finished_prediction(
    make_model: Any, verb: Any, images: Any, tmp_path: Path
) -> None:
    """The notes are those of a training, as every version wrote them."""
    made, folder, out = make_model(record=True), tmp_path / "images", tmp_path / "out"
    for number, name in enumerate(("a", "z")):
        images.write(folder / f"{name}_0000.nii.gz", images.bands(number))
    (folder / "m_0000.nii.gz").write_bytes(b"no image")
    answer = verb("baseline", "predict", made.challenge, "--model", made.model, "--images", folder, "--out", out,
                  "--device", "cpu", code=None)  # fmt: skip
    assert (answer["exit"], [item["where"] for item in answer["findings"]]) == (1, ["m"])
    for number, name in enumerate(("a", "z")):
        assert np.array_equal(images.read(out / f"{name}.nii.gz"), images.labels(number))


def test_the_packaged_program_carries_the_network_of_a_foreign_trainer_and_skips_a_cut_off_image(
    make_model: Any, verb: Any, images: Any, run_program: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """The trainer's file and the one beside it that it imports go into the image; root may write anywhere."""
    made, context, inputs, out = make_model(record=True), tmp_path / "context", tmp_path / "in", tmp_path / "out"
    verb("baseline", "package", made.model, "--challenge", made.challenge, "--context", context, "--no-build")
    assert (context / "bands_network.py").is_file()
    assert "USER root" in (context / "Dockerfile").read_text().splitlines()
    images.write(inputs / "good_0000.nii.gz", images.bands(5))
    images.write(inputs / "short_0000.nii.gz", images.bands(6))
    images.cut(inputs / "short_0000.nii.gz")
    monkeypatch.setenv("nnUNet_extTrainer", "")
    code, said = run_program(context, inputs, out)
    assert code == 0, said
    assert np.array_equal(images.read(out / "good.nii.gz"), images.labels(5))
    assert not (out / "short.nii.gz").exists()
    assert "case short is not predicted: short_0000.nii.gz ends inside its compressed data" in said
    (inputs / "good_0000.nii.gz").unlink()
    code, _ = run_program(context, inputs, out)
    assert code == 1, "no case was predicted"


def test_the_packaged_program_of_a_plain_network_skips_a_cut_off_image_and_predicts_as_nnunet_does(
    make_model: Any, verb: Any, images: Any, run_program: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """nnU-Net's own predictor, which reads the checkpoint its own way, is the second opinion."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    made, context, inputs, out = (
        make_model(own_network=False, record=True),
        tmp_path / "c",
        tmp_path / "in",
        tmp_path / "o",
    )
    images.write(inputs / "good_0000.nii.gz", images.bands(5))
    images.write(inputs / "short_0000.nii.gz", images.bands(6))
    images.cut(inputs / "short_0000.nii.gz")
    verb("baseline", "package", made.model, "--challenge", made.challenge, "--context", context, "--no-build",
         "--user", "1000:1000")  # fmt: skip
    assert "USER 1000:1000" in (context / "Dockerfile").read_text().splitlines()
    code, _ = run_program(context, inputs, out)
    assert code == 0
    assert [path.name for path in out.iterdir()] == ["good.nii.gz"]
    theirs = nnUNetPredictor(tile_step_size=1.0, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.recursive_find_trainer_class_by_name", plain_trainer)
    theirs.initialize_from_trained_model_folder(str(made.model), (0,))
    voxels, facts = images.bands(5)[None].astype(np.float32), {"spacing": [1.0, 1.0, 1.0]}
    expected = theirs.predict_single_npy_array(voxels, facts)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(images.read(out / "good.nii.gz"), np.array([0, 3, 7])[expected])


def plain_trainer(_: str) -> Any:
    """Return nnU-Net's usual trainer at once: its search imports a hundred others."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    return nnUNetTrainer


@pytest.mark.parametrize(
    ("change", "said"),
    [("no file", "no file defines this trainer"), ("other weights", "the weights lack heads.bias")],
)
def test_a_package_that_could_not_run_is_refused_when_it_is_made(
    change: str, said: str, make_model: Any, verb: Any, tmp_path: Path
) -> None:
    import torch

    made = make_model(record=True)
    if change == "no file":
        (made.trainers / "bands_trainer.py").unlink()
    else:
        path = made.model / "fold_0" / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        content["network_weights"].pop("heads.bias")
        torch.save(content, path)
    answer = verb("baseline", "package", made.model, "--challenge", made.challenge, "--context", tmp_path / "context",
                  "--no-build", code=2)  # fmt: skip
    assert answer["findings"][0]["code"] == "package-impossible"
    assert said in answer["findings"][0]["cause"]


def test_labels_that_no_name_tells_are_asked_for(make_model: Any, verb: Any, no_jobs: Any) -> None:
    """By name, by value, or none; labels that the task does not know become background, and that is said."""
    no_jobs(lambda *_, **__: {})
    made = make_model(checkpoint="best", folds=2)
    facts = json.loads((made.model / "dataset.json").read_text())
    facts["labels"] = {"background": 0, "Streifen": 1, "band_bright": 2, "tumour": 3}
    (made.model / "dataset.json").write_text(json.dumps(facts))
    common = ("baseline", "adopt", made.model, "--challenge", made.challenge)
    refused = verb(*common, code=2)["findings"][0]
    assert refused["code"] == "model-label-unmatched"
    assert "grey band" in refused["cause"]
    assert "--label grey band=" in refused["fix"]
    assert not (made.model / "medpodium.json").exists()
    for choice in ("grey band=Streifen", "grey band=1"):
        answer = verb(*common, "--label", choice)
        assert answer["values"] == {"0": 0, "1": 3, "2": 7, "3": 0}
        assert any("tumour" in item["cause"] for item in answer["findings"])
    assert answer["settings"]["checkpoint"] == "best"
    assert answer["settings"]["folds"] == [0, 1]
    assert verb(*common, "--label", "grey band=none")["values"] == {"0": 0, "1": 0, "2": 7, "3": 0}
    assert (
        "is given for both"
        in verb(*common, "--label", "grey band=2", "--label", "bright band=2", code=2)["findings"][0]["cause"]
    )
    assert verb(*common, "--label", "gray=1", code=2)["findings"][0]["fix"] == "structures: bright band, grey band"


def test_a_hostile_checkpoint_of_an_adopted_model_runs_nothing(make_model: Any, verb: Any, tmp_path: Path) -> None:
    import torch

    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    made = make_model(record=True)
    path = made.model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "logging": Hostile()}, path)
    answer = verb("baseline", "package", made.model, "--challenge", made.challenge, "--context", tmp_path / "context",
                  "--no-build", code=2)  # fmt: skip
    assert answer["findings"][0]["code"] == "checkpoint-holds-objects"
    assert not (tmp_path / "owned").exists()
