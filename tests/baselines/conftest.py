"""Tiny real data: crops of TotalSegmentator's example CT, as a challenge of two organs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medpodium.baselines.nnunet import jobs

TRAIN = [(20, 8), (24, 16), (20, 24), (28, 12), (16, 20)]
TEST = [(22, 14), (26, 22)]
EDGE = 64
LIVER, SPLEEN = 5, 1

CHALLENGE = """
schema: 1
name: tiny
title: Liver and spleen in crops of one CT
modality: [CT]
tasks:
  segmentation:
    files:
      reference: "{case}.nii.gz"
      prediction: "{case}.nii.gz"
      images: {ct: "{case}_0000.nii.gz"}
    empty: {both: skip, reference: 0.0, prediction: 0.0}
    structures:
      liver: {label: 5}
      spleen: {label: 1}
    metrics:
      dice: {kind: dice, missing: 0.0}
recipes:
  mean:
    steps:
      - mean: structure
      - mean: case
      - mean: metric
      - rank: {ties: min}
ranking: {segmentation: mean}
containers:
  default:
    per: case
    command: [/bin/bash, -c, sh predict.sh]
    mounts:
      - path: /workspace/inputs
        files: [{source: "{case}_0000.nii.gz", target: "{case}_0000.nii.gz", role: ct}]
      - {path: /workspace/outputs, kind: output}
    outputs: [{name: "{case}.nii.gz"}]
    limits: {time: 10 min, memory: 6 GiB, cpus: "2", gpus: "0"}
baselines:
  nnunet: &quick
    method: nnU-Net
    normalisation: ct
    patch_zyx: [16, 32, 32]
    batch_size: 2
    folds: [all]
    mirroring: false
    step_size: 1.0
  stunet:
    <<: *quick
    method: STU-Net-S
    trainer: STUNetTrainer_small
"""


@dataclass(frozen=True)
class Tiny:
    """Folders of the tiny challenge."""

    challenge: Path
    images: Path
    labels: Path
    test_images: Path
    references: Path


@pytest.fixture(scope="session")
def tiny(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Crop the example CT and its segmentation into five training and two test cases."""
    source = shared / "data" / "masks" / "totalsegmentator"
    labels = SimpleITK.ReadImage(str(source / "example_seg.nii.gz"))
    image = SimpleITK.Resample(SimpleITK.ReadImage(str(source / "example_ct.nii.gz")), labels, defaultPixelValue=-1024)
    root = tmp_path_factory.mktemp("tiny")
    (root / "challenge.yaml").write_text(CHALLENGE)
    voxels = SimpleITK.GetArrayFromImage(labels)
    voxels = np.where(np.isin(voxels, (LIVER, SPLEEN)), voxels, 0).astype(np.uint8)
    organs = SimpleITK.GetImageFromArray(voxels)
    organs.CopyInformation(labels)
    for names, offsets in (("Tr", TRAIN), ("Ts", TEST)):
        for kind in ("images", "labels"):
            (root / f"{kind}{names}").mkdir()
        for number, (y, x) in enumerate(offsets):
            box = (slice(x, x + EDGE), slice(y, y + EDGE), slice(None))
            name = f"case{names}{number}"
            SimpleITK.WriteImage(
                SimpleITK.Cast(image[box], SimpleITK.sitkInt16), str(root / f"images{names}" / f"{name}_0000.nii.gz")
            )
            SimpleITK.WriteImage(organs[box], str(root / f"labels{names}" / f"{name}.nii.gz"))
    return Tiny(root / "challenge.yaml", root / "imagesTr", root / "labelsTr", root / "imagesTs", root / "labelsTs")


@pytest.fixture(scope="module")
def jobs_start_at_once(warm: Any) -> Iterator[None]:
    """Have nnU-Net's jobs begin with PyTorch and its other libraries imported: that is most of what a small job does.

    Where tests run side by side, threads that wait for each other would be most of the rest.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        start = warm.python("nnunet")
        patch.setattr(jobs, "python_command", lambda module, unbuffered: [*start, "-u", "-m", module])
        yield


TRAINER = """
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring


class Short(nnUNetTrainerNoMirroring):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 1
"""
"""Somebody's own trainer, as nnU-Net's documentation asks for one."""


@pytest.fixture(scope="session")
def trained_plainly(warm: Any) -> Callable[[dict[str, Any], Path, Path], Path]:
    """Return what trains and validates a fold with nnU-Net's own command and a trainer of nnU-Net's kind."""

    def train(plan: dict[str, Any], workspace: Path, folder: Path) -> Path:
        (folder / "short.py").write_text(TRAINER)
        own = {name: str(workspace / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        own |= {
            "nnUNet_extTrainer": str(folder),
            "nnUNet_n_proc_DA": "0",
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "f",
        }
        words = (
            "nnunetv2.run.run_training",
            plan["dataset"],
            "3d_fullres",
            "0",
            "-tr",
            "Short",
            "-device",
            "cpu",
            "-p",
        )
        command = [*warm.python("nnunet"), "-m", *words, plan["plan"]["plans"]]
        answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        (model,) = (workspace / "nnUNet_results" / plan["dataset"]).glob("Short__*")
        assert json.loads((model / "fold_0" / "validation" / "summary.json").read_text())["metric_per_case"]
        return model

    return train


Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs the command line in this process with ``--json`` and returns its output."""
    from click.testing import CliRunner

    from medpodium.cli import main

    def call(*arguments: object, code: int = 0) -> dict[str, Any]:
        result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
        shown = f"exit {result.exit_code}: {result.output} {result.exception!r}"
        assert result.exit_code == code, shown
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    return call


@pytest.fixture(scope="session")
def tiny_challenge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny challenge, loaded; needs no data."""
    from medpodium.challenges import registry

    path = tmp_path_factory.mktemp("definition") / "challenge.yaml"
    path.write_text(CHALLENGE)
    return registry.load(path)
