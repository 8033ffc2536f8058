"""The long score table: the contract between scoring, ranking and reporting.

One row per (task, submission, case, structure, metric). ``structure`` is empty for metrics of a whole case
(running time); ``case`` is empty for metrics of a whole test set or domain (AUC over pooled cases).
Values are never dropped: a score that could not be computed is a row whose ``status`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.naming.names import alike, clashes, control_character
from medpodium.challenges.rows import Numbers, read_sheet
from medpodium.findings import Code, Finding, UsageError

if TYPE_CHECKING:  # workers that score masks need the statuses but no tables: 60 MB and a second each
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

KEY_COLUMNS = ("challenge", "edition", "task", "submission", "case", "structure", "metric")
COLUMNS = (*KEY_COLUMNS, "value", "status")
"""Fixed leading columns, in order; every further column but one is a group of the case (centre, domain, sex, ...)."""
DEFINITION = "definition"
"""The one column that is no group: the digest of what the score depends on, see :mod:`medpodium.scoring.definitions`.

Tables that were written by hand, imported, or made by version 0.1.0 lack it. Of published values it says where they
were published (:mod:`medpodium.scoring.published`).
"""
PUBLISHED_RANK = "published_rank"
"""Column of the rank that was published with a value; no group either, and optional."""
JUDGED_BY = "judged_by"
"""Column that says who gave a score (model, digest of its prompt) in how many rounds; no group either, and optional."""
_OPTIONAL = (DEFINITION, PUBLISHED_RANK, JUDGED_BY)

OK = "ok"
EMPTY_REFERENCE = "empty-reference"
MISSING = "missing"
PENALISED = "penalised"
SKIPPED = "skipped"
UNLABELLED = "unlabelled"
"""The reference of this case is not labelled with this structure: nobody has a score, and nobody is missing one."""
FAILED_PREFIX = "failed:"
STATUSES = (OK, EMPTY_REFERENCE, MISSING, PENALISED, SKIPPED, UNLABELLED)


_PLAIN = Numbers()


class TableCode(Code):
    """What can be wrong with a score table."""

    UNREADABLE = "table-unreadable"
    COLUMN_MISSING = "table-column-missing"
    VALUE_NOT_NUMERIC = "table-value-not-numeric"
    VALUE_INFINITE = "table-value-infinite"
    STATUS_UNKNOWN = "table-status-unknown"
    DUPLICATE_ROWS = "table-duplicate-rows"
    CONTROL_CHARACTER = "table-control-character"
    COLUMN_TWICE = "table-column-twice"
    NAMES_ALIKE = "table-names-alike"
    EMPTY = "table-empty"
    """A score table has no rows."""


def group_columns(scores: pd.DataFrame) -> list[str]:
    """Return the names of the group columns (everything after the fixed ones, but for the optional ones)."""
    return [str(name) for name in scores.columns if name not in COLUMNS and name not in _OPTIONAL]


def ordered(scores: pd.DataFrame) -> list[str]:
    """Return the names of all columns in the contract's order."""
    own = [name for name in _OPTIONAL if name in scores.columns]
    return [*COLUMNS, *own, *group_columns(scores)]


