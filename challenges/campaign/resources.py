"""What every run of a campaign used, and how it ended, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medpodium.challenges.campaign.ledger import FINAL, Ledger
from medpodium.challenges.campaign.work import Submission

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "submission",
    "task",
    "case",
    "status",
    "code",
    "running_time",
    "startup_time",
    "inference_time",
    "cpu_time",
    "peak_memory",
    "mean_memory",
    "peak_gpu_memory",
    "gpu_memory_area",
    "gpu",
    "attempts",
    "cause",
    "fix",
)
"""Columns of the resources table: times in s, memory in MB (10^6 bytes), area in MB s."""


class Campaign(Protocol):
    """What has to be known of a campaign here."""

    ledger: Ledger

    def submissions(self, *, task: str | None = None, team: str | None = None) -> Sequence[Submission]:
        """Return the active submissions."""

    def keys(self, submission: Submission) -> dict[str, str]:
        """Return the pieces of work of a submission: case to key."""


def table(campaign: Campaign) -> pd.DataFrame:
    """Return what every run used and how it ended, one row per submission and case.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`. ``case`` is empty for a run over the whole set. ``status`` is ``ok``,
        ``failed:<code>`` or ``pending``. A value that was not measured is NaN, never 0.
    """
    import pandas as pd

    rows = []
    counts: dict[tuple[int, str], int] = {}
    for attempt in campaign.ledger.attempts():
        work = (int(attempt["submission"]), str(attempt["work_key"]))
        counts[work] = counts.get(work, 0) + 1
    for submission in campaign.submissions():
        results = {one.work_key: one for one in campaign.ledger.results(submission.id) if one.state in FINAL}
        for case, key in campaign.keys(submission).items():
            row: dict[str, Any] = {"submission": submission.team, "task": submission.task, "case": case}
            row["attempts"] = counts.get((submission.id, key), 0)
            result = results.get(key)
            row["status"] = "pending" if result is None else f"failed:{result.code}" if result.code else "ok"
            if result is not None:
                row |= {"code": result.code, "cause": result.cause, "fix": result.fix}
                row |= result.detail.get("resources", {})
            rows.append(row)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    numeric = [*COLUMNS[5:13]]
    frame[numeric] = frame[numeric].astype("float64")
    return frame
