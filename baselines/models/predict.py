"""Predict every case of a folder with a trained model: case by case, so that what is done is never lost or repeated."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, problem
from medpodium.baselines.fingerprints import digest, file_digest
from medpodium.baselines.models.record import Checkpoint, Member, members_of, record_for
from medpodium.baselines.nnunet import training_data
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.prediction import prediction_cases, targets, to_challenge
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.baselines.predicted import Done, scratch_in
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding, InfrastructureError, MedpodiumError

_DEATHS = 2
"""Cases in a row whose worker died, after which the machine is to blame and not the case."""

Row = tuple[str, list[str], str]


@dataclass(frozen=True)
class How:
    """How to predict; ``None`` means as in the training.

    Parameters
    ----------
    folds : sequence, optional
        Folds to average; every trained one when left out.
    checkpoint : {"final", "best", "latest"}, optional
        Which weights of each.
    device : str
        Where the network runs.
    step_size, mirroring, fast_export : optional
        Of the sliding window, of the test-time augmentation, of the resampling of probabilities.
    image_patterns : mapping of str to str
        Where images are named otherwise than in the training.
    full : bool
        Unpack every image to check it.
    trust : bool
        Unpickle objects in checkpoints.
    overwrite : bool
        Replace predictions of other models or settings.
    npz : Path, optional
        Folder for the probabilities of the classes, as ``nnUNetv2_ensemble`` reads them.
    """

    folds: Sequence[int | str] | None = None
    checkpoint: Checkpoint | None = None
    device: str = "auto"
    step_size: float | None = None
    mirroring: bool | None = None
    fast_export: bool | None = None
    image_patterns: Mapping[str, str] = field(default_factory=dict)
    full: bool = False
    trust: bool = False
    overwrite: bool = False
    npz: Path | None = None


def predict(
    challenge: Challenge, model: Path, images: Path, out: Path, how: How | None = None, on_event: OnEvent | None = None
) -> dict[str, Any]:
    """Predict every case of a folder and write the challenge's files; options left out are those of the training.

    Returns
    -------
    dict
        ``cases`` with seconds of preprocessing, network and export, ``kept``, the cases that were done before,
        ``findings`` of those that failed, and the settings used.

    Raises
    ------
    MedpodiumError
        If nothing can be predicted, or the folder holds predictions of another model.
    """
    extras.require_nnunet()
    how = how or How()
    notes, task = record_for(challenge, model)
    settings = notes["settings"]
    layout = training_data.layout_of(task, notes["channels"], {**notes["images"], **how.image_patterns}, None)
    found = training_data.find_images(layout, images)
    device = extras.check_device(how.device)
    members = members_of(model, notes, how.folds, how.checkpoint)
    used: dict[str, Any] = {
        "folds": list(members[0].folds),
        "checkpoint": members[0].checkpoint,
        "step_size": settings["step_size"] if how.step_size is None else how.step_size,
        "mirroring": settings["mirroring"] if how.mirroring is None else how.mirroring,
        "fast_export": settings["fast_export"] if how.fast_export is None else how.fast_export,
    }
    out.mkdir(parents=True, exist_ok=True)
    done = Done(out, _facts(members, notes, task, used), overwrite=how.overwrite)
    with scratch_in(out) as scratch:
        todo, kept, findings = _open_cases(task, notes, found, scratch, done, how.npz)
        job = {
            **used,
            "device": device,
            "members": [member.job() for member in members],
            "postprocessing": notes.get("postprocessing", []),
            "probabilities": how.npz is not None,
            "trust": how.trust,
            "full": how.full,
        }
        # The model may have been moved out of its workspace; what nnU-Net prints is kept beside it
        here = Workspace(model, model, model / "results")
        rows: list[dict[str, Any]] = []

        def told(event: Mapping[str, Any]) -> None:
            if event["event"] == "case":
                if how.npz is not None:
                    _hand_over_probabilities(event, members[0].folder, how.npz)
                _hand_over(event, task, notes, done, rows, findings)
            elif event["event"] == "failed":
                findings.append(_not_predicted(event["name"], event["cause"]))
            if on_event is not None:
                on_event(event)

        _run(todo, job, here, device, told, findings)
    return {"out": str(out), "settings": {**used, "device": device}, "cases": rows, "kept": kept, "findings": findings}


def _facts(
    members: Sequence[Member], notes: Mapping[str, Any], task: SegmentationTask, used: Mapping[str, Any]
) -> dict[str, Any]:
    first = members[0]
    facts = {
        "weights": _weights_of(first),
        "plans": file_digest(first.folder / "plans.json"),
        "labels": digest([file_digest(first.folder / "dataset.json"), notes["values"]]),
        "files": digest(targets(task, "{case}")),
        **used,
    }
    others = [stage for member in members for stage in member.stages()][1:]
    if others:
        facts["other_networks"] = digest([[_weights_of(one), file_digest(one.folder / "plans.json")] for one in others])
    if notes.get("postprocessing"):
        facts["postprocessing"] = notes["postprocessing"]
    return facts


def _weights_of(member: Member) -> str:
    return digest({fold: file_digest(path) for fold, path in zip(member.folds, member.checkpoints(), strict=True)})


def _open_cases(
    task: SegmentationTask,
    notes: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Path]],
    scratch: Path,
    done: Done,
    npz: Path | None,
) -> tuple[list[Row], list[str], list[Finding]]:
    """Return the cases that are to be predicted, those that are done, and what is wrong with others."""
    todo: list[Row] = []
    kept: list[str] = []
    findings: list[Finding] = []
    zeros = notes.get("missing_channel") == "zero"
    for name, files in found.items():
        try:
            images = {channel: file_digest(path) for channel, path in files.items()}
        except OSError as error:
            findings.append(_not_predicted(name, f"its image cannot be read: {error.strerror or error}"))
            continue
        names = list(targets(task, name).values())
        if done.has(name, images, names) and (npz is None or (npz / f"{name}.npz").is_file()):
            kept.append(name)
            continue
        try:
            todo += prediction_cases({name: files}, notes["channels"], scratch, zeros=zeros)
        except MedpodiumError as error:
            findings += error.findings
            continue
        except RuntimeError as error:  # SimpleITK, of an image that is to be replaced by zeros of its size
            findings.append(_not_predicted(name, _last_line(error)))
            continue
        done.announce(name, images, names)
    return todo, kept, findings


def _hand_over_probabilities(event: Mapping[str, Any], model: Path, folder: Path) -> None:
    """Put the probabilities of a case, and what nnU-Net wants to know of the model, where they were asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("plans.json", "dataset.json"):
        if not (folder / name).exists():
            shutil.copyfile(model / name, folder / name)
    for ending in (".pkl", ".npz"):  # the one that is looked for comes last
        made = Path(event["file"]).parent / f"{event['name']}{ending}"
        partial = folder / f".{made.name}.part"
        shutil.move(made, partial)
        partial.replace(folder / made.name)


