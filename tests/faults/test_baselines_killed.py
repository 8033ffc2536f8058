"""Predictions and trainings that are killed (SIGKILL, at ten random file operations): they go on, and repeat nothing.

Each run is a fork of this process, which has PyTorch loaded already, and kills itself where the test says.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a system with fork is not available here"),
]
KILLS = 10
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink"}


def in_a_fork(work: Callable[[], object], kill_at: int | None, root: Path) -> int | None:
    """Run in a fork that kills itself at a file operation below a folder; None if it was, else how many there were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, given: Any) -> None:
            nonlocal count
            if event in OPERATIONS and given and str(given[0]).startswith(str(root)):
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            torch = sys.modules.get("torch")
            if torch is not None:
                torch.set_num_threads(1)  # a pool of threads does not survive a fork
            sys.addaudithook(hook)
            work()
            os.write(writing, str(count).encode())
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        told = stream.read()
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        return None
    assert os.waitstatus_to_exitcode(status) == 0, "see the traceback above"
    return int(told)


def finished(out: Path) -> dict[str, int]:
    """Return the cases that are noted as done, with the time of their file."""
    try:
        cases = json.loads((out / ".medpodium-predictions.json").read_text())["cases"]
    except FileNotFoundError:
        return {}
    return {
        case: (out / f"{case}.nii.gz").stat().st_mtime_ns
        for case, notes in cases.items()
        if all(notes["files"].values())
    }


def killed_ten_times(work: Callable[[], object], out: Path, root: Path) -> None:
    """Kill at ten random operations, then run to the end; what was finished once is never written again."""
    chance = random.Random(7)
    step = 30
    done: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        killed = in_a_fork(work, chance.randint(1, step), root) is None
        kills += killed
        now = finished(out)
        assert {case: now.get(case) for case in done} == done
        done = now
        if not killed:
            break
    assert kills >= KILLS, "too few cases for ten kills"
    assert in_a_fork(work, None, root) is not None
    assert {case: finished(out)[case] for case in done} == done


def test_a_prediction_that_is_killed_goes_on(
    make_model: Any, verb: Any, images: Any, tmp_path: Path, jobs_here: Any, monkeypatch: Any
) -> None:
    made, folder, out = make_model(record=True), tmp_path / "images", tmp_path / "out"
    monkeypatch.setenv("nnUNet_extTrainer", str(made.trainers))
    names = [f"c{number:02}" for number in range(14)]
    for number, name in enumerate(names):
        images.write(folder / f"{name}_0000.nii.gz", images.bands(number))
    out.mkdir()

    def work() -> None:
        verb("baseline", "predict", made.challenge, "--model", made.model, "--images", folder, "--out", out,
             "--device", "cpu")  # fmt: skip

    killed_ten_times(work, out, out)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".medpodium-pred")) == [
        f"{name}.nii.gz" for name in names
    ]
    for number, name in enumerate(names):
        assert np.array_equal(images.read(out / f"{name}.nii.gz"), images.labels(number))


CHALLENGE = """
schema: 1
name: killed
title: A training that is killed
tasks:
  segmentation:
    files: {images: {t1: "{case}_0000.nii.gz"}}
    empty: {both: skip, reference: 0.0, prediction: 0.0}
    structures: {bright: {label: 1}}
    metrics: {dice: {kind: dice}}
recipes:
  mean: {steps: [{mean: structure}, {mean: case}, {mean: metric}, {rank: {ties: min}}]}
ranking: {segmentation: mean}
baselines:
  nnunet: {method: nnU-Net, folds: [0], normalisation: z-score, epochs: 12}
"""
EPOCHS = 12


