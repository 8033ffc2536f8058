"""Score whole sets: match files to cases, run the cases in parallel, and lay everything into one long table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medpodium.challenges.findings import Code, Finding, InfrastructureError, MedpodiumError, Severity, UsageError
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.resource_metrics import MeasuredMetric
from medpodium.scoring import table
from medpodium.scoring.groups import group_values
from medpodium.scoring.kinds.segmentation.case import CaseJob, CaseScores, MaskFiles, check_case
from medpodium.scoring.kinds.segmentation.casefiles import discover_cases, matched_files
from medpodium.scoring.kinds.segmentation.caseflow import CaseJobs, ScoreRows, score_seen_case
from medpodium.scoring.kinds.segmentation.matching import find_repeated
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.reader import open_mask
from medpodium.scoring.policy import absent_score
from medpodium.scoring.scheduling.pool import Done
from medpodium.scoring.scheduling.scheduler import LocalScheduler, Needs, Scheduler

_PEAK_BYTES_PER_VOXEL = 6
_BASE_BYTES = 400_000_000

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""


class ScoreCode(Code):
    """What can be wrong with a set of references, predictions or tables to be scored."""

    NO_CASES = "no-cases"
    NO_TASK = "task-unknown"
    NAME_INVALID = "submission-name-invalid"
    SCORER_FAILED = "scorer-failed"
    NOT_MEASURED = "not-measured"
    PREDICTION_MISSING = "prediction-missing"


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
    """

    scores: pd.DataFrame
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    observations: pd.DataFrame | None = None

    def all_findings(self) -> list[Finding]:
        """Return every finding, those about the references first."""
        return [finding for name in sorted(self.findings) for finding in self.findings[name]]


def score_segmentation(
    challenge: Challenge,
    task_name: str,
    references: Path,
    predictions: Mapping[str, Path | Mapping[str, MaskFiles]],
    *,
    cases: pd.DataFrame | None = None,
    resources: pd.DataFrame | None = None,
    workers: int | None = None,
    scheduler: Scheduler | None = None,
    progress: Progress | None = None,
) -> Result:
    """Score predictions of a segmentation task.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    task_name : str
        Which of its tasks.
    references : Path
        Folder of references; every file that fits the challenge's pattern is a case.
    predictions : mapping of str to Path, or to mapping of str to files
        Folder of predictions of every submission, or the file(s) of each of its cases.
    cases : pandas.DataFrame, optional
        Column ``case`` and one column per group; only these cases are scored.
    resources : pandas.DataFrame, optional
        Measured values of whole cases: ``submission, case, metric, value, status``.
    workers : int, optional
        Number of processes; as many as cores and memory allow when left out.
    scheduler : Scheduler, optional
        Where to run instead of this machine's processes; the scores are the same anywhere.
    progress : callable, optional
        Told after every case.

    Raises
    ------
    UsageError
        If there is nothing to score, or a name cannot be used.
    InfrastructureError
        If the scorer itself failed; never counted against a submission.
    """
    task = segmentation_task(challenge, task_name)
    _check_names(predictions)
    names = list(cases["case"]) if cases is not None else discover_cases(references, task)
    findings: dict[str, list[Finding]] = {name: [] for name in ["", *predictions]}
    found_references = matched_files(task, references, names, reference=True, findings=findings[""])
    jobs = _jobs(task, names, found_references, predictions, resources, findings)
    if not jobs:
        fix = f"the pattern is {task.files.reference!r}; give the folder that holds the references"
        raise UsageError(Finding(ScoreCode.NO_CASES, str(references), "no reference to score against", fix))
    rows = ScoreRows(jobs.cases)
    place = scheduler or LocalScheduler(workers)
    outcomes = place.run(score_seen_case, jobs, Needs(_job_bytes(jobs[0])))
    notes: dict[int, dict[str, list[Finding]]] = {}
    for done_count, done in enumerate(outcomes, start=1):
        settled = _settle(done, jobs.cases[done.index])
        rows.add(done.index, settled.rows)
        if any(settled.findings.values()):
            notes[done.index] = settled.findings
        if progress is not None:
            progress(done_count, len(jobs))
    for index in sorted(notes):
        for submission, found in notes[index].items():
            findings[submission] += found
    scores = rows.frame()
    order = jobs.cases
    scores = _with_resources(scores, task, list(predictions), order, resources, findings)
    return Result(finish(scores, challenge, task_name, order, list(predictions), cases, findings[""]), findings)


def check_segmentation(
    challenge: Challenge, task_name: str, references: Path, folder: Path, progress: Progress | None = None
) -> list[Finding]:
    """Check a folder of predictions and return everything found: names, files, grids, labels, low overlap.

    Parameters
    ----------
    challenge, task_name
        The rules.
    references, folder : Path
        Folders of references and predictions.
    progress : callable, optional
        Told after every case.
    """
    task = segmentation_task(challenge, task_name)
    _check_names({"predictions": folder})
    findings: list[Finding] = []
    names = discover_cases(references, task)
    found_references = matched_files(task, references, names, reference=True, findings=findings)
    files = matched_files(task, folder, names, reference=False, findings=findings)
    for done, case in enumerate(names, start=1):
        if case in files and case in found_references:
            findings += check_case(task, found_references[case], files[case])
        if progress is not None:
            progress(done, len(names))
    whole = {case: path for case, path in files.items() if isinstance(path, Path)}
    return findings + find_repeated(whole)


