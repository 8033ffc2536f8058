"""Reports of published tables say what was published, by whom, and nothing that nobody computed here.

Order and values are those of the published table of FeTA 2024, and of a small one that is written here.
"""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from medpodium.cli import main

BOARD = """\
team,dice,hd95,final_rank
amber,0.80,3.0,1
beryl,0.90,2.0,2
coral,0.70,1.5,3
"""
CHALLENGE = """\
schema: 1
name: stones
title: Stones
edition: "1"
tasks:
  stones:
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice, missing: worst}
      hd95: {kind: hd_percentile, percentile: 95, definition: directed-max-area-weighted, missing: worst,
             worst: 500.0}
recipes:
  own:
    steps:
      - rank: {within: [case, structure, metric], ties: min}
      - mean: [case, structure]
      - mean: metric
      - rank: {ties: min}
ranking: {stones: own}
"""
NEVER = (
    "were scored", "was scored on", "add cases", "score again", "pooled test data", "2|P∩R|", "Dice 1945",
    "got the worst value", "mean over case",
)  # fmt: skip
"""What a report of published values must not say: nothing was scored, no formula was used, no case is known."""


def _run(*words: str) -> str:
    done = CliRunner().invoke(main, list(words))
    assert not isinstance(done.exception, Exception), done.exception
    assert done.exit_code in (0, 1), done.output
    return done.output


