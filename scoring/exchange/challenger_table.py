"""challengeR's long table: one metric, columns task, case, algorithm, value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medpodium.findings import Finding, MedpodiumError, UsageError
from medpodium.scoring import table
from medpodium.scoring.ranking.axes import RankingCode, near

_NA = ("", "NA", "NaN", "nan", "N/A")
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
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=list(_NA))
    except (OSError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise UsageError(
            Finding(RankingCode.NO_SCORES, str(path), f"cannot be read: {cause}", "pass a CSV with a header line")
        ) from None
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
    return _numbers(frame[list(COLUMNS)].copy(), str(path))


def _numbers(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    value = frame["value"].map(_number).astype(np.float64)
    wrong = frame.index[frame["value"].notna() & value.isna()]
    findings = [
        Finding(
            RankingCode.NO_SCORES,
            f"{path}: line {int(index) + 2}",
            f"value {frame['value'].loc[index]!r} is no number",
            "write a number, or leave the field empty if the value is missing",
        )
        for index in wrong[:10]
    ]
    unnamed = frame[["task", "case", "algorithm"]].isna().any(axis=1)
    findings += [
        Finding(RankingCode.NO_SCORES, f"{path}: line {int(index) + 2}", "task, case or algorithm is empty", "name it")
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


def _number(text: object) -> float:
    # float() rounds correctly, which CSV readers do not promise; ties depend on the last bit
    try:
        return float(text) if isinstance(text, str) else np.nan
    except ValueError:
        return np.nan


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
