"""Everybody can read the pages: axe-core finds nothing on any of them, light or dark, on a screen or a phone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

RUN = "axe.run(document, {resultTypes: ['violations'], preload: false})"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(browser: Any, hostile: tuple[Path, Path], quiz_page: Path, scheme: str, width: int) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    found: list[str] = []
    explorable = {
        hostile[0] / "index.html": "#explore?team=plain&versus=sixth&structure=Liver",
        hostile[1] / "index.html": "#explore?team=plain&versus=sixth&structure=Liver",
        quiz_page: "#explore?team=case-net&versus=other",
    }
    for page in (*explorable, hostile[1] / "team-007.html"):
        opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        opened.set_default_timeout(120_000)
        explored = explorable.get(page, "")
        opened.goto(page.as_uri() + explored)
        if explored:
            opened.locator("#explore[data-ready]").wait_for(state="attached")
        opened.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        opened.evaluate(axe)
        for rule in opened.evaluate(RUN)["violations"]:
            found += [f"{page.name}: {rule['id']}: {node['html'][:200]}" for node in rule["nodes"]]
        opened.close()
    assert found == []
