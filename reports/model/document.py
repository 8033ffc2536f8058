"""The report as a neutral document: sections of paragraphs, tables and figures that every format writes alike.

Content is assembled once (:mod:`medpodium.reports.model.sections`); HTML, PDF, LaTeX, Markdown and Word only differ in
how they write these blocks. All text is plain: no block carries markup, so escaping is the writer's one duty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

import pandas as pd

from medpodium.reports.model.references import Reference

Kind = Literal["text", "team", "integer", "number", "estimate", "percent", "interval", "flag"]
Tone = Literal["body", "lead", "note", "warning"]
SUPPLEMENT = "Supplement"
REFERENCES = "references"
"""Section that lists what is cited; formats with bibliographies of their own write these instead."""
Cell: TypeAlias = (
    "str | float | int | bool | tuple[float, float] | tuple[float, float, float] "
    "| tuple[float, float, float, float] | None"
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    title : str
        Printed head.
    kind : str
        ``team`` names a submission, ``interval`` holds a pair (lower, upper), ``estimate`` a number with the ends of
        its confidence interval (NaN: it has none) and, as a fourth, the place it takes, ``percent`` a fraction.
    digits : int, optional
        Decimals of ``number`` and ``percent``; None in a column of unlike numbers, each with the decimals that suit it.
    better : {"higher", "lower"}, optional
        Which values are better; the best of the column is printed bold.
    note : str
        One sentence on what the column holds.
    """

    title: str
    kind: Kind = "text"
    digits: int | None = 3
    better: Literal["higher", "lower"] | None = None
    note: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the column is aligned and sorted as numbers."""
        return self.kind in ("integer", "number", "estimate", "percent", "interval")

    def show(self, value: Cell) -> str:
        """Return a cell as printed in every format; missing values are an en dash."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        digits = 3 if self.digits is None else self.digits
        if isinstance(value, tuple) and len(value) == 4:
            return "–" if math.isnan(value[0]) else f"{self._estimate(*value[:3])} ({value[3]:.0f})"
        if isinstance(value, tuple) and len(value) == 3:
            return self._estimate(*value)
        if isinstance(value, tuple):
            low, high = value
            if any(math.isnan(end) for end in (low, high)):
                return "–"
            whole = float(low).is_integer() and float(high).is_integer()
            ends = [number(float(end), 0 if whole else digits) for end in (low, high)]
            return ends[0] if ends[0] == ends[1] else "–".join(ends)
        if self.kind == "flag":
            return "yes" if value else "no"
        if self.kind == "percent" and not isinstance(value, str):
            shown = f"{100 * value:.{digits}f}"
            # A share is printed as none or all only when it is exactly that.
            if float(shown) == 0 and value > 0:
                return f"<{10.0**-digits:g} %"
            return f">{100 - 10.0**-digits:g} %" if float(shown) == 100 and value < 1 else f"{shown} %"
        if self.kind == "integer" and not isinstance(value, str):
            return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
        if self.kind == "number" and not isinstance(value, str):
            return number(float(value), self.digits)
        return str(value)

    def _estimate(self, value: float, low: float, high: float) -> str:
        digits = digits_for([value, low, high]) if self.digits is None else self.digits
        shown = [number(end, digits) for end in (value, low, high)]
        return shown[0] if math.isnan(low) or math.isnan(high) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def digits_for(values: Iterable[float]) -> int:
    """Return the decimals that show four significant digits of the largest value and two of the smallest, up to 3."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes or max(sizes) < 1:
        return 3
    largest, smallest = (math.floor(math.log10(size)) for size in (max(sizes), min(sizes)))
    return int(min(3, max(0, 3 - largest, 1 - smallest)))


def number(value: float, digits: int | None) -> str:
    """Format a number: fixed decimals, large ones with fewer, never in exponent form below 1e15."""
    digits = digits_for([value]) if digits is None else digits
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "–"
    if abs(value) >= 1e15:
        return f"{value:.3e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1) if abs(value) >= 100 else digits}f}"


def value_of(cell: Cell) -> float:
    """Return the number of a cell by which a column is sorted, NaN where it holds none."""
    if isinstance(cell, tuple):
        return float(cell[0])
    return float(cell) if isinstance(cell, (int, float)) else math.nan


def closed(title: str) -> str:
    """Return a title that opens a caption, with a full stop unless it ends as a sentence does."""
    return title if title.endswith((".", "?", "!")) else f"{title}."


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str
    tone: Tone = "body"


@dataclass(frozen=True)
class Items:
    """A list of plain text, with bullets or in numbered order."""

    items: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Table:
    """A table; ``data`` is what its download holds, the printed rows when left out.

    Parameters
    ----------
    role : {"plain", "leaderboard"}
        Leaderboards are shown first and larger, with a bar for every rank interval.
    extent : float
        Upper end of the scale of ``interval`` columns (number of submissions for ranks).
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    data: pd.DataFrame | None = None
    role: Literal["plain", "leaderboard"] = "plain"
    extent: float = 0.0
    number: str = ""

    @property
    def heading(self) -> str:
        """Title with the number it has in the report."""
        return f"Table {self.number}. {self.title}" if self.number else self.title

    def frame(self) -> pd.DataFrame:
        """Return the full-precision data behind the table."""
        if self.data is not None:
            return self.data
        parts: dict[str, list[Any]] = {}
        for index, column in enumerate(self.columns):
            values = [row[index] for row in self.rows]
            if column.kind == "interval":
                ends = [value if isinstance(value, tuple) else (math.nan, math.nan) for value in values]
                parts[f"{column.title} lower"] = [end[0] for end in ends]
                parts[f"{column.title} upper"] = [end[1] for end in ends]
            elif column.kind == "estimate":
                threes = [value if isinstance(value, tuple) else (value_of(value),) for value in values]
                for at, name in enumerate((column.title, f"{column.title} low", f"{column.title} high")):
                    parts[name] = [three[at] if at < len(three) else math.nan for three in threes]
            else:
                parts[column.title] = values
        return pd.DataFrame(parts)

    def best(self) -> set[tuple[int, int]]:
        """Return the (row, column) positions to print bold: the best value of each column that has a direction."""
        found = set()
        for index, column in enumerate(self.columns):
            if column.better is None or len(self.rows) < 2:
                continue
            cells = [(at, row[index]) for at, row in enumerate(self.rows)]
            shown = {at: value for at, cell in cells if not math.isnan(value := value_of(cell))}
            if shown:
                best = max(shown.values()) if column.better == "higher" else min(shown.values())
                found |= {(at, index) for at, value in shown.items() if value == best}
        return found


