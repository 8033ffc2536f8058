"""Overlap and volume metrics, all from three counts of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NAN = float("nan")


def voxel_mm3(spacing: Sequence[float]) -> float:
    """Return the volume of one voxel in mm³; every volume of the house comes from here.

    Parameters
    ----------
    spacing : sequence of three float
        Voxel size in mm, in any order of the axes.
    """
    first, second, third = spacing
    return float(first) * float(second) * float(third)


def voxel_ml(spacing: Sequence[float]) -> float:
    """Return the volume of one voxel in ml; see :func:`voxel_mm3`."""
    return voxel_mm3(spacing) / 1000.0


def pixel_mm2(spacing_zyx: Sequence[float]) -> float:
    """Return the area in mm² of a pixel of the plane ``(y, x)``; every area of the house comes from here."""
    _, height, width = spacing_zyx
    return float(height) * float(width)


@dataclass(frozen=True)
class Overlap:
    """How a predicted structure overlaps with its reference.

    Attributes
    ----------
    true_positive, false_positive, false_negative
        Voxels in both, only in the prediction, only in the reference.
    voxel_size
        Volume of a voxel in ml; in a plane the area of a pixel in mm².
    """

    true_positive: int
    false_positive: int
    false_negative: int
    voxel_size: float

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.true_positive + self.false_negative

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.true_positive + self.false_positive

    @property
    def reference_empty(self) -> bool:
        """Whether the reference has no voxel."""
        return self.reference == 0

    @property
    def prediction_empty(self) -> bool:
        """Whether the prediction has no voxel."""
        return self.prediction == 0


def dice(overlap: Overlap) -> float:
    """Return ``2 TP / (2 TP + FP + FN)``, as nnU-Net computes it; nan when both masks are empty."""
    size = overlap.reference + overlap.prediction
    return 2 * overlap.true_positive / size if size else _NAN


def iou(overlap: Overlap) -> float:
    """Return intersection over union (Jaccard index); nan when both masks are empty."""
    union = overlap.true_positive + overlap.false_positive + overlap.false_negative
    return overlap.true_positive / union if union else _NAN


def volume_similarity(overlap: Overlap) -> float:
    """Return ``1 - |P - R| / (P + R)`` (Taha and Hanbury 2015, doi:10.1186/s12880-015-0068-x); nan when both empty."""
    size = overlap.reference + overlap.prediction
    return 1 - abs(overlap.prediction - overlap.reference) / size if size else _NAN


def relative_volume_difference(overlap: Overlap) -> float:
    """Return ``(P - R) / R``, positive where the prediction is too large; nan when the reference is empty."""
    if overlap.reference_empty:
        return _NAN
    return (overlap.prediction - overlap.reference) / overlap.reference


def absolute_relative_volume_difference(overlap: Overlap) -> float:
    """Return ``|P - R| / R``; nan when the reference is empty."""
    return abs(relative_volume_difference(overlap))


def absolute_volume_difference(overlap: Overlap) -> float:
    """Return ``|P - R|`` in ml (in a plane as an area, mm²)."""
    return abs(overlap.prediction - overlap.reference) * overlap.voxel_size


def tp_volume(overlap: Overlap) -> float:
    """Return the volume in both masks, ml (in a plane the area, mm²)."""
    return overlap.true_positive * overlap.voxel_size


def fp_volume(overlap: Overlap) -> float:
    """Return the volume of voxels only in the prediction, ml (in a plane the area, mm²)."""
    return overlap.false_positive * overlap.voxel_size


def fn_volume(overlap: Overlap) -> float:
    """Return the volume of voxels only in the reference, ml (in a plane the area, mm²)."""
    return overlap.false_negative * overlap.voxel_size
