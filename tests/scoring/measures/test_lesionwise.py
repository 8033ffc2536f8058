"""Lesion-wise scores against a plain restatement, lesion by lesion: scipy's dilations, labels and distances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

import medpodium
from medpodium.scoring.measures.lesions.matching import LesionRule
from medpodium.scoring.measures.lesions.scores import Invented, MeasuredLesions, SizeClass, Worth, match_lesions
from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.surfaces import metrics as surface

ONE = frozenset({1})
CUBE = ndimage.generate_binary_structure(3, 2)
FACES = ndimage.generate_binary_structure(3, 1)
ALL = np.ones((3, 3, 3))


def matched(reference: Any, prediction: Any, spacing: Any = (1.0, 1.0, 1.0), **rule: Any) -> MeasuredLesions:
    return match_lesions(measure_pair(reference, prediction, spacing, [ONE]), 0, LesionRule(**rule))


def line(*intervals: tuple[int, int], size: int = 60) -> npt.NDArray[np.uint8]:
    found = np.zeros((1, 1, size), np.uint8)
    for start, stop in intervals:
        found[0, 0, start:stop] = 1
    return found


def blobs(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    found = np.zeros(shape, np.uint8)
    grid = np.ogrid[tuple(slice(0, side) for side in shape)]
    for _ in range(n):
        centre, radii = rng.integers(0, shape), rng.uniform(0.5, 2.7, 3)
        found[sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1] = 1
    return found


def pooled_hd95(one: Any, other: Any, spacing: Any) -> float:
    borders = [mask & ~ndimage.binary_erosion(mask, FACES) for mask in (one, other)]
    far = [ndimage.distance_transform_edt(~border, spacing) for border in borders]
    return float(np.percentile(np.hstack([far[1][borders[0]], far[0][borders[1]]]), 95))


def restated(reference: Any, prediction: Any, spacing: Any, dilation: int, smallest: int) -> tuple[float, float]:
    """The rule of 2023: lesions are what one component of the dilated reference holds, found is what it touches."""
    grown = ndimage.binary_dilation(reference, CUBE, dilation) if dilation else reference > 0
    regions, n = ndimage.label(grown, ALL)
    parts, m = ndimage.label(prediction, ALL)
    dice, far, hit = [], [], set()
    for region in range(1, n + 1):
        lesion = (regions == region) & (reference > 0)
        touching = set(np.unique(parts[ndimage.binary_dilation(lesion, CUBE, dilation) if dilation else lesion])) - {0}
        hit |= touching
        if lesion.sum() < smallest:
            continue
        other = np.isin(parts, list(touching))
        dice.append(2 * (lesion & other).sum() / (lesion.sum() + other.sum()))
        far.append(pooled_hd95(lesion, other, spacing) if touching else 374.0)
    false = m - len(hit)
    if not dice and not false:
        return math.nan, math.nan
    return float(np.sum(dice) / (len(dice) + false)), float((np.sum(far) + 374 * false) / (len(far) + false))


def test_lesion_wise_dice_and_hd95_on_200_random_pairs() -> None:
    rng = np.random.default_rng(7)
    several = 0
    for number in range(200):
        shape = tuple(int(side) for side in rng.integers(14, 30, 3))
        reference = blobs(rng, int(rng.integers(0, 13)), shape)
        prediction = np.roll(reference, rng.integers(-2, 3, 3), (0, 1, 2))
        prediction[blobs(rng, int(rng.integers(0, 4)), shape) > 0] = 0
        prediction |= blobs(rng, int(rng.integers(0, 3)), shape)
        spacing = (float(rng.uniform(0.7, 3)), 1.0, float(rng.uniform(0.7, 1.5)))
        dilation, smallest = number % 4, (0, 3, 51)[number % 3]
        own = matched(reference, prediction, spacing, dilation=dilation, min_voxels=smallest, small="ignore-reference")
        several += own.matched.reference.sizes.size > 1
        far = own.on_surfaces("border-voxel", lambda pair: surface.percentile_pooled(pair, 95.0))
        found = own.lesions.mean(own.dice, Worth(0, 0)), own.lesions.mean(far, Worth(374, 374))
        expected = restated(reference, prediction, spacing, dilation, smallest)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)
    assert several > 100


@pytest.mark.parametrize("joined", ["reference", "both"])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_what_dilations_join_is_what_dilating_and_labelling_joins(joined: str, connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    for dilation in range(4):
        shape = tuple(int(side) for side in rng.integers(1, 16, 3))
        masks = [(rng.random(shape) < rng.uniform(0.005, 0.1)).astype(np.uint8) for _ in range(2)]
        own = matched(*masks, dilation=dilation, joined=joined, connectivity=connectivity).matched
        for components, mask, steps in (
            (own.reference, masks[0], dilation),
            (own.prediction, masks[1], dilation if joined == "both" else 0),
        ):
            grown = ndimage.binary_dilation(mask, CUBE, steps) if steps else mask
            labels, count = ndimage.label(grown, structure)
            sizes = np.bincount(labels[mask > 0], minlength=count + 1)[1:]
            assert sorted(components.sizes) == sorted(sizes)


def test_small_lesions_are_removed_or_not_counted() -> None:
    reference, prediction = line((0, 2), (10, 14)), line((0, 2), (20, 22), (30, 40))
    for small, found, false, missed in (
        ("remove", 0, 1, 1),  # specks of two go on both sides
        ("ignore", 0, 1, 1),
        ("ignore-reference", 0, 2, 1),  # the invented speck counts, the one that hits a speck does not
    ):
        counts = matched(reference, prediction, min_voxels=3, small=small).lesions.counts()
        assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (found, false, missed)
    # a large prediction over a speck of the reference: false where the speck is gone, not where it is only not counted
    reference, prediction = line((0, 2)), line((0, 9))
    assert matched(reference, prediction, min_voxels=3).lesions.counts().false_positives == 1
    for small in ("ignore", "ignore-reference"):
        assert matched(reference, prediction, min_voxels=3, small=small).lesions.counts().false_positives == 0


def test_classes_of_sizes_and_what_counts_as_found() -> None:
    reference, prediction = line((0, 4), (10, 20), (30, 50)), line((0, 1), (10, 20), (55, 57))
    own = matched(reference, prediction, overlap="dice", threshold=1e-6, matching="hungarian")
    small, large = SizeClass(0, 10, Invented.ALL), SizeClass(10, math.inf, Invented.NONE)
    assert own.lesions.counts(small) == own.lesions.counts(small, 0.4)  # Dice is exactly 2 / 5
    counts = own.lesions.counts(small, 0.41)
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (0, 1, 1)
    assert own.lesions.mean(own.dice, Worth(0, 0), large) == 0.5
    assert own.lesions.mean(own.dice, Worth(math.nan, math.nan), large) == 1.0
    assert own.lesions.mean(own.dice, Worth(0, 0)) == pytest.approx((0.4 + 1 + 0 + 0) / 4)
    assert own.lesions.mean(own.dice, Worth(math.nan, math.nan, 0.25), SizeClass(15)) == 0.25  # all of it missed
    assert math.isnan(own.lesions.mean(own.dice, Worth(math.nan, math.nan, 0.25), SizeClass(100)))


def test_volumes_by_component_are_not_those_by_voxel() -> None:
    reference, prediction = line((0, 4), (10, 14)), line((3, 9), (20, 25))
    own = matched(reference, prediction)
    assert (own.missed_voxels, own.invented_voxels) == (4, 5)  # by voxel: 7 and 10
    assert own.count_difference() == 0


def test_a_million_specks_are_bounded() -> None:
    mask = np.zeros((200, 200, 200), np.uint8)
    mask[::2, ::2, ::2] = 1
    own = matched(mask, np.roll(mask, 1, 2), overlap="dice", matching="hungarian", dilation=0)
    counts = own.lesions.counts()
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (0, 10**6, 10**6)
    same = matched(mask, mask, overlap="dice", matching="hungarian")
    assert same.lesions.mean(same.dice, Worth(0, 0)) == 1.0


def test_hundreds_of_lesions_beside_a_large_one_by_hand() -> None:
    """Three hundred lesions of two voxels, half of each found, and a cube that has two slices too many."""
    reference, prediction = np.zeros((2, 84, 80, 120), np.uint8)
    reference[2:72, 2:72, 2:72] = prediction[2:74, 2:72, 2:72] = 1
    for number in range(300):
        z, y, x = 2 + 4 * (number // 20), 2 + 4 * (number % 20), 90
        reference[z, y, x : x + 2] = prediction[z, y, x + 1 : x + 3] = 1
    rule = {"missed": 99, "invented": 99}
    found = medpodium.measure(
        reference,
        prediction,
        spacing=(3, 2, 1),
        metrics={
            "most": {"kind": "lesion_hd_percentile", "percentile": 100, "definition": "pooled", **rule},
            "dice": {"kind": "lesion_dice"},
        },
    )["label 1"]
    assert found["most"] == pytest.approx((300 * 1 + 2 * 3) / 301, rel=1e-12)
    assert found["dice"] == pytest.approx((300 * 0.5 + 2 * 70 / 142) / 301, rel=1e-12)


@pytest.mark.parametrize("turn", [False, True])
def test_lesions_of_a_plane_by_hand(turn: bool) -> None:
    reference, prediction = np.zeros((2, 60, 90), np.uint8)
    for number in range(280):
        y, x = 2 + 3 * (number // 15), 2 + 5 * (number % 15)
        reference[y, x : x + 2] = prediction[y, x + 1 : x + 3] = 1
    masks, spacing = (reference, prediction), (2.0, 0.5)
    if turn:
        masks, spacing = (reference.T.copy(), prediction.T.copy()), (0.5, 2.0)
    metric = {"kind": "lesion_hd_percentile", "percentile": 95, "definition": "pooled", "missed": 9, "invented": 9}
    assert medpodium.measure(*masks, spacing=spacing, metrics={"hd": metric})["label 1"]["hd"] == pytest.approx(0.5)
