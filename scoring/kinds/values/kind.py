"""The kind ``values``: one or several numbers for every case; scored per case and pooled over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.values import ErrorMetric, RelativeMetric, WithinMetric
from medpodium.challenges.schema.values import ValuesTask
from medpodium.findings import Finding
from medpodium.scoring import table
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
from medpodium.scoring.kinds.values.measures import error
from medpodium.scoring.kinds.values.reading import read_given, read_truth
from medpodium.scoring.policy import Score, absent_score, rounded

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool


class Values(TableKind):
    """Tables of numbers in; errors per case and agreement over all cases out."""

    def read_references(
        self, challenge: Challenge, task: ValuesTask, place: Path, cases: Sequence[str] | None, findings: list[Finding]
    ) -> References:
        """Read the table of references; other columns of it may be groups."""
        truth = read_truth(place, task, challenge, findings)
        chosen = truth.values if cases is None else {case: truth.values[case] for case in cases if case in truth.values}
        others = frozenset(truth.values) - frozenset(chosen)
        return References(list(chosen), chosen, truth.groups, (truth.path,), others)

    def read_predictions(
        self, task: ValuesTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Read a team's table."""
        values, where = read_given(Path(str(given)), task, cases, findings)
        return Predictions(values, where)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Return the errors of one case for all submissions; a quantity without a reference has none for anybody."""
        rows = [
            Row(submission, job.case, quantity, name, *_score(metric, true, said, quantity, job.failures, submission))
            for submission, said in job.predictions.items()
            for name, metric in job.task.metrics.items()
            if isinstance(metric, (ErrorMetric, RelativeMetric, WithinMetric))
            for quantity, true in job.reference.items()
        ]
        return CaseScores(rows, {})

    def observe(self, task: ValuesTask, seen: Observing, findings: dict[str, list[Finding]]) -> pd.DataFrame | None:
        """Return what is true and what was said, and tell every submission what looks like a slip."""
        from medpodium.scoring.kinds.values.pool import observe

        for submission, own in seen.predictions.items():
            findings[submission] += self.tell(task, seen.references, own)
        return observe(seen, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the pooled metrics as functions of case weights."""
        from medpodium.scoring.kinds.values.pool import make_pool

        return make_pool(challenge, name, observations)

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return what was said against what is true, quantity by quantity."""
        from medpodium.scoring.kinds.values.views import make_views

        return make_views(challenge, name, observations)

    def tell(self, task: ValuesTask, references: References, own: Predictions) -> list[Finding]:
        """Return what is missing, and what looks like swapped columns, other units or mixed-up cases."""
        return _told(task, references, own)

    def answer_columns(self, task: ValuesTask) -> list[str]:
        """Return the columns of a team's table."""
        return [task.columns.case, *task.value_columns.values()]


def _told(task: ValuesTask, references: References, own: Predictions) -> list[Finding]:
    from medpodium.scoring.kinds.values.diagnosis import diagnose

    if not isinstance(own.whole, str):  # nothing of it could be read, and that was said
        return []
    truth: Mapping[str, Mapping[str, float]] = {case: references.truth[case] for case in references.cases}
    return diagnose(task, truth, own.by_case, own.whole)


def _score(
    metric: MetricSpec,
    true: float,
    said: Mapping[str, float] | None,
    quantity: str,
    failures: Mapping[str, str],
    submission: str,
) -> Score:
    if isinstance(metric, RelativeMetric) and true == 0:
        return Score(math.nan, table.SKIPPED)  # for everybody, whatever was said
    value = None if said is None else said.get(quantity)
    if value is None:
        return absent_score(metric, None, False, math.nan, failures.get(submission))
    return Score(rounded(error(metric, true, value), metric), table.OK)


KIND = Values()
