"""Tables of strangers in any of the formats in which questions and answers travel: delimited text, JSONL, Parquet.

All come as a :class:`~medpodium.challenges.rows.Sheet` of text, so that nobody downstream knows which one it was. Lists
and mappings in a cell become JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medpodium.challenges.naming.names import is_hidden, trimmed
from medpodium.challenges.rows import MAX_BYTES, RowsCode, Sheet, decode, read_sheet
from medpodium.challenges.schema import formats
from medpodium.findings import Finding, UsageError
from medpodium.scoring.kinds.tables import AnswerCode

MAX_UNPACKED = 2_000_000_000
"""Bytes that a Parquet file may hold when it is unpacked."""


def find_records(place: Path, name: str = "") -> Path:
    """Return the table itself, the file of this name in a folder, or the folder's only table in any format.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    if place.is_file():
        return place
    if name and (place / name).is_file():
        return place / name
    endings = (*formats.TABLES, *formats.RECORDS)
    inside = sorted(place.iterdir()) if place.is_dir() else []
    found = [file for file in inside if file.name.lower().endswith(endings) and not is_hidden(file.name)]
    if len(found) == 1:
        return found[0]
    text = f"{len(found)} tables" if place.is_dir() else "no such file or folder"
    fix = f"give the table itself, or a folder with exactly one ({', '.join(endings)})"
    raise UsageError(Finding(AnswerCode.NO_FILE, str(place), text, fix))


