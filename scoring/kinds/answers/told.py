"""What a submission is told of its replies: those in which no answer was found, those that a published rule drew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.findings import Finding, Severity
from medpodium.scoring.kinds.answers import published
from medpodium.scoring.kinds.answers.key import Item
from medpodium.scoring.kinds.answers.marking import mark, shown_options
from medpodium.scoring.kinds.answers.replies import Replies, ReplyCode, parse_score

_SHOWN = 60
_ALPHA, _EXCESS, _FEWEST = 1e-6, 0.1, 20
"""A preference is told when it is less likely by chance, takes this part of the wrong answers, and there are enough."""


def tell_extraction(
    task: AnswersTask, items: Mapping[str, Item], replies: Mapping[str, Replies], where: str
) -> list[Finding]:
    """Count the replies in which the rule finds no answer, and say which is the first.

    Parameters
    ----------
    items : mapping of str to Item
        The questions that are asked for.
    replies : mapping of str to Replies
        What was replied.
    where : str
        Name of the team's table.
    """
    if task.form == "rubric":
        return _unparsed(task, items, replies, where)
    number, lost, drawn = 0, [], 0
    for name, item in items.items():
        own = replies.get(name)
        for piece in task.pieces if own is not None else ():
            made = mark(task, item, own, piece) if own is not None else None
            if made is None or own is None:
                continue
            number += len(made.answers)
            texts = [reply.text for reply in own.pieces[piece]]
            lost += [(name, text) for text, answer in zip(texts, made.answers, strict=False) if answer is None]
            if task.rule == "as-vlmevalkit":
                shown = dict(shown_options(item.options, task.orders.get(piece, "")))
                drawn += sum(published.is_drawn(text, shown) for text in texts[: task.trials])
    found = []
    if lost:
        name, text = lost[0]
        shown_text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        cause = f"{len(lost)} of {number} replies hold no answer by the rule {task.rule} (first {name}: {shown_text!r})"
        fix = "have the model write its answer as the rule takes it; such a reply counts as wrong, it is never guessed"
        found.append(Finding(ReplyCode.NOT_EXTRACTED, where, cause, fix))
    if drawn:
        cause = f"{drawn} of {number} answers are options drawn at random, as the published scorer does"
        fix = "nothing to do if published numbers are to be reproduced; score with letter-or-text otherwise"
        found.append(Finding(ReplyCode.DRAWN, where, cause, fix, Severity.WARNING))
    return [*found, *_preference(task, items, replies, where)]


def _preference(
    task: AnswersTask, items: Mapping[str, Item], replies: Mapping[str, Replies], where: str
) -> list[Finding]:
    """Report a model whose wrong answers crowd in one place among the options (chi-square, p < 1e-6, .1 or more)."""
    if task.form != "choice":
        return []
    from scipy import stats

    table = [place for place in places(task, items, replies) if place.expected > 0]
    total = sum(place.wrong for place in table)
    if total < _FEWEST or len(table) < 2:
        return []
    statistic = sum((place.wrong - place.expected) ** 2 / place.expected for place in table)
    most = max(table, key=lambda place: place.wrong - place.expected)
    if float(stats.chi2.sf(statistic, len(table) - 1)) >= _ALPHA or most.wrong - most.expected < _EXCESS * total:
        return []
    cause = f"of {total} wrong answers {most.wrong} are the option in place {most.place}, by chance {most.expected:.0f}"
    fix = "ask in several orders of the options and rank by 'consistent'; the model prefers the place to the answer"
    return [Finding(ReplyCode.PLACE, where, cause, fix, Severity.NOTE)]


def _unparsed(
    task: AnswersTask, items: Mapping[str, Item], replies: Mapping[str, Replies], where: str
) -> list[Finding]:
    number, lost = 0, []
    for name in items:
        own = replies.get(name)
        for piece, rounds in own.pieces.items() if own is not None else ():
            low, high = task.criteria[piece].low, task.criteria[piece].high
            number += len(rounds)
            lost += [(name, piece, one.text) for one in rounds if math.isnan(parse_score(one.text, low, high))]
    if not lost:
        return []
    name, piece, text = lost[0]
    cause = f"{len(lost)} of {number} rounds of the judge hold no score (first {name}, {piece}: {text[:_SHOWN]!r})"
    fix = "judge them again; until then they count as the metric declares (unparsed)"
    return [Finding(ReplyCode.NOT_EXTRACTED, where, cause, fix)]


class Place(NamedTuple):
    """One place among the options, from 1.

    ``chosen`` replies are in it, in ``right`` ones the right option was; of the wrong replies ``wrong`` are in it, and
    ``expected`` would be if those went to any other option alike.
    """

    place: int
    chosen: int
    right: int
    wrong: int
    expected: float


def places(task: AnswersTask, items: Mapping[str, Item], replies: Mapping[str, Replies]) -> list[Place]:
    """Return the table of places for one submission, over all questions, orders and trials that have an answer."""
    number = len(task.options)
    chosen, right, wrong = (np.zeros(number, dtype=np.int64) for _ in range(3))
    expected = np.zeros(number)
    for name, item in items.items():
        own = replies.get(name)
        known = [letter for letter, _ in item.options]
        for piece in task.pieces if own is not None else ():
            made = None if own is None else mark(task, item, own, piece)
            order = [letter for letter in task.orders.get(piece, "") if letter in known] or known
            true = order.index(item.truth)
            for answer in made.answers if made is not None else ():
                if answer not in order:
                    continue
                at = order.index(answer)
                chosen[at] += 1
                right[true] += 1
                if at != true:
                    wrong[at] += 1
                    others = [place for place in range(len(order)) if place != true]
                    expected[others] += 1.0 / len(others)
    return [Place(at + 1, int(chosen[at]), int(right[at]), int(wrong[at]), float(expected[at])) for at in range(number)]
