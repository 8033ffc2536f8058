"""Train a planned baseline: fold, epochs, device, resuming, and weights to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.demand import demand_of

Emit = Callable[..., None]
SAVE_EVERY = 50
"""nnU-Net's own number of epochs between checkpoints to resume from."""
SAVE_SECONDS = 300.0
"""Time after which the next epoch is saved, too: fifty epochs of a large network are half a day."""
NEVER = 10**9
FINE_TUNING = "_ft"
"""Ending of the trainers that start from a checkpoint."""


def check_start(trainer: str, pretrained: Path | None, resume: bool) -> None:
    """Refuse combinations of trainer and weights that would silently train something else.

    Raises
    ------
    UsageError
        If a fine-tuning trainer has no checkpoint to start from, or the file is not there.
    """
    if trainer.endswith(FINE_TUNING) and pretrained is None and not resume:
        fix = f"give --pretrained CHECKPOINT, or use the trainer {trainer.removesuffix(FINE_TUNING)}"
        cause = f"{trainer} fine-tunes, but no checkpoint is given"
        raise refuse(BaselineCode.TRAINER, trainer, cause, fix)
    if pretrained is not None and not pretrained.is_file():
        raise refuse(BaselineCode.CHECKPOINT, pretrained, "no such file", "check the path of the checkpoint")


def build_trainer(job: Mapping[str, Any]) -> Any:
    """Return nnU-Net's trainer object of a job, not yet initialised, with epochs and iterations set.

    Raises
    ------
    UsageError
        If neither nnU-Net nor our trainers have a trainer of this name.
    """
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    try:
        trainer = get_trainer_from_args(
            job["dataset"], job["configuration"], job["fold"], job["trainer"], job["plans"],
            continue_training=job["resume"], device=torch.device(job["device"]),
        )  # fmt: skip
    except RuntimeError as error:
        if "requested nnunet trainer" not in str(error):
            raise
        fix = "use nnUNetTrainer, one of STUNetTrainer_small, _base, _large, _huge, or set nnUNet_extTrainer"
        raise refuse(BaselineCode.TRAINER, job["trainer"], "no trainer of this name", fix) from None
    if job["epochs"] is not None:
        trainer.num_epochs = job["epochs"]
    if job["iterations"] is not None:
        trainer.num_iterations_per_epoch = job["iterations"]
        trainer.num_val_iterations_per_epoch = max(1, job["iterations"] // 5)
    if job["learning_rate"] is not None:
        trainer.initial_lr = job["learning_rate"]
    _save_whole(trainer)
    return trainer


def _save_whole(trainer: Any) -> None:
    """Have checkpoints appear whole or not at all: nnU-Net writes over the only one there is."""
    original = trainer.save_checkpoint

    def save(filename: str) -> None:
        part = Path(f"{filename}.part")
        original(str(part))
        if part.exists():
            part.replace(filename)

    trainer.save_checkpoint = save


def train_here(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Train in this process.

    Parameters
    ----------
    job : mapping
        dataset, configuration, fold, trainer, plans, device; epochs, iterations (per epoch) and learning_rate or
        None; resume; pretrained (path or None), stem and trust of it; validate.
    emit : callable
        Told after every epoch.

    Returns
    -------
    dict
        Folder of the fold, epochs done, seconds per epoch, what was loaded, mean validation Dice or None. Fold
        ``all`` has no validation cases; nnU-Net then predicts those it was trained on, which is called training Dice.
    """
    import torch

    if job["device"] == "cuda":
        # as nnU-Net's own run_training: one size of patch, so the fastest convolution is worth a search
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(1)
    trainer = build_trainer(job)
    asked = trainer.plans_manager, trainer.configuration_manager, trainer.dataset_json
    estimate = demand_of(type(trainer), *asked, epochs=trainer.num_epochs, iterations=job["iterations"])
    if estimate is not None:
        emit("estimate", **estimate)
    trainer.initialize()
    loaded = None
    folder = Path(trainer.output_folder)
    went_on = job["resume"] and _go_on(trainer, folder)
    if went_on:
        pass
    elif job["pretrained"]:
        from medpodium.baselines.nnunet.finetune import load_weights

        loaded = load_weights(trainer.network, Path(job["pretrained"]), stem=job["stem"], trust=job["trust"]).as_dict()
        emit("loaded", **loaded)
    elif job["trainer"].endswith(FINE_TUNING):
        fix = "give --pretrained CHECKPOINT; with --resume it is used by folds that have not started"
        raise refuse(BaselineCode.TRAINER, folder, "no checkpoint to go on from, and none to fine-tune", fix)
    start = trainer.current_epoch
    seconds = _report_epochs(trainer, emit)
    if trainer.current_epoch < trainer.num_epochs:
        trainer.run_training()
    dice = None
    if job["validate"]:
        emit("stage", name="validation")
        trainer.perform_actual_validation()
        dice = _mean_dice(folder)
    return {
        "folder": str(folder),
        "validated": job["validate"],
        "epochs": trainer.num_epochs,
        "resumed_at": start,
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
        "loaded": loaded,
        "estimate": estimate,
        "validation_dice": None if job["fold"] == "all" else dice,
        "training_dice": dice if job["fold"] == "all" else None,
        "gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if job["device"] == "cuda" else None,
    }


def _go_on(trainer: Any, folder: Path) -> bool:
    """Load the last state of a training; False where there is none. A file that was cut off is passed over."""
    import pickle

    final = folder / "checkpoint_final.pth"
    others = [folder / name for name in ("checkpoint_latest.pth", "checkpoint_best.pth") if (folder / name).exists()]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)  # the best one may be the last one, too
    for path in [*([final] if final.exists() else []), *others]:
        try:
            trainer.load_checkpoint(str(path))
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
            print(f"{path} cannot be read ({error})", flush=True)  # into the log
            continue
        return True
    return False


def _report_epochs(trainer: Any, emit: Emit) -> list[float]:
    """Have the trainer report every epoch, and save in time; return the list that the epochs' seconds are added to."""
    import time

    seconds: list[float] = []
    original = trainer.on_epoch_end
    every = max(1, min(SAVE_EVERY, trainer.num_epochs // 10))
    saved = time.monotonic()

    def on_epoch_end() -> None:
        nonlocal saved
        epoch = trainer.current_epoch
        due = (epoch + 1) % every == 0 or time.monotonic() - saved >= SAVE_SECONDS
        trainer.save_every = 1 if due else NEVER
        if due:
            saved = time.monotonic()
        original()
        value = trainer.logger.get_value
        took = value("epoch_end_timestamps", step=-1) - value("epoch_start_timestamps", step=-1)
        seconds.append(float(took))
        loss = float(value("train_losses", step=-1))
        dice = [float(item) for item in value("dice_per_class_or_region", step=-1)]
        emit("epoch", done=epoch + 1, total=trainer.num_epochs, loss=loss, dice=dice, seconds=float(took))

    trainer.on_epoch_end = on_epoch_end
    return seconds


def _mean_dice(folder: Path) -> float | None:
    """Read the mean Dice that nnU-Net noted after a training."""
    import json

    path = folder / "validation" / "summary.json"
    if not path.exists():
        return None
    value = json.loads(path.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
    return None if value is None or value != value else float(value)
