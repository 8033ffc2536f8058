"""Made-up masks of three teams, for any challenge whose tasks predict label maps or one mask per structure.

Nothing here is medical: every label is a few bent tubes, nested where regions are, and teams miss, shift and invent
some.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from medpodium.challenges import registry
from medpodium.challenges.naming.patterns import format_name
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding, UsageError

TEAMS: Mapping[str, tuple[float, float]] = {"aurora": (0.3, 0.03), "borealis": (0.8, 0.1), "cirrus": (1.2, 0.25)}
"""Teams: how far labels are off, in voxels, and how often one is missed."""
CASES = "cases.csv"
"""Name of the table of cases, which says the level of every case in every group."""
_PLACES = ["north", "south"]
_SHAPE_ZYX = (24, 56, 56)
_SPACING_XYZ = (1.0, 1.0, 1.5)
_ABSENT = 0.15
"""How often a label is in no voxel of a reference."""

Labels = npt.NDArray[np.uint16]


class MaskDemoCode(Code):
    """Why no demo of masks can be made."""

    NO_MASKS = "demo-no-masks"
    """No task of the challenge takes masks that can be drawn: make the files of a small case by hand."""


def make(folder: Path, name: str, number: int, seed: int) -> dict[str, tuple[Path, dict[str, Path]]]:
    """Write references and three teams' predictions for every task of masks of a challenge.

    Parameters
    ----------
    folder : Path
        Where to; created when absent.
    name : str
        Name of the challenge, as for every verb.
    number : int
        Number of cases.
    seed : int
        Same seed, same files.

    Returns
    -------
    dict of str to (Path, dict of str to Path)
        Folder of references and those of the teams, by task. The table of cases is ``cases.csv`` in ``folder``.

    Raises
    ------
    UsageError
        If no task takes masks, or they are pictures.
    """
    challenge = registry.load(name)
    found: dict[str, tuple[Path, dict[str, Path]]] = {}
    cases = [f"{at:03d}" for at in range(1, number + 1)]
    for place, (task_name, task) in enumerate(challenge.tasks.items()):
        if not task.file_stems or getattr(task, "pictures", False):
            continue
        own = folder / task_name
        teams = {team: own / "predictions" / team for team in TEAMS}
        for at, case in enumerate(cases, 1):
            rng = np.random.default_rng([seed, place, at])
            reference = _reference(task, rng)
            _write(reference, task, task.files.reference, own / "references", case)
            for team, (off, missed) in TEAMS.items():
                if (team, at) != ("borealis", 3):  # a case that was forgotten
                    prediction = _prediction(reference, rng, off, missed)
                    _write(prediction, task, task.files.prediction, teams[team], case)
        found[task_name] = (own / "references", teams)
    if not found:
        fix = "name a challenge of masks, or leave --challenge out"
        raise UsageError(Finding(MaskDemoCode.NO_MASKS, name, "no task takes masks that can be drawn", fix))
    _write_cases(folder / CASES, challenge, cases)
    return found


def _write_cases(path: Path, challenge: Challenge, cases: Sequence[str]) -> None:
    """Spread the cases evenly over the levels of every group that does not follow from another one."""
    own = {name: group for name, group in challenge.groups.items() if group.derived_from is None}
    levels = {name: group.levels or _PLACES for name, group in own.items() if not group.cluster}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", *levels])
        table.writerows([case, *(known[at % len(known)] for known in levels.values())] for at, case in enumerate(cases))


def _reference(task: Any, rng: np.random.Generator) -> Labels:
    mask = np.zeros(_SHAPE_ZYX, np.uint16)
    named = {item.label for item in task.structures.values() if item.label is not None}
    others = set().union(*(item.labels for item in task.structures.values())) - named
    labels = sorted([*named, *sorted(others)[:6]])  # instances have a thousand labels
    depth = {label: sum(label in item.labels for item in task.structures.values()) for label in labels}
    if len(set(depth.values())) > 1:
        _nest(mask, sorted(labels, key=lambda label: depth[label]), rng)
        return mask
    for label in labels:
        if rng.random() < _ABSENT:
            continue
        for _ in range(int(rng.integers(1, 4))):
            mask[_tube(_line(rng), rng.uniform(1.2, 2.6))] = label
    return mask


def _nest(mask: Labels, labels: Sequence[int], rng: np.random.Generator) -> None:
    """Draw tumours whose inner labels lie in the outer ones, which come first; the innermost may be absent."""
    for _ in range(int(rng.integers(1, 4))):
        line, radius = _line(rng), rng.uniform(4.0, 6.0)
        inner = labels[:-1] if rng.random() < _ABSENT else labels
        for place, label in enumerate(inner):
            mask[_tube(line, radius * (1 - place / len(labels)))] = label


def _line(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the middle of a bent tube, shape (40, 3)."""
    at = np.linspace(0, 1, 40)[:, None]
    ends = rng.uniform(0.15, 0.85, (2, 3)) * _SHAPE_ZYX
    ends[1] = ends[0] + (ends[1] - ends[0]) * rng.uniform(0.1, 0.6)
    return np.asarray(ends[0] * (1 - at) + ends[1] * at + 2 * np.sin(np.pi * at) * rng.standard_normal(3))


def _tube(line: npt.NDArray[np.float64], radius: float) -> tuple[npt.NDArray[np.intp], ...]:
    """Return the voxels within a radius of a line."""
    grid = np.argwhere(np.ones(np.ceil(2 * np.full(3, radius) + 1).astype(int)))
    near = grid[((grid - radius) ** 2).sum(axis=1) <= radius**2] - round(radius)
    points = np.unique((np.rint(line)[:, None] + near[None]).reshape(-1, 3).astype(int), axis=0)
    inside = ((points >= 0) & (points < _SHAPE_ZYX)).all(axis=1)
    return tuple(points[inside].T)


def _prediction(reference: Labels, rng: np.random.Generator, off: float, missed: float) -> Labels:
    """Shift every label by itself, leave some out, and invent a speck."""
    mask = np.zeros_like(reference)
    labels = np.unique(reference[reference > 0])
    for label in labels:
        if rng.random() >= missed:
            shift = tuple(np.rint(rng.normal(0, off, 3)).astype(int).tolist())
            mask[np.roll(reference == label, shift, (0, 1, 2))] = label
    if labels.size and rng.random() < 2 * missed:
        mask[2:4, 2:4, 2:5] = rng.choice(labels)
    return mask


def _write(mask: Labels, task: Any, pattern: str, folder: Path, case: str) -> None:
    parts: dict[str, npt.NDArray[Any]] = {"": mask}
    if "{structure}" in pattern:
        parts = {
            item.file or name: np.isin(mask, sorted(item.labels)).astype(np.uint8)
            for name, item in task.structures.items()
        }
    for structure, voxels in parts.items():
        path = folder / format_name(pattern, {"case": case, "structure": structure})
        path.parent.mkdir(parents=True, exist_ok=True)
        image: Any = SimpleITK.GetImageFromArray(voxels.astype(np.uint8) if voxels.max() < 256 else voxels)
        image.SetSpacing(_SPACING_XYZ)
        SimpleITK.WriteImage(image, str(path))
