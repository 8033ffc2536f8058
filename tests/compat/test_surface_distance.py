"""``medpodium.compat.surface_distance`` against the package whose place it takes, on random masks."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import surface_distance as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.compat import surface_distance as ours

KEYS = ("distances_gt_to_pred", "distances_pred_to_gt", "surfel_areas_gt", "surfel_areas_pred")
SPACINGS: list[tuple[float, ...]] = [(1, 1, 1), (5.0, 0.8, 0.8), (0.3, 2.0, 1.1), (0.7, 1.3)]


@pytest.fixture(autouse=True)
def old_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give version 0.1 the names that NumPy 2 removed: without them it fails on every empty mask."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    warnings.simplefilter("ignore")


def everything(library: Any, first: Any, second: Any, spacing: tuple[float, ...]) -> list[float]:
    found = library.compute_surface_distances(first, second, spacing)
    return [
        *library.compute_average_surface_distance(found),
        *(library.compute_robust_hausdorff(found, percent) for percent in (50, 95, 99.5, 100)),
        *(share for mm in (0, 1, 2.3) for share in library.compute_surface_overlap_at_tolerance(found, mm)),
        *(library.compute_surface_dice_at_tolerance(found, mm) for mm in (0, 1, 2.3)),
        library.compute_dice_coefficient(first, second),
    ]


def masks(seed: int, axes: int, filling: float) -> tuple[Any, Any]:
    """Rough boxes and specks; with nothing to fill them, empty masks."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in rng.integers(1, 12, axes))
    made = []
    for _ in range(2):
        corner = [sorted(rng.integers(0, size + 1, 2)) for size in shape]
        mask = rng.random(shape) < filling
        mask[tuple(slice(int(low), int(high)) for low, high in corner)] = rng.random() < 0.8
        made.append(mask)
    return made[0], made[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SPACINGS), st.sampled_from([0.0, 0.02, 0.5]))
def test_values_are_the_same(seed: int, spacing: tuple[float, ...], filling: float) -> None:
    first, second = masks(seed, len(spacing), filling)
    one, other = (everything(library, first, second, spacing) for library in (ours, theirs))
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SPACINGS), st.sampled_from([0.0, 0.05]))
def test_arrays_are_the_same(seed: int, spacing: tuple[float, ...], filling: float) -> None:
    first, second = masks(seed, len(spacing), filling)
    one, other = (library.compute_surface_distances(first, second, spacing) for library in (ours, theirs))
    assert list(one) == list(KEYS)
    for key in KEYS:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-12, atol=1e-12, err_msg=key)
    # a dictionary that came from elsewhere, or went through pickle, is understood, too
    plain = pickle.loads(pickle.dumps(dict(one)))
    for asked in (ours.compute_robust_hausdorff, theirs.compute_robust_hausdorff):
        assert asked(plain, 95) == pytest.approx(ours.compute_robust_hausdorff(one, 95), rel=1e-12)
    for library in (ours, theirs):
        got = library.compute_average_surface_distance(plain)
        np.testing.assert_allclose(got, ours.compute_average_surface_distance(one), rtol=1e-12)


def test_empty_masks() -> None:
    """What surface-distance's documentation says of them."""
    nothing, something = np.zeros((4, 5, 6), bool), np.zeros((4, 5, 6), bool)
    something[1:3, 1:3, 1:3] = True
    for first, second in ((nothing, something), (something, nothing), (nothing, nothing)):
        one, other = (everything(library, first, second, (1, 2, 3)) for library in (ours, theirs))
        np.testing.assert_array_equal(one, other)
    found = ours.compute_surface_distances(something, nothing, (1, 2, 3))
    assert np.isinf(found["distances_gt_to_pred"]).all()
    assert found["distances_pred_to_gt"].size == 0
    assert ours.compute_robust_hausdorff(found, 95) == math.inf
    assert ours.compute_surface_dice_at_tolerance(found, 5) == 0


def test_release_fails_on_empty_masks_with_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the import line is worth changing; ``docs/migrate.md`` says it."""
    monkeypatch.delattr(np, "Inf", raising=False)
    nothing, something = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    if not hasattr(np, "Inf"):
        with pytest.raises(AttributeError, match="Inf"):
            theirs.compute_surface_distances(nothing, something, (1, 1, 1))
    assert ours.compute_robust_hausdorff(ours.compute_surface_distances(nothing, something, (1, 1, 1)), 95) == math.inf


@pytest.mark.parametrize(
    ("first", "second", "spacing"),
    [
        (np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool), (1, 1)),
        ([[True]], np.zeros((1, 1), bool), (1, 1)),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 1, 1)),
        (np.zeros((3, 3, 3, 3), bool), np.zeros((3, 3, 3, 3), bool), (1, 1, 1, 1)),
    ],
)
def test_what_it_refuses(first: Any, second: Any, spacing: tuple[float, ...]) -> None:
    for library in (ours, theirs):
        with pytest.raises(ValueError, match="mask"):
            library.compute_surface_distances(first, second, spacing)
