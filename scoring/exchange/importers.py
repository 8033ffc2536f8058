"""Read what others publish: per-model score folders, metadata tables, suites and biometry.

Every reader returns long score tables (or group columns) and findings; nothing that is odd is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.rows import read_sheet
from medpodium.findings import Finding, Severity
from medpodium.scoring import table
from medpodium.scoring.exchange.pairing import WideTable, audit, to_scores
from medpodium.scoring.rows import ImportCode, number, refuse

UNKNOWN = "unknown"
"""Level of a group for cases about which the metadata say nothing."""

AGE_BANDS = ((0, 18, "0-17"), (18, 40, "18-39"), (40, 60, "40-59"), (60, 80, "60-79"), (80, 200, "80+"))
"""From (years), to (excluded), name. Our bands; no published ones were found."""

TOUCHSTONE_FILES = {"dsc.csv": "dice", "nsd.csv": "nsd"}
"""File name of the per-model folders to metric name."""


def read_wide(path: Path, submission: str, metric: str, case_column: str = "name") -> tuple[WideTable, list[Finding]]:
    """Read one file with a case per row and a structure per column; values between 0 and 1."""
    sheet = read_sheet(path)
    (case_column,) = sheet.need(case_column)
    findings: list[Finding] = []
    structures = tuple(name for name in sheet.named if name != case_column)
    written = sheet.numbers(structures)
    values = [
        [
            number(row[name], f"{path.name}: {row[case_column]}, {name}", findings, low=0, high=1, numbers=written)
            for name in structures
        ]
        for row in sheet.rows
    ]
    cases = tuple(sheet.column(case_column))
    name = f"{path.parent.name}/{path.name}"
    return WideTable(submission, metric, name, cases, structures, np.asarray(values, dtype=np.float64)), findings


def read_touchstone(
    folder: Path,
    *,
    metrics: Sequence[str] = ("dice", "nsd"),
    metadata: Path | None = None,
    test_set: str = "totalsegmentator",
    challenge: str = "touchstone",
    edition: str = "1.0",
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a folder of models, each with ``dsc.csv`` and ``nsd.csv``.

    Parameters
    ----------
    folder : Path
        Folder of folders, one per model; the folder's name is the submission.
    metrics : sequence of str
        ``dice``, ``nsd`` or both.
    metadata : Path, optional
        Table of the cases (:func:`read_metadata`); its groups become columns.
    test_set, challenge, edition : str
        What the scores belong to.

    Returns
    -------
    (scores, findings)
        Task ``segmentation``; gaps that every model shares are empty references, other gaps are missing.

    Raises
    ------
    UsageError
        If the folder holds no model with a readable table.
    """
    tables: list[WideTable] = []
    findings: list[Finding] = []
    inside = folder.iterdir() if folder.is_dir() else []
    models = sorted(path for path in inside if path.is_dir() and not is_hidden(path.name))
    for model in models:
        for file, metric in TOUCHSTONE_FILES.items():
            if metric not in metrics:
                continue
            if not (model / file).is_file():
                fix = "add the file; the model has no scores of this metric"
                findings.append(
                    Finding(ImportCode.FILE_MISSING, f"{model.name}/{file}", "no such file", fix, Severity.WARNING)
                )
                continue
            item, found = read_wide(model / file, model.name, metric)
            tables.append(item)
            findings += found
    if not tables:
        fix = "give the folder that holds one folder per model, each with dsc.csv and nsd.csv"
        raise refuse(ImportCode.NO_ROWS, folder, "no model folder with a table", fix)
    cleaned, found = audit(tables)
    findings += found
    groups = None
    if metadata is not None:
        groups, found = read_metadata(metadata)
        findings += found
        findings += _without_metadata(cleaned, groups, metadata)
    scores = to_scores(cleaned, challenge=challenge, edition=edition, task="segmentation", groups=groups)
    return scores.assign(test_set=test_set), findings


def _without_metadata(tables: Sequence[WideTable], groups: pd.DataFrame, path: Path) -> list[Finding]:
    cases = {case for item in tables for case in item.cases}
    lacking = sorted(cases - set(groups.index))
    if not lacking:
        return []
    text = f"{len(lacking)} scored case(s) have no row (first {lacking[0]})"
    fix = "add them; their groups stay empty and take no part in subgroups"
    return [Finding(ImportCode.UNKNOWN_LEVEL, path.name, text, fix, Severity.WARNING)]


_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
_PLAIN = ("institute", "manufacturer", "split", "pathology")


