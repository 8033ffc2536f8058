"""A report printed from the browser: folds open, tables whole, black on white whatever the screen's theme was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")

STRUCTURES = [f"structure_{at}" for at in range(14)]
CHALLENGE = """\
schema: 1
name: printed
title: Printed
summary: Many organs.
modality: [CT]
tasks:
  organs:
    kind: segmentation
    title: Organs
    empty: {both: best, reference: worst, prediction: worst}
    structures:
STRUCTURES
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
A4 = round((210 - 24) / 25.4 * 96)
"""Width of the text on A4 with margins of 12 mm, in CSS pixels."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, write_report: Any) -> Path:
    """Return the page of a report on fourteen structures."""
    path = tmp_path_factory.mktemp("printed")
    structures = [
        f"      {name}: {{label: {at}, title: Structure number {at}}}" for at, name in enumerate(STRUCTURES, 1)
    ]
    text = CHALLENGE.replace("STRUCTURES", "\n".join(structures))
    random = np.random.default_rng(0)
    rows = [
        ("organs", f"A team with a long name {team}", f"c{case}", structure, "dice", random.uniform(), "ok")
        for team in range(4)
        for case in range(4)
        for structure in STRUCTURES
    ]
    page: Path = write_report(path, text, rows, "html") / "index.html"
    return page


@pytest.fixture
def printed(chromium: str, report: Path) -> Iterator[Any]:
    """Yield the page as a browser in dark mode prints it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": A4, "height": 1000}, color_scheme="dark")
        page = context.new_page()
        page.goto(report.as_uri())
        page.locator("button.theme").click()
        page.locator("button.theme").click()  # chosen by hand: dark
        page.emulate_media(media="print")
        yield page
        browser.close()


def test_nothing_is_cut_grey_or_folded_on_paper(printed: Any, tmp_path: Path) -> None:
    assert printed.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = printed.evaluate(
        "[...document.querySelectorAll('table, .drawing svg')]"
        f".filter(part => part.getBoundingClientRect().right > {A4} + 1).map(part => part.closest('[id]').id)"
    )
    assert cut == []
    folded = printed.locator("details.fold:not([open]) > summary").all_text_contents()
    assert folded
    inside = printed.evaluate(
        "[...document.querySelectorAll('details.fold:not([open]) .inside')]"
        ".map(part => part.textContent.trim().slice(0, 12))"
    )
    # The file is written before its text is read: all of it must be on the pages.
    printed.pdf(path=tmp_path / "page.pdf", format="A4", prefer_css_page_size=True)
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], check=True, capture_output=True, text=True
    ).stdout
    flat = "".join(text.split())
    assert [words for words in inside if "".join(words.split()) not in flat] == []
    assert printed.locator("details.fold[open]").count() == 0  # closed again on the screen
