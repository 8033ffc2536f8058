"""Read the tables and sentences of written pages back, and say where they are not what a document prints.

A file's hash proves nothing where the hash was edited, too. So every cell of every table is read out of ``index.html``
and ``report.md`` themselves and compared with the cell that the document prints. A number of another machine may be
rounded the other way where it lies on the edge between two printed ones; nothing else may differ.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from medpodium.reports.formats import html, markdown
from medpodium.reports.model.document import Cell, Column, Document, Items, Paragraph, Table, closed, value_of
from medpodium.reports.model.interactive.explore import altered_text

EDGE = 1e-9
"""Relative difference by which the last bits of two machines may differ."""


@dataclass
class PageTable:
    """A table as it stands in a page: name (id or title), heads, cells, and the numbers by which rows are sorted."""

    name: str
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    keys: list[list[str | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """What stands in a page, and what the document prints there."""

    table: str
    cause: str


class _Page(HTMLParser):
    """Tables with an id, and texts of paragraphs, items, captions and podium, of a page that ``html`` wrote."""

    _TEXT = ("p", "li", "dd", "figcaption")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[PageTable] = []
        self.texts: list[str] = []
        self._cell: list[str] | None = None
        self._key: str | None = None
        self._head = False
        self._open: list[tuple[str, list[str]]] = []
        self._skip = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "style", "svg"):
            self._skip += 1
        elif tag == "div" and "tablebox" in (given.get("class") or "").split():
            self.tables.append(PageTable(given.get("id") or ""))
        elif tag == "tr" and self.tables:
            self.tables[-1].rows.append([])
            self.tables[-1].keys.append([])
        elif tag in ("td", "th"):
            self._cell, self._key, self._head = [], given.get("data-value"), given.get("scope") == "col"
        elif tag in self._TEXT or (tag == "div" and given.get("class") == "caption"):
            self._open.append((tag, []))

    def handle_data(self, data: str) -> None:
        if self._skip:
            return
        if self._cell is not None:
            self._cell.append(data)
        for _, text in self._open:
            text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "svg"):
            self._skip -= 1
        elif tag in ("td", "th") and self._cell is not None and self.tables:
            text, self._cell = "".join(self._cell), None
            if self._head:
                self.tables[-1].heads.append(text)
            elif self.tables[-1].rows:
                self.tables[-1].rows[-1].append(text)
                self.tables[-1].keys[-1].append(self._key)
        elif self._open and self._open[-1][0] == tag:
            self.texts.append("".join(self._open.pop()[1]))


def html_differences(page: str, document: Document, *, sentences: bool) -> Iterator[Difference]:
    """Yield where a page written by :func:`medpodium.reports.formats.html.to_html` is not what a document prints.

    Parameters
    ----------
    sentences : bool
        Compare sentences, too: whoever wrote the page used the same words.
    """
    found = _Page()
    found.feed(page)
    found.close()
    by_id: dict[str, list[PageTable]] = {}
    for own in found.tables:
        own.rows = [row for row in own.rows if row]
        own.keys = [row for row in own.keys if row]
        by_id.setdefault(own.name, []).append(own)
    for table in document.tables():
        yield from _compare(table, by_id.get(table.id, []), _html_text)
    explored = html.explored_text(page)
    if document.explored is not None and (explored or sentences):
        # a page of an older version has nothing to explore
        cause = altered_text(explored, document.explored.text)
        yield from [Difference("explore", cause)] if cause else []
    if sentences:
        said = {_plain(_unnumbered(text)) for text in found.texts}
        podium = [f"{place.title}{place.team}{place.words}" for place in document.podium]
        captions = [f"{closed(table.heading)} {table.caption} CSV" for table in document.tables()]
        captions += [f"{figure.heading} {figure.caption} DataSVG" for figure in document.figures()]
        yield from _unsaid([*podium, *map(_unnumbered, captions), *sentences_of(document)], said)


def markdown_differences(page: str, document: Document, *, sentences: bool) -> Iterator[Difference]:
    """Yield where a page written by :func:`medpodium.reports.formats.markdown.write_markdown` differs likewise."""
    tables: dict[str, list[PageTable]] = {}
    said = set()
    title, current = "", PageTable("")
    for line in page.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if title:
                current, title = PageTable(_unnumbered(title), cells), ""
                tables.setdefault(current.name, []).append(current)
            else:
                current.rows.append([_unbold(cell) for cell in cells])
        elif line.startswith("**"):
            title = line
        said.add(_plain(re.sub(r"^(> |- |\d+\. )", "", line)))
    for own in (one for group in tables.values() for one in group):
        own.rows = own.rows[1:]  # the rule under the heads
    for table in document.tables():
        name = f"**{markdown.escape(closed(table.heading))}** {markdown.escape(table.caption)}".rstrip()
        yield from _compare(table, tables.get(_unnumbered(name), []), _markdown_text)
    if sentences:
        yield from _unsaid([markdown.escape(text) for text in sentences_of(document)], said)


def _unnumbered(title: str) -> str:
    """Return a title without its number: figures of what a campaign measured stand between those of its scores."""
    return re.sub(r"^(\**)(?:Figure|Table) S?\d+\. ", r"\1", title)


def _unbold(cell: str) -> str:
    return cell[2:-2] if len(cell) > 4 and cell.startswith("**") and cell.endswith("**") else cell


def _html_text(column: Column, value: Cell) -> str:
    return html.shown_text(column, value)


def _markdown_text(column: Column, value: Cell) -> str:
    return markdown.escape(column.show(value))


def _compare(table: Table, found: list[PageTable], show: html.Show) -> Iterator[Difference]:
    """Yield where none of the page's tables of this name is this table."""
    if not found:
        yield Difference(table.id, "the page has no such table")
        return
    differences = [list(_cells(table, one, show)) for one in found]
    yield from min(differences, key=len)


