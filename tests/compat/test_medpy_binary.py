"""``medpodium.compat.medpy_binary`` against MedPy, on random masks of one to four axes."""

from __future__ import annotations

import warnings
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric import binary as theirs

from medpodium.compat import medpy_binary as ours

OVERLAPS = ("dc", "jc", "precision", "recall", "ravd")
DISTANCES = ("hd", "hd95", "asd", "assd")


def said(library: Any, name: str, *words: Any, **more: Any) -> Any:
    """Return a value, or the kind of its error; counts are Python's, as MedPy expects them of NumPy."""
    plain = mock.patch.object(np, "count_nonzero", lambda mask: int(np.sum(mask)))
    with warnings.catch_warnings(), plain:
        warnings.simplefilter("ignore")
        try:
            return float(getattr(library, name)(*words, **more))
        except RuntimeError:
            return "RuntimeError"


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(9,), (7, 8), (5, 6, 7), (3, 4, 3, 4)]),
    st.sampled_from([None, 2.5, "axes"]),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.03, 0.6]),
)
def test_values_are_the_same(
    seed: int, shape: tuple[int, ...], spacing: Any, connectivity: int, filling: float
) -> None:
    rng = np.random.default_rng(seed)
    first, second = ((rng.random(shape) < filling).astype(kind) for kind in (np.int16, bool))
    first[tuple(slice(0, size // 2 + 1) for size in shape)] = 3 if rng.random() < 0.7 else 0
    sizes = tuple(rng.uniform(0.4, 4, len(shape))) if spacing == "axes" else spacing
    for name in OVERLAPS:
        one, other = (said(library, name, first, second) for library in (ours, theirs))
        assert one == pytest.approx(other, rel=1e-12, nan_ok=True) if one != other else True, name
    for name in DISTANCES:
        more = {"voxelspacing": sizes, "connectivity": connectivity}
        one, other = (said(library, name, first, second, **more) for library in (ours, theirs))
        assert one == other or one == pytest.approx(other, rel=1e-12), name


def test_empty_masks() -> None:
    nothing, something = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    for first, second in ((nothing, nothing), (nothing, something), (something, nothing)):
        for name in (*OVERLAPS, *DISTANCES):
            one, other = (said(library, name, first, second) for library in (ours, theirs))
            assert one == other, name
    assert [getattr(ours, name)(nothing, nothing) for name in ("dc", "jc", "precision", "recall")] == [1, 1, 0, 0]


def test_spacing_of_other_axes_is_refused() -> None:
    mask = np.ones((3, 4, 5), bool)
    for library in (ours, theirs):
        with pytest.raises(RuntimeError, match=r"length|values"):
            library.hd(mask, mask, voxelspacing=(1, 2))
