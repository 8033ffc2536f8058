"""Take models of nnU-Net v1 (``plans.pkl`` and ``*.model``): rewritten as a model folder of nnU-Net v2.

Its U-Net is the one that nnU-Net v2 builds by default, with the weights under other names, and without biases in the
transposed convolutions and heads; STU-Net has the same names in both. Two things differ when such a model predicts:
v1 normalises intensities after resampling, v2 before, and v1 averages probabilities where v2 averages logits.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.baselines.checkpoints import read_content, weights_of
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import write_json
from medpodium.baselines.pickles import read_plain

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMES = {"CT": "CTNormalization", "nonCT": "ZScoreNormalization", "noNorm": "NoNormalization"}
_PREFERRED = ("model_final_checkpoint.model", "model_best.model", "model_latest.model")
_U_NET, _STU_NET = "conv_blocks_context.0.blocks.0.conv.weight", "conv_blocks_context.0.0.conv1.weight"
_SIZE = re.compile(r"STUNetTrainer_(small|base|large|huge)")
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, pickle.UnpicklingError)

Plans = dict[str, Any]


def is_model(folder: Path) -> bool:
    """Whether a folder is a model of nnU-Net v1: it has ``plans.pkl`` and weights, or weights with plans beside."""
    return folder.is_dir() and not (folder / "plans.json").is_file() and bool(_checkpoints(folder))


def _checkpoints(folder: Path) -> dict[str, list[Path]]:
    """Return the files of weights of every fold; those in the folder itself are of fold 0."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.model"), *folder.glob("*/*.model")]):
        parent = path.parent
        if parent != folder and not re.fullmatch(r"fold_\d+|all", parent.name):
            continue
        name = "0" if parent == folder else parent.name.removeprefix("fold_")
        found.setdefault(name, []).append(path)
    return found


def convert(
    folder: Path, out: Path | None, dataset_json: Path | None, folds: Sequence[int | str] | None, *, trust: bool = False
) -> Path:
    """Write a model of nnU-Net v1 as one of v2.

    Parameters
    ----------
    folder : Path
        With ``plans.pkl`` (else the plans in ``*.model.pkl`` are taken) and weights, in itself or in ``fold_*``.
    out : Path
        New folder.
    dataset_json : Path, optional
        With the names of the labels; without one they are called ``label 1``, ``label 2``, ...
    folds : sequence, optional
        Folds to take; all when left out.
    trust : bool
        Unpickle objects in the weights.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    UsageError
        If the network cannot be built by nnU-Net v2, in a line that says why.
    """
    if out is None:
        cause = "is a model of nnU-Net v1, which is rewritten for v2"
        raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, "give --out NEW for the rewritten model")
    if out.exists() and any(out.iterdir()):
        raise refuse(BaselineCode.MODEL_UNKNOWN, out, "the folder is not empty", "choose a new folder")
    there = _checkpoints(folder)
    wanted = [str(fold) for fold in folds] if folds else [name for name in there if name != "all"] or list(there)
    if lacking := [name for name in wanted if name not in there]:
        cause = f"has no weights of fold {', '.join(lacking)}"
        raise refuse(BaselineCode.NOT_TRAINED, folder, cause, f"folds: {', '.join(there)}")
    chosen = {name: _one_of(there[name]) for name in wanted}
    facts, plans = _facts(folder, next(iter(chosen.values())))
    contents = {name: weights_of(read_content(path, trust=trust), path) for name, path in chosen.items()}
    first = next(iter(contents.values()))
    try:
        stage = _stage(facts, plans)
        dataset = _dataset(plans, dataset_json)
        configuration = _configuration(plans, stage, first, folder)
        made = _plans(plans, configuration, stage)
    except _UNREADABLE as error:
        cause = f"its plans lack or hold something else than those of v1.7 ({type(error).__name__}: {error})"
        raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, "give the plans.pkl of this training") from None
    trainer, weights = _network(str(facts.get("name", "")), configuration, dataset, contents, folder)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "plans.json", made)
    write_json(out / "dataset.json", dataset)
    import torch

    axes = (
        None if "nomirror" in str(facts.get("name", "")).casefold() else list(range(len(configuration["patch_size"])))
    )
    for name, own in weights.items():
        (out / f"fold_{name}").mkdir()
        content = {
            "network_weights": own,
            "trainer_name": trainer,
            "init_args": {"configuration": next(iter(made["configurations"])), "fold": name},
            "inference_allowed_mirroring_axes": axes,
        }
        torch.save(content, out / f"fold_{name}" / "checkpoint_final.pth")
    return out


