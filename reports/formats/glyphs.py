"""Glyphs that the fonts of figures lack: from another installed font, or told by name, but never an empty box.

SVG is set by the reader's own fonts and needs none of this; PNG and PDF are drawn with fonts of this machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOXES = "Last Resort"
"""A font that draws every character as a box."""
_SILENT = ("Mn", "Me", "Cf", "Cc", "Zs", "Zl", "Zp")
"""Kinds of characters that show nothing by themselves (marks, joiners, blanks): without a glyph they are left out."""


@cache
def _covered(path: str) -> frozenset[int]:
    """Return the characters a font file has outlines of; none where it cannot be drawn with."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Return family and file of every upright font, sorted, those included that were installed lately."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(font_manager.findSystemFonts()):
        if path not in known:
            try:
                manager.addfont(path)
            except (OSError, RuntimeError, ValueError):
                continue
    plain = [one for one in manager.ttflist if one.style == "normal" and not one.name.startswith(_BOXES)]
    plain.sort(key=lambda one: ("Sans" not in one.name, abs(int(_weight(one.weight)) - 400), one.name, one.fname))
    return tuple((one.name, one.fname) for one in plain)


def _weight(weight: object) -> int:
    return weight if isinstance(weight, int) else 700 if weight == "bold" else 400


@cache
def _own() -> frozenset[int]:
    from matplotlib import font_manager

    return _covered(font_manager.findfont("DejaVu Sans"))


def lacking(texts: Iterator[str]) -> set[str]:
    """Return the characters that the font of figures has no glyph of."""
    return {char for text in texts for char in text if ord(char) not in _own() and char != "\n"}


@cache
def family_of(char: str) -> str:
    """Return the first family with a glyph of a character that can be drawn with; empty where none is installed."""
    return next((family for family, path in _installed() if ord(char) in _covered(path)), "")


def told(char: str) -> str:
    """Return what stands for a character without a glyph: its name in brackets, or its code where it has none."""
    if unicodedata.category(char) in _SILENT or 0xFE00 <= ord(char) <= 0xFE0F:
        return ""
    name = unicodedata.name(char, "").lower()
    return f"[{name}]" if 0 < len(name) <= 24 else f"[U+{ord(char):04X}]"


def spelt_out(svg: bytes) -> bytes:
    """Return a drawing for a writer that sets its text with fonts of this machine, as PDF is made.

    One character without a glyph would have the whole of its text drawn in the font of boxes.
    """
    text = svg.decode("utf-8")
    table = str.maketrans({char: told(char) for char in lacking(iter([text])) if not family_of(char)})
    return text.translate(table).encode("utf-8") if table else svg


def texts(figure: Figure) -> Iterator[str]:
    """Yield every text of a figure, labels of ticks included."""
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # has the labels written
    for one in figure.findobj(Text):
        yield one.get_text()


def replace(figure: Figure, characters: set[str]) -> None:
    """Write what stands for the characters that no font has, in every text of a figure."""
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    table = str.maketrans({char: told(char) for char in characters})

    def cleaned(old: Any) -> Callable[[float, int | None], str]:
        def told_of(value: float, at: int | None = None) -> str:
            return str(old(value, at)).translate(table)

        return told_of

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if any(set(label.get_text()) & characters for label in axis.get_ticklabels()):
                axis.set_major_formatter(FuncFormatter(cleaned(axis.get_major_formatter())))
    for one in figure.findobj(Text):
        text = one.get_text()
        if set(text) & characters:
            one.set_text(text.translate(table))
