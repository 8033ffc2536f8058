"""Whether a prediction is usable, and if it overlaps badly, whether there is a simple reason.

Everything wrong is collected, nothing stops at the first problem: a participant mends all of it in one go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding, MedpodiumError, Severity
from medpodium.scoring.kinds.protocol import CaseJob
from medpodium.scoring.kinds.segmentation.diagnosis import (
    LOW_DICE,
    Explanation,
    dice_matrix,
    explain_axes,
    explain_labels,
    explain_shift,
    joint_counts,
    label_counts,
    own_dice,
)
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.kinds.segmentation.volumes import (
    MaskFiles,
    place_of,
    read_prediction,
    read_reference,
    read_volume,
    unknown_segments,
)
from medpodium.scoring.masks.codes import MaskCode, finding, warning
from medpodium.scoring.masks.geometry import DEFAULT_TOLERANCE, Geometry, GeometryTolerance, compare_geometry
from medpodium.scoring.masks.labels import LabelArray
from medpodium.scoring.masks.reader import Mask, read_geometry
from medpodium.scoring.masks.segments.placing import placement
from medpodium.scoring.measures.boxes import foreground_box

_SEVERITIES = {"fail": Severity.ERROR, "worst": Severity.ERROR, "ignore": Severity.WARNING}
"""What a label outside the schema is, by the task's rule: it costs the case, its overlap scores, or nothing."""

_FIXES = {
    MaskCode.LOOKS_FLIPPED: "undo the flip before saving, and save with the input image's header",
    MaskCode.LOOKS_TRANSPOSED: "transpose before saving (numpy arrays from SimpleITK are z, y, x; nibabel's x, y, z)",
    MaskCode.LOOKS_RELABELLED: "map your labels to the challenge's before saving",
    MaskCode.LOOKS_SHIFTED: "undo the crop, pad or resampling offset before saving",
}


def check_case(job: CaseJob) -> list[Finding]:
    """Return everything that is wrong with the prediction of one case, reasons for a low overlap included.

    What is an error here fails the case, or the structure, when it is scored: both read with the same functions.

    Parameters
    ----------
    job : CaseJob
        With the one prediction to be checked.
    """
    task: SegmentationTask = job.task
    (files,) = job.predictions.values()
    where = place_of(files)
    findings: list[Finding] = []
    try:
        reference = read_reference(job.reference, task)
    except MedpodiumError as error:
        return list(error.findings)
    try:
        prediction: Volume | None = read_prediction(files, task, reference.geometry, findings)
    except MedpodiumError as error:
        findings += error.findings
        prediction = _other_grid(task, files, reference.geometry)
    if prediction is None:
        return findings
    if prediction.strangers:
        wrong = unknown_segments(task, prediction.strangers, where)
        findings.append(replace(wrong, severity=_SEVERITIES[task.unknown_labels]))
    if reference.geometry.sparse:
        place = placement(prediction.geometry, reference.geometry, DEFAULT_TOLERANCE)
        if place is not None and place.inside(prediction.geometry):
            reference = reference.onto(place, prediction.geometry)
    if reference.geometry.shape_zyx == prediction.geometry.shape_zyx:
        ignored = reference.marked(task.ignore_labels)
        reference, prediction = reference.without(ignored), prediction.without(ignored)
    array = prediction.painted(task)
    findings += check_labels(array, _names(task), where, _SEVERITIES[task.unknown_labels])
    labels = {label: name for label, name in _names(task).items() if label not in _unscored(task, job.case)}
    pair = [volume.without(volume.marked(_unscored(task, job.case))) for volume in (reference, prediction)]
    return findings + check_voxels(pair[0].painted(task), pair[1].painted(task), labels, where)


def _other_grid(task: SegmentationTask, files: MaskFiles, reference: Geometry) -> Volume | None:
    """Read what lies on another grid nevertheless, if it has the reference's voxels in any order of axes.

    Otherwise nothing can be said about overlap, so a volume of any size costs no more than its header.
    """
    try:
        if not isinstance(files, Path) or sorted(read_geometry(files).shape_zyx) != sorted(reference.shape_zyx):
            return None
        return read_volume(files, task)
    except MedpodiumError:
        return None  # that it cannot be read is among the findings


def _names(task: SegmentationTask) -> dict[int, str]:
    """Return every label a prediction may have, with its name."""
    names = {label: f"label {label}" for label in task.known_labels if label}
    return names | {min(item.labels): name for name, item in task.structures.items() if item.label is not None}


def _unscored(task: SegmentationTask, case: str) -> frozenset[int]:
    """Return the labels of structures that the reference of a case is not labelled with."""
    scored = task.scored_structures(case)
    every = {name: item.labels for name, item in task.structures.items()}
    kept = frozenset[int]().union(*(labels for name, labels in every.items() if name in scored))
    return frozenset[int]().union(*every.values()) - kept


