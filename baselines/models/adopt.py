"""Take a model that somebody trained with plain nnU-Net v2 as a baseline of a challenge."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.checkpoints import read_content
from medpodium.baselines.failures import BaselineCode, refuse, warning
from medpodium.baselines.fingerprints import write_json
from medpodium.baselines.models.labels import match_labels
from medpodium.baselines.models.record import (
    CHECKPOINTS,
    Checkpoint,
    checkpoint_path,
    trained_folds,
    trainer_folders,
)
from medpodium.baselines.nnunet.dataset import RECORD, place, read_record
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.prediction import external_folders
from medpodium.baselines.nnunet.training_data import layout_of
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.baselines.portable import networks
from medpodium.challenges.naming.names import alike
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding
from medpodium.scoring.kinds.segmentation.tasks import tasks_of


@dataclass(frozen=True)
class Wanted:
    """How a model is taken; everything may be left out.

    Parameters
    ----------
    task : str, optional
        Segmentation task; the challenge's first.
    name : str
        What the baseline is called.
    labels : mapping of str to str
        Structures to the model's labels, where names do not say it.
    channels : mapping of str to str
        The model's channel, by name or number, to the challenge's.
    image_patterns : mapping of str to str
        File patterns of channels that the challenge does not name.
    folds : sequence, optional
        Folds to average; all that are there.
    checkpoint : {"final", "best", "latest"}, optional
        Weights to use; the first of these that the folds have.
    trainer_file : Path, optional
        File that defines a trainer that nnU-Net does not have.
    out : Path, optional
        New folder of links to the model, where the notes go; the model's own folder when left out.
    trust : bool
        Unpickle objects in checkpoints.
    """

    task: str | None = None
    name: str = "adopted"
    labels: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    image_patterns: Mapping[str, str] = field(default_factory=dict)
    folds: Sequence[int | str] | None = None
    checkpoint: Checkpoint | None = None
    trainer_file: Path | None = None
    out: Path | None = None
    trust: bool = False


@dataclass(frozen=True)
class Adopted:
    """The folder to predict with, what was noted, and what should be looked at."""

    model: Path
    record: dict[str, Any]
    findings: list[Finding]


def adopt(challenge: Challenge, model: Path, wanted: Wanted | None = None, on_event: OnEvent | None = None) -> Adopted:
    """Check a model folder of nnU-Net v2, load its networks once, and note what a challenge needs to know of it.

    Parameters
    ----------
    challenge : Challenge
        What it is to predict.
    model : Path
        Folder with ``plans.json``, ``dataset.json`` and ``fold_*``, or one above it that holds a single model.
    wanted : Wanted, optional
        How it is taken.
    on_event : callable, optional
        Told of progress.

    Raises
    ------
    MedpodiumError
        If it is no model, its labels do not match, or its networks cannot be built and loaded.
    """
    extras.require_nnunet()
    how = wanted or Wanted()
    source = find_model(model)
    task_name, task = _task(challenge, how.task)
    known = read_record(source)
    if known and not known.get("adopted") and how.out is None:
        cause = f"was trained by medpodium for {known.get('challenge')}; its notes would be lost"
        raise refuse(BaselineCode.MODEL_UNKNOWN, source, cause, "use it as it is, or give --out NEW")
    if how.out is None and not os.access(source, os.W_OK):
        raise refuse(BaselineCode.MODEL_UNKNOWN, source, "cannot be written to", "give --out NEW for links and notes")
    plans, dataset = _json(source / "plans.json"), _json(source / "dataset.json")
    checkpoint = how.checkpoint or _best_there(source)
    folds = trained_folds(source, how.folds, checkpoint)
    content = read_content(checkpoint_path(source, folds[0], checkpoint), trust=how.trust)
    trainer, configuration = _origin(content, source)
    _check_configuration(plans, configuration, source)
    values, findings = match_labels(task, dataset, how.labels)
    channels = _channels(task, dataset, how)
    record: dict[str, Any] = {
        "challenge": challenge.reference,
        "task": task_name,
        "baseline": how.name,
        "definition": challenge.digest,
        "adopted": True,
        "values": {str(new): old for new, old in sorted(values.items())},
        "channels": channels,
        "dataset": str(plans.get("dataset_name", "")),
        "plans": str(plans.get("plans_name", "")),
        "images": layout_of(task, channels, how.image_patterns, None).images,
        "missing_channel": "refuse",
        "settings": {
            "method": f"nnU-Net v2, {trainer}, {configuration}",
            "trainer": trainer,
            "configuration": configuration,
            "folds": [int(fold) if fold.isdigit() else fold for fold in folds],
            "checkpoint": checkpoint,
            "step_size": 0.5,
            "mirroring": True,
            "fast_export": False,
        },
    }
    if checkpoint != "final" and how.checkpoint is None:
        cause = f"has no checkpoint_final.pth; checkpoint_{checkpoint}.pth is used"
        findings.append(warning(BaselineCode.NOT_TRAINED, source, cause, f"use --checkpoint {checkpoint} to say so"))
    target = source if how.out is None else _linked(source, how.out, folds, checkpoint)
    _carry_trainer(trainer, source, target, how.trainer_file)
    job = {
        **{key: record["settings"][key] for key in ("step_size", "mirroring", "fast_export", "trainer", "checkpoint")},
        "configuration": configuration,
        "folds": folds,
        "model": str(target.resolve()),
        "trainers": [str(folder.resolve()) for folder in trainer_folders(target)],
        "trust": how.trust,
        "device": "cpu",
    }
    run_job("load", job, Workspace(target, target, target / "results"), on_event=on_event)
    write_json(target / RECORD, record)
    return Adopted(target, record, findings)


def find_model(folder: Path) -> Path:
    """Return the model folder, which may be the only one below the given one.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    if not folder.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, folder, "no such folder", "give nnU-Net's folder of a trained model")
    if (folder / "plans.json").is_file():
        return folder
    below = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/plans.json"))
    if len(below) == 1:
        return below[0]
    if (folder / "plans.pkl").exists() or any(folder.glob("**/*.model.pkl")):
        cause = "is a model of nnU-Net v1 (plans.pkl), which nnU-Net v2 cannot run"
        fix = "train with --pretrained FILE.model to use its weights"
        raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, fix)
    names = ", ".join(path.name for path in below[:4])
    cause = f"holds {len(below)} models: {names}" if below else "holds no plans.json"
    fix = "give one folder of nnUNet_results, such as Dataset500_X/nnUNetTrainer__nnUNetPlans__3d_fullres"
    raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, fix)


