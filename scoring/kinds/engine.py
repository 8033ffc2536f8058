"""Score whole sets, whatever the kind: read, score the cases in parallel, pool, and lay everything into long tables."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.challenges.naming.names import clashes
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.resource import MeasuredMetric
from medpodium.findings import Finding, InfrastructureError, MedpodiumError, Severity, UsageError
from medpodium.scoring import definitions, table
from medpodium.scoring.groups import group_values, joined
from medpodium.scoring.kinds.caseflow import CaseJobs, ScoreRows, one_by_one, score_job, told
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import (
    Asked,
    BrokenReferencesError,
    Given,
    Kind,
    Observed,
    Observing,
    Predictions,
    Progress,
    References,
    ScoreCode,
)
from medpodium.scoring.kinds.references import checked, unreadable, with_case_columns
from medpodium.scoring.policy import absent_score
from medpodium.scoring.scheduling.scheduler import LocalScheduler, Needs, Scheduler, ThreadScheduler

if TYPE_CHECKING:
    import pandas as pd

Findings = dict[str, list[Finding]]


@dataclass(frozen=True)
class Result:
    """A score table and everything found on the way.

    Parameters
    ----------
    scores : pandas.DataFrame
        Long score table.
    findings : dict of str to list of Finding
        Findings by submission; those about references and cases under "".
    observations : pandas.DataFrame, optional
        What pooled metrics were computed from (:mod:`medpodium.scoring.observations`).
    unscored : tuple of Finding
        Cases on which the scorer itself failed: nobody has a score of them, and somebody has to look. They are among
        the findings, too.
    """

    scores: pd.DataFrame
    findings: Findings = field(default_factory=dict)
    observations: pd.DataFrame | None = None
    unscored: tuple[Finding, ...] = ()

    def all_findings(self) -> list[Finding]:
        """Return every finding, those about the references first."""
        return [finding for name in sorted(self.findings) for finding in self.findings[name]]


def score_task(
    challenge: Challenge,
    task_name: str,
    references: Path,
    predictions: Mapping[str, Given],
    *,
    cases: pd.DataFrame | None = None,
    resources: pd.DataFrame | None = None,
    workers: int | None = None,
    scheduler: Scheduler | None = None,
    progress: Progress | None = None,
    skip_broken: bool = False,
    references_checked: bool = False,
) -> Result:
    """Score the predictions of a task, whatever its kind.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    task_name : str
        Which of its tasks.
    references : Path
        Folder of references, or the table of what is true.
    predictions : mapping of str to Path, or to mapping of str to files
        Folder (or table) of predictions of every submission, or the file(s) of each of its cases.
    cases : pandas.DataFrame, optional
        Column ``case`` and one column per group; only these cases are scored. ``labelled_structures`` is no group.
    resources : pandas.DataFrame, optional
        Measured values of whole cases: ``submission, case, metric, value, status``.
    workers : int, optional
        Number of threads or processes; as many as cores and memory allow when left out.
    scheduler : Scheduler, optional
        Where to run instead of this machine's processes; the scores are the same anywhere.
    progress : callable, optional
        Told before the first case and after every one.
    skip_broken : bool
        Go on without the cases whose reference is broken; they are left out for everybody.
    references_checked : bool
        The references were checked before and are the same (an exported bundle): look at none of them beforehand.

    Raises
    ------
    UsageError
        If there is nothing to score, or a name cannot be used.
    BrokenReferencesError
        If references cannot be scored against: before any prediction is read, with everything that is wrong.
    InfrastructureError
        If the scorer itself failed on every case. A single case is named in the result, and never counted against a
        submission.

    Examples
    --------
    >>> import medpodium
    >>> challenge = medpodium.load_challenge("mine.yaml")
    >>> teams = {"aurora": Path("aurora"), "borealis": Path("borealis")}
    >>> result = medpodium.score_task(challenge, "organs", Path("references"), teams)
    >>> result.scores[["submission", "case", "value", "status"]]
      submission   case  value status
    0     aurora  case0    0.9     ok
    1   borealis  case0    0.8     ok
    """
    task, cases = with_case_columns(challenge.tasks[task_name], cases, "cases")
    kind = of(task)
    _check_names(predictions)
    _check_places(predictions, KINDS[task.kind].layout)
    findings: Findings = {name: [] for name in ["", *predictions]}
    wanted = None if cases is None else [str(case) for case in cases["case"]]
    known = kind.read_references(challenge, task, references, wanted, findings[""])
    _tell_unknown(known, wanted or [], str(references), findings[""])
    asked = Asked(known.cases if wanted is None else wanted, known.others)
    place = _place(kind, scheduler, workers)
    prepare = functools.cache(functools.partial(kind.prepare, task))
    if kind.heavy and not references_checked:
        good = checked(
            kind, task, known, place, findings[""], skip_broken=skip_broken, progress=progress, prepare=prepare
        )
        _tell_broken(known, good, findings[""])
        known = good
    said = {
        submission: _read(kind, task, given, asked, findings[submission]) for submission, given in predictions.items()
    }
    failures = _failures(resources)
    by_case = {submission: own.by_case for submission, own in said.items()}
    jobs = CaseJobs(task, known.cases, known.truth, by_case, failures)
    needs = Needs(kind.job_bytes(jobs[0]), prepare=prepare)
    scores, failed, observed = _run(kind, jobs, findings, place, needs, progress)
    scores = _with_resources(scores, task, list(predictions), jobs.cases, resources, findings)
    groups = group_values(challenge, jobs.cases, joined(cases, known.groups), findings[""])
    judged = {(team, *key): text for team, own in said.items() for key, text in kind.judged_by(task, own).items()}
    finished = _finish(scores, challenge, task_name, jobs.cases, list(predictions), groups)
    if judged:
        keys = finished[["submission", "case", "structure"]].itertuples(index=False, name=None)
        finished[table.JUDGED_BY] = [judged.get(key, "") for key in keys]
    observations = kind.observe(task, Observing(challenge, task_name, known, said, groups, observed), findings)
    if observations is not None:
        observations = _with_failures(observations, failures)
        pooled = kind.score_pooled(challenge, task_name, observations, list(predictions), findings)
        finished = table.concatenate([finished, pooled]) if len(finished) else pooled
    return Result(definitions.mark(finished, challenge, task_name), findings, observations, tuple(failed.values()))


def check_task(
    challenge: Challenge,
    task_name: str,
    references: Path,
    given: Path,
    progress: Progress | None = None,
    *,
    cases: pd.DataFrame | None = None,
) -> list[Finding]:
    """Check one submission's predictions and return everything found: what scoring them would find, and more.

    Parameters
    ----------
    challenge, task_name
        The rules.
    references, given : Path
        Folders (or tables) of references and predictions.
    progress : callable, optional
        Told before the first case and after every one.
    cases : pandas.DataFrame, optional
        Column ``case``; only these cases are checked.
    """
    task, cases = with_case_columns(challenge.tasks[task_name], cases, "cases")
    kind = of(task)
    findings: list[Finding] = []
    wanted = None if cases is None else [str(case) for case in cases["case"]]
    known = kind.read_references(challenge, task, references, wanted, findings)
    _tell_unknown(known, wanted or [], str(references), findings)
    asked = known.cases if wanted is None else wanted
    try:
        if kind.heavy:
            known = checked(kind, task, known, ThreadScheduler(), findings, skip_broken=True)
    except BrokenReferencesError as error:
        return list(error.findings)
    answers = _read(kind, task, given, asked, findings)
    return findings + kind.check_answers(task, known, answers, progress)


def _check_names(predictions: Mapping[str, Given]) -> None:
    if not predictions:
        raise UsageError(
            Finding(ScoreCode.PREDICTION_MISSING, "predictions", "no submission given", "add --predictions TEAM=DIR")
        )
    for one, other in clashes(predictions):
        cause = f"{one!r} and {other!r} differ only in capitals, Unicode form or blanks"
        raise UsageError(Finding(ScoreCode.NAME_INVALID, repr(other), cause, "give the teams different names"))
    for name in predictions:
        if not name.strip() or any(ord(char) < 32 or ord(char) == 127 for char in name):
            cause = f"submission name {name!r} is empty or holds control characters"
            raise UsageError(Finding(ScoreCode.NAME_INVALID, repr(name), cause, "give it a printable name"))


def _check_places(predictions: Mapping[str, Given], layout: str) -> None:
    """Refuse a folder that is none: a wrong path is the request's fault; a table that is not there is a team's."""
    for given in predictions.values():
        if layout == "files" and isinstance(given, Path) and not given.is_dir():
            cause = "the folder of predictions does not exist"
            raise UsageError(Finding(ScoreCode.PREDICTION_MISSING, str(given), cause, "check the path"))


def _tell_unknown(known: References, wanted: list[str], where: str, found: list[Finding]) -> None:
    """Report the cases asked for that have no reference: they are left out for every submission alike."""
    lost = [case for case in wanted if case not in known.truth]
    if lost:
        cause = f"{len(lost)} of {len(wanted)} cases have no reference (first {lost[0]}) and are not scored"
        found.append(Finding(ScoreCode.REFERENCE_MISSING, where, cause, "complete the references, or correct --cases"))


def _tell_broken(known: References, good: References, found: list[Finding]) -> None:
    """Say how many cases are left out because their reference is broken."""
    broken = len(known.cases) - len(good.cases)
    if broken:
        cause = f"{broken} of {len(known.cases)} cases are left out for everybody: their references are broken"
        found.append(Finding(ScoreCode.REFERENCE_BROKEN, "references", cause, "mend them and score again"))


def _read(kind: Kind, task: Any, given: Given, cases: list[str], found: list[Finding]) -> Predictions:
    try:
        return kind.read_predictions(task, given, cases, found)
    except InfrastructureError:
        raise
    except MedpodiumError as error:
        # One team's unreadable table must not keep the others from being scored.
        found += error.findings
        return Predictions({})


def _failures(resources: pd.DataFrame | None) -> dict[str, dict[str, str]]:
    """Return why runs failed: case to submission to reason."""
    failures: dict[str, dict[str, str]] = {}
    if resources is not None:
        failed = resources[resources["status"].astype(str).str.startswith(table.FAILED_PREFIX)]
        for case, submission, status in zip(failed["case"], failed["submission"], failed["status"], strict=True):
            failures.setdefault(str(case), {})[str(submission)] = str(status).removeprefix(table.FAILED_PREFIX)
    return failures


def _with_failures(observations: pd.DataFrame, failures: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Let an answer that is missing because its run failed say so."""
    status = [
        f"{table.FAILED_PREFIX}{failures[case][submission]}"
        if old == table.MISSING and submission in failures.get(case, {})
        else old
        for case, submission, old in zip(
            observations["case"], observations["submission"], observations["status"], strict=True
        )
    ]
    return observations.assign(status=status)


