"""Write a document as PDF with Typst: no browser, no TeX, no system library.

Every string travels as JSON and is set as text, never parsed as markup, so a team's name cannot become code.
"""

from __future__ import annotations

import json
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from medpodium.reports.figures.layout import WIDTH
from medpodium.reports.formats.glyphs import spelt_out
from medpodium.reports.formats.paged import BREAK_AFTER, LONG_WORD, parts, wide_text
from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Section, Table, closed


def to_pdf(document: Document, version: str) -> bytes:
    """Return the document as PDF.

    Parameters
    ----------
    document : Document
        With its figures drawn as SVG.
    """
    import matplotlib
    import typst

    with tempfile.TemporaryDirectory(prefix="medpodium-") as name:
        folder = Path(name)
        content = {
            "title": soft(document.title),
            "subtitle": soft(document.subtitle),
            "facts": [[soft(key), soft(value)] for key, value in document.facts],
            "podium": [
                {
                    "title": place.title,
                    "step": place.step,
                    "team": soft(place.team),
                    "words": place.words,
                    "colour": document.colours.get(place.team, "#888888"),
                }
                for place in document.podium
            ],
            "version": version,
            "sections": [_section(section, 1, folder) for section in document.whole],
        }
        (folder / "document.json").write_text(json.dumps(content), encoding="utf-8")
        template = files("medpodium.reports").joinpath("templates", "report.typ").read_text(encoding="utf-8")
        (folder / "report.typ").write_text(template, encoding="utf-8")
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        made = typst.compile(str(folder / "report.typ"), root=str(folder), font_paths=[str(fonts)])
        if not isinstance(made, bytes):
            raise TypeError("typst returned no single document")
        return made


def page_share(svg: bytes) -> float:
    """Return the share of the text width a drawing takes at its natural size, at most 1; text keeps one size then."""
    match = re.search(rb'<svg[^>]* width="([\d.]+)pt"', svg[:4000])
    return min(1.0, float(match[1]) / (72 * WIDTH)) if match else 1.0


def soft(text: str) -> str:
    """Return text in which long words may break after punctuation; control characters become spaces."""
    clean = "".join(" " if ord(char) < 32 or ord(char) == 127 else char for char in text)
    shown = []
    for word in clean.split(" "):
        shown.append(
            "".join(f"{char}\u200b" if char in BREAK_AFTER else char for char in word)
            if len(word) >= LONG_WORD
            else word
        )
    return " ".join(shown)


def _section(section: Section, depth: int, folder: Path) -> dict[str, Any]:
    blocks = [piece for block in section.blocks for piece in _block(block, folder)]
    return {
        "title": soft(section.title),
        "depth": min(depth, 3),
        "blocks": blocks,
        "sections": [_section(part, depth + 1, folder) for part in section.sections],
    }


def _block(block: Block, folder: Path) -> list[dict[str, Any]]:
    if isinstance(block, Paragraph):
        return [{"kind": "paragraph", "text": soft(block.text), "tone": block.tone}]
    if isinstance(block, Items):
        return [{"kind": "items", "ordered": block.ordered, "items": [soft(item) for item in block.items]}]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        (folder / f"{block.id}.svg").write_bytes(spelt_out(block.files["svg"]))
        return [
            {
                "kind": "figure",
                "path": f"{block.id}.svg",
                "width": page_share(block.files["svg"]),
                "title": soft(block.heading),
                "caption": soft(block.caption),
                "alt": block.alt,
            }
        ]
    if isinstance(block, Pictures):
        shown = []
        for at, picture in enumerate(block.pictures):
            path = f"{block.id}-{at}.png"
            (folder / path).write_bytes(picture.png)
            shown.append({"path": path, "caption": soft(picture.caption), "alt": picture.alt})
        return [{"kind": "pictures", "title": soft(block.title), "pictures": shown}]
    raise TypeError(block)


def _table(table: Table) -> list[dict[str, Any]]:
    pieces = []
    for place, part in enumerate(parts(table)):
        wide = wide_text(part.columns, part.weights)
        pieces.append(
            {
                "kind": "table",
                "title": soft(closed(part.title)),
                "caption": "" if place else soft(table.caption),  # once is enough for all pieces
                "columns": [
                    {
                        "title": soft(column.title),
                        "right": column.numeric and column.kind != "interval",
                        "wide": is_wide,
                    }
                    for column, is_wide in zip(part.columns, wide, strict=True)
                ],
                "rows": [
                    [{"text": soft(text), "best": (at, spot) in part.best} for spot, text in enumerate(row)]
                    for at, row in enumerate(part.rows)
                ],
            }
        )
    return pieces
