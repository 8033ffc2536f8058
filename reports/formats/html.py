"""Write a document as one self-contained HTML page: no network, no script but its own, every string escaped."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

from medpodium.reports.figures.layout import label
from medpodium.reports.figures.palette import INK, MUTED, MUTED_SCHEME, OTHERS, PAPER, RULE
from medpodium.reports.formats.draw import inline_svg
from medpodium.reports.formats.paged import BREAK_AFTER, LONG_WORD
from medpodium.reports.formats.spreadsheet import to_csv
from medpodium.reports.model.document import Cell, Column, Document, Figure, Table, closed, value_of

if TYPE_CHECKING:
    from markupsafe import Markup

_VARIABLES = {
    INK: "var(--ink)", PAPER: "var(--sheet)", RULE: "var(--rule)", MUTED: "var(--muted)",
    MUTED_SCHEME[0]: "var(--indigo)", MUTED_SCHEME[2]: "var(--green)", MUTED_SCHEME[5]: "var(--wine)",
    OTHERS[0]: "var(--indigo-other)", OTHERS[2]: "var(--green-other)", OTHERS[5]: "var(--wine-other)",
}  # fmt: skip
"""Colours that follow the theme: the neutral ones, and the three that are too dark for a dark page."""
_WIDTH = re.compile(r'<svg([^>]*?) width="([\d.]+)pt"')
_SIZE = re.compile(r'(<svg[^>]*?) width="[\d.]+pt"|(<svg[^>]*?) height="[\d.]+pt"')
_TEAM_LENGTH = 34
_COMPRESS_ABOVE = 30_000
CHARTS = ("d3.min.js", "plot.umd.min.js")
"""The charting library of pages that can be explored, in the order in which its parts are loaded."""


@dataclass(frozen=True)
class ShownCell:
    """One table cell as the template prints it."""

    text: str
    css: str
    sort: str | None
    colour: str = ""
    bar: tuple[str, str] | None = None
    link: str = ""
    full: str = ""
    team: str = ""
    head: bool = False


def to_html(
    document: Document, version: str, links: Mapping[str, str] | None = None, home: str = "", viewer: str = ""
) -> str:
    """Return the document as one HTML page.

    Parameters
    ----------
    document : Document
        With its figures drawn as SVG.
    version : str
        Version of the toolkit, printed at the foot.
    links : mapping of str to str, optional
        Relative address of each submission's own page.
    home : str
        Relative address of the page to go back to.
    viewer : str
        Relative address of the case viewer.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    css, page, *scripts = (_file("templates", name) for name in ("report.css", "report.html", "report.js", "copy.js"))
    explored = document.explored.text if document.explored is not None else ""
    if explored:
        scripts += [*(_file("vendor", name) for name in CHARTS), _file("templates", "explore.js")]
    colours = {name: _VARIABLES.get(colour, colour) for name, colour in document.colours.items()}
    return environment.from_string(page).render(
        document=document,
        version=version,
        home=home,
        viewer=viewer,
        css=Markup(css),  # noqa: S704 - the toolkit's own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - the toolkit's own files, and those of vendor/
        script_hashes=" ".join(map(_allowed, scripts)),
        explored=_packed(explored),
        marks=_packed(_marks(document) if explored else ""),
        closed=closed,
        soft=_soft,
        cells=_cells_with(colours, links or {}),
        head_class=_head_class,
        svg=_svg,
        data=lambda item: _data(item, document.csv),
        png_uri=lambda png: _uri("image/png", png),
        colour=lambda name: colours.get(name, MUTED),
    )


def _file(folder: str, name: str) -> str:
    return files("medpodium.reports").joinpath(folder, name).read_text(encoding="utf-8")


def _allowed(script: str) -> str:
    """Return what a policy names a script by that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _marks(document: Document) -> str:
    """Return what the marks of all figures stand for, by figure, as JSON."""
    told = {figure.id: json.loads(found) for figure in document.figures() if (found := figure.files.get("marks"))}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _packed(text: str) -> str:
    """Return text compressed, in letters and digits: nothing that anybody is called can end the element it is in."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode() if text else ""


