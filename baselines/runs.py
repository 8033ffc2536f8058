"""What a trained fold was trained with, noted beside it, so that nothing is reused that was computed otherwise.

nnU-Net takes a checkpoint for the training it was asked for by the name of its folder alone, which says nothing of
epochs, learning rate, cases, plan or starting weights.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import differences, digest, write_json

RECORD = "medpodium-run.json"
"""Our notes in the folder of a fold."""
FINAL = "checkpoint_final.pth"
_BUSY = "medpodium-running.json"
_CLOCK = 2.0
"""Seconds by which the noted beginning of a process may differ; its number may be another's by now."""
_PARTIAL = ("checkpoint_latest.pth", "checkpoint_best.pth")
ASIDE = "set-aside"
"""Folder, in those of nnU-Net, of what had to make room: it looks for data sets by their number, so not beside them."""

State = Literal["absent", "unfinished", "trained", "finished"]


@dataclass(frozen=True)
class Fold:
    """A fold's folder, and what is known of the training in it.

    Parameters
    ----------
    folder : Path
        ``fold_0``.
    state : {"absent", "unfinished", "trained", "finished"}
        Whether there is a checkpoint, whether it is the last one, and whether all that was asked for was done.
    facts : mapping, optional
        What it was trained with; None where nothing was noted.
    result : mapping, optional
        What came of it; None where it did not end.
    """

    folder: Path
    state: State
    facts: Mapping[str, Any] | None
    result: Mapping[str, Any] | None = None

    @classmethod
    def at(cls, folder: Path) -> Fold:
        """Look at a folder."""
        has_final = (folder / FINAL).exists() or (folder / "validation" / "summary.json").exists()
        started = any((folder / name).exists() for name in _PARTIAL)
        state: State = "finished" if has_final else "unfinished" if started else "absent"
        try:
            noted = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            facts = noted["facts"]
        except (OSError, ValueError, KeyError):
            return cls(folder, state, None)
        if state == "finished" and noted.get("result", {}) is None:
            state = "trained"  # it was stopped in its validation
        return cls(folder, state, facts, noted.get("result"))

    def unlike(self, wanted: Mapping[str, Any], *, free: tuple[str, ...] = ()) -> list[str]:
        """Return what differs from a wanted training, in words; facts in ``free`` may differ."""
        if self.facts is None:
            return ["nothing was noted of how it was trained"]
        asked = {key: value for key, value in wanted.items() if key not in free}
        if self.facts.get("splits") is None:
            asked.pop("splits", None)  # there were none yet: nnU-Net made them when the training began
        return differences(self.facts, asked)

    def note(self, facts: Mapping[str, Any], result: Mapping[str, Any] | None = None) -> None:
        """Write down what is being trained here, and at the end what came of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = {"facts": dict(facts), "digest": digest(dict(facts)), "result": result and dict(result)}
        write_json(self.folder / RECORD, written)

    @property
    def owner(self) -> int | None:
        """Process of this machine that is training here, if one is."""
        import psutil

        try:
            noted = json.loads((self.folder / _BUSY).read_text(encoding="utf-8"))
            process = psutil.Process(int(noted["process"]))
            same = noted["host"] == platform.node() and abs(process.create_time() - float(noted["began"])) < _CLOCK
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return int(noted["process"]) if same else None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold the fold while it is trained: two trainings in one folder would write over each other.

        Raises
        ------
        UsageError
            If another process of this machine trains it.
        """
        import psutil

        if self.owner not in (None, os.getpid()):
            fix = "wait for it, or end it: the next training goes on where it stopped"
            raise refuse(BaselineCode.ALREADY_TRAINED, self.folder, f"is being trained by process {self.owner}", fix)
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {"process": os.getpid(), "host": platform.node(), "began": psutil.Process().create_time()}
        write_json(self.folder / _BUSY, own)
        try:
            yield
        finally:
            (self.folder / _BUSY).unlink(missing_ok=True)


def set_aside(path: Path, root: Path) -> Path:
    """Move a file or folder out of the way, to a folder in ``root`` that nnU-Net does not look at; nothing is deleted.

    Returns
    -------
    Path
        Where it is now.
    """
    moment = f"{datetime.now():%Y%m%d-%H%M%S-%f}"
    target = root / ASIDE / moment / path.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    return target


def check_start(
    folds: list[tuple[Fold, Mapping[str, Any]]], results: Path, *, resume: bool, restart: bool
) -> list[tuple[Fold, bool]]:
    """Decide how every fold starts, before any is touched.

    Parameters
    ----------
    folds : list of (Fold, facts)
        The folds and what they are to be trained with.
    results : Path
        nnU-Net's folder of results, where what makes room goes to.
    resume : bool
        Keep finished folds and go on with others; those may get another number of epochs.
    restart : bool
        Set earlier trainings aside and start anew.

    Returns
    -------
    list of (Fold, bool)
        The folds as they are now, and whether to go on from a checkpoint.

    Raises
    ------
    UsageError
        If a finished training would be overwritten, or an earlier one continued with other settings.
    """
    if not restart:
        for fold, facts in folds:
            _refuse_unlike(fold, facts, resume=resume)
    found = []
    for fold, facts in folds:
        if restart and fold.state != "absent":
            set_aside(fold.folder, results)
            found.append((Fold.at(fold.folder), False))
        else:
            found.append((fold, fold.state != "absent"))
        own = found[-1][0]
        own.note({**facts, "splits": facts.get("splits")}, own.result if own.state == "finished" else None)
    return found


def _refuse_unlike(fold: Fold, facts: Mapping[str, Any], *, resume: bool) -> None:
    restart = "--restart, which sets the earlier training aside"
    if fold.state == "absent":
        return
    if fold.facts is None and resume:
        return  # of an earlier version or of nnU-Net itself: asked for by name
    # an interrupted training may be made longer or shorter; the learning rate of a finished one has come down to zero
    different = fold.unlike(facts, free=("epochs",) if resume and fold.state == "unfinished" else ())
    if different:
        kind = "an unfinished" if fold.state == "unfinished" else "a finished"
        cause = f"holds {kind} training: {'; '.join(different)}"
        keep = "--resume to go on with it as it is, or " if fold.facts is None else ""
        raise refuse(BaselineCode.TRAINED_OTHERWISE, fold.folder, cause, f"use the same settings, or {keep}{restart}")
    if fold.state == "finished" and not resume:
        fix = f"use --resume to keep finished folds and go on with others, or {restart}"
        raise refuse(BaselineCode.ALREADY_TRAINED, fold.folder, "holds a finished training", fix)
