"""What every kind of task answers, so that no other room asks which kind a task is.

A case goes through five questions: what is true of it (:meth:`Kind.read_references`), what a submission said
(:meth:`Kind.read_predictions`), what that is worth case by case (:meth:`Kind.score_case`), what of it belongs to
metrics over many cases (:meth:`Kind.observe`), and what those are (:meth:`Kind.pool`). :meth:`Kind.check` asks the
first three for a participant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from medpodium.findings import Code, Finding, MedpodiumError

if TYPE_CHECKING:  # workers that score masks need neither tables nor rankings: 60 MB and a second each
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge
    from medpodium.scoring.kinds.views import Views
    from medpodium.scoring.ranking.pools import Pool

Given: TypeAlias = Path | Mapping[str, Any]
"""One submission's predictions: a folder or a table, or what it has of every case."""

MEMORY_FAILURE = "memory"
"""Why a submission has no scores of a case whose memory its prediction exceeds."""
BUDGET_FAILURE = "budget"
"""Why it has none where its prediction exceeds the time or memory that the challenge declares."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""


class ScoreCode(Code):
    """What can be wrong with a set of references, predictions or tables to be scored."""

    NO_CASES = "no-cases"
    NO_TASK = "task-unknown"
    NAME_INVALID = "submission-name-invalid"
    SCORER_FAILED = "scorer-failed"
    """The scorer itself failed on a case."""
    NOT_MEASURED = "not-measured"
    NOT_COMPUTED = "scores-computed-elsewhere"
    OVER_BUDGET = "prediction-over-memory-budget"
    OVER_CASE_BUDGET = "prediction-over-case-budget"
    """Scoring the prediction takes more time or memory than the challenge declares for a case."""
    PREDICTION_MISSING = "prediction-missing"
    CASE_COLUMN = "cases-column-invalid"
    """The table of cases names structures that the task does not have."""
    REFERENCE_MISSING = "reference-missing"
    REFERENCE_BROKEN = "reference-broken"


class BrokenReferencesError(MedpodiumError):
    """References that nobody can be scored against (exit code 1): the organizer's to mend."""


class ScoringError(Exception):
    """The scorer itself failed on a submission; the case is scored for nobody."""


class Row(NamedTuple):
    """One score of one case."""

    submission: str
    case: str
    structure: str
    metric: str
    value: float
    status: str


@dataclass(frozen=True)
class References:
    """The organizer's ground truth of one task.

    Parameters
    ----------
    cases : list of str
        Cases that have a reference, in the order in which they are scored.
    truth : mapping of str to object
        What is true of every case, in whatever form the kind scores it (files, a class, a number).
    groups : pandas.DataFrame, optional
        Column ``case`` and one per group, where the references themselves tell groups.
    tables : tuple of Path
        Files that hold the truth of many cases; a case's own files are in ``truth``.
    others : frozenset of str
        Cases that have a reference, too, and are not asked for.
    """

    cases: list[str]
    truth: Mapping[str, Any]
    groups: pd.DataFrame | None = None
    tables: tuple[Path, ...] = ()
    others: frozenset[str] = frozenset()

    @property
    def files(self) -> list[Path]:
        """Every file the references are made of."""
        return [*self.tables, *(path for case in self.cases for path in paths_in(self.truth[case]))]


