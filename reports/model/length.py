"""How long a report is: what of a task stands in the main part, and what in the supplement; and numbers for all of it.

The main part has at most :data:`FIGURES` figures and :data:`TABLES` tables per task, in the order in which they answer
a reader's questions: who is better, how sure is that, where does it change. Nothing is left out: the rest is in the
supplement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from medpodium.reports.model.document import Block, Document, Figure, Items, Paragraph, Pictures, Section, Table

FIGURES, TABLES = 8, 3
_FIGURES = (
    ("means", 2), ("dots", 2), ("sets", 1), ("map", 1), ("curves", 2), ("limits", 1), ("bland", 1), ("against", 1),
    ("reliability", 1), ("along", 1), ("confusion", 1), ("significance", 1), ("multiverse", 1), ("hardest", 1),
    ("places-options", 1), ("gains", 2), ("subgroup", 1), ("cost", 1), ("slope", 1), ("blob", 2), ("agreement", 1),
    ("subsampling", 1), ("profile", 1), ("difficulty", 1), ("critical", 1), ("gap", 1),
)  # fmt: skip
"""Kinds of figures by their use to a reader, and how many of a kind are enough."""
_TABLES = (
    ("leaderboard", 1),
    ("consensus", 1),
    ("scores", 1),
    ("pooled", 1),
    ("statuses", 1),
    ("places", 1),
    ("teams", 1),
)
_SAID = ("missing", "unconfirmed", "findings")
"""Sections whose sentences a reader has to see even where their tables are in the supplement."""
_LATER = ("bias", "sources")
"""Sections that are for the supplement, whatever they hold."""


def arranged(
    document: Document, tasks: Sequence[str], first: Callable[[Figure | Table], bool] = lambda _: True
) -> Document:
    """Return the document with the main part cut to length, the rest as supplement, and everything numbered.

    Parameters
    ----------
    tasks : sequence of str
        What ids of figures and tables of one task hold; what holds none of them is of the whole challenge.
    first : callable
        Which figures and tables may stand in the main part at all.
    """
    kept = _kept(document.figures(), tasks, _FIGURES, FIGURES, first)
    kept |= _kept(document.tables(), tasks, _TABLES, TABLES, first)
    pairs = [_split(section, kept) for section in document.sections]
    main = _numbered(tuple(one for one, _ in pairs if one), "")
    rest = _numbered(tuple(other for _, other in pairs if other), "S")
    return replace(document, sections=main, supplement=rest)


def _kept(
    items: Sequence[Figure] | Sequence[Table],
    tasks: Sequence[str],
    wanted: Sequence[tuple[str, int]],
    most: int,
    first: Callable[[Figure | Table], bool],
) -> set[str]:
    kept: set[str] = set()
    longest = sorted(tasks, key=len, reverse=True)
    for task in (*tasks, ""):
        own = [one for one in items if _task_of(one.id, longest) == task and first(one)]
        chosen: list[str] = []
        for kind, number in wanted:
            chosen += [one.id for one in own if _is(one.id, kind)][:number]
        kept |= set(chosen[:most])
    return kept


def _is(name: str, kind: str) -> bool:
    """Return whether an id is of a kind; of ``places-options`` first and last part."""
    start, _, end = kind.partition("-")
    return name.startswith(f"{start}-") and (not end or name.endswith(f"-{end}"))


def _task_of(name: str, tasks: Sequence[str]) -> str:
    """Return the task whose key stands in an id after its first word."""
    _, _, rest = name.partition("-")
    return next((task for task in tasks if rest == task or rest.startswith(f"{task}-") or f"-{task}-" in name), "")


def _split(section: Section, kept: set[str]) -> tuple[Section, Section]:
    """Return what of a section stays, and what goes to the supplement; sentences stay with what they are about."""
    if section.id in _LATER:
        return Section(section.id, section.title), section
    shown = [block for block in section.blocks if isinstance(block, (Figure, Table, Pictures))]
    stays = [block for block in shown if not isinstance(block, Pictures) and block.id in kept]
    words = bool(stays) or not shown or section.id in _SAID
    main: list[Block] = []
    rest: list[Block] = []
    for block in section.blocks:
        if isinstance(block, (Paragraph, Items)):
            (main if words else rest).append(block)
        else:
            (main if block in stays else rest).append(block)
    parts = [_split(part, kept) for part in section.sections]
    first, later = (tuple(half[at] for half in parts if half[at]) for at in (0, 1))
    if not words and not first:
        main = []
    return (
        replace(section, blocks=tuple(main), sections=first, folded=False),
        replace(section, id=f"{section.id}-more", blocks=tuple(rest), sections=later),
    )


def _numbered(sections: tuple[Section, ...], mark: str) -> tuple[Section, ...]:
    figures, tables = (iter(range(1, 100_000)) for _ in range(2))
    return tuple(_number(section, mark, figures, tables) for section in sections)


def _number(section: Section, mark: str, figures: Iterator[int], tables: Iterator[int]) -> Section:
    blocks: list[Block] = []
    for block in section.blocks:
        if isinstance(block, Figure):
            blocks.append(replace(block, number=f"{mark}{next(figures)}"))
        elif isinstance(block, Table):
            blocks.append(replace(block, number=f"{mark}{next(tables)}"))
        else:
            blocks.append(block)
    parts = tuple(_number(part, mark, figures, tables) for part in section.sections)
    return replace(section, blocks=tuple(blocks), sections=parts)
