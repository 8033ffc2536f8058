"""Write a document as Markdown (GitHub's dialect) with its figures as SVG beside it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Section, Table, closed

README = "readme.md"
"""The answer alone, to be pasted into the page of a repository."""
_TECHNICAL = ("Definition", "Scores")
"""Key facts that say nothing to who reads no more."""
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]#|~$@^])")
_LINE_START = re.compile(r"^(\s*)([-+](?=[\s-]|$)|=)|^(\s*\d+)([.)])(?=\s|$)")
"""What would make a list, a rule or a heading at the start of a line."""
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|www)([:.])")
"""What GitHub turns into a link by itself."""


def escape(text: str) -> str:
    """Return text that Markdown prints as it is: no markup, no HTML, no link, no table border."""
    clean = "".join(" " if ord(char) < 32 or ord(char) == 127 else char for char in text).strip()
    plain = _ADDRESS.sub(r"\1\\\2", _PUNCTUATION.sub(r"\\\1", clean))
    started = _LINE_START.sub(lambda found: f"{found[1] or found[3] or ''}\\{found[2] or found[4]}", plain)
    return html.escape(started, quote=False)


def write_markdown(document: Document, out: Path) -> list[str]:
    """Write ``report.md``, ``figures/*.svg`` and the short :data:`README`; return the files, relative to ``out``."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    lines, files = _lines(document)
    short, _ = _lines(summary(document))
    for name, content in files.items():
        (out / name).write_bytes(content)
    for name, text in (("report.md", lines), (README, [*short, "The whole report: [report.md](report.md)"])):
        (out / name).write_text("\n".join(text) + "\n", encoding="utf-8", newline="\n")
    return ["report.md", README, *files]


def summary(document: Document) -> Document:
    """Return what a README has room for: who won, in the words of the report, and the main table of every task."""
    ranking = document.sections[0]
    blocks: list[Block] = []
    for block in ranking.blocks:
        if isinstance(block, Paragraph) and block.tone == "lead":
            blocks.append(block)
        elif isinstance(block, Table) and block.role == "leaderboard":
            blocks.append(replace(block, number=""))
    facts = tuple(fact for fact in document.facts if fact[0] not in _TECHNICAL)
    short = Section(ranking.id, ranking.title, tuple(blocks))
    return replace(document, facts=facts, sections=(short,), supplement=(), podium=(), explored=None)


def _lines(document: Document) -> tuple[list[str], dict[str, bytes]]:
    """Return a document line by line, and its pictures by name."""
    written: dict[str, bytes] = {}
    lines = [f"# {escape(document.title)}", "", escape(document.subtitle), ""]
    lines += [f"- {escape(name)}: {escape(value)}" for name, value in document.facts]
    for depth, section in document.walk():
        lines += ["", f"{'#' * min(depth + 1, 6)} {escape(section.title)}", ""]
        for block in section.blocks:
            text, files = _block(block)
            lines += [*text, ""]
            written |= files
    return lines, written


def _block(block: Block) -> tuple[list[str], dict[str, bytes]]:
    if isinstance(block, Paragraph):
        return [f"> {escape(block.text)}" if block.tone in ("note", "warning") else escape(block.text)], {}
    if isinstance(block, Items):
        marks = [f"{at}." if block.ordered else "-" for at in range(1, len(block.items) + 1)]
        return [f"{mark} {escape(item)}" for mark, item in zip(marks, block.items, strict=True)], {}
    if isinstance(block, Table):
        return table_lines(block), {}
    if isinstance(block, Figure):
        name = f"figures/{block.id}.svg"
        text = [f"![{escape(block.alt)}]({name})", "", f"**{escape(block.heading)}** {escape(block.caption)}"]
        return text, {name: block.files["svg"]}
    if isinstance(block, Pictures):
        lines, files = [f"**{escape(block.title)}**", ""], {}
        for at, picture in enumerate(block.pictures):
            name = f"figures/{block.id}-{at}.png"
            files[name] = picture.png
            lines += [f"![{escape(picture.alt)}]({name})", "", escape(picture.caption), ""]
        return lines, files
    raise TypeError(block)


def table_lines(table: Table) -> list[str]:
    """Return a table as lines of Markdown below its caption."""
    best = table.best()
    rows = []
    for at, row in enumerate(table.rows):
        cells = []
        for spot, (column, value) in enumerate(zip(table.columns, row, strict=True)):
            text = escape(column.show(value))
            cells.append(f"**{text}**" if (at, spot) in best else text)
        rows.append(f"| {' | '.join(cells)} |")
    rule = ["---:" if column.numeric and column.kind != "interval" else "---" for column in table.columns]
    heads = " | ".join(escape(column.title) for column in table.columns)
    caption = f"**{escape(closed(table.heading))}** {escape(table.caption)}".rstrip()
    return [caption, "", f"| {heads} |", f"| {' | '.join(rule)} |", *rows]
