"""Whether a prediction is usable, and if it overlaps badly, whether there is a simple reason.

Everything wrong is collected, nothing stops at the first problem: a participant mends all of it in one go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medpodium.findings import Finding, MedpodiumError
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
from medpodium.scoring.kinds.segmentation.matching import find_repeated, match_files, match_structure_files
from medpodium.scoring.masks.codes import MaskCode, finding, warning
from medpodium.scoring.masks.geometry import DEFAULT_TOLERANCE, GeometryTolerance, compare_geometry
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ReadLimits
from medpodium.scoring.masks.labels import LabelArray
from medpodium.scoring.masks.reader import Mask, read_geometry, read_mask
from medpodium.scoring.measures.boxes import foreground_box

__all__ = [
    "check_files",
    "check_labels",
    "check_prediction",
    "find_repeated",
    "match_files",
    "match_structure_files",
]

_FIXES = {
    MaskCode.LOOKS_FLIPPED: "undo the flip before saving, and save with the input image's header",
    MaskCode.LOOKS_TRANSPOSED: "transpose before saving (numpy arrays from SimpleITK are z, y, x; nibabel's x, y, z)",
    MaskCode.LOOKS_RELABELLED: "map your labels to the challenge's before saving",
    MaskCode.LOOKS_SHIFTED: "undo the crop, pad or resampling offset before saving",
}


def check_files(
    reference: Path,
    prediction: Path,
    labels: Mapping[int, str],
    *,
    tolerance: GeometryTolerance = DEFAULT_TOLERANCE,
    reference_limits: ReadLimits = DEFAULT_LIMITS,
    prediction_limits: ReadLimits = DEFAULT_LIMITS,
) -> list[Finding]:
    """Read a reference and a prediction and return everything that is wrong with the pair.

    Parameters
    ----------
    reference, prediction : Path
        Mask files.
    labels : mapping of int to str
        Every label the challenge defines, with its name (0, the background, need not be listed).
    tolerance : GeometryTolerance
        How far the grids may differ.
    reference_limits, prediction_limits : ReadLimits
        How much of each file is read at most.
    """
    findings: list[Finding] = []
    masks: list[Mask] = []
    for path, limits in ((reference, reference_limits), (prediction, prediction_limits)):
        try:
            if masks and sorted(read_geometry(path, limits=limits).shape_zyx) != sorted(masks[0].geometry.shape_zyx):
                # Nothing can be said about overlap, so a volume of any size costs no more than its header.
                grid = read_geometry(path, limits=limits)
                findings += compare_geometry(masks[0].geometry, grid, tolerance, str(path))
                continue
            masks.append(read_mask(path, limits=limits))
            findings += masks[-1].findings
        except MedpodiumError as error:
            findings += error.findings
    if len(masks) == 2:
        findings += check_prediction(masks[0], masks[1], labels, where=str(prediction), tolerance=tolerance)
    return findings


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
    if not prediction.array.any():
        if reference.array.any():
            cause = "holds no label at all, the reference does"
            findings.append(warning(MaskCode.PREDICTION_EMPTY, where, cause, "check that the method ran on this case"))
        return findings
    if reference.array.any():
        findings += _check_overlap(reference.array, prediction.array, labels, where)
    return findings


def check_labels(array: LabelArray, labels: Mapping[int, str], where: str) -> list[Finding]:
    """Return findings about labels that the challenge does not define.

    Labels above 255 that an 8-bit cast would turn into a defined label (256 into background) are named apart:
    several evaluation scripts make that cast silently.
    """
    unknown = {label: count for label, count in label_counts(array).items() if label and label not in labels}
    wrapping = {label: count for label, count in unknown.items() if label > 255}
    findings = []
    if wrapping:
        shown = ", ".join(f"{label} ({count} voxels, would become {label % 256})" for label, count in _some(wrapping))
        fix = "save only the challenge's labels; nothing is wrapped here, other evaluators cast to 8 bits"
        findings.append(finding(MaskCode.LABEL_WRAPS, where, f"holds labels above 255: {shown}", fix))
    plain = {label: count for label, count in unknown.items() if label <= 255}
    if plain:
        shown = ", ".join(f"{label} ({count} voxels)" for label, count in _some(plain))
        shown += f" and {len(plain) - 10} more" if len(plain) > 10 else ""
        known = ", ".join(f"{label} {name}" for label, name in sorted(labels.items()))
        cause = f"holds labels the challenge does not define: {shown}"
        findings.append(finding(MaskCode.LABEL_UNKNOWN, where, cause, f"use 0 for background and {known}"))
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
