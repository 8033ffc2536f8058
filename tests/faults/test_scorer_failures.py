"""One case that cannot be scored costs nobody else's scores: what was computed is written, and the case is named.

On version 0.1.0 the verb ended with exit code 3 and no score for anybody.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.scoring.measures import overlap

RULES = """
schema: 1
name: mine
title: Mine
tasks:
  t:
    kind: segmentation
    structures: {%s}
    empty: {both: 1, reference: 0, prediction: 0}
    metrics:
      dice: {kind: dice, missing: 0, failed: 0}
%s
recipes: {main: {steps: [{mean: [case, structure, metric]}, rank]}}
ranking: {t: main}
"""
TEAMS = ("good", "noise")


def save(labels: npt.NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases and two teams; in the second case the second team has 500 voxels, the first one 480."""
    (tmp_path / "c.yaml").write_text(RULES % ("a: {label: 1}", ""), encoding="utf-8")
    for case in ("c1", "c2"):
        labels = np.zeros((8, 14, 14), np.uint8)
        labels[1:7, 2:10, 2 : 11 + (case == "c2")] = 1
        for place in ("ref", *TEAMS):
            save(labels, tmp_path / place / f"{case}.nii.gz")
    labels[0, 0, :13] = 1
    labels[0, 1, :7] = 1
    save(labels, tmp_path / "noise" / "c2.nii.gz")
    score(tmp_path)  # verbs import what they need when they need it, and what is not there cannot be made to fail
    (tmp_path / "scores.csv").unlink()
    return tmp_path


def score(folder: Path) -> tuple[int, str, pd.DataFrame]:
    out = folder / "scores.csv"
    words = ["score", folder / "c.yaml", "--references", folder / "ref", "--out", out, "--workers", 1]
    words += [f"--predictions={team}={folder / team}" for team in TEAMS]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert out.exists(), done.output
    return int(done.exit_code), done.output, pd.read_csv(out).set_index(["submission", "case"])


def fail(monkeypatch: pytest.MonkeyPatch, error: type[Exception], at: int) -> None:
    """Let the Dice coefficient fail where the prediction has so many voxels."""

    def dice(counts: overlap.Overlap) -> float:
        if counts.prediction == at:
            raise error("no")
        return original(counts)

    original = overlap.dice
    for name, module in list(sys.modules.items()):
        if name.startswith("medpodium.scoring") and isinstance(getattr(module, "_OVERLAPS", None), dict):
            monkeypatch.setitem(module._OVERLAPS, "dice", dice)


def test_case_on_which_the_scorer_fails_is_named_and_scored_for_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, ValueError, 500)
    code, output, scores = score(folder)
    assert code == 3
    assert "c2" in output
    assert "ValueError: no" in output
    assert scores["value"].to_dict() == {("good", "c1"): 1.0, ("noise", "c1"): 1.0}


def test_submission_that_takes_too_much_memory_fails_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, MemoryError, 500)
    code, output, scores = score(folder)
    assert code == 1
    assert "noise/c2.nii.gz" in output.replace("\n", "").replace(" ", "")
    assert scores["value"].to_dict() == {
        ("good", "c1"): 1.0, ("noise", "c1"): 1.0, ("good", "c2"): 1.0, ("noise", "c2"): 0.0,
    }  # fmt: skip
    assert scores.loc[("noise", "c2"), "status"] == "failed:memory"


def test_machine_too_small_for_a_case_blames_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that a case of this size is given (400 MB and 20 bytes per voxel) could not be had at all."""
    from medpodium.scoring.kinds.segmentation import memory

    fail(monkeypatch, MemoryError, 500)
    monkeypatch.setattr(memory, "memory_limit", lambda: 300_000_000)
    code, output, scores = score(folder)
    assert code == 3
    assert "scorer-failed" in output
    assert list(scores.index) == [("good", "c1"), ("noise", "c1")]


@pytest.mark.slow
def test_random_labels_within_a_memory_limit_cost_their_team_one_case(posix: None, tmp_path: Path) -> None:
    """`ulimit -v`: 192^3 voxels of noise have a surface that does not fit, whatever is done about it."""
    structures = ", ".join(f"s{label}: {{label: {label}}}" for label in range(1, 9))
    distance = (
        "      hd95: {kind: hd_percentile, worst: diagonal, empty: {both: 0, reference: worst, prediction: worst}}"
    )
    (tmp_path / "c.yaml").write_text(RULES % (structures, distance), encoding="utf-8")
    rng = np.random.default_rng(0)
    for case in ("c1", "c2"):
        labels = np.zeros((192, 192, 192), np.uint8)
        for label in range(1, 9):
            z, y, x = (4 + 10 * ((label >> axis) & 1) for axis in range(3))
            labels[z : z + 8, y : y + 8, x : x + (7 if case == "c1" else 8)] = label
        for place in ("ref", *TEAMS):
            save(labels, tmp_path / place / f"{case}.nii.gz")
    save(rng.integers(0, 9, labels.shape, dtype=np.uint8), tmp_path / "noise" / "c2.nii.gz")
    out = tmp_path / "scores.csv"
    teams = [f"--predictions={team}={tmp_path / team}" for team in TEAMS]
    words = [
        "-m",
        "medpodium.cli",
        "score",
        tmp_path / "c.yaml",
        "--references",
        tmp_path / "ref",
        *teams,
        "--out",
        out,
    ]
    command = f"ulimit -v 1100000; exec {' '.join(map(str, [sys.executable, *words]))}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert out.exists(), done.stdout + done.stderr
    scores = pd.read_csv(out)
    own = scores[(scores["submission"] == "good") | (scores["case"] == "c1")]
    assert len(own) == 3 * 16
    assert set(own["status"]) == {"ok"}
    assert set(own.loc[own["metric"] == "dice", "value"]) == {1.0}
    lost = scores[(scores["submission"] == "noise") & (scores["case"] == "c2")]
    assert len(lost) == 16
    assert set(lost["status"]) <= {"ok", "failed:memory"}