def check_prediction(
    reference: Mask,
    prediction: Mask,
    labels: Mapping[int, str],
    *,
    where: str = "prediction",
    tolerance: GeometryTolerance = DEFAULT_TOLERANCE,
) -> list[Finding]:
    """Return everything that is wrong with a prediction: grid, labels, and what would explain a low overlap.

    Parameters
    ----------
    reference, prediction : Mask
        The two label maps.
    labels : mapping of int to str
        Every label the challenge defines, with its name.
    where : str
        File or case the findings are about.
    tolerance : GeometryTolerance
        How far the grids may differ.
    """
    findings = compare_geometry(reference.geometry, prediction.geometry, tolerance, where)
    findings += check_labels(prediction.array, labels, where)
    return findings + check_voxels(reference.array, prediction.array, labels, where)


def check_voxels(reference: LabelArray, prediction: LabelArray, labels: Mapping[int, str], where: str) -> list[Finding]:
    """Return what would explain a low overlap of two label maps.

    Parameters
    ----------
    reference, prediction : ndarray of uint8 or uint16, shape (z, y, x)
        The label maps; their shapes may be permutations of each other.
    labels : mapping of int to str
        Labels that count, with their names.
    where : str
        File or case the findings are about.
    """
    if not reference.any():
        return []
    if not prediction.any():
        cause = "holds no label at all, the reference does"
        return [warning(MaskCode.PREDICTION_EMPTY, where, cause, "check that the method ran on this case")]
    return _check_overlap(reference, prediction, labels, where)


def check_labels(
    array: LabelArray, labels: Mapping[int, str], where: str, severity: Severity = Severity.ERROR
) -> list[Finding]:
    """Return findings about labels that the challenge does not define.

    Labels above 255 that an 8-bit cast would turn into a defined label (256 into background) are named apart:
    several evaluation scripts make that cast silently. As a warning, they count as background.
    """
    unknown = {label: count for label, count in label_counts(array).items() if label and label not in labels}
    wrapping = {label: count for label, count in unknown.items() if label > 255}
    findings = []
    if wrapping:
        shown = ", ".join(f"{label} ({count} voxels, would become {label % 256})" for label, count in _some(wrapping))
        fix = "save only the challenge's labels; nothing is wrapped here, other evaluators cast to 8 bits"
        findings.append(finding(MaskCode.LABEL_WRAPS, where, f"holds labels above 255: {shown}", fix, severity))
    plain = {label: count for label, count in unknown.items() if label <= 255}
    if plain:
        shown = ", ".join(f"{label} ({count} voxels)" for label, count in _some(plain))
        shown += f" and {len(plain) - 10} more" if len(plain) > 10 else ""
        known = ", ".join(f"{label} {name}" for label, name in sorted(labels.items()))
        cause = f"holds labels the challenge does not define: {shown}"
        findings.append(finding(MaskCode.LABEL_UNKNOWN, where, cause, f"use 0 for background and {known}", severity))
    return findings


def _some(counts: Mapping[int, int]) -> list[tuple[int, int]]:
    return sorted(counts.items())[:10]


def _check_overlap(
    reference: LabelArray, prediction: LabelArray, labels: Mapping[int, str], where: str
) -> list[Finding]:
    findings: list[Finding] = []
    explanations: list[Explanation | None] = []
    before = 0.0
    if reference.shape == prediction.shape:
        box = foreground_box(reference, prediction)
        ref_labels, pred_labels, counts = joint_counts(reference[box], prediction[box])
        dice = dice_matrix(counts)
        own = own_dice(ref_labels, pred_labels, dice)
        before = float(own.mean())
        missing = [int(label) for label in ref_labels[1:] if int(label) in labels and label not in pred_labels]
        if missing:
            cause = "holds no voxel of " + ", ".join(f"{label} {labels[label]}" for label in missing)
            cause += ", which the reference holds"
            fix = "check the label numbers and that the method predicts every structure"
            findings.append(warning(MaskCode.STRUCTURE_MISSING, where, cause, fix))
        explanations.append(explain_labels(ref_labels, pred_labels, dice))
        explanations.append(explain_shift(reference[box], prediction[box], before))
    if before < LOW_DICE and sorted(reference.shape) == sorted(prediction.shape):
        explanations.append(explain_axes(reference, prediction, before))
    found = [reason for reason in explanations if reason is not None]
    reasons = [reason for reason in found if reason.after >= max(other.after for other in found) - 0.1]
    for reason in reasons:
        cause = f"prediction {reason.text} (Dice {reason.before:.2f} -> {reason.after:.2f})"
        findings.append(warning(reason.code, where, cause, _FIXES[reason.code]))
    if reference.shape == prediction.shape and before < LOW_DICE / 6 and not reasons:
        cause = (
            f"hardly overlaps the reference (mean Dice {before:.3f}); no flip, axis order, shift or relabelling helps"
        )
        findings.append(
            warning(MaskCode.OVERLAP_LOW, where, cause, "look at prediction and image together in a viewer")
        )
    return findings
