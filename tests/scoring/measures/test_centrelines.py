"""Centreline Dice: tubes whose value is known, and scikit-image's skeletons of whole arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.skeletons import centreline_dice, skeleton_points

morphology = pytest.importorskip("skimage.morphology")

Mask = npt.NDArray[np.uint8]


def cldice(reference: Mask, prediction: Mask, thinning: str = "lee-1994", planar: bool = False) -> float:
    pair = measure_pair(reference, prediction, (1.0, 1.0, 1.0), [frozenset({1})], planar=planar)
    return centreline_dice(*pair.centreline_shares(0, thinning))


def restated(reference: Mask, prediction: Mask, thinning: str, planar: bool) -> float:
    """Return clDice as its paper defines it, on arrays as they are."""

    def thin(mask: Mask) -> npt.NDArray[np.bool_]:
        method = {"lee-1994": "lee", "zhang-1984": "zhang"}[thinning]
        own = mask[0] if planar else mask
        return np.asarray(morphology.skeletonize(own > 0, method=method)).reshape(mask.shape) > 0

    precision = (thin(prediction) & (reference > 0)).sum() / thin(prediction).sum()
    sensitivity = (thin(reference) & (prediction > 0)).sum() / thin(reference).sum()
    both = precision + sensitivity
    return 2 * precision * sensitivity / both if both else 0.0


def test_a_tube_that_is_half_found() -> None:
    reference = np.zeros((5, 5, 41), np.uint8)
    reference[2, 2, :] = 1  # a line is its own skeleton
    prediction = reference.copy()
    prediction[..., 20:] = 0
    assert cldice(reference, prediction) == pytest.approx(2 * (20 / 41) / (1 + 20 / 41))
    assert cldice(reference, reference) == 1.0
    thick = np.zeros_like(reference)
    thick[1:4, 1:4] = 1
    assert cldice(reference, thick) == 1.0  # thickness does not count
    beside = np.zeros_like(reference)
    beside[0, 0, :] = 1
    assert cldice(reference, beside) == 0.0


@pytest.mark.parametrize(("thinning", "planar"), [("lee-1994", False), ("lee-1994", True), ("zhang-1984", True)])
def test_one_hundred_random_pairs_as_scikit_image_thins_them(thinning: str, planar: bool) -> None:
    from scipy import ndimage

    rng = np.random.default_rng(5)
    for _ in range(100):
        shape = (1, *rng.integers(6, 30, 2)) if planar else tuple(rng.integers(4, 14, 3))
        field = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 0 if planar else 1, 1, 1))
        field[1] += field[0]
        reference, prediction = (field > 0).astype(np.uint8)
        if reference.any() and prediction.any():
            assert cldice(reference, prediction, thinning, planar) == pytest.approx(
                restated(reference, prediction, thinning, planar), abs=1e-12
            )


def test_a_skeleton_does_not_depend_on_the_background_around() -> None:
    rng = np.random.default_rng(6)
    mask = np.zeros((12, 13, 14), np.uint8)
    mask[3:9, 4:12, 2:11] = rng.random((6, 8, 9)) < 0.8
    found = skeleton_points(mask)
    assert np.array_equal(found, np.argwhere(morphology.skeletonize(mask > 0, method="lee")))
    assert len(skeleton_points(np.zeros((2, 3, 4)))) == 0
    with pytest.raises(ValueError, match="planes only"):
        skeleton_points(mask, "zhang-1984")


def test_the_reference_is_thinned_once_and_unions_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from medpodium.scoring.measures import skeletons
    from medpodium.scoring.measures.pair import ReferenceCase

    reference = np.zeros((3, 3, 20), np.uint8)
    reference[1, 1, :10], reference[1, 1, 10:] = 1, 2
    calls = []
    original = skeletons.skeleton_points
    monkeypatch.setattr(skeletons, "skeleton_points", lambda *a, **k: calls.append(1) or original(*a, **k))
    case = ReferenceCase(reference, (1, 1, 1), [frozenset({1, 2})])
    for _ in range(3):
        assert case.compare(reference.copy()).centreline_shares(0, "lee-1994") == (1.0, 1.0)
    assert len(calls) == 4
