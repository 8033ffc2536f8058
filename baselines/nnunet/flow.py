"""From a challenge file to a trained nnU-Net baseline and its predictions: one function per verb."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet import training_data
from medpodium.baselines.nnunet.dataset import RECORD, Progress, Written, dataset_name, read_record, write_dataset
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.plans import plan_job
from medpodium.baselines.nnunet.prediction import model_record, prediction_cases, to_challenge, trained_folds
from medpodium.baselines.nnunet.scheme import Regions, make_scheme
from medpodium.baselines.nnunet.training import check_start
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.baselines.options import Overrides
from medpodium.challenges.schema.baseline import Baseline
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding, MedpodiumError, has_errors
from medpodium.scoring.kinds.segmentation.tasks import tasks_of


@dataclass(frozen=True)
class Chosen:
    """A baseline of a challenge with the user's overrides, and the task it predicts."""

    challenge: Challenge
    name: str
    baseline: Baseline
    task_name: str
    task: SegmentationTask

    @property
    def normalisations(self) -> dict[str, str]:
        """Normalisation of every channel, in channel order."""
        channels = self.baseline.channels or list(self.task.files.images)
        given = self.baseline.normalisation
        default = "ct" if self.challenge.modality == ["CT"] else "z-score"
        if isinstance(given, dict):
            return {name: given.get(name, default) for name in channels}
        return dict.fromkeys(channels, given or default)