def read_metadata(path: Path, *, case_column: str = "image_id") -> tuple[pd.DataFrame, list[Finding]]:
    """Read Touchstone's table of the cases into group columns.

    The file starts with a byte-order mark and is separated by semicolons. Cells without sex, age, institute or
    pathology become the level ``unknown`` and are counted in a finding.

    Returns
    -------
    (groups, findings)
        Indexed by case: sex, age_band, institute, manufacturer, split, pathology.

    Raises
    ------
    UsageError
        If there is no column of case names, or a case has two different rows.
    """
    sheet = read_sheet(path)
    (case_column,) = sheet.need(case_column)
    findings: list[Finding] = []
    found: dict[str, dict[str, str]] = {}
    for row in sheet.rows:
        case = row[case_column].strip()
        age = number(row.get("age", ""), f"{path.name}: {case}, age", findings, low=0, high=130)
        levels = {
            "sex": _SEXES.get(row.get("gender", row.get("sex", "")).strip().lower(), UNKNOWN),
            "age_band": next((name for low, high, name in AGE_BANDS if low <= age < high), UNKNOWN),
            **{name: row.get(name, "").strip() or UNKNOWN for name in _PLAIN},
        }
        if found.get(case, levels) != levels:
            raise refuse(
                ImportCode.ROW_TWICE, f"{path}: {case}", "two rows with different values", "keep the right row"
            )
        found[case] = levels
    groups = pd.DataFrame.from_dict(found, orient="index")
    for name in groups.columns:
        count = int((groups[name] == UNKNOWN).sum())
        if count:
            fix = f"they form the group {UNKNOWN!r}; fill the column to place them"
            text = f"{count} of {len(groups)} cases have no {name}"
            findings.append(Finding(ImportCode.UNKNOWN_LEVEL, path.name, text, fix, Severity.NOTE))
    return groups, findings


def score_rows(rows: Sequence[Mapping[str, object]], *, challenge: str, edition: str, task: str) -> pd.DataFrame:
    """Build a long score table from rows of submission, case, structure, metric, value and group columns."""
    frame = pd.DataFrame(list(rows))
    frame = frame.assign(challenge=challenge, edition=edition, task=task)
    frame["status"] = np.where(frame["value"].isna(), table.MISSING, table.OK)
    extra = [name for name in frame.columns if name not in table.COLUMNS]
    return frame[[*table.COLUMNS, *extra]]


_SUBJECT = re.compile(r"^(sub-[A-Za-z0-9]+)")
BIOMETRY = ("LCC", "HV", "bBIP", "sBIP", "TCD")
"""Lengths of FeTA 2024, in mm: corpus callosum, vermis height, brain and skull biparietal, cerebellar diameter."""


def read_biometry(
    predictions: Mapping[str, Path], reference: Path, *, challenge: str = "feta", edition: str = "2024"
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read FeTA's biometry tables and turn them into absolute percentage errors.

    The files are separated by tabs although they end in ``.csv``; the first column names the subject.

    Parameters
    ----------
    predictions : mapping of str to Path
        Submission to a table, or to a folder with a ``*_biom.csv`` per subject.
    reference : Path
        Table, or folder of tables, with the reference lengths in mm.

    Returns
    -------
    (scores, findings)
        Metric ``percentage_error`` = 100 |prediction - reference| / reference, in percent. A length without
        reference is left out for everybody; one without prediction is missing.
    """
    findings: list[Finding] = []
    truth = _lengths(reference, findings)
    rows: list[dict[str, object]] = []
    for submission, path in predictions.items():
        own = _lengths(path, findings)
        for case in sorted(set(own) - set(truth)):
            text, fix = "a subject without reference", "correct the subject's name; it is left out"
            findings.append(Finding(ImportCode.UNKNOWN_LEVEL, f"{submission}: {case}", text, fix, Severity.WARNING))
        for case, lengths in truth.items():
            for name, value in lengths.items():
                if np.isnan(value):
                    continue
                error = 100 * abs(own.get(case, {}).get(name, np.nan) - value) / value
                rows.append(
                    {
                        "submission": submission,
                        "case": case,
                        "structure": name,
                        "metric": "percentage_error",
                        "value": error,
                    }
                )
    if not rows:
        raise refuse(ImportCode.NO_ROWS, reference, "no reference length", f"columns: {', '.join(BIOMETRY)}")
    return score_rows(rows, challenge=challenge, edition=edition, task="biometry"), findings


def _lengths(path: Path, findings: list[Finding]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    files = [file for file in sorted(path.rglob("*_biom.csv")) if not is_hidden(file.relative_to(path).as_posix())]
    for file in files if path.is_dir() else [path]:
        sheet = read_sheet(file)
        written = sheet.numbers(sheet.need(*BIOMETRY))
        for row in sheet.rows:
            label = next(iter(row.values()))
            match = _SUBJECT.match(label) or _SUBJECT.match(file.name)
            case = match[1] if match else label
            if case in found:
                raise refuse(ImportCode.ROW_TWICE, f"{file.name}: {case}", "the subject occurs twice", "keep one row")
            # a length of zero cannot be measured, and nothing can be divided by it
            found[case] = {
                name: number(
                    row[column], f"{file.name}: {case}, {name}", findings, low=1e-6, high=1000, numbers=written
                )
                for name, column in zip(BIOMETRY, sheet.need(*BIOMETRY), strict=True)
            }
    return found
