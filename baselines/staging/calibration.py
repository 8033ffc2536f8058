"""How well the staging baseline's probabilities fit what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pooled.confidence import briers, calibration_errors

BINS = 10
"""Of equal width."""


def calibrate(truth: npt.NDArray[np.bool_], repeats: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Return how well probabilities fit what happened, over repeated predictions of the same cases.

    Parameters
    ----------
    truth : ndarray of bool, shape (cases,)
    repeats : sequence of ndarray of float, shape (cases,)
        Probabilities of each repetition.

    Returns
    -------
    dict
        As :class:`medpodium.baselines.staging.model.StagingModel` describes; Brier score and expected
        calibration error are means over repetitions.
    """
    right = np.repeat(truth.astype(np.float64)[:, None], len(repeats), axis=1)
    confidence = np.stack([np.clip(own, 0.0, 1.0) for own in repeats], axis=1)
    weights = np.ones((1, len(truth)))
    at = np.clip(np.ceil(confidence * BINS - 1e-12).astype(np.int64) - 1, 0, BINS - 1)
    bins = [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "cases": float(inside.sum()) / len(repeats),
            "predicted": float(confidence[inside].mean()),
            "observed": float(right[inside].mean()),
        }
        for number in range(BINS)
        if (inside := at == number).any()
    ]
    return {
        "brier": float(briers(right, confidence, weights).mean()),
        "ece": float(calibration_errors(right, confidence, weights, BINS).mean()),
        "reliability": bins,
    }
