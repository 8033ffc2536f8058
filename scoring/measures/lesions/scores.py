"""What matched lesions are worth: counts, volumes, and means over lesions of what is measured on each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.components.joined import Components, Counts
from medpodium.scoring.measures.lesions.apart import distances_apart
from medpodium.scoring.measures.lesions.matching import Flags, Joined, LesionRule, Matched, Numbers, large_ones, match
from medpodium.scoring.measures.pair import PairMeasures
from medpodium.scoring.measures.surfaces.distances import SurfaceDistances, size
from medpodium.scoring.measures.surfaces.points import Kind, Spacing

_SAME = 1e-9
_KEPT = 1 << 23
"""So many surface points of lesions are kept: noise is compared as a whole with every lesion that it touches."""


class Invented(str, Enum):
    """Which invented lesions belong to a class of sizes."""

    OWN = "own"
    """Those of that size."""
    ALL = "all"
    """All of them."""
    NONE = "none"
    """None."""


@dataclass(frozen=True)
class SizeClass:
    """Lesions of some sizes; a reference lesion's own size decides, whatever it is matched to.

    Parameters
    ----------
    low, high : float
        Voxels from which, and below which, a lesion belongs to it.
    invented : Invented
        Which invented lesions belong to it.
    """

    low: float = 0.0
    high: float = math.inf
    invented: Invented = Invented.OWN

    def holds(self, sizes: Counts) -> Flags:
        """Return which sizes, in voxels, belong to it; the lower bound itself does, the upper one does not."""
        return np.asarray((sizes >= self.low * (1 - _SAME)) & (sizes < self.high * (1 - _SAME)))

    def holds_invented(self, sizes: Counts) -> Flags:
        """Return which invented lesions of these sizes belong to it."""
        if self.invented is Invented.OWN:
            return self.holds(sizes)
        return np.full(sizes.shape, self.invented is Invented.ALL)


EVERY = SizeClass()


@dataclass(frozen=True)
class Worth:
    """What lesions count that nothing can be measured on; NaN leaves them out.

    Parameters
    ----------
    missed : float
        A reference lesion without a match.
    invented : float
        A predicted lesion without a match.
    all_missed : float
        The mean where there are reference lesions and nothing has a value.
    """

    missed: float
    invented: float
    all_missed: float = math.nan


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one structure in one case that count, as numbers.

    Parameters
    ----------
    sizes : ndarray of int64, shape (n,)
        Voxels of every reference lesion that counts.
    matched : ndarray of bool, shape (n,)
        Whether it has a match.
    overlap, iou : ndarray of float64, shape (n,)
        Overlap with what it is matched to, by the rule's own measure and as intersection over union; 0 without.
    invented : ndarray of int64, shape (m,)
        Voxels of every predicted lesion without a match.
    """

    sizes: Counts
    matched: Flags
    overlap: Numbers
    iou: Numbers
    invented: Counts

    def counts(self, size: SizeClass = EVERY, found_from: float = 0.0) -> LesionCounts:
        """Count found, missed and invented lesions of a class of sizes.

        Parameters
        ----------
        size : SizeClass
            Which lesions.
        found_from : float
            Overlap from which a match counts as found; below it the lesion is missed and nothing is invented.
        """
        inside = size.holds(self.sizes)
        found = inside & self.matched & (self.overlap >= found_from * (1 - _SAME))
        true = int(found.sum())
        false = int(size.holds_invented(self.invented).sum())
        iou = math.fsum(self.iou[found].tolist())
        return LesionCounts(true, false, int(inside.sum()) - true, iou, int((inside & self.matched).sum()) + false)

    def mean(self, values: npt.ArrayLike, worth: Worth, size: SizeClass = EVERY) -> float:
        """Return the mean of a value over the lesions of a class of sizes.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            Value of every reference lesion that counts; not looked at where it has no match.
        worth : Worth
            What the others count.
        size : SizeClass
            Which lesions.
        """
        inside = size.holds(self.sizes)
        own = np.where(self.matched, np.asarray(values, np.float64), worth.missed)[inside]
        own = own[~np.isnan(own)]
        n_invented = 0 if math.isnan(worth.invented) else int(size.holds_invented(self.invented).sum())
        if own.size + n_invented == 0:
            return worth.all_missed if inside.any() else math.nan
        total = math.fsum(own.tolist()) + (n_invented * worth.invented if n_invented else 0.0)
        return total / (own.size + n_invented)


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
        Reference lesions with a match, and predicted lesions without: 0 where the prediction holds nothing that counts.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    matched_iou: float
    predicted: int

    @property
    def referenced(self) -> int:
        """Reference lesions that count."""
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
        """Mean intersection over union of the matches (SQ; Kirillov et al., CVPR 2019); 0 where nothing matches."""
        if not self.true_positives and (self.false_positives or self.false_negatives):
            return 0.0
        return _ratio(self.matched_iou, self.true_positives)

    @property
    def panoptic_quality(self) -> float:
        """SQ times RQ, which is F1 (PQ); 0 when nothing matches; NaN without any lesion."""
        return _ratio(self.matched_iou, self.true_positives + 0.5 * self.false_positives + 0.5 * self.false_negatives)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


