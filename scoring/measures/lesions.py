"""Lesion-wise detection: connected components of reference and prediction, matched by a declared rule.

Three choices decide the counts, so all three are always stated: which voxels are neighbours (6, 18 or 26), what
makes a predicted lesion hit a reference lesion, and how hits become matches when several lesions meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, sparse

from medpodium.scoring.measures.boxes import foreground_box
from medpodium.scoring.measures.overlap import voxel_mm3

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_RANK = {6: 1, 18: 2, 26: 3}
_DENSE = 1 << 22
"""Largest table of gains of one group of lesions, in cells (32 MB), unless an eighth of it is filled."""


class OverlapRule(str, Enum):
    """What makes a predicted lesion hit a reference lesion."""

    ANY = "any"
    """They share at least one voxel (and the threshold is not used)."""
    IOU = "iou"
    """Their intersection over union reaches the threshold."""
    DICE = "dice"
    """Their Dice coefficient reaches the threshold."""


class Matching(str, Enum):
    """How hits become matches."""

    MANY = "many"
    """No pairing: a reference lesion is found (TP) when any predicted lesion hits it, a predicted lesion is false
    (FP) when it hits no reference lesion. One large prediction may find several lesions, several fragments may
    find one, and none of them is punished."""
    GREEDY = "greedy"
    """One to one, largest overlap first (Dice for the rule ``dice``, else intersection over union)."""
    HUNGARIAN = "hungarian"
    """One to one, with the largest possible sum of those overlaps."""


@dataclass(frozen=True)
class LesionRule:
    """The declared rule of lesion-wise scores.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Which voxels are neighbours: across faces, also edges, also corners.
    overlap : OverlapRule
        What makes a hit.
    threshold : float
        For ``iou`` and ``dice``: smallest value that is a hit, above 0 and at most 1.
    matching : Matching
        How hits become matches.
    min_volume_ml : float
        Components smaller than this are removed from reference and prediction alike before matching.

    Raises
    ------
    ValueError
        When a choice is not one of the above.
    """

    connectivity: int = 26
    overlap: OverlapRule = OverlapRule.ANY
    threshold: float = 0.5
    matching: Matching = Matching.MANY
    min_volume_ml: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "overlap", OverlapRule(self.overlap))
        object.__setattr__(self, "matching", Matching(self.matching))
        if self.connectivity not in _RANK:
            raise ValueError(f"connectivity is {self.connectivity}, not 6, 18 or 26")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, not above 0 and at most 1")
        if not (math.isfinite(self.min_volume_ml) and self.min_volume_ml >= 0):
            raise ValueError(f"min_volume_ml is {self.min_volume_ml}, not 0 or more")


@dataclass(frozen=True)
class LesionCounts:
    """Lesion-wise counts of one structure in one case.

    Parameters
    ----------
    true_positives : int
        Reference lesions that were found.
    false_positives : int
        Predicted lesions that match no reference lesion.
    false_negatives : int
        Reference lesions that were not found.
    matched_iou : float
        Sum of the intersections over union of the matches (for ``many``: of each found lesion with the union of
        all predicted lesions that hit it).
    predicted : int
        Predicted lesions of at least the minimal volume.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    matched_iou: float
    predicted: int

    @property
    def referenced(self) -> int:
        """Reference lesions of at least the minimal volume."""
        return self.true_positives + self.false_negatives

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN without any lesion."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN), also called recall; NaN without a reference lesion."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN without a predicted lesion."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def segmentation_quality(self) -> float:
        """Mean intersection over union of the matches (SQ; Kirillov et al., CVPR 2019); NaN without a match."""
        return _ratio(self.matched_iou, self.true_positives)

    @property
    def recognition_quality(self) -> float:
        """TP / (TP + FP/2 + FN/2) (RQ), equal to F1."""
        return self.f1

    @property
    def panoptic_quality(self) -> float:
        """SQ times RQ (PQ), 0 when nothing matches; NaN without any lesion."""
        return _ratio(self.matched_iou, self.true_positives + 0.5 * self.false_positives + 0.5 * self.false_negatives)


