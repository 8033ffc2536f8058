"""Overlap metrics against hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medpodium.scoring.measures import overlap
from medpodium.scoring.measures.pair import measure_pair


@pytest.fixture
def counts() -> overlap.Overlap:
    reference, prediction = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    reference[0, 0, :4] = 1
    prediction[0, 0, 1:6] = 1
    prediction[1, 0, 0] = 2
    return measure_pair(reference, prediction, (10, 5, 2), [frozenset({1})]).overlap(0)


def test_counts_give_every_overlap_metric(counts: overlap.Overlap) -> None:
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (3, 2, 1)
    assert overlap.dice(counts) == 6 / 9
    assert overlap.iou(counts) == 3 / 6
    assert overlap.volume_similarity(counts) == 1 - 1 / 9
    assert overlap.relative_volume_difference(counts) == 0.25
    assert overlap.absolute_relative_volume_difference(overlap.Overlap(3, 0, 1, 1.0)) == 0.25
    assert overlap.relative_volume_difference(overlap.Overlap(3, 0, 1, 1.0)) == -0.25


def test_volumes_are_millilitres(counts: overlap.Overlap) -> None:
    assert overlap.tp_volume(counts) == pytest.approx(0.3)  # a voxel of 10 x 5 x 2 mm is 0.1 ml
    assert overlap.fp_volume(counts) == pytest.approx(0.2)
    assert overlap.fn_volume(counts) == pytest.approx(0.1)


def test_empty_masks_are_undefined_where_a_ratio_is() -> None:
    none, extra = overlap.Overlap(0, 0, 0, 1.0), overlap.Overlap(0, 5, 0, 1.0)
    for metric in (overlap.dice, overlap.iou, overlap.volume_similarity, overlap.relative_volume_difference):
        assert math.isnan(metric(none))
    assert math.isnan(overlap.relative_volume_difference(extra))
    assert overlap.dice(extra) == 0
    assert overlap.volume_similarity(extra) == 0


def test_the_confusion_matrix_counts_every_voxel() -> None:
    rng = np.random.default_rng(1)
    reference, prediction = (rng.integers(0, 5, (7, 6, 13)).astype(np.uint8) for _ in range(2))
    pair = measure_pair(reference, prediction, (1, 1, 1), [frozenset({1}), frozenset({3})])
    index = np.array([0, 1, 3, 2, 3])  # background, 1, other, 3, other
    expected = np.zeros((4, 4), np.int64)
    np.add.at(expected, (index[reference], index[prediction]), 1)
    assert pair.confusion.tolist() == expected.tolist()
