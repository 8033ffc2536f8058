"""Which cases a fold trains and validates on: nnU-Net's ``splits_final.json``, checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import write_json
from medpodium.baselines.runs import set_aside

FILE = "splits_final.json"
SEED, FOLDS = 12345, 5
"""nnU-Net's seed and number of folds."""


def keep_splits(
    preprocessed: Path,
    dataset: str,
    cases: Sequence[str],
    given: Path | None,
    *,
    made: list[dict[str, list[str]]] | None = None,
    trained: bool,
) -> None:
    """Put folds in place, those that are given or there already; both have to fit the cases.

    Parameters
    ----------
    preprocessed : Path
        nnU-Net's folder of preprocessed data sets.
    dataset : str
        Name of the data set.
    cases : sequence of str
        Its training cases.
    given : Path, optional
        JSON file of the folds to use.
    made : list of dict, optional
        Folds to use, where no file is given.
    trained : bool
        Whether something was trained on the folds that are there.

    Raises
    ------
    UsageError
        If a fold names a case that is not there, trains on one that it validates on, or would replace other folds.
    """
    target = preprocessed / dataset / FILE
    wanted: Any = made
    if given is not None:
        check_splits(given, cases)
        wanted = _read(given)
    if wanted is not None:
        if target.exists() and json.loads(target.read_text(encoding="utf-8")) != wanted:
            if trained:
                fix = "leave --splits and --group-by out, or use another --dataset-id or --workspace"
                raise refuse(BaselineCode.SPLITS, target, "folds were trained on other splits", fix)
            set_aside(target, preprocessed)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, wanted)
    elif target.exists():
        check_splits(target, cases)


def cases_of(raw: Path) -> list[str]:
    """Return the training cases of a raw data set, sorted."""
    ending = str(json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["file_ending"])
    return sorted(path.name.removesuffix(ending) for path in (raw / "labelsTr").glob(f"*{ending}"))


def make_splits(preprocessed: Path, dataset: str, cases: Sequence[str]) -> None:
    """Write the folds of nnU-Net's cross-validation if there are none.

    Before nnU-Net does, which writes them when a fold begins: folds that begin together would do so at once, and one
    that is killed leaves half a file.
    """
    target = preprocessed / dataset / FILE
    if target.exists():
        try:
            json.loads(target.read_text(encoding="utf-8"))
            return
        except ValueError:
            set_aside(target, preprocessed)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, random_folds(sorted(cases)))


def random_folds(cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return the folds that nnU-Net makes of sorted cases: scikit-learn's KFold, shuffled with the seed 12345.

    Written out (a shuffled list cut into pieces that differ by one case at most), since that library takes a second.
    """
    order = np.arange(len(cases))
    np.random.RandomState(SEED).shuffle(order)
    found = []
    for held in np.array_split(order, FOLDS):
        out = set(held.tolist())
        found.append(
            {
                "train": [case for index, case in enumerate(cases) if index not in out],
                "val": [case for index, case in enumerate(cases) if index in out],
            }
        )
    return found


def grouped_folds(cases: Sequence[str], groups: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Return folds of about equal numbers of cases, all cases of a group in one: largest groups first, to the smallest.

    Raises
    ------
    UsageError
        If there are fewer groups than folds.
    """
    members: dict[str, list[str]] = {}
    for case in cases:
        members.setdefault(f"group {groups[case]}" if case in groups else f"case {case}", []).append(case)
    if len(members) < FOLDS:
        cause = f"{len(members)} groups cannot be split into {FOLDS} folds"
        raise refuse(BaselineCode.SPLITS, "--group-by", cause, "group by something smaller, or use --folds all")
    names = sorted(members)
    np.random.RandomState(SEED).shuffle(names)
    held: list[list[str]] = [[] for _ in range(FOLDS)]
    for name in sorted(names, key=lambda name: -len(members[name])):
        min(held, key=len).extend(members[name])
    return [{"train": sorted(set(cases) - set(own)), "val": sorted(own)} for own in held]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fix = 'give a JSON list of {"train": [...], "val": [...]}, as nnU-Net writes it'
        raise refuse(BaselineCode.SPLITS, path, f"cannot be read ({error})", fix) from None


def check_splits(path: Path, cases: Sequence[str]) -> None:
    """Refuse folds that do not fit the cases.

    Raises
    ------
    UsageError
        With the first fold and case that is wrong.
    """
    fix = 'give a JSON list of {"train": [...], "val": [...]} with the names of these training cases'
    content = _read(path)
    if not isinstance(content, list) or not content or not all(isinstance(fold, dict) for fold in content):
        raise refuse(BaselineCode.SPLITS, path, "is no list of folds", fix)
    known = set(cases)
    for number, fold in enumerate(content):
        train, held = fold.get("train") or [], fold.get("val") or []
        strange = sorted({*train, *held} - known)
        shared = sorted(set(train) & set(held))
        unused = sorted(known - {*train, *held})
        for cause in (
            f"has no {'training' if not train else 'validation'} cases" if not train or not held else "",
            f"names {strange[0]}, which is no training case ({len(strange)} such)" if strange else "",
            f"trains and validates on {shared[0]} ({len(shared)} such)" if shared else "",
            f"leaves out {unused[0]} ({len(unused)} such)" if unused else "",
        ):
            if cause:
                raise refuse(BaselineCode.SPLITS, f"{path}: fold {number}", cause, fix)
