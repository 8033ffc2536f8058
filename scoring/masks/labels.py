"""Stored voxels into labels: scaling applied, whole numbers demanded, nothing wrapped around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.masks.codes import MaskCode, MaskError, refusal
from medpodium.scoring.masks.header import VolumeHeader
from medpodium.scoring.measures import kernels

INTEGRAL_TOLERANCE = 1e-4
"""A stored float within this distance of a whole number is that label (1.0000001 is 1; 0.9 is an error)."""

LARGEST_LABEL = 65535
_PROBABILITY_VALUES = 12  # so many different fractions in one piece are probabilities, fewer are bad labels

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def mark_labels(plane: LabelArray, seen: npt.NDArray[np.bool_]) -> None:
    """Set ``seen[label]``, shape (65536,), for every label but 0 of a slice, shape (y, x)."""
    kernels.mark_values(np.ascontiguousarray(plane).reshape(-1), seen)


def labels_in(array: LabelArray) -> list[int]:
    """Return the labels of a volume, shape (z, y, x), ascending and without the background."""
    seen = np.zeros(LARGEST_LABEL + 1, dtype=np.bool_)
    for plane in array:
        mark_labels(plane, seen)
    return [int(label) for label in np.flatnonzero(seen[1:]) + 1]


def is_plain(header: VolumeHeader) -> bool:
    """Return whether stored bytes are labels already (uint8 without scaling)."""
    return header.dtype == np.uint8 and not header.scaled


def to_whole_numbers(
    stored: npt.NDArray[Any], header: VolumeHeader, path: Path, first_voxel: int
) -> tuple[npt.NDArray[Any], int]:
    """Check one piece of stored voxels and turn it into labels.

    Parameters
    ----------
    stored : ndarray, shape (n,)
        Consecutive stored voxels, x fastest.
    header : VolumeHeader
        Says how they are stored.
    path : Path
        Name for findings.
    first_voxel : int
        Index of ``stored[0]`` in the volume, for messages.

    Returns
    -------
    (values, largest) : tuple of ndarray, int
        Whole numbers from 0 to 65535 in any numeric type, and the largest of them.

    Raises
    ------
    MaskError
        For NaN, infinite, fractional or negative values, and labels above 65535.
    """
    if not stored.size:
        return stored, 0
    values = stored
    if header.scaled:
        values = stored * np.float64(header.slope) + header.intercept
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            small = values.astype(np.uint8)
        if (small == values).all():  # nearly always; a value that does not fit 8 bits cannot equal its cast
            return small, int(small.max())
        values = _rounded(values, header, path, first_voxel)
    smallest, largest = int(values.min()), int(values.max())
    if smallest < 0:
        raise _voxel_refusal(
            MaskCode.VALUE_NEGATIVE,
            path,
            header,
            first_voxel,
            values < 0,
            values,
            "use 0 for background and positive labels",
        )
    if largest > LARGEST_LABEL:
        raise _voxel_refusal(
            MaskCode.VALUE_TOO_LARGE,
            path,
            header,
            first_voxel,
            values > LARGEST_LABEL,
            values,
            f"labels are at most {LARGEST_LABEL}; save the label map, not the image",
        )
    return values, largest


def _rounded(values: npt.NDArray[Any], header: VolumeHeader, path: Path, first_voxel: int) -> npt.NDArray[Any]:
    with np.errstate(invalid="ignore", over="ignore"):
        whole: npt.NDArray[Any] = np.rint(values)
        off = np.abs(values - whole)
    worst = off.max()
    if worst <= INTEGRAL_TOLERANCE:  # false for NaN, so the good case costs one comparison
        return whole
    if np.isnan(values).any():
        raise _voxel_refusal(
            MaskCode.VALUE_NAN, path, header, first_voxel, np.isnan(values), values, "replace NaN by 0 (background)"
        )
    if np.isinf(values).any():
        raise _voxel_refusal(
            MaskCode.VALUE_INFINITE, path, header, first_voxel, np.isinf(values), values, "save whole numbers"
        )
    fractional = off > INTEGRAL_TOLERANCE
    kinds = np.unique(values[fractional])
    if kinds.size >= _PROBABILITY_VALUES and values.min() >= 0 and values.max() <= 1:
        raise refusal(
            MaskCode.PROBABILITY_MAP,
            path,
            f"holds probabilities (values between {kinds[0]:.4g} and {kinds[-1]:.4g}), not labels",
            "save the label map: threshold it, or take the argmax over classes",
        )
    shown = ", ".join(f"{value:.6g}" for value in kinds[:5])
    raise _voxel_refusal(
        MaskCode.VALUE_NOT_INTEGRAL,
        path,
        header,
        first_voxel,
        fractional,
        values,
        f"resample labels with nearest neighbour and save whole numbers (fractions seen: {shown})",
    )


def _voxel_refusal(
    code: MaskCode,
    path: Path,
    header: VolumeHeader,
    first_voxel: int,
    bad: npt.NDArray[np.bool_],
    values: npt.NDArray[Any],
    fix: str,
) -> MaskError:
    index = int(bad.argmax())
    voxel = (first_voxel + index) // header.layers % header.voxels
    z, y, x = (int(i) for i in np.unravel_index(voxel, header.geometry.shape_zyx))
    return refusal(code, path, f"voxel (x, y, z) = ({x}, {y}, {z}) has value {values[index].item():g}", fix)


def stack_refusal(stored: npt.NDArray[Any], header: VolumeHeader, path: Path) -> MaskError:
    """Say what a 4-D file looks like, from its first voxels, as an error to be raised.

    Parameters
    ----------
    stored : ndarray, shape (n,)
        The first stored voxels.
    """
    with np.errstate(invalid="ignore"):
        binary = bool(np.isin(stored, (0, 1)).all() and stored.any())
        fractions = stored.dtype.kind == "f" and bool(((stored >= 0) & (stored <= 1)).all())
    size = (*header.geometry.shape_xyz, header.volumes)
    if binary:
        return refusal(
            MaskCode.ONE_HOT_STACK,
            path,
            f"is a stack of {header.volumes} binary volumes, shape (x, y, z, class) = {size}",
            _binary_advice(stored, header),
        )
    if fractions:
        return refusal(
            MaskCode.PROBABILITY_MAP,
            path,
            f"is a stack of {header.volumes} probability volumes, shape (x, y, z, class) = {size}",
            "save one 3-D label map: the argmax over classes",
        )
    return refusal(
        MaskCode.FOUR_DIMENSIONAL,
        path,
        f"has 4 dimensions, shape {size}; a label map has 3",
        "save one 3-D label map per case",
    )


def _binary_advice(stored: npt.NDArray[Any], header: VolumeHeader) -> str:
    """Say how binary volumes become a label map; the argmax is right only where each voxel is in exactly one."""
    if stored.size < header.voxels * header.volumes:
        return "save one 3-D label map (the argmax over classes only if each voxel is 1 in exactly one volume)"
    members = stored.reshape(header.volumes, header.voxels).sum(axis=0)
    if (members == 1).all():
        return "save one 3-D label map: the argmax over classes"
    if (members > 1).any():
        return "the volumes overlap, so no label map can hold them: save one file per structure"
    return "save one 3-D label map: the number of the volume that is 1, counted from 1, and 0 where none is"
