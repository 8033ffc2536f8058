"""Where a model's answers lie among the options as they were shown: whether it prefers a place to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.scoring.kinds.answers.key import Item
from medpodium.scoring.kinds.answers.marking import mark
from medpodium.scoring.kinds.answers.replies import Replies


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
