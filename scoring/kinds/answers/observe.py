"""Observations of questions: what is right and what was answered, per question and order of its options."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.answers.key import Item
from medpodium.scoring.kinds.answers.marking import fresh_mark, mark
from medpodium.scoring.kinds.answers.marks import Mark
from medpodium.scoring.kinds.answers.replies import Replies
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.observations import complete

if TYPE_CHECKING:
    import pandas as pd

LOST = f"{table.FAILED_PREFIX}not-extracted"


def observe(task: AnswersTask, seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission, question and order of the options.

    The answer is that of most trials, ``share`` the part of the trials that are right, and the confidence the given one
    or that of the trials in each other; an answer that is missing has none of them. ``count`` is the number of options
    that the question has, where there are options. Where rules are compared there is one more row per question
    and rule: ``share`` is the part of all its trials that is right by it, ``confidence`` the part with an answer.
    """
    import pandas as pd

    columns: dict[str, list[object]] = {
        name: []
        for name in ("submission", "case", "structure", "truth", "answer", "confidence", "share", "count", "status")
    }
    cases = seen.references.cases
    for submission, own in seen.predictions.items():
        for piece in task.pieces:
            columns["submission"] += [submission] * len(cases)
            columns["case"] += cases
            columns["structure"] += [piece] * len(cases)
            for case in cases:
                item: Item = seen.references.truth[case]
                answer, confidence, share, status = _row(task, item, own.by_case.get(case), piece)
                columns["truth"].append(item.truth)
                columns["answer"].append(answer)
                columns["confidence"].append(confidence)
                columns["share"].append(share)
                columns["count"].append(float(len(item.options)) if item.options else math.nan)
                columns["status"].append(status)
        for rule in task.rules:
            other = task.model_copy(update={"extraction": rule})
            for case in cases:
                item = seen.references.truth[case]
                right, found = _by_rule(other, item, own.by_case.get(case))
                told = (submission, case, f"{BY_RULE}{rule}", item.truth, "", found, right, math.nan)
                status = table.MISSING if math.isnan(right) else table.OK
                for name, value in zip(columns, (*told, status), strict=True):
                    columns[name].append(value)
    return complete(pd.DataFrame(columns), seen.challenge, seen.name, seen.groups, findings)


BY_RULE = "rule:"
"""Start of the structure under which it is observed what another rule would have read off the same replies."""


def scored_by(observations: pd.DataFrame) -> pd.DataFrame:
    """Return the observations that scores are computed from: without what other rules would have read."""
    return observations[~observations["structure"].str.startswith(BY_RULE)]


def _by_rule(task: AnswersTask, item: Item, replies: Replies | None) -> tuple[float, float]:
    """Return which share of the trials of all parts is right, and has an answer, by the task's rule."""
    made = [
        fresh_mark(task, item, replies.pieces[piece][: task.trials], piece)
        for piece in task.pieces
        if replies is not None and piece in replies.pieces
    ]
    if not made:
        return math.nan, math.nan
    number = task.trials * len(task.pieces)
    return (
        sum(sum(one.right) for one in made) / number,
        sum(answer is not None for one in made for answer in one.answers) / number,
    )


def _row(task: AnswersTask, item: Item, replies: Replies | None, piece: str) -> tuple[str, float, float, str]:
    made = None if replies is None else mark(task, item, replies, piece)
    if made is None:
        return "", math.nan, math.nan, table.MISSING
    if not made.found:
        return "", math.nan, math.nan, LOST
    # most trials may hold none: then the answer is blank, and still there is one
    return made.majority or NONE, _confidence(task, item, made), made.share, table.OK


NONE = "(none)"
"""Answer of a question most of whose trials hold none."""


def _confidence(task: AnswersTask, item: Item, made: Mark) -> float:
    if task.confidence == "votes":
        return made.agreed(len(item.options) if task.form == "choice" else task.trials)
    return made.confidence if task.confidence == "given" else math.nan
