"""The words of a kind of task: sentences are written in neutral words, and said in those of the kind, in one place.

A report is written about *cases*, *submissions* and *predictions*. A kind may call them otherwise (questions, models,
answers: ``words`` in :data:`medpodium.challenges.schema.kinds.KINDS`). Names that others gave are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from medpodium.challenges.schema.task import Words
from medpodium.reports.model.document import Block, Column, Figure, Items, Paragraph, Section, Table

if TYPE_CHECKING:
    from medpodium.reports.model.results import TaskResults

_NEUTRAL = Words()


class Voice:
    """Says text in the words of a kind.

    Parameters
    ----------
    words : Words
        The kind's.
    names : iterable of str
        Names that stay as they are wherever they stand in a text.
    """

    def __init__(self, words: Words, names: Iterable[str] = ()) -> None:
        self.said = _changed(words)
        if not self.said:
            return
        own = "|".join(sorted(map(re.escape, self.said), key=len, reverse=True))
        mark = re.compile(rf"\b({own})\b", re.IGNORECASE)
        kept = sorted({name for name in names if mark.search(name)}, key=len, reverse=True)
        names_too = "".join(f"{re.escape(name)}|" for name in kept)
        self._pattern = re.compile(rf"{names_too}(?P<article>\b[Aa]n? )?\b(?P<word>(?i:{own}))\b")

    def text(self, text: str) -> str:
        """Return a text in the kind's words."""
        return self._pattern.sub(self._one, text) if self.said and text else text

    def _one(self, found: re.Match[str]) -> str:
        word = found["word"]
        if word is None:
            return found[0]
        said = self.said[word.lower()]
        if word[0].isupper():
            said = said[:1].upper() + said[1:]
        article = found["article"] or ""
        if article:
            article = f"{article[0]}{'n' if said[0].lower() in 'aeiou' else ''} "
        return f"{article}{said}"

    def block(self, block: Block) -> Block:
        """Return a block in the kind's words; cells stay as they are."""
        if not self.said:
            return block
        say = self.text
        if isinstance(block, Paragraph):
            return replace(block, text=say(block.text))
        if isinstance(block, Items):
            return replace(block, items=tuple(map(say, block.items)))
        if isinstance(block, Table):
            return replace(
                block,
                title=say(block.title),
                caption=say(block.caption),
                columns=tuple(map(self._column, block.columns)),
            )
        if isinstance(block, Figure):
            plot = replace(block.plot, say=self.text)
            return replace(block, plot=plot, title=say(block.title), caption=say(block.caption), alt=say(block.alt))
        return replace(block, title=say(block.title))

    def _column(self, column: Column) -> Column:
        return replace(column, title=self.text(column.title), note=self.text(column.note))

    def blocks(self, blocks: Iterable[Block]) -> list[Block]:
        """Return blocks in the kind's words."""
        return [self.block(block) for block in blocks]

    def section(self, section: Section) -> Section:
        """Return a section in the kind's words."""
        if not self.said:
            return section
        parts = tuple(map(self.section, section.sections))
        blocks = tuple(self.blocks(section.blocks))
        return replace(section, title=self.text(section.title), blocks=blocks, sections=parts)


@lru_cache
def _changed(words: Words) -> Mapping[str, str]:
    """Return what is said instead of every neutral word; ``test case`` and the like follow from it."""
    pairs = {getattr(_NEUTRAL, one.name): getattr(words, one.name) for one in fields(Words)}
    pairs.pop(_NEUTRAL.truth)  # "empty reference" is a name of a status
    return {neutral: own for neutral, own in pairs.items() if neutral != own}


def voice(task: TaskResults) -> Voice:
    """Return how texts about a task are said."""
    names = [*task.order, *task.cases, *task.task.structure_titles.values(), *task.challenge.groups]
    names += [task.title, task.challenge.title, *map(task.metric_name, task.task.metrics), *task.sources]
    names += [level for group in task.groups for level in task.levels(group)]
    return Voice(task.words, names)