@dataclass(frozen=True, eq=False)
class MeasuredLesions:
    """Matched lesions on their grid, for everything that is measured on single ones.

    Parameters
    ----------
    matched : Matched
        The lesions, and which belong together.
    spacing_zyx : tuple of float
        Voxel size in mm.
    planar : bool
        Whether they are measured in the plane.
    """

    matched: Matched
    spacing_zyx: Spacing
    planar: bool = False
    _pairs: dict[Kind, list[SurfaceDistances]] = field(default_factory=dict)

    @property
    def lesions(self) -> Lesions:
        """The lesions that count, as numbers."""
        own, counted = self.matched, self.matched.counted
        return Lesions(
            own.reference.sizes[counted],
            own.found[counted],
            own.overlap[counted],
            own.iou[counted],
            own.prediction.sizes[own.invented],
        )

    @property
    def dice(self) -> Numbers:
        """Dice of every reference lesion that counts with what it is matched to; 0 without a match."""
        return self.matched.dice[self.matched.counted]

    @property
    def missed_voxels(self) -> int:
        """Voxels of all reference lesions without a match that count."""
        own = self.matched
        return int(own.reference.sizes[own.counted & ~own.found].sum())

    @property
    def invented_voxels(self) -> int:
        """Voxels of all predicted lesions without a match."""
        return int(self.matched.prediction.sizes[self.matched.invented].sum())

    def count_difference(self, size: SizeClass = EVERY) -> int:
        """Return the absolute difference of the numbers of lesions of a class of sizes."""
        own = self.matched.reference.sizes[self.matched.counted]
        return abs(int(size.holds(own).sum()) - int(size.holds(self.matched.prediction.sizes).sum()))

    def on_surfaces(self, kind: Kind, measure: Callable[[SurfaceDistances], float]) -> Numbers:
        """Measure something on the surfaces of every reference lesion that counts and of what it is matched to.

        Both are taken out of their masks first, so nothing else is near; that is done once for all that is measured.

        Parameters
        ----------
        kind : {"surfel-area", "border-voxel"}
            What a surface is made of.
        measure : callable
            Turns the distances of one lesion into a number.

        Returns
        -------
        ndarray of float64, shape (n,)
            NaN without a match.
        """
        counted = self.matched.counted
        found = self.matched.found & counted
        values = np.full(found.size, math.nan)
        values[found] = [measure(pair) for pair in self._apart(kind, np.flatnonzero(found))]
        return values[counted]

    def _apart(self, kind: Kind, lesions: Counts) -> Iterator[SurfaceDistances]:
        """Yield the distances of every lesion; kept for the next measure unless they have too many points."""
        if kind in self._pairs:
            yield from self._pairs[kind]
            return
        kept: list[SurfaceDistances] = []
        points = 0
        for pair in distances_apart(self.matched, lesions, self.spacing_zyx, kind, planar=self.planar):
            points += size(pair.reference) + size(pair.prediction)
            if points <= _KEPT:
                kept.append(pair)
            yield pair
        if points <= _KEPT:
            self._pairs[kind] = kept


def match_lesions(
    pair: PairMeasures,
    structure: int,
    rule: LesionRule,
    beside: Sequence[tuple[PairMeasures, int, LesionRule]] = (),
) -> MeasuredLesions:
    """Match the lesions of a structure in reference and prediction as a rule declares.

    Parameters
    ----------
    pair : PairMeasures
        Both masks. In a plane the minimal volume is that of a slice of 1 mm.
    structure : int
        Which structure.
    rule : LesionRule
        The declared rule.
    beside : sequence of (PairMeasures, int, LesionRule)
        Structures of the same case, one after the other, whose lesions join what touches them in either mask, and
        their own rules.
    """
    case = pair.reference
    voxel_ml = case.voxel_size / 1000.0 if case.planar else case.voxel_size

    def found(masks: PairMeasures, number: int, own: LesionRule) -> tuple[Components, Components]:
        dilations = own.dilation, own.dilation if own.joined is Joined.BOTH else 0
        return masks.components(number, own.connectivity, dilations)

    reference, prediction = found(pair, structure, rule)
    if beside:
        reference, prediction, _ = large_ones(reference, prediction, rule, voxel_ml)
    for masks, number, own in beside:
        others = large_ones(*found(masks, number, own), own, voxel_ml)
        reference, prediction = reference.beside(others[0]), prediction.beside(others[1])
    return MeasuredLesions(match(reference, prediction, rule, voxel_ml), case.spacing_zyx, case.planar)
