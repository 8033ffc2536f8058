r"""Text as LaTeX source that people can read: escaped where LaTeX would do something else than print it, only there.

Other scripts than Latin stand in the source as they are, inside ``\scriptcjk{...}``, ``\scriptemoji{...}`` or
``\scriptother{...}``; the package :func:`package` writes gives these commands a font where the engine can use one
(XeLaTeX, LuaLaTeX), and prints ``[U+533B]`` under pdfLaTeX, which has no such glyphs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from medpodium.reports.formats.paged import BREAK_AFTER, LONG_WORD

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
}  # fmt: skip
_SYMBOLS = {
    "∩": r"\cap", "∪": r"\cup", "≤": r"\le", "≥": r"\ge", "×": r"\times", "·": r"\cdot", "±": r"\pm", "∞": r"\infty",
    "→": r"\rightarrow", "χ": r"\chi", "α": r"\alpha", "β": r"\beta", "τ": r"\tau", "κ": r"\kappa", "μ": r"\mu",
    "σ": r"\sigma", "δ": r"\delta", "Δ": r"\Delta", "λ": r"\lambda", "ρ": r"\rho", "−": "-", "≠": r"\neq",
    "≈": r"\approx",
}  # fmt: skip
_WORDS = {
    "–": "--", "—": "---", "…": r"\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "\u00a0": "~", "\u200b": "",
    "µ": r"\textmu{}", "€": r"\texteuro{}", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}",
    "°": r"\textdegree{}",
}  # fmt: skip
_LIGATURES = re.compile(r"([-,'])(?=\1)")
"""Pairs that fonts join into another character: dashes, low quotes, closing quotes."""
_LONG_NAME = 10
"""Names of so many characters break after an underscore; numbers of that length stay whole."""
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "KANGXI")
_SCRIPTS = {
    # The first font that is installed is taken. Fandol and DejaVu come with TeX Live, the others with systems.
    "cjk": ("Noto Serif CJK SC", "Source Han Serif SC", "Songti SC", "SimSun", "FandolSong-Regular.otf"),
    "emoji": ("Noto Emoji", "Noto Color Emoji", "Segoe UI Emoji", "Apple Color Emoji", "DejaVu Sans"),
    "other": ("DejaVu Sans", "DejaVuSans.ttf", "FreeSans", "Arial Unicode MS"),
}
SCRIPT = re.compile(r"\\script(?:cjk|emoji|other)\{([^{}]*)\}")
"""Text in another script, as :func:`escape` writes it."""


def escape(text: str) -> str:
    r"""Return text that LaTeX prints as it is: no command, no mathematics, no ligature trick survives.

    Characters that have no glyph anywhere (controls, marks of direction, private use) become spaces or ``[U+XXXX]``.
    """
    out = " ".join(map(_word, text.split(" ")))
    # After a row's \\ an asterisk or bracket would be read as its argument.
    return f"{{{out[0]}}}{out[1:]}" if out[:1] in ("[", "*") else out


def _word(word: str) -> str:
    breaks = BREAK_AFTER if len(word) >= LONG_WORD else "_" if len(word) >= _LONG_NAME else ""
    pieces: list[str] = []
    script = ""
    for char in _LIGATURES.sub("\\1\u2060", word):  # a word joiner between them, printed as {}
        kind, shown = _char(char)
        if kind != script:
            pieces.append(("}" if script else "") + (rf"\script{kind}{{" if kind else ""))
            script = kind
        pieces.append(shown)
        if not kind and char in breaks and char != "-":  # TeX itself breaks after a hyphen
            pieces.append(r"\allowbreak{}")
    return "".join(pieces) + ("}" if script else "")


def _char(char: str) -> tuple[str, str]:
    """Return the script a character needs a font of ("" for the document's own) and its source."""
    for table in (_SPECIAL, _WORDS):
        if char in table:
            return "", table[char]
    if char in _SYMBOLS:
        return "", rf"\ensuremath{{{_SYMBOLS[char]}}}"
    if char == "\u2060":
        return "", "{}"
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp"):
        return "", " "
    if category[0] in "CZ" and char != " ":
        return "", f"[U+{ord(char):04X}]"
    name = unicodedata.name(char, "")
    if ord(char) < 127 or (name.startswith("LATIN") and ord(char) < 0x180):
        return "", char
    if name.startswith(_CJK):
        return "cjk", char
    return "emoji" if category == "So" else "other", char


def package(sources: Iterable[str]) -> str:
    """Return ``medpodium.sty``: what the sources need, for any class and engine.

    Parameters
    ----------
    sources : iterable of str
        LaTeX of the report; pdfLaTeX is told how to print each character of another script in them.
    """
    foreign = sorted({char for source in sources for run in SCRIPT.findall(source) for char in run})
    declared = "\n".join(
        rf"  \DeclareUnicodeCharacter{{{ord(char):04X}}}{{[U+{ord(char):04X}]\allowbreak}}" for char in foreign
    )
    fonts = "\n".join(_font(script, names) for script, names in _SCRIPTS.items())
    plain = "\n".join(rf"  \newcommand{{\script{script}}}[1]{{#1}}" for script in _SCRIPTS)
    return rf"""\NeedsTeXFormat{{LaTeX2e}}
\ProvidesPackage{{medpodium}}[2026/01/01 what tables and figures of a report need]
\RequirePackage{{iftex,textcomp,booktabs,array,graphicx,placeins,siunitx,xurl}}
\RequirePackage[export]{{adjustbox}}
\sisetup{{detect-all, group-separator = {{,}}, group-minimum-digits = 4, table-alignment-mode = format}}
% floats stay in their section on pages of one column; where there are two, that would leave most of a page empty
\makeatletter
\newcommand{{\sectionbarrier}}{{\if@twocolumn\else\FloatBarrier\fi}}
\makeatother
\ifPDFTeX
  \RequirePackage[T1]{{fontenc}}
  \RequirePackage[utf8]{{inputenc}}
{plain}
{declared}
\else
  \RequirePackage[no-math]{{fontspec}}
{fonts}
\fi
\endinput
"""


def _font(script: str, names: tuple[str, ...]) -> str:
    choice = ""
    for name in reversed(names):
        choice = rf"\IfFontExistsTF{{{name}}}{{\def\medpodiumfont{{{name}}}}}{{{choice}}}"
    return rf"""  \let\medpodiumfont\empty
  {choice}
  \ifx\medpodiumfont\empty
    \newcommand{{\script{script}}}[1]{{#1}}
  \else
    \expandafter\newfontfamily\csname font{script}\endcsname{{\medpodiumfont}}
    \newcommand{{\script{script}}}[1]{{{{\csname font{script}\endcsname #1}}}}
  \fi"""
