"""`verify` reads the numbers of the pages themselves: an edited page is found, though its hash was edited, too."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from medpodium.cli import main

CHALLENGE = """\
schema: 1
name: pages
title: Pages
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice, missing: worst}
      hd95: {kind: hd_percentile, percentile: 95, definition: directed-max-area-weighted, missing: worst, worst: 900.0}
recipes:
  own: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}
ranking: {organs: own}
"""
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a challenge, scores of three teams in nine cases, and their report."""
    made = tmp_path_factory.mktemp("pages")
    (made / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    random = np.random.default_rng(8)
    rows = [
        {"task": "organs", "submission": team, "case": f"c{case}", "structure": structure, "metric": metric,
         "value": float(value + spread * random.normal())}
        for place, team in enumerate(("ash & oak", "birch|elm", "team 3"))
        for case in range(9)
        for structure in "ab"
        for metric, value, spread in (("dice", 0.9 - 0.05 * place, 0.01), ("hd95", 3.0 + place * 500.0, 0.2))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(made / "scores.csv", index=False)
    call = ["report", str(made / "challenge.yaml"), str(made / "scores.csv"), "--out", str(made / "report")]
    done = CliRunner().invoke(main, [*call, "--formats", "all", "--bootstrap", "20"])
    assert done.exit_code == 0, done.output
    return made


def _verified_with(folder: Path, tmp_path: Path, name: str, page: str) -> Result:
    """Return what `verify` says of the report with another page, whose hash is in the manifest."""
    report = tmp_path / "report"
    shutil.copytree(folder / "report", report, dirs_exist_ok=True)
    (report / name).write_text(page, encoding="utf-8", newline="\n")
    manifest = json.loads((report / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = hashlib.sha256((report / name).read_bytes()).hexdigest()
    (report / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return CliRunner().invoke(main, ["verify", str(report)], env={"COLUMNS": "400"})


def _page(folder: Path, name: str) -> str:
    return (folder / "report" / name).read_text("utf-8")


def test_every_format_is_read(folder: Path, tmp_path: Path) -> None:
    """With one other score, every page tells another number than the scores give."""
    scores = pd.read_csv(folder / "scores.csv")
    scores.loc[scores.index[0], "value"] -= 0.2
    scores.to_csv(tmp_path / "other.csv", index=False)
    call = ["verify", str(folder / "report"), "--scores", str(tmp_path / "other.csv")]
    done = CliRunner().invoke(main, call, env={"COLUMNS": "400"})
    assert done.exit_code == 1
    for name in ("index.html", "report.md", "latex", "report.docx", "report.pdf"):
        assert f"{name}: scores-organs-dice" in done.output, name
    assert "row 1: ash & oak" in done.output  # of the PDF, which has no cells


@pytest.mark.parametrize("name", ["latex/tables/scores-organs-dice.tex", "report.docx"])
def test_a_digit_edited_in_a_source_is_found(folder: Path, tmp_path: Path, name: str) -> None:
    report = tmp_path / "report"
    shutil.copytree(folder / "report", report)
    path, part = report / name, "word/document.xml"
    number = re.compile(rb"0\.8\d\d")
    edit = partial(number.sub, lambda found: found[0][:-1] + _other(found[0][-1:].decode()).encode(), count=1)
    if name.endswith(".docx"):
        with zipfile.ZipFile(path) as old:
            files = {one: old.read(one) for one in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for one, content in files.items():
                new.writestr(one, edit(content) if one == part else content)
    else:
        path.write_bytes(edit(path.read_bytes()))
    manifest = json.loads((report / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (report / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = CliRunner().invoke(main, ["verify", str(report)], env={"COLUMNS": "400"})
    assert done.exit_code == 1, done.output
    assert f"{name.partition('/')[0]}: " in done.output


def test_a_signature_vouches_for_the_manifest(
    folder: Path, tmp_path: Path, require: Callable[[bool, str], None]
) -> None:
    """Made and checked with ``ssh-keygen -Y``, whose own answer is the oracle."""
    require(shutil.which("ssh-keygen") is not None, "ssh-keygen")
    for name in ("organizer", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    report, key = tmp_path / "report", tmp_path / "organizer"
    call = ["report", str(folder / "challenge.yaml"), str(folder / "scores.csv"), "--out", str(report)]
    done = CliRunner().invoke(main, [*call, "--formats", "markdown", "--bootstrap", "0", "--sign", str(key)])
    assert done.exit_code == 0, done.output
    (tmp_path / "allowed").write_text(f"me@here {(tmp_path / 'organizer.pub').read_text()}")
    oracle = ["ssh-keygen", "-Y", "verify", "-f", tmp_path / "allowed", "-I", "me@here", "-n", "medpodium-report"]
    with (report / "manifest.json").open() as stream:
        subprocess.run([*oracle, "-s", report / "manifest.json.sig"], stdin=stream, check=True, capture_output=True)

    def verified(signer: Path) -> Result:
        return CliRunner().invoke(main, ["verify", str(report), "--signer", str(signer)], env={"COLUMNS": "400"})

    assert verified(tmp_path / "organizer.pub").exit_code == 0
    assert verified(tmp_path / "allowed").exit_code == 0
    assert "report-signature-refused" in verified(tmp_path / "stranger.pub").output
    text = (report / "manifest.json").read_text("utf-8")
    (report / "manifest.json").write_text(f"{text}\n", encoding="utf-8")
    assert verified(tmp_path / "organizer.pub").exit_code == 1
    (report / "manifest.json.sig").unlink()
    assert "report-unsigned" in verified(tmp_path / "organizer.pub").output


def _other(digit: str) -> str:
    return str((int(digit) + 1) % 10)


def test_an_untouched_report_is_equal(folder: Path) -> None:
    done = CliRunner().invoke(main, ["verify", str(folder / "report")])
    assert done.exit_code == 0, done.output
    assert "8 pages recomputed and equal" in done.output


def test_an_interval_edited_in_the_page_is_named_with_table_row_and_column(folder: Path, tmp_path: Path) -> None:
    page = _page(folder, "index.html")
    at = max(0, page.find('id="summary-organs-dice"'))
    found = re.compile(r"\d\.\d+ \[\d\.\d+, \d\.\d+(?=\]</td>)").search(page, at)
    found = found or re.search(r"\d\.\d+(?=</td>)", page)  # version 0.1.0 prints no intervals here
    assert found is not None
    edited = page[: found.end() - 1] + _other(page[found.end() - 1]) + page[found.end() :]
    done = _verified_with(folder, tmp_path, "index.html", edited)
    assert done.exit_code == 1, done.output
    for words in ("index.html: summary-organs-dice", "row 1 (ash & oak), Mean", found[0]):
        assert words in done.output


def test_the_leaderboard_and_the_headline_are_read_too(folder: Path, tmp_path: Path) -> None:
    page = _page(folder, "index.html")
    swapped = page.replace("ash &amp; oak", "#").replace("team 3", "ash &amp; oak").replace("#", "team 3")
    done = _verified_with(folder, tmp_path, "index.html", swapped)
    assert done.exit_code == 1
    assert "leaderboard-organs" in done.output
    headline = page.replace("ranks first of 3", "ranks first of 8")
    assert headline != page
    done = _verified_with(folder, tmp_path, "index.html", headline)
    assert done.exit_code == 1
    assert "ranks first of 3" in done.output


def test_a_row_that_was_taken_out_is_missed(folder: Path, tmp_path: Path) -> None:
    page = _page(folder, "index.html")
    at = page.index('id="leaderboard-organs"')
    rows = list(re.compile(r"<tr>.*?</tr>", re.DOTALL).finditer(page, at))
    done = _verified_with(folder, tmp_path, "index.html", page[: rows[3].start()] + page[rows[3].end() :])
    assert done.exit_code == 1
    assert "the scores give 3" in done.output


def test_markdown_is_read_too(folder: Path, tmp_path: Path) -> None:
    page = _page(folder, "report.md")
    line = next(line for line in page.splitlines() if line.startswith("| birch") and re.search(r"\d\.\d", line))
    at = page.index(line) + [found.end() for found in re.finditer(r"\d\.\d+", line)][-1] - 1
    done = _verified_with(folder, tmp_path, "report.md", page[:at] + _other(page[at]) + page[at + 1 :])
    assert done.exit_code == 1, done.output
    assert "report.md" in done.output
    assert "birch" in done.output


def test_every_digit_of_every_cell_counts(folder: Path) -> None:
    """Changing any one digit of any cell of index.html, the team names' and the findings' included, is found."""
    from medpodium.challenges import registry
    from medpodium.reports.formats.reread import html_differences
    from medpodium.reports.model import gather, sections
    from medpodium.scoring.table import read_scores

    scores = read_scores(folder / "scores.csv")
    results = gather.gather(registry.load(str(folder / "challenge.yaml")), scores, bootstrap=20)
    document = sections.assemble(results, every=False)
    page = re.sub(r"(?s)<(svg|script|style)\b.*?</\1>|base64,[A-Za-z0-9+/=]+", "", _page(folder, "index.html"))
    assert list(html_differences(page, document, sentences=False)) == []
    spots = []
    for found in CELL.finditer(page):
        start = found.start() + found[0].index(">") + 1
        text = re.sub(r"<[^>]*>|&[^;]*;", lambda tag: "#" * len(tag[0]), found[0][found[0].index(">") + 1 :])
        spots += [start + at for at, char in enumerate(text) if char.isdigit()]
    assert len(spots) > 300
    tables = [(one.start(), one.end()) for one in re.finditer(r'(?s)<div class="tablebox.*?</table>', page)]
    by_table = [[spot for spot in spots if start <= spot < end] for start, end in tables]
    missed = []
    for (start, end), own in zip(tables, by_table, strict=True):
        name = re.compile(r'id="([^"]*)"').search(page, start)
        assert name is not None
        (table,) = [one for one in document.tables() if one.id == name[1]]
        alone = _Only(table)
        for spot in own:
            part = page[start:spot] + _other(page[spot]) + page[spot + 1 : end]
            if not list(html_differences(part, alone, sentences=False)):  # type: ignore[arg-type]
                missed.append(page[spot - 30 : spot + 10])
    assert missed == []


class _Only:
    """A document of one table."""

    explored = None

    def __init__(self, table: object) -> None:
        self._table = table

    def tables(self) -> list[object]:
        return [self._table]
