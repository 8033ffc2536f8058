"""The kind ``classification``: a class, as probabilities, for every case; scored over the pooled cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring.kinds.classification.tasks import tasks_of
from medpodium.scoring.kinds.protocol import CaseJob, CaseScores, Given, Kind, Observing, Predictions, References
from medpodium.scoring.kinds.tables import compare_cases, find_table

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool


class Classification(Kind):
    """Tables of probabilities in, pooled scores out."""

    def read_references(
        self,
        challenge: Challenge,
        task: ClassificationTask,
        place: Path,
        cases: Sequence[str] | None,
        findings: list[Finding],
    ) -> References:
        """Read the table of classes; other columns of it may be groups."""
        from medpodium.scoring.kinds.classification.score import read_classes

        table = find_table(place, task.files.reference)
        classes, groups = read_classes(table, task, challenge)
        chosen = classes if cases is None else {case: classes[case] for case in classes if case in set(cases)}
        return References(list(chosen), chosen, groups, (table,), frozenset(classes) - frozenset(chosen))

    def read_predictions(
        self, task: ClassificationTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Read a team's table of probabilities; one that cannot be read leaves all of its cases missing."""
        from medpodium.scoring.kinds.classification.probabilities import Answers, read_answers

        place = Path(str(given))
        try:
            answers = read_answers(place, task, findings)
        except MedpodiumError as error:
            findings += error.findings
            answers = Answers({name: {} for name in task.problems})
        compare_cases(place.name, answers.usable, answers.named, cases, findings)
        usable = answers.usable
        return Predictions({case: answers.of_case(case) for case in cases if case in usable}, answers)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Return the scores that a single case has; most of classes are of the pooled cases."""
        from medpodium.scoring.kinds.classification.single import case_rows

        return CaseScores(case_rows(job), {})

    def observe(
        self, task: ClassificationTask, seen: Observing, findings: dict[str, list[Finding]]
    ) -> pd.DataFrame | None:
        """Return what is true and what was said of every case, and look for ways to guess the class."""
        from medpodium.scoring.kinds.classification.leaks import leaks
        from medpodium.scoring.kinds.classification.observe import observe
        from medpodium.scoring.kinds.classification.score import need_pools
        from medpodium.scoring.kinds.classification.single import lacks_probabilities

        classes = {case: seen.references.truth[case] for case in seen.references.cases}
        need_pools(task, classes, seen.groups)
        findings[""] += leaks(task, classes, seen.groups)
        for submission, own in seen.predictions.items():
            findings[submission] += lacks_probabilities(task, own.whole)
        answers = {submission: own.whole for submission, own in seen.predictions.items()}
        return observe(seen.challenge, seen.name, task, classes, seen.groups, answers, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the ranked pooled metrics as functions of case weights."""
        from medpodium.scoring.kinds.classification.pool import make_pool

        return make_pool(challenge, name, observations)

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return classes answered against true ones, and the probabilities of every problem."""
        from medpodium.scoring.kinds.classification.views import make_views

        return make_views(challenge, name, observations)

    def score_pooled(
        self,
        challenge: Challenge,
        name: str,
        observations: pd.DataFrame,
        submissions: Sequence[str],
        findings: dict[str, list[Finding]],
    ) -> pd.DataFrame:
        """Return every pooled metric, ranked or not; constant answers and undefined values become findings."""
        from medpodium.scoring import table
        from medpodium.scoring.kinds.classification.observe import arrange
        from medpodium.scoring.kinds.classification.score import score_pools

        task = tasks_of(challenge)[name]
        scores = score_pools(task, arrange(task, observations, submissions), submissions, findings)
        scores = scores.assign(challenge=challenge.name, edition=challenge.edition, task=name, case="", structure="")
        if task.pool_by is None:
            return scores[list(table.COLUMNS)]
        return scores.rename(columns={"level": task.pool_by})[[*table.COLUMNS, task.pool_by]]

    def answer_columns(self, task: ClassificationTask) -> list[str]:
        """Return the columns of a table of answers."""
        return [task.case_column, *(task.columns.values() or task.classes)]


KIND = Classification()
