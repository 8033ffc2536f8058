"""Train a method that is a command: what it was trained with is noted, nothing finished is overwritten."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines import runs
from medpodium.baselines.command.method import Method, mentions
from medpodium.baselines.command.start import device_of, start
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import Inventory, digest, file_digest, write_json
from medpodium.baselines.nnunet.dataset import RECORD

_NOTES = ".medpodium"
"""Folder, in that of a model, of our notes on each fold."""


@dataclass(frozen=True)
class Start:
    """How a training begins.

    Parameters
    ----------
    resume, restart : bool
        Keep what is finished; or set the earlier model aside.
    device : str
        What ``{device}`` stands for.
    """

    resume: bool = False
    restart: bool = False
    device: str = "auto"


def files_digest(method: Method) -> str:
    """Return the digest of the method's own files.

    Raises
    ------
    UsageError
        If one that is declared is not there.
    """
    found: dict[str, str] = {}
    for name in method.baseline.package.files:
        path = method.folder / name
        if not path.exists():
            cause = f"{name} is not in {method.folder}"
            raise refuse(BaselineCode.COMMAND, f"baseline {method.name}, package.files", cause, "correct the path")
        found |= _digests(path if path.is_dir() else path.parent, [] if path.is_dir() else [path.name])
    return digest(found)


def _digests(folder: Path, names: list[str]) -> dict[str, str]:
    files = [folder / name for name in names] or sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if "__pycache__" not in path.parts}


def train(
    method: Method, dataset: Path, model: Path, folds: list[int | str], how: Start, on_event: Any = None
) -> list[dict[str, Any]]:
    """Run the command that trains, once per fold where it mentions ``{fold}``.

    Returns
    -------
    list of dict
        ``model``, ``fold`` and ``seconds``; None for a fold that was finished before.

    Raises
    ------
    MedpodiumError
        If the model holds another training, a finished one, or the command fails.
    """
    command = method.baseline.train
    if command is None:
        fix = "declare 'train' in the challenge file, or predict: it needs no training"
        raise refuse(BaselineCode.NOT_TRAINED, f"baseline {method.name}", "declares no command that trains", fix)
    if not dataset.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, dataset, "no such folder", "check the path of --dataset")
    _check_owner(method, model)
    notes = model.parent / f".{model.name}.files.json"
    data = digest(Inventory(notes).of(dataset, ["."])) if mentions(command, "dataset") else None
    asked: list[tuple[runs.Fold, Mapping[str, Any]]] = []
    for fold in folds if mentions(command, "fold") else ["all"]:
        facts = {"command": digest(list(command)), "data": data, "files": files_digest(method), "fold": fold}
        asked.append((_fold_at(model, fold), facts))
    if how.restart and model.exists():
        runs.set_aside(model, model.parent)
        asked = [(_fold_at(model, facts["fold"]), facts) for _, facts in asked]
    started = runs.check_start(asked, model.parent, resume=how.resume, restart=False)
    results = []
    for (own, _), (_, known) in zip(started, asked, strict=True):
        fold, seconds = str(known["fold"]), None
        if own.state != "finished":
            if on_event is not None:
                on_event({"event": "stage", "name": f"training fold {fold}"})
            began = time.perf_counter()
            values = {"dataset": dataset.resolve(), "model": model.resolve(), "fold": fold,
                      "device": device_of(how.device)}  # fmt: skip
            start(method, "train", command, values, model / _NOTES / "logs")
            write_json(own.folder / "finished.json", {"seconds": time.perf_counter() - began})
            seconds = time.perf_counter() - began
        results.append({"model": str(model), "fold": fold, "seconds": seconds})
    write_json(model / RECORD, _record(method))
    return results


def trained(method: Method, model: Path) -> str | None:
    """Return the digest of what a model was trained with; of its files where it comes from elsewhere.

    Raises
    ------
    UsageError
        If the folder is not there, belongs to another baseline, or its training did not end.
    """
    if not model.is_dir():
        raise refuse(BaselineCode.NOT_TRAINED, model, "no such folder", "check the path of --model")
    _check_owner(method, model)
    notes = sorted((model / _NOTES).glob(f"fold_*/{runs.RECORD}"))
    if notes and not (model / RECORD).exists():
        cause, fix = "its training did not end", "run 'medpodium baseline train' again; it goes on"
        raise refuse(BaselineCode.NOT_TRAINED, model, cause, fix)
    if not notes:
        return digest(_digests(model, []))
    ended = sorted((model / _NOTES).glob("fold_*/finished.json"))
    return digest([path.read_text(encoding="utf-8") for path in [*notes, *ended]])


def _record(method: Method) -> dict[str, Any]:
    return {
        "challenge": method.challenge.reference,
        "task": method.task_name,
        "baseline": method.name,
        "definition": method.challenge.digest,
        "kind": "command",
    }


def _check_owner(method: Method, model: Path) -> None:
    try:
        known = json.loads((model / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    owner = (known.get("challenge", "").partition("/")[0], known.get("baseline"))
    if owner != (method.challenge.name, method.name):
        cause = f"is a model of {owner[0]}, baseline {owner[1]}"
        raise refuse(BaselineCode.MODEL_UNKNOWN, model, cause, "give another folder")


def _fold_at(model: Path, fold: int | str) -> runs.Fold:
    """Look at our notes on a fold: begun and ended, or not."""
    folder = model / _NOTES / f"fold_{fold}"
    try:
        facts = json.loads((folder / runs.RECORD).read_text(encoding="utf-8"))["facts"]
    except (OSError, ValueError, KeyError):
        facts = None
    state: runs.State = "absent"
    if facts is not None:
        state = "finished" if (folder / "finished.json").exists() else "unfinished"
    elif model.exists() and not (model / _NOTES).exists() and any(model.iterdir()):
        state = "finished"  # of somebody else: nothing was noted of it
    return runs.Fold(folder, state, facts)