def _hand_over(
    event: Mapping[str, Any],
    task: SegmentationTask,
    notes: Mapping[str, Any],
    done: Done,
    rows: list[dict[str, Any]],
    findings: list[Finding],
) -> None:
    """Write a case's files in the challenge's layout as soon as nnU-Net has its own ready."""
    name, produced = event["name"], Path(event["file"])
    try:
        to_challenge(task, notes, produced, name, done.out)
        done.finish(name)
    except (OSError, RuntimeError) as error:
        told = _last_line(error)
        findings.append(_not_predicted(name, f"its files cannot be written: {told}"))
        return
    finally:
        produced.unlink(missing_ok=True)
    rows.append({"case": name, **{key: event[key] for key in ("preprocess", "network", "export")}})


def _run(
    todo: list[Row], job: Mapping[str, Any], here: Workspace, device: str, told: OnEvent, findings: list[Finding]
) -> None:
    """Predict the open cases; a worker that dies of one of them is started again for those behind it."""
    deaths = 0
    while todo:
        begun: list[str] = []
        ended: list[str] = []

        def watch(event: Mapping[str, Any], begun: list[str] = begun, ended: list[str] = ended) -> None:
            if event["event"] == "begin":
                begun.append(event["name"])
            elif event["event"] in ("case", "failed"):
                ended.append(event["name"])
            told(event)

        try:
            run_job("predict", {**job, "cases": todo}, here, device=device, on_event=watch)
            return
        except InfrastructureError as error:
            deaths = 1 if ended else deaths + 1
            if not begun or begun[-1] in ended or deaths >= _DEATHS:
                if findings:
                    raise InfrastructureError(*error.findings, *findings) from None
                raise
            findings.append(_not_predicted(begun[-1], error.findings[0].cause))
            todo = todo[[name for name, _, _ in todo].index(begun[-1]) + 1 :]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def _not_predicted(case: str, cause: str) -> Finding:
    fix = "repair the image (the log says more) and run the same command again; the other cases are kept"
    return problem(BaselineCode.NOT_PREDICTED, case, cause, fix)
