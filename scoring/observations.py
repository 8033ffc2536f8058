"""Observations: what pooled metrics are computed from, one row per (task, submission, case, structure).

A pooled metric (AUC, kappa) has no value per case, so a score table alone cannot be resampled. The observations lie
beside it (``scores.csv`` -> ``scores.observations.parquet``): for every case what is true and what the submission said.
They hold the hidden truth, so they stay with the organizer: no report and no platform's public output carries them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge

KEY_COLUMNS = ("challenge", "edition", "task", "submission", "case", "structure")
TEXTS = ("truth", "answer")
NUMBERS = ("confidence", "share", "count", "time", "event")
COLUMNS = (*KEY_COLUMNS, *TEXTS, *NUMBERS, "status")
"""Fixed leading columns, in order; every further column is a group of the case.

``truth`` and ``answer`` are text (names of classes, ``1`` and ``0`` of a yes-or-no problem), ``confidence`` is the
probability of the answer or of the positive side, ``share`` the part of several trials that is right, ``count`` a
number of objects, ``time`` a time to event and ``event`` 1 or 0 (censored). A missing answer is a row with a blank
``answer``, no ``confidence`` and the status ``missing`` or ``failed:<reason>``.
"""
SUFFIX = ".observations.parquet"


class ObservationCode(Code):
    """What can be wrong with observations."""

    UNREADABLE = "observations-unreadable"
    """The file of observations beside the scores cannot be read."""
    COLUMN_MISSING = "observations-column-missing"
    NOT_NUMERIC = "observations-not-numeric"
    STATUS_UNKNOWN = "observations-status-unknown"
    DUPLICATE_ROWS = "observations-duplicate-rows"
    TRUTH_CONFLICT = "observations-truth-conflict"
    """One case has two truths in the observations: they are of two versions of the reference.

    Score again.
    """
    GROUP_CONFLICT = "observations-group-conflict"
    """One case has two levels of one group in the observations.

    Correct the table of cases and score again.
    """
    GROUP_NAME = "observations-group-name"


def group_columns(observations: pd.DataFrame) -> list[str]:
    """Return the names of the group columns (everything after the fixed ones)."""
    return [str(name) for name in observations.columns if name not in COLUMNS]


def case_groups(observations: pd.DataFrame, cases: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the level of every case, in the order given, for every group."""
    by_case = observations.drop_duplicates("case").set_index("case").loc[list(cases)]
    return {name: tuple(by_case[name]) for name in group_columns(observations)}


def observations_path(scores_path: str | Path) -> Path:
    """Return where the observations of a score table are: ``scores.csv`` -> ``scores.observations.parquet``."""
    path = Path(scores_path)
    return path.with_name(path.stem + SUFFIX)


def complete(
    rows: pd.DataFrame,
    challenge: Challenge,
    task: str,
    groups: Mapping[str, Mapping[str, str]],
    findings: list[Finding],
) -> pd.DataFrame:
    """Return observations with every column of the contract, from the columns a kind of task fills.

    Parameters
    ----------
    rows : pandas.DataFrame
        At least ``submission, case, truth, status``; what is left out is empty.
    challenge, task
        Whose they are.
    groups : mapping of str to (mapping of str to str)
        Groups of the cases, by group and case.
    findings : list of Finding
        Gets a group whose name is taken.
    """
    import pandas as pd

    frame = rows.assign(challenge=challenge.name, edition=challenge.edition, task=task)
    for name in COLUMNS:
        if name not in frame.columns:
            frame[name] = math.nan if name in NUMBERS else ""
    kept = []
    for name, levels in groups.items():
        if name in COLUMNS:
            cause = f"the group {name!r} is named like a column of the observations"
            fix = "rename the group's column; the bootstrap cannot draw by it"
            findings.append(Finding(ObservationCode.GROUP_NAME, "cases", cause, fix, Severity.WARNING))
            continue
        frame[name] = frame["case"].map(levels).fillna("").astype(str)
        kept.append(name)
    return pd.DataFrame(frame[[*COLUMNS, *kept]])


def normalise(observations: pd.DataFrame, where: str) -> pd.DataFrame:
    """Bring observations into the contract's form: columns, order and types.

    Raises
    ------
    UsageError
        If a required column is missing, a number is none, a status is unknown, a row occurs twice, or two rows of a
        case do not agree on its truth or its groups.
    """
    frame = observations.copy()
    for name in ("task", "submission", "case", "truth"):
        if name not in frame.columns:
            fix = f"add the column; found {', '.join(map(str, frame.columns)) or 'none'}"
            raise UsageError(Finding(ObservationCode.COLUMN_MISSING, where, f"no column {name!r}", fix))
    for name in ("challenge", "edition", "structure", "answer"):
        if name not in frame.columns:
            frame[name] = ""
    for name in NUMBERS:
        frame[name] = _numbers(frame, name, where)
    groups = group_columns(frame)
    for name in (*KEY_COLUMNS, *TEXTS, *groups):
        frame[name] = table.as_text(frame[name])
    if "status" not in frame.columns:
        blank = (frame["answer"] == "") & frame["confidence"].isna() & frame["count"].isna()
        frame["status"] = blank.map({True: table.MISSING, False: table.OK})
    frame["status"] = table.as_text(frame["status"])
    frame = frame[[*COLUMNS, *groups]].reset_index(drop=True)
    findings = check_observations(frame, where)
    if findings:
        raise UsageError(*findings)
    return frame


