"""More than two thousand random pairs of small masks against surface-distance, MedPy, nnU-Net's formula and scipy."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.pair import ReferenceCase

STRUCTURES = [frozenset({1}), frozenset({2}), frozenset({1, 2, 3})]
SPACINGS = [
    (1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (0.7, 0.7, 0.7), (3.0, 1.5, 0.5), (0.1, 0.2, 0.3), (2.5, 0.9765625, 0.9765625),
    (0.57, 5.0, 0.57), (1.1, 1.1, 7.3), (0.3, 0.4, 0.5), (10.0, 0.25, 0.25),
]  # fmt: skip


def random_labels(
    peers: SimpleNamespace, rng: np.random.Generator, shape: tuple[int, int, int]
) -> npt.NDArray[np.uint8]:
    """Draw a label map: noise, blobs, boxes to the border, full, single voxels, thin planes or nothing."""
    labels = np.zeros(shape, np.uint8)
    kind = rng.choice(
        ["noise", "blobs", "boxes", "full", "elements", "plane", "empty"], p=[0.2, 0.3, 0.2, 0.05, 0.1, 0.1, 0.05]
    )
    if kind == "plane":
        axis = int(rng.integers(0, 3))
        place: list[slice | int] = [slice(None)] * 3
        place[axis] = int(rng.integers(0, shape[axis]))
        labels[tuple(place)] = rng.integers(1, 3)
    else:
        peers.paint(rng, labels, kind, 2)
    return labels


def random_tolerance(rng: np.random.Generator, spacing: tuple[float, float, float]) -> float:
    """Draw a tolerance, most often one that some distances equal exactly, by one way of adding up or another."""
    steps = rng.integers(0, 4, 3)
    exact = math.sqrt(sum((int(n) * s) ** 2 for n, s in zip(steps, spacing, strict=True)))
    along = float(rng.integers(1, 4) * spacing[int(rng.integers(0, 3))])
    return float(rng.choice([exact, along, rng.uniform(0, 4)]))


@pytest.mark.parametrize("batch", range(10))
def test_random_masks_score_as_in_the_reference_libraries(batch: int, peers: SimpleNamespace) -> None:
    rng = np.random.default_rng(1000 + batch)
    compared = 0
    for _ in range(110):
        shape = tuple(int(n) for n in rng.integers(1, 13, 3))
        if rng.random() < 0.03:
            shape = (shape[0], shape[1], int(rng.integers(60, 150)))  # long rows: several words, far distances
        reference = random_labels(peers, rng, shape)
        prediction = random_labels(peers, rng, shape)
        if rng.random() < 0.4:  # like a real prediction: mostly right
            prediction = np.where(rng.random(shape) < 0.9, reference, prediction).astype(np.uint8)
        spacing = SPACINGS[int(rng.integers(0, len(SPACINGS)))]
        tolerance = random_tolerance(rng, spacing)
        order = str(rng.choice(["xyz", "zyx"]))
        if rng.random() < 0.2:
            prediction = prediction.astype(np.uint16)
        pair = ReferenceCase(reference, spacing, STRUCTURES, axis_order=order).compare(prediction)
        for number, labels in enumerate(STRUCTURES):
            masks = [np.isin(array, list(labels)) for array in (reference, prediction)]
            found = peers.ours(pair, number, tolerance)
            where = f"{shape} {spacing} {order} tolerance {tolerance!r} structure {number}"
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
            assert found["dice"] == peers.by_nnunet(*masks), where
            compared += 1
    assert compared > 200
