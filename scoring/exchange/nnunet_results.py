"""Read what nnU-Net leaves: ``summary.json`` of its evaluation as a score table, and raw data sets as references.

nnU-Net's Dice is 2TP / (2TP + FP + FN); where reference and prediction are both empty it writes NaN, which becomes a
skipped value with the status ``empty-reference`` here, never a zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table
from medpodium.scoring.kinds.segmentation.tasks import tasks_of

if TYPE_CHECKING:
    import pandas as pd

METRICS = {"Dice": "dice", "IoU": "iou"}
"""nnU-Net's metric to ours."""
MAX_BYTES = 500_000_000


class ResultCode(Code):
    """What can be wrong with results of nnU-Net."""

    UNREADABLE = "nnunet-summary-unreadable"
    UNKNOWN_LABEL = "nnunet-label-unknown"
    COUNTS = "nnunet-counts-disagree"
    NO_DATASET = "nnunet-dataset-invalid"


def read_summary(
    path: Path,
    submission: str,
    *,
    challenge: Challenge | None = None,
    task: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read the per-case metrics of a ``summary.json``.

    Parameters
    ----------
    path : Path
        Written by nnU-Net's evaluation.
    submission : str
        Whose results they are.
    challenge : Challenge, optional
        Gives the structures' names by their labels or unions; labels keep nnU-Net's keys when left out.
    task : str, optional
        Task of the challenge; its first segmentation task when left out.
    labels : mapping of str to str, optional
        nnU-Net's key (``"1"``, ``"(1, 2)"``) to structure name, before the challenge's own; needed where label
        values were renumbered for nnU-Net.

    Returns
    -------
    (scores, findings)
        Metrics ``dice`` and ``iou`` per case and structure. Values that disagree with the counts beside them, and
        labels that the challenge does not know, are findings.

    Raises
    ------
    UsageError
        If the file is no summary of nnU-Net.
    """
    rows = _cases(path)
    name, names = _structures(challenge, task)
    names |= dict(labels or {})
    findings: list[Finding] = []
    found: list[dict[str, object]] = []
    unknown: set[str] = set()
    for row in rows:
        case = _case_name(row)
        for key, metrics in row["metrics"].items():
            structure = names.get(_key(key)) if challenge is not None or labels else _key(key)
            if structure is None:
                unknown.add(key)
                continue
            for theirs, ours in METRICS.items():
                value, status = _value(metrics, theirs, f"{case}, label {key}", findings)
                cell = {"submission": submission, "case": case, "structure": structure, "metric": ours}
                found.append({**cell, "value": value, "status": status})
    for key in sorted(unknown):
        fix = f"labels of the task: {', '.join(sorted(names))}; its values are left out"
        findings.append(
            Finding(ResultCode.UNKNOWN_LABEL, path.name, f"label {key} is no structure", fix, Severity.WARNING)
        )
    import pandas as pd

    frame = pd.DataFrame(found, columns=["submission", "case", "structure", "metric", "value", "status"])
    frame = frame.assign(
        challenge=challenge.name if challenge else "nnunet", edition=challenge.edition if challenge else "", task=name
    )
    return frame[list(table.COLUMNS)], findings


def _cases(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        rows = json.loads(path.read_text(encoding="utf-8"))["metric_per_case"]
        if not rows or not all(isinstance(row["metrics"], dict) for row in rows):
            raise ValueError("no cases")
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "give the summary.json of nnU-Net v2's evaluation, with metric_per_case"
        raise UsageError(Finding(ResultCode.UNREADABLE, str(path), f"{type(error).__name__}: {error}", fix)) from None
    return list(rows)


def _case_name(row: Mapping[str, Any]) -> str:
    name = PurePath(str(row.get("prediction_file") or row.get("reference_file") or "").replace("\\", "/")).name
    for ending in (".nii.gz", ".nii", ".mha", ".nrrd", ".gipl"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _key(text: str) -> str:
    """Write ``(2, 1)``, ``[1,2]`` and ``1`` in one way: a region is a set of labels, whatever their order.

    nnU-Net keeps the order of ``dataset.json``, which need not be ascending.
    """
    parts = {part.strip(" ()[]'\"") for part in str(text).split(",")} - {""}
    return ",".join(sorted(parts, key=lambda part: (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)))


def _structures(challenge: Challenge | None, task: str | None) -> tuple[str, dict[str, str]]:
    if challenge is None:
        return task or "segmentation", {}
    known = tasks_of(challenge)
    chosen = task or next(iter(known), "")
    if chosen not in known:
        fix = f"segmentation tasks: {', '.join(known) or 'none'}"
        raise UsageError(Finding(ResultCode.NO_DATASET, challenge.reference, f"no segmentation task {chosen!r}", fix))
    structures = known[chosen].structures
    return chosen, {",".join(map(str, sorted(item.labels))): name for name, item in structures.items()}


def _value(metrics: Mapping[str, Any], name: str, where: str, findings: list[Finding]) -> tuple[float, str]:
    raw = metrics.get(name)
    value = math.nan if raw is None else float(raw)
    counts = [metrics.get(key) for key in ("TP", "FP", "FN")]
    if any(count is None for count in counts):
        return value, table.OK if not math.isnan(value) else table.MISSING
    tp, fp, fn = (float(count or 0) for count in counts)
    if tp + fp + fn == 0:
        return math.nan, table.EMPTY_REFERENCE
    expected = 2 * tp / (2 * tp + fp + fn) if name == "Dice" else tp / (tp + fp + fn)
    if math.isnan(value) or abs(value - expected) > 1e-6:
        fix = "evaluate again; the value from the counts is used"
        text = f"{name} {value:g}, but the counts give {expected:g}"
        findings.append(Finding(ResultCode.COUNTS, where, text, fix, Severity.WARNING))
        return expected, table.OK
    return value, table.OK


def references_of(folder: Path) -> Path:
    """Return the folder of label maps of a raw data set (``labelsTs`` before ``labelsTr``).

    Raises
    ------
    UsageError
        If the folder is no raw data set of nnU-Net.
    """
    for name in ("labelsTs", "labelsTr"):
        if (folder / "dataset.json").is_file() and any(not is_hidden(path.name) for path in (folder / name).glob("*")):
            return folder / name
    fix = "give a folder DatasetXXX_Name with dataset.json and labelsTr or labelsTs"
    raise UsageError(Finding(ResultCode.NO_DATASET, str(folder), "no raw data set of nnU-Net", fix))
