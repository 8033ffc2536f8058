"""Bring the file of a trainer along that nnU-Net does not have, with the files beside it that it imports."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.models.record import trainer_folders
from medpodium.baselines.nnunet.prediction import external_folders
from medpodium.baselines.portable import networks


def carry_trainer(trainer: str, source: Path, target: Path, given: Path | None) -> None:
    """Copy the file of a trainer that nnU-Net does not have, with those beside it that it imports, to the model."""
    own = [given] if given else [*trainer_folders(source), networks.own_folder(), *external_folders()]
    path = networks.locate(trainer, own)
    if path is None:
        fix = "give the file that defines it with --trainer-file FILE, or set nnUNet_extTrainer"
        raise refuse(BaselineCode.TRAINER, given or trainer, f"no class {trainer} is defined there", fix)
    if given is None and path.is_relative_to(networks.own_folder()):
        return
    if path.parent in trainer_folders(target):
        return
    (target / "trainers").mkdir(exist_ok=True)
    for file in with_neighbours(path):
        shutil.copyfile(file, target / "trainers" / file.name)


def with_neighbours(path: Path) -> Iterator[Path]:
    """Yield a Python file and the files beside it that it imports, those that they import, and so on."""
    waiting, seen = [path], {path}
    while waiting:
        file = waiting.pop()
        yield file
        for name in _imports(file):
            other = file.parent / f"{name}.py"
            if other.is_file() and other not in seen:
                seen.add(other)
                waiting.append(other)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module.partition(".")[0]] if node.module else (alias.name for alias in node.names)
