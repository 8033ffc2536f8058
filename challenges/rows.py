r"""Delimited text of strangers, as rows: the one reader of every CSV and TSV, however a spreadsheet wrote it.

Byte-order marks, UTF-16, separators, quotes, line ends, blanks, empty lines and trailing separators come as they come.
Cells are text: ``007``, ``NA``, ``null`` and ``1e5`` are names as they stand. Numbers are read by :class:`Numbers`,
with a decimal point or a decimal comma. What can be read in two ways is refused, never guessed.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.challenges.naming.names import control_character, folded, trimmed
from medpodium.findings import Code, Finding, UsageError

MAX_BYTES = 200_000_000
_SEPARATORS = ",;\t|"
_KEPT = 100_000
"""So many different cells are remembered."""
_LARGE = 1_000_000
"""Characters of a large table."""
_LOOK = 50
"""So many lines decide the separator."""
_FORMULA = re.compile(r'=\(?"([^"]*)"\)?')
_NUL = "\u2400"
"""csv before Python 3.11 stops at NUL, so it travels as the symbol for NUL."""
BLANK = frozenset({"", "na", "n/a", "#n/a", "nan", "none", "null", "-"})
"""Cells of a column of numbers that say that there is none."""


class RowsCode(Code):
    """What can be wrong with a table of text."""

    UNREADABLE = "table-text-unreadable"
    NO_ROWS = "table-text-no-rows"
    CELLS = "table-text-cells"
    COLUMN_TWICE = "table-text-column-twice"
    COLUMN_MISSING = "table-text-column-missing"
    CONTROL_CHARACTER = "table-text-control-character"


class _ByColumn(Sequence[list[str]]):
    """Rows of a table that is kept by columns: those are asked for, and a million rows need no list each."""

    def __init__(self, columns: list[list[str]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, at: Any) -> Any:
        return list(self)[at] if isinstance(at, slice) else [column[at] for column in self.columns]

    def __iter__(self) -> Iterator[list[str]]:
        return map(list, zip(*self.columns, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list has none


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Parameters
    ----------
    where : str
        File it comes from, for messages.
    columns : list of str
        Names as written, without blanks around them; one may have none (the row names that programs write first).
    cells : sequence of list of str
        Per row, without blanks around them; as many as there are columns.
    lines : list of int
        Number of the row each comes from, the header being 1; blank lines count.
    separator : str
        What stands between the cells.
    """

    where: str
    columns: list[str]
    cells: Sequence[list[str]]
    lines: list[int]
    separator: str

    @property
    def named(self) -> list[str]:
        """The columns that have a name."""
        return [name for name in self.columns if name]

    @property
    def rows(self) -> list[dict[str, str]]:
        """One mapping of column to cell per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.cells]

    def find(self, name: str) -> str | None:
        """Return the column of this name, as written or in other capitals; ``None`` where there is none.

        Raises
        ------
        UsageError
            If two columns differ from the name in their capitals only.
        """
        if name in self.columns:
            return name
        same = [column for column in self.columns if folded(column) == folded(name)]
        if len(same) > 1:
            cause = f"columns {same[0]!r} and {same[1]!r} differ only in capitals"
            raise UsageError(Finding(RowsCode.COLUMN_TWICE, self.where, cause, "remove one of them"))
        return same[0] if same else None

    def need(self, *names: str) -> list[str]:
        """Return the columns of these names, in any capitals; `UsageError` names the one that is missing."""
        found = [self.find(name) for name in names]
        for name, column in zip(names, found, strict=True):
            if column is None:
                fix = f"the columns needed are {', '.join(names)}; found {', '.join(self.named[:12])}"
                raise UsageError(Finding(RowsCode.COLUMN_MISSING, self.where, f"no column {name!r}", fix))
        return [column for column in found if column is not None]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        at = self.columns.index(name)
        if isinstance(self.cells, _ByColumn):
            return list(self.cells.columns[at])
        return [row[at] for row in self.cells]

    def refuse_control_characters(self, columns: Iterable[str]) -> None:
        """Refuse names that hold control characters, which some readers drop and others keep.

        Raises
        ------
        UsageError
            Naming line, column and character.
        """
        for name in columns:
            for cell, line in zip(self.column(name), self.lines, strict=True):
                char = control_character(cell)
                if char is not None:
                    cause = f"{name} {cell!r} contains the control character {ord(char)}"
                    where, fix = f"{self.where}: row {line}", "remove it from the name"
                    raise UsageError(Finding(RowsCode.CONTROL_CHARACTER, where, cause, fix))

    def numbers(self, columns: Iterable[str]) -> Numbers:
        """Return how the numbers of these columns are to be read."""
        return Numbers.of(cell for name in columns for cell in self.column(name))


_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+([eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}([., '\u2019\u00a0\u202f]\d{3})+([.,]\d*)?", re.ASCII)


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a table are written.

    Parameters
    ----------
    comma : bool
        Whether some number surely has a decimal comma (``0,5``) and none a decimal point.
    """

    comma: bool = False

    @classmethod
    def of(cls, cells: Iterable[str]) -> Numbers:
        """Return how these cells are to be read."""
        comma = False
        for cell in cells:
            if "." in cell:
                if _POINT.fullmatch(cell) is not None:
                    return cls(False)
            elif "," in cell:
                comma = comma or (_COMMA.fullmatch(cell) is not None and _THOUSANDS.fullmatch(cell) is None)
        return cls(comma)

    def parse(self, text: str) -> float:
        """Return a number, NaN for a blank cell, infinity where a cell says so.

        Raises
        ------
        ValueError
            With the reason: no number, or one that can be read in two ways (``1,234``).
        """
        if text.isascii() and text[-1:].isdigit() and "," not in text and "_" not in text:
            try:
                return float(text)
            except ValueError:
                pass  # the reason is found below
        bare = trimmed(text).replace("\u2212", "-")
        if bare.lower() in BLANK:
            return math.nan
        if _POINT.fullmatch(bare) or _WHOLE.fullmatch(bare):
            return float(bare)
        if _COMMA.fullmatch(bare):
            if self.comma or not _THOUSANDS.fullmatch(bare):
                return float(bare.replace(",", "."))
            raise ValueError(f"{bare!r} may be {bare.replace(',', '.')} or {bare.replace(',', '')}")
        if re.fullmatch(r"[+-]?inf(inity)?", bare, re.IGNORECASE):
            return float(bare)
        if _GROUPED.fullmatch(bare):
            raise ValueError(f"{bare!r} has separators of thousands")
        if bare.endswith("%"):
            raise ValueError(f"{bare!r} is a percentage")
        raise ValueError(f"{text!r} is no finite number")


