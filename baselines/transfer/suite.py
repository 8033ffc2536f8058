"""Does pre-training pay? Trains every data set from scratch and fine-tuned, and hands the Dice values to the analysis.

A run whose validation summary is there is done, if it was trained with what the suite asks for: settings, plan, cases
and starting weights are noted beside every fold and compared. Nothing is kept anywhere but in nnU-Net's own folders and
the table of results.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, problem, refuse
from medpodium.baselines.fingerprints import differences, file_digest, write_json
from medpodium.baselines.nnunet.dataset import place
from medpodium.baselines.nnunet.folds import facts_of
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.plans import plan_job
from medpodium.baselines.nnunet.training_data import AGAIN
from medpodium.baselines.nnunet.workspace import Workspace, data_digests, trained_on
from medpodium.baselines.portable.image_files import damage
from medpodium.baselines.runs import Fold, set_aside
from medpodium.baselines.transfer.definition import (
    DataSet,
    Run,
    Suite,
    channels_of,
    check_checkpoints,
    count_labels,
    runs,
)
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema.baseline import Baseline
from medpodium.findings import MedpodiumError

_PLAN = "medpodium-plan.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a run: Dice over the validation fold (mean over labels), or why it failed."""

    run: Run
    dice: float | None
    failure: str = ""


def execute(
    suite: Suite,
    workspace: Workspace,
    *,
    device: str = "auto",
    retrain: bool = False,
    full: bool = False,
    on_run: Callable[[Run, int, int], None] | None = None,
    on_event: OnEvent | None = None,
) -> list[Outcome]:
    """Check the checkpoints, then train what is not done yet; one failed run never stops the others.

    Parameters
    ----------
    retrain : bool
        Set trainings with other settings, data or weights aside and train anew; otherwise such a run fails.
    full : bool
        Unpack every image to check it.

    Returns
    -------
    list of Outcome
        In the order of :func:`runs`.
    """
    extras.require_nnunet()
    device = extras.check_device(device)
    check_checkpoints(suite)
    weights = {size: file_digest(Path(path)) for size, path in suite.checkpoints.items() if size in suite.sizes}
    todo = list(runs(suite))
    planned: dict[str, Mapping[str, Any]] = {}
    outcomes = []
    for index, run in enumerate(todo, start=1):
        if on_run is not None:
            on_run(run, index, len(todo))
        try:
            title = run.dataset.title
            if title not in planned:
                planned[title] = _plan(suite, run.dataset, workspace, on_event, retrain=retrain, full=full)
            job = job_of(suite, run, planned[title], device)
            start = weights.get(run.size) if run.fine_tuned else None
            outcomes.append(Outcome(run, _train(job, planned[title], start, workspace, on_event, retrain=retrain)))
        except MedpodiumError as error:
            outcomes.append(Outcome(run, None, str(error.findings[0])))
        except (OSError, ValueError, KeyError) as error:
            outcomes.append(Outcome(run, None, f"{type(error).__name__}: {error}"))
    return outcomes


def known_as(workspace: Workspace, item: DataSet) -> str | None:
    """Return the name of a raw folder in the workspace, if it was brought there."""
    source = Path(item.raw).resolve()
    if source.parent == workspace.raw:
        return source.name
    clean = _clean(source)
    return next((path.name for path in sorted(workspace.raw.glob(f"Dataset*_{clean}"))), None)


def _clean(source: Path) -> str:
    match = re.fullmatch(r"Dataset(\d{3})_(\w+)", source.name)
    return re.sub(r"\W+", "", match[2] if match else source.name)


def dataset_in(workspace: Workspace, item: DataSet) -> str:
    """Bring a raw folder into the workspace by links, and return its name there.

    Raises
    ------
    UsageError
        If there is a data set of this name from another folder.
    """
    source = Path(item.raw).resolve()
    if source.parent == workspace.raw:
        return source.name
    name = known_as(workspace, item)
    if name is None:
        wanted, taken = re.match(r"Dataset(\d{3})_", source.name), workspace.taken()
        full = f"{wanted[0]}{_clean(source)}" if wanted else ""
        number = int(wanted[1]) if wanted and taken.get(int(wanted[1]), full) == full else None
        number = number or next(n for n in range(700, 1000) if n not in taken)
        name = f"Dataset{number:03d}_{_clean(source)}"
    target = workspace.raw / name
    wanted_files = {
        path.relative_to(source): path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not is_hidden(path.relative_to(source).as_posix())  # nnU-Net would take ._x for a case
    }
    for path in sorted(target.rglob("*")):
        inside = path.relative_to(target)
        if path.is_dir() or is_hidden(inside.as_posix()):
            continue
        own = wanted_files.get(inside)
        if own is None and path.is_symlink() and path.resolve().is_relative_to(source):
            path.unlink()  # its case has left the folder
        elif own is None or (path.resolve() != own.resolve() and file_digest(path) != file_digest(own)):
            cause = f"is not from {source}, but a data set of the same name is in the workspace"
            fix = "rename one of the folders, or use another --workspace"
            raise refuse(BaselineCode.DATASET_EXISTS, path, cause, fix)
    for inside, path in wanted_files.items():
        copy = target / inside
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            place(path, copy)
    return name


def _settings(suite: Suite, data: Mapping[str, str]) -> dict[str, Any]:
    """Return what decides a data set's plan."""
    return {"patch": list(suite.patch_zyx) if suite.patch_zyx else None, "nnunet": version("nnunetv2"), **data}