def planned(workspace: Path, plans: dict[str, Any]) -> None:
    """Write five cases as nnU-Net leaves them when it has planned and preprocessed them."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    name = "Dataset500_Killed"
    raw, ready = workspace / "nnUNet_raw" / name, workspace / "nnUNet_preprocessed" / name
    (raw / "labelsTr").mkdir(parents=True)
    (ready / "nnUNetPlans_3d_fullres").mkdir(parents=True)
    facts = {"channel_names": {"0": "t1"}, "labels": {"background": 0, "bright": 1}, "numTraining": 5,
             "file_ending": ".nii.gz"}  # fmt: skip
    notes = {"challenge": "killed/1", "task": "segmentation", "baseline": "nnunet", "plans": "nnUNetPlans",
             "values": {"0": 0, "1": 1}, "channels": ["t1"], "data": {}}  # fmt: skip
    for folder in (raw, ready):
        (folder / "dataset.json").write_text(json.dumps(facts))
    (ready / "dataset_fingerprint.json").write_text("{}")
    (raw / "medpodium.json").write_text(json.dumps(notes))
    (ready / "nnUNetPlans.json").write_text(json.dumps({**plans, "dataset_name": name}))
    for number in range(5):
        (raw / "labelsTr" / f"case{number}.nii.gz").touch()
        voxels = np.random.default_rng(number).normal(size=(1, 16, 16, 16)).astype(np.float32)
        labels = (voxels > 0.5).astype(np.int8)
        where = {1: np.argwhere(labels)[:200]}
        path = ready / "nnUNetPlans_3d_fullres" / f"case{number}"
        nnUNetDatasetBlosc2.save_case(voxels, labels, {"class_locations": where}, str(path))


def test_a_training_that_is_killed_goes_on(
    make_model: Any, verb: Any, tmp_path: Path, no_jobs: Any, monkeypatch: Any
) -> None:
    """Every epoch is trained once, whatever was killed; only the last one may be, twice: its end writes the weights."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from medpodium.baselines.nnunet.training import train_here

    recursive_find_trainer_class_by_name("nnUNetTrainer")  # imports much, which the forks need not
    plans = json.loads((make_model(own_network=False).model / "plans.json").read_text())
    workspace = tmp_path / "workspace"
    in_a_fork(lambda: planned(workspace, plans), None, workspace)  # the threads of blosc2 do not survive a fork
    (tmp_path / "killed.yaml").write_text(CHALLENGE)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_compile", "f")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(workspace / name))
    notes = tmp_path / "epochs"
    notes.touch()

    def job(kind: str, job: Any, *_: Any, **__: Any) -> Any:
        def emit(event: str, **values: Any) -> None:
            if event == "epoch":
                with notes.open("a") as stream:
                    stream.write(f"{values['done']}\n")

        with redirect_stdout(None):
            return train_here(job, emit)

    no_jobs(job)
    answers = tmp_path / "answer.json"

    def work() -> None:
        found = verb("baseline", "train", tmp_path / "killed.yaml", "--workspace", workspace, "--iterations", 1,
                     "--device", "cpu", "--no-validation")  # fmt: skip
        answers.write_text(json.dumps(found))

    results = workspace / "nnUNet_results"
    chance, kills = random.Random(3), 0
    while kills < KILLS:
        killed = in_a_fork(work, chance.randint(15, 40), results) is None
        kills += killed
        if not killed:
            break
    assert kills == KILLS, f"only {kills} kills before its end"
    if not answers.exists():
        in_a_fork(work, None, results)
    told = [int(line) for line in notes.read_text().split()]
    assert told == sorted(told)
    assert [epoch for epoch in range(1, EPOCHS) if told.count(epoch) > 1] == []
    (fold,) = json.loads(answers.read_text())["folds"]
    assert fold["epochs"] == EPOCHS
    import torch

    (final,) = (results / "Dataset500_Killed").rglob("checkpoint_final.pth")
    assert len(torch.load(final, weights_only=False)["logging"]["train_losses"]) == EPOCHS
    left = {path.name for path in (results / "Dataset500_Killed").rglob("checkpoint_*")}
    assert left <= {"checkpoint_final.pth", "checkpoint_best.pth"}


def test_a_worker_ends_with_who_started_it(tmp_path: Path) -> None:
    """Killed like this, a parent cannot end it: its training would go on beside that of its successor."""
    program = """
import sys, time
from medpodium.baselines.nnunet import worker
worker.work = lambda kind, job: (print("working", flush=True), time.sleep(60))
worker.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"kind": "train", "job": {}}\n')
    process.stdin.flush()
    assert process.stdout.readline() == "working\n"
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(timeout=30) != 0
    assert time.monotonic() - began < 30
    process.stdout.close()
