"""What can be wrong when talking to other platforms."""

from __future__ import annotations

from medpodium.findings import Code


class PlatformCode(Code):
    """Findings of exports, imports and of the scorers that run on other platforms."""

    TASK_KIND = "platform-task-kind"
    EXISTS = "export-folder-not-empty"
    BUNDLE = "scorer-bundle-unusable"
    PREDICTIONS_JSON = "predictions-json-unusable"
    """The platform's list of jobs cannot be read or lacks what tells a case."""
    JOB_FAILED = "job-failed"
    JOB_MISSING = "job-missing"
    JOB_TWICE = "job-twice"
    CASE_UNKNOWN = "job-of-unknown-case"
    OUTPUT_MISSING = "output-missing"
    OUTPUT_AMBIGUOUS = "output-ambiguous"
    PATH_UNSAFE = "path-unsafe"
    ARCHIVE = "archive-unusable"
    """An archive of predictions cannot be read.

    Pack plain files under plain names as zip, tar or tar.gz.
    """
    RESULTS = "results-unusable"
    """A platform's result file has no scores of this program."""
    LAYOUT = "layout-unknown"
    LIMIT = "platform-limit"
    """Something is longer or larger than the platform can store."""
    LABEL_UNMAPPED = "label-unmapped"
