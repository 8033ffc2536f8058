"""Scores of a judge: where they come from stands beside them, rounds are raters, and dropped ones are declared."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

RULES = """
schema: 1
name: judged
title: Judged
edition: '1'
tasks:
  t:
    kind: answers
    form: rubric
    criteria: {complete: {high: 2}, precise: {high: 2}}
    metrics: {score: {kind: judged, missing: MISSING, unparsed: UNPARSED, worst: 0REWARD}}
recipes:
  weighted: {steps: [{mean: {over: structure, weights: {complete: 0.75, precise: 0.25}}}, {mean: case}, rank]}
  summed: {steps: [{mean: case}, {sum: structure}, rank]}
ranking: {t: RECIPE}
"""
ROUNDS = [
    # document, criterion, round, score
    *(("d1", "complete", 1, "2"), ("d1", "complete", 2, "1"), ("d1", "precise", 1, "1"), ("d1", "precise", 2, "1")),
    *(("d2", "complete", 1, "what"), ("d2", "complete", 2, "-"), ("d2", "precise", 1, "2"), ("d2", "precise", 2, "2")),
    *(("d3", "complete", 1, "0"), ("d3", "complete", 2, "0"), ("d3", "precise", 1, "0"), ("d3", "precise", 2, "?")),
]  # fmt: skip


def ranked(folder: Path, unparsed: str, recipe: str) -> tuple[float, Path]:
    missing, reward = ("skip", ", rewards: as published") if unparsed == "drop" else ("worst", "")
    text = RULES.replace("UNPARSED", unparsed).replace("MISSING", missing).replace("RECIPE", recipe)
    (folder / "c.yaml").write_text(text.replace("REWARD", reward), encoding="utf-8")
    (folder / "key.csv").write_text("case\nd1\nd2\nd3\n", encoding="utf-8")
    frame = pd.DataFrame(ROUNDS, columns=["case", "criterion", "trial", "score"]).assign(
        judge="judge-7b", prompt="0a1b"
    )
    frame.to_csv(folder / "model.csv", index=False)
    given = ["--references", folder / "key.csv", "--predictions", f"model={folder / 'model.csv'}"]
    run("score", folder / "c.yaml", *given, "--out", folder / "scores.csv")
    out = ["--bootstrap", 20, "--out", folder / "board.csv", "--evidence", folder / "evidence"]
    run("rank", folder / "c.yaml", folder / "scores.csv", *out)
    return float(pd.read_csv(folder / "board.csv")["value"][0]), folder / "evidence"


def run(*words: object) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code in (0, 1), done.output
    return done.output


@pytest.mark.parametrize(
    ("unparsed", "recipe", "value"),
    [
        # a round without a score is the lowest one: d1 .75 x 1.5 + .25, d2 .25 x 2, d3 0
        ("count", "weighted", (0.75 * 1.5 + 0.25 + 0.5) / 3),
        # MedProbeBench: what failed is dropped and the weights renormalised: d2 is worth its precision alone
        ("drop", "weighted", (0.75 * 1.5 + 0.25 + 2) / 3),
        # MedQ-Bench: the denominator of a criterion shrinks: completeness of two documents, precision of three
        ("count", "summed", 1.5 / 3 + 3 / 3),
        ("drop", "summed", 1.5 / 2 + 3 / 3),
    ],
)
def test_dropped_criteria_are_a_declared_policy(tmp_path: Path, unparsed: str, recipe: str, value: float) -> None:
    found, evidence = ranked(tmp_path, unparsed, recipe)
    assert found == pytest.approx(value, abs=1e-9)
    judges = pd.read_csv(evidence / "judges.csv").set_index("part")
    assert judges["judge"].tolist() == ["judge-7b 0a1b"] * 2
    assert judges["rounds"].tolist() == [6, 6]
    assert judges["unparsed"].tolist() == [2, 1]
    scores = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    told = scores.set_index(["case", "structure"])["judged_by"].to_dict()
    assert told["d2", "complete"] == "judge-7b 0a1b; 0 of 2 rounds"
    assert told["d3", "precise"] == "judge-7b 0a1b; 1 of 2 rounds"


def test_rounds_are_raters(tmp_path: Path) -> None:
    """Of complete d1 (2, 1) and d3 (0, 0): alpha = 1 - (n - 1) within / expected by the definition, by hand."""
    _, evidence = ranked(tmp_path, "count", "weighted")
    own = pd.read_csv(evidence / "judges.csv").set_index("part").loc["complete"]
    values = [2, 1, 0, 0]
    within = 2 * (2 - 1) ** 2 + 2 * 0
    every = sum((one - other) ** 2 for one in values for other in values)
    assert own["alpha"] == pytest.approx(1 - (len(values) - 1) * within / every)
    # quadratic kappa of the rounds (2, 0) and (1, 0): 1 - observed / expected cost
    observed, expected = ((2 - 1) ** 2 + 0) / 2, ((2 - 1) ** 2 + (2 - 0) ** 2 + (0 - 1) ** 2 + 0) / 4
    assert own["kappa"] == pytest.approx(1 - observed / expected)


def test_the_report_tells_who_judged(tmp_path: Path) -> None:
    ranked(tmp_path, "count", "weighted")
    out = tmp_path / "report"
    run(
        "report", tmp_path / "c.yaml", tmp_path / "scores.csv", "--bootstrap", 20, "--formats", "markdown", "--out", out
    )
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(out.rglob("*.md")))
    assert "judge-7b 0a1b" in text
    assert "3 of 12 rounds hold no score" in text
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))
