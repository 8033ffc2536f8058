"""From a challenge file to a trained nnU-Net baseline and its predictions: one function per verb."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import write_json
from medpodium.baselines.nnunet import training_data
from medpodium.baselines.nnunet.dataset import RECORD, Progress, Written, read_record, write_dataset
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.plans import plan_job
from medpodium.baselines.nnunet.scheme import Regions, make_scheme
from medpodium.baselines.nnunet.training_data import Groups
from medpodium.baselines.nnunet.workspace import (
    Workspace,
    data_digests,
    make_room,
    name_for,
    same_data,
    trained_on,
)
from medpodium.baselines.options import Overrides
from medpodium.baselines.splits import grouped_folds, keep_splits
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
        Table of annotated structures per case, or infer it from what a case holds. Cases that the challenge lists in
        ``labelled_structures`` are partly labelled without it.
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
    replace: bool = False,
    full: bool = False,
    splits: Path | None = None,
    groups: Groups | None = None,
    progress: Progress | None = None,
    on_event: OnEvent | None = None,
) -> Planned:
    """Check, convert, plan and preprocess a baseline's training data.

    Parameters
    ----------
    chosen, folders, workspace
        What is planned, from what, and where.
    number : int, optional
        Of the data set; the one it has or the first free one.
    regions : {"auto", "always", "never"}
        Train unions of labels as regions.
    gpu_memory_gb : float, optional
        That the planner aims at.
    replace : bool
        Set an earlier plan of other cases aside although something was trained on it.
    full : bool
        Unpack every image to check it.
    splits : Path, optional
        Folds to use, as nnU-Net's ``splits_final.json``.
    groups : Groups, optional
        Make folds that keep the cases of a patient (a centre, ...) together.
    progress, on_event : callable, optional
        Told of the conversion and of nnU-Net's work.

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
    cases, findings = training_data.find_cases(chosen.task, layout, folders.images, folders.labels, folders.missing)
    table = folders.partial if isinstance(folders.partial, Path) else None
    partial = training_data.partly_labelled(chosen.task, cases, table)
    infer = folders.partial == "infer"
    scheme = make_scheme(chosen.task, regions=regions, ignore=folders.partial is not None or bool(partial))
    complete = [case for case in cases if case.name not in partial]
    findings += training_data.check_complete(chosen.task, layout, complete, folders.partial is not None)
    findings += training_data.check_folds(len(cases), chosen.baseline.folds)
    findings += training_data.check_geometry(cases, full=full)
    _stop_on_errors(findings)
    findings += training_data.check_normalisation(chosen.challenge, normalisations, cases[0])
    record = {
        "challenge": chosen.challenge.reference,
        "task": chosen.task_name,
        "baseline": chosen.name,
        "definition": chosen.challenge.digest,
    }
    dataset = name_for(workspace, f"{chosen.challenge.name} {chosen.task_name} {chosen.name}", record, number)
    part = workspace.raw / f".{dataset}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        written = write_dataset(
            part, chosen.task, cases, scheme, normalisations, record,
            partial=partial, infer_partial=infer, progress=progress,
        )  # fmt: skip
        findings += written.findings
        _stop_on_errors(findings)
        notes = read_record(part) | {"data": data_digests(part, workspace.raw / f".{dataset}.files.json")}
        other = None
        if number is None and not (workspace.raw / dataset).exists():
            other = same_data(workspace, notes, chosen.baseline.trainer, chosen.baseline.configuration)
        if other is not None:
            dataset, same = other, True
        else:
            same, found = make_room(workspace, dataset, notes["data"], replace=replace)
            findings += found
            known = read_record(workspace.raw / dataset)
            if same and "others" in known:
                notes["others"] = known["others"]
            shutil.rmtree(workspace.raw / dataset, ignore_errors=True)
            (part / RECORD).write_text(json.dumps(notes, indent=2), encoding="utf-8")
            part.rename(workspace.raw / dataset)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    written.folder = workspace.raw / dataset
    names = [case.name for case in cases]
    made = None if groups is None else grouped_folds(sorted(names), groups.of(layout.label, cases, folders.labels))
    trained = bool(trained_on(workspace, dataset))
    keep_splits(workspace.preprocessed, dataset, names, splits, made=made, trained=trained)
    job = plan_job(dataset, chosen.name, chosen.baseline, gpu_memory_gb=gpu_memory_gb, keep=same)
    planned = run_job("plan", job, workspace, on_event=on_event)
    notes |= {
        "dataset": dataset,
        "plans": planned["plans"],
        "settings": settings_of(chosen),
        "images": layout.images,
        "missing_channel": folders.missing,
    }
    whole = notes
    if other is not None:
        whole = read_record(workspace.raw / dataset)
        own = {key: value for key, value in notes.items() if whole.get(key) != value}
        whole["others"] = {**whole.get("others", {}), chosen.name: own}
    write_json(workspace.raw / dataset / RECORD, whole)
    return Planned(dataset, planned, written, findings)


def settings_of(chosen: Chosen) -> dict[str, Any]:
    """Return a baseline's fields that change what is computed, as plain data."""
    return chosen.baseline.model_dump(mode="json", exclude={"published", "notes", "unconfirmed"})


def _default(chosen: Chosen) -> str:
    given = chosen.baseline.normalisation
    if isinstance(given, str):
        return given
    return "ct" if chosen.challenge.modality == ["CT"] else "z-score"


def _stop_on_errors(findings: Sequence[Finding]) -> None:
    if has_errors(findings):
        raise MedpodiumError(*findings)
