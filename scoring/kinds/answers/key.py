"""The key: what is right for every question."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.rows import Sheet
from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding, UsageError
from medpodium.scoring.kinds.records import true_records
from medpodium.scoring.kinds.tables import case_twice, sheet_groups

if TYPE_CHECKING:
    import pandas as pd


class KeyCode(Code):
    """What can be wrong with a key."""

    ANSWER = "key-answer-unusable"
    """The key gives an answer that no reply could match."""
    NO_NAME = "key-question-without-name"


@dataclass(frozen=True)
class Item:
    """One question.

    Parameters
    ----------
    right : tuple of str
        What is right: a letter, letters in the order of the options, a number, or a text and its aliases.
    options : tuple of (str, str)
        Letter and text of every option it has.
    question : str
        Its text, where the key has it.
    """

    right: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    question: str = ""
    number: float = field(default=math.nan)

    @property
    def truth(self) -> str:
        """What is right, as one text."""
        return self.right[0] if self.right else ""


@dataclass(frozen=True)
class Key:
    """All questions.

    Parameters
    ----------
    path : Path
        Where the key is.
    items : mapping of str to Item
        Questions by name.
    sheet : Sheet
        The table as it is.
    groups : DataFrame
        Column ``case`` and one per group of the challenge that the key has.
    """

    path: Path
    items: Mapping[str, Item]
    sheet: Sheet
    groups: pd.DataFrame


def read_key(place: Path, task: AnswersTask, challenge: Challenge) -> Key:
    """Read the key.

    Raises
    ------
    UsageError
        If it cannot be read, a column is missing, a question occurs twice, or an answer is none of the question's
        options (or no number); with everything that is wrong.
    """
    names = task.columns
    needed = [names.item] + ([] if task.form == "rubric" else [names.answer])
    path, sheet, wrong = true_records(place, task.files.reference, *needed)
    item_column, *answer_column = sheet.need(*needed)
    options = {letter: sheet.find(letter) for letter in task.options}
    aliases, question = sheet.find(names.aliases), sheet.find(names.question)
    items: dict[str, Item] = {}
    for row, line in zip(sheet.rows, sheet.lines, strict=True):
        name = row[item_column]
        where = f"{path.name}: {name or f'row {line}'}"
        if not name:
            wrong.append(Finding(KeyCode.NO_NAME, where, "the question has no name", "give every question one"))
            continue
        if name in items:
            wrong.append(case_twice(path, name))
            continue
        texts = tuple((letter, row[column] if column else "") for letter, column in options.items())
        # a question has the options whose cell holds something; all of them where the key holds no texts
        texts = tuple(pair for pair in texts if pair[1]) or texts
        told = row[question] if question else ""
        if task.form == "rubric":
            items[name] = Item((), texts, told)
            continue
        try:
            right = _right(row[answer_column[0]], row[aliases] if aliases else "", task, dict(texts))
        except ValueError as error:
            fix = "correct the answer; nobody could be right"
            wrong.append(Finding(KeyCode.ANSWER, where, str(error), fix))
            continue
        number = float(right[0]) if task.form == "number" else math.nan
        items[name] = Item(right, texts, told, number)
    if wrong:
        raise UsageError(*wrong)
    return Key(path, items, sheet, sheet_groups(sheet, list(items), item_column, challenge))


def _right(cell: str, aliases: str, task: AnswersTask, offered: Mapping[str, str]) -> tuple[str, ...]:
    if not cell:
        raise ValueError("no answer in the key")
    if task.form == "choice":
        return (_letter(cell, task.options, offered),)
    if task.form == "choices":
        chosen = {_letter(part, task.options, offered) for part in _parts(cell, offered)}
        return ("".join(letter for letter in offered if letter in chosen),)
    if task.form == "number":
        from medpodium.challenges.rows import Numbers

        value = Numbers().parse(cell)
        if not math.isfinite(value):
            raise ValueError(f"{cell!r} is no finite number")
        return (repr(value),)
    return tuple(dict.fromkeys([cell, *_listed(aliases)]))


def _letter(cell: str, known: Sequence[str], offered: Mapping[str, str]) -> str:
    """Return a letter from a letter, the option's number from 0 (MedQ-Bench), or its text."""
    text = cell.strip()
    if text.upper() in offered:
        return text.upper()
    if text.isascii() and text.isdigit() and int(text) < len(known) and known[int(text)] in offered:
        same = [letter for letter, own in offered.items() if own == text]
        if not same:  # an option's own text comes first: 2 may be the answer "2"
            return known[int(text)]
    same = [letter for letter, own in offered.items() if own and own == text]
    if len(same) == 1:
        return same[0]
    raise ValueError(f"answer {cell!r} is none of the options {', '.join(offered)}")


def _parts(cell: str, offered: Mapping[str, str]) -> list[str]:
    listed = _listed(cell, "|,;")
    if len(listed) == 1 and listed[0] not in offered.values() and len(listed[0]) > 1 and set(listed[0]) <= set(offered):
        return list(listed[0])
    return listed


def _listed(cell: str, separators: str = "|") -> list[str]:
    """Return the parts of a cell: a JSON list, or text with separators."""
    if cell.startswith("["):
        try:
            found = json.loads(cell)
        except ValueError:
            found = None
        if isinstance(found, list):
            return [str(part).strip() for part in found if str(part).strip()]
    for separator in separators[1:]:
        cell = cell.replace(separator, separators[0])
    return [part.strip() for part in cell.split(separators[0]) if part.strip()]