def explored_text(page: str) -> str:
    """Return what a page written here lets its reader explore, unpacked; empty where it holds nothing of the kind."""
    found = re.search(r'id="explore-data" data-packed>([A-Za-z0-9+/=]*)</script>', page)
    try:
        return gzip.decompress(base64.b64decode(found[1])).decode("utf-8") if found else ""
    except (OSError, ValueError, EOFError):
        return ""


def _data(item: Table | Figure, written: Mapping[str, bytes]) -> dict[str, str]:
    """Return address and file name of the download of a table's or figure's data; large ones are compressed."""
    content = written.get(item.id) or to_csv(item.frame() if isinstance(item, Table) else item.data)
    if len(content) <= _COMPRESS_ABOVE:
        return {"uri": _uri("text/csv;charset=utf-8", content), "name": f"{item.id}.csv"}
    return {"uri": _uri("application/gzip", gzip.compress(content, 6, mtime=0)), "name": f"{item.id}.csv.gz"}


def _soft(text: str) -> Markup:
    """Return text whose long words may break after punctuation."""
    from markupsafe import Markup

    words = [re.split(f"(?<=[{re.escape(BREAK_AFTER)}])", word) if len(word) >= LONG_WORD else [word]
             for word in text.split(" ")]  # fmt: skip
    return Markup(" ").join(Markup("<wbr>").join(pieces) for pieces in words)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _svg(figure: Figure) -> Markup:
    """Return the drawing for the page: scalable, its neutral colours following the theme.

    matplotlib escapes every text it writes into SVG, so the drawing is safe to embed as it is.
    """
    from markupsafe import Markup

    text = inline_svg(figure.files["svg"], figure.id)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    match = _WIDTH.search(text)
    natural = round(float(match[2]) * 96 / 72 * 1.12) if match else 640
    text = _SIZE.sub(lambda found: found[1] or found[2], text, count=1)
    text = _SIZE.sub(lambda found: found[1] or found[2], text, count=1)
    text = text.replace("<svg", f'<svg aria-hidden="true" style="--natural: {natural}px"', 1)
    return Markup(text)  # noqa: S704 - see above


def _head_class(column: Column) -> str:
    if column.kind == "interval":
        return "num left"
    return "num" if column.numeric else "team" if column.kind == "team" else ""


def _cells_with(colours: Mapping[str, str], links: Mapping[str, str]) -> Callable[[Table], list[list[ShownCell]]]:
    def cells(table: Table) -> list[list[ShownCell]]:
        best = table.best()
        heads = [at for at, column in enumerate(table.columns) if column.kind == "team"] or [0]
        return [
            [
                replace(_cell(table, column, value, (at, index) in best, colours, links), head=index == heads[0])
                for index, (column, value) in enumerate(zip(table.columns, row, strict=True))
            ]
            for at, row in enumerate(table.rows)
        ]

    return cells


Show = Callable[[Column, Cell], str]
"""How a format prints a cell."""


def shown_text(column: Column, value: Cell) -> str:
    """Return the text of a cell: long names of submissions are shortened."""
    return label(str(value), _TEAM_LENGTH) if column.kind == "team" else column.show(value)


def _cell(
    table: Table, column: Column, value: Cell, best: bool, colours: Mapping[str, str], links: Mapping[str, str]
) -> ShownCell:
    text = shown_text(column, value)
    if column.kind == "team":
        name, short = str(value), text
        full = name if short != name else ""
        return ShownCell(short, "team", None, colours.get(name, ""), link=links.get(name, ""), full=full, team=name)
    if column.kind == "interval":
        bar = None
        if table.extent > 1 and isinstance(value, tuple):
            # A rank occupies the whole step from rank - 1 to rank of the scale.
            low, high = max(0.0, (value[0] - 1) / table.extent), min(1.0, value[1] / table.extent)
            bar = (f"{100 * low:.2f}", f"{100 * (high - low):.2f}")
        return ShownCell(text, "range", f"{value[0]!r}" if isinstance(value, tuple) else "", bar=bar)
    if column.numeric:
        number = value_of(value)
        return ShownCell(text, "num best" if best else "num", "" if number != number else repr(number))
    return ShownCell(text, "long" if len(text) > 40 else "", None)
