"""The kind ``answers``: what models reply to questions, marked by a key or by a judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.answers import ItemMetric, JudgedMetric, OrdersMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.answers.key import Item, read_key
from medpodium.scoring.kinds.answers.leaks import key_leaks, table_leaks
from medpodium.scoring.kinds.answers.marking import item_value, mark
from medpodium.scoring.kinds.answers.replies import Given as GivenTable
from medpodium.scoring.kinds.answers.replies import Replies, parse_score, read_replies
from medpodium.scoring.kinds.answers.told import tell_extraction
from medpodium.scoring.kinds.protocol import (
    CaseJob,
    CaseScores,
    Given,
    Observing,
    Predictions,
    References,
    Row,
)
from medpodium.scoring.kinds.tables import TableKind
from medpodium.scoring.policy import Score, absent_score, rounded

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool

NOT_EXTRACTED = "not-extracted"
"""Why a question has no answer whose replies hold none."""


class Answers(TableKind):
    """Tables of replies in; marks per question and pooled metrics out."""

    def read_references(
        self,
        challenge: Challenge,
        task: AnswersTask,
        place: Path,
        cases: Sequence[str] | None,
        findings: list[Finding],
    ) -> References:
        """Read the key, and look for what gives its answers away."""
        key = read_key(place, task, challenge)
        findings += key_leaks(task, key)
        chosen = key.items if cases is None else {name: key.items[name] for name in cases if name in key.items}
        others = frozenset(key.items) - frozenset(chosen)
        return References(list(chosen), chosen, key.groups, (key.path,), others)

    def read_predictions(
        self, task: AnswersTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Read a team's table of replies."""
        replies, own = read_replies(Path(str(given)), task, cases, findings)
        return Predictions(replies, own)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Return the marks of one question for all submissions."""
        rows = [
            Row(submission, job.case, piece, name, *score)
            for submission, replies in job.predictions.items()
            for name, metric in job.task.metrics.items()
            for piece, score in _scores(job.task, metric, job.reference, replies, job.failures.get(submission))
        ]
        return CaseScores(rows, {})

    def observe(self, task: AnswersTask, seen: Observing, findings: dict[str, list[Finding]]) -> pd.DataFrame | None:
        """Return what is right and what was answered, and tell of every submission what its replies did not hold."""
        for submission, own in seen.predictions.items():
            findings[submission] += self.tell(task, seen.references, own)
        if task.form == "rubric":
            from medpodium.scoring.kinds.answers.rounds import observe_rounds

            return observe_rounds(task, seen, findings[""])
        from medpodium.scoring.kinds.answers.observe import observe

        return observe(task, seen, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the pooled metrics as functions of case weights."""
        from medpodium.scoring.kinds.answers.pool import make_pool

        return make_pool(challenge, name, observations)

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return options chosen and keyed, how sure the answers are, and their places."""
        from medpodium.scoring.kinds.answers.views import make_views

        return make_views(challenge, name, observations)

    def score_pooled(
        self,
        challenge: Challenge,
        name: str,
        observations: pd.DataFrame,
        submissions: Sequence[str],
        findings: dict[str, list[Finding]],
    ) -> pd.DataFrame:
        """Return the rows of the pooled metrics; what other rules would have read has no part in them."""
        from medpodium.scoring.kinds.answers.observe import scored_by

        return super().score_pooled(challenge, name, scored_by(observations), submissions, findings)

    def tell(self, task: AnswersTask, references: References, own: Predictions) -> list[Finding]:
        """Return what the replies do not hold."""
        return _told(task, references, own)

    def judged_by(self, task: AnswersTask, answers: Predictions) -> Mapping[tuple[str, str], str]:
        """Return who judged a submission, and in how many rounds, by document and criterion."""
        from medpodium.scoring.kinds.answers.rounds import judged_by

        return judged_by(task, answers.by_case)

    def answer_columns(self, task: AnswersTask) -> list[str]:
        """Return the columns of a team's table."""
        names = task.columns
        if task.form == "rubric":
            return [names.item, names.criterion, names.score]
        more = [names.order] if task.orders else []
        more += [names.trial] if task.trials > 1 else []
        more += [names.confidence] if task.confidence == "given" else []
        return [names.item, names.prediction, *more]


def _told(task: AnswersTask, references: References, own: Predictions) -> list[Finding]:
    if not isinstance(own.whole, GivenTable):  # nothing of it could be read, and that was said
        return []
    items: Mapping[str, Item] = {case: references.truth[case] for case in references.cases}
    return [*tell_extraction(task, items, own.by_case, own.whole.where), *table_leaks(task, items, own.whole)]


def _scores(
    task: AnswersTask, metric: MetricSpec, item: Item, replies: Replies | None, failure: str | None
) -> Iterator[tuple[str, Score]]:
    """Yield (part of the question, score) for one metric; nothing for metrics of other scopes."""
    if isinstance(metric, ItemMetric):
        for piece in task.pieces:
            made = None if replies is None else mark(task, item, replies, piece)
            if made is None or not made.found:
                yield piece, _absent(metric, failure if made is None else NOT_EXTRACTED)
            else:
                yield piece, Score(rounded(item_value(metric, item, made), metric), table.OK)
    elif isinstance(metric, OrdersMetric):
        yield "", _over_orders(task, metric, item, replies, failure)
    elif isinstance(metric, JudgedMetric):
        for piece in task.pieces:
            yield piece, _judged(task, metric, replies, piece, failure)


def _absent(metric: MetricSpec, failure: str | None) -> Score:
    return absent_score(metric, None, False, math.nan, failure)


def _over_orders(
    task: AnswersTask, metric: OrdersMetric, item: Item, replies: Replies | None, failure: str | None
) -> Score:
    """Return whether the answer is right, or the same, in every order; an order that lacks is neither."""
    made = [None if replies is None else mark(task, item, replies, piece) for piece in task.pieces]
    if not any(made):
        return _absent(metric, failure)
    best = [None if one is None else one.majority for one in made]
    if all(answer is None for answer in best):
        return _absent(metric, NOT_EXTRACTED)
    if metric.kind == "stable":
        same = None not in best and len(set(best)) == 1
    else:
        same = all(
            one is not None and answer is not None and one.right[one.answers.index(answer)]
            for one, answer in zip(made, best, strict=True)
        )
    return Score(float(same), table.OK if None not in best else table.PENALISED)


def _judged(task: AnswersTask, metric: JudgedMetric, replies: Replies | None, piece: str, failure: str | None) -> Score:
    """Return the mean of a criterion's rounds."""
    rounds = None if replies is None else replies.pieces.get(piece)
    if rounds is None:
        return _absent(metric, failure)
    criterion = task.criteria[piece]
    scores = [parse_score(reply.text, criterion.low, criterion.high) for reply in rounds]
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        return _absent(metric, NOT_EXTRACTED)
    if metric.unparsed == "count":
        known += [criterion.low] * (len(scores) - len(known))
    status = table.OK if len(known) == len(scores) and not any(map(math.isnan, scores)) else table.PENALISED
    if metric.unparsed == "drop":
        status = table.OK
    return Score(rounded(math.fsum(known) / len(known), metric), status)


KIND = Answers()
