"""Delimited text of strangers, as rows: byte-order marks, separators and odd numbers handled in one place."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from medpodium.findings import Code, Finding, UsageError

MAX_BYTES = 200_000_000


class ImportCode(Code):
    """What can be wrong with a file that is imported."""

    UNREADABLE = "import-unreadable"
    NO_ROWS = "import-no-rows"
    COLUMN_MISSING = "import-column-missing"
    NOT_A_NUMBER = "import-not-a-number"
    OUT_OF_RANGE = "import-out-of-range"
    FILE_MISSING = "import-file-missing"
    UNKNOWN_LEVEL = "import-level-unknown"
    ROW_TWICE = "import-row-twice"
    UNKNOWN_NAME = "import-name-unknown"


def refuse(code: ImportCode, where: str | Path, cause: str, fix: str) -> UsageError:
    """Return the error of one finding."""
    return UsageError(Finding(code, str(where), cause, fix))


def read_rows(path: Path, *, separators: str = ",;\t") -> tuple[list[str], list[dict[str, str]]]:
    r"""Read a delimited text file: byte-order mark, separator and line ends as they come.

    Parameters
    ----------
    path : Path
        At most 200 MB, UTF-8.
    separators : str
        Candidates; the one most frequent in the header is taken.

    Returns
    -------
    (columns, rows)
        Header names without blanks around them; one mapping per row. NUL bytes appear as ``\x00``.

    Raises
    ------
    UsageError
        If it cannot be read, has no header or no rows.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise refuse(ImportCode.UNREADABLE, path, f"{path.stat().st_size} bytes", "give a table below 200 MB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(ImportCode.UNREADABLE, path, str(error), "give a readable UTF-8 text table") from None
    # csv before Python 3.11 stops at NUL, so they travel as the symbol for NUL
    lines = text.replace("\0", "␀")
    head = lines.partition("\n")[0]
    separator = max(separators, key=head.count)
    try:
        found = list(csv.reader(io.StringIO(lines), delimiter=separator))
    except csv.Error as error:
        raise refuse(ImportCode.UNREADABLE, path, str(error), "give a well-formed table") from None
    found = [[cell.replace("␀", "\0") for cell in row] for row in found if row]
    if len(found) < 2:
        raise refuse(ImportCode.NO_ROWS, path, f"{len(found)} lines", "give a header and at least one row")
    columns = [name.strip() for name in found[0]]
    return columns, [dict(zip(columns, row, strict=False)) for row in found[1:]]


def number(text: str, where: str, findings: list[Finding], *, low: float = -np.inf, high: float = np.inf) -> float:
    """Return a finite number within bounds; NaN, with a finding unless the cell is empty, for anything else."""
    bare = (text or "").strip()
    if bare.lower() in ("", "na", "nan", "none", "-"):
        return np.nan
    try:
        value = float(bare)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        fix = "write a number with a decimal point, or leave the cell empty"
        findings.append(Finding(ImportCode.NOT_A_NUMBER, where, f"{bare!r} is no finite number", fix))
        return np.nan
    if not low <= value <= high:
        fix = "correct the value or its unit; it is left out"
        findings.append(Finding(ImportCode.OUT_OF_RANGE, where, f"{value:g} is not within {low:g} and {high:g}", fix))
        return np.nan
    return value
