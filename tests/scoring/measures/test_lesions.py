"""Lesion-wise counts on scenes counted by hand, and against plain loops over scikit-image's components."""

from __future__ import annotations

import math
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.lesions.matching import LesionRule, Matching, OverlapRule
from medpodium.scoring.measures.lesions.scores import LesionCounts, match_lesions
from medpodium.scoring.measures.pair import measure_pair

measure = pytest.importorskip("skimage.measure")

UNIT = (1.0, 1.0, 1.0)
ONE = frozenset({1})


def lesion_counts(reference: Any, prediction: Any, spacing: Any, rule: LesionRule) -> LesionCounts:
    pair = measure_pair(*(np.ascontiguousarray(mask, np.uint8) for mask in (reference, prediction)), spacing, [ONE])
    return match_lesions(pair, 0, rule).lesions.counts()


def scene(*intervals: tuple[int, int], size: int = 60) -> npt.NDArray[np.uint8]:
    """Lesions as intervals on a line, so that every overlap is counted by hand."""
    line = np.zeros((1, 1, size), np.uint8)
    for start, stop in intervals:
        line[0, 0, start:stop] = 1
    return line


def counted(reference: Any, prediction: Any, **rule: Any) -> tuple[int, int, int]:
    counts = lesion_counts(reference, prediction, UNIT, LesionRule(**rule))
    return counts.true_positives, counts.false_positives, counts.false_negatives


def test_found_missed_and_false() -> None:
    reference, prediction = scene((0, 4), (10, 14), (20, 30)), scene((3, 7), (20, 30), (40, 42))
    counts = lesion_counts(reference, prediction, UNIT, LesionRule())
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (2, 1, 1)
    assert counts.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert counts.sensitivity == pytest.approx(2 / 3)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.segmentation_quality == pytest.approx((1 / 7 + 1) / 2)
    assert counts.panoptic_quality == pytest.approx(counts.segmentation_quality * counts.f1)


def test_one_large_prediction_over_three_lesions() -> None:
    reference, prediction = scene((2, 4), (6, 8), (10, 14)), scene((0, 15))
    assert counted(reference, prediction) == (3, 0, 0)
    assert counted(reference, prediction, matching="greedy") == (1, 0, 2)
    assert counted(reference, prediction, matching="hungarian") == (1, 0, 2)
    assert counted(reference, prediction, overlap="iou", threshold=0.25) == (1, 0, 2)
    greedy = lesion_counts(reference, prediction, UNIT, LesionRule(matching=Matching.GREEDY))
    assert greedy.matched_iou == pytest.approx(4 / 15)


def test_one_lesion_in_three_fragments() -> None:
    reference, prediction = scene((0, 15)), scene((2, 4), (6, 8), (10, 14))
    many = lesion_counts(reference, prediction, UNIT, LesionRule())
    assert (many.true_positives, many.false_positives, many.false_negatives) == (1, 0, 0)
    assert many.matched_iou == pytest.approx(8 / 15)  # the lesion against the union of its fragments
    assert counted(reference, prediction, matching="greedy") == (1, 2, 0)


def test_greedy_and_hungarian_differ_where_they_should() -> None:
    reference, prediction = scene((0, 10), (11, 22)), scene((4, 18), (19, 22))
    # R1-P1 6/18, R2-P1 7/18, R2-P2 3/11. Greedy takes R2-P1, which leaves R1 and P2 alone; the best sum is
    # R1-P1 with R2-P2.
    greedy = lesion_counts(reference, prediction, UNIT, LesionRule(matching=Matching.GREEDY))
    assert (greedy.true_positives, greedy.false_positives, greedy.false_negatives) == (1, 1, 1)
    assert greedy.matched_iou == pytest.approx(7 / 18)
    best = lesion_counts(reference, prediction, UNIT, LesionRule(matching=Matching.HUNGARIAN))
    assert (best.true_positives, best.false_positives, best.false_negatives) == (2, 0, 0)
    assert best.matched_iou == pytest.approx(6 / 18 + 3 / 11)


@pytest.mark.parametrize(("rule", "threshold", "hit"), [("iou", 0.5, 1), ("iou", 0.51, 0), ("dice", 0.66, 1)])
def test_thresholds_are_inclusive(rule: str, threshold: float, hit: int) -> None:
    reference, prediction = scene((0, 10)), scene((0, 5))  # IoU 1/2, Dice 2/3
    assert counted(reference, prediction, overlap=rule, threshold=threshold) == (hit, 1 - hit, 1 - hit)
    assert counted(reference, prediction, overlap=rule, threshold=threshold, matching="greedy")[0] == hit


