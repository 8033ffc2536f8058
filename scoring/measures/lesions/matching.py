"""How predicted lesions are matched to reference lesions: one place for counts, lesion-wise scores and instances.

Every choice decides the counts, so all are always stated: which voxels are neighbours (6, 18 or 26), what is joined or
left out before anything is matched, what makes a predicted lesion hit a reference lesion, and how hits become matches
when several lesions meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from medpodium.scoring.measures.components.joined import RANK, Components, Counts

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_SAME = 1e-9
"""Relative difference below which a size or an overlap is the threshold itself, and reaches it."""
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


class Joined(str, Enum):
    """Whose components are one lesion when their dilations touch."""

    REFERENCE = "reference"
    """The reference's only."""
    BOTH = "both"
    """Reference and prediction alike."""


class Small(str, Enum):
    """What becomes of lesions below the minimal size."""

    REMOVE = "remove"
    """They are taken out of reference and prediction before anything is matched."""
    IGNORE = "ignore"
    """They are taken out of the prediction. Those of the reference take part in the matching, so that what hits them
    is not false, and count neither as found nor as missed."""
    IGNORE_REFERENCE = "ignore-reference"
    """The same, and the prediction keeps all of its lesions."""


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
        Lesions smaller than this are small.
    dilation : int
        How often the reference is dilated by its 18-neighbourhood: components whose dilations touch are one lesion,
        and a predicted one that meets the dilated lesion touches it. The masks themselves stay as they are.
    joined : Joined
        Whose components the dilation joins.
    min_voxels : int
        Lesions of fewer voxels are small.
    small : Small
        What becomes of small lesions.

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
    dilation: int = 0
    joined: Joined = Joined.REFERENCE
    min_voxels: int = 0
    small: Small = Small.REMOVE

    def __post_init__(self) -> None:
        for name, choices in (("overlap", OverlapRule), ("matching", Matching), ("joined", Joined), ("small", Small)):
            object.__setattr__(self, name, choices(getattr(self, name)))
        if self.connectivity not in RANK:
            raise ValueError(f"connectivity is {self.connectivity}, not 6, 18 or 26")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, not above 0 and at most 1")
        if not (math.isfinite(self.min_volume_ml) and self.min_volume_ml >= 0):
            raise ValueError(f"min_volume_ml is {self.min_volume_ml}, not 0 or more")
        if self.dilation < 0 or self.min_voxels < 0:
            raise ValueError(f"dilation is {self.dilation} and min_voxels {self.min_voxels}, not 0 or more")

    def smallest(self, voxel_ml: float) -> float:
        """Return the size in voxels from which a lesion is not small, for voxels of this volume in ml."""
        return max(self.min_volume_ml / voxel_ml, float(self.min_voxels))


@dataclass(frozen=True, eq=False)
class Matched:
    """Lesions of one structure in one case, and which of them belong together.

    Parameters
    ----------
    reference, prediction : Components
        Every lesion that took part.
    rows, columns, shared : ndarray of int64, shape (n_matches,)
        Reference lesion, predicted lesion and the voxels they share, sorted. With the matching ``many`` a lesion may
        be in several.
    counted : ndarray of bool, shape (n_reference,)
        Whether a reference lesion counts; small ones may not.
    by_dice : bool
        Whether :attr:`overlap` is the Dice coefficient, or intersection over union.
    """

    reference: Components
    prediction: Components
    rows: Counts
    columns: Counts
    shared: Counts
    counted: Flags
    by_dice: bool = False

    @property
    def found(self) -> Flags:
        """Whether a reference lesion has a match."""
        return np.asarray(np.bincount(self.rows, minlength=self.reference.sizes.size) > 0)

    @property
    def invented(self) -> Flags:
        """Whether a predicted lesion has none."""
        return np.asarray(np.bincount(self.columns, minlength=self.prediction.sizes.size) == 0)

    @property
    def common(self) -> Counts:
        """Voxels that every reference lesion shares with what it is matched to, taken together."""
        return np.bincount(self.rows, self.shared, self.reference.sizes.size).astype(np.int64)

    @property
    def reaching(self) -> Counts:
        """Voxels of what every reference lesion is matched to, taken together."""
        sizes = self.prediction.sizes[self.columns]
        return np.bincount(self.rows, sizes, self.reference.sizes.size).astype(np.int64)

    @property
    def dice(self) -> Numbers:
        """Dice of every reference lesion with what it is matched to, taken together; 0 without a match."""
        return np.asarray(2.0 * self.common / (self.reference.sizes + self.reaching))

    @property
    def iou(self) -> Numbers:
        """Intersection over union of the same."""
        return np.asarray(self.common / (self.reference.sizes + self.reaching - self.common))

    @property
    def overlap(self) -> Numbers:
        """The one by which the rule matches."""
        return self.dice if self.by_dice else self.iou


def match(reference: Components, prediction: Components, rule: LesionRule, voxel_ml: float) -> Matched:
    """Match lesions as a rule declares.

    Parameters
    ----------
    reference, prediction : Components
        Components by the rule's connectivity and dilation, of masks of the same shape.
    rule : LesionRule
        The declared rule.
    voxel_ml : float
        Volume of a voxel in ml.
    """
    reference, prediction, large = large_ones(reference, prediction, rule, voxel_ml)
    rows, columns, shared = reference.meeting(prediction, rule.dilation)
    both = reference.sizes[rows] + prediction.sizes[columns]
    dice, iou = 2.0 * shared / both, shared / (both - shared)
    score = dice if rule.overlap is OverlapRule.DICE else iou
    hit = score >= (0.0 if rule.overlap is OverlapRule.ANY else rule.threshold * (1 - _SAME))
    rows, columns, shared, score = rows[hit], columns[hit], shared[hit], score[hit]
    if rule.matching is not Matching.MANY:
        pairs = one_to_one(rows, columns, score, rule.matching)
        rows, columns, shared = rows[pairs], columns[pairs], shared[pairs]
    return Matched(reference, prediction, rows, columns, shared, large, rule.overlap is OverlapRule.DICE)


def large_ones(
    reference: Components, prediction: Components, rule: LesionRule, voxel_ml: float
) -> tuple[Components, Components, Flags]:
    """Take small lesions away as a rule declares; the last array says which of the reference's are large enough."""
    smallest = rule.smallest(voxel_ml) * (1 - _SAME)  # a lesion of exactly the minimal size stays
    large = reference.sizes >= smallest
    if rule.small is Small.REMOVE:
        reference, large = reference.only(large), np.ones(int(large.sum()), np.bool_)
    if rule.small is not Small.IGNORE_REFERENCE:
        prediction = prediction.only(prediction.sizes >= smallest)
    return reference, prediction, large


def one_to_one(rows: Counts, columns: Counts, score: Numbers, matching: Matching) -> list[int]:
    """Choose among pairs so that every row and every column is in one pair at most.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape (n,)
        Numbers of the reference's and of the predicted object of every pair.
    score : ndarray of float64, shape (n,)
        Overlap of every pair, above 0.
    matching : {Matching.GREEDY, Matching.HUNGARIAN}
        Largest score first, or the largest sum of scores.

    Returns
    -------
    list of int
        Positions of the pairs chosen, ascending.
    """
    return sorted(_greedy(rows, columns, score) if matching is Matching.GREEDY else _best(rows, columns, score))


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
