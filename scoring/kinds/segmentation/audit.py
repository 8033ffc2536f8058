"""Score again with other people's libraries and say how far the numbers are apart.

Only libraries that compute the very same definition are asked: surface-distance for ``surfel-area`` metrics and the
area-weighted percentile, MedPy for ``border-voxel`` distances and the pooled percentile, nnU-Net's formula for Dice
and IoU (its own evaluator where nnunetv2 is installed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.structure import PercentileMetric, StructureMetric
from medpodium.scoring import table
from medpodium.scoring.kinds.segmentation.casefiles import matched_files
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Comparison
from medpodium.scoring.kinds.segmentation.tasks import task_of
from medpodium.scoring.kinds.segmentation.volumes import read_volume

Binary = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]
Other = Callable[[Binary, Binary, Spacing, MetricSpec, float | None], float]


def audit_segmentation(
    challenge: Challenge, scores: pd.DataFrame, references: Path, predictions: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Recompute every computed score with a reference library.

    Parameters
    ----------
    challenge : Challenge
        The rules the scores were computed by.
    scores : pandas.DataFrame
        Score table; only rows with status ``ok`` are checked (the others are policy, not measurement).
    references : Path
        Folder of references.
    predictions : mapping of str to Path
        Folder of predictions of every submission.

    Returns
    -------
    list of dict
        One row per metric and library: number of scores compared, largest absolute and relative difference and
        where it is; metrics that no library computes are listed with zero comparisons.
    """
    task_name = str(scores["task"].iloc[0])
    task = task_of(challenge, task_name)
    rows = {
        name: {"metric": name, "library": _library(spec), "compared": 0, "max_abs": 0.0, "max_rel": 0.0, "where": ""}
        for name, spec in task.metrics.items()
        if isinstance(spec, StructureMetric)
    }
    computed = scores[scores["status"] == table.OK]
    cases = list(dict.fromkeys(computed["case"]))
    files = {name: matched_files(task, folder, cases, reference=False) for name, folder in predictions.items()}
    known = matched_files(task, references, cases, reference=True)
    for (case, submission), part in computed.groupby(["case", "submission"], sort=False):
        if case not in known or case not in files.get(str(submission), {}):
            continue
        measures = CaseMeasures(read_volume(known[str(case)], task), task)
        pair = measures.against(read_volume(files[str(submission)][str(case)], task))
        for structure, metric, value in zip(part["structure"], part["metric"], part["value"], strict=True):
            if metric in rows and rows[metric]["library"]:
                theirs = _recompute(task, metric, structure, measures, pair)
                _note(rows[metric], float(value), theirs, f"{submission}/{case}/{structure}")
    return list(rows.values())


def _note(row: dict[str, Any], ours: float, theirs: float, where: str) -> None:
    if math.isnan(theirs):
        return
    row["compared"] += 1
    difference = abs(ours - theirs)
    if difference > row["max_abs"]:
        row |= {"max_abs": difference, "where": where}
    row["max_rel"] = max(row["max_rel"], difference / max(abs(theirs), 1e-12))


def _recompute(task: SegmentationTask, metric: str, structure: str, measures: CaseMeasures, pair: Comparison) -> float:
    spec = task.metrics[metric]
    tolerance = task.tolerance_of(spec, structure)
    reference, predicted = pair.binaries(structure)
    # The libraries are fed as nibabel would: axes x, y, z.
    spacing = measures.reference.geometry.spacing_xyz
    arrays = (np.ascontiguousarray(reference.T > 0), np.ascontiguousarray(predicted.T > 0))
    value = _OTHERS[_library(spec)](*arrays, spacing, spec, tolerance)
    return value if spec.decimals is None else round(value, spec.decimals)


def _library(spec: MetricSpec) -> str:
    """Name the library that computes this metric by the same definition; empty where none does."""
    if spec.kind in ("dice", "iou"):
        return "nnU-Net"
    if spec.kind in ("nsd", "hd", "assd", "masd") and spec.definition_id == "surfel-area":
        return "surface-distance"
    if isinstance(spec, PercentileMetric) and spec.definition == "directed-max-area-weighted":
        return "surface-distance"
    if spec.kind in ("hd", "assd") and spec.definition_id == "border-voxel":
        return "MedPy"
    if isinstance(spec, PercentileMetric) and spec.definition == "pooled" and spec.percentile == 95:
        return "MedPy"
    return ""


def _surface_distance(
    reference: Binary,
    prediction: Binary,
    spacing: tuple[float, float, float],
    spec: MetricSpec,
    tolerance: float | None,
) -> float:
    import surface_distance

    found = surface_distance.compute_surface_distances(reference, prediction, spacing)
    if spec.kind == "nsd":
        return float(surface_distance.compute_surface_dice_at_tolerance(found, tolerance))
    if isinstance(spec, PercentileMetric):
        return float(surface_distance.compute_robust_hausdorff(found, spec.percentile))
    if spec.kind == "hd":
        return float(surface_distance.compute_robust_hausdorff(found, 100))
    first, second = surface_distance.compute_average_surface_distance(found)
    if spec.kind == "masd":
        return float((first + second) / 2)
    areas = (np.sum(found["surfel_areas_gt"]), np.sum(found["surfel_areas_pred"]))
    return float((first * areas[0] + second * areas[1]) / sum(areas))


def _medpy(reference: Binary, prediction: Binary, spacing: Spacing, spec: MetricSpec, _: float | None) -> float:
    from medpy.metric import binary

    function = {"hd": binary.hd, "assd": binary.assd, "hd_percentile": binary.hd95}[spec.kind]
    return float(function(prediction, reference, voxelspacing=spacing))


def _nnunet(
    reference: Binary, prediction: Binary, _spacing: Spacing, spec: MetricSpec, _tolerance: float | None
) -> float:
    try:
        from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn
    except ImportError:
        both, either = int((reference & prediction).sum()), int(reference.sum()) + int(prediction.sum())
        return 2 * both / either if spec.kind == "dice" else both / (either - both)
    tp, fp, fn, _tn = compute_tp_fp_fn_tn(reference, prediction, None)
    return float(2 * tp / (2 * tp + fp + fn) if spec.kind == "dice" else tp / (tp + fp + fn))


_OTHERS: dict[str, Other] = {"surface-distance": _surface_distance, "MedPy": _medpy, "nnU-Net": _nnunet}
