"""The kind ``table``: values that were computed elsewhere and only have to be imported, ranked and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.tabular import TableTask
from medpodium.findings import Finding, UsageError
from medpodium.scoring.kinds.protocol import CaseJob, CaseScores, Given, Kind, Predictions, References, ScoreCode


def _refuse(where: str) -> NoReturn:
    cause = "the task is a table of values that were computed elsewhere: there is nothing to score"
    fix = "bring the values in with 'medpodium import' or as a score table, then use 'medpodium rank'"
    raise UsageError(Finding(ScoreCode.NOT_COMPUTED, where, cause, fix))


class Table(Kind):
    """Refuses to score, and says what to do instead."""

    def read_references(
        self, challenge: Challenge, task: TableTask, place: Path, cases: Sequence[str] | None, findings: list[Finding]
    ) -> References:
        """Refuse: no references are compared with anything here."""
        _refuse(challenge.reference)

    def read_predictions(
        self, task: TableTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Refuse: no predictions are read here."""
        _refuse(str(given))

    def score_case(self, job: CaseJob) -> CaseScores:
        """Refuse: no case is scored here."""
        _refuse(job.case)


KIND = Table()
