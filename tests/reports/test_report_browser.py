"""The HTML page in a real browser: sorting, filtering, dark mode, no error, no network, no injected script."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=[*flags, "--disable-component-update", "--disable-sync"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, hostile: tuple[Path, Path]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    opened = context.new_page()
    opened.trouble = []
    opened.asked = []
    opened.on("console", lambda message: opened.trouble.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: opened.trouble.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto((hostile[0] / "index.html").as_uri())
    yield opened
    context.close()


def _column(page: Any, at: int) -> list[str]:
    cells = page.locator(f"#leaderboard-organs tbody tr:not([hidden]) > :nth-child({at})")
    found: list[str] = cells.all_inner_texts()
    return [text.strip() for text in found]


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(page: Any, hostile: tuple[Path, Path]) -> None:
    for file in [hostile[0] / "index.html", *sorted(hostile[1].glob("*.html"))]:
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        page.wait_for_timeout(50)
    assert page.trouble == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


def test_team_names_are_text_not_elements(page: Any) -> None:
    assert page.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>" in _column(page, 2)
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 5


def test_a_head_sorts_up_and_down(page: Any) -> None:
    first = _column(page, 1)
    assert first == [str(rank) for rank in range(1, 8)]
    head = page.locator("#leaderboard-organs thead th").first
    head.locator("button").click()
    head.locator("button").click()
    assert _column(page, 1) == first[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    names = page.locator("#leaderboard-organs thead th").nth(1)
    names.locator("button").focus()
    page.keyboard.press("Enter")
    shown = _column(page, 2)
    assert shown == page.evaluate(
        "(names) => [...names].sort((a, b) => a.localeCompare(b, undefined, {numeric: true}))", shown
    )


def test_a_filter_leaves_only_matching_rows(page: Any) -> None:
    field = page.locator("#leaderboard-organs .filter input")
    field.fill("plain")
    assert _column(page, 2) == ["plain"]
    assert page.locator("#leaderboard-organs .filter output").inner_text() == "1 of 7"
    field.fill("")
    assert len(_column(page, 2)) == 7


def _paper(page: Any) -> int:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(",")[:3])


def test_dark_mode_by_button_and_by_system(page: Any, browser: Any, hostile: tuple[Path, Path]) -> None:
    assert _paper(page) > 600
    page.locator("button.theme").click()
    assert _paper(page) < 150
    ink = page.evaluate("getComputedStyle(document.querySelector('.drawing svg text')).fill")
    assert sum(int(part) for part in ink.strip("rgb()").split(",")[:3]) > 500, "figure text must be light on dark"
    context = browser.new_context(color_scheme="dark")
    other = context.new_page()
    other.goto((hostile[0] / "index.html").as_uri())
    assert _paper(other) < 150
    context.close()


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_the_page_never_scrolls_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    # a list is as wide as the longest name that it offers
    page.evaluate(
        "document.querySelectorAll('select').forEach((list) => list.add(new Option('a long name '.repeat(9))))"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_rows_of_words_are_cards_and_names_stay_in_sight(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    card = page.locator("#bias tbody tr").first
    boxes = [card.locator("> *").nth(at).bounding_box() for at in (0, 1)]
    assert boxes[0]["y"] < boxes[1]["y"]
    assert max(box["x"] + box["width"] for box in boxes) <= 390
    name = page.locator("#leaderboard-organs tbody .team").first
    before = name.bounding_box()["x"]
    page.evaluate("document.querySelector('#leaderboard-organs .scroll').scrollLeft = 500")
    box = page.locator("#leaderboard-organs .scroll").bounding_box()
    assert box["x"] <= name.bounding_box()["x"] <= before


def test_on_a_phone_a_dot_stands_beside_its_name_and_figures_keep_their_letters(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    apart = page.evaluate("""() => [...document.querySelectorAll("tbody .team")].filter((cell) => {
      const dot = cell.querySelector(".swatch");
      const range = document.createRange();
      const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
      range.setStart(text, 0); range.setEnd(text, 1);
      const [one, two] = [dot.getBoundingClientRect(), range.getBoundingClientRect()];
      return one.bottom <= two.top || two.bottom <= one.top;
    }).map((cell) => cell.textContent)""")
    assert apart == []
    room = page.evaluate("""() => {  // a name that runs from right to left
      const cell = document.querySelector("tbody .team");
      const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
      text.data = "\u0641\u0631\u064a\u0642";
      const range = document.createRange();
      range.selectNodeContents(text);
      return range.getBoundingClientRect().left - cell.querySelector(".swatch").getBoundingClientRect().right;
    }""")
    assert 2 < room < 12
    least = page.evaluate("""() => {
      const texts = [...document.querySelectorAll("main figure[id] .drawing > svg text")];
      return Math.min(...texts.map((text) => {
        const matrix = text.getScreenCTM();
        return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.a, matrix.b);
      }));
    }""")
    assert least >= 7.5, "letters of seven submissions' figures, in pixels"


def test_on_paper_words_stay_whole_and_tables_keep_their_captions_and_heads(page: Any, tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    page.evaluate("""() => {
      const table = document.querySelector("#leaderboard-organs tbody");
      for (let at = 0; at < 60; at += 1) { table.append(table.rows[at % 7].cloneNode(true)); }
      // so many lines before a caption that its table does not begin on the same page
      const before = document.createElement("div");
      before.style.height = "250mm";
      document.querySelector("#leaderboard-organs").after(before);
    }""")
    page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
    sheets = [sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages]
    assert "Submission" in sheets[1], "the head stands on every page of a long table"
    assert "Letters" in sheets[1]
    page.emulate_media(media="print")
    for part in (".team .swatch", ".bar", ".bar i"):  # browsers leave backgrounds out unless asked not to
        assert page.evaluate(f"getComputedStyle(document.querySelector('{part}')).printColorAdjust") == "exact", part
    page.set_viewport_size({"width": 700, "height": 900})
    split = page.evaluate("""() => [...document.querySelectorAll(".tablebox:not(.many) thead th")].filter((head) => {
      const text = document.createTreeWalker(head, NodeFilter.SHOW_TEXT).nextNode();
      return [...text.data.matchAll(/[^\\s-]+/g)].some((word) => {
        const range = document.createRange();
        range.setStart(text, word.index); range.setEnd(text, word.index + word[0].length);
        return range.getClientRects().length > 1;
      });
    }).map((head) => head.textContent)""")
    assert split == []
    kept = page.evaluate("[...document.querySelectorAll('.tablehead')].map((one) => getComputedStyle(one).breakAfter)")
    assert set(kept) == {"avoid"}


def test_headings_are_in_order_and_figures_have_words(page: Any) -> None:
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    words = page.evaluate("[...document.querySelectorAll('[role=img]')].map((one) => one.getAttribute('aria-label'))")
    assert words
    assert all(words)


def test_a_figure_and_its_data_can_be_saved(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as saved:
        page.locator("button.save[data-figure]").first.click()
    path = tmp_path / "figure.svg"
    saved.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "var(--" not in text
    with page.expect_download() as table:
        page.locator("#leaderboard-organs .downloads a").click()
    assert table.value.suggested_filename == "leaderboard-organs.csv"