def read_sheet(path: Path, *, rows: int = 1) -> Sheet:
    """Read a table.

    Parameters
    ----------
    path : Path
        At most 200 MB; UTF-8 or, as spreadsheets write it, UTF-16; compressed with gzip or not.
    rows : int
        How many rows there have to be besides the header.

    Raises
    ------
    UsageError
        If it cannot be read, has no header or no rows, a column occurs twice, or a row has more cells than the header.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _error(RowsCode.UNREADABLE, str(path), f"{size} bytes", "give a table below 200 MB")
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = _unpacked(content, path)
    except OSError as error:
        raise _error(RowsCode.UNREADABLE, str(path), error.strerror or str(error), "give a readable table") from None
    return parse_sheet(decode(content, str(path)), str(path), rows=rows)


def _unpacked(content: bytes, path: Path) -> bytes:
    """Return what a gzip file holds; however small it is, no more than the limit comes out of it."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            text = file.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _error(RowsCode.UNREADABLE, str(path), f"damaged gzip: {error}", "compress the table again") from None
    if len(text) > MAX_BYTES:
        cause = f"unpacks to more than {MAX_BYTES} bytes"
        raise _error(RowsCode.UNREADABLE, str(path), cause, "give a table below 200 MB")
    return text


def decode(content: bytes, where: str) -> str:
    """Return the text of a table: UTF-8, or UTF-16 and UTF-32 with or without a byte-order mark.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    encoding = next((name for mark, name in marks if content.startswith(mark)), "utf-8")
    head = content[:400]
    if encoding == "utf-8" and len(head) > 3:
        # Without a mark UTF-16 shows by every other byte of a header being zero.
        if head[1::2].count(0) > len(head) // 3:
            encoding = "utf-16-le"
        elif head[::2].count(0) > len(head) // 3:
            encoding = "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        odd = f"byte {content[error.start]:#04x} at {error.start}" if error.start < len(content) else "its end"
        fix = "save it as 'CSV UTF-8'"
        raise _error(RowsCode.UNREADABLE, where, f"is no {encoding.upper()} text ({odd})", fix) from None


def parse_sheet(text: str, where: str, *, rows: int = 1) -> Sheet:
    """Read a table from text; see :func:`read_sheet`."""
    text = text.replace("\0", _NUL)
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r'"?sep=(.)"?', first.strip("\r"))
    if declared:  # the first line by which Excel is told the separator
        text = rest
    separator = declared[1] if declared else separator_of(text)
    if (found := _large(text, separator, where)) is not None:
        return found
    lines = _lines(text, separator, where)
    if len(lines) < 1 + rows:
        raise _error(RowsCode.NO_ROWS, where, f"{len(lines)} lines", "give a header and at least one row")
    header = [trimmed(name) for name in lines[0][1]]
    kept = [at for at, name in enumerate(header) if name or any(at < len(row) and row[at] for _, row in lines[1:])]
    columns = [header[at] for at in kept]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise _error(RowsCode.COLUMN_TWICE, where, f"column {twice!r} occurs twice", "remove or rename one of them")
    cells = []
    for number, row in lines[1:]:
        if len(row) > len(header) and any(row[len(header) :]):
            cause = f"{len(row)} cells where the header has {len(header)}"
            fix = "put cells with the separator in them (decimal commas, too) in quotes, or use another separator"
            raise _error(RowsCode.CELLS, f"{where}: row {number}", cause, fix)
        whole = len(kept) == len(header) == len(row)
        cells.append(row if whole else [row[at] if at < len(row) else "" for at in kept])
    return Sheet(where, columns, cells, [number for number, _ in lines[1:]], separator)


def _large(text: str, separator: str, where: str) -> Sheet | None:
    """Return a large table without quotes, read by columns; None where its rows have to be read one by one."""
    if len(text) < _LARGE or '"' in text or "\r" in text:
        return None
    import numpy as np
    from pyarrow import ArrowInvalid, csv, py_buffer, string

    header = [trimmed(name) for name in text.partition("\n")[0].split(separator)]
    if not all(header) or len(set(header)) < len(header):
        return None
    names = [str(at) for at in range(len(header))]
    try:
        table = csv.read_csv(
            py_buffer(text.encode()),
            csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            csv.ParseOptions(delimiter=separator, quote_char=False, double_quote=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, string()), strings_can_be_null=False),
        )
    except (ArrowInvalid, UnicodeEncodeError):  # longer or shorter rows
        return None
    columns = []
    blank = np.ones(len(table), dtype=bool)
    for column in table.columns:
        coded = column.combine_chunks().dictionary_encode()
        own = np.array([_cell(cell) for cell in coded.dictionary.to_pylist()], dtype=object)[coded.indices.to_numpy()]
        blank &= own == ""
        columns.append(own.tolist())
    lines = list(range(2, len(table) + 2))
    return None if blank.any() or not lines else Sheet(where, header, _ByColumn(columns), lines, separator)


def _lines(text: str, separator: str, where: str) -> list[tuple[int, list[str]]]:
    """Return the rows that hold anything, with their numbers; cells without blanks around them."""
    found = []
    known = _Cells()
    try:
        for number, row in enumerate(_reader(text, separator), start=1):
            cells = [known[cell] for cell in row]
            if any(cells):
                found.append((number, cells))
    except csv.Error as error:
        raise _error(RowsCode.UNREADABLE, where, str(error), "give a well-formed table") from None
    return found


class _Cells(dict[str, str]):
    """Cells as written to cells as they are read: names and numbers come again and again, and are kept once."""

    def __missing__(self, cell: str) -> str:
        if len(self) > _KEPT:
            self.clear()
        read = self[cell] = cell if cell.isalnum() and cell.isascii() else _cell(cell)
        return read


def _reader(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t")


def _cell(cell: str) -> str:
    text = cell.strip()
    if not text.isascii():
        text = trimmed(text).replace(_NUL, "\0")
    # Excel's way of keeping a name that looks like a number: ="007"
    kept = _FORMULA.fullmatch(text) if text.startswith("=") else None
    return kept[1] if kept else text


def separator_of(text: str) -> str:
    """Return what separates the cells: the separator that gives most lines as many cells as the header has."""
    head = "\n".join(text.split("\n", _LOOK)[:_LOOK])

    def fit(separator: str) -> tuple[float, int]:
        try:
            rows = [row for row in _reader(head, separator) if any(cell.strip() for cell in row)]
        except csv.Error:
            return 0.0, 0
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        wide = len(rows[0])
        return sum(len(row) == wide for row in rows) / len(rows), wide

    fits: Sequence[tuple[tuple[float, int], str]] = [(fit(one), one) for one in _SEPARATORS]
    best = max(fits, key=lambda item: item[0])
    return best[1] if best[0][1] else ","


def _error(code: RowsCode, where: str, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(code, where, cause, fix))
