"""The kind ``survival``: the risk of an event for every case, some of which are censored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.values import SurvivalTask
from medpodium.findings import Finding, Severity
from medpodium.scoring.kinds.protocol import (
    CaseJob,
    CaseScores,
    Given,
    Observing,
    Predictions,
    References,
)
from medpodium.scoring.kinds.survival.reading import Outcome, SurvivalCode, read_outcomes, read_risks
from medpodium.scoring.kinds.tables import TableKind

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool

_FEWEST, _REVERSED = 10, 0.35
"""Events that there have to be, and the C-index below which risks look reversed."""


class Survival(TableKind):
    """Tables of risks in, concordance with times and events out."""

    def read_references(
        self,
        challenge: Challenge,
        task: SurvivalTask,
        place: Path,
        cases: Sequence[str] | None,
        findings: list[Finding],
    ) -> References:
        """Read the table of times and events; other columns of it may be groups."""
        path, known, groups = read_outcomes(place, task, challenge)
        chosen = known if cases is None else {case: known[case] for case in cases if case in known}
        return References(list(chosen), chosen, groups, (path,), frozenset(known) - frozenset(chosen))

    def read_predictions(
        self, task: SurvivalTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Read a team's table of risks."""
        risks, where = read_risks(Path(str(given)), task, cases, findings)
        return Predictions(risks, where)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Return nothing: a risk is right or wrong beside others only."""
        return CaseScores([], {})

    def observe(self, task: SurvivalTask, seen: Observing, findings: dict[str, list[Finding]]) -> pd.DataFrame | None:
        """Return outcomes and risks, and tell of risks that look reversed."""
        from medpodium.scoring.kinds.survival.pool import observe

        for submission, own in seen.predictions.items():
            findings[submission] += self.tell(task, seen.references, own)
        return observe(task, seen, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the pooled metrics as functions of case weights."""
        from medpodium.scoring.kinds.survival.pool import make_pool

        return make_pool(challenge, name, observations)

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return risks beside what happened."""
        from medpodium.scoring.kinds.survival.pool import make_views

        return make_views(challenge, name, observations)

    def tell(self, task: SurvivalTask, references: References, own: Predictions) -> list[Finding]:
        """Return whether the risks look reversed."""
        return _reversed(task, references, own)

    def answer_columns(self, task: SurvivalTask) -> list[str]:
        """Return the columns of a team's table."""
        risk = [task.columns.risk] if task.asks_risk else []
        return [task.columns.case, *risk, *(task.curve[time] for time in task.times)]


def _reversed(task: SurvivalTask, references: References, own: Predictions) -> list[Finding]:
    """Report risks whose order is the reverse of what happened."""
    import numpy as np

    from medpodium.scoring.measures.pooled.survival import concordances

    truth: Mapping[str, Outcome] = references.truth
    cases = [case for case in references.cases if case in own.by_case]
    event = np.array([truth[case].event for case in cases], dtype=bool)
    if event.sum() < _FEWEST or not task.asks_risk:
        return []
    time = np.array([truth[case].time for case in cases])
    risk = np.array([[own.by_case[case].risk] for case in cases]) * (1.0 if task.predicts == "risk" else -1.0)
    index = float(concordances(time, event, risk, np.ones((1, len(cases))))[0, 0])
    if not index < _REVERSED:
        return []
    means = "sooner" if task.predicts == "risk" else "later"
    cause = f"the order is nearly the reverse of what happened (C-index {index:.3f})"
    fix = f"a higher number has to mean {means}: change the sign"
    return [Finding(SurvivalCode.REVERSED, str(own.whole), cause, fix, Severity.WARNING)]


KIND = Survival()