def lesion_counts(
    reference: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    spacing_zyx: tuple[float, float, float],
    rule: LesionRule,
    *,
    voxel_ml: float | None = None,
) -> LesionCounts:
    """Count found, missed and false lesions.

    Parameters
    ----------
    reference, prediction : ndarray, same shape (z, y, x)
        Non-zero is lesion. Empty arrays give zero counts.
    spacing_zyx : tuple of float
        Voxel spacing in mm (only the minimal volume needs it).
    rule : LesionRule
        The declared rule.
    voxel_ml : float, optional
        Volume of one voxel where the grid's axes are not at right angles; by default the product of the spacing.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    smallest = rule.min_volume_ml * 1000.0 / (voxel_mm3(spacing_zyx) if voxel_ml is None else voxel_ml * 1000.0)
    box = foreground_box(reference, prediction)
    ref, ref_sizes = _components(reference[box], rule.connectivity, smallest)
    pred, pred_sizes = _components(prediction[box], rule.connectivity, smallest)
    rows, columns, shared = _shared(ref, pred, pred_sizes.size)
    unions = ref_sizes[rows] + pred_sizes[columns] - shared
    iou = shared / unions
    dice = 2.0 * shared / (ref_sizes[rows] + pred_sizes[columns])
    score = dice if rule.overlap is OverlapRule.DICE else iou
    hit = score >= (0.0 if rule.overlap is OverlapRule.ANY else rule.threshold * (1 - 1e-9))
    rows, columns, shared, iou, score = rows[hit], columns[hit], shared[hit], iou[hit], score[hit]
    if rule.matching is Matching.MANY:
        return _count_many(rows, columns, shared, ref_sizes, pred_sizes)
    pairs = _greedy(rows, columns, score) if rule.matching is Matching.GREEDY else _best(rows, columns, score)
    found = len(pairs)
    overlaps = math.fsum(iou[pairs].tolist())
    return LesionCounts(found, pred_sizes.size - found, ref_sizes.size - found, overlaps, pred_sizes.size)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _components(
    mask: npt.NDArray[Any], connectivity: int, smallest_voxels: float
) -> tuple[npt.NDArray[np.int32], Counts]:
    """Return the components numbered from 1, without those too small, and their sizes in voxels."""
    if not mask.size:
        return np.zeros(mask.shape, dtype=np.int32), np.zeros(0, dtype=np.int64)
    structure = ndimage.generate_binary_structure(3, _RANK[connectivity])
    components, count = ndimage.label(mask != 0, structure=structure, output=np.int32)
    sizes = np.zeros(count + 1, dtype=np.int64)
    for slab in components:  # slice by slice: bincount widens what it is given to eight bytes per voxel
        found = np.bincount(slab.ravel())
        sizes[: found.size] += found
    sizes = sizes[1:]
    keep = sizes >= smallest_voxels * (1 - 1e-9)  # a component of exactly the minimal volume stays
    if keep.all():
        return components, sizes
    renumbered = np.zeros(count + 1, dtype=np.int32)
    renumbered[1:][keep] = np.arange(1, int(keep.sum()) + 1)
    for slab in components:
        slab[...] = renumbered[slab]
    return components, sizes[keep]


def _shared(ref: npt.NDArray[np.int32], pred: npt.NDArray[np.int32], pred_count: int) -> tuple[Counts, Counts, Counts]:
    """Return (reference index, prediction index, shared voxels) of every pair that meets; indices from 0."""
    found: list[tuple[Counts, Counts]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for own, other in zip(ref, pred, strict=True):
        both = (own > 0) & (other > 0)
        joint = (own[both].astype(np.int64) - 1) * max(pred_count, 1) + (other[both] - 1)
        found.append(np.unique(joint, return_counts=True))
    pairs, place = np.unique(np.concatenate([joint for joint, _ in found]), return_inverse=True)
    shared = np.zeros(pairs.size, np.int64)
    np.add.at(shared, place, np.concatenate([count for _, count in found]))
    return pairs // max(pred_count, 1), pairs % max(pred_count, 1), shared


def _count_many(rows: Counts, columns: Counts, shared: Counts, ref_sizes: Counts, pred_sizes: Counts) -> LesionCounts:
    found, hitting = np.unique(rows), np.unique(columns)
    covered = np.bincount(rows, weights=shared, minlength=ref_sizes.size)
    reaching = np.bincount(rows, weights=pred_sizes[columns], minlength=ref_sizes.size)
    union = ref_sizes[found] + reaching[found] - covered[found]
    return LesionCounts(
        found.size,
        pred_sizes.size - hitting.size,
        ref_sizes.size - found.size,
        math.fsum((covered[found] / union).tolist()),
        pred_sizes.size,
    )


def _greedy(rows: Counts, columns: Counts, score: Numbers) -> list[int]:
    """Take hits by falling score (ties: lower reference index, then lower prediction index), each lesion once."""
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    for index in np.lexsort((columns, rows, -score)):
        row, column = int(rows[index]), int(columns[index])
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append(int(index))
    return pairs


def _best(rows: Counts, columns: Counts, score: Numbers) -> list[int]:
    """Assign one to one with the largest sum of scores, each group of lesions that meet by itself."""
    if not rows.size:
        return []
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    graph = sparse.coo_array((np.ones(rows.size), (rows, height + columns)), shape=(height + width,) * 2)
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    pairs: list[int] = []
    order = np.argsort(group[rows], kind="stable")
    starts = np.flatnonzero(np.diff(group[rows][order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if members.size == 1:
            pairs.append(int(members[0]))
            continue
        pairs += [int(pair) for pair in _assigned(members, rows[members], columns[members], score[members])]
    return sorted(pairs)


def _assigned(members: Counts, rows: Counts, columns: Counts, score: Numbers) -> Counts:
    """Return those of the pairs of one group whose sum of scores is the largest, each lesion once.

    Small groups have a full table of gains. A web that joins thousands of lesions with a hundred thousand specks would
    fill gigabytes with zeros: there the pairs that meet are the edges of a sparse graph. Both are exact.
    """
    own_rows, at_row = np.unique(rows, return_inverse=True)
    own_columns, at_column = np.unique(columns, return_inverse=True)
    if own_rows.size * own_columns.size <= max(_DENSE, 8 * members.size):
        gain = np.zeros((own_rows.size, own_columns.size))
        gain[at_row, at_column] = score
        index = np.full(gain.shape, -1)
        index[at_row, at_column] = members
        chosen = index[optimize.linear_sum_assignment(gain, maximize=True)]
        return np.asarray(chosen[chosen >= 0])
    keep = _worth_a_look(at_row, at_column, score) & _worth_a_look(at_column, at_row, score)
    members, at_row, at_column, score = members[keep], at_row[keep], at_column[keep], score[keep]
    if own_rows.size > own_columns.size:
        at_row, at_column = at_column, at_row
    height, width = int(at_row.max()) + 1, int(at_column.max()) + 1
    # A partner of its own, worth nothing, for every row: nobody has to be matched. One is added to every gain, as a
    # sparse graph takes zeros for no edge; every row is in the matching once, so the best one stays the best.
    alone = np.arange(height)
    edges = (np.concatenate([at_row, alone]), np.concatenate([at_column, width + alone]))
    weights = np.concatenate([score + 1.0, np.ones(height)])
    graph = sparse.csr_array((weights, edges), shape=(height, width + height))
    taken = np.full(height, -1)
    matched_rows, matched = sparse.csgraph.min_weight_full_bipartite_matching(graph, maximize=True)
    taken[matched_rows] = matched
    return np.asarray(members[taken[at_row] == at_column])


def _worth_a_look(at_row: Counts, at_column: Counts, score: Numbers) -> npt.NDArray[np.bool_]:
    """Leave out, of the columns that meet one row only, all but the best of each row: the others are never chosen."""
    single = np.bincount(at_column)[at_column] == 1
    order = np.lexsort((at_column, -score, at_row))
    order = order[single[order]]
    first = np.flatnonzero(np.diff(at_row[order], prepend=-1))
    keep = ~single
    keep[order[first]] = True
    return np.asarray(keep)
