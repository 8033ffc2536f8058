"""Trained models of nnU-Net's layout, made by hand: what they predict is known, and nothing has to be trained."""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

CHALLENGE = """
schema: 1
name: bands
title: Two bands of intensity
modality: [MR]
tasks:
  segmentation:
    files:
      reference: "{case}.nii.gz"
      prediction: "{case}.nii.gz"
      images: {t1: "{case}_0000.nii.gz"}
    empty: {both: skip, reference: 0.0, prediction: 0.0}
    structures:
      bright band: {label: 7}
      grey band: {label: 3}
    metrics:
      dice: {kind: dice, missing: 0.0}
recipes:
  mean: {steps: [{mean: structure}, {mean: case}, {mean: metric}, {rank: {ties: min}}]}
ranking: {segmentation: mean}
containers:
  default:
    per: set
    command: [/bin/bash, -c, sh predict.sh]
    mounts:
      - path: /workspace/inputs
        files: [{source: "{case}_0000.nii.gz", target: "{case}_0000.nii.gz", role: t1}]
      - {path: /workspace/outputs, kind: output}
    outputs: [{name: "{case}.nii.gz"}]
    limits: {time: 10 min, memory: 6 GiB, cpus: "2", gpus: "0"}
baselines:
  nnunet: {method: nnU-Net, folds: [0], normalisation: z-score}
"""
"""The labels differ from the model's, and so does their order."""

TRAINER = '''
"""A trainer with a network of its own: the class of a voxel follows from its intensity alone."""

import torch
from bands_network import Bands
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class BandsTrainer(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(plans_manager, configuration_manager, num_input_channels, num_output_channels,
                                   enable_deep_supervision=True):
        return Bands(num_input_channels, num_output_channels)
'''
NETWORK = """
from torch import nn


class Bands(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.heads = nn.Conv3d(channels, classes, 1)

    def forward(self, x):
        return self.heads(x)
"""
LABELS = {0: 0, 1: 3, 10: 7}
"""Label of the challenge for each intensity; far apart, because nnU-Net adds patches up in half precision."""


@dataclass(frozen=True)
class Made:
    """A challenge, a model for it, and the folder of its trainer."""

    challenge: Path
    model: Path
    trainers: Path


def configuration() -> dict[str, Any]:
    """Return a configuration of plans for images of 1 mm that are taken as they are."""
    resample = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    network = {
        "n_stages": 2,
        "features_per_stage": [2, 2],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [16, 16, 16],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resample,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resample, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resample,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }


def plans() -> dict[str, Any]:
    return {
        "dataset_name": "Dataset123_Bands",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [16, 16, 16],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration()},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(("mean", "std", "median"), 1.0)},
    }


def plain_network() -> Any:
    """Return the network that the plans describe, of a fixed seed."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    torch.manual_seed(4)
    return PlainConvUNet(
        1, 2, [2, 2], nn.Conv3d, [[3] * 3] * 2, [[1] * 3, [2] * 3], [1, 1], 3, [1], conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=False,
    )  # fmt: skip


@pytest.fixture
def make_model(tmp_path: Path, nnunet_installed: None) -> Callable[..., Made]:
    """Return a function that writes a model folder as nnU-Net leaves it, of a plain network or a trainer's own."""

    def make(*, own_network: bool = True, record: bool = False, checkpoint: str = "final", folds: int = 1) -> Made:
        import torch

        trainer = "BandsTrainer" if own_network else "nnUNetTrainer"
        model = tmp_path / "results" / "Dataset123_Bands" / f"{trainer}__nnUNetPlans__3d_fullres"
        trainers = tmp_path / "trainers"
        model.mkdir(parents=True)
        trainers.mkdir()
        (trainers / "bands_trainer.py").write_text(TRAINER)
        (trainers / "bands_network.py").write_text(NETWORK)
        (tmp_path / "challenge.yaml").write_text(CHALLENGE)
        (model / "plans.json").write_text(json.dumps(plans()))
        labels = {"background": 0, "Grey_Band": 1, "bright-band": 2}
        facts = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 5, "file_ending": ".nii.gz"}
        (model / "dataset.json").write_text(json.dumps({**facts, "overwrite_image_reader_writer": "SimpleITKIO"}))
        if own_network:
            # the largest of 0, 4x - 2 and 100x - 500 says whether x is 0, 1 or 10
            slopes = torch.tensor([0.0, 4.0, 100.0]).reshape(3, 1, 1, 1, 1)
            weights = {"heads.weight": slopes, "heads.bias": torch.tensor([0.0, -2.0, -500.0])}
        else:
            weights = dict(plain_network().state_dict())
        for fold in range(folds):
            (model / f"fold_{fold}").mkdir()
            content = {
                "network_weights": weights,
                "trainer_name": trainer,
                "init_args": {"configuration": "3d_fullres", "fold": fold},
                "inference_allowed_mirroring_axes": (0, 1, 2),
                "_best_ema": np.float64(0.5),
            }
            torch.save(content, model / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth")
        if record:
            notes = {
                "challenge": "bands", "task": "segmentation", "baseline": "nnunet",
                "values": {"0": 0, "1": 3, "2": 7}, "channels": ["t1"], "images": {"t1": "{case}_0000.nii.gz"},
                "missing_channel": "refuse",
                "settings": {"method": "nnU-Net", "trainer": trainer, "configuration": "3d_fullres", "step_size": 1.0,
                             "mirroring": False, "fast_export": False, "folds": [0]},
            }  # fmt: skip
            (model / "medpodium.json").write_text(json.dumps(notes))
        return Made(tmp_path / "challenge.yaml", model, trainers)

    return make


def bands(seed: int) -> Any:
    """Return random intensities of 0, 1 and 10, shape (z, y, x)."""
    return np.random.default_rng(seed).choice(np.array([0, 1, 10], np.int16), (12, 14, 16))


def labels(seed: int) -> Any:
    """Return the labels that these intensities have in the challenge."""
    return np.vectorize(LABELS.get, otypes=[np.uint8])(bands(seed))


def write_image(path: Path, voxels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), useCompression=True)


