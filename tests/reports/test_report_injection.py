"""Nothing a team writes becomes code: HTML, LaTeX, spreadsheets, Markdown, Word, SVG."""

from __future__ import annotations

import csv
import io
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.reports.formats import markdown
from medpodium.reports.formats.latex import text as latex_text
from medpodium.reports.formats.spreadsheet import raw_text, safe_text, to_csv

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _pages(hostile: tuple[Path, Path]) -> list[Path]:
    out, site = hostile
    return [out / "index.html", *sorted(site.glob("*.html"))]


def test_no_element_comes_from_a_team_name(hostile: tuple[Path, Path]) -> None:
    for page in _pages(hostile):
        parser = _Tags()
        parser.feed(page.read_text(encoding="utf-8"))
        for tag, attributes in parser.tags:
            assert not any(name.startswith("on") for name in attributes), (page.name, tag, attributes)
            assert tag not in ("iframe", "object", "embed", "form", "base")
            address = attributes.get("href") or attributes.get("src") or attributes.get("xlink:href") or ""
            assert not address.lower().startswith(("javascript:", "http:", "https:", "//")), address[:80]
        scripts = [attributes for tag, attributes in parser.tags if tag == "script"]
        # the page's own two; where it can be explored, three more of the toolkit's, and data that no browser runs
        own = [attributes for attributes in scripts if "type" not in attributes]
        assert len(own) == (5 if page.name == "index.html" else 2)
        packed = ("explore-data", "marks-data")
        data = [{"type": "application/octet-stream", "id": name, "data-packed": None} for name in packed]
        assert [attributes for attributes in scripts if "type" in attributes] == data * (page.name == "index.html")
    text = "".join(parser.text)
    assert teams.HOSTILE["html"] in "".join(_text(hostile[0] / "index.html"))
    assert text


def _text(page: Path) -> list[str]:
    parser = _Tags()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.text


def test_csv_has_no_formula(hostile: tuple[Path, Path]) -> None:
    files = sorted((hostile[0] / "data").glob("*.csv"))
    assert len(files) > 10
    for path in files:
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            for cell in row:
                if cell[:1] in "=+-@\t\r" and cell:
                    float(cell)  # a negative number is a number; anything else would be a formula


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r\n=1", "|calc", "%0A"])
def test_formulas_are_defused_and_come_back(text: str) -> None:
    assert safe_text(text).startswith("'")
    assert raw_text(safe_text(text)) == text
    again = pd.read_csv(io.BytesIO(to_csv(pd.DataFrame({"team": [text]}))), dtype=str, keep_default_na=False)
    assert again["team"][0].startswith("'")


@pytest.mark.parametrize("text", ["plain", "a=b", "'quoted'", "2D U-Net", "Ünïcode"])
def test_harmless_text_stays(text: str) -> None:
    assert safe_text(text) == text == raw_text(text)


def test_latex_knows_only_its_own_commands(hostile: tuple[Path, Path]) -> None:
    folder = hostile[0] / "latex"
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.tex")))
    inputs = set(re.findall(r"\\input\{([^}]*)\}", source))
    assert inputs == {
        "report.tex",
        "supplement-body.tex",
        *(f"{room}/{path.name}" for room in ("tables", "figures") for path in (folder / room).glob("*.tex")),
    }
    for danger in (r"\write", r"\openout", r"\immediate", r"\catcode", r"\csname", "^^"):
        assert danger not in source
    assert r"\textbackslash{}input\{/etc/passwd\}\$x\_1\$" in source.replace(r"\allowbreak{}", "")


@pytest.mark.parametrize("char", list('\\{}$&#^_%~<>|"`'))
def test_every_special_character_of_latex_is_escaped(char: str) -> None:
    assert latex_text.escape(f"a{char}b") != f"a{char}b"


@pytest.mark.parametrize("pair", ["--", ",,", "''"])
def test_what_fonts_would_join_is_kept_apart(pair: str) -> None:
    assert latex_text.escape(f"a{pair}b") == f"a{pair[0]}{{}}{pair[1]}b"


@pytest.mark.parametrize("char", ["[", "*"])
def test_no_cell_begins_with_what_a_row_end_would_take_as_its_argument(char: str) -> None:
    assert latex_text.escape(f"{char}2cm]") == f"{{{char}}}2cm]"
    assert latex_text.escape(f"a {char}b") == f"a {char}b"


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_becomes_a_command_or_leaves_its_braces(text: str) -> None:
    source = latex_text.escape(text)
    own = (
        r"\\(?:text[a-z]+\{[23]?\}|script(?:cjk|emoji|other)\{|ensuremath\{(?:\\[A-Za-z]+|-)\}"
        r"|allowbreak\{\}|ldots\{\}|[{}$&#%_])"
    )
    rest = re.sub(own, "", source)
    assert "\\" not in rest
    assert not set(rest) & set('$&#%_^<>|"')
    assert ("`" in rest) <= bool(set(text) & set("‘“"))  # opening quotes are written so
    plain = re.sub(r"\\[{}]", "", source)
    assert plain.count("{") == plain.count("}")
    assert not any(ord(char) < 32 or ord(char) == 127 for char in source)


def test_latex_keeps_other_scripts_in_the_source_and_drops_what_has_no_glyph() -> None:
    assert latex_text.escape("é∩≤") == r"é\ensuremath{\cap}\ensuremath{\le}"
    assert latex_text.escape("中文\x07") == r"\scriptcjk{中文} "
    assert latex_text.escape("a\u202eb") == "a[U+202E]b"
    package = latex_text.package([latex_text.escape("中 team")])
    assert r"\DeclareUnicodeCharacter{4E2D}{[U+4E2D]\allowbreak}" in package


def test_markdown_shows_names_as_they_are() -> None:
    shown = markdown.escape(teams.HOSTILE["markdown"])
    assert shown == r"\[click\](javascript:alert(1)) \*\*b\*\* \`c\` \| d"
    assert markdown.escape(teams.HOSTILE["html"]).startswith("&lt;img")


@settings(deadline=None)  # the first example imports the reader
@given(st.text(st.sampled_from("ab1 -+=.)(<>[]!*_`~#|&;:$@^{}\\/\"'"), max_size=12))
def test_an_independent_reader_of_markdown_prints_what_was_meant(text: str) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown.escape(text))
    assert [token.type for token in tokens] == (["paragraph_open", "inline", "paragraph_close"] if text.strip() else [])
    pieces = [child for token in tokens for child in token.children or []]
    assert {child.type for child in pieces} <= {"text", "text_special"}
    assert "".join(child.content for child in pieces) == text.strip()


def test_word_opens_and_holds_the_names(hostile: tuple[Path, Path]) -> None:
    import docx

    made = docx.Document(str(hostile[0] / "report.docx"))
    cells = {cell.text for table in made.tables[:2] for cell in table._cells}
    assert set(teams.HOSTILE.values()) <= cells


def test_pdf_is_made_without_running_a_name(hostile: tuple[Path, Path]) -> None:
    content = (hostile[0] / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/JavaScript" not in content
    assert b"/Launch" not in content


def test_svg_escapes_names(hostile: tuple[Path, Path]) -> None:
    from xml.etree import ElementTree

    drawings = sorted((hostile[0] / "figures").glob("*.svg"))
    assert len(drawings) > 8
    words = ""
    for path in drawings:
        tree = ElementTree.parse(path)
        words += " ".join(node.text or "" for node in tree.iter())
        assert not any(node.tag.endswith(("}script", "}img", "}foreignObject")) for node in tree.iter())
    assert "<img src=x on" in words  # long names are shortened in figures
