"""Exploring a report in a real browser, opened as a file: following, comparing, filtering, sharing, seeing cases."""

from __future__ import annotations

import io
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from PIL import Image

from medpodium.reports import write
from medpodium.reports.model.gallery import PREDICTION_COLOUR, REFERENCE_COLOUR
from medpodium.reports.request import Request

pytest.importorskip("playwright")

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield started
        started.close()


class Opened:
    """A page, what it asked for and what went wrong."""

    def __init__(self, browser: Any, size: tuple[int, int] = (1200, 900)) -> None:
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="light")
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.trouble: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.trouble.append(said.text) if said.type in ("error", "warning") else 0)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def show(self, address: str, ready: str = "#explore[data-ready]") -> Any:
        self.page.goto("about:blank")
        self.page.goto(address)
        self.page.locator(ready).wait_for(state="attached")
        return self.page

    def check(self) -> None:
        assert self.trouble == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


@pytest.fixture(scope="module")
def opened(browser: Any, hostile: tuple[Path, Path]) -> Iterator[Opened]:
    one = Opened(browser)
    yield one
    one.check()
    one.context.close()


@pytest.fixture(scope="module")
def raw(tiny: Path, hostile: tuple[Path, Path]) -> pd.DataFrame:
    """Return the score table as it was written."""
    assert hostile
    return pd.read_csv(tiny.with_name("hostile.csv"), keep_default_na=False)


def _dice(raw: pd.DataFrame, team: str, structure: str = "") -> pd.Series:
    own = raw[(raw["submission"] == team) & (raw["metric"] == "dice")]
    return (own[own["structure"] == structure] if structure else own).groupby("case")["value"].mean()


def _rows(page: Any, table: str) -> list[list[str]]:
    cells = "(row) => [...row.cells].map((one) => one.textContent.trim())"
    script = f"(id) => [...document.querySelectorAll(`#${{id}} tbody tr`)].map({cells})"
    found: list[list[str]] = page.evaluate(script, table)
    return found


def _state(page: Any) -> dict[str, list[str]]:
    mark, _, kept = page.evaluate("location.hash").partition("?")
    assert mark == "#explore"
    return parse_qs(kept)


def test_a_name_is_followed_through_tables_figures_and_its_cases_worst_first(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri())
    page.locator(f"#leaderboard-organs [data-team='{EVIL}'] button").click()
    assert _state(page)["team"] == [EVIL]
    assert page.locator("#leaderboard-organs tr.followed [data-team]").get_attribute("data-team") == EVIL
    assert page.locator("main tr.followed").count() > 3
    split = "(one) => one.querySelector('.front') && one.querySelector('.back')"
    figures = page.evaluate(f"[...document.querySelectorAll('main figure[id] svg')].filter({split}).length")
    assert figures > 5, "other names and marks step back in the figures that show the one that is followed"
    expected = _dice(raw, EVIL).sort_values()
    shown = _rows(page, "explore-cases")
    assert [float(row[1]) for row in shown] == pytest.approx(list(expected), abs=5.1e-4)
    assert [row[0] for row in shown][:3] == list(expected.index[:3])
    page.locator(f"#leaderboard-organs [data-team='{EVIL}'] button").click()
    assert "team" not in _state(page)
    assert page.locator("main tr.followed, main .back").count() == 0


def test_a_mark_says_its_value_where_the_pointer_rests(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri())
    dots = page.locator("#explore figure").first.locator("svg [aria-label=dot] circle")
    dots.nth(0).scroll_into_view_if_needed()
    box = dots.nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#explore figure").first.locator("svg [aria-label=tip]")
    tip.locator("text").wait_for()
    said = tip.text_content()
    assert EVIL in said
    assert f"{_dice(raw, EVIL).mean():.3f}" in said
    page.mouse.down()
    page.mouse.up()
    assert _state(page)["team"] == [EVIL]
    page.locator("main figure[id] svg text", has_text="seventh").first.dispatch_event("click")
    assert _state(page)["team"] == ["seventh"]