def _one_of(paths: Sequence[Path]) -> Path:
    """Return the weights of a fold: the final ones, else the only ones there are."""
    known = {path.name: path for path in paths}
    found = next((known[name] for name in _PREFERRED if name in known), None)
    if found is None and len(paths) > 1:
        cause = f"holds several weights: {', '.join(known)}"
        raise refuse(BaselineCode.CHECKPOINT, paths[0].parent, cause, f"leave one, or call it {_PREFERRED[0]}")
    return found or paths[0]


def _facts(folder: Path, weights: Path) -> tuple[dict[str, Any], Plans]:
    """Return what is noted beside the weights, and the plans."""
    beside = weights.with_name(weights.name + ".pkl")
    try:
        facts = dict(read_plain(beside)) if beside.is_file() else {}
        plans = read_plain(folder / "plans.pkl") if (folder / "plans.pkl").is_file() else facts["plans"]
        if "plans_per_stage" not in plans:
            raise ValueError("no plans_per_stage")
    except _UNREADABLE as error:
        cause = f"its plans cannot be read ({type(error).__name__}: {error})"
        raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, "put its plans.pkl into the folder") from None
    return facts, plans


def _stage(facts: Mapping[str, Any], plans: Plans) -> int:
    """Return the number of the stage that was trained: as noted beside the weights, else the last one."""
    given = list(facts.get("init") or [])
    noted = given[5] if len(given) > 5 and isinstance(given[5], int) else None
    return max(plans["plans_per_stage"]) if noted is None else int(noted)


def _dataset(plans: Plans, dataset_json: Path | None) -> dict[str, Any]:
    """Return ``dataset.json`` for v2; labels of v1 are numbered from 0 without gaps."""
    if plans.get("regions_class_order") or plans.get("regions"):
        cause = "was trained on regions, which nnU-Net v1 notes in its trainer alone"
        raise refuse(BaselineCode.MODEL_UNKNOWN, "plans.pkl", cause, "train it with nnU-Net v2")
    values = range(1, int(plans["num_classes"]) + 1)
    labels: dict[str, int] = {"background": 0, **{f"label {value}": value for value in values}}
    channels = {
        str(int(key)): str(name) for key, name in sorted(plans["modalities"].items(), key=lambda row: int(row[0]))
    }
    if dataset_json is not None:
        given = json.loads(dataset_json.read_text(encoding="utf-8"))
        own = given["labels"]
        by_value = {int(key): name for key, name in own.items()} if all(key.isdigit() for key in own) else {}
        by_value = by_value or {int(value): name for name, value in own.items() if not isinstance(value, list)}
        labels = {"background": 0, **{str(by_value.get(value, f"label {value}")): value for value in values}}
        channels = {str(key): str(name) for key, name in (given.get("modality") or given["channel_names"]).items()}
    return {"channel_names": channels, "labels": labels, "numTraining": len(plans.get("list_of_npz_files") or []),
            "file_ending": ".nii.gz", "overwrite_image_reader_writer": "SimpleITKIO"}  # fmt: skip


