"""The staging baseline is estimated on patients it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("column", ["Subject ID", None])
def test_several_scans_of_a_patient_are_never_on_both_sides_of_a_fold(
    column: str | None, verb: Any, nnunet_installed: None, tmp_path: Path, monkeypatch: Any
) -> None:
    """Features that tell patients apart and nothing else say nothing about the stage: the AUC has to be about one half.

    Without a column the scans are copies of each other, which give themselves away.
    """
    try:
        from medpodium.baselines.staging import model as staging
        from medpodium.baselines.staging.features import FEATURES
    except ImportError:  # as 0.1.0 called them
        from medpodium.baselines import staging  # type: ignore[no-redef]
        from medpodium.baselines.staging_features import FEATURES

    found = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        features, rows = {}, []
        for patient in range(40):
            own, stage = random.normal(size=len(FEATURES)), patient % 4 + 1
            for scan in range(4):
                case = f"p{patient}-{scan}"
                features[case] = own if column is None else own + random.normal(0, 0.01, own.shape)
                rows.append(f"{case},S{stage},P{patient}")
        monkeypatch.setattr(staging, "collect", lambda *_, own=features: (own, []))
        (tmp_path / "stages.csv").write_text("\n".join([f"Case,stage,{column or 'site'}", *rows]))
        answer = verb("baseline", "stage", "fit", "liqa/2025", "--stages", tmp_path / "stages.csv", "--images",
                      tmp_path, "--model", tmp_path / "model.json")  # fmt: skip
        assert answer["cases"] == 160
        found += answer["auc"].values()
    # eight of them, each with a standard deviation of about 0.11 at ten and thirty patients
    assert 0.34 < np.mean(found) < 0.66, found


def test_calibration_is_that_of_scikit_learn(nnunet_installed: None) -> None:
    """Brier score and reliability of an independent library; probabilities that are drawn from are calibrated."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    from medpodium.baselines.staging.calibration import calibrate

    random = np.random.default_rng(5)
    given = random.uniform(0.01, 0.99, 4000)
    truth = random.uniform(size=4000) < given
    found = calibrate(truth, [given, given])
    assert found["brier"] == pytest.approx(brier_score_loss(truth, given), abs=1e-12)
    observed, predicted = calibration_curve(truth, given, n_bins=10)
    assert [row["observed"] for row in found["reliability"]] == pytest.approx(list(observed))
    assert [row["predicted"] for row in found["reliability"]] == pytest.approx(list(predicted))
    assert sum(row["cases"] for row in found["reliability"]) == 4000
    assert found["ece"] < 0.04
    assert calibrate(truth, [given**3])["ece"] > 0.15
