"""Take a model that somebody trained with plain nnU-Net v2 as a baseline of a challenge."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medpodium.baselines import extras
from medpodium.baselines.checkpoints import read_content
from medpodium.baselines.failures import BaselineCode, refuse, warning
from medpodium.baselines.fingerprints import write_json
from medpodium.baselines.models import first_version
from medpodium.baselines.models.found import find_models, inherited, read_steps, stage_before
from medpodium.baselines.models.labels import match_labels
from medpodium.baselines.models.record import (
    CHECKPOINTS,
    Checkpoint,
    Member,
    checkpoint_path,
    trained_folds,
)
from medpodium.baselines.models.trainers import carry_trainer
from medpodium.baselines.nnunet.dataset import RECORD, place, read_record
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.training_data import layout_of
from medpodium.baselines.nnunet.workspace import Workspace
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
    previous : Path, optional
        Model of a cascade's first stage, where it is not beside that of the second.
    postprocessing : Path or "none", optional
        nnU-Net's ``postprocessing.pkl``; that of its best configuration where a whole folder of results is taken.
    dataset_json : Path, optional
        Names of the labels of a model of nnU-Net v1, which keeps none.
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
    previous: Path | None = None
    postprocessing: Path | Literal["none"] | None = None
    dataset_json: Path | None = None


@dataclass(frozen=True)
class Adopted:
    """The folder to predict with, what was noted, and what should be looked at."""

    model: Path
    record: dict[str, Any]
    findings: list[Finding]


def adopt(
    challenge: Challenge, models: Sequence[Path], wanted: Wanted | None = None, on_event: OnEvent | None = None
) -> Adopted:
    """Check model folders of nnU-Net, load their networks once, and note what a challenge needs to know of them.

    Parameters
    ----------
    challenge : Challenge
        What they are to predict.
    models : sequence of Path
        Folders with ``plans.json``, ``dataset.json`` and ``fold_*``, or one above a single model, or a data set's
        folder of results with nnU-Net's choice of the best configuration, or a model of nnU-Net v1. The probabilities
        of several are averaged.
    wanted : Wanted, optional
        How they are taken.
    on_event : callable, optional
        Told of progress.

    Raises
    ------
    MedpodiumError
        If one is no model, its labels do not match, or its networks cannot be built and loaded.
    """
    extras.require_nnunet()
    how = wanted or Wanted()
    task_name, task = _task(challenge, how.task)
    if len(models) == 1 and first_version.is_model(models[0]):
        models = [first_version.convert(models[0], how.out, how.dataset_json, how.folds, trust=how.trust)]
        how = replace(how, out=None, folds=None)
    found = find_models(models)
    parts = [_part(source, how, how.folds or found.folds) for source in found.models]
    first = parts[0]
    _alike(parts)
    findings = [item for part in parts for item in part.findings()]
    values, other = match_labels(task, first.dataset, how.labels)
    findings += other
    channels = _channels(task, first.dataset, how)
    asked = how.postprocessing or found.postprocessing
    steps = [] if asked is None or asked == "none" else read_steps(Path(asked))
    target, members = _placed(parts, how)
    configurations = " and ".join(dict.fromkeys(part.configuration for part in parts))
    record: dict[str, Any] = {
        "challenge": challenge.reference,
        "task": task_name,
        "baseline": how.name,
        "definition": challenge.digest,
        "adopted": True,
        "values": {str(new): old for new, old in sorted(values.items())},
        "channels": channels,
        "dataset": str(first.plans.get("dataset_name", "")),
        "plans": str(first.plans.get("plans_name", "")),
        "images": layout_of(task, channels, how.image_patterns, None).images,
        "missing_channel": "refuse",
        "postprocessing": steps,
        "settings": {
            "method": f"nnU-Net v2, {first.trainer}, {configurations}",
            "trainer": first.trainer,
            "configuration": first.configuration,
            "folds": [int(fold) if fold.isdigit() else fold for fold in first.folds],
            "checkpoint": first.checkpoint,
            "step_size": 0.5,
            "mirroring": True,
            "fast_export": False,
        },
    }
    if members[0].folder != target:
        record["members"] = [member.note(target) for member in members]
    job = {
        **{key: record["settings"][key] for key in ("step_size", "mirroring", "fast_export")},
        "members": [member.job() for member in members],
        "trust": how.trust,
        "device": "cpu",
    }
    run_job("load", job, Workspace(target, target, target / "results"), on_event=on_event)
    write_json(target / RECORD, record)
    return Adopted(target, record, findings)


@dataclass(frozen=True)
class _Part:
    """A model folder as it was found, before anything is written."""

    source: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    trainer: str
    configuration: str
    folds: list[str]
    checkpoint: Checkpoint
    asked: bool
    previous: _Part | None = None

    def findings(self) -> list[Finding]:
        """Say which weights are used, where it was not said and they are not the last ones."""
        found = [] if self.previous is None else self.previous.findings()
        if self.checkpoint != "final" and not self.asked:
            cause = f"has no checkpoint_final.pth; checkpoint_{self.checkpoint}.pth is used"
            fix = f"use --checkpoint {self.checkpoint} to say so"
            found.append(warning(BaselineCode.NOT_TRAINED, self.source, cause, fix))
        return found


def _part(source: Path, how: Wanted, folds: Sequence[int | str] | None) -> _Part:
    plans, dataset = _json(source / "plans.json"), _json(source / "dataset.json")
    checkpoint = how.checkpoint or _best_there(source)
    chosen = trained_folds(source, folds, checkpoint)
    content = read_content(checkpoint_path(source, chosen[0], checkpoint), trust=how.trust)
    trainer, configuration = _origin(content, source)
    before = stage_before(source, trainer, plans, inherited(plans, configuration, source), how.previous)
    previous = None if before is None else _part(before, how, folds)
    asked = how.checkpoint is not None
    return _Part(source, plans, dataset, trainer, configuration, chosen, checkpoint, asked, previous)


def _alike(parts: Sequence[_Part]) -> None:
    """Refuse networks whose outputs or inputs do not mean the same."""
    first = parts[0]
    stages = [stage for part in parts for stage in (part, part.previous) if stage is not None]
    for part in stages:
        for key in ("labels", "channel_names", "regions_class_order", "file_ending"):
            if part.dataset.get(key) != first.dataset.get(key):
                cause = f"its {key} differ from those of {first.source.name}: their outputs cannot be averaged"
                fix = "adopt models that were trained on the same data set together"
                raise refuse(BaselineCode.MODEL_UNKNOWN, part.source, cause, fix)


def _placed(parts: Sequence[_Part], how: Wanted) -> tuple[Path, list[Member]]:
    """Return the folder of the notes and the networks: where they are, or links to them in a new folder."""
    first = parts[0]
    if len(parts) == 1 and first.previous is None:
        if how.out is None:
            _check_own(first.source)
        target = first.source if how.out is None else how.out
        if how.out is not None:
            _check_empty(how.out)
            _linked(first, how.out)
        return target, [_member(first, target, how)]
    if how.out is None:
        cause = "several networks need a folder that holds them all"
        raise refuse(BaselineCode.MODEL_UNKNOWN, first.source, cause, "give --out NEW for links and notes")
    _check_empty(how.out)
    members = []
    for number, part in enumerate(parts):
        own = how.out / "networks" / f"{number}-{part.configuration}"
        previous = None
        if part.previous is not None:
            before = own.with_name(f"{own.name}-{part.previous.configuration}")
            _linked(part.previous, before)
            previous = _member(part.previous, before, how)
        _linked(part, own)
        members.append(replace(_member(part, own, how), previous=previous))
    return how.out, members


def _member(part: _Part, folder: Path, how: Wanted) -> Member:
    carry_trainer(part.trainer, part.source, folder, how.trainer_file)
    return Member(folder, part.trainer, part.configuration, tuple(part.folds), part.checkpoint)


def _check_own(source: Path) -> None:
    known = read_record(source)
    if known and not known.get("adopted"):
        cause = f"was trained by medpodium for {known.get('challenge')}; its notes would be lost"
        raise refuse(BaselineCode.MODEL_UNKNOWN, source, cause, "use it as it is, or give --out NEW")
    if not os.access(source, os.W_OK):
        raise refuse(BaselineCode.MODEL_UNKNOWN, source, "cannot be written to", "give --out NEW for links and notes")


def _check_empty(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise refuse(BaselineCode.MODEL_UNKNOWN, out, "the folder is not empty", "choose a new folder")


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


def _linked(part: _Part, out: Path) -> None:
    """Fill a new folder with links to a model."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("plans.json", "dataset.json"):
        place(part.source / name, out / name)
    for fold in part.folds:
        path = checkpoint_path(out, fold, part.checkpoint)
        path.parent.mkdir()
        place(checkpoint_path(part.source, fold, part.checkpoint), path)
