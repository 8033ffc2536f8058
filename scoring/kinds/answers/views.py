"""What questions show besides scores: options chosen and keyed, their places, and how sure the answers are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.answers import ConfidenceMetric, ShiftMetric
from medpodium.challenges.schema.metrics.pooled import CalibrationMetric
from medpodium.scoring.kinds.answers.observe import BY_RULE, scored_by
from medpodium.scoring.kinds.answers.pool import Arranged, arrange, prepare
from medpodium.scoring.kinds.views import UNANSWERED, Certainty, Choices, Places, Rules, View, Views
from medpodium.scoring.observations import case_groups

Ints = npt.NDArray[np.int64]


def make_views(challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
    """Return the views of a task; None where nothing was observed or answers are no closed list.

    Parameters
    ----------
    observations : DataFrame
        Normalised observations, of any tasks.
    """
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, AnswersTask):
        return None
    if task.form == "rubric":
        from medpodium.scoring.kinds.answers.rounds import rounds_views

        return rounds_views(challenge, name, own)
    cases, submissions = sorted(own["case"].unique()), sorted(own["submission"].unique())
    compared = _rules(task, own, cases, submissions)
    own = scored_by(own)
    arranged = arrange(task, own, cases, submissions)
    parts: list[View] = []
    if task.form == "choice":
        truth = np.where(arranged.truth < 0, UNANSWERED, arranged.truth)
        given = np.where(arranged.missing | (arranged.said < 0), UNANSWERED, arranged.said)
        parts.append(Choices("answers", "options", arranged.of_case, tuple(task.options), truth, given, told=True))
        parts.append(_places(task, own, arranged, truth, given))
    parts += [*_certainty(task, arranged), *compared]
    return Views(tuple(cases), tuple(submissions), case_groups(own, cases), tuple(parts)) if parts else None


def _rules(task: AnswersTask, own: pd.DataFrame, cases: list[str], submissions: list[str]) -> list[View]:
    """Return what the rule that is scored by and those it is compared with read off the same replies."""
    if not task.rules:
        return []
    names = tuple(task.rules)
    rows = own[own["structure"].str.startswith(BY_RULE)]
    at = (
        pd.Categorical(rows["case"], categories=cases).codes,
        pd.Categorical(rows["submission"], categories=submissions).codes,
        pd.Categorical(rows["structure"], categories=[f"{BY_RULE}{rule}" for rule in names]).codes,
    )
    right, found = (np.zeros((len(cases), len(submissions), len(names))) for _ in range(2))
    right[at] = rows["share"].fillna(0.0)
    found[at] = rows["confidence"].fillna(0.0)
    return [Rules("rules", "extraction rules", np.arange(len(cases)), names, right, found)]


def _certainty(task: AnswersTask, arranged: Arranged) -> list[View]:
    """Return confidence and what is right, with the policy of the first metric that looks at them."""
    families = (ShiftMetric, CalibrationMetric, ConfidenceMetric)
    spec = next((spec for spec in task.metrics.values() if isinstance(spec, families)), None)
    if spec is None:
        return []
    own = prepare(spec, arranged)
    return [Certainty("confidence", "confidence", own.of_case, own.right, own.sure, arranged.missing)]


def _places(task: AnswersTask, own: pd.DataFrame, arranged: Arranged, truth: Ints, given: Ints) -> Places:
    """Return the places of the options as they were shown; of a question with fewer options only those it has."""
    number = len(task.options)
    orders = np.array(
        [[task.options.index(one) for one in task.orders.get(piece) or task.options] for piece in task.pieces]
    )
    first = own.groupby("case")["count"].first().sort_index().to_numpy(float)
    has = np.where(np.isfinite(first) & (first > 0), first, number).astype(np.int64)
    options = np.repeat(has, len(task.pieces))
    # place of every option in the order of a row, once those are left out that the question does not have
    order = np.tile(orders, (len(has), 1))
    shown = order < options[:, None]
    place = np.full((len(order), number), UNANSWERED, dtype=np.int64)
    rows = np.repeat(np.arange(len(order)), number).reshape(order.shape)
    place[rows[shown], order[shown]] = (np.cumsum(shown, axis=1) - 1)[shown]

    def where(letters: Ints) -> Ints:
        found = place[np.arange(len(place)), np.maximum(letters, 0)]
        return np.asarray(np.where(letters < 0, UNANSWERED, found), dtype=np.int64)

    chosen = np.stack([where(column) for column in given.T], axis=1)
    return Places("places", "places of the options", arranged.of_case, options, where(truth), chosen)
