"""nnU-Net's evaluation of a folder: same arguments, and the ``summary.json`` that nnU-Net writes, byte for byte.

::

    from medpodium.compat.nnunet import compute_metrics_on_folder

    compute_metrics_on_folder("labelsTs", "predictions", "summary.json", None, ".nii.gz", [1, 2, (1, 2)])

It needs neither nnU-Net nor torch; files are read by this package's reader, which refuses what is no label map. A
label map on another grid is refused, where nnU-Net compares voxels that do not belong together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.findings import has_errors
from medpodium.scoring.masks.codes import MaskError
from medpodium.scoring.masks.geometry import compare_geometry
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.reader import Mask, read_mask
from medpodium.scoring.measures.pair import ReferenceCase

__all__ = ["compute_metrics", "compute_metrics_on_folder"]

Region: TypeAlias = int | tuple[int, ...]
"""A label, or the labels whose union is a region."""
Row: TypeAlias = dict[str, float]


def compute_metrics(
    reference_file: str,
    prediction_file: str,
    image_reader_writer: object,  # noqa: ARG001 - one signature with nnU-Net's
    labels_or_regions: Sequence[Region],
    ignore_label: int | None = None,
) -> dict[str, Any]:
    """Compare a prediction with its reference.

    Parameters
    ----------
    reference_file, prediction_file : str
        Label maps of any format that is read here.
    image_reader_writer : object
        Not used; nnU-Net's reader.
    labels_or_regions : sequence of int or tuple of int
        What is compared.
    ignore_label : int, optional
        Voxels of the reference that count nowhere.

    Returns
    -------
    dict
        ``reference_file``, ``prediction_file`` and ``metrics``: per label or region Dice, IoU, FP, TP, FN, TN, n_pred
        and n_ref. Dice and IoU are NaN where both masks are empty.

    Raises
    ------
    MaskError
        If a file cannot be used, or both are on different grids.
    """
    reference = read_mask(reference_file, limits=OWN_FILES)
    prediction = read_mask(prediction_file, limits=OWN_FILES)
    differences = compare_geometry(reference.geometry, prediction.geometry, where=prediction_file)
    if has_errors(differences):
        raise MaskError(*differences)
    counts, place = _joint(reference, prediction, labels_or_regions, ignore_label)
    found = {}
    for region in labels_or_regions:
        own = [place[label] for label in _labels(region)]
        tp = int(counts[np.ix_(own, own)].sum())
        fp, fn = int(counts[:, own].sum()) - tp, int(counts[own].sum()) - tp
        some = tp + fp + fn
        found[region] = {
            "Dice": 2 * tp / (2 * tp + fp + fn) if some else math.nan,
            "IoU": tp / some if some else math.nan,
            "FP": fp,
            "TP": tp,
            "FN": fn,
            "TN": int(counts.sum()) - some,
            "n_pred": fp + tp,
            "n_ref": fn + tp,
        }
    return {"reference_file": reference_file, "prediction_file": prediction_file, "metrics": found}


def compute_metrics_on_folder(
    folder_ref: str,
    folder_pred: str,
    output_file: str | None,
    image_reader_writer: object,
    file_ending: str,
    regions_or_labels: Sequence[Region],
    ignore_label: int | None = None,
    num_processes: int = 8,
    chill: bool = True,
) -> dict[str, Any]:
    """Compare every prediction of a folder with the reference of the same name, and write ``summary.json``.

    As in nnU-Net a reference without a prediction is left out and counts nowhere, unless ``chill`` is false; a
    challenge would not do that (``docs/metrics.md``).

    Parameters
    ----------
    folder_ref, folder_pred : str
        Folders.
    output_file : str, optional
        Where to write; ``None`` for nowhere.
    image_reader_writer : object
        Not used; nnU-Net's reader.
    file_ending : str
        Files that end so are compared.
    regions_or_labels, ignore_label
        As :func:`compute_metrics`.
    num_processes : int
        Number of threads.
    chill : bool
        Whether references may lack a prediction.

    Returns
    -------
    dict
        ``metric_per_case``, ``mean`` and ``foreground_mean``, keyed by labels and regions.

    Raises
    ------
    AssertionError
        If a reference lacks its prediction and ``chill`` is false, or the output is no ``.json``.
    MaskError
        As :func:`compute_metrics`.
    """
    if output_file is not None and not output_file.endswith(".json"):
        raise AssertionError(f"output_file is {output_file!r} and should end with .json")
    names = _files(folder_pred, file_ending)
    lost = [name for name in _files(folder_ref, file_ending) if not (Path(folder_pred) / name).is_file()]
    if lost and not chill:
        raise AssertionError(f"{len(lost)} files of folder_ref are not in folder_pred (first {lost[0]})")

    def compared(name: str) -> dict[str, Any]:
        return compute_metrics(
            _join(folder_ref, name), _join(folder_pred, name), image_reader_writer, regions_or_labels, ignore_label
        )

    with ThreadPoolExecutor(num_processes) as pool:
        cases = list(pool.map(compared, names))
    metrics = list(cases[0]["metrics"][regions_or_labels[0]])
    means: dict[Region, Row] = {
        region: {name: float(np.nanmean([case["metrics"][region][name] for case in cases])) for name in metrics}
        for region in regions_or_labels
    }
    foreground = {name: float(np.mean([own[name] for region, own in means.items() if region != 0])) for name in metrics}
    result = {"metric_per_case": cases, "mean": means, "foreground_mean": foreground}
    if output_file is not None:
        _write(result, Path(output_file))
    return result


def _joint(
    reference: Mask, prediction: Mask, regions: Sequence[Region], ignore_label: int | None
) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
    """Return the voxels by reference's and prediction's label, and the row of each label; what is ignored is 0."""
    asked = {label for region in regions for label in _labels(region)}
    known = frozenset(label for label in (*asked, *([] if ignore_label is None else [ignore_label])) if label > 0)
    # Labels of one structure would be counted together.
    alone = [frozenset({label}) for label in sorted(known)] or [frozenset({1})]
    case = ReferenceCase(reference.array, reference.geometry.spacing_zyx, alone, rows=reference.rows)
    counts = case.compare(prediction.array, prediction.rows).confusion.copy()
    place = {label: int(case.index_of[label]) for label in {*asked, *known, 0}}
    if ignore_label is not None:
        counts[place[ignore_label]] = 0
    return counts, place


def _labels(region: Region) -> list[int]:
    return sorted({int(label) for label in region}) if isinstance(region, Iterable) else [int(region)]


def _files(folder: str, ending: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file() and path.name.endswith(ending))


def _join(folder: str, name: str) -> str:
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def _write(result: dict[str, Any], path: Path) -> None:
    """Write the summary as nnU-Net does: regions as the text of their tuple, keys sorted, NaN as it is."""
    told = {
        **result,
        "mean": {str(region): row for region, row in result["mean"].items()},
        "metric_per_case": [
            {**case, "metrics": {str(region): row for region, row in case["metrics"].items()}}
            for case in result["metric_per_case"]
        ],
    }
    path.write_text(json.dumps(told, sort_keys=True, indent=4), encoding="utf-8")
