r"""Write a document as LaTeX: booktabs tables and PDF figures, ready to ``\input``.

``latex/main.tex`` compiles as it stands with a plain TeX Live (pdfLaTeX, XeLaTeX or LuaLaTeX); ``report.tex`` is
its body, and every table is a file of its own for papers that want only some of them.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from medpodium.reports.figures.layout import WIDTH
from medpodium.reports.formats.paged import BREAK_AFTER, LONG_WORD, Part, parts, wide_text
from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Section, Table, closed

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "-": "-{}",
    "'": r"{\textquotesingle}", "`": r"{\textasciigrave}", ",": ",{}", "!": "!{}", "?": "?{}", "*": "{*}",
}  # fmt: skip
_SYMBOLS = {
    "∩": r"\cap", "∪": r"\cup", "≤": r"\le", "≥": r"\ge", "×": r"\times", "·": r"\cdot", "±": r"\pm", "∞": r"\infty",
    "→": r"\rightarrow", "χ": r"\chi", "α": r"\alpha", "β": r"\beta", "τ": r"\tau", "κ": r"\kappa", "μ": r"\mu",
    "σ": r"\sigma", "δ": r"\delta", "Δ": r"\Delta", "λ": r"\lambda", "ρ": r"\rho", "−": "-", "≠": r"\neq",
    "≈": r"\approx",
}  # fmt: skip
_WORDS = {
    "–": "--", "—": "---", "…": r"\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "\u00a0": "~", "\u200b": "",
    "€": r"\texteuro{}", "²": r"\ensuremath{^2}", "³": r"\ensuremath{^3}", "°": r"\ensuremath{^\circ}",
}  # fmt: skip
_LONG = 38
"""Tables with more rows than this may break over pages."""


def escape(text: str) -> str:
    r"""Return text that LaTeX prints as it is: no command, no mathematics, no ligature trick survives.

    Characters pdfLaTeX has no glyph for appear as ``[U+XXXX]``; control characters become spaces.
    """
    return " ".join(map(_escape_word, text.split(" ")))


def _escape_word(word: str) -> str:
    if len(word) < LONG_WORD:
        return "".join(map(_escape_char, word))
    return "".join(_escape_char(char) + (r"\allowbreak{}" if char in BREAK_AFTER else "") for char in word)


def _escape_char(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    if char in _WORDS:
        return _WORDS[char]
    if char in _SYMBOLS:
        return rf"\ensuremath{{{_SYMBOLS[char]}}}"
    if ord(char) < 32 or ord(char) == 127:
        return " "
    if ord(char) < 127:
        return char
    name = unicodedata.name(char, "")
    if name.startswith("LATIN") and ord(char) < 0x180:
        return char
    return f"{{[}}U+{ord(char):04X}{{]}}"


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
    written = ["latex/main.tex", "latex/report.tex"]
    body: list[str] = []
    for depth, section in document.walk():
        body += _section(section, depth)
        for block in section.blocks:
            lines, files = _block(block)
            body += lines
            for name, content in files.items():
                (folder / name).write_bytes(content)
                written.append(f"latex/{name}")
    (folder / "report.tex").write_text("\n".join(body) + "\n", encoding="utf-8", newline="\n")
    (folder / "main.tex").write_text(_main(document), encoding="utf-8", newline="\n")
    return written


def _main(document: Document) -> str:
    facts = " \\\\\n".join(f"{escape(name)}: {escape(value)}" for name, value in document.facts)
    return rf"""\documentclass[10pt,a4paper]{{article}}
\usepackage{{iftex}}
\ifPDFTeX
  \usepackage[T1]{{fontenc}}
  \usepackage[utf8]{{inputenc}}
\fi
\usepackage{{textcomp}}
\usepackage[margin=22mm]{{geometry}}
\usepackage{{booktabs,longtable,array,graphicx,float}}
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

\input{{report.tex}}
\end{{document}}
"""


def _section(section: Section, depth: int) -> list[str]:
    command = ("section", "subsection", "subsubsection", "paragraph")[min(depth, 4) - 1]
    return ["", rf"\{command}{{{escape(section.title)}}}", rf"\label{{sec:{section.id}}}"]


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
    return [
        r"\begin{figure}[H]\centering",
        rf"\includegraphics[width={_share(figure):.3f}\linewidth,height=0.82\textheight,keepaspectratio]{{figures/{figure.id}.pdf}}",
        rf"\caption{{\textbf{{{escape(closed(figure.title))}}} {escape(figure.caption)}}}",
        rf"\label{{fig:{figure.id}}}",
        r"\end{figure}",
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
    """Return one table as booktabs LaTeX, cut into pieces where it is too wide for a page."""
    return "\n".join(line for part in parts(table) for line in _part(part, table)) + "\n"


def _part(part: Part, table: Table) -> list[str]:
    weights = part.weights
    wide = wide_text(part.columns, weights)
    spec = _spec(part, weights, wide)
    head = " & ".join(_head(column.title, column.numeric) for column in part.columns) + r" \\"
    rows = [
        " & ".join(
            rf"\textbf{{{escape(text)}}}" if (at, spot) in part.best else escape(text) for spot, text in enumerate(row)
        )
        + r" \\"
        for at, row in enumerate(part.rows)
    ]
    caption = rf"\caption{{\textbf{{{escape(closed(part.title))}}} {escape(table.caption)}}}"
    label = rf"\label{{tab:{table.id}}}" if not part.title.endswith(")") or "(1 of" in part.title else ""
    size = r"\footnotesize" if len(part.columns) < 8 else r"\scriptsize"
    if len(part.rows) > _LONG or any(wide):
        return [
            rf"{{{size}\begin{{longtable}}{{{spec}}}", rf"{caption}{label} \\", r"\toprule", head,
            r"\midrule", r"\endfirsthead",
            r"\toprule", head, r"\midrule", r"\endhead", *rows, r"\bottomrule", r"\end{longtable}}",
        ]  # fmt: skip
    return [
        rf"\begin{{table}}[H]\centering{size}", caption, label, rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head,
        r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


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


def _spec(part: Part, weights: list[int], wide: list[bool]) -> str:
    fixed = sum(weight + 2 for weight, flag in zip(weights, wide, strict=True) if not flag)
    room = max(0.2, 0.97 - fixed / 105)
    total = sum(weight for weight, flag in zip(weights, wide, strict=True) if flag)
    found = []
    for column, weight, flag in zip(part.columns, weights, wide, strict=True):
        if flag:
            found.append(rf">{{\raggedright\arraybackslash}}p{{{room * weight / total - 0.012:.3f}\linewidth}}")
        else:
            found.append("r" if column.numeric and column.kind != "interval" else "l")
    return "".join(found)
