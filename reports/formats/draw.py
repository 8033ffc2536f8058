"""Draw figures into SVG, PDF and PNG; the same input gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medpodium.reports.figures.marks import placed
from medpodium.reports.figures.palette import STYLE
from medpodium.reports.formats import glyphs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medpodium.reports.model.document import Plot

_MARGIN = 0.06
"""White margin around a figure, in inches."""
_DOTS, _RASTER_DOTS = 200, 130
"""Dots per inch of PNG, and of the raster layers inside SVG and PDF (clouds of thousands of dots)."""
_NEEDED = (
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "medpodium.reports.model.document",
    *(f"medpodium.reports.figures.{name}" for name in ("across", "beyond", "cost", "groups", "raw", "stability")),
)
"""What most figures need."""
_SETTING = ("GDEF", "GPOS", "GSUB", "MATH", "kern")
"""Tables of a font that say how its glyphs are put beside each other."""
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def prepare() -> None:
    """Import what drawing needs, before there is anything to draw."""
    for module in _NEEDED:
        import_module(module)


def draw(plot: Plot, endings: Sequence[str]) -> dict[str, bytes]:
    """Draw one figure.

    Parameters
    ----------
    endings : sequence of {"svg", "pdf", "png"}
        Wanted formats.

    Returns
    -------
    dict of str to bytes
        By ending.
    """
    import matplotlib

    made: dict[str, bytes] = {}
    style: Any = STYLE
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A name in another script: SVG is set by the reader's own fonts, and names no glyph that is missing here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = plot.make()
        if set(endings) <= {"svg"}:
            return _written(figure, endings)  # nothing to look for: no glyph of ours stands in it
        lacking = glyphs.lacking(glyphs.texts(figure))
        if not lacking:
            return _written(figure, endings)
        made = _written(figure, [one for one in endings if one == "svg"])
        families = {char: glyphs.family_of(char) for char in sorted(lacking)}
        more = sorted({family for family in families.values() if family})
        # outlines instead of font programs: PDF cannot carry every kind of font that has these glyphs
        fonts: Any = {"font.family": [*STYLE["font.sans-serif"], *more], "pdf.fonttype": 3}
        with matplotlib.rc_context(fonts):
            figure = plot.make()
            glyphs.replace(figure, {char for char, family in families.items() if not family})
            return made | _written(figure, [one for one in endings if one != "svg"])


@cache
def _renderer(dpi: float) -> Any:
    """Return what measures texts: one for all figures, for it remembers names and numbers that come again."""
    from matplotlib.backends import backend_agg

    make: Any = backend_agg.RendererAgg
    return make(1, 1, dpi)


@contextmanager
def _small_fonts() -> Iterator[None]:
    """Embed fonts without the tables by which text is set: a PDF holds set text, and to cut them takes longest."""
    from fontTools import subset

    options: Any = subset.Options
    known = getattr(options, "_drop_tables_default", None)
    if known is None:  # another version: larger files, and more patience
        yield
        return
    options._drop_tables_default = [*known, *_SETTING]
    try:
        yield
    finally:
        options._drop_tables_default = known


def _written(figure: Figure, endings: Sequence[str]) -> dict[str, bytes]:
    """Return a figure in some formats."""
    made: dict[str, bytes] = {}
    if endings:
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        # savefig(bbox_inches="tight") would draw everything twice, and that for every format.
        box = figure.get_tightbbox(_renderer(figure.dpi)).padded(_MARGIN)
        for ending in endings:
            buffer = io.BytesIO()
            extra: Any = {"facecolor": "white"} if ending == "png" else {}
            dots = _DOTS if ending == "png" else _RASTER_DOTS
            with _small_fonts() if ending == "pdf" else nullcontext():
                figure.savefig(buffer, format=ending, dpi=dots, bbox_inches=box, metadata=_METADATA[ending], **extra)
            made[ending] = buffer.getvalue()
        if "svg" in endings:
            made["marks"] = placed(figure, box)
    return made


_HEAD = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_METADATA_BLOCK = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_ID = re.compile(r'\bid="([^"]+)"')
_USE = re.compile(r'(xlink:href="#|url\(#)([^")]+)')


def inline_svg(svg: bytes, prefix: str) -> str:
    """Return an SVG ready to stand inside HTML: no XML head, ids that no other figure has.

    Parameters
    ----------
    prefix : str
        The figure's own id, put in front of every id in the drawing.
    """
    text = _METADATA_BLOCK.sub("", _HEAD.sub("", svg.decode("utf-8"), count=1))
    text = _ID.sub(lambda match: f'id="{prefix}-{match[1]}"', text)
    return _USE.sub(lambda match: f"{match[1]}{prefix}-{match[2]}", text)
