"""The kind ``labels``: any number of labels for every case, each a yes-or-no question of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.schema.classification import LabelsTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.pooled import LabelSetMetric
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.labels.reading import read_given, read_truth
from medpodium.scoring.kinds.protocol import CaseJob, CaseScores, Given, Kind, Observing, Predictions, References, Row
from medpodium.scoring.policy import Score, absent_score, rounded

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool


class Labels(Kind):
    """Tables of probabilities of labels in; scores of every case, label and of all of them out."""

    def read_references(
        self, challenge: Challenge, task: LabelsTask, place: Path, cases: Sequence[str] | None, findings: list[Finding]
    ) -> References:
        """Read the table of true labels; other columns of it may be groups."""
        truth = read_truth(place, task, challenge)
        chosen = truth.sides if cases is None else {case: truth.sides[case] for case in cases if case in truth.sides}
        others = frozenset(truth.sides) - frozenset(chosen)
        return References(list(chosen), chosen, truth.groups, (truth.path,), others)

    def read_predictions(
        self, task: LabelsTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Read a team's table."""
        probabilities, where = read_given(Path(str(given)), task, cases, findings)
        return Predictions(probabilities, where)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Return how far every submission's set of labels is the true one."""
        rows = [
            Row(submission, job.case, "", name, *_score(metric, job, said, job.failures.get(submission)))
            for submission, said in job.predictions.items()
            for name, metric in job.task.metrics.items()
            if isinstance(metric, LabelSetMetric)
        ]
        return CaseScores(rows, {})

    def observe(self, task: LabelsTask, seen: Observing, findings: dict[str, list[Finding]]) -> pd.DataFrame | None:
        """Return what is true and what was said of every label."""
        from medpodium.scoring.kinds.labels.pool import observe

        return observe(task, seen, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the pooled metrics as functions of case weights."""
        from medpodium.scoring.kinds.labels.pool import make_pool

        return make_pool(challenge, name, observations)

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return the probabilities of every label."""
        from medpodium.scoring.kinds.labels.views import make_views

        return make_views(challenge, name, observations)

    def answer_columns(self, task: LabelsTask) -> list[str]:
        """Return the columns of a team's table."""
        return [task.columns.case, *task.label_columns.values()]


def _score(metric: LabelSetMetric, job: CaseJob, said: Mapping[str, float] | None, failure: str | None) -> Score:
    """Return the score of one case; a label that lacks is on the wrong side."""
    if said is None or not set(said) & set(job.reference):
        return absent_score(metric, None, False, math.nan, failure)
    from medpodium.scoring.measures.pooled.multilabel import reaches

    limits = dict(zip(job.task.labels, job.task.thresholds, strict=True))
    right = hits = given = true = 0
    for label, side in job.reference.items():
        own = bool(reaches(said[label], limits[label])) if label in said else not side
        right, hits, given, true = right + (own == side), hits + (own and side), given + own, true + side
    if metric.kind == "exact_match":
        value = float(right == len(job.reference))
    elif metric.kind == "hamming_loss":
        value = 1.0 - right / len(job.reference)
    else:
        value = 2.0 * hits / (given + true) if given + true else 1.0
    whole = all(label in said for label in job.reference)
    return Score(rounded(value, metric), table.OK if whole else table.PENALISED)


KIND = Labels()
