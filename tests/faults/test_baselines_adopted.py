"""Models of nnU-Net that are more than one network: ensembles, its best configuration, cascades, and models of v1.

nnU-Net's own ensembling and postprocessing, and a U-Net written here from its description, are the second opinions.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))


def twin(model: Path, configuration: str, slopes: Any, offsets: Any, **changes: Any) -> Path:
    """Copy a model as another configuration with other weights; return its folder."""
    import torch

    own = model.with_name(f"BandsTrainer__nnUNetPlans__{configuration}")
    shutil.copytree(model, own)
    for path in own.glob("fold_*/checkpoint_final.pth"):
        content = torch.load(path, weights_only=False)
        slopes = torch.tensor(slopes, dtype=torch.float32)
        content["network_weights"] = {
            "heads.weight": slopes.reshape(len(slopes), -1, 1, 1, 1),
            "heads.bias": torch.tensor(offsets, dtype=torch.float32),
        }
        content["init_args"]["configuration"] = configuration
        torch.save(content, path)
    for folder in (model, own):
        plans = json.loads((folder / "plans.json").read_text())
        usual = plans["configurations"]["3d_fullres"]
        plans["configurations"][configuration] = {**usual, **changes}
        (folder / "plans.json").write_text(json.dumps(plans))
    return own


def test_the_best_configuration_is_taken_with_its_ensemble_and_postprocessing(
    make_model: Any, verb: Any, images: Any, jobs_here: Any, tmp_path: Path
) -> None:
    """The same as nnU-Net's own commands, one after the other; its paths are those of another machine."""
    from nnunetv2.ensembling.ensemble import merge_files
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.postprocessing.remove_connected_components import (
        apply_postprocessing,
        remove_all_but_largest_component_from_segmentation,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    made, folder = make_model(), tmp_path / "images"
    other = twin(made.model, "3d_lowres", [0.0, -4.0, 100.0], [0.0, 6.0, -500.0])
    for number in range(2):
        images.write(folder / f"c{number}_0000.nii.gz", images.bands(number))
    steps = ([remove_all_but_largest_component_from_segmentation] * 2,
             [{"labels_or_regions": [np.int64(1), np.int64(2)]}, {"labels_or_regions": np.int64(2)}])  # fmt: skip
    results = made.model.parent
    noted = results / "ensembles" / "ensemble___a___b___0" / "postprocessing.pkl"
    noted.parent.mkdir(parents=True)
    noted.write_bytes(pickle.dumps(steps))
    models = [{"trainer": "BandsTrainer", "plans_identifier": "nnUNetPlans", "configuration": name}
              for name in ("3d_fullres", "3d_lowres")]  # fmt: skip
    best = {"postprocessing_file": f"/home/other/{results.name}/ensembles/ensemble___a___b___0/postprocessing.pkl",
            "selected_model_or_models": models}  # fmt: skip
    (results / "inference_information.json").write_text(json.dumps({"folds": [0], "best_model_or_ensemble": best}))

    common = ("baseline", "predict", made.challenge, "--images", folder, "--device", "cpu")
    for name, model in (("a", made.model), ("b", other)):
        verb("baseline", "adopt", model, "--challenge", made.challenge)
        verb(*common, "--model", model, "--out", tmp_path / name, "--npz", tmp_path / f"{name}-npz")
    facts = json.loads((made.model / "dataset.json").read_text())
    manager = PlansManager(json.loads((made.model / "plans.json").read_text())).get_label_manager(facts)
    expected = {}
    for name in ("c0", "c1"):
        files = [str(tmp_path / f"{model}-npz" / f"{name}.npz") for model in ("a", "b")]
        merge_files(files, str(tmp_path / name), ".nii.gz", SimpleITKIO(), manager)
        merged = images.read(tmp_path / f"{name}.nii.gz")
        expected[name] = np.array([0, 3, 7])[apply_postprocessing(merged, *steps)]
        assert not np.array_equal(expected[name], np.array([0, 3, 7])[merged])
        assert not np.array_equal(np.array([0, 3, 7])[merged], images.read(tmp_path / "a" / f"{name}.nii.gz"))

    refused = verb("baseline", "adopt", results, "--challenge", made.challenge, code=2)["findings"][0]
    assert "--out NEW" in refused["fix"]
    together = tmp_path / "together"
    adopted = verb("baseline", "adopt", results, "--challenge", made.challenge, "--out", together)
    assert adopted["postprocessing"] == [{"labels": [1, 2]}, {"labels": [2]}]
    assert [row["configuration"] for row in adopted["members"]] == ["3d_fullres", "3d_lowres"]
    verb(*common, "--model", together, "--out", tmp_path / "both")
    for name, voxels in expected.items():
        assert np.array_equal(images.read(tmp_path / "both" / f"{name}.nii.gz"), voxels)
    assert verb(*common, "--model", together, "--out", tmp_path / "both")["kept"] == ["c0", "c1"]

    noted.write_bytes(pickle.dumps(([shutil.rmtree], [{"path": str(folder)}])))
    hostile = verb("baseline", "adopt", results, "--challenge", made.challenge, "--out", tmp_path / "n", code=2)
    assert "the name shutil.rmtree" in hostile["findings"][0]["cause"]
    plain = ("baseline", "adopt", results, "--challenge", made.challenge, "--out", tmp_path / "n")
    assert verb(*plain, "--postprocessing", "none")["postprocessing"] == []


def test_the_second_stage_of_a_cascade_sees_the_labels_of_the_first(
    make_model: Any, verb: Any, images: Any, jobs_here: Any, run_program: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """The second stage ignores the image and swaps the labels of the first; in the packaged program, too."""
    made, folder = make_model(), tmp_path / "images"
    images.write(folder / "c_0000.nii.gz", images.bands(3))
    swapped = [[0.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 9.0, 0.0]]  # class by (image, first label, second label)
    second = twin(made.model, "3d_cascade_fullres", swapped, [0.0, -4.0, -4.0], previous_stage="3d_lowres")
    first = made.model.with_name("BandsTrainer__nnUNetPlans__3d_lowres")
    common = ("baseline", "adopt", second, "--challenge", made.challenge, "--out", tmp_path / "cascade")
    assert "--previous" in verb(*common, code=2)["findings"][0]["fix"]
    made.model.rename(first)
    for model in (first, second):
        plans = json.loads((model / "plans.json").read_text())
        plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"]
        (model / "plans.json").write_text(json.dumps(plans))
    _name(first, "3d_lowres")
    adopted = verb(*common)
    assert adopted["members"][0]["previous"]["configuration"] == "3d_lowres"
    verb("baseline", "predict", made.challenge, "--model", tmp_path / "cascade", "--images", folder, "--out",
         tmp_path / "out", "--device", "cpu")  # fmt: skip
    expected = np.select([images.labels(3) == 3, images.labels(3) == 7], [7, 3])
    assert np.array_equal(images.read(tmp_path / "out" / "c.nii.gz"), expected)

    monkeypatch.setattr("medpodium.baselines.package.build.try_out", lambda *_: None)  # run below
    context = tmp_path / "context"
    verb("baseline", "package", tmp_path / "cascade", "--challenge", made.challenge, "--context", context, "--no-build")
    locked = dict(line.split("==") for line in (context / "requirements.lock").read_text().split())
    assert {"nnunetv2", "numpy", "simpleitk"} <= set(locked)
    assert "torch" not in locked
    code, said = run_program(context, folder, tmp_path / "packaged")
    assert code == 0, said
    assert np.array_equal(images.read(tmp_path / "packaged" / "c.nii.gz"), expected)


def _name(model: Path, configuration: str) -> None:
    import torch

    for path in model.glob("fold_*/checkpoint_final.pth"):
        content = torch.load(path, weights_only=False)
        content["init_args"]["configuration"] = configuration
        torch.save(content, path)


WIDTHS, POOLS = (3, 4, 5), ([1, 2, 2], [2, 2, 2])


def first_version_weights(channels: int = 1, classes: int = 3) -> OrderedDict[str, Any]:
    """Return random weights with the names of nnU-Net v1's ``Generic_UNet``: two convolutions a stage, none with bias
    in transposed convolutions and heads."""
    import torch

    torch.manual_seed(11)
    found: OrderedDict[str, Any] = OrderedDict()

    def block(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.conv.weight"] = torch.randn(outputs, inputs, 3, 3, 3) / 3
        found[f"{name}.conv.bias"] = torch.randn(outputs)
        found[f"{name}.instnorm.weight"] = 1 + torch.rand(outputs)
        found[f"{name}.instnorm.bias"] = torch.randn(outputs)

    for up, (coarse, fine) in enumerate(((5, 4), (4, 3))):
        block(f"conv_blocks_localization.{up}.0.blocks.0", 2 * fine, fine)
        block(f"conv_blocks_localization.{up}.1.blocks.0", fine, fine)
        found[f"tu.{up}.weight"] = torch.randn(coarse, fine, *POOLS[1 - up])
        found[f"seg_outputs.{up}.weight"] = torch.randn(classes, fine, 1, 1, 1)
    for stage, (inputs, outputs) in enumerate(((channels, 3), (3, 4))):
        block(f"conv_blocks_context.{stage}.blocks.0", inputs, outputs)
        block(f"conv_blocks_context.{stage}.blocks.1", outputs, outputs)
    block("conv_blocks_context.2.0.blocks.0", 4, 5)  # the coarsest stage is made of two parts
    block("conv_blocks_context.2.1.blocks.0", 5, 5)
    return found


def first_version_network(weights: Any, image: Any) -> Any:
    """Run the network by hand: convolution, instance normalisation, leaky ReLU of slope 0.01."""
    import torch
    from torch.nn import functional as F  # noqa: N812 - its usual name

    def block(name: str, x: Any, stride: Any = 1) -> Any:
        x = F.conv3d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], stride=stride, padding=1)
        x = F.instance_norm(x, weight=weights[f"{name}.instnorm.weight"], bias=weights[f"{name}.instnorm.bias"])
        return F.leaky_relu(x, 0.01)

    x = block("conv_blocks_context.0.blocks.1", block("conv_blocks_context.0.blocks.0", image))
    y = block("conv_blocks_context.1.blocks.1", block("conv_blocks_context.1.blocks.0", x, POOLS[0]))
    z = block("conv_blocks_context.2.1.blocks.0", block("conv_blocks_context.2.0.blocks.0", y, POOLS[1]))
    for up, skip in enumerate((y, x)):
        z = F.conv_transpose3d(z, weights[f"tu.{up}.weight"], stride=POOLS[1 - up])
        z = torch.cat((z, skip), dim=1)
        for part in (0, 1):
            z = block(f"conv_blocks_localization.{up}.{part}.blocks.0", z)
    return F.conv3d(z, weights["seg_outputs.1.weight"])


def first_version_model(folder: Path, weights: Any, trainer: str = "nnUNetTrainerV2", **changes: Any) -> Path:
    """Write a model as nnU-Net v1 leaves it."""
    import torch

    fold = folder / "fold_0"
    fold.mkdir(parents=True)
    stage = {
        "batch_size": 2, "num_pool_per_axis": [1, 2, 2], "patch_size": np.array([8, 16, 16]),
        "median_patient_size_in_voxels": np.array([12, 14, 16]), "current_spacing": np.array([1.0, 1.0, 1.0]),
        "original_spacing": np.array([1.0, 1.0, 1.0]), "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": [list(row) for row in POOLS], "conv_kernel_sizes": [[3, 3, 3]] * 3,
    }  # fmt: skip
    intensities = {"mean": np.float64(4.0), "sd": np.float64(3.0), "median": 1.0, "mn": 0.0, "mx": 10.0,
                   "percentile_00_5": np.float32(0.0), "percentile_99_5": 10.0}  # fmt: skip
    plans = {
        "num_stages": 1, "num_modalities": 1, "modalities": {0: "T1"}, "num_classes": 2, "base_num_features": 3,
        "normalization_schemes": OrderedDict({0: "nonCT"}), "use_mask_for_norm": OrderedDict({0: False}),
        "dataset_properties": {"intensityproperties": OrderedDict({0: intensities})}, "all_classes": np.array([1, 2]),
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "plans_per_stage": {0: stage},
        "list_of_npz_files": ["a.npz"], "data_identifier": "nnUNetData_plans_v2.1", **changes,
    }  # fmt: skip
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans))
    path = fold / "model_final_checkpoint.model"
    torch.save({"epoch": 1, "state_dict": weights, "optimizer_state_dict": None, "plot_stuff": np.float64(1)}, path)
    init = ("plans.pkl", 0, "out", "data", True, 0, True, False, True)
    Path(f"{path}.pkl").write_bytes(pickle.dumps({"init": init, "name": trainer, "plans": plans}))
    return folder


