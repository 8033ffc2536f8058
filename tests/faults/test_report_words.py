"""The words of reports: readable names, numbers with units, singular and plural, no options of the command line.

Three reports: few teams with costs of many digits, one whose groups differ, and a published table.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

TWO = """\
schema: 1
name: two
title: Two teams
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {left_kidney: {label: 1, title: Left kidney}, lesion: {label: 2, title: Lesion}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      organ_dice: {kind: dice, title: DSC of organs, missing: worst}
      gpu_area: {kind: gpu_memory_area, title: GPU memory, missing: 29491200.0, failed: 29491200.0, worst: 29491200.0}
recipes:
  own:
    steps:
      - threshold: {metric: organ_dice, tolerance: 0.001}
      - mean: structure
      - rank: {within: [case, metric]}
      - mean: [case, metric]
      - rank
  means:
    steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]
ranking: {organs: own}
groups:
  site: {levels: [north, south], minimum_size: 3}
"""
BOARD = "team,organ_dice,gpu_area\none,0.9,2000000\ntwo,0.8,30000000\n"
NOUNS = (
    "submission|case|structure|method|metric|interval|level|test|resample|combination|score|picture|fact|item|patient|"
    "set|difference"
)
ODD = {
    "a number in exponent form": r"\d[eE][+-]?\d{2}\b",
    "an option of the command line": r"(?<!\w)--[a-z]",
    "one of many": rf"(?<![\d.,] )(?<![\d.,])\b1 ({NOUNS})s\b",
    "many of one": rf"\b(?!1\b)\d+ ({NOUNS}) (is|are|was|were|has|have|that|of)\b",
    "a plural verb for one": r"\b1 \w+ (are|were|have|rank) ",
    "a dimension instead of a word": r"(?i)\b(mean|median|sum) over (case|structure|metric)\b(?!s)",
    "the key of a metric": r"organ_dice|organ dice\b|gpu_area|gpu area\b",
}
"""What no text of a report may hold, by name."""


def _run(*words: str) -> None:
    done = CliRunner().invoke(main, list(words))
    assert not isinstance(done.exception, Exception), done.exception
    assert done.exit_code in (0, 1), done.output


def _scores(teams: dict[str, float]) -> pd.DataFrame:
    random = np.random.default_rng(5)
    rows = []
    for team, gain in teams.items():
        for case in range(8):
            site = "north" if case < 4 else "south"
            fixed = {"task": "organs", "submission": team, "case": f"c{case:02d}", "status": "ok", "site": site}
            bonus = gain * (site == "north")
            for structure in ("left_kidney", "lesion"):
                value = 0.8 + bonus + 0.01 * random.random()
                rows.append({**fixed, "structure": structure, "metric": "organ_dice", "value": value})
            area = 2e7 + 1e6 * random.random()
            rows.append({**fixed, "structure": "", "metric": "gpu_area", "value": area})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module", params=["two", "three", "published"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Markdown of a report, without what quotes the challenge file or the command line."""
    folder = tmp_path_factory.mktemp("words")
    challenge, scores = folder / "two.yaml", folder / "scores.csv"
    challenge.write_text(TWO, encoding="utf-8")
    words: list[str] = ["--recipe", "means"] if request.param == "three" else []
    if request.param == "published":
        (folder / "board.csv").write_text(BOARD, encoding="utf-8")
        call = ["import", "leaderboard", str(folder / "board.csv"), "--challenge", str(challenge), "--task", "organs"]
        _run(*call, "--out", str(scores))
    else:
        teams = {"one": 0.0, "two": 0.1} if request.param == "two" else {"one": 0.0, "two": 0.0, "three": 0.15}
        _scores(teams).to_csv(scores, index=False)
    call = ["report", str(challenge), str(scores), "--out", str(folder / "report"), "--formats", "markdown"]
    _run(*call, "--bootstrap", "10", *words)
    text = (folder / "report" / "report.md").read_text("utf-8").replace("\\", "")
    quoted = ("Findings", "Unconfirmed")  # at whatever depth they stand
    kept = [part for part in re.split(r"(?m)^(?=##)", text) if not part.lstrip("# ").startswith(quoted)]
    return re.sub(r"\]\([^)]*\)", "]", "".join(kept))  # names of files are no text


@pytest.mark.parametrize("what", ODD)
def test_no_text_reads_like_a_program(told: str, what: str) -> None:
    found = [told[max(0, one.start() - 60) : one.end() + 40] for one in re.finditer(ODD[what], told)]
    assert found == []


def test_penalties_are_told_with_unit_and_all_digits(told: str) -> None:
    if "Missing predictions" in told or "missing predictions:" in told:
        assert re.search(r"a case without a prediction got 29,491,200 \w", told)


def test_columns_say_what_was_averaged(told: str) -> None:
    (head,) = [line for line in told.splitlines() if line.startswith(("| Rank |", "| Published rank |"))][:1]
    assert "DSC of organs" in head or "Mean rank over" in head or "mean rank over" in head