def _cells(table: Table, page: PageTable, show: html.Show) -> Iterator[Difference]:
    heads = [show(Column(""), column.title) for column in table.columns]
    for at, (told, head) in enumerate(itertools.zip_longest(page.heads, heads), 1):
        if told != head:
            yield Difference(table.id, f"head {at}: {told!r}, the scores give {head!r}")
    if len(page.rows) != len(table.rows) or any(len(row) != len(heads) for row in page.rows):
        yield Difference(table.id, f"{len(page.rows)} rows, the scores give {len(table.rows)}, or cells are missing")
        return
    for at, (told_row, row) in enumerate(zip(page.rows, table.rows, strict=True)):
        for spot, (column, told, value) in enumerate(zip(table.columns, told_row, row, strict=True)):
            where = f"row {at + 1} ({told_row[0]}), {column.title}"
            expected = show(column, value)
            if told != expected and told not in _edges(column, value, show):
                yield Difference(table.id, f"{where}: {told!r}, the scores give {expected!r}")
            key = page.keys[at][spot] if page.keys else None
            if key is not None and not _same_key(key, value):
                yield Difference(table.id, f"{where}: sorted as {key!r}, the scores give {value_of(value)!r}")


def _edges(column: Column, value: Cell, show: html.Show) -> set[str]:
    """Return how a cell may be printed where its last bits are those of another machine."""
    parts = value if isinstance(value, tuple) else (value,)
    numbers = [part for part in parts if isinstance(part, float)]
    if len(numbers) < len(parts):
        return set()
    ways = itertools.product(*([part * (1 - EDGE), part, part * (1 + EDGE)] for part in numbers))
    if isinstance(value, tuple):
        return {show(column, way) for way in ways}  # type: ignore[arg-type]  # as long as the value
    return {show(column, way[0]) for way in ways}


def _same_key(key: str, value: Cell) -> bool:
    number = value_of(value)
    try:
        return key == "" if math.isnan(number) else math.isclose(float(key), number, rel_tol=EDGE, abs_tol=1e-12)
    except ValueError:
        return False


def _plain(text: str) -> str:
    return " ".join(text.split())


def sentences_of(document: Document) -> Iterator[str]:
    """Yield every paragraph and item of a document."""
    for block in document.blocks():
        if isinstance(block, Paragraph):
            yield block.text
        elif isinstance(block, Items):
            yield from block.items


def unsaid(text: str) -> Difference:
    """Return that a sentence does not stand in a page."""
    shown = text if len(text) < 120 else f"{text[:117]}..."
    return Difference("text", f"the page does not say what the scores give: {shown!r}")


def _unsaid(expected: list[str], said: set[str]) -> Iterator[Difference]:
    for text in expected:
        if _plain(text) not in said:
            yield unsaid(text)
