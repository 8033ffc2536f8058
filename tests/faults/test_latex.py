"""LaTeX of a report goes into papers: two-column classes (where longtable stops), readable names, other scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHALLENGE = """\
schema: 1
name: paper
title: Paper
summary: Two organs.
modality: [CT]
tasks:
  organs:
    kind: segmentation
    title: Organs
    empty: {both: best, reference: worst, prediction: worst}
    structures:
      liver: {label: 1, title: Liver}
      spleen: {label: 2, title: Spleen}
    metrics:
      dice: {kind: dice, missing: worst}
recipes:
  mean:
    title: Mean
    steps:
      - mean: [case, structure]
      - mean: metric
      - rank: {ties: min}
ranking: {organs: mean}
editions:
  "1": {}
"""
TEAMS = ["nnU-Net_ResEncL", "医院队", *(f"team {at}" for at in range(50))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_report: Any) -> Path:
    """Return the LaTeX folder of a report on 52 teams."""
    path = tmp_path_factory.mktemp("paper")
    random = np.random.default_rng(0)
    rows = [
        ("organs", team, f"c{case}", structure, "dice", random.uniform(), "ok")
        for team in TEAMS
        for case in range(4)
        for structure in ("liver", "spleen")
    ]
    folder: Path = write_report(path, CHALLENGE, rows, "latex") / "latex"
    return folder


def _sources(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.tex"))}


def test_tables_work_in_two_column_classes(folder: Path) -> None:
    sources = "\n".join(_sources(folder).values())
    assert "longtable" not in sources
    assert r"\begin{table*}" in sources
    # The class float [H] is refused by table* and figure*.
    assert "[H]" not in sources
    for kind in ("table*", "table", "figure*", "figure"):
        assert sources.count(rf"\begin{{{kind}}}") == sources.count(rf"\end{{{kind}}}")


def test_a_long_table_goes_on_in_further_ones_and_loses_no_row(folder: Path) -> None:
    leaderboard = _sources(folder)["leaderboard-organs.tex"]
    pieces = re.findall(r"\\midrule\n(.*?)\\bottomrule", leaderboard, flags=re.DOTALL)
    assert len(pieces) == 2
    assert [len(piece.strip().splitlines()) for piece in pieces] == [34, 18]
    assert "(1 of 2)" in leaderboard
    assert "(2 of 2)" in leaderboard
    assert leaderboard.count(r"\label{") == 1


def test_names_can_be_read_in_the_source(folder: Path) -> None:
    leaderboard = _sources(folder)["leaderboard-organs.tex"]
    assert r"nnU-Net\_\allowbreak{}ResEncL" in leaderboard
    assert r"\scriptcjk{医院队}" in leaderboard
    assert "[U+533B]" not in leaderboard.replace("{[}", "[").replace("{]}", "]")


def test_pdflatex_is_told_what_to_print_for_other_scripts(folder: Path) -> None:
    package = (folder / "medpodium.sty").read_text(encoding="utf-8")
    for char in "医院队":
        assert rf"\DeclareUnicodeCharacter{{{ord(char):04X}}}" in package
    assert r"\usepackage{medpodium}" in (folder / "main.tex").read_text(encoding="utf-8")
