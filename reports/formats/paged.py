"""What the paged formats (PDF, LaTeX, Word) share: tables cut to the width of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medpodium.reports.model.document import Column, Table

NUMBERS_PER_PAGE = 8
"""Numeric columns side by side on a portrait page."""
_ESTIMATE = 2
"""Columns whose room a number with its interval takes."""
BREAK_AFTER, LONG_WORD = "_-/.:,;", 15
"""Where words of at least so many characters may be broken: addresses, names of fields and files."""
_HEADS = ("rank", "published rank", "submission")


@dataclass(frozen=True)
class Part:
    """A piece of a table that fits the width of a page, as printed.

    Parameters
    ----------
    columns : sequence of Column
        Its columns; the first ones are repeated on every piece.
    rows : sequence of sequence of str
        Cells as printed.
    best : frozenset of (int, int)
        Positions (row, column) to print bold.
    title : str
        Title with the number of the piece, when there are several.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]]
    title: str

    @property
    def weights(self) -> list[int]:
        """Width each column needs, in characters of its longest cell, long texts counted as 40."""
        cells = [[column.title, *(row[at] for row in self.rows)] for at, column in enumerate(self.columns)]
        return [max(3, min(40, max(map(len, texts)))) for texts in cells]


def parts(table: Table, most: int = NUMBERS_PER_PAGE) -> list[Part]:
    """Cut a table into pieces with at most ``most`` numeric columns each; nothing is left out."""
    stub = [at for at, column in enumerate(table.columns) if column.title.lower() in _HEADS or column.kind == "team"]
    rest = [at for at in range(len(table.columns)) if at not in stub]
    needs = [_ESTIMATE if table.columns[at].kind == "estimate" else 1 for at in rest]
    if not stub or sum(needs) <= most:
        groups = [list(range(len(table.columns)))]
    else:
        pieces = -(-sum(needs) // most)
        size = -(-sum(needs) // pieces)
        groups, room = [], 0
        for at, need in zip(rest, needs, strict=True):
            if need > room:
                groups.append(list(stub))
                room = max(size, need)
            groups[-1].append(at)
            room -= need
    best = table.best()
    found = []
    for number, group in enumerate(groups, 1):
        title = table.heading if len(groups) == 1 else f"{table.heading} ({number} of {len(groups)})"
        found.append(
            Part(
                tuple(table.columns[at] for at in group),
                tuple(tuple(table.columns[at].show(row[at]) for at in group) for row in table.rows),
                frozenset(
                    (row, spot) for row in range(len(table.rows)) for spot, at in enumerate(group) if (row, at) in best
                ),
                title,
            )
        )
    return found


def wide_text(columns: Sequence[Column], weights: Sequence[int]) -> list[bool]:
    """Return which columns hold running text and should share the remaining width."""
    return [not column.numeric and weight >= 24 for column, weight in zip(columns, weights, strict=True)]