def is_status(value: str) -> bool:
    """Return whether a string is a legal ``status``."""
    return value in STATUSES or value.startswith(FAILED_PREFIX)


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a score table written by :func:`write_scores`, or by hand in the same columns.

    Parameters
    ----------
    path : str or Path
        ``.csv`` or ``.parquet`` file.

    Returns
    -------
    pandas.DataFrame
        Fixed columns first, then the definition's digest if there is one, then the groups; text columns hold text,
        ``value`` is float64.

    Raises
    ------
    UsageError
        If the file cannot be read or breaks the contract; every problem is a finding.

    Examples
    --------
    >>> import medpodium
    >>> medpodium.read_scores("scores.csv")[["submission", "case", "metric", "value", "status"]].head(2)
      submission   case metric  value status
    0     aurora  case0   dice    0.9     ok
    1   borealis  case0   dice    0.8     ok
    """
    import pandas as pd

    path = Path(path)
    try:
        if path.suffix.lower() == ".parquet":
            scores = pd.read_parquet(path)
        else:
            return _from_text(path)
    except (OSError, ValueError) as error:
        cause = str(error).split("\n")[0] or "cannot be read"
        raise UsageError(
            Finding(TableCode.UNREADABLE, str(path), cause, "give a score table as .csv or .parquet")
        ) from None
    return normalise(scores, str(path))


def _from_text(path: Path) -> pd.DataFrame:
    """Read a CSV by the one reader of text tables: case "001" stays "001", and numbers keep their last bit."""
    import pandas as pd

    try:
        sheet = read_sheet(path, rows=0)
    except UsageError as error:
        (found,) = error.findings
        raise UsageError(replace(found, code=TableCode.UNREADABLE)) from None
    fixed = {alike(name): name for name in (*COLUMNS, *_OPTIONAL)}
    columns = [fixed.get(alike(name), name) for name in sheet.columns]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        own = " and ".join(repr(name) for name in sheet.columns if fixed.get(alike(name)) == twice)
        cause, fix = f"the columns {own} have the same name but for capitals", "remove or rename one of them"
        raise UsageError(Finding(TableCode.COLUMN_TWICE, str(path), cause, fix))
    cells = {name: sheet.column(own) for name, own in zip(columns, sheet.columns, strict=True) if name}
    typed = {name: _objects(own) if name == "value" else _text(own) for name, own in cells.items()}
    scores = pd.DataFrame(typed, columns=pd.Index(list(typed), dtype="str"))
    return normalise(scores, str(path), Numbers.of(cells.get("value", [])))


def _objects(cells: list[str]) -> npt.NDArray[np.object_]:
    import numpy as np

    return np.array(cells, dtype=object)


def _text(cells: list[str]) -> pd.Series:
    """Return cells as a column of text: names come again and again, and each is looked at once."""
    import pandas as pd

    codes, names = pd.factorize(_objects(cells))
    return pd.Series(pd.array(list(names), dtype="str").take(codes))


def normalise(scores: pd.DataFrame, where: str, numbers: Numbers = _PLAIN) -> pd.DataFrame:
    """Bring a score table into the contract's form: columns, order and types.

    Optional columns are filled in (``challenge``, ``edition``, ``structure`` with "", ``status`` with ``ok`` or
    ``missing``).

    Parameters
    ----------
    scores : pandas.DataFrame
        Any columns, in any order.
    where : str
        File it comes from, for messages.
    numbers : Numbers
        How values that are text are written.

    Raises
    ------
    UsageError
        If a required column is missing, a value is no number, or a row occurs twice.
    """
    scores = scores.copy()
    for name in ("submission", "case", "metric", "value"):
        if name not in scores.columns:
            fix = f"add the column; found {', '.join(map(str, scores.columns)) or 'none'}"
            raise UsageError(Finding(TableCode.COLUMN_MISSING, where, f"no column {name!r}", fix))
    for name, default in (("challenge", ""), ("edition", ""), ("task", "default"), ("structure", "")):
        if name not in scores.columns:
            scores[name] = default
    scores["value"] = _numbers(scores["value"], where, numbers)
    if "status" not in scores.columns:
        scores["status"] = [MISSING if math.isnan(value) else OK for value in scores["value"]]
    order = ordered(scores)
    for name in order:
        if name != "value":
            scores[name] = as_text(scores[name])
    scores = scores[order].reset_index(drop=True)
    findings = check_scores(scores, where)
    if findings:
        raise UsageError(*findings)
    return scores


def as_text(column: pd.Series) -> pd.Series:
    """Return a column as text, blank where it holds nothing."""
    if column.dtype == "str" and not column.hasnans:  # as tables of ours are read: millions of rows need no copy
        return column
    return column.astype(object).where(column.notna(), "").astype(str)


def _numbers(column: pd.Series, where: str, numbers: Numbers) -> pd.Series:
    import pandas as pd

    if column.dtype == "float64":
        return column
    text = column.astype(object)
    blank = text.isna()
    if (plain := _plain_numbers(text.tolist(), numbers)) is not None:
        return pd.Series(plain, index=column.index, dtype="float64")
    values: list[float] = []
    for row, (value, empty) in enumerate(zip(text, blank, strict=True)):
        try:
            known = math.nan if empty else numbers.parse(value) if isinstance(value, str) else float(value)
            values.append(known)
        except (TypeError, ValueError) as error:
            cause = f"value {value!r} in data row {row + 1} is no number ({error})"
            fix = "write a decimal number, or leave the field empty for a missing score"
            raise UsageError(Finding(TableCode.VALUE_NOT_NUMERIC, where, cause, fix)) from None
    return pd.Series(values, index=column.index, dtype="float64")


def _plain_numbers(cells: list[str], numbers: Numbers) -> list[float] | None:
    """Return the numbers of cells that are all text and no two of which can be meant; None where the reason is asked.

    float() rounds correctly; a vectorised parser need not.
    """
    try:
        whole = "".join(cells)
        if not whole.isascii() or "," in whole or "_" in whole:
            return None
        return [math.nan if not cell else float(cell) if cell[-1].isdigit() else numbers.parse(cell) for cell in cells]
    except (TypeError, ValueError):
        return None


def check_scores(scores: pd.DataFrame, where: str) -> list[Finding]:
    """Check a normalised score table; an empty list means that it keeps the contract."""
    found = []
    if scores.empty:
        found.append(Finding(TableCode.EMPTY, where, "no rows", "give a table with at least one score"))
    bad = sorted({value for value in scores["status"].unique() if not is_status(value)})
    if bad:
        fix = f"use {', '.join(STATUSES)} or {FAILED_PREFIX}<reason>"
        found.append(Finding(TableCode.STATUS_UNKNOWN, where, f"status {bad[0]!r}", fix))
    infinite = scores["value"].isin([math.inf, -math.inf])
    if infinite.any():
        row = scores[infinite].iloc[0]
        fix = "write the declared worst value, or leave the field empty for a missing score"
        cause = f"{int(infinite.sum())} infinite values, first: {_row_name(row)}"
        found.append(Finding(TableCode.VALUE_INFINITE, where, cause, fix))
    for name in ("submission", "case", "structure", "metric"):
        odd = [value for value in scores[name].unique() if control_character(value) is not None]
        if odd:
            cause = f"{name} {odd[0]!r} contains control characters"
            found.append(Finding(TableCode.CONTROL_CHARACTER, where, cause, "remove them from the name"))
    for one, other in clashes(scores["submission"].unique()):
        cause = f"the submissions {one!r} and {other!r} differ only in capitals, Unicode form or blanks"
        found.append(Finding(TableCode.NAMES_ALIKE, where, cause, "give them one name, or different ones"))
    twice = scores.duplicated(list(KEY_COLUMNS), keep=False)
    groups = group_columns(scores)
    if twice.any() and groups:
        # Pooled rows (case "") of different groups are different scores.
        pooled = scores["case"] == ""
        twice &= ~pooled | scores.duplicated([*KEY_COLUMNS, *groups], keep=False)
    if twice.any():
        rows = scores[twice]
        conflicts = rows.groupby(list(KEY_COLUMNS), dropna=False)["value"].nunique(dropna=False).gt(1).sum()
        count = f"{len(rows)} rows share their key ({conflicts} keys with different values)"
        cause = f"{count}, first: {_row_name(rows.iloc[0])}"
        found.append(Finding(TableCode.DUPLICATE_ROWS, where, cause, "keep one row per score"))
    return found


def _row_name(row: pd.Series) -> str:
    return "/".join(str(row[name]) for name in ("submission", "case", "structure", "metric") if row[name])


def write_scores(scores: pd.DataFrame, path: str | Path) -> Path:
    """Write a score table as CSV or Parquet, by the file's ending; numbers keep all their digits.

    The file appears complete or not at all: it is written beside its place and moved there.

    Examples
    --------
    >>> import medpodium
    >>> scores = medpodium.read_scores("scores.csv")
    >>> written = medpodium.write_scores(scores, "copy.parquet")
    >>> medpodium.read_scores("copy.parquet").equals(scores)
    True
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(Finding(TableCode.UNREADABLE, str(path), f"ending {path.suffix!r}", "write .csv or .parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    if path.suffix.lower() == ".parquet":
        scores.to_parquet(part, index=False)
    else:
        scores.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")
    part.replace(path)
    return path


def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Join score tables; group columns, and digests of the definition, that one lacks are empty there."""
    import pandas as pd

    joined = pd.concat(list(tables), ignore_index=True)
    order = ordered(joined)
    optional = order[len(COLUMNS) :]
    joined[optional] = joined[optional].fillna("")
    return joined[order]


def to_challenger(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return challengeR's long format for one metric.

    challengeR knows tasks but no structures, so each structure becomes a task; where there are several tasks, the
    name is ``task/structure``.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, case, algorithm, value``; a missing score is an empty value.
    """
    import pandas as pd

    rows = scores[scores["metric"] == metric]
    several = rows["task"].nunique() > 1
    names = [
        f"{task}/{structure}" if structure and several else structure or task
        for task, structure in zip(rows["task"], rows["structure"], strict=True)
    ]
    return pd.DataFrame(
        {
            "task": names,
            "case": rows["case"].to_numpy(),
            "algorithm": rows["submission"].to_numpy(),
            "value": rows["value"].to_numpy(),
        }
    )


def from_challenger(table: pd.DataFrame, metric: str, where: str = "challengeR table") -> pd.DataFrame:
    """Read challengeR's long format (``task, case, algorithm, value``) into a score table.

    Each of its tasks becomes a structure of one task, the inverse of :func:`to_challenger`.
    """
    import pandas as pd

    for name in ("case", "algorithm", "value"):
        if name not in table.columns:
            fix = "name the columns task, case, algorithm, value"
            raise UsageError(Finding(TableCode.COLUMN_MISSING, where, f"no column {name!r}", fix))
    structure = table["task"] if "task" in table.columns else ""
    scores = pd.DataFrame(
        {
            "submission": table["algorithm"],
            "case": table["case"],
            "structure": structure,
            "metric": metric,
            "value": table["value"],
        }
    )
    return normalise(scores, where)


def empty() -> pd.DataFrame:
    """Return a score table without rows."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype="float64" if name == "value" else object) for name in COLUMNS})
