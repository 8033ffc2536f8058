"""nnU-Net's three folders and its environment variables, handled for the user.

nnU-Net finds a data set by its number alone, overwrites plans, and goes on with whatever it finds: what is in these
folders is looked at first, and what has to make room is moved, not deleted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse, warning
from medpodium.baselines.fingerprints import Inventory, digest
from medpodium.baselines.nnunet.dataset import RECORD, dataset_name, read_record
from medpodium.baselines.portable.cores import limit_threads, usable_cores
from medpodium.baselines.runs import set_aside
from medpodium.baselines.splits import FILE as SPLITS
from medpodium.findings import Finding

TRAINERS = Path(__file__).parents[1] / "stunet"
"""Folder that nnU-Net searches for our trainers."""
DEFAULT = "nnunet"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
_TRAINERS = "nnUNet_extTrainer"
_MANY_CORES = 4
_OWNERS = ("challenge", "task", "baseline")


@dataclass(frozen=True)
class Workspace:
    """Where nnU-Net keeps raw data, preprocessed data and trained models."""

    raw: Path
    preprocessed: Path
    results: Path

    @classmethod
    def at(cls, folder: Path | None) -> Workspace:
        """Return the workspace of a folder; without one, of nnU-Net's own variables, else ``./nnunet``."""
        if folder is None and all(os.environ.get(name) for name in _VARIABLES):
            return cls(*(Path(os.environ[name]).resolve() for name in _VARIABLES))
        root = (folder or Path(DEFAULT)).resolve()
        return cls(*(root / name for name in _VARIABLES))

    @property
    def logs(self) -> Path:
        """Folder of what nnU-Net prints."""
        return self.results.parent / "logs"

    def environment(
        self, device: str = "cpu", *, trainers: Sequence[Path] = (), threads: int | None = None
    ) -> dict[str, str]:
        """Return the environment of an nnU-Net process; variables the user has set are kept.

        Parameters
        ----------
        device : str
            Where the network runs.
        trainers : sequence of Path
            Folders of further trainers.
        threads : int, optional
            Of the numerical libraries; as many as this process may use when left out.
        """
        searched = [str(TRAINERS), *map(str, trainers), *filter(None, [os.environ.get(_TRAINERS)])]
        folders = (self.raw, self.preprocessed, self.results)
        found = {**os.environ, **{name: str(path) for name, path in zip(_VARIABLES, folders, strict=True)}}
        found[_TRAINERS] = os.pathsep.join(searched)
        cores = usable_cores()
        limit_threads(found, threads or cores)
        # Workers that copy arrays between processes pay only where cores are left over
        few = cores <= _MANY_CORES or device == "cpu"
        found.setdefault("nnUNet_n_proc_DA", "0" if few else str(min(12, cores - 2)))
        found.setdefault("nnUNet_def_n_proc", str(max(1, min(8, cores // 2))))
        return found

    def taken(self) -> dict[int, str]:
        """Return the numbers of data sets in any of the three folders, with the name that holds each."""
        found: dict[int, str] = {}
        for folder in (self.raw, self.preprocessed, self.results):
            for path in sorted(folder.glob("Dataset*")):
                if match := re.match(r"Dataset(\d{3})_", path.name):
                    found.setdefault(int(match[1]), path.name)
        return found

    def dataset(self, challenge: str, task: str, baseline: str) -> Path:
        """Return the planned data set of a baseline.

        Raises
        ------
        UsageError
            If it was not planned in this workspace.
        """
        for record in sorted(self.raw.glob(f"Dataset*/{RECORD}")):
            notes = record_of(record.parent, baseline)
            if (notes.get("challenge"), notes.get("task"), notes.get("baseline")) == (challenge, task, baseline):
                return record.parent
        fix = f"run 'medpodium baseline plan {challenge} --baseline {baseline} ...' with the same --workspace first"
        cause = f"no data of {challenge}, task {task}, baseline {baseline}"
        raise refuse(BaselineCode.NOT_PLANNED, self.raw, cause, fix)

    def model(self, dataset: str, trainer: str, plans: str, configuration: str) -> Path:
        """Return the folder in which nnU-Net keeps a trained model."""
        return self.results / dataset / f"{trainer}__{plans}__{configuration}"


def record_of(dataset: Path, baseline: str) -> dict[str, Any]:
    """Return the notes on a data set as one of the baselines that use it sees them."""
    notes = read_record(dataset)
    others = notes.pop("others", {})
    return {**notes, **others[baseline], "baseline": baseline} if baseline in others else notes


def same_data(workspace: Workspace, record: Mapping[str, Any], trainer: str, configuration: str) -> str | None:
    """Return the data set of another baseline that holds the same cases and labels, to be used by this one, too.

    Not where both would train into the same folder: nnU-Net names it by trainer, plan and configuration.

    Parameters
    ----------
    record : mapping
        Notes on the new data set, with the digests of its files.
    trainer, configuration : str
        Of the new baseline.
    """
    for path in sorted(workspace.raw.glob(f"Dataset*/{RECORD}")):
        notes = read_record(path.parent)
        if any(notes.get(key) != record.get(key) for key in ("challenge", "task", "values", "channels", "data")):
            continue
        users = [notes, *notes.get("others", {}).values()]
        taken = [(user.get("settings", {}).get("trainer"), user.get("settings", {}).get("configuration"))
                 for user in users]  # fmt: skip
        if notes.get("baseline") != record["baseline"] and (trainer, configuration) not in taken:
            return path.parent.name
    return None


def name_for(workspace: Workspace, title: str, record: Mapping[str, Any], number: int | None) -> str:
    """Return the data set's name: the one it has, or one that no other data set has in any of the folders.

    Raises
    ------
    UsageError
        If the number asked for is taken.
    """
    taken = workspace.taken()
    for key, name in list(taken.items()):
        notes = read_record(workspace.raw / name)
        if notes and any(notes.get(field) != record[field] for field in _OWNERS):
            taken[key] = f"{name} of {notes.get('challenge')}"  # another edition may have the same title
    return dataset_name(workspace.raw, title, number, taken)


def data_digests(folder: Path, notes: Path) -> dict[str, str]:
    """Return digests of a raw data set: of its images, its labels, and what ``dataset.json`` says of them."""
    inventory = Inventory(notes)
    found = inventory.of(folder, ("imagesTr", "labelsTr"))
    parts = {"images": "imagesTr/", "labels": "labelsTr/"}
    facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    says = {key: facts.get(key) for key in ("channel_names", "modality", "labels", "regions_class_order")}
    own = {name: digest({key: value for key, value in found.items() if key.startswith(start)})
           for name, start in parts.items()}  # fmt: skip
    return {**own, "description": digest(says)}


def trained_on(workspace: Workspace, dataset: str) -> list[Path]:
    """Return the folds that were trained, or begun, on a data set."""
    return sorted({path.parent for path in (workspace.results / dataset).glob("*/fold_*/checkpoint_*.pth")})


def make_room(
    workspace: Workspace, dataset: str, data: Mapping[str, str], *, replace: bool
) -> tuple[bool, list[Finding]]:
    """Prepare for planning: keep what was made of the same data, set aside what was made of others.

    Parameters
    ----------
    data : mapping
        Digests of the data that will be planned.
    replace : bool
        Set trainings aside, too.

    Returns
    -------
    (same, findings)
        Whether earlier plans are of the same data and stay.

    Raises
    ------
    UsageError
        If something was trained on other data and may not be set aside.
    """
    planned, before = workspace.preprocessed / dataset, read_record(workspace.raw / dataset).get("data")
    trained = trained_on(workspace, dataset)
    if before == data or not (planned.exists() or trained):
        return before == data, []
    different = [name for name in data if before is None or before.get(name) != data[name]]
    what = "unknown data (nothing was noted of them)" if before is None else f"other {' and '.join(different)}"
    if trained and not replace:
        cause = f"{len(trained)} fold{'s were' if len(trained) > 1 else ' was'} trained on {what}, first {trained[0]}"
        fix = "use --replace, which sets plan and trainings aside, or another --dataset-id or --workspace"
        raise refuse(BaselineCode.PLANNED_OTHERWISE, dataset, cause, fix)
    found = []
    for root in (workspace.preprocessed, workspace.results):
        if (root / dataset).exists():
            moved = set_aside(root / dataset, root)
            cause = f"was made from {what}"
            found.append(warning(BaselineCode.PLANNED_OTHERWISE, root / dataset, cause, f"it is now {moved}"))
            if (moved / SPLITS).exists():
                (root / dataset).mkdir(parents=True)
                shutil.copyfile(moved / SPLITS, root / dataset / SPLITS)
    return False, found
