"""Evidence that is kept as it was computed, so that a report of the same scores does not compute it again.

The CSV files of an evidence folder are for people; here every table stands in its exact types, with a digest of all
that it follows from. A table that does not come back as it was is no reason to fail: then nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.sources import source_hash
from medpodium.findings import Code, Finding, Severity
from medpodium.scoring.evidence.tables.columns import TABLES

if TYPE_CHECKING:
    from medpodium.scoring.evidence.tables.collect import Evidence, Options

FOLDER = "kept"
"""Folder inside an evidence folder."""
_HEAD = "kept.json"


def digest(
    challenge: Challenge,
    scores: pd.DataFrame,
    observations: pd.DataFrame | None,
    recipe: str | None,
    tasks: Iterable[str],
    options: Options,
) -> str:
    """Return the SHA-256 (hex) of everything that evidence follows from: data, rules, settings and program."""
    said = {
        "definition": challenge.digest,
        "recipe": recipe,
        "tasks": sorted(tasks),
        "resamples": options.n_resamples,
        "seed": options.seed,
        "compat": options.compat,
        "scheme": astuple(options.scheme),
        "program": source_hash(),
        "libraries": [np.__version__, pd.__version__],
    }
    total = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for frame in (scores, observations):
        total.update(b"none" if frame is None else json.dumps(list(map(str, frame.columns))).encode())
        if frame is not None:
            total.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return total.hexdigest()


def keep(evidence: Evidence, findings: Sequence[Finding], folder: Path, key: str) -> None:
    """Keep evidence in a folder below ``folder``; nothing, where a table does not come back as it was.

    Parameters
    ----------
    findings : sequence of Finding
        What was found while the evidence was computed.
    key : str
        Its :func:`digest`.
    """
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in TABLES:
        frame = evidence.frame(name)
        path = place / f"{name.removesuffix('.csv')}.parquet"
        try:
            frame.to_parquet(path, index=False)
            same = _read(path).equals(frame)
        except (TypeError, ValueError):  # a column of several types
            same = False
        if not same:
            shutil.rmtree(place, ignore_errors=True)
            return
    head = {"digest": key, "findings": [finding.as_dict() for finding in findings]}
    (place / _HEAD).write_text(json.dumps(head, indent=1, ensure_ascii=False), encoding="utf-8", newline="\n")


def kept(folder: Path, key: str) -> tuple[dict[str, pd.DataFrame], list[Finding]] | None:
    """Return tables (by file name) and findings that are kept in a folder, or None where they are of something else."""
    place = folder / FOLDER
    try:
        head = json.loads((place / _HEAD).read_text(encoding="utf-8"))
        if head["digest"] != key:
            return None
        tables = {name: _read(place / f"{name.removesuffix('.csv')}.parquet") for name in TABLES}
        return tables, [_finding(row) for row in head["findings"]]
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _read(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    for name in [own for own in frame if pd.api.types.is_object_dtype(frame[own])]:
        frame[name] = frame[name].where(frame[name].notna(), np.nan)
    return frame


def _finding(row: dict[str, Any]) -> Finding:
    code = next(member for room in Code.__subclasses__() for member in room if str(member) == row["code"])
    return Finding(code, row["where"], row["cause"], row["fix"], Severity(row["severity"]))
