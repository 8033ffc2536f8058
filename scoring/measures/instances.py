"""Objects of two label maps, matched one to one: how many are found, and how well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.lesions.matching import Matching, one_to_one
from medpodium.scoring.measures.surfaces.metrics import SAME


@dataclass(frozen=True)
class Found:
    """Matches at one threshold.

    Parameters
    ----------
    matched : int
        Pairs of a reference object and a predicted one.
    iou, dice : float
        Sums over the pairs.
    """

    matched: int
    iou: float
    dice: float


@dataclass(frozen=True)
class Objects:
    """What was matched in one case.

    Parameters
    ----------
    referenced, predicted : int
        Objects of both masks.
    found : tuple of Found
        One per threshold.
    """

    referenced: int
    predicted: int
    found: tuple[Found, ...]


def matched_objects(
    reference: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    thresholds: Sequence[float],
    matching: Matching = Matching.GREEDY,
) -> Objects:
    """Match the objects of two label maps.

    Parameters
    ----------
    reference, prediction : ndarray of int, same shape
        Number of the object that a voxel belongs to, 0 for none. Numbers need not follow each other, nor agree.
    thresholds : sequence of float
        Smallest intersection over union of a match.
    matching : Matching
        Largest intersection over union first (``GREEDY``), or the largest sum of them (``HUNGARIAN``).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    sizes = [np.bincount(array[array > 0].astype(np.int64)) for array in (reference, prediction)]
    both = (reference > 0) & (prediction > 0)
    base = max(sizes[1].size, 1)
    joint = reference[both].astype(np.int64) * base + prediction[both]
    pairs, shared = np.unique(joint, return_counts=True)
    rows, columns = pairs // base, pairs % base
    total = sizes[0][rows] + sizes[1][columns] if pairs.size else np.zeros(0, np.int64)
    iou, dice = shared / (total - shared), 2.0 * shared / total
    found = []
    for threshold in thresholds:
        hit = np.flatnonzero(iou >= threshold * (1 - SAME))
        chosen = hit[one_to_one(rows[hit], columns[hit], iou[hit], matching)] if hit.size else hit
        found.append(Found(len(chosen), math.fsum(iou[chosen].tolist()), math.fsum(dice[chosen].tolist())))
    return Objects(int(np.count_nonzero(sizes[0])), int(np.count_nonzero(sizes[1])), tuple(found))


def presence(reference: int, prediction: int, shared: int, threshold: float) -> Objects:
    """Return a whole structure as one object: found where its intersection over union reaches the threshold.

    Parameters
    ----------
    reference, prediction, shared : int
        Voxels of both masks, and of both together.
    threshold : float
        Smallest intersection over union.

    Returns
    -------
    Objects
        A prediction in the wrong place is missed, and not invented besides: it counts as predicted only where the
        reference holds nothing, or where it was found.
    """
    union = reference + prediction - shared
    iou = shared / union if union else 0.0
    hit = reference > 0 and shared > 0 and iou >= threshold * (1 - SAME)
    invented = reference == 0 and prediction > 0
    one = Found(int(hit), iou if hit else 0.0, 2 * shared / (reference + prediction) if hit else 0.0)
    return Objects(int(reference > 0), int(hit or invented), (one,))
