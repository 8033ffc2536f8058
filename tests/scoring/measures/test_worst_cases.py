"""Masks that cost most: the same values as the slow way gives, by ways that do not go through every pair."""

from __future__ import annotations

import numpy as np
import pytest
import surface_distance

from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.surfaces import metrics, transform

ONE = [frozenset({1})]
SPACING = (1.5, 0.8, 0.8)


def test_where_rounding_decides_only_the_direction_in_doubt_is_transformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One direction of a lesion against noise takes seconds and a gigabyte; nobody asks for the other one."""
    reference, prediction = (np.zeros((12, 20, 20), np.uint8) for _ in range(2))
    reference[4:8, 5:15, 5:15] = 1
    prediction[4:8, 5:15, 5:15] = 1
    prediction[9, 2:8, 2:8] = 1
    asked = []
    whole = transform.transformed_distances

    def counted(own: tuple[np.ndarray, np.ndarray], *rest: object) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(own[0]))
        return whole(own, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transform, "transformed_distances", counted)
    pair = measure_pair(reference, prediction, SPACING, ONE, axis_order="zyx").surfels(0)
    side = pair.from_prediction
    share = 100 * float(side.weights[0]) / side.total  # exactly where the first step of the shares is
    found = surface_distance.compute_surface_distances(reference == 1, prediction == 1, SPACING)
    assert metrics.percentile_weighted(pair, share) == surface_distance.compute_robust_hausdorff(found, share)
    assert asked == [len(pair.prediction.points)]
