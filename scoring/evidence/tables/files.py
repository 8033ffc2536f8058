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
        if name not in ("case_ranks.csv", "kendall_tau.csv"):  # long; the CSV is enough
            tables[name.removesuffix(".csv")] = [_strict(row) for row in frame.to_dict("records")]
    payload = {**about, "findings": [finding.as_dict() for finding in evidence.findings], "tables": tables}
    path = folder / "evidence.json"
    path.write_text(
        json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8", newline="\n"
    )
    return [*files, path]


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV text, numbers in their shortest exact form."""
    plain = frame.copy()
    for column in plain.columns:
        if pd.api.types.is_float_dtype(plain[column]):
            plain[column] = [_shortest(value) for value in plain[column]]
    return str(plain.to_csv(index=False, lineterminator="\n"))


def _shortest(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))


def _strict(row: Mapping[Any, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return {str(key): plain(value) for key, value in row.items()}
