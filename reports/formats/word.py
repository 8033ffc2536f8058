"""Write a document as Word (.docx)."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

from medpodium.reports.formats.paged import Part, parts
from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Table, closed

_MISSING_XML = {*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF}


def clean(text: str) -> str:
    """Return text without the characters XML forbids."""
    return "".join(" " if ord(char) in _MISSING_XML or 0xD800 <= ord(char) < 0xE000 else char for char in text)


def to_docx(document: Document) -> bytes:
    """Return the document as .docx.

    Parameters
    ----------
    document : Document
        With its figures drawn as PNG.
    """
    import docx
    from docx.shared import Mm, Pt, RGBColor

    made = docx.Document()
    page = made.sections[0]
    page.page_width, page.page_height = Mm(210), Mm(297)
    page.left_margin = page.right_margin = Mm(20)
    made.styles["Normal"].font.name = "Calibri"
    made.styles["Normal"].font.size = Pt(10)
    caption = made.styles["Caption"]
    caption.font.size, caption.font.bold, caption.font.color.rgb = Pt(9), False, RGBColor(0x1D, 0x27, 0x33)
    made.core_properties.author = ""
    made.core_properties.title = clean(document.title)[:255]
    made.core_properties.created = made.core_properties.modified = datetime(2000, 1, 1)
    made.add_heading(clean(document.title), 0)
    if document.subtitle:
        made.add_paragraph(clean(document.subtitle))
    made.add_paragraph("   ".join(f"{clean(name)}: {clean(value)}" for name, value in document.facts))
    for depth, section in document.walk():
        made.add_heading(clean(section.title), min(depth, 4))
        for block in section.blocks:
            _add(made, block)
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def _add(made: Any, block: Block) -> None:
    if isinstance(block, Paragraph):
        made.add_paragraph(clean(block.text))
    elif isinstance(block, Items):
        for at, item in enumerate(block.items, 1):
            # Word would go on counting from one list to the next: the numbers are written out.
            text, style = (f"{at}. {item}", "List Paragraph") if block.ordered else (item, "List Bullet")
            made.add_paragraph(clean(text), style=style)
    elif isinstance(block, Table):
        for at, part in enumerate(parts(block)):
            _table(made, part, "" if at else block.caption, block.number, again=at > 0)
    elif isinstance(block, Figure):
        _picture(made, block.files["png"], 170, 225, block.alt).keep_with_next = True
        _caption(made, block.heading, block.caption, "Figure", block.number)
    elif isinstance(block, Pictures):
        made.add_paragraph().add_run(clean(block.title)).bold = True
        for picture in block.pictures:
            _picture(made, picture.png, 80, 90, picture.alt)
            made.add_paragraph(clean(picture.caption))


def _picture(made: Any, png: bytes, width_mm: float, height_mm: float, alt: str) -> Any:
    """Add a picture; returns the format of its paragraph."""
    from docx.shared import Mm

    shape = made.add_picture(io.BytesIO(png))
    # Drawn at its natural size, made smaller only where it would not fit the page.
    scale = min(1.0, Mm(width_mm) / shape.width, Mm(height_mm) / shape.height)
    shape.width, shape.height = int(shape.width * scale), int(shape.height * scale)
    shape._inline.docPr.set("descr", clean(alt))
    return made.paragraphs[-1].paragraph_format


def _caption(made: Any, title: str, caption: str, what: str, number: str, again: bool = False) -> Any:
    """Add a caption whose number is a field, as Word's own captions have: it lists them and refers to them."""
    paragraph = made.add_paragraph(style="Caption")
    paragraph.paragraph_format.keep_together = True
    name = f"{what} {number}"
    if number and title.startswith(name):
        series = number.rstrip("0123456789")  # the supplement counts on its own: S1, S2, ...
        paragraph.add_run(f"{what} {series}").bold = True
        counter = f"{what}_{series}" if series else what
        how = "\\c" if again else "\\* ARABIC"  # a further piece of a table has the number of the first one
        _field(paragraph, f"SEQ {counter} {how}", number[len(series) :])
        title = title[len(name) :]
    paragraph.add_run(clean(f"{closed(title)} ")).bold = True
    paragraph.add_run(clean(caption))
    return paragraph


def _field(paragraph: Any, instruction: str, shown: str) -> None:
    """Add a field and what it shows until Word computes it."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    def add(tag: str, text: str = "", **attributes: str) -> None:
        run = paragraph.add_run()
        run.bold = True
        element = OxmlElement(tag)
        element.text = text or None
        for key, value in attributes.items():
            element.set(qn(f"w:{key}"), value)
        run._r.append(element)

    add("w:fldChar", fldCharType="begin")
    add("w:instrText", f" {instruction} ")
    add("w:fldChar", fldCharType="separate")
    add("w:t", shown)
    add("w:fldChar", fldCharType="end")


def _table(made: Any, part: Part, caption: str, number: str, again: bool) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.shared import Pt

    _caption(made, part.title, caption, "Table", number, again).paragraph_format.keep_with_next = True
    table = made.add_table(rows=len(part.rows) + 1, cols=len(part.columns), style="Light List Accent 1")
    table.autofit = False
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))  # heads stand on every page
    widths = _widths(part)
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    cells = iter(table._cells)  # one pass: looking cells up one by one is quadratic
    for at, row in enumerate([tuple(column.title for column in part.columns), *part.rows]):
        for spot, text in enumerate(row):
            cell = next(cells)
            cell.width = widths[spot]
            paragraph = cell.paragraphs[0]
            run = paragraph.add_run(clean(text))
            run.font.size = Pt(8 if len(row) < 8 else 7)
            run.bold = at == 0 or (at - 1, spot) in part.best
            if part.columns[spot].numeric and part.columns[spot].kind != "interval":
                paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
    made.add_paragraph()


def _widths(part: Part) -> list[Any]:
    """Return column widths that share the text width by what the columns hold; long texts wrap."""
    from docx.shared import Mm

    needs = [
        2 + max(len(max(column.title.split(), key=len, default="")), *(min(40, len(row[at])) for row in part.rows), 1)
        for at, column in enumerate(part.columns)
    ]
    margins = 4 * len(needs)
    return [Mm(4 + (170 - margins) * need / sum(needs)) for need in needs]
