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


def test_the_sources_are_whole(folder: Path) -> None:
    """Every file is used, every environment closed, every reference and citation has its target."""
    main = (folder / "main.tex").read_text(encoding="utf-8") + (folder / "supplement.tex").read_text(encoding="utf-8")
    sources = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.tex")}
    text = "\n".join(sources.values())
    used = re.findall(r"\\input\{([^}]*)\}", text)
    assert sorted(used) == sorted(set(sources) - {"main.tex", "supplement.tex"})
    drawn = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", text)
    assert sorted(drawn) == sorted(str(path.relative_to(folder)) for path in (folder / "figures").glob("*.pdf"))
    for source in sources.values():
        opened: list[str] = []
        for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", source):
            opened.append(name) if kind == "begin" else opened.remove(name)
        assert opened == []
        bare = re.sub(r"\\[\\{}]", "", source)
        assert bare.count("{") == bare.count("}")
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(labels) == len(set(labels))
    assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(labels)
    works = (folder / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"(?m)^@[a-z]+\{([^,]+),", works)
    cites = {key for group in re.findall(r"\\cite\{([^}]*)\}", text) for key in group.split(",")}
    assert cites == set(keys)
    assert {"dice1945", "wilcoxon1945", "holm1979"} <= cites
    assert r"\bibliography{references}" in main


def test_numbers_stand_below_one_another_and_keep_their_intervals(folder: Path) -> None:
    leaderboard = _sources(folder)["leaderboard-organs.tex"]
    assert r"S[table-format=1.3]@{\;}l" in leaderboard
    row = next(line for line in leaderboard.splitlines() if "ResEncL" in line)
    assert re.search(r" & (\\bfseries )?0\.\d{3} & \{\[\}[01]\.\d{3}, [01]\.\d{3}\] \(\d+\) \\\\$", row), row


def test_the_class_can_be_chosen(tmp_path: Path) -> None:
    """What stands around the body is the class's; the body is the same."""
    from medpodium.reports.formats.latex.project import write_latex
    from medpodium.reports.model.document import Document, Paragraph, Section

    document = Document("A & B", "", (), (Section("one", "One", (Paragraph("Text."),)),))
    starts = {
        "ieeetran": "journal,a4paper]{IEEEtran}",
        "elsarticle": "5p,times,twocolumn]{elsarticle}",
        "llncs": "{llncs}",
    }
    for name, line in starts.items():
        write_latex(document, tmp_path / name, name)
        main = (tmp_path / name / "latex" / "main.tex").read_text(encoding="utf-8")
        assert line in main
        assert r"\title{A \& B}" in main
        assert (tmp_path / name / "latex" / "report.tex").read_text() == "\n".join(
            ["", r"\sectionbarrier", r"\section{One}", r"\label{sec:one}", "", "Text.", ""]
        )
