r"""Tables as booktabs LaTeX: numbers stand below one another by their points (siunitx), each with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medpodium.reports.formats.latex.text import escape
from medpodium.reports.formats.paged import Part, parts, wide_text
from medpodium.reports.model.document import Column, Table, closed

_LINES = 34
"""Lines of a table on one page, as its rows are expected to wrap; longer tables go on in further ones."""
_NARROW = 52
"""Characters across that fit one column of a two-column page in small print."""
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_ESTIMATE = re.compile(rf"({_NUMBER.pattern})( .*)?")


def table_tex(table: Table) -> str:
    """Return one table as LaTeX, cut into pieces where it is too wide or too long for a page."""
    found = []
    whole = pieces(table)
    for number, part in enumerate(whole, 1):
        name = table.title if len(whole) == 1 else f"{table.title} ({number} of {len(whole)})"
        found.append("\n".join(_part(replace(part, title=name), table, first=number == 1)))
    return "\n\n".join(found) + "\n"


def pieces(table: Table) -> list[Part]:
    """Return the pieces of a table, each as wide and long as a page takes."""
    return [piece for part in parts(table) for piece in _pages(part)]


def row_tex(part: Part, at: int) -> list[str]:
    """Return the cells of a row as they stand in the source; a number with its interval takes two."""
    found: list[str] = []
    for spot, (column, text) in enumerate(zip(part.columns, part.rows[at], strict=True)):
        found += _cell(column, text, _aligned(part, spot), bold=(at, spot) in part.best)
    return found


def _cell(column: Column, text: str, aligned: bool, *, bold: bool) -> list[str]:
    mark = r"\bfseries " if bold else ""
    if column.kind == "estimate":
        number = _ESTIMATE.fullmatch(text)
        if number is None:
            return [f"{{{escape(text)}}}", ""]
        rest = (number[2] or "").strip()
        return [f"{mark}{number[1].replace(',', '')}", escape(rest)]
    if aligned:
        return [f"{mark}{text.replace(',', '')}" if _NUMBER.fullmatch(text) else f"{{{escape(text)}}}"]
    return [rf"\textbf{{{escape(text)}}}" if bold else escape(text)]


def _aligned(part: Part, spot: int) -> bool:
    """Return whether the cells of a column are aligned by their points."""
    return part.columns[spot].kind in ("number", "integer")


def _format(texts: Sequence[str]) -> str:
    """Return the room that siunitx leaves before and behind the point."""
    numbers = [found[1] for text in texts if (found := _ESTIMATE.fullmatch(text))]
    whole = max((len(one.lstrip("-").partition(".")[0].replace(",", "")) for one in numbers), default=1)
    digits = max((len(one.partition(".")[2]) for one in numbers), default=0)
    return f"{'-' if any(one.startswith('-') for one in numbers) else ''}{whole}.{digits}"


def _pages(part: Part) -> list[Part]:
    """Cut a piece of a table into as many as its rows need pages; words in wide columns wrap."""
    shares = _shares(part)
    starts, lines = [0], 0
    for at, row in enumerate(part.rows):
        wrapped = [
            -(-len(text) // max(1, round(105 * share))) for text, share in zip(row, shares, strict=True) if share
        ]
        tall = max(wrapped, default=1)
        if lines and lines + tall > _LINES:
            starts.append(at)
            lines = 0
        lines += max(1, tall)
    return [
        replace(
            part,
            rows=part.rows[start:end],
            best=frozenset((row - start, spot) for row, spot in part.best if start <= row < end),
        )
        for start, end in zip(starts, [*starts[1:], len(part.rows)], strict=True)
    ]


def _part(part: Part, table: Table, *, first: bool) -> list[str]:
    shares = _shares(part)
    spec = " ".join(_spec(part, spot, share) for spot, share in enumerate(shares))
    head = " & ".join(_head(column, _aligned(part, spot)) for spot, column in enumerate(part.columns)) + r" \\"
    rows = [" & ".join(row_tex(part, at)) + r" \\" for at in range(len(part.rows))]
    wide = any(shares) or sum(part.weights) + 2 * len(part.columns) > _NARROW
    kind = "table*" if wide else "table"
    words = f" {escape(table.caption)}" if first and table.caption else ""
    return [
        rf"\begin{{{kind}}}[!htbp]",
        r"\centering",
        r"\footnotesize" if len(part.columns) < 8 else r"\scriptsize",
        rf"\caption{{\textbf{{{escape(closed(part.title))}}}{words}}}",
        *([rf"\label{{tab:{table.id}}}"] if first else []),
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        rf"\end{{{kind}}}",
    ]


def _spec(part: Part, spot: int, share: float) -> str:
    column = part.columns[spot]
    if share:
        return rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}"
    texts = [row[spot] for row in part.rows]
    if column.kind == "estimate":
        return rf"S[table-format={_format(texts)}]@{{\;}}l"
    if _aligned(part, spot):
        return f"S[table-format={_format(texts)}]"
    return "r" if column.numeric and column.kind != "interval" else "l"


def _head(column: Column, aligned: bool) -> str:
    """Return a column head; long heads of numbers stand on several lines."""
    words = column.title.split(" ")
    shown = escape(column.title)
    if column.numeric and len(column.title) > 9 and len(words) > 1:
        width = 18 if column.kind == "estimate" else 10
        lines: list[str] = [words[0]]
        for word in words[1:]:
            if len(lines[-1]) + len(word) < width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        stacked = r" \\ ".join(map(escape, lines))
        shown = rf"\shortstack{{{stacked}}}" if len(lines) > 1 else shown
    if column.kind == "estimate":
        return rf"\multicolumn{{2}}{{c}}{{{shown}}}"
    return f"{{{shown}}}" if aligned else shown


def _shares(part: Part) -> list[float]:
    """Return the share of the width each column of running text gets; 0 for columns as wide as their cells."""
    weights = part.weights
    wide = wide_text(part.columns, weights)
    fixed = sum(weight + 2 for weight, flag in zip(weights, wide, strict=True) if not flag)
    room = max(0.2, 0.97 - fixed / 105)
    total = sum(weight for weight, flag in zip(weights, wide, strict=True) if flag)
    return [room * weight / total - 0.012 if flag else 0.0 for weight, flag in zip(weights, wide, strict=True)]