def _task(challenge: Challenge, name: str | None) -> tuple[str, SegmentationTask]:
    suitable = tasks_of(challenge)
    chosen = name or next(iter(suitable), "")
    if chosen not in suitable:
        fix = f"segmentation tasks: {', '.join(suitable) or 'none'}"
        raise refuse(BaselineCode.NO_TASK, challenge.reference, f"no segmentation task {chosen!r}", fix)
    return chosen, suitable[chosen]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        fix = "give the folder as nnU-Net wrote it"
        raise refuse(BaselineCode.MODEL_UNKNOWN, path, f"cannot be read ({error})", fix) from None
    return content


def _best_there(model: Path) -> Checkpoint:
    return next((name for name in CHECKPOINTS if any(model.glob(f"fold_*/checkpoint_{name}.pth"))), "final")


def _origin(content: Any, model: Path) -> tuple[str, str]:
    """Return trainer and configuration, as the checkpoint says, else as the folder is called."""
    named = model.resolve().name.split("__")
    facts = content if isinstance(content, Mapping) else {}
    trainer = facts.get("trainer_name") or (named[0] if len(named) == 3 else None)
    configuration = (facts.get("init_args") or {}).get("configuration") or (named[2] if len(named) == 3 else None)
    if not trainer or not configuration:
        cause = "neither the checkpoint nor the folder's name says trainer and configuration"
        fix = "name the folder TRAINER__PLANS__CONFIGURATION, as nnU-Net does"
        raise refuse(BaselineCode.MODEL_UNKNOWN, model, cause, fix)
    return str(trainer), str(configuration)


