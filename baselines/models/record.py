"""What is noted of a trained model, and which of its folds are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.dataset import RECORD
from medpodium.baselines.nnunet.workspace import TRAINERS
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.scoring.kinds.segmentation.tasks import tasks_of

Checkpoint = Literal["final", "best", "latest"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("final", "best", "latest")


@dataclass(frozen=True)
class Member:
    """One of nnU-Net's trained networks that make up a baseline; their probabilities are averaged.

    Parameters
    ----------
    folder : Path
        With plans, data set and folds.
    trainer, configuration : str
        Of its training.
    folds : tuple of str
        Whose outputs are averaged.
    checkpoint : {"final", "best", "latest"}
        Weights of each fold.
    previous : Member, optional
        First stage of a cascade, whose labels this network sees beside the image.
    """

    folder: Path
    trainer: str
    configuration: str
    folds: tuple[str, ...]
    checkpoint: Checkpoint
    previous: Member | None = None

    def checkpoints(self) -> list[Path]:
        """Return the file of every fold's weights."""
        return [checkpoint_path(self.folder, fold, self.checkpoint) for fold in self.folds]

    def stages(self) -> Iterator[Member]:
        """Yield this network, and those before it in a cascade."""
        yield self
        if self.previous is not None:
            yield from self.previous.stages()

    def job(self) -> dict[str, Any]:
        """Return it as plain data, for the process in which nnU-Net runs."""
        return {
            "model": str(self.folder.resolve()),
            "trainers": [str(folder.resolve()) for folder in trainer_folders(self.folder)],
            "trainer": self.trainer,
            "configuration": self.configuration,
            "folds": list(self.folds),
            "checkpoint": self.checkpoint,
            "previous": None if self.previous is None else self.previous.job(),
        }

    def note(self, root: Path) -> dict[str, Any]:
        """Return it as plain data, its folder relative to that of the notes."""
        return {
            "folder": self.folder.relative_to(root).as_posix(),
            "trainer": self.trainer,
            "configuration": self.configuration,
            "folds": list(self.folds),
            "checkpoint": self.checkpoint,
            "previous": None if self.previous is None else self.previous.note(root),
        }


def members_of(
    model: Path,
    notes: Mapping[str, Any],
    folds: Sequence[int | str] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[Member]:
    """Return the networks of a model, with the folds and weights that are noted or asked for.

    Raises
    ------
    UsageError
        If one of them lacks a fold.
    """
    settings = notes["settings"]
    own = settings if notes.get("adopted") else {**settings, "folds": None}  # every fold that is trained meanwhile
    return [_member(model, item, folds, checkpoint) for item in notes.get("members") or [{"folder": ".", **own}]]


def _member(
    model: Path, item: Mapping[str, Any], folds: Sequence[int | str] | None, checkpoint: Checkpoint | None
) -> Member:
    folder = model / item["folder"]
    weights: Checkpoint = checkpoint or item.get("checkpoint") or "final"
    chosen = trained_folds(folder, folds or item.get("folds"), weights)
    before = item.get("previous")
    previous = None if before is None else _member(model, before, folds, checkpoint)
    return Member(folder, item["trainer"], item["configuration"], tuple(chosen), weights, previous)


def model_record(model: Path) -> dict[str, Any]:
    """Return what was noted about a model folder when it was trained or adopted.

    Raises
    ------
    UsageError
        If there is no such note.
    """
    path = model / RECORD
    if not path.exists():
        fix = "give the model folder that 'medpodium baseline train' printed"
        if (model / "plans.json").exists():
            fix = f"run 'medpodium baseline adopt {model} --challenge ...' first: it is a model of nnU-Net's own"
        raise refuse(BaselineCode.NOT_TRAINED, model, f"holds no {RECORD}", fix)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def record_for(challenge: Challenge, model: Path) -> tuple[dict[str, Any], SegmentationTask]:
    """Return a model's notes and its task in a challenge.

    Raises
    ------
    UsageError
        If it was trained or adopted for another challenge.
    """
    notes = model_record(model)
    if notes["challenge"].partition("/")[0] != challenge.name:
        fix = f"give {notes['challenge']}, or another model"
        raise refuse(BaselineCode.NO_TASK, model, f"was trained for {notes['challenge']}, not {challenge.name}", fix)
    task = tasks_of(challenge).get(notes["task"])
    if task is None:
        raise refuse(BaselineCode.NO_TASK, model, f"no segmentation task {notes['task']!r}", "give the same challenge")
    return notes, task


def checkpoint_path(model: Path, fold: int | str, checkpoint: Checkpoint) -> Path:
    """Return nnU-Net's file of a fold's weights."""
    return model / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth"


def trained_folds(
    model: Path, wanted: Sequence[int | str] | None = None, checkpoint: Checkpoint = "final"
) -> list[str]:
    """Return the folds of a model folder that have a checkpoint.

    Raises
    ------
    UsageError
        If the folder holds no trained fold, or not all of the wanted ones.
    """
    files = model.glob(f"fold_*/checkpoint_{checkpoint}.pth")
    found = sorted(path.parent.name.removeprefix("fold_") for path in files)
    asked = [str(fold) for fold in wanted] if wanted else None
    lacking = [fold for fold in asked or [] if fold not in found]
    if not found or lacking:
        which = f"fold {', '.join(lacking)} has" if lacking else "no fold has"
        cause = f"{which} {'no' if lacking else 'a'} checkpoint_{checkpoint}.pth"
        others = [
            name for name in CHECKPOINTS if name != checkpoint and any(model.glob(f"fold_*/checkpoint_{name}.pth"))
        ]
        fix = "run 'medpodium baseline train' to its end first (--resume goes on after a stop)"
        fix += f", or use --checkpoint {' or '.join(others)}" if others else ""
        raise refuse(BaselineCode.NOT_TRAINED, model, cause, fix)
    if asked:
        return asked
    # 'all' has seen every case; cross-validation folds are averaged
    numbered = [fold for fold in found if fold != "all"]
    return numbered or found


def trainer_folders(model: Path) -> list[Path]:
    """Return where a model's trainer may be defined besides nnU-Net: with the model, and among our own."""
    return [folder for folder in (model / "trainers", TRAINERS) if folder.is_dir()]
