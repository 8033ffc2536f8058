"""The program of a packaged baseline: the trainer it needs, and whether it can load the model at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.models.record import trainer_folders
from medpodium.baselines.models.trainers import with_neighbours
from medpodium.baselines.nnunet.prediction import external_folders
from medpodium.baselines.portable import networks


def carry_trainer(trainer: str, model: Path, target: Path) -> str | None:
    """Copy what a trainer's own network needs into a build context.

    Returns
    -------
    str, optional
        Module to import it from; None where the plans describe the network.

    Raises
    ------
    UsageError
        If the trainer is not found or its file cannot be imported.
    """
    folders = [*trainer_folders(model), *external_folders(), networks.own_folder()]
    path = networks.locate(trainer, folders)
    if path is None:
        fix = "adopt the model with --trainer-file FILE, or set nnUNet_extTrainer to the folder of its trainer"
        raise refuse(BaselineCode.PACKAGE, trainer, "no file defines this trainer", fix)
    if path == networks.own_folder() / f"{networks.PLAIN}.py":
        return None
    try:
        kind = getattr(networks.import_file(path), trainer)
    except networks.NetworkError as error:
        raise refuse(BaselineCode.PACKAGE, trainer, str(error), "install what its file imports") from None
    if not networks.builds_own_network(kind):
        return None
    if path.is_relative_to(networks.own_folder()):
        return str(kind.__module__)
    for file in with_neighbours(path):
        there = target / file.name
        if there.exists() and there.read_bytes() != file.read_bytes():
            fix = "package the models one by one, or give the files different names"
            raise refuse(BaselineCode.PACKAGE, file, "another trainer brings another file of this name", fix)
        shutil.copyfile(file, there)
    return path.stem


def try_out(context: Path, trainer: str) -> None:
    """Have the packaged program build and fill its networks on this machine, with nothing but the context in reach.

    Raises
    ------
    UsageError
        With the last line of what it says.
    """
    hidden = ("nnUNet", "PYTHON")  # nothing of these is there in an image
    clean = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    command = [sys.executable, "-B", str(context / "predict.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=context, check=False)
    if answer.returncode != 0:
        last = next((line.strip() for line in reversed(answer.stderr.splitlines()) if line.strip()), "no output")
        fix = "adopt the model with --trainer-file FILE, which is carried with the files beside it that it imports"
        raise refuse(BaselineCode.PACKAGE, trainer, f"the packaged program cannot load the model: {last[:300]}", fix)
