"""Train the folds of a planned baseline: what is there is looked at before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines import extras, runs
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import digest, file_digest, write_json
from medpodium.baselines.nnunet.dataset import RECORD
from medpodium.baselines.nnunet.flow import Chosen, settings_of
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.spread import gpus
from medpodium.baselines.nnunet.training import check_start
from medpodium.baselines.nnunet.training_data import check_folds
from medpodium.baselines.nnunet.workspace import TRAINERS, Workspace, record_of
from medpodium.baselines.portable import networks
from medpodium.baselines.splits import FILE as SPLITS
from medpodium.baselines.splits import cases_of, make_splits
from medpodium.findings import MedpodiumError, has_errors

Job = dict[str, Any]


@dataclass(frozen=True)
class How:
    """Where and how far folds are trained.

    Parameters
    ----------
    device : str
        Where the network runs.
    iterations : int, optional
        Batches per epoch; nnU-Net's own when left out.
    validate : bool
        Predict the validation cases at the end.
    gpus : sequence of str
        GPUs to use, each for a fold at a time; whatever there is when empty.
    gpus_per_fold : int
        GPUs that train a fold together.
    """

    device: str = "auto"
    iterations: int | None = None
    validate: bool = True
    gpus: Sequence[str] = ()
    gpus_per_fold: int = 1


@dataclass(frozen=True)
class Start:
    """How a training starts.

    Parameters
    ----------
    resume : bool
        Keep finished folds, go on with others.
    restart : bool
        Set earlier trainings aside and start anew.
    pretrained : Path, optional
        Checkpoint to start from.
    stem : {"repeat", "average"}, optional
        Its weights of one channel over several.
    trust : bool
        Unpickle objects in it.
    """

    resume: bool = False
    restart: bool = False
    pretrained: Path | None = None
    stem: str | None = None
    trust: bool = False


def facts_of(job: Job, data: Any, preprocessed: Path) -> dict[str, Any]:
    """Return everything that decides what a training job computes, as plain data with digests of files.

    Parameters
    ----------
    job : dict
        As :func:`medpodium.baselines.nnunet.training.train_here` takes it.
    data : plain data
        Digests of the data set that was planned.
    preprocessed : Path
        nnU-Net's folder of the preprocessed data set.
    """
    plans, splits = preprocessed / f"{job['plans']}.json", preprocessed / SPLITS
    plan = json.loads(plans.read_text(encoding="utf-8")) if plans.exists() else None
    used = plan and {**plan, "configurations": _one(plan["configurations"], job["configuration"])}
    trainer = networks.locate(job["trainer"], [TRAINERS])  # of others, the name has to do
    return {
        **{key: job[key] for key in ("trainer", "configuration", "fold", "epochs", "iterations", "learning_rate")},
        "checkpoint": file_digest(Path(job["pretrained"])) if job["pretrained"] else None,
        "stem": job["stem"] if job["pretrained"] else None,
        "plans": digest(used),
        "data": digest(data),
        "splits": file_digest(splits) if splits.exists() and job["fold"] != "all" else None,
        "own_trainer": trainer is not None,
    }


def _one(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration and those that it inherits from; others may be planned anew meanwhile."""
    found: dict[str, Any] = {}
    while name in configurations and name not in found:
        found[name] = configurations[name]
        name = str(found[name].get("inherits_from"))
    return found


def train(
    chosen: Chosen,
    workspace: Workspace,
    *,
    how: How | None = None,
    start: Start | None = None,
    on_event: OnEvent | None = None,
) -> list[dict[str, Any]]:
    """Train the folds of a planned baseline, one after the other or side by side on several GPUs.

    Returns
    -------
    list of dict
        As :func:`medpodium.baselines.nnunet.training.train_here`, and ``model``, the folder to predict with.

    Raises
    ------
    UsageError
        Before anything is trained: if a fold holds a finished training, or one with other settings.
    """
    extras.require_nnunet()
    begin, how = start or Start(), how or How()
    dataset = workspace.dataset(chosen.challenge.reference, chosen.task_name, chosen.name)
    notes = record_of(dataset, chosen.name)
    check_start(chosen.baseline.trainer, begin.pretrained, begin.resume)
    if "plans" not in notes:
        fix = "run 'medpodium baseline plan' again; it was interrupted"
        raise refuse(BaselineCode.NOT_PLANNED, dataset.name, "converted, but not planned", fix)
    cases = cases_of(dataset)
    if has_errors(found := check_folds(len(cases), chosen.baseline.folds)):
        raise MedpodiumError(*found)
    device = extras.check_device(how.device)
    base: Job = {
        "dataset": dataset.name,
        "configuration": chosen.baseline.configuration,
        "trainer": chosen.baseline.trainer,
        "plans": notes["plans"],
        "device": device,
        "epochs": chosen.baseline.epochs,
        "iterations": how.iterations,
        "learning_rate": chosen.baseline.learning_rate,
        "pretrained": None if begin.pretrained is None else str(begin.pretrained.resolve()),
        "stem": begin.stem,
        "trust": begin.trust,
        "validate": how.validate,
    }
    places = gpus.group_gpus(how.gpus, how.gpus_per_fold)
    model = workspace.model(dataset.name, chosen.baseline.trainer, notes["plans"], chosen.baseline.configuration)
    preprocessed = workspace.preprocessed / dataset.name
    if any(fold != "all" for fold in chosen.baseline.folds):
        make_splits(workspace.preprocessed, dataset.name, cases)
    asked: list[tuple[runs.Fold, Mapping[str, Any]]] = []
    for fold in chosen.baseline.folds:
        known = runs.Fold.at(model / f"fold_{fold}")
        facts = facts_of({**base, "fold": fold}, notes.get("data"), preprocessed)
        if begin.resume and begin.pretrained is None and known.facts is not None:
            facts |= {key: known.facts.get(key) for key in ("checkpoint", "stem")}  # what it began with
        asked.append((known, facts))
    started = runs.check_start(asked, workspace.results, resume=begin.resume, restart=begin.restart)
    settings = settings_of(chosen)

    def one(
        item: tuple[int | str, tuple[runs.Fold, bool], Mapping[str, Any]],
        place: tuple[str, ...],
        starting: gpus.Starting,
    ) -> dict[str, Any]:
        fold, (own, goes_on), facts = item
        kept = _kept(own, validate=how.validate)
        if kept is None:
            job = {**base, "fold": fold, "resume": goes_on or begin.resume, "gpus": max(1, len(place))}

            def told(event: Mapping[str, Any]) -> None:
                if on_event is not None:
                    on_event({**event, "fold": fold})

            with own.busy():
                kept = run_job("train", job, workspace, device=device, on_event=told,
                               variables=gpus.variables(place, len(places)), on_start=starting)  # fmt: skip
            own.note(facts, kept)
        write_json(model / RECORD, notes | {"settings": settings})
        return {**kept, "model": str(model)}

    work = [(fold, start, facts) for fold, start, (_, facts) in zip(chosen.baseline.folds, started, asked, strict=True)]
    return gpus.side_by_side(work, places, one)


def _kept(fold: runs.Fold, *, validate: bool) -> dict[str, Any] | None:
    """Return the result of a fold of which nothing is left to do."""
    if fold.state != "finished" or not fold.result or (validate and not fold.result.get("validated")):
        return None
    return {**fold.result, "resumed_at": fold.result.get("epochs"), "seconds_per_epoch": None}
