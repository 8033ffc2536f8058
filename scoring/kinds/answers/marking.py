"""What a question's replies are worth: extraction, comparison with the key, and what several trials become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.metrics.answers import ItemMetric
from medpodium.scoring.kinds.answers.extraction import extract
from medpodium.scoring.kinds.answers.key import Item
from medpodium.scoring.kinds.answers.marks import Mark
from medpodium.scoring.kinds.answers.replies import Replies, Reply
from medpodium.scoring.kinds.answers.texts import normalised, token_f1


def mark(task: AnswersTask, item: Item, replies: Replies, piece: str) -> Mark | None:
    """Return what a part of a question came to; None where nothing was replied to it. The same one is made once."""
    marks = replies.marks
    if piece not in marks:
        trials = replies.pieces.get(piece)
        marks[piece] = None if trials is None else fresh_mark(task, item, trials[: task.trials], piece)
    return marks[piece]


def fresh_mark(task: AnswersTask, item: Item, trials: Sequence[Reply], piece: str) -> Mark:
    """Return what some trials came to by the task's rule."""
    order = task.orders.get(piece, "")
    shown = shown_options(item.options, order)
    answers = tuple(_answer(task, reply.text, shown, item, order) for reply in trials)
    right = tuple(answer is not None and is_right(task, answer, item) for answer in answers)
    given = [reply.confidence for reply in trials if not math.isnan(reply.confidence)]
    return Mark(answers, right, task.trials, math.fsum(given) / len(given) if given else math.nan)


@lru_cache(maxsize=100_000)
def shown_options(options: tuple[tuple[str, str], ...], order: str) -> tuple[tuple[str, str], ...]:
    """Return the options as they were shown: the letters in front of the texts in their order.

    Parameters
    ----------
    options : tuple of (str, str)
        Letters and texts of the key.
    order : str
        Letters of the key in the order they were shown; those the question does not have are passed over.
    """
    if not order:
        return options
    texts = dict(options)
    moved = [letter for letter in order if letter in texts]
    return tuple((letter, texts[own]) for (letter, _), own in zip(options, moved, strict=True))


def key_letter(letter: str, options: tuple[tuple[str, str], ...], order: str) -> str:
    """Return the key's letter of the option that was shown under a letter."""
    if not order:
        return letter
    known = [own for own, _ in options]
    moved = [own for own in order if own in known]
    return moved[known.index(letter)] if letter in known else letter


def _answer(task: AnswersTask, text: str, shown: tuple[tuple[str, str], ...], item: Item, order: str) -> str | None:
    answer = extract(task.rule, text, shown)
    if answer is None or not order or task.form in ("number", "text"):
        return answer
    moved = {key_letter(letter, item.options, order) for letter in answer}
    return "".join(sorted(moved))


def is_right(task: AnswersTask, answer: str, item: Item) -> bool:
    """Return whether an extracted answer is right by the task's rules."""
    if task.form == "number":
        allowed = max(task.tolerance.absolute, task.tolerance.relative * abs(item.number))
        # a difference that only binary numbers make is none: 0.3 is within 0.1 of 0.2
        return abs(float(answer) - item.number) <= allowed + 1e-9 * max(abs(item.number), allowed)
    if task.form == "text":
        if task.text == "exact":
            return answer in item.right
        said = normalised(answer)
        return any(said == normalised(own) for own in item.right)
    return answer == item.truth


def item_value(metric: ItemMetric, item: Item, made: Mark) -> float:
    """Return the value of a metric of a question from the mark of one of its parts."""
    if metric.kind == "correct":
        return of_trials(metric, made)
    values = [0.0 if answer is None else _graded(metric, item, answer) for answer in made.answers]
    return math.fsum(values) / made.total


def _graded(metric: ItemMetric, item: Item, answer: str) -> float:
    if metric.kind == "token_f1":
        return max(token_f1(answer, own) for own in item.right)
    hits = len(set(answer) & set(item.truth))
    return hits / len(item.truth if metric.kind == "option_recall" else answer)


def of_trials(metric: ItemMetric, made: Mark) -> float:
    """Return what trials are worth together.

    ``pass@k = 1 - C(n - c, k) / C(n, k)`` (Chen et al., arXiv:2107.03374) and ``pass-all@k = C(c, k) / C(n, k)`` (Yao
    et al., arXiv:2406.12045) for c right ones among n.
    """
    number, right, k = made.total, sum(made.right), metric.k
    if metric.trials == "majority":
        best = made.majority
        return float(best is not None and made.right[made.answers.index(best)])
    if metric.trials == "pass":
        return 1.0 - math.comb(number - right, k) / math.comb(number, k)
    if metric.trials == "pass-all":
        return math.comb(right, k) / math.comb(number, k)
    return made.share
