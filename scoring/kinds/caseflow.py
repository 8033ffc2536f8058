"""Cases on their way through the scorer: made when their turn comes, and kept as numbers when they are done.

A hundred thousand cases must not mean a hundred thousand jobs and their rows as Python objects: jobs are made one by
one from the matched files, and rows are kept in typed arrays of about 30 bytes each.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import (
    MEMORY_FAILURE,
    CaseJob,
    CaseScores,
    Kind,
    Observed,
    Progress,
    ReferenceCheck,
    Row,
    over_budget,
    paths_in,
)
from medpodium.scoring.scheduling.scheduler import Needs, Scheduler, SchedulerCode

if TYPE_CHECKING:  # this module is imported by every worker, which needs no tables
    import pandas as pd

D = TypeVar("D")

ROW_COLUMNS = ("submission", "case", "structure", "metric", "value", "status")


@dataclass(frozen=True)
class CaseJobs(Sequence[CaseJob]):
    """The jobs of all cases, each made when it is asked for.

    Parameters
    ----------
    task : TaskModel
        The rules.
    cases : list of str
        Cases that have a reference, in order.
    references : mapping of str to object
        What is true of every case.
    predictions : mapping of str to mapping of str to object
        What every submission said of every case; absent where it said nothing.
    failures : mapping of str to mapping of str to str
        Case to submission to why its run failed.
    """

    task: Any
    cases: list[str]
    references: Mapping[str, Any]
    predictions: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> CaseJob: ...

    @overload
    def __getitem__(self, index: slice) -> list[CaseJob]: ...

    def __getitem__(self, index: int | slice) -> CaseJob | list[CaseJob]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        case = self.cases[index]
        said = {submission: found.get(case) for submission, found in self.predictions.items()}
        own = self.task.of_case(case)
        return CaseJob(case, self.references[case], said, own, dict(self.failures.get(case, {})))


def score_job(job: CaseJob) -> CaseScores:
    """Score one case on whatever machine this is.

    Raises
    ------
    InfrastructureError
        If a file that was there when files were matched to cases is not there now: the machine does not see the
        folder, or somebody removed it. That is never counted against a submission.
    """
    _see(job)
    return of(job.task).score_case(job)


def check_job(job: CaseJob) -> ReferenceCheck:
    """Check the reference of one case on whatever machine this is.

    Raises
    ------
    InfrastructureError
        If a file is not there any more; see :func:`score_job`.
    """
    _see(job)
    return of(job.task).check_reference(job)


def _see(job: CaseJob) -> None:
    for held in (job.reference, *job.predictions.values()):
        for path in paths_in(held):
            if not os.path.lexists(path):
                cause = f"case {job.case}: the file was there when the run began, and this process does not see it"
                fix = "give every worker the same folders under the same paths, or run the command again"
                raise InfrastructureError(Finding(SchedulerCode.FILE_NOT_SEEN, str(path), cause, fix))


def told(outcomes: Iterable[D], number: int, progress: Progress | None) -> Iterator[D]:
    """Hand outcomes on, and tell how many of them are done: before the first, and after every one."""
    if progress is not None:
        progress(0, number)
    for count, done in enumerate(outcomes, start=1):
        yield done
        if progress is not None:
            progress(count, number)


def one_by_one(kind: Kind, job: CaseJob, place: Scheduler, needs: Needs) -> CaseScores | None:
    """Score a case that took its process with it again, each submission in a process of its own.

    Returns
    -------
    CaseScores or None
        ``None`` if the reference alone does it, too: then no submission is to blame. Otherwise a submission that does
        it even alone has failed by name, and all others have their scores.
    """
    apart = [
        replace(job, predictions={}),
        *(replace(job, predictions={name: job.predictions[name]}) for name in job.predictions),
    ]
    done = {one.index: one for one in place.run(score_job, apart, replace(needs, apart=True))}
    if done[0].result is None or any(
        one.result is None and not (one.error and one.error.died) for one in done.values()
    ):
        return None
    rows: list[Row] = []
    observed: list[Observed] = []
    findings: dict[str, list[Finding]] = {}
    for index, name in enumerate(job.predictions, start=1):
        result = done[index].result
        if result is None:
            where = next((str(path) for path in paths_in(job.predictions[name])), name)
            lost = replace(job, predictions={name: None}, failures={**job.failures, name: MEMORY_FAILURE})
            result = score_job(lost)
            result.findings[name] = [over_budget(f"{where} (case {job.case})", kind.job_bytes(job))]
        rows += result.rows
        observed += result.observed
        findings |= result.findings
    return CaseScores(rows, findings, observed)


class ScoreRows:
    """Rows of a score table as typed arrays, in whatever order the cases come.

    Parameters
    ----------
    cases : sequence of str
        Names of the cases; rows are added by their position.
    """

    def __init__(self, cases: Sequence[str]) -> None:
        self._cases = cases
        self._names: dict[str, dict[str, int]] = {name: {} for name in ("submission", "structure", "metric", "status")}
        self._codes = {name: array("i") for name in ("case", *self._names)}
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._values)

    def add(self, index: int, rows: Iterable[Row]) -> None:
        """Add the rows of the case at a position."""
        case, values = self._codes["case"], self._values
        for row in rows:
            case.append(index)
            values.append(row.value)
            for name, known in self._names.items():
                self._codes[name].append(known.setdefault(getattr(row, name), len(known)))

    def frame(self) -> pd.DataFrame:
        """Return all rows, cases in their order and rows of a case as they were added (:data:`ROW_COLUMNS`)."""
        import pandas as pd

        codes = {name: np.frombuffer(held, dtype=np.intc) for name, held in self._codes.items()}
        order = np.argsort(codes["case"], kind="stable")
        columns: dict[str, npt.NDArray[np.object_] | npt.NDArray[np.float64]] = {
            name: np.asarray([*known, ""], dtype=object)[codes[name][order]] for name, known in self._names.items()
        }
        columns["case"] = np.asarray([*self._cases, ""], dtype=object)[codes["case"][order]]
        columns["value"] = np.frombuffer(self._values, dtype=np.float64)[order]
        return pd.DataFrame({name: columns[name] for name in ROW_COLUMNS})