def known_plan(suite: Suite, item: DataSet, workspace: Workspace) -> dict[str, Any] | None:
    """Return a data set's plan as it was noted, if it was made for the suite's patch; the data are not looked at."""
    name = known_as(workspace, item)
    try:
        found: dict[str, Any] = json.loads((workspace.preprocessed / str(name) / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found["settings"].get("patch") == _settings(suite, {})["patch"] else None


def _plan(
    suite: Suite, item: DataSet, workspace: Workspace, on_event: OnEvent | None, *, retrain: bool, full: bool
) -> Mapping[str, Any]:
    """Plan a data set; a plan of the same cases, patch and version of nnU-Net is read back."""
    name = dataset_in(workspace, item)
    _check_images(workspace.raw / name, full=full)
    done = workspace.preprocessed / name / _PLAN
    settings = _settings(suite, data_digests(workspace.raw / name, workspace.raw / f".{name}.files.json"))
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        different = differences(found["settings"], settings)
        if not different:
            return found
        trained = trained_on(workspace, name)
        if trained and not retrain:
            cause = f"was planned otherwise, and {len(trained)} folds were trained on that plan: {'; '.join(different)}"
            fix = "use --retrain, which sets plan and trainings aside, or another --workspace"
            raise refuse(BaselineCode.PLANNED_OTHERWISE, name, cause, fix)
        for root in (workspace.preprocessed, workspace.results):
            if (root / name).exists():
                set_aside(root / name, root)
    job = plan_job(name, "transfer", Baseline(method="STU-Net", patch_zyx=suite.patch_zyx))
    found = run_job("plan", job, workspace, on_event=on_event) | {"dataset": name, "settings": settings}
    write_json(done, found)
    return found


def _check_images(raw: Path, *, full: bool) -> None:
    wrong = [
        problem(BaselineCode.UNREADABLE, f"{raw.name}: {path.name}", cause, AGAIN)
        for path in sorted((raw / "imagesTr").glob("*"))
        if not is_hidden(path.name) and path.is_file() and (cause := damage(path.resolve(), full=full))
    ]
    if wrong:
        raise MedpodiumError(*wrong)


def job_of(suite: Suite, run: Run, plan: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return the job that trains one run of the suite."""
    return {
        "dataset": plan["dataset"],
        "configuration": plan["configuration"],
        "fold": suite.fold,
        "trainer": run.trainer,
        "plans": plan["plans"],
        "device": device,
        "epochs": suite.epochs,
        "iterations": suite.iterations,
        "learning_rate": None,
        "pretrained": str(Path(suite.checkpoints[run.size]).resolve()) if run.fine_tuned else None,
        "stem": suite.stem if run.fine_tuned else None,
        "trust": suite.trust_checkpoints,
        "validate": True,
    }


def _train(
    job: dict[str, Any],
    plan: Mapping[str, Any],
    weights: str | None,
    workspace: Workspace,
    on_event: OnEvent | None,
    *,
    retrain: bool,
) -> float | None:
    """Train a fold, go on with it, or read its result, after comparing what it was trained with."""
    folder = workspace.model(job["dataset"], job["trainer"], job["plans"], job["configuration"]) / f"fold_{job['fold']}"
    facts = facts_of({**job, "pretrained": None}, plan["settings"], workspace.preprocessed / job["dataset"])
    facts |= {"checkpoint": weights, "stem": job["stem"]}
    fold = Fold.at(folder)
    if fold.state != "absent" and (different := fold.unlike(facts)):
        if not retrain:
            kind = "a finished" if fold.state == "finished" else "an unfinished"
            fix = "use --retrain, which sets it aside, or another --workspace"
            raise refuse(BaselineCode.TRAINED_OTHERWISE, folder, f"holds {kind} training: {'; '.join(different)}", fix)
        set_aside(folder, workspace.results)
        fold = Fold.at(folder)
    summary = folder / "validation" / "summary.json"
    if summary.exists():
        value = json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
        return None if value is None else float(value)
    resume = fold.state != "absent"
    fold.note(facts)
    job = {**job, "resume": resume, "pretrained": None if resume else job["pretrained"]}
    with fold.busy():
        result = run_job("train", job, workspace, device=job["device"], on_event=on_event)
    dice = result["validation_dice"]
    fold.note(facts_of({**job, "pretrained": None}, plan["settings"], workspace.preprocessed / job["dataset"])
              | {"checkpoint": weights, "stem": job["stem"]}, result)  # fmt: skip
    return None if dice is None else float(dice)


def write_results(suite: Suite, outcomes: list[Outcome], path: Path) -> None:
    """Write the table that the suite's analysis reads: a row per data set, a column ``dice_<model>`` per model."""
    models = list(dict.fromkeys(outcome.run.model for outcome in outcomes))
    header = ["Dataset", "modality", "target_kind", "channels", "train", *(f"dice_{model}" for model in models)]
    rows = []
    for item in suite.datasets:
        count = count_labels(Path(item.raw))
        values = {outcome.run.model: outcome.dice for outcome in outcomes if outcome.run.dataset is item}
        cells = ["" if values.get(model) is None else f"{values[model]:.6f}" for model in models]
        # the suite counts the cases that were trained on, which fold 0 is not among
        facts = [item.title, item.modality, item.target_kind, len(channels_of(item)), count - -(-count // 5)]
        rows.append([*facts, *cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