def _words(path: Path) -> str:
    """Return the text of a page, without its styles, scripts, markup and escapes."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        text = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>", " ", text)
        text = html.unescape(re.sub(r"<wbr>|<[^>]+>", lambda tag: "" if tag[0] == "<wbr>" else " ", text))
    return " ".join(text.replace("\\", "").replace("{}", "").split())


@pytest.fixture(scope="module")
def stones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report in every text format, with a site, of a published table."""
    folder = tmp_path_factory.mktemp("stones")
    (folder / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    (folder / "Table 3 of Stone et al.csv").write_text(BOARD, encoding="utf-8")
    challenge, scores = str(folder / "challenge.yaml"), str(folder / "scores.csv")
    table = str(folder / "Table 3 of Stone et al.csv")
    _run("import", "leaderboard", table, "--challenge", challenge, "--task", "stones", "--out", scores)
    report = ["report", challenge, scores, "--out", str(folder / "report"), "--formats", "html,markdown,latex"]
    _run(*report, "--bootstrap", "20", "--site", str(folder / "site"))
    return folder


def _pages(folder: Path) -> list[Path]:
    tex = [folder / "report" / "latex" / "report.tex", folder / "report" / "latex" / "main.tex"]
    return [folder / "report/index.html", folder / "report/report.md", *tex, *sorted((folder / "site").glob("*.html"))]


def test_every_format_says_where_the_values_were_published(stones: Path) -> None:
    pages = _pages(stones)
    assert len(pages) == 4 + 1 + 3
    for page in pages:
        assert re.search(r"(?i)values?\W.{0,40}as published in Table 3 of Stone et al", _words(page)), page


def test_no_format_claims_what_the_source_does_not_say(stones: Path) -> None:
    for page in _pages(stones):
        words = _words(page)
        assert [claim for claim in NEVER if claim.lower() in words.lower()] == [], page


def test_the_winner_is_the_published_one_and_another_reading_is_said(stones: Path) -> None:
    words = _words(stones / "report" / "report.md")
    assert "amber ranks first of 3 in stones, as published in" in words
    assert "ranks otherwise: there beryl has the first rank" in words
    for page in (stones / "report" / "index.html", stones / "site" / "index.html"):
        podium = re.search(r'(?s)<ol class="podium">.*?</ol>', page.read_text("utf-8"))
        assert podium is not None
        assert re.findall("amber|beryl|coral", podium[0]) == ["amber", "beryl", "coral"]


def test_ranks_are_told_as_ranks_and_values_with_the_digits_they_have(stones: Path) -> None:
    tables = _tables(stones / "report" / "report.md")
    board = tables["Leaderboard: stones."]
    assert board[0][:3] == ["Published rank", "Submission", "Rank by recipe"]
    assert [row[:3] for row in board[1:]] == [["1", "amber", "3"], ["2", "beryl", "1"], ["3", "coral", "2"]]
    # by 0.9 > 0.8 > 0.7 and 1.5 < 2 < 3, in the published order, each beside its value
    assert [row[4:] for row in board[1:]] == [["0.8 (2)", "3.0 (3)"], ["0.9 (1)", "2.0 (2)"], ["0.7 (3)", "1.5 (1)"]]
    steps = tables["How the ranking of stones came about."]
    ranks = {head: [row[at] for row in steps[1:]] for at, head in enumerate(steps[0]) if head.endswith(", rank")}
    assert sorted(ranks.values()) == [["2", "1", "3"], ["3", "2", "1"]]
    values = tables["Values of whole test sets."]
    assert [row[1:] for row in values[1:]] == [["0.8", "3.0"], ["0.9", "2.0"], ["0.7", "1.5"]]


def _tables(path: Path) -> dict[str, list[list[str]]]:
    """Return the tables of a Markdown report by title: head and rows, each a list of cells."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in path.read_text("utf-8").replace("\\", "").splitlines():
        if line.startswith("**"):
            title = re.sub(r"^Table S?\d+\. ", "", line.split("**")[1])
        elif line.startswith("|") and not line.startswith(("| ---", "|---")):
            found.setdefault(title, []).append([cell.strip().strip("*") for cell in line.strip("|").split("|")])
    return found


def test_a_report_of_published_values_is_verified_as_one(stones: Path) -> None:
    assert "recomputed and equal" in _run("verify", str(stones / "report"))
    definition = [row["definition"] for row in csv.DictReader((stones / "scores.csv").open(encoding="utf-8"))]
    assert set(definition) == {"published in Table 3 of Stone et al.csv"}


def test_a_source_and_a_rank_column_can_be_named(stones: Path, tmp_path: Path) -> None:
    board = tmp_path / "b.csv"
    board.write_text(BOARD.replace("final_rank", "order"), encoding="utf-8")
    out = tmp_path / "s.csv"
    call = ["import", "leaderboard", str(board), "--challenge", str(stones / "challenge.yaml"), "--task", "stones"]
    _run(*call, "--source", "Stone et al. 2024, table 3", "--rank-column", "order", "--out", str(out))
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert {row["definition"] for row in rows} == {"published in Stone et al. 2024, table 3"}
    assert {row["submission"]: row["published_rank"] for row in rows} == {"amber": "1", "beryl": "2", "coral": "3"}
    board.write_text(board.read_text("utf-8").replace(",3\n", ",third\n"), encoding="utf-8")
    done = CliRunner().invoke(main, [*call, "--rank-column", "order", "--out", str(out)])
    assert done.exit_code == 2
    assert "'third' is no rank" in done.output


def test_without_published_ranks_the_ranking_is_said_to_be_the_recipes(stones: Path, tmp_path: Path) -> None:
    board = tmp_path / "b.csv"
    board.write_text(re.sub(r"(?m),[^,]*$", "", BOARD), encoding="utf-8")
    out, challenge = tmp_path / "s.csv", str(stones / "challenge.yaml")
    _run("import", "leaderboard", str(board), "--challenge", challenge, "--task", "stones", "--out", str(out))
    call = ["report", challenge, str(out), "--out", str(tmp_path / "r"), "--formats", "markdown"]
    _run(*call, "--bootstrap", "0")
    words = _words(tmp_path / "r" / "report.md")
    assert "By the recipe own of the challenge file, applied to the values as published in b.csv, beryl" in words
    assert "who was published as first is not in the score table" in words


def test_rows_that_were_scored_stay_so_beside_published_ones(stones: Path, tmp_path: Path) -> None:
    own = "submission,case,structure,metric,value,task\nours,,,dice,0.85,stones\nours,,,hd95,2.5,stones\n"
    lines = (stones / "scores.csv").read_text("utf-8").splitlines()
    head = lines[0].split(",")
    added = []
    for row in csv.DictReader(own.splitlines()):
        added.append(",".join({**dict.fromkeys(head, ""), **row, "status": "ok"}[name] for name in head))
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join([*lines, *added]) + "\n", encoding="utf-8")
    call = ["report", str(stones / "challenge.yaml"), str(mixed), "--out", str(tmp_path / "r")]
    _run(*call, "--formats", "markdown", "--bootstrap", "0")
    words = _words(tmp_path / "r" / "report.md")
    assert "The values of amber, beryl and coral are as published in" in words
    assert "Dice 1945" in words  # ours was scored: its formula is told
    assert "beryl ranks first of 4" in words


def test_feta_2024_is_told_as_published(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/published/feta2024_segmentation_results.csv"
    columns = ["dice=dice", "hd95_mm=hd95", "vs=vs", "euler_error=euler_error"]
    call = ["import", "leaderboard", str(path), "--challenge", "feta/2024", "--task", "segmentation"]
    _run(*call, *(word for pair in columns for word in ("--metric", pair)), "--out", str(tmp_path / "s.csv"))
    report = ["report", "feta/2024", str(tmp_path / "s.csv"), "--out", str(tmp_path / "r"), "--formats", "markdown"]
    _run(*report, "--bootstrap", "10")
    words = _words(tmp_path / "r" / "report.md")
    assert "mic-dkfz-feta24 ranks first of 16" in words
    assert "there vicorob has the first rank" in words
    tables = _tables(tmp_path / "r" / "report.md")
    published = {row["team"]: row for row in csv.DictReader(path.open(encoding="utf-8"))}
    board = tables["Leaderboard: Tissue segmentation."]
    assert {row[1]: row[0] for row in board[1:]} == {team: row["final_rank"] for team, row in published.items()}
    for row in tables["Values of whole test sets."][1:]:
        own = published[row[0]]
        for cell, name, unit in zip(
            row[1:], ("dice", "hd95_mm", "vs", "euler_error"), (1e-3, 1e-3, 1e-3, 1), strict=True
        ):
            assert float(cell.replace(",", "")) == pytest.approx(float(own[name]), abs=unit)