def _numbers(frame: pd.DataFrame, name: str, where: str) -> pd.Series:
    import pandas as pd

    if name not in frame.columns:
        return pd.Series(math.nan, index=frame.index, dtype="float64")
    column = frame[name]
    if column.dtype == "float64" and not column.isin([math.inf, -math.inf]).any():
        return column
    given = column.notna() & (column.astype(str).str.strip() != "")
    numbers = pd.to_numeric(column.where(given), errors="coerce").astype("float64")
    bad = given & numbers.isna() & (column.astype(str).str.strip().str.lower() != "nan")
    if bad.any() or numbers.isin([math.inf, -math.inf]).any():
        row = int((bad | numbers.isin([math.inf, -math.inf])).to_numpy().argmax())
        cause = f"{name} {str(column.iloc[row])!r} in data row {row + 1} is no finite number"
        fix = "write a number, or leave the field empty"
        raise UsageError(Finding(ObservationCode.NOT_NUMERIC, where, cause, fix))
    return numbers


def check_observations(observations: pd.DataFrame, where: str) -> list[Finding]:
    """Check normalised observations; an empty list means that they keep the contract."""
    import numpy as np
    import pandas as pd

    found = []
    bad = sorted({value for value in observations["status"].unique() if not table.is_status(value)})
    if bad:
        fix = f"use {', '.join(table.STATUSES)} or {table.FAILED_PREFIX}<reason>"
        found.append(Finding(ObservationCode.STATUS_UNKNOWN, where, f"column status: {bad[0]!r}", fix))
    keys = ["challenge", "edition", "task", "case", "structure"]
    of_case = np.zeros(len(observations), dtype=np.int64)
    for name in keys[:-1]:
        of_case = _told_apart(of_case, observations[name])
    of_row = _told_apart(of_case, observations["structure"])
    twice = pd.Series(_told_apart(of_row, observations["submission"]), index=observations.index).duplicated(keep=False)
    if twice.any():
        cause = f"{int(twice.sum())} rows share their key, first: {_row_name(observations[twice].iloc[0])}"
        fix = "keep one row per submission, case and structure"
        found.append(Finding(ObservationCode.DUPLICATE_ROWS, where, cause, fix))
    for name, by, known, code in (
        ("truth", keys, of_row, ObservationCode.TRUTH_CONFLICT),
        *((name, keys[:-1], of_case, ObservationCode.GROUP_CONFLICT) for name in group_columns(observations)),
    ):
        if _told_apart(known, observations[name]).max(initial=-1) == known.max(initial=-1):
            continue  # nothing differs within a case: no table of texts is needed to see that
        rows = observations[[*by, name]].drop_duplicates()
        clash = rows[rows.duplicated(by, keep=False)]
        if len(clash):
            row = clash.iloc[0]
            values = ", ".join(repr(value) for value in sorted(clash[name].unique())[:2])
            cause = f"column {name}: case {row['case']!r} of task {row['task']!r} has {values}"
            found.append(Finding(code, where, cause, "score all submissions again with the same references"))
    return found


def _told_apart(known: npt.NDArray[np.int64], column: pd.Series) -> npt.NDArray[np.int64]:
    """Return one number per row, from 0: the same where the numbers known so far and the column are the same."""
    import numpy as np
    import pandas as pd

    own, levels = pd.factorize(column)
    return pd.factorize(known * (len(levels) + 1) + own + 1)[0].astype(np.int64)


def _row_name(row: pd.Series) -> str:
    return "/".join(str(row[name]) for name in ("task", "submission", "case", "structure") if row[name])


def read_observations(path: str | Path) -> pd.DataFrame:
    """Read observations written by :func:`write_observations`.

    Raises
    ------
    UsageError
        If the file cannot be read or breaks the contract; every problem is a finding.
    """
    import pandas as pd

    path = Path(path)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        cause = str(error).split("\n")[0] or "cannot be read"
        fix = "score again, or remove the file to rank without observations"
        raise UsageError(Finding(ObservationCode.UNREADABLE, str(path), cause, fix)) from None
    return normalise(frame, str(path))


def read_beside(scores_path: str | Path) -> pd.DataFrame | None:
    """Read the observations that lie beside a score table; ``None`` where there are none."""
    path = observations_path(scores_path)
    return read_observations(path) if path.is_file() else None


def write_observations(observations: pd.DataFrame, path: str | Path) -> Path:
    """Write observations as Parquet; the file appears complete or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    observations.to_parquet(part, index=False)
    part.replace(path)
    return path


def write_beside(observations: pd.DataFrame | None, scores_path: str | Path) -> Path | None:
    """Write observations beside a score table that was just written, or remove those of the table it replaced."""
    path = observations_path(scores_path)
    if observations is None:
        path.unlink(missing_ok=True)
        return None
    return write_observations(observations, path)


def concatenate(tables: Iterable[pd.DataFrame | None]) -> pd.DataFrame | None:
    """Join the observations of several tasks; group columns that one lacks are empty there."""
    import pandas as pd

    given = [frame for frame in tables if frame is not None]
    if not given:
        return None
    joined = pd.concat(given, ignore_index=True)
    groups = group_columns(joined)
    joined[groups] = joined[groups].fillna("")
    return joined[[*COLUMNS, *groups]]