def read_records(path: Path, findings: list[Finding]) -> Sheet:
    """Read a table by the ending of its name.

    Parameters
    ----------
    path : Path
        CSV, TSV, JSONL or Parquet.
    findings : list of Finding
        Gets lines that are no record; the others are read.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    ending = path.suffix.lower()
    if ending in formats.LINES:
        return _jsonl(path, findings)
    if ending == ".json":
        return _records(path, [(1, record) for record in documents(path)])
    if ending == ".parquet":
        return _parquet(path)
    return read_sheet(path)


def _jsonl(path: Path, findings: list[Finding]) -> Sheet:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unreadable(path, f"{path.stat().st_size} bytes", "give a table below 200 MB")
        text = decode(path.read_bytes(), str(path))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "give a readable table") from None
    records: list[tuple[int, dict[str, Any]]] = []
    wrong: list[tuple[int, str]] = []
    # not splitlines: JSON may hold the line separators of Unicode as they are
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_without_doubles, parse_constant=lambda name: name)
        except (ValueError, RecursionError) as error:
            wrong.append((number, str(error).partition(":")[0]))
            continue
        if isinstance(record, dict):
            records.append((number, record))
        else:
            wrong.append((number, "no mapping"))
    if wrong:
        line_number, why = wrong[0]
        cause = f"{len(wrong)} line(s) are no JSON record (first line {line_number}: {why})"
        fix = 'write one mapping per line, such as {"case": "q1", "prediction": "A"}; these lines are not read'
        findings.append(Finding(RowsCode.CELLS, path.name, cause, fix))
    if not records:
        raise UsageError(Finding(RowsCode.NO_ROWS, str(path), "no record", "write one JSON mapping per line"))
    return _records(path, records)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON file: one mapping, or a list of mappings.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unreadable(path, f"{path.stat().st_size} bytes", "give a file below 200 MB")
        text = decode(path.read_bytes(), str(path))
        found = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=lambda name: name)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "give a readable file") from None
    except (ValueError, RecursionError) as error:
        cause, fix = f"is no JSON ({str(error).partition(':')[0]})", 'write {"prediction": "A"}'
        raise _unreadable(path, cause, fix) from None
    records = found if isinstance(found, list) else [found]
    if not records or not all(isinstance(record, dict) for record in records):
        raise _unreadable(path, "holds no mapping", 'write {"prediction": "A"}, or a list of such mappings')
    return records


def gathered(folder: Path, pattern: str, item_column: str, cases: Sequence[str], findings: list[Finding]) -> Sheet:
    """Return one table of the files that a folder has for each question, as containers write them.

    The name of the file says which question it answers, whatever the file itself says: a container knows no other name
    than the one it was shown.

    Parameters
    ----------
    pattern : str
        Name of the files, with ``{case}``.
    findings : list of Finding
        Gets files that cannot be read.

    Raises
    ------
    UsageError
        If there is none at all.
    """
    records: list[tuple[int, dict[str, Any]]] = []
    for number, case in enumerate(cases, start=1):
        path = folder / pattern.replace("{case}", case)
        if not path.is_file():
            continue
        try:
            if path.suffix.lower() == ".json":
                own: Sequence[Mapping[str, Any]] = documents(path)
            else:
                own = read_records(path, findings).rows
        except UsageError as error:
            findings += error.findings
            continue
        records += [(number, {**record, item_column: case}) for record in own]
    if not records:
        cause, fix = f"no file {pattern} of any question", "write one file per question"
        raise UsageError(Finding(AnswerCode.NO_FILE, str(folder), cause, fix))
    return _records(folder, records)


def true_records(place: Path, name: str, *columns: str) -> tuple[Path, Sheet, list[Finding]]:
    """Read the references, whose first column named here tells the cases.

    Returns
    -------
    (path, sheet, findings)
        Where the table is, what it holds, and which of its lines are no record.

    Raises
    ------
    UsageError
        If it cannot be read, a column is missing, or a name holds a control character.
    """
    path = find_records(place, name)
    wrong: list[Finding] = []
    sheet = read_records(path, wrong)
    sheet.refuse_control_characters(sheet.need(*columns)[:1])
    return path, sheet, wrong


def given_records(
    place: Path, pattern: str, item_column: str, cases: Sequence[str], findings: list[Finding]
) -> tuple[Path, Sheet]:
    """Read what a team handed in: its table, or its files per case; return where that is, too.

    Parameters
    ----------
    pattern : str
        Name of the table, or of the files, with ``{case}``.
    item_column : str
        Column with the names of the cases.
    findings : list of Finding
        Gets lines and files that cannot be read.

    Raises
    ------
    UsageError
        If nothing of it can be read.
    """
    if "{case}" in pattern and place.is_dir():
        return place, gathered(place, pattern, item_column, cases, findings)
    path = find_records(place, pattern)
    return path, read_records(path, findings)


def _records(path: Path, records: Sequence[tuple[int, Mapping[str, Any]]]) -> Sheet:
    columns = list(dict.fromkeys(trimmed(name) for _, record in records for name in record))
    keyed = [{trimmed(name): value for name, value in record.items()} for _, record in records]
    cells = [[cell_text(record.get(name)) for name in columns] for record in keyed]
    return Sheet(str(path), columns, cells, [number for number, _ in records], "\n")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a record that says two things under one name: readers disagree on which one counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"{name!r} twice in a record")
        found[name] = value
    return found


def cell_text(value: Any) -> str:
    """Return a JSON value as a cell of text; nothing for null, JSON for lists and mappings."""
    if value is None:
        return ""
    if isinstance(value, str):
        return trimmed(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if value != value else repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)


def _parquet(path: Path) -> Sheet:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > MAX_UNPACKED:
                raise _unreadable(path, f"unpacks to more than {MAX_UNPACKED} bytes", "give a smaller table")
            table = file.read()
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, str(error).split("\n")[0], "write it again, or as CSV") from None
    if not table.num_rows:
        raise UsageError(Finding(RowsCode.NO_ROWS, str(path), "no row", "give at least one row"))
    columns = [trimmed(str(name)) for name in table.column_names]
    if len(set(columns)) < len(columns):
        raise UsageError(Finding(RowsCode.COLUMN_TWICE, str(path), "a column occurs twice", "rename one of them"))
    values = [[cell_text(value) for value in column.to_pylist()] for column in table.columns]
    rows = [list(row) for row in zip(*values, strict=True)]
    return Sheet(str(path), columns, rows, list(range(1, len(rows) + 1)), "")


def _unreadable(path: Path, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(RowsCode.UNREADABLE, str(path), cause, fix))