def test_two_are_compared_by_difference_interval_and_cases(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri() + "#explore?team=plain&versus=sixth")
    one, two = _dice(raw, "plain"), _dice(raw, "sixth")
    difference = one - two
    said = page.locator("#explore [role=status]").inner_text()
    assert f"{difference.mean():.3f} [" in said
    evidence = pd.read_csv(io.StringIO(said.split("[")[-1].split("]")[0]), header=None).iloc[0]
    assert evidence[0] < difference.mean() < evidence[1]
    shown = _rows(page, "explore-cases")
    assert abs(float(shown[0][3])) == pytest.approx(difference.abs().max(), abs=5.1e-4)
    assert {row[0] for row in shown} == set(difference.index)
    assert [abs(float(row[3])) for row in shown] == sorted((abs(float(row[3])) for row in shown), reverse=True)
    scatter = page.locator("#explore figure").nth(1)
    assert scatter.locator("[aria-label=dot] circle").count() == len(difference)
    better = int((difference > 0).sum())
    assert f"plain is better in {better} of {len(difference)} cases" in scatter.inner_text()


def test_tables_and_figures_follow_a_group_and_a_structure(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri())
    page.select_option("#explore-structure", "Liver")
    page.select_option("#explore-group", "Domain")
    page.select_option("#explore-level", "unseen")
    unseen = raw[raw["domain"] == "unseen"]
    expected = {name: _dice(unseen, name, "liver") for name in raw["submission"].unique()}
    shown = {row[0]: row for row in _rows(page, "explore-scores")}
    assert set(shown) == set(expected)
    for name, values in expected.items():
        assert shown[name][1] == str(len(values))
        assert shown[name][2].startswith(f"{values.mean():.3f}")
    page.select_option("#explore-team", "plain")
    assert {row[0] for row in _rows(page, "explore-cases")} == set(expected["plain"].index)
    heads = page.locator("main .tablebox:not([id^=explore]) thead th.chosen").all_text_contents()
    assert "Liver" in heads
    away = page.evaluate("[...document.querySelectorAll('main figure.elsewhere')].map((one) => one.id)")
    assert not [name for name in away if "liver" in name]
    page.get_by_role("button", name="Reset").click()
    assert page.locator("main .chosen, main .elsewhere").count() == 0
    whole = {row[0]: row for row in _rows(page, "explore-scores")}
    assert whole["plain"][2].startswith(f"{_dice(raw, 'plain').mean():.3f} [")


def test_an_address_brings_the_choice_back_and_a_wrong_one_does_no_harm(
    opened: Opened, hostile: tuple[Path, Path]
) -> None:
    index = (hostile[0] / "index.html").as_uri()
    page = opened.show(index)
    page.select_option("#explore-team", EVIL)
    page.select_option("#explore-structure", "Spleen")
    page.select_option("#explore-versus", "seventh")
    address, said = page.url, page.locator("#explore [role=status]").inner_text()
    page = opened.show(address)
    assert page.locator("#explore [role=status]").inner_text() == said
    assert page.locator("#explore-versus").input_value() == "seventh"
    wrong = "#explore?team=%3Cscript%3Ealert(1)%3C/script%3E&group=x&level=y&metric=__proto__&task=no"
    page = opened.show(index + wrong)
    assert _rows(page, "explore-scores")
    assert page.locator("script:not([type])").count() == 5