def _place(kind: Kind, scheduler: Scheduler | None, workers: int | None) -> Scheduler:
    if not kind.heavy:
        return ThreadScheduler()
    return scheduler or LocalScheduler(workers)


def _run(
    kind: Kind, jobs: CaseJobs, findings: Findings, place: Scheduler, needs: Needs, progress: Progress | None
) -> tuple[pd.DataFrame, dict[int, Finding], list[Observed]]:
    """Score every case; rows, findings and what was observed come in the order of the cases, whoever is done first.

    A case on which the scorer fails has no row for anybody, and is named. One that takes its process with it is tried
    again, one submission at a time, as a single prediction can be the reason.
    """
    rows = ScoreRows(jobs.cases)
    notes: dict[int, Findings] = {}
    failed: dict[int, Finding] = {}
    observed: dict[int, list[Observed]] = {}
    for done in told(place.run(score_job, jobs, needs), len(jobs), progress):
        settled = done.result
        if settled is None and done.error is not None and done.error.died:
            settled = one_by_one(kind, jobs[done.index], place, needs)
        if settled is None:
            failed[done.index] = unreadable(done, jobs.cases[done.index])
        else:
            rows.add(done.index, settled.rows)
            if settled.observed:
                observed[done.index] = settled.observed
            if any(settled.findings.values()):
                notes[done.index] = settled.findings
    failed = {index: failed[index] for index in sorted(failed)}
    if len(failed) == len(jobs):
        raise InfrastructureError(*failed.values())
    findings[""] += failed.values()
    for index in sorted(notes):
        for submission, found in notes[index].items():
            findings[submission] += found
    return rows.frame(), failed, [one for index in sorted(observed) for one in observed[index]]