@pytest.mark.parametrize(("connectivity", "lesions"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity_decides_what_a_lesion_is(connectivity: int, lesions: int) -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = 1  # neighbours over an edge, then over a corner
    assert counted(mask, mask, connectivity=connectivity) == (lesions, 0, 0)


def test_small_components_are_removed_on_both_sides() -> None:
    reference, prediction = scene((0, 4), (10, 13), (20, 30)), scene((0, 4), (10, 13), (40, 42))
    spacing = (2.0, 5.0, 10.0)  # 0.1 ml per voxel
    rule = LesionRule(min_volume_ml=0.4)  # four voxels stay, three go
    counts = lesion_counts(reference, prediction, spacing, rule)
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (1, 0, 1)


def test_every_empty_combination() -> None:
    empty, some = scene(), scene((3, 6), (9, 12))
    for matching in Matching:
        assert counted(empty, empty, matching=matching) == (0, 0, 0)
        assert counted(some, empty, matching=matching) == (0, 0, 2)
        assert counted(empty, some, matching=matching) == (0, 2, 0)
        assert counted(some, some, matching=matching) == (2, 0, 0)
    nothing = lesion_counts(empty, empty, UNIT, LesionRule())
    assert math.isnan(nothing.f1)
    assert math.isnan(nothing.panoptic_quality)
    missed = lesion_counts(some, empty, UNIT, LesionRule())
    assert (missed.f1, missed.panoptic_quality, missed.sensitivity) == (0.0, 0.0, 0.0)
    assert missed.segmentation_quality == 0.0
    assert math.isnan(nothing.segmentation_quality)


def by_loops(reference: Any, prediction: Any, rule: LesionRule) -> tuple[int, int, int, float]:
    """The same counts by the plainest means: every pair of components, every assignment."""
    rank = {6: 1, 18: 2, 26: 3}[rule.connectivity]
    ours, theirs = (
        [labels == label for label in range(1, labels.max() + 1)]
        for labels in (measure.label(mask, connectivity=rank) for mask in (reference, prediction))
    )
    score, iou = np.zeros((len(ours), len(theirs))), np.zeros((len(ours), len(theirs)))
    for (i, one), (j, other) in product(enumerate(ours), enumerate(theirs)):
        iou[i, j] = (one & other).sum() / (one | other).sum()
        score[i, j] = 2 * (one & other).sum() / (one.sum() + other.sum()) if rule.overlap == "dice" else iou[i, j]
    hit = (score > 0) & (score >= (0 if rule.overlap == "any" else rule.threshold))
    if rule.matching == "many":
        found = hit.any(axis=1)
        total = 0.0
        for i in np.flatnonzero(found):
            union = np.any([theirs[j] for j in np.flatnonzero(hit[i])], axis=0)
            total += (ours[i] & union).sum() / (ours[i] | union).sum()
        return int(found.sum()), int((~hit.any(axis=0)).sum()), int((~found).sum()), total
    gain = np.where(hit, score, 0.0)
    side = max(*gain.shape, 1)
    square = np.zeros((side, side))
    square[: gain.shape[0], : gain.shape[1]] = gain
    best = max(permutations(range(side)), key=lambda order: sum(square[i, j] for i, j in enumerate(order)))
    pairs = [(i, j) for i, j in enumerate(best) if square[i, j] > 0]
    return len(pairs), len(theirs) - len(pairs), len(ours) - len(pairs), float(sum(iou[i, j] for i, j in pairs))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("overlap", list(OverlapRule))
@pytest.mark.parametrize("matching", [Matching.MANY, Matching.HUNGARIAN])
def test_random_scenes_against_plain_loops(connectivity: int, overlap: OverlapRule, matching: Matching) -> None:
    rng = np.random.default_rng(connectivity)
    tried = 0
    while tried < 25:
        reference, prediction = (rng.random((2, *rng.integers(1, 8, 3))) < rng.uniform(0.05, 0.3)).astype(np.uint8)
        rule = LesionRule(connectivity, overlap, float(rng.uniform(0.05, 0.7)), matching)
        components = [measure.label(mask, connectivity=1).max() for mask in (reference, prediction)]
        if max(components) > 7:
            continue  # every assignment is tried
        tried += 1
        true, false, missed, iou = by_loops(reference, prediction, rule)
        counts = lesion_counts(reference, prediction, UNIT, rule)
        assert counts.matched_iou == pytest.approx(iou)
        assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (true, false, missed)


@pytest.mark.parametrize(
    "wrong",
    [{"connectivity": 8}, {"overlap": "touch"}, {"matching": "best"}, {"threshold": 0}, {"min_volume_ml": -1}],
)
def test_undeclared_rules_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LesionRule(**wrong)
