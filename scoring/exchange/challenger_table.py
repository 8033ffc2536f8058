"""challengeR's long table: one metric, columns task, case, algorithm, value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medpodium.challenges.rows import Sheet, read_sheet
from medpodium.findings import Finding, MedpodiumError, UsageError
from medpodium.scoring import table
from medpodium.scoring.ranking.axes import RankingCode, near

COLUMNS = ("task", "case", "algorithm", "value")


def read_long(path: Path) -> pd.DataFrame:
    """Read challengeR's long CSV.

    Raises
    ------
    UsageError
        If the file cannot be read or lacks a column.
    MedpodiumError
        If a value is not a number or a (task, case, algorithm) occurs twice.
    """
    sheet = read_sheet(path, rows=0)
    frame = pd.DataFrame(sheet.cells, columns=sheet.columns, dtype=object)
    if "task" not in frame.columns:
        frame.insert(0, "task", "task")
    lacking = [name for name in COLUMNS if name not in frame.columns]
    if lacking:
        raise UsageError(
            Finding(
                RankingCode.NO_SCORES,
                str(path),
                f"there is no column {lacking[0]!r}",
                f"name the columns {', '.join(COLUMNS)}; {near(lacking[0], map(str, frame.columns))}",
            )
        )
    return _numbers(frame[list(COLUMNS)].copy(), str(path), sheet)


def _numbers(frame: pd.DataFrame, path: str, sheet: Sheet) -> pd.DataFrame:
    numbers = sheet.numbers(["value"])
    values, findings = [], []
    for text, line in zip(frame["value"], sheet.lines, strict=True):
        try:
            values.append(numbers.parse(text))
        except ValueError as error:
            values.append(np.nan)
            fix = "write a number, or leave the field empty if the value is missing"
            findings.append(
                Finding(RankingCode.NO_SCORES, f"{path}: line {line}", f"value {text!r} is no number ({error})", fix)
            )
    value = pd.Series(values, index=frame.index, dtype=np.float64)
    findings = findings[:10]
    unnamed = (frame[["task", "case", "algorithm"]] == "").any(axis=1)
    findings += [
        Finding(
            RankingCode.NO_SCORES,
            f"{path}: line {sheet.lines[int(index)]}",
            "task, case or algorithm is empty",
            "name it",
        )
        for index in frame.index[unnamed][:10]
    ]
    keys = ["task", "case", "algorithm"]
    for (task, case, algorithm), rows in frame[frame.duplicated(keys, keep=False) & ~unnamed].groupby(keys):
        findings.append(
            Finding(
                RankingCode.DUPLICATE_ROWS,
                f"{path}: {task}, case {case}",
                f"{algorithm} has {len(rows)} rows",
                "keep one, or name the task in a column 'task' if these are different tasks",
            )
        )
    if frame.empty:
        findings.append(Finding(RankingCode.NO_SCORES, path, "the table has no rows", "add scores"))
    if findings:
        raise MedpodiumError(*findings[:20])
    return frame.assign(value=value)


def score_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return challengeR's table as a long score table with the one metric ``value``."""
    return pd.DataFrame(
        {
            "challenge": "",
            "edition": "",
            "task": frame["task"],
            "submission": frame["algorithm"],
            "case": frame["case"],
            "structure": "",
            "metric": "value",
            "value": frame["value"],
            "status": np.where(frame["value"].isna(), table.MISSING, table.OK),
        }
    )
