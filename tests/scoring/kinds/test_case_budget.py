"""A declared budget of a case: whoever exceeds it has failed by name, and everybody else is scored."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.challenges.schema.task import parse_budget
from medpodium.cli import main
from medpodium.scoring.measures import budget

CHALLENGE = """
schema: 1
name: organs
title: Organs
tasks:
  seg:
    files: {{reference: "{{case}}.nii.gz", prediction: "{{case}}.nii.gz"}}
    structures: {{organ: {{label: 1}}}}
    empty: {{both: skip, reference: skip, prediction: worst}}
    metrics: {{dice: {{kind: dice}}, nsd: {{kind: nsd, tolerance_mm: 2}}}}
    {budget}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth = np.zeros((40, 64, 64), np.uint8)
    truth[10:20, 20:40, 20:40] = 1
    noise = np.random.default_rng(0).integers(0, 2, truth.shape).astype(np.uint8)
    for case in "ab":
        truth = np.roll(truth, 5, 2)
        save(truth, tmp_path / f"ref/{case}.nii.gz")
        save(np.roll(truth, 1, 0), tmp_path / f"good/{case}.nii.gz")
        save(noise if case == "b" else np.roll(truth, 1, 1), tmp_path / f"noisy/{case}.nii.gz")
    return tmp_path


def score(folder: Path, budget: str = "", *options: str) -> tuple[int, pd.DataFrame, list[dict[str, str]]]:
    (folder / "c.yaml").write_text(CHALLENGE.format(budget=budget), encoding="utf-8")
    arguments = ["score", folder / "c.yaml", "--references", folder / "ref", "--out", folder / "scores.csv", "--json"]
    arguments += [part for team in ("good", "noisy") for part in ("--predictions", f"{team}={folder / team}")]
    done = CliRunner().invoke(main, [*map(str, arguments), *options])
    assert done.exit_code < 2, done.output
    scores = pd.read_csv(folder / "scores.csv", dtype={"case": str}, keep_default_na=False)
    told = json.loads(done.stdout)["findings"]
    return done.exit_code, scores, [one for own in told.values() for one in own]


@pytest.mark.parametrize("options", [("case_budget: {memory_gb: 0.001}",), ("", "--case-budget", "1MB")])
def test_whoever_exceeds_the_budget_has_failed_by_name(folder: Path, options: tuple[str, ...]) -> None:
    code, scores, found = score(folder, *options)
    assert code == 1
    status = scores.set_index(["submission", "case", "metric"]).sort_index()["status"]
    assert (status["good"] == "ok").all()
    assert (status["noisy", "a"] == "ok").all()
    assert (status["noisy", "b"] == "failed:budget").all()
    assert [one["code"] for one in found] == ["prediction-over-case-budget"]
    assert "case b" in found[0]["cause"]
    assert "0.001 GB" in found[0]["cause"]
    assert "--case-budget" in found[0]["fix"]


def test_time_is_limited_too(folder: Path) -> None:
    code, scores, found = score(folder, "", "--case-budget", "0.000001s,4GB")
    assert code == 1
    assert (scores["status"] == "failed:budget").all()
    assert len(found) == 4


def test_without_a_budget_noise_is_scored(folder: Path) -> None:
    code, scores, found = score(folder)
    assert (code, found) == (0, [])
    assert (scores["status"] == "ok").all()


def _work(seconds: float) -> None:
    """Take so much CPU time, however fast the machine is."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


def test_the_references_part_of_the_work_is_nobodys_fault() -> None:
    with budget.spending(0.2, 10):
        with budget.unlimited():
            budget.step(1000)
            _work(0.3)
        budget.step(10)
        with pytest.raises(budget.OverBudgetError, match="at once"):
            budget.step(11)
        _work(0.3)
        with pytest.raises(budget.OverBudgetError, match="CPU time"):
            budget.step()
    budget.step(1000)


@pytest.mark.parametrize("text", ["", "60", "5 h", "1s,2s", "-1s", "0GB"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no limit"):
        parse_budget(text)


def test_a_budget_is_said_as_people_do() -> None:
    assert str(parse_budget("2min, 500MB")) == "120 s and 0.5 GB"