def _with_resources(
    scores: pd.DataFrame,
    task: Any,
    submissions: list[str],
    cases: list[str],
    resources: pd.DataFrame | None,
    findings: Findings,
) -> pd.DataFrame:
    """Add the metrics of whole cases (running time, memory) from what the runner measured."""
    wanted = {name: spec for name, spec in task.metrics.items() if isinstance(spec, MeasuredMetric)}
    if not wanted:
        return scores
    if resources is None:
        cause = f"no measurements given, so {', '.join(wanted)} are left out for every submission"
        fix = "add --resources FILE, or score the campaign folder that 'medpodium run' filled"
        findings[""].append(Finding(ScoreCode.NOT_MEASURED, "resources", cause, fix, Severity.WARNING))
        return scores
    rows = []
    for name, spec in wanted.items():
        part = resources[resources["metric"] == name]
        keys = zip(part["submission"].astype(str), part["case"].astype(str), strict=True)
        measured = dict(
            zip(keys, zip(part["value"].astype(float), part["status"].astype(str), strict=True), strict=True)
        )
        if not measured:
            cause = f"no measurement of {name}: it is left out for every submission"
            fix = "measure it, or remove the metric"
            findings[""].append(Finding(ScoreCode.NOT_MEASURED, "resources", cause, fix, Severity.WARNING))
            continue
        for case in cases:
            for submission in submissions:
                value, status = measured.get((submission, case), (math.nan, table.MISSING))
                if status == table.OK and not math.isnan(value):
                    rows.append((submission, case, "", name, spec.above_free(value), table.OK))
                    continue
                reason = status.removeprefix(table.FAILED_PREFIX) if status.startswith(table.FAILED_PREFIX) else None
                rows.append((submission, case, "", name, *absent_score(spec, None, False, math.nan, reason)))
    import pandas as pd

    return pd.concat([scores, pd.DataFrame(rows, columns=scores.columns)], ignore_index=True)


def _finish(
    scores: pd.DataFrame,
    challenge: Challenge,
    task_name: str,
    cases: list[str],
    submissions: list[str],
    groups: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
    """Add identity and group columns and sort: by case, submission, metric and structure as declared."""
    task = challenge.tasks[task_name]
    ranks = {
        "case": {name: index for index, name in enumerate(cases)},
        "submission": {name: index for index, name in enumerate(submissions)},
        "metric": {name: index for index, name in enumerate(task.metrics)},
        "structure": {name: index for index, name in enumerate(["", *task.structure_titles])},
    }
    keys = ["case", "submission", "metric", "structure"]
    scores = scores.sort_values(keys, key=lambda column: column.map(ranks[str(column.name)]), kind="stable")
    scores = scores.assign(challenge=challenge.name, edition=challenge.edition, task=task_name)
    scores = scores[list(table.COLUMNS)].reset_index(drop=True)
    for name, values in groups.items():
        scores[name] = scores["case"].map(values).fillna("")
    return scores
