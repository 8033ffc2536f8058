"""What can be wrong when talking to other platforms."""

from __future__ import annotations

from medpodium.findings import Code


class PlatformCode(Code):
    """Findings of exports, imports and of the scorers that run on other platforms."""

    TASK_KIND = "platform-task-kind"
    EXISTS = "export-folder-not-empty"
    BUNDLE = "scorer-bundle-unusable"
    PREDICTIONS_JSON = "predictions-json-unusable"
    JOB_FAILED = "job-failed"
    JOB_MISSING = "job-missing"
    JOB_TWICE = "job-twice"
    CASE_UNKNOWN = "job-of-unknown-case"
    OUTPUT_MISSING = "output-missing"
    OUTPUT_AMBIGUOUS = "output-ambiguous"
    PATH_UNSAFE = "path-unsafe"
    ARCHIVE = "archive-unusable"
    RESULTS = "results-unusable"
    LAYOUT = "layout-unknown"
    LABEL_UNMAPPED = "label-unmapped"