def test_without_scripts_everything_else_is_there(browser: Any, hostile: tuple[Path, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((hostile[0] / "index.html").as_uri())
    assert not page.locator("#explore").is_visible()
    assert page.locator("main figure svg").count() > 5
    assert page.locator("#leaderboard-organs").is_visible()
    context.close()


def test_the_site_explores_too_and_links_lead_on(opened: Opened, hostile: tuple[Path, Path]) -> None:
    page = opened.show((hostile[1] / "index.html").as_uri() + "#explore?team=plain")
    assert page.locator("#explore-cases tbody tr").count() == 14
    assert page.locator(f"#leaderboard-organs [data-team='{EVIL}'] a").get_attribute("href") == "team-001.html"


@pytest.fixture(scope="module")
def site(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a site whose organizer opens one case of two: a ball, and a prediction of it beside it."""
    folder = tmp_path_factory.mktemp("viewer")
    z, y, x = np.mgrid[:24, :40, :40]
    ball = lambda middle: ((z - 12) ** 2 + (y - 20) ** 2 + (x - middle) ** 2 < 60).astype(np.uint8)  # noqa: E731
    for name, array in {
        "references": ball(14),
        "one": ball(22),
        "two": 0 * ball(22),
        "images": 40 * ball(14) + 9,
    }.items():
        (folder / name).mkdir()
        for case in ("c00", "c01"):
            image: Any = SimpleITK.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.0, 2.0))
            SimpleITK.WriteImage(image, str(folder / name / f"{case}.nii.gz"))
    key = {"challenge": "tiny", "edition": "1", "task": "organs", "metric": "dice", "status": "ok", "domain": "seen"}
    table = pd.DataFrame(
        {**key, "submission": team, "case": case, "structure": structure, "value": value}
        for team, value in (("one", 0.4), ("two", 0.0))
        for case in ("c00", "c01")
        for structure in ("liver", "spleen", "kidney")
    )
    table.to_csv(folder / "scores.csv", index=False)
    request = Request(
        str(tiny), folder / "scores.csv", ("markdown",), bootstrap=0, site=folder / "site", workers=1,
        references=folder / "references", images=folder / "images", show_images=True, view_case=("c01",),
        predictions={name: folder / name for name in ("one", "two")},
    )  # fmt: skip
    write.write_report(request, folder / "report")
    return folder / "site"


def _near(picture: Image.Image, colour: str) -> int:
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(np.asarray(picture.convert("RGB"), dtype=int) - wanted).max(axis=2) < 40).sum())


def test_the_viewer_draws_contours_of_the_opened_case_and_of_no_other(browser: Any, site: Path) -> None:
    scripts = sorted(path.name for path in (site / "viewer").glob("case-*.js"))
    assert scripts == ["case-001-001.js", "case-001-002.js", "case-001.js"]
    content = json.loads((site / "viewer" / "case-001.js").read_text(encoding="utf-8").split(" = ", 1)[1].rstrip(";\n"))
    assert content["case"] == "c01"
    assert content["image"]
    view = Opened(browser, (520, 560))
    page = view.show((site / "viewer.html").as_uri(), "#view[data-ready]")
    page.locator(".stage").scroll_into_view_if_needed()
    page.wait_for_timeout(300)

    def colours() -> tuple[int, int]:
        picture = Image.open(io.BytesIO(page.locator(".stage").screenshot(timeout=120_000)))
        return _near(picture, REFERENCE_COLOUR), _near(picture, PREDICTION_COLOUR)

    both = colours()
    assert min(both) > 60, both
    page.locator("#prediction").uncheck()
    page.locator("#view[data-ready='2']").wait_for()
    page.wait_for_timeout(300)
    reference, prediction = colours()
    assert reference > 60
    assert prediction < both[1] / 10
    view.check()
    view.context.close()


def _copied(page: Any, way: str, table: str) -> str:
    page.evaluate("window.kept = ''")
    page.locator(f"#{table} button.copy[data-as={way}]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("window.kept")
    return str(page.evaluate("window.kept"))


def test_every_table_is_copied_as_csv_latex_and_markdown_by_the_keyboard(
    browser: Any, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    view = Opened(browser)
    # what is written to the clipboard, whatever a machine without a desktop makes of it
    keep = (
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.kept = text; }}})"
    )
    view.page.add_init_script(keep)
    page = view.show((hostile[0] / "index.html").as_uri())
    assert page.evaluate(
        "[...document.querySelectorAll('.tablebox')].every((box) => box.querySelectorAll('button.copy').length === 3)"
    )
    page.select_option("#explore-structure", "Liver")
    means = {name: _dice(raw, name, "liver").mean() for name in raw["submission"].unique()}
    table = pd.read_csv(io.StringIO(_copied(page, "CSV", "explore-scores")), dtype=str)
    assert {name.removeprefix("'") for name in table["Name"]} == set(means)
    assert any(name.startswith("'=cmd") for name in table["Name"]), "no spreadsheet takes a name for a formula"
    for name, shown in zip(table["Name"], table["Mean [95 % interval]"], strict=True):
        assert shown.startswith(f"{means[name.removeprefix(chr(39))]:.3f}")
    markdown = _copied(page, "Markdown", "leaderboard-organs").strip().splitlines()
    cells = [line.replace("\\|", "").count("|") for line in markdown[2:]]
    assert len(cells) == 2 + len(means)
    assert len(set(cells)) == 1, "a bar in a name ends no cell"
    assert "&lt;img src=x" in "".join(markdown)
    latex = _copied(page, "LaTeX", "leaderboard-organs")
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{/etc/passwd\}\$x\_1\$ 100\% \#\{\&\textasciitilde{}\textasciicircum{}" in latex
    assert latex.count(r"\\") == 1 + len(means)
    assert r"\toprule" in latex
    view.check()
    view.context.close()


def test_a_table_is_offered_as_text_where_nothing_may_be_copied(browser: Any, hostile: tuple[Path, Path]) -> None:
    view = Opened(browser)
    view.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;"
    )
    page = view.show((hostile[0] / "index.html").as_uri())
    page.locator("#leaderboard-organs button.copy[data-as=CSV]").click()
    field = page.locator("#leaderboard-organs textarea")
    assert field.input_value().count("\n") == 7
    assert page.evaluate("document.activeElement.className") == "copied"
    view.check()
    view.context.close()


def _rest_on(page: Any, figure: str, series: int, mark: int) -> str:
    """Let the pointer rest on a mark of a figure, and return what the page says of it."""
    where = page.evaluate(
        """async ([figure, series, mark]) => {
            const text = document.getElementById("marks-data").textContent.trim();
            const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
            const packed = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
            const told = await new Response(packed).json();
            const drawing = document.querySelector(`#${figure} .drawing > svg`);
            drawing.scrollIntoView({block: "center", behavior: "instant"});
            const one = told[figure].series[series];
            const spot = new DOMPoint(one.x[mark], one.y[mark]).matrixTransform(drawing.getScreenCTM());
            return [spot.x, spot.y, one.team, one.at ? told[figure].cases[one.at[mark]] : ""];
        }""",
        [figure, series, mark],
    )
    page.mouse.move(where[0], where[1])
    page.locator(".tip").wait_for()
    said = page.locator(".tip").inner_text()
    assert where[2] in said
    assert where[3] in said
    return str(said)


def test_marks_of_drawn_figures_say_team_case_and_value(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri())
    for series, mark in ((0, 3), (4, 7)):
        team, case, value = _rest_on(page, "dots-organs-mean-dice", series, mark).splitlines()
        assert float(value.split(": ")[1]) == pytest.approx(_dice(raw, team)[case], abs=5.1e-4)
    team, value = _rest_on(page, "map-organs-dice", 2, 0).splitlines()
    part, shown = value.split(", ")[0], value.partition(": ")[2]
    assert float(shown.split(" ")[0]) == pytest.approx(_dice(raw, team, part.lower()).mean(), abs=5.1e-4)
    page.mouse.down()
    page.mouse.up()
    assert _state(page)["team"] == [team]
    page.locator("#dots-organs-mean-dice .drawing").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    said = page.locator(".tip").text_content()
    assert page.locator("p[role=status].unseen").last.text_content() == said.replace("\n", ", ")
    page.keyboard.press("Enter")
    assert _state(page)["team"] == [said.splitlines()[0]]
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()


def test_figures_that_cannot_follow_a_choice_say_so_and_cases_outside_step_back(
    opened: Opened, hostile: tuple[Path, Path], raw: pd.DataFrame
) -> None:
    page = opened.show((hostile[0] / "index.html").as_uri())
    page.select_option("#explore-group", "Domain")
    page.select_option("#explore-level", "unseen")
    said = page.locator("#dots-organs-mean-dice .held").inner_text()
    assert "Domain: unseen" in said
    unseen = raw[(raw["domain"] == "unseen") & (raw["metric"] == "dice") & (raw["status"] == "ok")]
    dots = page.locator("#dots-organs-mean-dice .over circle").count()
    assert dots == unseen.groupby(["submission", "case"]).ngroups
    for name in ("leaderboard-organs", "map-organs-dice"):
        assert "Does not follow the choice (Domain: unseen)" in page.locator(f"#{name} .held").inner_text()
    assert page.locator("figure[id^=subgroup] .held").count() == 0, "these show the groups themselves"
    drawing = "#dots-organs-mean-dice .drawing > svg"
    seen = "(found) => [...new Set(found.map((one) => getComputedStyle(one).opacity))]"
    assert page.locator(f"{drawing} [id*='stays.'] use").evaluate_all(seen) == ["1"], "means are of all cases"
    assert page.locator(f"{drawing} [id*='matplotlib.axis'] use").evaluate_all(seen) == ["1"], "axes keep their ticks"
    assert "0.12" in page.locator(f"{drawing} use").evaluate_all(seen)
    page.select_option("#explore-team", "plain")
    own = unseen[unseen["submission"] == "plain"]["case"].nunique()
    assert page.locator("#dots-organs-mean-dice .over circle").count() == own
    page.get_by_role("button", name="Reset").click()
    assert page.locator("main .held, main .over, main .sifted").count() == 0


@pytest.mark.parametrize("structures", [3, 9, 104])
def test_names_of_explored_charts_neither_touch_nor_leave_them_on_a_phone(
    browser: Any, tmp_path: Path, structures: int
) -> None:
    titles = [f"Structure with a name {at}" for at in range(structures)]
    labels = "\n".join(f"      s{at}: {{label: {at + 1}, title: {title}}}" for at, title in enumerate(titles))
    rules = teams.CHALLENGE
    begin, end = rules.index("      liver:"), rules.index("    metrics:")
    challenge = tmp_path / "many.yaml"
    challenge.write_text(f"{rules[:begin]}{labels}\n{rules[end:]}", encoding="utf-8")
    base = teams.make_scores(["MMMM_WWWW_MMMM_WWWW_ONE", "MMMM_WWWW_MMMM_WWWW_TWO"], cases=4)
    dice = base[base["structure"] == "liver"]
    scores = pd.concat([dice.assign(structure=f"s{at}") for at in range(structures)] + [base[base["structure"] == ""]])
    scores.to_csv(tmp_path / "scores.csv", index=False)
    write.write_report(Request(str(challenge), tmp_path / "scores.csv", bootstrap=20, workers=1), tmp_path / "out")
    one = Opened(browser, (390, 800))
    page = one.show((tmp_path / "out" / "index.html").as_uri())
    wrong = page.evaluate(r"""() => [...document.querySelectorAll("#explore .drawing svg")].flatMap((svg) => {
      const whole = svg.getBoundingClientRect();
      const texts = [...svg.querySelectorAll("[aria-label$='tick label'] text")].map((text) => ({
        text: text.textContent, box: text.getBoundingClientRect(), turn: text.getAttribute("transform") ?? "",
        x: new DOMPoint(0, 0).matrixTransform(text.getScreenCTM()).x,
      }));
      const meet = (one, other) => Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1
        && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1;
      const beyond = ({ box }) =>
        box.left < whole.left - 1 || box.right > whole.right + 1 || box.bottom > whole.bottom + 1;
      const straight = texts.filter((one) => !/rotate\(-40/.test(one.turn));
      const aslant = texts.filter((one) => /rotate\(-40/.test(one.turn));
      return [
        ...texts.filter(beyond).map((one) => `out: ${one.text}`),
        ...straight.filter((one, at) => straight.slice(0, at).some((other) => meet(one.box, other.box)))
          .map((one) => `touches: ${one.text}`),
        ...aslant.filter((one, at) => at && one.x - aslant[at - 1].x < 12 / Math.sin(0.7))
          .map((one) => `near: ${one.text}`),
      ];
    })""")
    assert wrong == []
    labels = page.locator("#explore .drawing svg").first.locator("[aria-label='y-axis tick label'] text")
    names = labels.all_text_contents()
    assert len(set(names)) == 2, "what differs at the end of names is not cut off"
    one.check()
    one.context.close()
