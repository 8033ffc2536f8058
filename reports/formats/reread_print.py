"""Read the tables and sentences of LaTeX, Word and PDF back, and say where they are not what a document prints.

LaTeX is compared cell by cell with what would be written today, Word by its own tables. A PDF has no cells: the text
of every row has to stand in it as printed, and so has every sentence.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medpodium.reports.formats import word
from medpodium.reports.formats.latex.tables import pieces, row_tex
from medpodium.reports.formats.latex.text import escape
from medpodium.reports.formats.paged import Part, parts
from medpodium.reports.formats.reread import EDGE, Difference, sentences_of, unsaid
from medpodium.reports.model.document import REFERENCES, Cell, Document, Table

_INVISIBLE = re.compile(r"[\s\u200b\u00ad]+")
_TURNED, _JOINED = ("R", "AL", "AN"), ("Mn", "Mc", "Me", "Cf")
_CITED = re.compile(r"~\\cite\{[^}]*\}")


def variants(table: Table) -> list[Table]:
    """Return a table as it may be printed where its last bits are those of another machine, its own first."""
    return [replace(table, rows=tuple(tuple(_times(cell, by) for cell in row) for row in table.rows))
            for by in (1.0, 1 - EDGE, 1 + EDGE)]  # fmt: skip


def _times(cell: Cell, by: float) -> Cell:
    if isinstance(cell, tuple):
        return tuple(part * by for part in cell)  # type: ignore[return-value]  # as long as the cell
    return cell * by if isinstance(cell, float) else cell


def latex_differences(folder: Path, document: Document, *, sentences: bool) -> Iterator[Difference]:
    """Yield where the sources below ``latex`` are not what :func:`write_latex` would write today.

    Parameters
    ----------
    sentences : bool
        Compare sentences, too: whoever wrote the sources used the same words.
    """
    for table in document.tables():
        path = folder / "tables" / f"{table.id}.tex"
        if not path.is_file():
            yield Difference(table.id, "the project has no such table")
            continue
        told = _latex_rows(path.read_text(encoding="utf-8", errors="replace"))
        ways = [[row_tex(part, at) for part in pieces(one) for at in range(len(part.rows))] for one in variants(table)]
        yield from _rows(table.id, told, ways)
    if sentences:
        sources = sorted(folder.rglob("*.tex"))
        bodies = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sources)
        page = _squeezed(_CITED.sub("", bodies))
        whole = replace(document, sections=tuple(one for one in document.sections if one.id != REFERENCES))
        yield from _unsaid(((text, escape(text)) for text in _prose(whole)), page)


def _latex_rows(source: str) -> list[list[str]]:
    rows: list[list[str]] = []
    inside = False
    for line in source.splitlines():
        if line in (r"\midrule", r"\bottomrule"):
            inside = line == r"\midrule"
        elif inside:
            rows.append(line.removesuffix(r" \\").split(" & "))
    return rows


def word_differences(content: bytes, document: Document, *, sentences: bool) -> Iterator[Difference]:
    """Yield where a Word file written by :func:`to_docx` is not what one half of a document prints."""
    import docx

    try:
        read: Any = docx.Document(io.BytesIO(content))
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        yield Difference("file", f"cannot be read: {error}".split("\n", maxsplit=1)[0])
        return
    told = [[[cell.text for cell in row.cells] for row in table.rows] for table in read.tables]
    expected = [(table, [parts(one) for one in variants(table)]) for table in document.tables()]
    number = sum(len(ways[0]) for _, ways in expected)
    if len(told) != number:
        yield Difference("tables", f"{len(told)} tables, the scores give {number}")
        return
    left = iter(told)
    for table, ways in expected:
        for at in range(len(ways[0])):
            yield from _rows(table.id, next(left), [_word_rows(way[at]) for way in ways])
    if sentences:
        page = _squeezed("\n".join(paragraph.text for paragraph in read.paragraphs))
        yield from _unsaid(((text, word.clean(text)) for text in _prose(document)), page)


def _word_rows(part: Part) -> list[list[str]]:
    heads = [column.title for column in part.columns]
    return [[word.clean(text) for text in row] for row in (heads, *part.rows)]


def pdf_differences(content: bytes, document: Document, *, sentences: bool) -> Iterator[Difference]:
    """Yield which rows and sentences of one half of a document do not stand in a PDF that :func:`to_pdf` wrote."""
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]
    except (PyPdfError, ValueError, KeyError) as error:
        yield Difference("file", f"cannot be read: {error}".split("\n", maxsplit=1)[0])
        return
    page = "".join(_without_foot(_squeezed(text), document.title, at) for at, text in enumerate(pages, 1))
    for table in document.tables():
        ways = [parts(one) for one in variants(table)]
        for at in range(len(ways[0])):
            for number, row in enumerate(ways[0][at].rows):
                if not any(_printed(way[at].rows[number], page) for way in ways):
                    yield Difference(table.id, f"the page does not print row {number + 1}: {' | '.join(row)}")
    if sentences:
        for text in _prose(document):
            if not _printed([f"{one} " for one in text.split(" ")], page):
                yield unsaid(text)


def _without_foot(text: str, title: str, number: int) -> str:
    """Return the text of a page without its foot, which would stand inside a paragraph that goes on."""
    foot = _squeezed(f"{title}{number}")
    return text.removesuffix(foot) if text.endswith(foot) else text.removeprefix(foot)


def _printed(pieces: Sequence[str], page: str) -> bool:
    """Return whether a page prints pieces one after the other.

    Scripts that are set from right to left, or whose letters change with their neighbours, cannot be read back from a
    PDF: what stands between pieces of them has to be there.
    """
    runs = [""]
    for piece in pieces:
        if any(unicodedata.bidirectional(char) in _TURNED or unicodedata.category(char) in _JOINED for char in piece):
            runs.append("")
        else:
            runs[-1] += piece
    return all(_squeezed(run) in page for run in runs)


def _rows(name: str, told: Sequence[Sequence[str]], ways: Sequence[Sequence[Sequence[str]]]) -> Iterator[Difference]:
    """Yield which cells of a table none of the ways in which it may be printed has."""
    expected = ways[0]
    if len(told) != len(expected) or any(len(one) != len(other) for one, other in zip(told, expected, strict=True)):
        yield Difference(name, f"{len(told)} rows, the scores give {len(expected)}, or cells are missing")
        return
    for at, (own, row) in enumerate(zip(told, expected, strict=True)):
        for spot, (text, right) in enumerate(zip(own, row, strict=True)):
            if all(text != way[at][spot] for way in ways):
                yield Difference(name, f"row {at + 1} ({row[0]}), cell {spot + 1}: {text!r}, the scores give {right!r}")


def _prose(document: Document) -> Iterator[str]:
    yield from sentences_of(document)
    yield from (table.caption for table in document.tables())
    yield from (figure.caption for figure in document.figures())


def _unsaid(pairs: Iterator[tuple[str, str]], page: str) -> Iterator[Difference]:
    for text, shown in pairs:
        if _squeezed(shown) not in page:
            yield unsaid(text)


def _squeezed(text: str) -> str:
    """Return a text without what nobody sees: where lines end is no news."""
    return _INVISIBLE.sub("", text)
