"""Numbers that strangers wrote into tables, and what can be wrong with what is imported."""

from __future__ import annotations

import math
from pathlib import Path

from medpodium.challenges.rows import Numbers
from medpodium.findings import Code, Finding, UsageError

_PLAIN = Numbers()


class ImportCode(Code):
    """What can be wrong with a file that is imported."""

    NO_ROWS = "import-no-rows"
    NOT_A_NUMBER = "import-not-a-number"
    OUT_OF_RANGE = "import-out-of-range"
    FILE_MISSING = "import-file-missing"
    UNKNOWN_LEVEL = "import-level-unknown"
    ROW_TWICE = "import-row-twice"
    UNKNOWN_NAME = "import-name-unknown"


def refuse(code: ImportCode, where: str | Path, cause: str, fix: str) -> UsageError:
    """Return the error of one finding."""
    return UsageError(Finding(code, str(where), cause, fix))


def number(
    text: str,
    where: str,
    findings: list[Finding],
    *,
    low: float = -math.inf,
    high: float = math.inf,
    numbers: Numbers = _PLAIN,
) -> float:
    """Return a finite number within bounds; NaN, with a finding unless the cell is empty, for anything else.

    Parameters
    ----------
    numbers : Numbers
        How the table writes numbers.
    """
    try:
        value = numbers.parse(text or "")
        reason = f"{text.strip()!r} is no finite number" if math.isinf(value) else ""
    except ValueError as error:
        value, reason = math.nan, str(error)
    if reason:
        fix = "write a number with a decimal point and no other separator, or leave the cell empty"
        findings.append(Finding(ImportCode.NOT_A_NUMBER, where, reason, fix))
        return math.nan
    if not math.isnan(value) and not low <= value <= high:
        fix = "correct the value or its unit; it is left out"
        findings.append(Finding(ImportCode.OUT_OF_RANGE, where, f"{value:g} is not within {low:g} and {high:g}", fix))
        return math.nan
    return value