class Asked(list[str]):
    """Names of the cases that are asked for, in order.

    Parameters
    ----------
    cases : iterable of str
        The names.
    others : iterable of str
        Cases that there are and nobody asks for: what is said about them is no mistake.
    """

    def __init__(self, cases: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        super().__init__(cases)
        self.others = frozenset(others)


@dataclass(frozen=True)
class Predictions:
    """What one submission said.

    Parameters
    ----------
    by_case : mapping of str to object
        Usable answer (or files) of every case that has one.
    whole : object
        What the kind needs of the submission besides; only the kind itself looks at it.
    """

    by_case: Mapping[str, Any]
    whole: Any = None


@dataclass(frozen=True)
class CaseJob:
    """What is needed to score one case for all submissions.

    Parameters
    ----------
    case : str
        Name of the case.
    reference : object
        What is true.
    predictions : mapping of str to object
        What every submission said; ``None`` where it said nothing usable.
    task : TaskModel
        The rules.
    failures : mapping of str to str
        Why a submission has no prediction, where its run says so.
    """

    case: str
    reference: Any
    predictions: Mapping[str, Any]
    task: Any
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferenceCheck:
    """What is wrong with the reference of one case.

    Parameters
    ----------
    findings : list of Finding
        Errors make the case unusable for everybody.
    empty, expected : frozenset of str
        Structures it holds nothing of, and all that are looked for in it.
    seen : object
        What the kind compares among all references besides; only the kind itself looks at it.
    """

    findings: list[Finding]
    empty: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()
    seen: Any = None


@dataclass(frozen=True)
class Observed:
    """What pooled metrics need of one case of one submission (:mod:`medpodium.scoring.observations`)."""

    submission: str
    case: str
    structure: str
    truth: str
    answer: str
    count: float
    status: str


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case for all submissions, and what was found on the way (submission -> findings).

    ``observed`` is what scoring saw that belongs to metrics over many cases, where seeing it means reading the case.
    """

    rows: list[Row]
    findings: dict[str, list[Finding]]
    observed: list[Observed] = field(default_factory=list)


@dataclass(frozen=True)
class Observing:
    """What observations are made from.

    Parameters
    ----------
    challenge, name
        The rules, and which task of them.
    references : References
        What is true.
    predictions : mapping of str to Predictions
        What every submission said.
    groups : mapping of str to (mapping of str to str)
        Groups of the cases, by group and case.
    observed : sequence of Observed
        What scoring the cases has seen, cases in their order.
    """

    challenge: Challenge
    name: str
    references: References
    predictions: Mapping[str, Predictions]
    groups: Mapping[str, Mapping[str, str]]
    observed: Sequence[Observed] = ()


class Kind(ABC):
    """How the tasks of one kind are read, checked, scored and pooled.

    Attributes
    ----------
    heavy : bool
        Whether a case is worth a process of its own; light cases are scored where the verb runs.
    """

    heavy = False

    @abstractmethod
    def read_references(
        self, challenge: Challenge, task: Any, place: Path, cases: Sequence[str] | None, findings: list[Finding]
    ) -> References:
        """Read what is true.

        Parameters
        ----------
        place : Path
            Folder or table.
        cases : sequence of str, optional
            Only these cases; all that have a reference when left out.
        findings : list of Finding
            Gets what is odd but can be lived with.

        Raises
        ------
        UsageError
            If there is nothing to score against, or the references contradict the challenge file.
        """

    @abstractmethod
    def read_predictions(self, task: Any, given: Given, cases: Sequence[str], findings: list[Finding]) -> Predictions:
        """Read what one submission said about the cases; missing, unknown and repeated ones are findings.

        Raises
        ------
        MedpodiumError
            If nothing of it can be read; the engine then counts every case as missing, with the findings.
        """

    @abstractmethod
    def score_case(self, job: CaseJob) -> CaseScores:
        """Return the scores of one case for all submissions, with the declared policy where there is nothing to score.

        Raises
        ------
        MedpodiumError
            If the reference itself cannot be used; a bad prediction only becomes a finding and ``failed:`` scores.
        """

    def prepare(self, task: Any) -> bool:
        """Import, load and compile what cases take; return whether that is done, or else left to the first case."""
        return False

    def check_reference(self, job: CaseJob) -> ReferenceCheck:
        """Say what is wrong with the reference of one case, read as strictly as a prediction.

        Kinds whose references are one table have said all of it when they read the table.
        """
        return ReferenceCheck([])

    def compare_references(
        self, task: Any, references: References, checks: Mapping[str, ReferenceCheck]
    ) -> list[Finding]:
        """Say what is odd about the usable references as a whole: repeated ones, structures that none of them has."""
        return []

    def observe(self, task: Any, seen: Observing, findings: dict[str, list[Finding]]) -> pd.DataFrame | None:
        """Return the observations of pooled metrics (:mod:`medpodium.scoring.observations`); ``None`` for none."""
        return None

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the pooled metrics of a task as a function of its observations; ``None`` where it has none."""
        return None

    def views(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
        """Return what a task shows of its observations besides scores; ``None`` where there is nothing."""
        return None

    def score_pooled(
        self,
        challenge: Challenge,
        name: str,
        observations: pd.DataFrame,
        submissions: Sequence[str],
        findings: dict[str, list[Finding]],
    ) -> pd.DataFrame:
        """Return the rows of the pooled metrics; what is odd about them (one class only) becomes a finding."""
        from medpodium.scoring import table
        from medpodium.scoring.kinds.pooling import pooled_rows

        pool = self.pool(challenge, name, observations)
        if pool is None:
            return table.empty()
        return pooled_rows(challenge, name, pool, observations, submissions)

    def check_answers(
        self, task: Any, references: References, answers: Predictions, progress: Progress | None = None
    ) -> list[Finding]:
        """Return everything that is wrong with one submission's answers: what scoring finds, case by case."""
        findings: list[Finding] = []
        for done, case in enumerate(references.cases, start=1):
            if case in answers.by_case:
                job = CaseJob(case, references.truth[case], {"": answers.by_case[case]}, task)
                findings += self.score_case(job).findings.get("", [])
            if progress is not None:
                progress(done, len(references.cases))
        return findings

    def known_labels(self, task: Any) -> frozenset[int] | None:
        """Return the labels a reference's voxels may have; ``None`` where references are no label maps."""
        return None

    def answer_columns(self, task: Any) -> list[str]:
        """Return the columns of a table of answers, the case's first; empty where answers are files."""
        return []

    def judged_by(self, task: Any, answers: Predictions) -> Mapping[tuple[str, str], str]:
        """Return who judged a submission, by case and structure; nothing where the scorer itself computes."""
        return {}

    def job_bytes(self, job: CaseJob) -> int:
        """Estimate the memory one worker needs for a case like this."""
        return 0


def over_budget(where: str, needed: int) -> Finding:
    """Return the finding of an answer that takes more memory than its case is given.

    Parameters
    ----------
    where : str
        File or folder of the answer.
    needed : int
        What a case of this size is given, in bytes.
    """
    cause = f"cannot be scored within the memory that a case of this size is given ({needed / 1e6:.0f} MB)"
    fix = "look at the prediction: noise has far more surface and components than anatomy"
    return Finding(ScoreCode.OVER_BUDGET, where, cause, fix)


def paths_in(value: object) -> Iterable[Path]:
    """Yield every path in what is known of a case: a file, or the files of its structures."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from paths_in(item)


def over_case_budget(where: str, case: str, too_much: str, budget: str) -> Finding:
    """Return the finding of an answer that takes more than the declared budget of a case.

    Parameters
    ----------
    where : str
        File or folder of the answer.
    case : str
        Name of the case.
    too_much : str
        What it takes, as a verb phrase.
    budget : str
        What is declared.
    """
    cause = f"case {case}: {too_much}; declared for a case: {budget}"
    fix = "the team: look for noise in the prediction; the organizer: raise case_budget (--case-budget) if it is none"
    return Finding(ScoreCode.OVER_CASE_BUDGET, where, cause, fix)