def _check_configuration(plans: Mapping[str, Any], name: str, model: Path) -> None:
    known = plans.get("configurations", {})
    if name not in known:
        cause = f"its plans have no configuration {name}, only {', '.join(known) or 'none'}"
        raise refuse(BaselineCode.CONFIGURATION, model, cause, "give the plans.json of this training")
    own, seen = known[name], {name}
    while own.get("inherits_from") in known and own["inherits_from"] not in seen:
        seen.add(own["inherits_from"])
        own = {**known[own["inherits_from"]], **own, "inherits_from": known[own["inherits_from"]].get("inherits_from")}
    if own.get("previous_stage"):
        cause = f"{name} needs the predictions of {own['previous_stage']}; cascades cannot be adopted"
        raise refuse(BaselineCode.CONFIGURATION, model, cause, "adopt a model of one stage (3d_fullres, 2d)")


def _channels(task: SegmentationTask, dataset: Mapping[str, Any], how: Wanted) -> list[str]:
    """Return the challenge's channels in the model's order: as said, by name, or the only one."""
    given = dataset.get("channel_names") or dataset.get("modality") or {"0": "image"}
    names = (
        [str(given[key]) for key in sorted(given, key=int)] if isinstance(given, Mapping) else [str(x) for x in given]
    )
    known = {**task.files.images, **how.image_patterns}
    spelled = {alike(name): name for name in known}
    found = []
    for number, name in enumerate(names):
        said = how.channels.get(str(number)) or how.channels.get(name)
        chosen = said or spelled.get(alike(name))
        if chosen is None and len(names) == len(known) == 1:
            chosen = next(iter(known))
        if chosen not in known:
            cause = f"channel {number} of the model is called {name!r}, the challenge has {', '.join(known) or 'none'}"
            fix = f"say which it is with --channel {number}=CHANNEL, or give --image-pattern CHANNEL=PATTERN"
            raise refuse(BaselineCode.CHANNEL_UNKNOWN, said or name, cause, fix)
        found.append(chosen)
    return found


def _linked(source: Path, out: Path, folds: Sequence[str], checkpoint: Checkpoint) -> Path:
    """Make a new folder of links to a model."""
    if out.exists() and any(out.iterdir()):
        raise refuse(BaselineCode.MODEL_UNKNOWN, out, "the folder is not empty", "choose a new folder")
    for name in ("plans.json", "dataset.json"):
        out.mkdir(parents=True, exist_ok=True)
        place(source / name, out / name)
    for fold in folds:
        path = checkpoint_path(out, fold, checkpoint)
        path.parent.mkdir()
        place(checkpoint_path(source, fold, checkpoint), path)
    return out


def _carry_trainer(trainer: str, source: Path, target: Path, given: Path | None) -> None:
    """Copy the file of a trainer that nnU-Net does not have, with those beside it that it imports, to the model."""
    own = [given] if given else [*trainer_folders(source), networks.own_folder(), *external_folders()]
    path = networks.locate(trainer, own)
    if path is None:
        fix = "give the file that defines it with --trainer-file FILE, or set nnUNet_extTrainer"
        raise refuse(BaselineCode.TRAINER, given or trainer, f"no class {trainer} is defined there", fix)
    if given is None and path.is_relative_to(networks.own_folder()):
        return
    if path.parent in trainer_folders(target):
        return
    (target / "trainers").mkdir(exist_ok=True)
    for file in with_neighbours(path):
        shutil.copyfile(file, target / "trainers" / file.name)


def with_neighbours(path: Path) -> Iterator[Path]:
    """Yield a Python file and the files beside it that it imports, those that they import, and so on."""
    waiting, seen = [path], {path}
    while waiting:
        file = waiting.pop()
        yield file
        for name in _imports(file):
            other = file.parent / f"{name}.py"
            if other.is_file() and other not in seen:
                seen.add(other)
                waiting.append(other)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module.partition(".")[0]] if node.module else (alias.name for alias in node.names)
