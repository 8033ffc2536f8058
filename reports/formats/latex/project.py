r"""Write a document as a LaTeX project that compiles as it stands and whose parts go into papers.

``main.tex`` is the document in the class that was asked for, ``report.tex`` its body; every table and every figure is a
file of its own, ``references.bib`` holds what is cited, ``medpodium.sty`` what the files need. Tables and figures are
floats, those too wide for a column of a two-column class span both, and none is wider than its place: the same files
serve any class.
"""

from __future__ import annotations

import re
from pathlib import Path

from medpodium.reports.figures.layout import WIDTH
from medpodium.reports.formats.latex.bibliography import bibliography, cite
from medpodium.reports.formats.latex.classes import CLASSES, PaperClass
from medpodium.reports.formats.latex.tables import table_tex
from medpodium.reports.formats.latex.text import escape, package
from medpodium.reports.model.document import (
    REFERENCES,
    Block,
    Document,
    Figure,
    Items,
    Paragraph,
    Pictures,
    Section,
    Table,
    closed,
)
from medpodium.reports.model.references import Reference
from medpodium.reports.model.wording.grammar import listed

_FLOATS = 12
"""Floats before those waiting are printed, wherever sections begin: LaTeX holds only so many back."""
_PROSE = "methods"
"""Sections whose lists are sentences of a paragraph, as papers have them."""
_SOURCES = (("report", "main"), ("supplement-body", "supplement"))
"""Body and document of main part and supplement."""


def write_latex(document: Document, out: Path, paper: str = "article") -> list[str]:
    """Write ``main.tex``, ``report.tex``, ``tables/*.tex``, ``figures/*`` and ``references.bib`` below ``out/latex``.

    Parameters
    ----------
    document : Document
        With its figures drawn as PDF.
    paper : {"article", "ieeetran", "elsarticle", "llncs"}
        Document class.

    Returns
    -------
    list of str
        Files written, relative to ``out``.
    """
    folder = out / "latex"
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = ["latex/medpodium.sty"]
    parts: list[str] = []
    sources: dict[str, str] = {}
    for half, (name, main) in zip(document.halves(), _SOURCES, strict=True):
        if half is not None:
            left = list(document.references)
            body = _body(half, folder, parts, written, left)
            cites = len(left) < len(document.references)
            sources[f"{name}.tex"] = "\n".join(body) + "\n"
            sources[f"{main}.tex"] = _main(half, name, CLASSES[paper], cites=cites)
    sources["medpodium.sty"] = package([*sources.values(), *parts])
    if document.references:
        sources["references.bib"] = bibliography(document.references)
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [*written, *(f"latex/{name}" for name in sources if name.endswith((".tex", ".bib")))]


def _body(document: Document, folder: Path, parts: list[str], written: list[str], left: list[Reference]) -> list[str]:
    """Return the lines of a body; its tables and figures are written beside it."""
    body: list[str] = []
    waiting = 0
    for depth, section in document.walk():
        if section.id == REFERENCES:
            continue
        body += _section(section, depth)
        pointed = _pointers(section)
        for block in section.blocks:
            if pointed and not isinstance(block, (Paragraph, Items)):
                body, pointed = [*body, "", pointed], ""
            lines, files = _block(block, left, prose=section.id.startswith(_PROSE))
            waiting += sum(text.count(b"\\begin{table") + text.count(b"\\begin{figure") for text in files.values())
            if waiting > _FLOATS:
                lines, waiting = [r"\FloatBarrier", *lines], 1
            body += lines
            parts += [content.decode() for name, content in files.items() if name.endswith(".tex")]
            for name, content in files.items():
                (folder / name).write_bytes(content)
                written.append(f"latex/{name}")
    return body


def _main(document: Document, body: str, paper: PaperClass, *, cites: bool) -> str:
    facts = " \\\\\n".join(f"{escape(name)}: {escape(value)}" for name, value in document.facts)
    facts = f"\\smallskip\\noindent\\begin{{small}}\n{facts}\n\\end{{small}}\n" if facts else ""
    kinds = () if body == _SOURCES[0][0] else ("figure", "table")
    counters = "".join(f"\\renewcommand{{\\the{kind}}}{{S\\arabic{{{kind}}}}}\n" for kind in kinds)
    head = paper.head.replace("<title>", escape(document.title))
    head = head.replace("<author>", "Authors").replace("<institute>", "Institute")
    works = f"\\bibliographystyle{{{paper.style}}}\n\\bibliography{{references}}\n" if cites else ""
    return rf"""% Compile with latexmk -pdf, or with pdflatex, bibtex, pdflatex, pdflatex.
% Names in other scripts need XeLaTeX or LuaLaTeX.
{paper.line}
{paper.extra}
\usepackage{{medpodium}}
\setlength{{\emergencystretch}}{{3em}}
\setlength{{\tabcolsep}}{{4pt}}
\begin{{document}}
{head}
\noindent {escape(document.subtitle)}

{facts}
{counters}\input{{{body}.tex}}
{works}\end{{document}}
"""


def _section(section: Section, depth: int) -> list[str]:
    command = ("section", "subsection", "subsubsection", "paragraph")[min(depth, 4) - 1]
    barrier = [r"\sectionbarrier"] if depth == 1 else []
    return ["", *barrier, rf"\{command}{{{escape(section.title)}}}", rf"\label{{sec:{section.id}}}"]


def _pointers(section: Section) -> str:
    """Return where the tables and figures of a section are, as floats may stand elsewhere."""
    told = []
    for kind, mark, word in ((Table, "tab", "Table"), (Figure, "fig", "Figure")):
        names = [rf"\ref{{{mark}:{block.id}}}" for block in section.blocks if isinstance(block, kind)]
        if names:
            told.append(f"{word}{'s' * (len(names) > 1)}~{listed(names)}")
    return f"See {listed(told)}." if told else ""


def _block(block: Block, left: list[Reference], *, prose: bool) -> tuple[list[str], dict[str, bytes]]:
    if isinstance(block, Paragraph):
        return ["", cite(block.text, left)], {}
    if isinstance(block, Items) and prose:
        return [cite(item, left) for item in block.items], {}
    if isinstance(block, Items):
        kind = "enumerate" if block.ordered else "itemize"
        items = [rf"\item {cite(item, left)}" for item in block.items]
        return [rf"\begin{{{kind}}}", *items, rf"\end{{{kind}}}"], {}
    if isinstance(block, Table):
        name = f"tables/{block.id}.tex"
        return [rf"\input{{{name}}}"], {name: table_tex(block).encode()}
    if isinstance(block, Figure):
        name = f"figures/{block.id}.tex"
        source = "\n".join(_figure(block)) + "\n"
        return [rf"\input{{{name}}}"], {name: source.encode(), f"figures/{block.id}.pdf": block.files["pdf"]}
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
