"""Draw figures into SVG, PDF and PNG; the same input gives the same bytes."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from medpodium.reports.figures.marks import placed
from medpodium.reports.figures.palette import STYLE
from medpodium.reports.formats import glyphs
from medpodium.reports.model.document import Document, Plot, Section
from medpodium.reports.model.document import Figure as Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARALLEL_FROM = 12
"""Below this many figures, starting worker processes costs more than it saves."""
_MARGIN = 0.06
"""White margin around a figure, in inches."""
_DOTS, _RASTER_DOTS = 200, 130
"""Dots per inch of PNG, and of the raster layers inside SVG and PDF (clouds of thousands of dots)."""
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


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


def _written(figure: Figure, endings: Sequence[str]) -> dict[str, bytes]:
    """Return a figure in some formats."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    made: dict[str, bytes] = {}
    if endings:
        canvas: Any = FigureCanvasAgg(figure)
        renderer = canvas.get_renderer()
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        # savefig(bbox_inches="tight") would draw everything twice, and that for every format.
        box = figure.get_tightbbox(renderer).padded(_MARGIN)
        for ending in endings:
            buffer = io.BytesIO()
            extra: Any = {"facecolor": "white"} if ending == "png" else {}
            dots = _DOTS if ending == "png" else _RASTER_DOTS
            figure.savefig(buffer, format=ending, dpi=dots, bbox_inches=box, metadata=_METADATA[ending], **extra)
            made[ending] = buffer.getvalue()
        if "svg" in endings:
            made["marks"] = placed(figure, box)
    return made


def _draw_job(job: tuple[Plot, tuple[str, ...]]) -> dict[str, bytes]:
    return draw(*job)


def draw_all(document: Document, endings: Sequence[str], workers: int | None = None) -> Document:
    """Return the document with every figure drawn, in several processes when there are many.

    Parameters
    ----------
    workers : int, optional
        Number of processes; as many as there are processors, at most eight, when left out.
    """
    figures = document.figures()
    jobs = [(figure.plot, tuple(endings)) for figure in figures]
    count = min(workers or min(os.cpu_count() or 1, 8), max(1, len(jobs) // 4))
    if count > 1 and len(jobs) >= _PARALLEL_FROM:
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            drawn = list(pool.map(_draw_job, jobs, chunksize=2))
    else:
        drawn = [_draw_job(job) for job in jobs]
    by_id = {figure.id: replace(figure, files=files) for figure, files in zip(figures, drawn, strict=True)}
    main, rest = (
        tuple(_with_files(section, by_id) for section in part) for part in (document.sections, document.supplement)
    )
    return replace(document, sections=main, supplement=rest)


def _with_files(section: Section, drawn: dict[str, Drawn]) -> Section:
    blocks = tuple(drawn[block.id] if isinstance(block, Drawn) else block for block in section.blocks)
    return replace(section, blocks=blocks, sections=tuple(_with_files(part, drawn) for part in section.sections))


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
