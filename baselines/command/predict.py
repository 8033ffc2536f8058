"""Predict with a method that is a command: case by case or all at once, so that what is done is never repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpodium.baselines.command.method import Method, answer_files, home_settings, mentions
from medpodium.baselines.command.start import device_of, start
from medpodium.baselines.command.train import files_digest, trained
from medpodium.baselines.failures import BaselineCode, problem, refuse, unusable
from medpodium.baselines.fingerprints import Inventory, digest, file_digest
from medpodium.baselines.nnunet import training_data
from medpodium.baselines.nnunet.dataset import place
from medpodium.baselines.portable import methods
from medpodium.baselines.portable.image_files import damage
from medpodium.baselines.predicted import Done, scratch_in
from medpodium.challenges.naming.patterns import format_name, placeholders
from medpodium.challenges.schema.kinds import KINDS
from medpodium.findings import Finding, MedpodiumError

_MASKS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True)
class How:
    """How to predict with a command.

    Parameters
    ----------
    model : Path, optional
        What ``{model}`` stands for: the folder that ``train`` wrote, or weights from elsewhere.
    fold : int or "all"
        What ``{fold}`` stands for.
    device : str
        What ``{device}`` stands for; ``auto`` for ``cuda`` where there is a GPU.
    image_patterns : mapping of str to str
        Where images are named otherwise than in the challenge file.
    full : bool
        Unpack every image to check it.
    overwrite : bool
        Replace predictions of other models or settings.
    """

    model: Path | None = None
    fold: int | str = "all"
    device: str = "auto"
    image_patterns: Mapping[str, str] = field(default_factory=dict)
    full: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class _Open:
    """A case that is to be predicted: its name, files by channel, and the digests of what it is made from."""

    name: str
    files: dict[str, Path]
    images: dict[str, str]
    answers: list[str]


def predict(method: Method, images: Path, out: Path, how: How, on_event: Any = None) -> dict[str, Any]:
    """Predict every case of a folder with a command and write the challenge's files.

    Returns
    -------
    dict
        ``cases`` with their seconds, ``kept``, the cases that were done before, ``findings`` of those that failed, and
        the settings used.

    Raises
    ------
    MedpodiumError
        If nothing can be predicted, or the folder holds predictions of another model.
    """
    command = method.baseline.predict or ()
    if how.model is None and mentions(command, "model"):
        fix = "give --model FOLDER: what 'medpodium baseline train' printed, or weights from elsewhere"
        raise refuse(BaselineCode.NOT_TRAINED, f"baseline {method.name}", "predict needs {model}", fix)
    if not images.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, images, "no such folder", "check the path")
    facts = {
        "command": digest(list(command)),
        "labels": digest(home_settings(method)),
        "files": files_digest(method),
        "model": None if how.model is None else trained(method, how.model),
        "fold": how.fold,
    }
    out.mkdir(parents=True, exist_ok=True)
    done = Done(out, facts, overwrite=how.overwrite)
    with scratch_in(out) as scratch:
        rows: list[dict[str, Any]] = []
        findings: list[Finding] = []
        work = _Work(method, images, out, how, scratch, done, rows, findings, on_event or _silent)
        todo, kept = work.whole_table() if method.whole_table else work.open_cases()
        batches = [[case] for case in todo] if method.per_case else [todo] if todo else []
        for batch in batches:
            work.predict(batch, len(todo))
    settings = {"baseline": method.name, "device": device_of(how.device), "fold": how.fold}
    return {"out": str(out), "settings": settings, "cases": rows, "kept": kept, "findings": findings}


def _silent(_: Mapping[str, Any]) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class _Work:
    method: Method
    images: Path
    out: Path
    how: How
    scratch: Path
    done: Done
    rows: list[dict[str, Any]]
    findings: list[Finding]
    told: Any

    def whole_table(self) -> tuple[list[_Open], list[str]]:
        """Return the one answer of a task that asks for a table, open or kept."""
        digests = Inventory(self.scratch / "files.json").of(self.images, ["."])
        name, answers = self.method.task_name, list(answer_files(self.method))
        case = _Open(name, {}, {"images": digest(digests)}, answers)
        kept = self.done.has(name, case.images, answers)
        return ([], [name]) if kept else ([case], [])

    def open_cases(self) -> tuple[list[_Open], list[str]]:
        """Return the cases that are to be predicted, and those that are done."""
        layout = training_data.layout_of(self.method.task, None, self.how.image_patterns, None)
        patterns = list(answer_files(self.method))
        if strange := [name for pattern in patterns for name in placeholders(pattern) if name != "case"]:
            cause, fix = f"names of predictions have {{{strange[0]}}}", "let the challenge ask for {case}"
            raise refuse(BaselineCode.NO_CASES, "files.prediction", cause, fix)
        todo, kept = [], []
        for name, files in training_data.find_images(layout, self.images).items():
            answers = [format_name(pattern, {"case": name}) for pattern in patterns]
            case = _Open(name, files, {key: file_digest(path) for key, path in files.items()}, answers)
            if self.done.has(name, case.images, answers):
                kept.append(name)
            elif damaged := [(p, why) for p in files.values() if (why := damage(p.resolve(), full=self.how.full))]:
                self._lose(case, f"{damaged[0][0].name} {damaged[0][1]}")
            else:
                todo.append(case)
        return todo, kept

    def predict(self, batch: list[_Open], total: int) -> None:
        """Run the command over some cases, and take over what it wrote."""
        began = time.perf_counter()
        name = batch[0].name if len(batch) == 1 else f"{len(batch)} cases"
        self.told({"event": "stage", "name": f"predicting {name}"})
        folder = self.scratch / f"run-{len(self.rows) + len(self.findings)}"
        produced = folder / "out"
        produced.mkdir(parents=True)
        for case in batch:
            self.done.announce(case.name, case.images, case.answers)
        values: dict[str, object] = {
            "images": self._shown(batch, folder / "images"),
            "out": produced.resolve(),
            "fold": self.how.fold,
            "device": device_of(self.how.device),
            "case": batch[0].name,
        }
        if self.how.model is not None:
            values["model"] = self.how.model.resolve()
        values |= {f"image:{channel}": path.resolve() for channel, path in batch[0].files.items()}
        values["image"] = next((path.resolve() for path in batch[0].files.values()), "")
        try:
            self._need_channels(batch[0], values)
            start(self.method, "predict", self.method.baseline.predict or (), values, self.out / ".medpodium-logs")
        except MedpodiumError as error:
            if not self.method.per_case:
                raise
            self._lose(batch[0], error.findings[0].cause)
            return
        seconds = (time.perf_counter() - began) / len(batch)
        for case in batch:
            self._take(case, produced, seconds, total)

    def _shown(self, batch: list[_Open], folder: Path) -> Path:
        """Return a folder that holds the images of some cases and nothing else, named as they are."""
        if self.method.whole_table:
            return self.images.resolve()
        for case in batch:
            for path in case.files.values():
                target = folder / path.relative_to(self.images)
                target.parent.mkdir(parents=True, exist_ok=True)
                place(path.resolve(), target)
        return folder.resolve()

    def _need_channels(self, case: _Open, values: Mapping[str, object]) -> None:
        for word in self.method.baseline.predict or ():
            left = methods.fill([word], {**values, "python": ""})[0]
            if "{image:" in left:
                cause = f"lacks the channel {left.partition('{image:')[2].partition('}')[0]}"
                raise unusable(BaselineCode.CHANNEL_MISSING, case.name, cause, "add the file, or leave the case out")

    def _take(self, case: _Open, produced: Path, seconds: float, total: int) -> None:
        """Take over the files of one case, if all of them are there and whole."""
        settings = home_settings(self.method)
        try:
            written = methods.hand_over(settings, produced, {"case": case.name}, self.out)
            masks = [path for path in written if KINDS[self.method.task.kind].layout == "files"]
            cut = [(path, why) for path in masks if path.name.endswith(_MASKS) and (why := damage(path))]
            if cut:
                for path in written:
                    path.unlink()
                raise methods.MethodError(f"{cut[0][0].name} {cut[0][1]}")
        except methods.MethodError as error:
            self._lose(case, str(error))
            return
        self.done.finish(case.name)
        self.rows.append({"case": case.name, "seconds": seconds})
        count = len(self.rows) + len(self.findings)
        self.told({"event": "case", "name": case.name, "done": count, "total": total})

    def _lose(self, case: _Open, cause: str) -> None:
        fix = "mend it and run the same command again; the other cases are kept"
        self.findings.append(problem(BaselineCode.NOT_PREDICTED, case.name, cause, fix))
