"""References are checked as strictly as predictions, and all of them before the first prediction is looked at.

Whoever is right would lose by a wrong reference, so one is an error of the organizer and stops the verb with everything
that was found. Every voxel is read for that, on the same machines that score afterwards: a third of what scoring one
submission costs, once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.findings import Finding, InfrastructureError, MedpodiumError, UsageError, has_errors
from medpodium.scoring.kinds.caseflow import CaseJobs, check_job, told
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import (
    BrokenReferencesError,
    Kind,
    Progress,
    ReferenceCheck,
    References,
    ScoreCode,
)
from medpodium.scoring.scheduling.pool import Done
from medpodium.scoring.scheduling.scheduler import LocalScheduler, Needs, Scheduler

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge


def checked(
    kind: Kind,
    task: Any,
    known: References,
    place: Scheduler,
    findings: list[Finding],
    *,
    skip_broken: bool = False,
    progress: Progress | None = None,
    prepare: Callable[[], bool] | None = None,
) -> References:
    """Check all references and return those that can be scored against.

    Parameters
    ----------
    kind, task
        The rules.
    known : References
        What was found in their folder or table.
    place : Scheduler
        Where they are read.
    findings : list of Finding
        Gets everything that was found, in the order of the cases.
    skip_broken : bool
        Go on without cases whose reference is broken; their errors stay findings.
    progress : callable, optional
        Told before the first case and after every one.
    prepare : callable, optional
        As in :class:`medpodium.scoring.scheduling.scheduler.Needs`.

    Raises
    ------
    BrokenReferencesError
        If a reference cannot be scored against (and that is not to be skipped), or none can; with everything found.
    InfrastructureError
        If the check itself failed on a case.
    """
    checks = _run(kind, task, known, place, progress, prepare)
    good = {case: check for case, check in checks.items() if not has_errors(check.findings)}
    usable = replace(known, cases=[case for case in known.cases if case in good])
    whole = kind.compare_references(task, usable, good) if good else []
    found = [finding for case in known.cases for finding in checks[case].findings] + whole
    broken = len(known.cases) - len(usable.cases)
    if (broken and not skip_broken) or not good or has_errors(whole):
        raise BrokenReferencesError(*findings, *found)
    findings += found
    return usable


def check_references(
    challenge: Challenge,
    task_name: str,
    references: Path,
    *,
    cases: pd.DataFrame | None = None,
    scheduler: Scheduler | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Return everything that keeps anybody from being scored against these references, and what is odd about them.

    Parameters
    ----------
    challenge, task_name
        The rules.
    references : Path
        Folder of references, or the table of what is true.
    cases : pandas.DataFrame, optional
        Column ``case``: only these cases.
    scheduler : Scheduler, optional
        Where to read them; processes of this machine when left out.
    progress : callable, optional
        Told before the first case and after every one.

    Raises
    ------
    InfrastructureError
        If the check itself failed.
    """
    findings: list[Finding] = []
    try:
        task, cases = with_case_columns(challenge.tasks[task_name], cases, "cases")
        kind = of(task)
        wanted = None if cases is None else [str(case) for case in cases["case"]]
        known = kind.read_references(challenge, task, references, wanted, [])
        if kind.heavy:
            checked(kind, task, known, scheduler or LocalScheduler(), findings, skip_broken=True, progress=progress)
    except InfrastructureError:
        raise
    except MedpodiumError as error:
        return list(error.findings)
    return findings


def _run(
    kind: Kind,
    task: Any,
    known: References,
    place: Scheduler,
    progress: Progress | None,
    prepare: Callable[[], bool] | None,
) -> Mapping[str, ReferenceCheck]:
    jobs = CaseJobs(task, known.cases, known.truth, {}, {})
    checks: dict[str, ReferenceCheck] = {}
    failed: list[Finding] = []
    needs = Needs(kind.job_bytes(jobs[0]), prepare=prepare)
    for done in told(place.run(check_job, jobs, needs), len(jobs), progress):
        case = known.cases[done.index]
        if done.result is not None:
            checks[case] = done.result
        else:
            failed.append(unreadable(done, case))
    if failed:
        raise InfrastructureError(*failed)
    return checks


def unreadable(done: Done[Any], case: str) -> Finding:
    """Return the finding of a case on which the scorer itself failed."""
    cause = done.error.summary if done.error else "no result"
    fix = "no submission is to blame: look at the reference and at the machine's memory, or report the error"
    return Finding(ScoreCode.SCORER_FAILED, case, cause, fix)


def with_case_columns(task: Any, cases: Any, where: str) -> tuple[Any, Any]:
    """Take the columns that say how a case is scored out of a table of cases.

    Parameters
    ----------
    task : TaskModel
        The rules.
    cases : pandas.DataFrame, optional
        Column ``case``, groups, and perhaps such columns.
    where : str
        Name of the table in findings.

    Returns
    -------
    (task, cases)
        The rules with what the table says, and the table without it.

    Raises
    ------
    UsageError
        If a cell cannot be used.
    """
    own = {str(column) for column in cases.columns} & task.case_columns if cases is not None else set()
    if not own:
        return task, cases
    names = [str(case) for case in cases["case"]]
    columns = {column: dict(zip(names, cases[column].fillna("").astype(str), strict=True)) for column in own}
    try:
        told = task.with_case_columns(columns)
    except ValueError as error:
        fix = f"name structures, separated by semicolons: {', '.join(task.structure_titles)}"
        raise UsageError(Finding(ScoreCode.CASE_COLUMN, where, str(error), fix)) from None
    return told, cases.drop(columns=sorted(own))