def segmentation_task(challenge: Challenge, name: str) -> SegmentationTask:
    """Return a task that is scored on masks.

    Raises
    ------
    UsageError
        If it is of another kind.
    """
    task = challenge.tasks[name]
    if isinstance(task, SegmentationTask):
        return task
    raise UsageError(Finding(ScoreCode.NO_TASK, name, f"is a {task.kind} task", "name a segmentation task with --task"))


def _check_names(predictions: Mapping[str, Path | Mapping[str, MaskFiles]]) -> None:
    if not predictions:
        raise UsageError(
            Finding(ScoreCode.PREDICTION_MISSING, "predictions", "no submission given", "add --predictions TEAM=DIR")
        )
    for name, folder in predictions.items():
        if not name.strip() or any(ord(char) < 32 or ord(char) == 127 for char in name):
            cause = f"submission name {name!r} is empty or holds control characters"
            raise UsageError(Finding(ScoreCode.NAME_INVALID, repr(name), cause, "give it a printable name"))
        if isinstance(folder, Path) and not folder.is_dir():
            cause = f"folder of submission {name!r} does not exist"
            raise UsageError(Finding(ScoreCode.PREDICTION_MISSING, str(folder), cause, "check the path"))


def _jobs(
    task: SegmentationTask,
    names: list[str],
    references: Mapping[str, MaskFiles],
    predictions: Mapping[str, Path | Mapping[str, MaskFiles]],
    resources: pd.DataFrame | None,
    findings: dict[str, list[Finding]],
) -> CaseJobs:
    matched = {
        submission: matched_files(task, given, names, reference=False, findings=findings[submission])
        if isinstance(given, Path)
        else given
        for submission, given in predictions.items()
    }
    failures: dict[str, dict[str, str]] = {}
    if resources is not None:
        failed = resources[resources["status"].astype(str).str.startswith(table.FAILED_PREFIX)]
        for case, submission, status in zip(failed["case"], failed["submission"], failed["status"], strict=True):
            failures.setdefault(str(case), {})[str(submission)] = str(status).removeprefix(table.FAILED_PREFIX)
    return CaseJobs(task, [case for case in names if case in references], references, matched, failures)


def _job_bytes(job: CaseJob) -> int:
    """Estimate the memory one worker needs from the first reference's header."""
    files = job.reference
    path = files if isinstance(files, Path) else next(iter(files.values()))
    try:
        with open_mask(path, limits=OWN_FILES) as reader:
            voxels = math.prod(reader.geometry.shape_zyx)
    except MedpodiumError:
        voxels = 0
    return _BASE_BYTES + _PEAK_BYTES_PER_VOXEL * voxels


def _settle(done: Done[CaseScores], case: str) -> CaseScores:
    """Take over a case's scores; a failure of the scorer or of the reference stops the verb, with everything named."""
    if done.result is not None:
        return done.result
    summary = done.error.summary if done.error else "no result"
    fix = "this is not the submission's fault: check the reference file, then report the error with its traceback"
    raise InfrastructureError(Finding(ScoreCode.SCORER_FAILED, case, summary, fix))


def _with_resources(
    scores: pd.DataFrame,
    task: SegmentationTask,
    submissions: list[str],
    cases: list[str],
    resources: pd.DataFrame | None,
    findings: dict[str, list[Finding]],
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
    return pd.concat([scores, pd.DataFrame(rows, columns=scores.columns)], ignore_index=True)


def finish(
    scores: pd.DataFrame,
    challenge: Challenge,
    task_name: str,
    cases: list[str],
    submissions: list[str],
    groups: pd.DataFrame | None,
    findings: list[Finding],
) -> pd.DataFrame:
    """Add identity and group columns and sort: by case, submission, metric and structure as declared."""
    task = challenge.tasks[task_name]
    structures = ["", *(task.structures if isinstance(task, SegmentationTask) else [])]
    ranks = {
        "case": {name: index for index, name in enumerate(cases)},
        "submission": {name: index for index, name in enumerate(submissions)},
        "metric": {name: index for index, name in enumerate(task.metrics)},
        "structure": {name: index for index, name in enumerate(structures)},
    }
    keys = ["case", "submission", "metric", "structure"]
    scores = scores.sort_values(keys, key=lambda column: column.map(ranks[str(column.name)]), kind="stable")
    scores = scores.assign(challenge=challenge.name, edition=challenge.edition, task=task_name)
    scores = scores[list(table.COLUMNS)].reset_index(drop=True)
    for name, values in group_values(challenge, cases, groups, findings).items():
        scores[name] = scores["case"].map(values).fillna("")
    return scores


def pick_task(challenge: Challenge, name: str | None) -> str:
    """Return the task meant: the one named, or the challenge's only one.

    Raises
    ------
    UsageError
        If it does not exist, or none is named and there are several.
    """
    tasks = list(challenge.tasks)
    if name is None and len(tasks) == 1:
        return tasks[0]
    if name in challenge.tasks:
        return str(name)
    cause = f"no task {name!r}" if name else f"the challenge has {len(tasks)} tasks and none is named"
    raise UsageError(
        Finding(ScoreCode.NO_TASK, challenge.reference, cause, f"add --task with one of: {', '.join(tasks)}")
    )