def choose(challenge: Challenge, name: str | None, overrides: Overrides) -> Chosen:
    """Pick a baseline of the challenge file and apply overrides (fields of :class:`Baseline`; None changes nothing).

    Without a name it is the first nnU-Net baseline; a challenge that declares none gets nnU-Net's defaults.

    Raises
    ------
    UsageError
        If the name, the task or an override is wrong.
    """
    known = {key: item for key, item in challenge.baselines.items() if item.kind == "nnunet"}
    if name is None:
        name = next(iter(known), "nnunet")
    elif name not in known and challenge.baselines:
        fix = f"nnU-Net baselines of {challenge.reference}: {', '.join(known) or 'none'}"
        raise refuse(BaselineCode.UNKNOWN_BASELINE, name, "the challenge declares no such baseline", fix)
    start = known.get(name) or Baseline(method="nnU-Net v2")
    given = {key: value for key, value in vars(overrides).items() if value is not None}
    try:
        baseline = Baseline.model_validate({**start.model_dump(exclude_unset=True), **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = f"baseline {name}, {'.'.join(map(str, first['loc'])) or 'options'}"
        raise refuse(BaselineCode.UNKNOWN_BASELINE, where, first["msg"], "correct the option") from None
    suitable = tasks_of(challenge)
    task_name = baseline.task or next(iter(suitable), "")
    if task_name not in suitable:
        fix = f"segmentation tasks: {', '.join(suitable) or 'none'}"
        raise refuse(BaselineCode.NO_TASK, challenge.reference, f"no segmentation task {task_name!r}", fix)
    return Chosen(challenge, name, baseline, task_name, suitable[task_name])


@dataclass(frozen=True)
class Folders:
    """Where the training data are and how they are read.

    Parameters
    ----------
    images, labels : Path
        Folders; may be the same.
    image_patterns, label_pattern : optional
        Instead of the challenge's own.
    missing : {"refuse", "drop", "zero"}
        What becomes of a case without one of the channels.
    partial : Path or "infer", optional
        Table of annotated structures per case, or infer it from what a case holds.
    """

    images: Path
    labels: Path
    image_patterns: Mapping[str, str]
    label_pattern: str | None = None
    missing: training_data.MissingChannel = "refuse"
    partial: Path | str | None = None


@dataclass(frozen=True)
class Planned:
    """Result of planning: nnU-Net's plan in short, and what the conversion did."""

    dataset: str
    plan: dict[str, Any]
    written: Written
    findings: list[Finding]


def plan(
    chosen: Chosen,
    folders: Folders,
    workspace: Workspace,
    *,
    number: int | None = None,
    regions: Regions = "auto",
    gpu_memory_gb: float | None = None,
    progress: Progress | None = None,
    on_event: OnEvent | None = None,
) -> Planned:
    """Check, convert, plan and preprocess a baseline's training data.

    Raises
    ------
    MedpodiumError
        If the data cannot be trained on; every check that needs only headers runs before any conversion.
    """
    extras.require_nnunet()
    layout = training_data.layout_of(
        chosen.task, chosen.baseline.channels, folders.image_patterns, folders.label_pattern
    )
    normalisations = {name: chosen.normalisations.get(name, _default(chosen)) for name in layout.images}
    partial = None
    if isinstance(folders.partial, Path):
        partial = training_data.read_partial(folders.partial, chosen.task)
    infer = folders.partial == "infer"
    scheme = make_scheme(chosen.task, regions=regions, ignore=folders.partial is not None)
    cases, findings = training_data.find_cases(chosen.task, layout, folders.images, folders.labels, folders.missing)
    findings += training_data.check_complete(chosen.task, layout, cases, folders.partial is not None)
    findings += training_data.check_folds(len(cases), chosen.baseline.folds)
    findings += training_data.check_geometry(cases)
    _stop_on_errors(findings)
    findings += training_data.check_normalisation(chosen.challenge, normalisations, cases[0])
    dataset = dataset_name(workspace.raw, f"{chosen.challenge.name} {chosen.task_name} {chosen.name}", number)
    record = {
        "challenge": chosen.challenge.reference,
        "task": chosen.task_name,
        "baseline": chosen.name,
        "definition": chosen.challenge.digest,
    }
    written = write_dataset(
        workspace.raw / dataset, chosen.task, cases, scheme, normalisations, record,
        partial=partial, infer_partial=infer, progress=progress,
    )  # fmt: skip
    findings += written.findings
    _stop_on_errors(findings)
    shutil.rmtree(workspace.preprocessed / dataset, ignore_errors=True)
    job = plan_job(
        dataset,
        chosen.name,
        chosen.baseline,
        gpu_memory_gb=gpu_memory_gb,
        processes=max(1, min(8, (os.cpu_count() or 1) // 2)),
    )
    found = run_job("plan", job, workspace, on_event=on_event)
    notes = read_record(workspace.raw / dataset) | {
        "dataset": dataset,
        "plans": found["plans"],
        "settings": chosen.baseline.model_dump(mode="json", exclude={"published", "notes", "unconfirmed"}),
        "images": layout.images,
        "missing_channel": folders.missing,
    }
    (workspace.raw / dataset / RECORD).write_text(json.dumps(notes, indent=2), encoding="utf-8")
    return Planned(dataset, found, written, findings)


def _default(chosen: Chosen) -> str:
    given = chosen.baseline.normalisation
    if isinstance(given, str):
        return given
    return "ct" if chosen.challenge.modality == ["CT"] else "z-score"


def _stop_on_errors(findings: Sequence[Finding]) -> None:
    if has_errors(findings):
        raise MedpodiumError(*findings)


@dataclass(frozen=True)
class Start:
    """How a training starts: fresh, from a checkpoint, or where it stopped."""

    resume: bool = False
    pretrained: Path | None = None
    stem: str | None = None
    trust: bool = False


def train(
    chosen: Chosen,
    workspace: Workspace,
    fold: int | str,
    *,
    device: str = "auto",
    iterations: int | None = None,
    validate: bool = True,
    start: Start | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Train one fold of a planned baseline.

    Returns
    -------
    dict
        As :func:`medpodium.baselines.nnunet.training.train_here`, and ``model``, the folder to predict with.
    """
    extras.require_nnunet()
    begin = start or Start()
    dataset = workspace.dataset(chosen.challenge.reference, chosen.task_name, chosen.name)
    notes = read_record(dataset)
    check_start(chosen.baseline.trainer, begin.pretrained, begin.resume)
    if "plans" not in notes:
        fix = "run 'medpodium baseline plan' again; it was interrupted"
        raise refuse(BaselineCode.NOT_PLANNED, dataset.name, "converted, but not planned", fix)
    count = len(list((dataset / "labelsTr").iterdir()))
    _stop_on_errors(training_data.check_folds(count, [fold]))
    device = extras.check_device(device)
    job = {
        "dataset": dataset.name,
        "configuration": chosen.baseline.configuration,
        "fold": fold,
        "trainer": chosen.baseline.trainer,
        "plans": notes["plans"],
        "device": device,
        "epochs": chosen.baseline.epochs,
        "iterations": iterations,
        "learning_rate": chosen.baseline.learning_rate,
        "resume": begin.resume,
        "pretrained": None if begin.pretrained is None else str(begin.pretrained.resolve()),
        "stem": begin.stem,
        "trust": begin.trust,
        "validate": validate,
    }
    result = run_job("train", job, workspace, device=device, on_event=on_event)
    model = Path(result["folder"]).parent
    settings = chosen.baseline.model_dump(mode="json", exclude={"published", "notes", "unconfirmed"})
    (model / RECORD).write_text(json.dumps(notes | {"settings": settings}, indent=2), encoding="utf-8")
    return {**result, "model": str(model)}


def predict(
    challenge: Challenge,
    model: Path,
    images: Path,
    out: Path,
    *,
    folds: Sequence[int | str] | None = None,
    device: str = "auto",
    step_size: float | None = None,
    mirroring: bool | None = None,
    fast_export: bool | None = None,
    image_patterns: Mapping[str, str] | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Predict every case of a folder and write the challenge's files; options left out are those of the training.

    Returns
    -------
    dict
        ``cases`` with seconds of preprocessing, network and export, and the settings used.
    """
    extras.require_nnunet()
    notes = model_record(model)
    if notes["challenge"].partition("/")[0] != challenge.name:
        fix = f"give {notes['challenge']}, or another model"
        raise refuse(BaselineCode.NO_TASK, model, f"was trained for {notes['challenge']}, not {challenge.name}", fix)
    task = tasks_of(challenge).get(notes["task"])
    if task is None:
        raise refuse(BaselineCode.NO_TASK, model, f"no segmentation task {notes['task']!r}", "give the same challenge")
    settings = notes["settings"]
    patterns = {**notes["images"], **(image_patterns or {})}
    layout = training_data.layout_of(task, notes["channels"], patterns, None)
    found = training_data.find_images(layout, images)
    device = extras.check_device(device)
    used: dict[str, Any] = {
        "folds": trained_folds(model, folds),
        "device": device,
        "step_size": settings["step_size"] if step_size is None else step_size,
        "mirroring": settings["mirroring"] if mirroring is None else mirroring,
        "fast_export": settings["fast_export"] if fast_export is None else fast_export,
    }
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="medpodium-", dir=out) as scratch:
        zeros = notes.get("missing_channel") == "zero"
        rows = prediction_cases(found, notes["channels"], Path(scratch), zeros=zeros)
        job = {**used, "model": str(model.resolve()), "cases": rows}
        # The model may have been moved out of its workspace; what nnU-Net prints is kept beside it
        here = Workspace(model, model, model / "results")
        result = run_job("predict", job, here, device=device, on_event=on_event)
        for name, _, target in rows:
            to_challenge(task, notes, Path(target + result["ending"]), name, out)
    return {"out": str(out), "settings": used, "cases": result["cases"]}