@dataclass(frozen=True)
class Plot:
    """How to draw one figure.

    Parameters
    ----------
    function : callable
        A module-level function of :mod:`medpodium.reports.figures`.
    arguments : mapping
        What it takes.
    say : callable, optional
        Says the names of axes and scales in the words of the kind of task.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    say: Callable[[str], str] | None = None

    def make(self) -> Any:
        """Return the matplotlib figure."""
        figure, say = self.function(**self.arguments), self.say
        if say is None:
            return figure
        for axes in figure.axes:
            axes.set_xlabel(say(axes.get_xlabel()))
            axes.set_ylabel(say(axes.get_ylabel()))
        return figure


@dataclass(frozen=True)
class Figure:
    """A figure with everything a reader needs who cannot see it.

    Parameters
    ----------
    alt : str
        What the figure shows, for screen readers.
    data : pandas.DataFrame
        The numbers drawn, offered as CSV.
    files : mapping of str to bytes
        Drawn formats by ending (``svg``, ``pdf``, ``png``), and what the marks of an SVG are (``marks``); filled by
        :func:`medpodium.reports.formats.draw.draw_all`.
    """

    id: str
    title: str
    caption: str
    alt: str
    plot: Plot
    data: pd.DataFrame
    files: Mapping[str, bytes] = field(default_factory=dict)
    number: str = ""

    @property
    def heading(self) -> str:
        """Title with the number it has in the report, closed as a sentence."""
        return f"Figure {self.number}. {closed(self.title)}" if self.number else closed(self.title)


@dataclass(frozen=True)
class Picture:
    """One image of a gallery."""

    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """A row of images with captions."""

    id: str
    title: str
    pictures: tuple[Picture, ...]


Block = Paragraph | Items | Table | Figure | Pictures


@dataclass(frozen=True)
class Section:
    """A titled part; ``folded`` sections start closed where a format can fold."""

    id: str
    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    folded: bool = False

    def __bool__(self) -> bool:
        return bool(self.blocks or self.sections)


@dataclass(frozen=True)
class Place:
    """One of the first three places.

    Parameters
    ----------
    rank : float
        Rank of the submission; whole unless tied submissions share a mean rank.
    shared : int
        Number of submissions that have this rank.
    words : str
        How certain the place is.
    """

    rank: float
    shared: int
    team: str
    words: str = ""

    @property
    def title(self) -> str:
        """Rank as printed."""
        return f"Rank {self.rank:g}" + (f", shared by {self.shared}" if self.shared > 1 else "")

    @property
    def step(self) -> int:
        """Step of the podium, 1 to 3; equal ranks stand on one."""
        return min(3, max(1, int(self.rank)))


class Explorable(Protocol):
    """What a page with scripts lets its reader explore (:mod:`medpodium.reports.model.interactive.explore`)."""

    @property
    def text(self) -> str:
        """Everything as JSON; made when somebody asks, for most formats have no use for it."""


@dataclass(frozen=True)
class Document:
    """A whole report.

    Parameters
    ----------
    title, subtitle : str
        Head of the document.
    facts : sequence of (str, str)
        Short key facts printed below the head (cases, submissions, seed).
    podium : sequence of Place
        Place, submission and a true short statement for the first places; empty without a ranking.
    colours : mapping of str to str
        Colour of each submission, the same as in the figures.
    supplement : sequence of Section
        What the main part has no room for; a file of its own in formats with pages.
    explored : Explorable, optional
        What a page with scripts lets its reader explore; every number of it that matters is in the sections, too.
    csv : mapping of str to bytes
        Data of tables and figures by id, where they have been written already.
    references : sequence of Reference
        What its sentences cite.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    podium: tuple[Place, ...] = ()
    colours: Mapping[str, str] = field(default_factory=dict)
    supplement: tuple[Section, ...] = ()
    explored: Explorable | None = None
    csv: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    references: tuple[Reference, ...] = ()

    @property
    def whole(self) -> tuple[Section, ...]:
        """Every section, the supplement as the last one."""
        more = (Section("supplement", SUPPLEMENT, sections=self.supplement),) if self.supplement else ()
        return (*self.sections, *more)

    def halves(self) -> tuple[Document, Document | None]:
        """Return main part and supplement as documents of their own; no second one without a supplement."""
        if not self.supplement:
            return self, None
        title = f"{self.title}: {SUPPLEMENT.lower()}"
        rest = replace(self, title=title, sections=self.supplement, supplement=(), podium=(), facts=())
        return replace(self, supplement=()), rest

    def walk(self) -> Iterator[tuple[int, Section]]:
        """Yield every section with its depth, parents first."""
        yield from walked(self.whole)

    def blocks(self) -> Iterator[Block]:
        """Yield every block in reading order."""
        for _, section in self.walk():
            yield from section.blocks

    def figures(self) -> list[Figure]:
        """Return every figure in reading order."""
        return figures_of(self.whole)

    def tables(self) -> list[Table]:
        """Return every table in reading order."""
        return [block for block in self.blocks() if isinstance(block, Table)]


def figures_of(sections: Sequence[Section]) -> list[Figure]:
    """Return every figure of some sections in reading order."""
    return [block for _, section in walked(sections) for block in section.blocks if isinstance(block, Figure)]


def walked(sections: Sequence[Section], depth: int = 1) -> Iterator[tuple[int, Section]]:
    """Yield sections with their depth, parents first."""
    for section in sections:
        yield depth, section
        yield from walked(section.sections, depth + 1)
