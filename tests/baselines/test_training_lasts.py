"""Trainings that last: folds side by side on several GPUs, groups of cases in one fold, one data set for several."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.findings import UsageError

pytestmark = pytest.mark.nnunet


def test_nnunets_own_folds_are_made_beforehand() -> None:
    """scikit-learn, which nnU-Net has do it, is the second opinion."""
    from sklearn.model_selection import KFold

    from medpodium.baselines.splits import random_folds

    for count in (5, 7, 12, 103):
        cases = np.array([f"case{number:03}" for number in range(count)])
        split = KFold(n_splits=5, shuffle=True, random_state=12345).split(cases)
        expected = [{"train": cases[train].tolist(), "val": cases[held].tolist()} for train, held in split]
        assert random_folds(cases.tolist()) == expected


def test_the_scans_of_a_patient_are_in_one_fold() -> None:
    from medpodium.baselines.splits import grouped_folds

    groups = {f"scan{number:02}": f"patient{number // 3}" for number in range(30)}
    folds = grouped_folds(sorted(groups), groups)
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(groups)
    for fold in folds:
        assert len(fold["val"]) == 6
        assert not {groups[case] for case in fold["val"]} & {groups[case] for case in fold["train"]}
    with pytest.raises(UsageError, match="4 groups cannot be split into 5 folds"):
        grouped_folds(["a", "b", "c", "d", "e"], {"a": "1", "b": "1"})


def test_folds_train_side_by_side_each_on_its_own_gpus() -> None:
    """Four GPUs, two for each fold: never more than two folds at a time, and no GPU of two folds."""
    from medpodium.baselines.nnunet.spread.gpus import group_gpus, side_by_side, variables

    places = group_gpus(["0", "1", "4", "5"], 2)
    assert places == [("0", "1"), ("4", "5")]
    busy: set[str] = set()
    most = 0
    lock = threading.Lock()
    together = threading.Barrier(2, timeout=20)

    def work(fold: int, place: tuple[str, ...], _: Any) -> tuple[int, str]:
        nonlocal most
        with lock:
            assert not busy & set(place)
            busy.update(place)
            most = max(most, len(busy))
        if fold < 2:
            together.wait()
        with lock:
            busy.difference_update(place)
        return fold, variables(place, 2)["CUDA_VISIBLE_DEVICES"]

    done = side_by_side([0, 1, 2, 3, 4], places, work)
    assert [fold for fold, _ in done] == [0, 1, 2, 3, 4]
    assert {seen for _, seen in done} == {"0,1", "4,5"}
    assert most == 4
    for given, each, told in ((["0", "0"], 1, "twice"), (["0", "1", "2"], 2, "not a multiple"), ([], 2, "without")):
        with pytest.raises(UsageError, match=told):
            group_gpus(given, each)


def test_a_fold_that_fails_ends_what_has_not_begun() -> None:
    from medpodium.baselines.nnunet.spread.gpus import side_by_side

    begun = []

    def work(fold: int, place: tuple[str, ...], _: Any) -> int:
        begun.append(fold)
        if fold == 0:
            raise ValueError("out of memory")
        return fold

    with pytest.raises(ValueError, match="out of memory"):
        side_by_side([0], [("0",), ("1",)], work)
    assert begun == [0]


def test_baselines_of_the_same_cases_share_a_data_set(tmp_path: Path) -> None:
    """Not where they would train into one folder, or where labels or cases differ."""
    from medpodium.baselines.nnunet.workspace import Workspace, record_of, same_data

    here = Workspace.at(tmp_path)
    raw = here.raw / "Dataset500_A"
    raw.mkdir(parents=True)
    common = {"challenge": "c/1", "task": "t", "values": {"0": 0}, "channels": ["ct"], "data": {"images": "1"}}
    settings = {"trainer": "nnUNetTrainer", "configuration": "3d_fullres"}
    other = {"plans": "P2", "settings": {"trainer": "STUNetTrainer_base", "configuration": "3d_fullres"}}
    notes = {**common, "baseline": "a", "plans": "P", "settings": settings, "others": {"b": other}}
    (raw / "medpodium.json").write_text(json.dumps(notes))
    new = {**common, "baseline": "new"}
    assert same_data(here, new, "STUNetTrainer_large", "3d_fullres") == "Dataset500_A"
    assert same_data(here, new, "nnUNetTrainer", "3d_lowres") == "Dataset500_A"
    assert same_data(here, new, "STUNetTrainer_base", "3d_fullres") is None
    assert same_data(here, {**new, "data": {"images": "2"}}, "STUNetTrainer_large", "3d_fullres") is None
    assert here.dataset("c/1", "t", "b") == raw
    assert record_of(raw, "b")["plans"] == "P2"
    assert record_of(raw, "a")["plans"] == "P"
