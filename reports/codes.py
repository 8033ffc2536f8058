"""What can be wrong with a report, apart from what it is made of."""

from __future__ import annotations

from medpodium.findings import Code


class ReportCode(Code):
    """What can be wrong when a report is made or verified."""

    NO_TASK = "report-no-task"
    UNKNOWN_FORMAT = "report-unknown-format"
    FILE_MISSING = "report-file-missing"
    FILE_CHANGED = "report-file-changed"
    NUMBER_DIFFERS = "report-number-differs"
    """What a report prints is not what its scores give.

    Write the report again, and ask who changed the file."""
    NO_MANIFEST = "report-no-manifest"
    """The folder has no manifest, or one that cannot be read."""
