"""More than a thousand random pairs of masks in a plane against surface-distance's and MedPy's own 2-D values."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.pair import ReferenceCase

STRUCTURES = [frozenset({1}), frozenset({2}), frozenset({1, 2, 3})]
SPACINGS = [(1.0, 1.0), (5.0, 0.8), (0.7, 0.7), (0.1, 0.3), (0.57, 5.0), (0.3, 0.4), (12.0, 0.25), (0.9765625, 2.5)]


def random_plane(peers: SimpleNamespace, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draw a label map: noise, blobs, boxes to the border, full, single pixels, lines, checkerboards or nothing."""
    labels = np.zeros(shape, np.uint8)
    kind = rng.choice(["noise", "blobs", "boxes", "full", "elements", "line", "board", "empty"])
    if kind == "line":
        labels[int(rng.integers(0, shape[0]))] = rng.integers(1, 3)
    elif kind == "board":
        labels[:] = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 2 + rng.integers(0, 2)
    else:
        peers.paint(rng, labels, kind, 3)
    return labels


def random_tolerance(rng: np.random.Generator, spacing: tuple[float, float]) -> float:
    """Draw a tolerance, most often one that some distances equal exactly, by one way of adding up or another."""
    exact = math.hypot(*(int(n) * s for n, s in zip(rng.integers(0, 4, 2), spacing, strict=True)))
    along = float(rng.integers(1, 4) * spacing[int(rng.integers(0, 2))])
    return float(rng.choice([exact, along, rng.uniform(0, 4)]))


@pytest.mark.parametrize("batch", range(4))
def test_random_planes_score_as_in_the_reference_libraries(batch: int, peers: SimpleNamespace) -> None:
    rng = np.random.default_rng(2000 + batch)
    compared = 0
    for _ in range(120):
        shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
        if rng.random() < 0.05:
            shape = (int(rng.integers(150, 400)), int(rng.integers(60, 300)))  # far distances
        reference, prediction = random_plane(peers, rng, shape), random_plane(peers, rng, shape)
        if rng.random() < 0.4:  # like a real prediction: mostly right
            prediction = np.where(rng.random(shape) < 0.9, reference, prediction).astype(np.uint8)
        spacing = SPACINGS[int(rng.integers(0, len(SPACINGS)))]
        tolerance = random_tolerance(rng, spacing)
        order = str(rng.choice(["xyz", "zyx"]))
        if rng.random() < 0.2:
            prediction = prediction.astype(np.uint16)
        thickness = float(rng.choice([0.0001, 1.0, 1e6]))  # has no meaning in a plane
        case = ReferenceCase(reference[None], (thickness, *spacing), STRUCTURES, axis_order=order, planar=True)
        pair = case.compare(prediction[None])
        for number, labels in enumerate(STRUCTURES):
            masks = [np.isin(array, list(labels)) for array in (reference, prediction)]
            found = peers.ours(pair, number, tolerance)
            where = f"{shape} {spacing} {order} tolerance {tolerance!r} structure {number}"
            area = math.prod(spacing)
            assert pair.overlap(number).reference * pair.overlap(number).voxel_size == masks[0].sum() * area, where
            if not (masks[0].any() and masks[1].any()):
                undefined = [name for name in found if name.startswith(("surfel", "border"))]
                assert all(math.isnan(found[name]) for name in undefined), where
                continue
            given = list(spacing)
            if order == "xyz":
                masks, given = [np.ascontiguousarray(mask.T) for mask in masks], given[::-1]
            expected = peers.by_surface_distance(*masks, given, tolerance)
            expected |= peers.by_medpy(*masks, given)
            expected |= peers.by_transform(*masks, given, tolerance)
            assert not peers.differences(expected, found), where
            compared += 1
    assert compared > 150