def read_image(path: Path) -> Any:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


@pytest.fixture
def images() -> Any:
    """Return the helpers of this file that make and read images."""

    class Images:
        bands = staticmethod(bands)
        labels = staticmethod(labels)
        write = staticmethod(write_image)
        read = staticmethod(read_image)

        @staticmethod
        def cut(path: Path, share: float = 0.6) -> None:
            """Leave only the first part of a file, as an interrupted copy does."""
            content = path.read_bytes()
            path.write_bytes(content[: int(len(content) * share)])

    return Images


@pytest.fixture(scope="session")
def verb() -> Callable[..., dict[str, Any]]:
    """Return a function that runs the command line in this process with ``--json`` and returns its output."""
    from click.testing import CliRunner

    from medpodium.cli import main

    def call(*arguments: object, code: int | None = 0) -> dict[str, Any]:
        result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
        shown = f"exit {result.exit_code}: {result.output} {result.exception!r}"
        assert code is None or result.exit_code == code, shown
        answer: dict[str, Any] = json.loads(result.stdout) if result.stdout.strip() else {}
        return {**answer, "stderr": result.stderr, "exit": result.exit_code}

    return call


@pytest.fixture
def no_jobs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return a function that has another one do nnU-Net's jobs, wherever they are started."""
    import importlib

    def replace(job: Callable[..., Any]) -> None:
        rooms = ("nnunet.flow", "nnunet.folds", "models.predict", "models.adopt", "transfer.suite")
        for name in (*rooms, "nnunet", "transfer"):  # the last two as 0.1.0 called them
            try:
                module = importlib.import_module(f"medpodium.baselines.{name}")
            except ImportError:
                continue
            if hasattr(module, "run_job"):
                monkeypatch.setattr(module, "run_job", job)

    return replace


@pytest.fixture
def jobs_here(no_jobs: Any, tmp_path: Path) -> list[str]:
    """Have nnU-Net's jobs done in this process, which has torch loaded already; return the list of their kinds."""
    from contextlib import redirect_stdout

    try:
        from medpodium.baselines.nnunet import jobs, worker
    except ImportError:  # as 0.1.0 called them
        from medpodium.baselines import jobs, worker  # type: ignore[attr-defined, no-redef]

    kinds: list[str] = []

    def run_job(kind: str, job: Any, workspace: Any, *, on_event: Any = None, **_: Any) -> Any:
        kinds.append(kind)

        def emit(event: str, **values: Any) -> None:
            if on_event is not None:
                on_event({"event": event, **values})

        with pytest.MonkeyPatch.context() as patch, redirect_stdout(None):
            patch.setattr(worker, "emit", emit)
            try:
                return worker.work(kind, job)
            except RuntimeError as error:  # the process would have ended
                raise jobs.broken(jobs.BaselineCode.RUN_FAILED, kind, str(error), "see the log") from None

    no_jobs(run_job)
    return kinds


def _report(folder: Path, challenge: str, rows: list[tuple[Any, ...]], formats: str) -> Path:
    from medpodium.cli import main

    (folder / "challenge.yaml").write_text(challenge, encoding="utf-8")
    columns = ["task", "submission", "case", "structure", "metric", "value", "status"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "scores.csv", index=False)
    words = ["report", str(folder / "challenge.yaml"), str(folder / "scores.csv"), "--out", str(folder / "report")]
    result = CliRunner().invoke(main, [*words, "--formats", formats, "--bootstrap", "0"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "report"


@pytest.fixture(scope="session")
def write_report() -> Callable[..., Path]:
    """Return what writes a report without bootstrap: (folder, challenge file, rows, formats) to its folder."""
    return _report


@pytest.fixture
def run_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return what runs a packaged program in this process, its mounts elsewhere: its exit code and what it said."""

    def run(context: Path, inputs: Path, outputs: Path) -> tuple[int, str]:
        settings = json.loads((context / "package.json").read_text())
        settings["inputs"] = [f"{inputs.as_posix()}/{{case}}_0000.nii.gz"]
        settings["outputs"][0]["pattern"] = f"{outputs.as_posix()}/{{case}}.nii.gz"
        (context / "package.json").write_text(json.dumps(settings))
        # in a process of its own it puts imports off, which other tests in this one need
        lazily = context / "medpodium_parts" / "lazily.py"
        if lazily.exists():
            lazily.write_text("LATER = TRAINER = {}\ndef install(_): pass\ndef before_torch(): pass\n")
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["predict.py"])
        for name in [name for name in sys.modules if name.startswith(("bands", "medpodium_parts"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(os, "environ", {**os.environ})
        code = 0
        try:
            runpy.run_path(str(context / "predict.py"), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            gc.unfreeze()
            gc.enable()
        return code, capsys.readouterr().err

    return run