def _configuration(plans: Plans, stage: int, weights: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration of v2 that preprocesses and builds as this stage of v1 does."""
    own = plans["plans_per_stage"][stage]
    schemes = {int(key): str(name) for key, name in plans["normalization_schemes"].items()}
    strange = [name for name in schemes.values() if name not in _SCHEMES]
    masks = {int(key): bool(value) for key, value in plans["use_mask_for_norm"].items()}
    if strange:
        cause = f"normalises as {strange[0]}, which nnU-Net v2 does not have"
        raise refuse(BaselineCode.CONFIGURATION, folder, cause, f"schemes that it has: {', '.join(_SCHEMES)}")
    patch = [int(edge) for edge in own["patch_size"]]
    pools = [[int(step) for step in row] for row in own["pool_op_kernel_sizes"]]
    kernels = [[int(edge) for edge in row] for row in own["conv_kernel_sizes"]]
    dimensions = len(patch)
    stem = next((weights[key] for key in (_U_NET, _STU_NET) if key in weights), None)
    if stem is not None and int(stem.shape[1]) > len(schemes):
        cause = f"its network takes {int(stem.shape[1])} channels, its images have {len(schemes)}: a cascade of v1"
        raise refuse(BaselineCode.CONFIGURATION, folder, cause, "adopt a model of one stage")
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    widths, convolutions, joined = _shape(weights)
    return {
        "data_identifier": "nnUNetPlans_v1",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": int(own["batch_size"]),
        "patch_size": patch,
        "median_image_size_in_voxels": [int(edge) for edge in own["median_patient_size_in_voxels"]],
        "spacing": [float(edge) for edge in own["current_spacing"]][-dimensions:],
        "normalization_schemes": [_SCHEMES[schemes[index]] for index in sorted(schemes)],
        "use_mask_for_norm": [masks[index] for index in sorted(schemes)],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": len(pools) + 1,
                "features_per_stage": widths or [32] * (len(pools) + 1),
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": kernels,
                "strides": [[1] * dimensions, *pools],
                "n_conv_per_stage": convolutions or [2] * (len(pools) + 1),
                "n_conv_per_stage_decoder": joined or [2] * len(pools),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }  # fmt: skip


def _shape(weights: Mapping[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """Return widths and numbers of convolutions of a U-Net's stages, down and up, by its weights."""
    if _U_NET not in weights:
        return [], [], []
    down, up = _convolutions(weights, "conv_blocks_context"), _convolutions(weights, "conv_blocks_localization")
    widths = [int(weights[f"{rows[-1]}.conv.weight"].shape[0]) for rows in down]
    return widths, [len(rows) for rows in down], [len(rows) for rows in up]


def _convolutions(weights: Mapping[str, Any], room: str) -> list[list[str]]:
    """Return, for every stage, the names of its convolutions in order; a stage may be made of two parts."""
    found: dict[int, list[tuple[tuple[int, ...], str]]] = {}
    for key in weights:
        match = re.fullmatch(rf"{room}\.(\d+)((?:\.\d+)?)\.blocks\.(\d+)\.conv\.weight", key)
        if match:
            order = (int(match[2][1:] or 0), int(match[3]))
            found.setdefault(int(match[1]), []).append((order, key.removesuffix(".conv.weight")))
    return [[name for _, name in sorted(found[stage])] for stage in sorted(found)]


def _plans(plans: Plans, configuration: dict[str, Any], stage: int) -> dict[str, Any]:
    """Return ``plans.json``."""
    intensities = (plans.get("dataset_properties") or {}).get("intensityproperties") or {}
    names = {"mean": "mean", "sd": "std", "median": "median", "mn": "min", "mx": "max",
             "percentile_00_5": "percentile_00_5", "percentile_99_5": "percentile_99_5"}  # fmt: skip
    properties = {
        str(int(channel)): {new: float(row[old]) for old, new in names.items() if old in row}
        for channel, row in intensities.items()
    }
    if "CTNormalization" in configuration["normalization_schemes"] and not properties:
        raise KeyError("intensityproperties")
    name = (
        "2d"
        if len(configuration["patch_size"]) == 2
        else "3d_fullres"
        if stage == max(plans["plans_per_stage"])
        else "3d_lowres"
    )
    return {
        "dataset_name": "Dataset999_FirstVersion",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": configuration["spacing"],
        "original_median_shape_after_transp": configuration["median_image_size_in_voxels"],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [int(axis) for axis in plans["transpose_forward"]],
        "transpose_backward": [int(axis) for axis in plans["transpose_backward"]],
        "configurations": {name: configuration},
        "experiment_planner_used": "nnU-Net v1",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": properties,
    }


def _network(
    trainer: str,
    configuration: Mapping[str, Any],
    dataset: Mapping[str, Any],
    contents: Mapping[str, Any],
    folder: Path,
) -> tuple[str, dict[str, Any]]:
    """Return the trainer of v2 whose network this is, and every fold's weights as it names them."""
    first = next(iter(contents.values()))
    if _STU_NET in first:
        size = _SIZE.match(trainer)
        name = size[0] if size else _stunet_by_width(first, folder)
        return name, dict(contents)
    if _U_NET not in first or any(key.startswith("td.") for key in first):
        cause = f"its network ({trainer or 'trainer unknown'}) is neither nnU-Net v1's U-Net nor an STU-Net"
        fix = "make it a baseline of 'kind: command' that calls nnUNet_predict of nnU-Net v1"
        raise refuse(BaselineCode.TRAINER, folder, cause, fix)
    classes = len(dataset["labels"])
    return "nnUNetTrainer", {
        name: renamed(own, configuration["architecture"]["arch_kwargs"], classes, folder)
        for name, own in contents.items()
    }


def _stunet_by_width(weights: Mapping[str, Any], folder: Path) -> str:
    from medpodium.baselines.stunet.operations import SIZES

    width = int(weights[_STU_NET].shape[0])
    found = next((name for name, (base, _) in SIZES.items() if base == width), None)
    if found is None:
        raise refuse(BaselineCode.TRAINER, folder, f"no STU-Net begins with {width} features", "give a published model")
    return f"STUNetTrainer_{found}"


def renamed(
    weights: Mapping[str, Tensor], settings: Mapping[str, Any], classes: int, folder: Path
) -> dict[str, Tensor]:
    """Return the weights of nnU-Net v1's U-Net as those of v2's ``PlainConvUNet``.

    Raises
    ------
    UsageError
        If something is left over, or does not fit.
    """
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    down, up = _convolutions(weights, "conv_blocks_context"), _convolutions(weights, "conv_blocks_localization")
    names: dict[str, str] = {}
    for stage, rows in enumerate(down):
        names |= {f"{row}.": f"encoder.stages.{stage}.0.convs.{index}." for index, row in enumerate(rows)}
    for stage, rows in enumerate(up):
        names |= {f"{row}.": f"decoder.stages.{stage}.convs.{index}." for index, row in enumerate(rows)}
        names[f"tu.{stage}."] = f"decoder.transpconvs.{stage}."
        names[f"seg_outputs.{stage}."] = f"decoder.seg_layers.{stage}."
    network = get_network_from_plans(
        "dynamic_network_architectures.architectures.unet.PlainConvUNet", settings,
        ["conv_op", "norm_op", "dropout_op", "nonlin"], int(weights[_U_NET].shape[1]), classes,
        allow_init=False, deep_supervision=False,
    )  # fmt: skip
    own = dict(network.named_parameters())
    filled = set()
    with torch.no_grad():
        for key, value in weights.items():
            start = next((old for old in names if key.startswith(old)), None)
            new = "" if start is None else names[start] + key.removeprefix(start).replace("instnorm.", "norm.")
            if new not in own or own[new].shape != value.shape:
                shapes = "" if new not in own else f": {tuple(value.shape)}, not {tuple(own[new].shape)}"
                cause = f"the weight {key} does not fit nnU-Net v2's U-Net{shapes}"
                raise refuse(
                    BaselineCode.CHECKPOINT_SIZE, folder, cause, "give plans.pkl and --dataset-json of this model"
                )
            own[new].copy_(value)
            filled.add(new)
        for name, parameter in own.items():
            if name in filled:
                continue
            if not re.fullmatch(r"decoder\.(transpconvs|seg_layers)\.\d+\.bias", name):
                raise refuse(BaselineCode.CHECKPOINT_SIZE, folder, f"the weights lack {name}", "give the whole model")
            parameter.zero_()  # v1 has none
    return dict(network.state_dict())
