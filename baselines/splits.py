"""Which cases a fold trains and validates on: nnU-Net's ``splits_final.json``, checked before it is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.runs import set_aside

FILE = "splits_final.json"


def keep_splits(preprocessed: Path, dataset: str, cases: Sequence[str], given: Path | None, *, trained: bool) -> None:
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
    trained : bool
        Whether something was trained on the folds that are there.

    Raises
    ------
    UsageError
        If a fold names a case that is not there, trains on one that it validates on, or would replace other folds.
    """
    target = preprocessed / dataset / FILE
    if given is not None:
        check_splits(given, cases)
        if target.exists() and json.loads(target.read_text(encoding="utf-8")) != _read(given):
            if trained:
                fix = "leave --splits out, or use another --dataset-id or --workspace"
                raise refuse(BaselineCode.SPLITS, target, "folds were trained on other splits", fix)
            set_aside(target, preprocessed)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given, target)
    elif target.exists():
        check_splits(target, cases)


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
