"""Score again with other people's libraries, from the files on: they read them, and they compute.

Every file is read by SimpleITK, and a NIfTI file by nibabel, too, where it is installed. What they make of spacing,
volume of a voxel and labels is compared with what was measured here, so that a fault of reading shows. Scores are then
computed from *their* arrays and spacing. Only libraries that compute the very same definition are asked:
surface-distance for ``surfel-area`` metrics and the area-weighted percentile, MedPy for ``border-voxel`` distances and
the pooled percentile, nnU-Net's formula for Dice and IoU (its own evaluator where nnunetv2 is installed).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.metrics.surfaces import PercentileMetric
from medpodium.findings import MedpodiumError
from medpodium.scoring import table
from medpodium.scoring.kinds.segmentation.casefiles import matched_files
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Comparison, Volume
from medpodium.scoring.kinds.segmentation.plane import as_measured
from medpodium.scoring.kinds.segmentation.tasks import task_of
from medpodium.scoring.kinds.segmentation.volumes import MaskFiles, read_volume
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.named import names_segments
from medpodium.scoring.measures.surfaces.metrics import reached, tolerant

Binary = npt.NDArray[np.bool_]
Spacing = tuple[float, ...]
Other = Callable[[Binary, Binary, Spacing, MetricSpec, float | None], float]
Reader = Callable[[Path], "Reading"]
Row = dict[str, Any]

SPACING, VOXEL, LABELS, REFUSED = "(spacing, mm)", "(volume of a voxel, ml)", "(voxels per label)", "(files refused)"
_ROUNDING = 1e-6  # what float32 entries of an affine cost its determinant


@dataclass(frozen=True, eq=False)
class Reading:
    """What a library makes of a mask file.

    Parameters
    ----------
    labels : ndarray of uint16, shape (z, y, x)
        Labels; one slice for a plane.
    geometry : Geometry
        Only shape, spacing and what makes up the volume of a voxel are the library's.
    """

    labels: npt.NDArray[np.uint16]
    geometry: Geometry


def audit_segmentation(
    challenge: Challenge, scores: pd.DataFrame, references: Path, predictions: Mapping[str, Path]
) -> list[Row]:
    """Read every file and recompute every computed score with reference libraries.

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
        One row per metric and reader, after one row per reader for spacing, volume of a voxel and voxels per label:
        ``metric``, ``library`` (that computed it), ``reader`` (that read the files), number of values ``compared``,
        largest absolute and relative difference and ``where`` it is. Metrics that no library computes are listed with
        zero comparisons, and files that a reader refuses with the first reason.
    """
    task = task_of(challenge, str(scores["task"].iloc[0]))
    metrics = {name: spec for name, spec in task.metrics.items() if isinstance(spec, StructureMetric)}
    tally = _Tally({name: _library(spec) for name, spec in metrics.items()})
    computed = scores[scores["status"] == table.OK]
    cases = list(dict.fromkeys(computed["case"]))
    files = {name: matched_files(task, folder, cases, reference=False) for name, folder in predictions.items()}
    known = matched_files(task, references, cases, reference=True)
    for case in cases:
        if case not in known:
            continue
        of_case = computed[computed["case"] == case]
        truth = _read(task, known[case], f"reference of {case}", tally)
        truth = {reader: as_measured(task, volume, str(case)) for reader, volume in truth.items()}
        measures = {reader: CaseMeasures(volume, task) for reader, volume in truth.items()}
        for submission in dict.fromkeys(of_case["submission"]):
            part = of_case[of_case["submission"] == submission]
            own = files.get(submission, {}).get(case)
            if own is None:
                continue
            for reader, volume in _read(task, own, f"{submission}/{case}", tally).items():
                if reader not in measures or volume.geometry.shape_zyx != truth[reader].geometry.shape_zyx:
                    continue  # refused by the reader, or a score by policy
                pair = measures[reader].against(volume)
                for structure, metric, value in zip(part["structure"], part["metric"], part["value"], strict=True):
                    if tally.libraries.get(metric):
                        theirs = _recompute(task, metric, structure, truth[reader], pair)
                        tally.note(metric, reader, float(value), theirs, f"{submission}/{case}/{structure}")
    return tally.rows()


class _Tally:
    """Largest differences, by what was compared and who read the files."""

    def __init__(self, libraries: Mapping[str, str]) -> None:
        self.libraries = dict(libraries)
        self._rows: dict[tuple[str, str], Row] = {}

    def _row(self, metric: str, reader: str) -> Row:
        fresh: Row = {"metric": metric, "library": self.libraries.get(metric, ""), "reader": reader}
        fresh |= {"compared": 0, "max_abs": 0.0, "max_rel": 0.0, "where": ""}
        return self._rows.setdefault((metric, reader), fresh)

    def note(self, metric: str, reader: str, ours: float, theirs: float, where: str) -> None:
        """Count a pair of numbers; one that a library cannot compute (nan) is not counted."""
        if math.isnan(theirs):
            return
        row = self._row(metric, reader)
        row["compared"] += 1
        difference = abs(ours - theirs)
        if difference > row["max_abs"]:
            row |= {"max_abs": difference, "where": where}
        row["max_rel"] = max(row["max_rel"], difference / max(abs(theirs), 1e-12))

    def refuse(self, reader: str, where: str, error: Exception) -> None:
        """Count a file that a reader refuses."""
        row = self._row(REFUSED, reader)
        row["compared"] += 1
        row["where"] = row["where"] or f"{where}: {' '.join(str(error).split())[-160:]}"

    def rows(self) -> list[Row]:
        """Return everything, reading first, in the order of the challenge."""
        order = [REFUSED, SPACING, VOXEL, LABELS, *self.libraries]
        for metric in self.libraries:
            if not any(known == metric for known, _ in self._rows):
                self._row(metric, "")
        return sorted(self._rows.values(), key=lambda row: (order.index(row["metric"]), row["reader"] == "nibabel"))


def _read(task: SegmentationTask, files: MaskFiles, where: str, tally: _Tally) -> dict[str, Volume]:
    """Have every reader read a case, compare it with our own reading, and return what they make of it."""
    paths = {"": files} if isinstance(files, Path) else dict(files)
    try:
        ours = read_volume(files, task, OWN_FILES)
    except MedpodiumError:  # replaced since it was scored
        return {}
    found: dict[str, Volume] = {}
    for name, reader in _readers(paths):
        readings: dict[str, Reading] = {}
        for structure, path in paths.items():
            try:
                readings[structure] = reader(path)
            except Exception as error:  # whatever a library raises for a file it does not take
                tally.refuse(name, where if isinstance(files, Path) else f"{where}/{structure}", error)
        if len(readings) == len(paths):
            volume = _volume(readings)
            # A picture has no spacing, whatever resolution a library reads in it.
            found[name] = replace(volume, geometry=replace(volume.geometry, spaced=ours.geometry.spaced))
            _compare(task, name, ours, volume, where, tally)
    return found


def _readers(paths: Mapping[str, Path]) -> Iterator[tuple[str, Reader]]:
    yield "SimpleITK", _by_simpleitk
    if importlib.util.find_spec("nibabel") and all(
        path.name.lower().endswith((".nii", ".nii.gz")) for path in paths.values()
    ):
        yield "nibabel", _by_nibabel


def _volume(readings: Mapping[str, Reading]) -> Volume:
    first = next(iter(readings.values()))
    if "" in readings:
        return Volume(first.labels, first.geometry)
    single = {name: (reading.labels > 0).astype(np.uint8) for name, reading in readings.items()}
    return Volume(None, first.geometry, single=single)


def _compare(task: SegmentationTask, reader: str, ours: Volume, theirs: Volume, where: str, tally: _Tally) -> None:
    planar = theirs.geometry.planar
    for axis, (here, there) in enumerate(zip(ours.geometry.spacing_zyx, theirs.geometry.spacing_zyx, strict=True)):
        if ours.geometry.spaced and (axis or not planar):
            tally.note(SPACING, reader, here, there, f"{where}, {'zyx'[axis]}")
    if not planar:
        tally.note(VOXEL, reader, ours.geometry.voxel_ml, theirs.geometry.voxel_ml, where)
    for name, item in task.structures.items():
        if item.label is not None and ours.lost(task, name) is None:
            counts = [int(np.count_nonzero(volume.binary(task, name))) for volume in (ours, theirs)]
            tally.note(LABELS, reader, counts[0], counts[1], f"{where}, {name}")


def _by_simpleitk(path: Path) -> Reading:
    import SimpleITK

    if names_segments(path):
        raise ValueError("segments have names, and SimpleITK reads numbers")
    image: Any = SimpleITK.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{image.GetNumberOfComponentsPerPixel()} values per voxel")
    dims = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dims, dims))
    return _reading(SimpleITK.GetArrayFromImage(image), image.GetSpacing(), direction)


def _by_nibabel(path: Path) -> Reading:
    import nibabel

    image: Any = nibabel.load(path)
    directions = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    return _reading(np.asarray(image.dataobj).T, image.header.get_zooms(), directions)


def _reading(voxels: npt.NDArray[Any], spacing_xyz: Spacing, direction: npt.NDArray[Any]) -> Reading:
    """Return labels and grid of an image with axes (..., z, y, x) and unit columns of direction."""
    planar = voxels.ndim == 2
    labels = voxels.reshape((1, *voxels.shape)[-3:] if planar else voxels.shape[-3:])
    whole = np.rint(labels) if labels.dtype.kind == "f" else labels
    if not (np.abs(labels - whole) <= 1e-4).all() or whole.min() < 0 or whole.max() > np.iinfo(np.uint16).max:
        raise ValueError("voxels are no labels")
    x, y, z = (float(step) for step in (*spacing_xyz, 1.0)[:3])
    share = abs(float(np.linalg.det(direction[:3, :3])))
    # Only the volume is asked of this direction: axes as they are, the third one tilted where the grid is.
    tilted = np.eye(3) if planar or abs(share - 1) <= _ROUNDING else np.array(direction[:3, :3], dtype=np.float64)
    shape: Any = labels.shape
    grid = Geometry(shape, (z, y, x), (0.0, 0.0, 0.0), tilted, planar=planar)
    return Reading(np.ascontiguousarray(whole, dtype=np.uint16), grid)


def _recompute(task: SegmentationTask, metric: str, structure: str, truth: Volume, pair: Comparison) -> float:
    spec = task.metrics[metric]
    tolerance = task.tolerance_of(spec, structure)
    # The libraries are fed as nibabel would: axes x, y, z; in a plane x and y.
    spacing: Spacing = truth.geometry.spacing_xyz[:2] if truth.planar else truth.geometry.spacing_xyz
    reference, predicted = (
        np.ascontiguousarray((mask[0] if truth.planar else mask).T > 0) for mask in pair.binaries(structure)
    )
    value = _OTHERS[_library(spec)](reference, predicted, spacing, spec, tolerance)
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
    spacing: Spacing,
    spec: MetricSpec,
    tolerance: float | None,
) -> float:
    import surface_distance

    found = surface_distance.compute_surface_distances(reference, prediction, spacing)
    if spec.kind == "nsd":
        return float(surface_distance.compute_surface_dice_at_tolerance(found, tolerant(tolerance or 0.0)))
    if isinstance(spec, PercentileMetric):
        return float(surface_distance.compute_robust_hausdorff(found, reached(spec.percentile)))
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
