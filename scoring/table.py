"""The long score table: the contract between scoring, ranking and reporting.

One row per (task, submission, case, structure, metric). ``structure`` is empty for metrics of a whole case
(running time); ``case`` is empty for metrics of a whole test set or domain (AUC over pooled cases).
Values are never dropped: a score that could not be computed is a row whose ``status`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medpodium.challenges.findings import Code, Finding, UsageError

KEY_COLUMNS = ("challenge", "edition", "task", "submission", "case", "structure", "metric")
COLUMNS = (*KEY_COLUMNS, "value", "status")
"""Fixed leading columns, in order; every further column is a group of the case (centre, domain, sex, ...)."""

OK = "ok"
EMPTY_REFERENCE = "empty-reference"
MISSING = "missing"
PENALISED = "penalised"
SKIPPED = "skipped"
FAILED_PREFIX = "failed:"
STATUSES = (OK, EMPTY_REFERENCE, MISSING, PENALISED, SKIPPED)


class TableCode(Code):
    """What can be wrong with a score table."""

    UNREADABLE = "table-unreadable"
    COLUMN_MISSING = "table-column-missing"
    VALUE_NOT_NUMERIC = "table-value-not-numeric"
    VALUE_INFINITE = "table-value-infinite"
    STATUS_UNKNOWN = "table-status-unknown"
    DUPLICATE_ROWS = "table-duplicate-rows"
    CONTROL_CHARACTER = "table-control-character"
    EMPTY = "table-empty"


def group_columns(scores: pd.DataFrame) -> list[str]:
    """Return the names of the group columns (everything after the fixed ones)."""
    return [str(name) for name in scores.columns if name not in COLUMNS]


def is_status(value: str) -> bool:
    """Return whether a string is a legal ``status``."""
    return value in STATUSES or value.startswith(FAILED_PREFIX)