def test_a_model_of_nnunet_v1_is_rewritten_and_computes_the_same(
    make_model: Any, verb: Any, images: Any, jobs_here: Any, tmp_path: Path
) -> None:
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    weights = first_version_weights()
    challenge = make_model().challenge
    model = first_version_model(tmp_path / "v1", weights, "nnUNetTrainerV2_noMirroring_nomirror")
    (tmp_path / "old.json").write_text(json.dumps(
        {"labels": {"0": "background", "1": "grey band", "2": "bright band"}, "modality": {"0": "T1"}}))  # fmt: skip
    common = ("baseline", "adopt", model, "--challenge", challenge, "--dataset-json", tmp_path / "old.json")
    assert "--out NEW" in verb(*common, code=2)["findings"][0]["fix"]
    adopted = verb(*common, "--out", tmp_path / "v2")
    assert adopted["values"] == {"0": 0, "1": 3, "2": 7}
    made = json.loads((tmp_path / "v2" / "plans.json").read_text())
    (configuration,) = made["configurations"].values()
    assert configuration["normalization_schemes"] == ["ZScoreNormalization"]
    architecture = configuration["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"], 1, 3,
        deep_supervision=False,
    )  # fmt: skip
    content = torch.load(tmp_path / "v2" / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert content["inference_allowed_mirroring_axes"] is None
    network.load_state_dict(content["network_weights"])
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(network.eval()(image), first_version_network(weights, image), rtol=1e-4, atol=1e-4)
    images.write(tmp_path / "images" / "c_0000.nii.gz", images.bands(1))
    verb("baseline", "predict", challenge, "--model", tmp_path / "v2", "--images", tmp_path / "images", "--out",
         tmp_path / "out", "--device", "cpu")  # fmt: skip
    assert set(np.unique(images.read(tmp_path / "out" / "c.nii.gz"))) <= {0, 3, 7}


@pytest.mark.parametrize(
    ("weights", "trainer", "changes", "said"),
    [
        ("cascade", "nnUNetTrainerV2CascadeFullRes", {}, "takes 3 channels, its images have 1: a cascade of v1"),
        ("other", "nnUNetTrainerV2_ResencUNet", {}, "nnUNetTrainerV2_ResencUNet) is neither nnU-Net v1's U-Net nor"),
        ("usual", "nnUNetTrainerV2", {"normalization_schemes": {0: "CT2"}}, "normalises as CT2"),
        ("usual", "nnUNetTrainerV2", {"num_classes": 5}, "the weight seg_outputs.0.weight does not fit"),
        ("hostile", "nnUNetTrainerV2", {}, "the name builtins.eval"),
    ],
)
def test_what_nnunet_v2_cannot_run_of_v1_is_said(
    weights: str, trainer: str, changes: dict[str, Any], said: str, make_model: Any, verb: Any, tmp_path: Path
) -> None:
    import torch

    own = first_version_weights(3 if weights == "cascade" else 1)
    model = first_version_model(
        tmp_path / "v1", {"layer.weight": torch.ones(1)} if weights == "other" else own, trainer, **changes
    )
    if weights == "hostile":
        (model / "plans.pkl").write_bytes(b"cbuiltins\neval\n(S'1'\ntR.")
    answer = verb("baseline", "adopt", model, "--challenge", make_model().challenge, "--out", tmp_path / "v2", code=2)
    assert said in answer["findings"][0]["cause"]


def test_an_stu_net_of_nnunet_v1_keeps_its_weights(make_model: Any, verb: Any, no_jobs: Any, tmp_path: Path) -> None:
    """The published files: weights of any name beside ``plans.pkl``, 1.7.1's names in both versions."""
    import torch

    from medpodium.baselines.stunet.stunet import SIZES, STUNet

    weights = STUNet(1, 3, SIZES["small"], [(2, 2, 2)] * 5).state_dict()
    stage = {
        "batch_size": 2, "patch_size": np.array([32] * 3), "median_patient_size_in_voxels": [64] * 3,
        "current_spacing": [1.5] * 3, "pool_op_kernel_sizes": [[2, 2, 2]] * 5, "conv_kernel_sizes": [[3, 3, 3]] * 6,
    }  # fmt: skip
    model = first_version_model(tmp_path / "v1", weights, "STUNetTrainer_small_ep4k", plans_per_stage={0: stage})
    for path in (model / "fold_0").iterdir():
        path.rename(model / path.name.replace("model_final_checkpoint", "small_ep4k"))
    no_jobs(lambda *_, **__: {})
    adopted = verb("baseline", "adopt", model, "--challenge", make_model().challenge, "--out", tmp_path / "v2",
                   "--label", "grey band=1", "--label", "bright band=label 2")  # fmt: skip
    assert adopted["settings"]["trainer"] == "STUNetTrainer_small"
    content = torch.load(tmp_path / "v2" / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert all(torch.equal(value, weights[key]) for key, value in content["network_weights"].items())
    assert len(content["network_weights"]) == len(weights)
