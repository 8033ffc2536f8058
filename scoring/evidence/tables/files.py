"""Write an evidence folder: every table as CSV and all of it as one JSON, byte for byte the same for one seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medpodium.scoring.evidence.tables.collect import Evidence
from medpodium.scoring.evidence.tables.columns import TABLES
from medpodium.scoring.evidence.tables.text import csv_text

_LONG = 200_000
"""Tables with more rows than this are written as CSV only."""


def write_evidence(evidence: Evidence, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write every table as CSV and all of it as one ``evidence.json``; returns the files.

    Parameters
    ----------
    about : mapping
        What the ranking is about (challenge, edition, seed, ...), put at the head of the JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, tables = [], {}
    for name in TABLES:
        frame = evidence.frame(name)
        path = folder / name
        path.write_text(to_csv(frame), encoding="utf-8", newline="\n")
        files.append(path)
        if name not in ("case_ranks.csv", "kendall_tau.csv") and len(frame) <= _LONG:  # long; the CSV is enough
            tables[name.removesuffix(".csv")] = frame
    head = {**about, "findings": [finding.as_dict() for finding in evidence.findings]}
    path = folder / "evidence.json"
    path.write_text(_as_json(head, tables), encoding="utf-8", newline="\n")
    return [*files, path]


def _as_json(head: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Return one JSON object: the head, then ``tables``, one row a line.

    Written by hand, a column at a time: the encoder of the standard library is slow wherever lines are to be broken.
    """
    start = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    parts = []
    for name, frame in tables.items():
        keys = [json.dumps(str(column), ensure_ascii=False) for column in frame.columns]
        columns = [
            [f"{key}: {text}" for text in _texts(frame[own])] for key, own in zip(keys, frame.columns, strict=True)
        ]
        rows = [f"   {{{', '.join(cells)}}}" for cells in zip(*columns, strict=True)]
        inside = "\n" + ",\n".join(rows) + "\n  " if rows else ""
        parts.append(f"  {json.dumps(name)}: [{inside}]")
    return start + ',\n "tables": {\n' + ",\n".join(parts) + "\n }\n}\n"


def _texts(column: pd.Series) -> list[str]:
    """Return the values of a column as JSON; what is no finite number is null."""
    values = column.tolist()
    if pd.api.types.is_float_dtype(column):
        shown = {value: repr(value) if math.isfinite(value) else "null" for value in set(values)}
        return [shown[value] if value == value else "null" for value in values]
    known: dict[Any, str] = {}
    for value in values:
        if (type(value), value) not in known:
            known[type(value), value] = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    return [known[type(value), value] for value in values]


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV text, numbers in their shortest exact form."""
    return csv_text(frame, _shortest)


def _shortest(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
