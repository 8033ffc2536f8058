r"""Write a document as LaTeX: booktabs tables and PDF figures, ready to ``\input``.

``latex/main.tex`` compiles as it stands with a plain TeX Live (pdfLaTeX, XeLaTeX or LuaLaTeX); ``report.tex`` is
its body, and every table is a file of its own for papers that want only some of them. Tables and figures are floats,
those too wide for a column of a two-column class span both, and none is wider than its place: the same files serve
any class.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medpodium.reports.figures.layout import WIDTH
from medpodium.reports.formats.latex_text import escape, package
from medpodium.reports.formats.paged import Part, parts, wide_text
from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Section, Table, closed

_LINES = 34
"""Lines of a table on one page, as its rows are expected to wrap; longer tables go on in further ones."""
_NARROW = 52
"""Characters across that fit one column of a two-column page in small print."""
_FLOATS = 12
"""Floats in a row before those waiting are printed: LaTeX holds only so many back."""


def write_latex(document: Document, out: Path) -> list[str]:
    """Write ``main.tex``, ``report.tex``, ``tables/*.tex`` and ``figures/*`` below ``out/latex``.

    Parameters
    ----------
    document : Document
        With its figures drawn as PDF.

    Returns
    -------
    list of str
        Files written, relative to ``out``.
    """
    folder = out / "latex"
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = ["latex/medpodium.sty"]
    tables: list[str] = []
    sources: dict[str, str] = {}
    for half, (name, main) in zip(document.halves(), _SOURCES, strict=True):
        if half is not None:
            body = _body(half, folder, tables, written)
            sources[f"{name}.tex"], sources[f"{main}.tex"] = "\n".join(body) + "\n", _main(half, name)
    sources["medpodium.sty"] = package([*sources.values(), *tables])
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [*written, *(f"latex/{name}" for name in sources if name.endswith(".tex"))]


_SOURCES = (("report", "main"), ("supplement-body", "supplement"))
"""Body and document of main part and supplement."""


def _body(document: Document, folder: Path, tables: list[str], written: list[str]) -> list[str]:
    """Return the lines of a body; its tables and figures are written beside it."""
    body: list[str] = []
    waiting = 0
    for depth, section in document.walk():
        body += _section(section, depth)
        waiting = 0
        for block in section.blocks:
            lines, files = _block(block)
            waiting += isinstance(block, Figure) + sum(text.count(b"\\begin{table") for text in files.values())
            if waiting > _FLOATS:
                lines, waiting = [r"\FloatBarrier", *lines], 1
            body += lines
            tables += [content.decode() for name, content in files.items() if name.endswith(".tex")]
            for name, content in files.items():
                (folder / name).write_bytes(content)
                written.append(f"latex/{name}")
    return body


def _main(document: Document, body: str) -> str:
    facts = " \\\\\n".join(f"{escape(name)}: {escape(value)}" for name, value in document.facts)
    kinds = () if body == _SOURCES[0][0] else ("figure", "table")
    counters = "".join(f"\\renewcommand{{\\the{kind}}}{{S\\arabic{{{kind}}}}}\n" for kind in kinds)
    return rf"""\documentclass[10pt,a4paper]{{article}}
\usepackage{{medpodium}}
\usepackage[margin=22mm]{{geometry}}
\setlength{{\emergencystretch}}{{3em}}
\setlength{{\tabcolsep}}{{4pt}}
\title{{{escape(document.title)}}}
\author{{}}
\date{{}}
\begin{{document}}
\maketitle
\noindent {escape(document.subtitle)}

\smallskip\noindent\begin{{small}}
{facts}
\end{{small}}

{counters}\input{{{body}.tex}}
\end{{document}}
"""


def _section(section: Section, depth: int) -> list[str]:
    command = ("section", "subsection", "subsubsection", "paragraph")[min(depth, 4) - 1]
    return ["", r"\FloatBarrier", rf"\{command}{{{escape(section.title)}}}", rf"\label{{sec:{section.id}}}"]


def _block(block: Block) -> tuple[list[str], dict[str, bytes]]:
    if isinstance(block, Paragraph):
        return ["", escape(block.text), ""], {}
    if isinstance(block, Items):
        kind = "enumerate" if block.ordered else "itemize"
        items = [rf"\item {escape(item)}" for item in block.items]
        return [rf"\begin{{{kind}}}", *items, rf"\end{{{kind}}}"], {}
    if isinstance(block, Table):
        name = f"tables/{block.id}.tex"
        return [rf"\input{{{name}}}"], {name: table_tex(block).encode()}
    if isinstance(block, Figure):
        return _figure(block), {f"figures/{block.id}.pdf": block.files["pdf"]}
    if isinstance(block, Pictures):
        return _pictures(block)
    raise TypeError(block)


def _figure(figure: Figure) -> list[str]:
    share = _share(figure)
    kind = "figure*" if share > 0.5 else "figure"
    return [
        rf"\begin{{{kind}}}[!htbp]",
        r"\centering",
        rf"\includegraphics[width={share:.3f}\textwidth,max width=\linewidth,max height=0.8\textheight]"
        rf"{{figures/{figure.id}.pdf}}",
        rf"\caption{{\textbf{{{escape(closed(figure.title))}}} {escape(figure.caption)}}}",
        rf"\label{{fig:{figure.id}}}",
        rf"\end{{{kind}}}",
    ]


def _share(figure: Figure) -> float:
    """Return the share of the text width a figure takes at its natural size, at most 1."""
    match = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", figure.files["pdf"])
    return min(1.0, float(match[1]) / (72 * WIDTH)) if match else 1.0


def _pictures(block: Pictures) -> tuple[list[str], dict[str, bytes]]:
    lines, files = ["", rf"\noindent\textbf{{{escape(block.title)}}}\par"], {}
    for at, picture in enumerate(block.pictures):
        name = f"figures/{block.id}-{at}.png"
        files[name] = picture.png
        lines.append(
            rf"\noindent\begin{{minipage}}[t]{{0.31\linewidth}}\includegraphics[width=\linewidth]{{{name}}}\\"
            rf"{{\scriptsize {escape(picture.caption)}}}\end{{minipage}}\hfill"
        )
    return [*lines, r"\par"], files


def table_tex(table: Table) -> str:
    """Return one table as booktabs LaTeX, cut into pieces where it is too wide or too long for a page."""
    pieces = [piece for part in parts(table) for piece in _pages(part)]
    found = []
    for number, part in enumerate(pieces, 1):
        name = table.title if len(pieces) == 1 else f"{table.title} ({number} of {len(pieces)})"
        found.append("\n".join(_part(replace(part, title=name), table, first=number == 1)))
    return "\n\n".join(found) + "\n"


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
    spec = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}"
        if share
        else "r" if column.numeric and column.kind != "interval" else "l"
        for column, share in zip(part.columns, shares, strict=True)
    )  # fmt: skip
    head = " & ".join(_head(column.title, column.numeric) for column in part.columns) + r" \\"
    rows = [
        " & ".join(
            rf"\textbf{{{escape(text)}}}" if (at, spot) in part.best else escape(text) for spot, text in enumerate(row)
        )
        + r" \\"
        for at, row in enumerate(part.rows)
    ]
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


def _head(title: str, numeric: bool) -> str:
    """Return a column head; long heads of numbers stand on several lines."""
    words = title.split(" ")
    if not numeric or len(title) <= 9 or len(words) == 1:
        return escape(title)
    lines: list[str] = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < 10:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    stacked = r" \\ ".join(map(escape, lines))
    return rf"\shortstack[r]{{{stacked}}}"


def _shares(part: Part) -> list[float]:
    """Return the share of the width each column of running text gets; 0 for columns as wide as their cells."""
    weights = part.weights
    wide = wide_text(part.columns, weights)
    fixed = sum(weight + 2 for weight, flag in zip(weights, wide, strict=True) if not flag)
    room = max(0.2, 0.97 - fixed / 105)
    total = sum(weight for weight, flag in zip(weights, wide, strict=True) if flag)
    return [room * weight / total - 0.012 if flag else 0.0 for weight, flag in zip(weights, wide, strict=True)]
