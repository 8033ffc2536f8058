"""Lesions that are one because they touch the same lesion of another structure, as in the scripts of BraTS 2024."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medpodium.challenges import registry
from medpodium.challenges.schema.metrics.lesion_rules import LesionRule as LesionRuleModel
from medpodium.scoring.measures.lesions.matching import LesionRule
from medpodium.scoring.measures.lesions.scores import match_lesions
from medpodium.scoring.measures.pair import measure_pair

STEP = ndimage.generate_binary_structure(3, 2)
LABELS = [frozenset({1}), frozenset({2}), frozenset({3})]


def _joined(mask: Any, dilation: int) -> npt.NDArray[np.int64]:
    """Number what is one component after some dilations."""
    grown = ndimage.binary_dilation(mask, STEP, iterations=dilation) if dilation else mask
    return np.asarray(ndimage.label(grown, np.ones((3, 3, 3)))[0] * (mask > 0), np.int64)


def _beside(own: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give lesions the same number that touch the same lesion; of several the one that begins at the lowest x."""
    low = {one: tuple(np.argwhere(other == one).min(0)[::-1]) for one in np.unique(other[other > 0])}
    found, free = np.zeros_like(own), 10_000
    for one in np.unique(own[own > 0]):
        near = np.unique(other[ndimage.binary_dilation(own == one, STEP)])
        near = sorted((number for number in near if number), key=lambda number: low[number])
        free += 1
        found[own == one] = near[0] if near else free
    return found


def _sizes(numbers: npt.NDArray[np.int64]) -> list[int]:
    return sorted(np.unique(numbers[numbers > 0], return_counts=True)[1].tolist())


def test_lesions_that_touch_the_same_lesion_are_one_by_hand() -> None:
    truth = np.zeros((7, 7, 24), np.uint8)
    truth[2:4, 2:4, 2:5] = truth[2:4, 2:4, 12:15] = truth[2:4, 2:4, 18:21] = 1
    truth[2:4, 4, 3:14] = 2  # joins the first two
    pair = measure_pair(truth, np.where(truth == 1, truth, 0), (1, 1, 1), LABELS)
    alone = match_lesions(pair, 0, LesionRule())
    together = match_lesions(pair, 0, LesionRule(), [(pair, 1, LesionRule())])
    assert alone.matched.reference.sizes.tolist() == [12, 12, 12]
    assert together.matched.reference.sizes.tolist() == [24, 12]
    assert together.matched.prediction.sizes.tolist() == [12, 12, 12]  # it has none of the other tissue
    assert together.dice.tolist() == [1.0, 1.0]


def test_joining_is_that_of_a_restatement_on_random_masks() -> None:
    rng = np.random.default_rng(8)
    merged = 0
    for number in range(40):
        seeds = (rng.random((2, 14, 13, 15)) < 0.012) * rng.integers(1, 4, (2, 14, 13, 15))
        truth, said = (ndimage.grey_dilation(one, size=(2, 2, 3)).astype(np.uint8) for one in seeds)
        dilation = number % 2
        rules = [LesionRule(dilation=each, joined="both", min_voxels=4, small="ignore") for each in (dilation, 0, 0)]
        pair = measure_pair(truth, said, (1, 1, 1), LABELS)
        own = match_lesions(pair, 0, rules[0], [(pair, 1, rules[1]), (pair, 2, rules[2])]).matched
        for mask, small, found in ((truth, 0, own.reference), (said, 4, own.prediction)):
            numbers = [_joined(mask == label, each) for label, each in ((1, dilation), (2, 0), (3, 0))]
            for one in numbers:
                sizes = np.bincount(one.ravel())
                one[sizes[one] < small] = 0
            before = _sizes(numbers[0])
            restated = _beside(_beside(numbers[0], numbers[1]), numbers[2])
            assert sorted(found.sizes.tolist()) == _sizes(restated)
            merged += len(before) > len(_sizes(restated))
    assert merged > 20


def test_what_is_said_of_regions_names_structures() -> None:
    task: Any = registry.load("brats/2024-gli").tasks["segmentation"]
    spec = task.metrics["dice"]
    assert spec.lesions.of("rc").dilation == 5
    assert spec.lesions.of("et").min_voxels == 11
    assert spec.lesions.of("wt") == spec.lesions
    assert "et: from 11 voxels and joined beside the same lesion of netc, then rc" in spec.own_parameters()
    assert not list(task.broken())
    rule = LesionRuleModel.model_validate({"regions": {"et": {"beside": ["nowhere"]}}})
    wrong = task.model_copy(update={"metrics": {"dice": spec.model_copy(update={"lesions": rule})}})
    assert [(one.code.value, one.cause) for one in wrong.broken()] == [
        ("structure-unknown", "no structure 'nowhere' (lesions: regions)")
    ]
