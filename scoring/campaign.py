"""Score a campaign: its own references, predictions, failures and measurements, through the one scoring engine."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from medpodium.challenges.campaign import truth, work
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.definition import Task
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.resource import AreaMetric, MeasuredMetric
from medpodium.findings import Code, Finding, InfrastructureError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.engine import Result
    from medpodium.scoring.scheduling.scheduler import Scheduler


class CampaignScoreCode(Code):
    """Why a campaign cannot be scored."""

    NO_REFERENCES = "campaign-without-references"
    NO_SUBMISSIONS = "campaign-without-submissions"


def check(campaign: Campaign, tasks: list[str]) -> None:
    """Make sure that references and predictions are what was hashed; what no longer counts is set aside.

    While another process runs the campaign, that one keeps its predictions in order.

    Raises
    ------
    InfrastructureError
        Naming every file that is not.
    """
    entries = {one.id: one for name in tasks for one in campaign.submissions(task=name)}
    with suppress(InfrastructureError):
        campaign.ledger.lock()
        for one in entries.values():
            work.tidy(campaign, one)
        campaign.ledger.unlock()
    patterns = [task.files.reference for task in campaign.challenge.tasks.values() if KINDS[task.kind].computed]
    truth.verify(campaign, entries.values(), patterns)


def answered_tasks(campaign: Campaign) -> list[str]:
    """Return the tasks that somebody has submitted to, in the definition's order.

    Raises
    ------
    UsageError
        If nobody has submitted anything.
    """
    containers = {one.task for one in campaign.submissions()}
    tasks = []
    for name, task in campaign.challenge.tasks.items():
        known = campaign.challenge.containers
        own = task.container or (next(iter(known)) if len(known) == 1 else None)
        if own in containers and KINDS[task.kind].computed:
            tasks.append(name)
    if not tasks:
        text, fix = "nobody has submitted anything", "add submissions with 'medpodium submit'"
        raise UsageError(Finding(CampaignScoreCode.NO_SUBMISSIONS, str(campaign.root), text, fix))
    return tasks


def merged(results: list[Result]) -> Result:
    """Return the results of several tasks as one table."""
    from medpodium.scoring import observations, table
    from medpodium.scoring.kinds.engine import Result

    if len(results) == 1:
        return results[0]
    findings: dict[str, list[Finding]] = {}
    for result in results:
        for name, found in result.findings.items():
            findings.setdefault(name, []).extend(found)
    scores = table.concatenate([result.scores for result in results])
    pooled = observations.concatenate(result.observations for result in results)
    return Result(scores, findings, pooled, tuple(one for result in results for one in result.unscored))


def score(
    campaign: Campaign,
    task_name: str,
    *,
    scheduler: Scheduler | None = None,
    skip_broken: bool = False,
    only: set[str] | None = None,
    teams: set[str] | None = None,
) -> Result:
    """Score one task of a campaign, all cases and teams or only some; cases that were not run yet are missing."""
    from medpodium.scoring.kinds.engine import score_task

    challenge = campaign.challenge
    references = campaign.references_dir
    folders = campaign.predictions_dirs(task_name)
    predictions = {team: folder for team, folder in folders.items() if teams is None or team in teams}
    if references is None:
        fix = "make the campaign with --references"
        text = "the campaign has no references"
        raise UsageError(Finding(CampaignScoreCode.NO_REFERENCES, str(campaign.root), text, fix))
    if not predictions:
        text, fix = "nobody has submitted to this task", "add submissions with 'medpodium submit'"
        raise UsageError(Finding(CampaignScoreCode.NO_SUBMISSIONS, str(campaign.root), text, fix))
    for folder in predictions.values():
        folder.mkdir(parents=True, exist_ok=True)
    task = challenge.tasks[task_name]
    measured = resource_rows(campaign, task_name, task)
    return score_task(
        challenge,
        task_name,
        references,
        predictions,
        cases=_cases(campaign, only),
        resources=measured,
        scheduler=scheduler,
        skip_broken=skip_broken,
    )


def _cases(campaign: Campaign, only: set[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    rows = campaign.groups().items()
    return pd.DataFrame([{"case": case, **groups} for case, groups in rows if only is None or case in only])


def resource_rows(campaign: Campaign, task_name: str, task: Task) -> pd.DataFrame:
    """Return the measurements as the engine takes them: ``submission, case, metric, value, status``.

    Failures are passed on for every metric of whole cases, and as rows of the metric ``status`` so that overlap scores
    of failed cases carry their reason, too. A metric that nobody has a value of (graphics memory on a machine without a
    GPU) is left out.
    """
    import pandas as pd

    table = campaign.resources()
    failures = campaign.failures(task_name)
    names = {one.team: one for one in campaign.submissions(task=task_name)}
    rows: list[dict[str, Any]] = [
        {"submission": team, "case": case, "metric": "status", "value": math.nan, "status": f"failed:{one.code}"}
        for (team, case), one in failures.items()
    ]
    measures = {name: spec for name, spec in task.metrics.items() if isinstance(spec, MeasuredMetric)}
    for name, spec in measures.items():
        found: list[dict[str, Any]] = []
        for record in table.to_dict("records"):
            row = {str(key): value for key, value in record.items()}
            submission = names.get(str(row["submission"]))
            if submission is None or submission.task != row["task"] or not row["case"]:
                continue
            failed = failures.get((submission.team, str(row["case"])))
            status = f"failed:{failed.code}" if failed else "missing" if row["status"] == "pending" else "ok"
            value = _measure(campaign, submission, row, spec)
            found.append(
                {
                    "submission": submission.team,
                    "case": str(row["case"]),
                    "metric": name,
                    "value": value,
                    "status": status,
                }
            )
        if any(not math.isnan(row["value"]) for row in found if row["status"] == "ok"):
            rows += found
    return pd.DataFrame(rows, columns=["submission", "case", "metric", "value", "status"])


def _measure(campaign: Campaign, submission: Submission, row: dict[str, Any], spec: MeasuredMetric) -> float:
    """Return a measured value in the metric's unit."""
    if spec.kind == "cpu_area":
        return float(row["cpu_time"]) * 100.0  # % of one core, integrated over time
    if isinstance(spec, AreaMetric) and spec.free:
        # The tolerance comes off the memory before integrating.
        return _area_above(campaign, submission, str(row["case"]), spec)
    return spec.in_unit(float(row.get(spec.kind, math.nan)))


def _area_above(campaign: Campaign, submission: Submission, case: str, spec: AreaMetric) -> float:
    import pyarrow.parquet as pq

    from medpodium.scoring.measures.curves import area

    key = campaign.keys(submission).get(case, "")
    result = campaign.ledger.result(submission.id, key)
    number = f"{result.detail.get('attempt', 0):06d}" if result else ""
    path = campaign.runs_dir(submission) / case / number / "curve.parquet"
    if not path.is_file():
        return math.nan
    curve = pq.read_table(path)
    pairs = zip(curve["time"].to_pylist(), curve["gpu_memory"].to_pylist(), strict=True)
    known = [(time, spec.of_curve(memory)) for time, memory in pairs if memory == memory]
    return area([time for time, _ in known], [memory for _, memory in known], spec.free)
