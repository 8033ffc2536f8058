"""nnU-Net's three folders and its environment variables, handled for the user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.dataset import RECORD, read_record

TRAINERS = Path(__file__).parents[1] / "stunet"
"""Folder that nnU-Net searches for our trainers."""
DEFAULT = "nnunet"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
_TRAINERS = "nnUNet_extTrainer"
_MANY_CORES = 4


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

    def environment(self, device: str = "cpu") -> dict[str, str]:
        """Return the environment of an nnU-Net process; variables the user has set are kept."""
        trainers = [str(TRAINERS), *filter(None, [os.environ.get(_TRAINERS)])]
        folders = (self.raw, self.preprocessed, self.results)
        found = {**os.environ, **{name: str(path) for name, path in zip(_VARIABLES, folders, strict=True)}}
        found[_TRAINERS] = os.pathsep.join(trainers)
        cores = os.cpu_count() or 1
        # Workers that copy arrays between processes pay only where cores are left over
        few = cores <= _MANY_CORES or device == "cpu"
        found.setdefault("nnUNet_n_proc_DA", "0" if few else str(min(12, cores - 2)))
        found.setdefault("nnUNet_def_n_proc", str(max(1, min(8, cores // 2))))
        return found

    def dataset(self, challenge: str, task: str, baseline: str) -> Path:
        """Return the planned data set of a baseline.

        Raises
        ------
        UsageError
            If it was not planned in this workspace.
        """
        for record in sorted(self.raw.glob(f"Dataset*/{RECORD}")):
            notes = read_record(record.parent)
            if (notes.get("challenge"), notes.get("task"), notes.get("baseline")) == (challenge, task, baseline):
                return record.parent
        fix = f"run 'medpodium baseline plan {challenge} --baseline {baseline} ...' with the same --workspace first"
        cause = f"no data of {challenge}, task {task}, baseline {baseline}"
        raise refuse(BaselineCode.NOT_PLANNED, self.raw, cause, fix)

    def model(self, dataset: str, trainer: str, plans: str, configuration: str) -> Path:
        """Return the folder in which nnU-Net keeps a trained model."""
        return self.results / dataset / f"{trainer}__{plans}__{configuration}"
