"""Probabilities of classes, checked; and the facts known about the LiQA and CARE-Liver leaderboards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.scoring.kinds.classification import checks as cls
from medpodium.scoring.kinds.classification.checks import ClassificationCode

# Positives and negatives of the CARE 2025 liver staging test sets: cirrhosis and S1 split, in and out of distribution.
COUNTS = {("ID", "cirrhosis"): (57, 63), ("ID", "S1"): (41, 79), ("OOD", "cirrhosis"): (23, 47), ("OOD", "S1"): (5, 65)}


def test_published_out_of_distribution_auc_lies_on_that_lattice(shared: Path) -> None:
    """The two OOD class counts are pinned by the leaderboard; BioDreamer's values fit no count (a known anomaly)."""
    table = pd.read_csv(next((shared / "data").rglob("care2025_liver_lifs_leaderboard.csv")))
    team = next(column for column in table if "team" in column.lower())
    rows = table[(table["domain"] == "OOD") & ~table[team].str.contains("dreamer", case=False)]
    columns = [column for column in table if "auc" in column.lower()]
    assert len(columns) == 2
    assert len(rows) >= 10
    for column, (positives, negatives) in zip(columns, [COUNTS["OOD", "cirrhosis"], COUNTS["OOD", "S1"]], strict=True):
        pairs = 2 * positives * negatives
        for percent in rows[column]:
            assert abs(round(percent / 100 * pairs) / pairs * 100 - percent) <= 0.0051


def test_probabilities_are_normalised_or_refused() -> None:
    rows = [
        [0.25, 0.25, 0.25, 0.2505],
        [0.25, 0.25, 0.25, 0.2520],
        [0.5, np.nan, 0.5, 0.0],
        [1.5, -0.5, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [0.1, 0.2, 0.3, 0.4],
        [np.inf, 0.0, 0.0, 0.0],
    ]
    values, findings = cls.check_probabilities([f"c{i}" for i in range(7)], rows, ["S1", "S2", "S3", "S4"])
    assert [(finding.where, finding.code) for finding in findings] == [
        ("c1", ClassificationCode.PROBABILITY_SUM),
        ("c2", ClassificationCode.PROBABILITY_NAN),
        ("c3", ClassificationCode.PROBABILITY_OUT_OF_RANGE),
        ("c4", ClassificationCode.PROBABILITY_SUM),
        ("c6", ClassificationCode.PROBABILITY_OUT_OF_RANGE),
    ]
    assert "1.002" in findings[0].cause
    assert "S2" in findings[1].cause
    assert "S1 is 1.5" in findings[2].cause
    assert all(finding.fix for finding in findings)
    assert values[0].sum() == pytest.approx(1.0, abs=1e-15)
    assert values[0] == pytest.approx(np.array([0.25, 0.25, 0.25, 0.2505]) / 1.0005)
    assert values[5] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert np.isnan(values[[1, 2, 3, 4, 6]]).all()


def test_the_wrong_number_of_classes_is_one_finding() -> None:
    values, (finding,) = cls.check_probabilities(["a"], [[0.5, 0.5]], ["S1", "S2", "S3", "S4"])
    assert finding.code is ClassificationCode.PROBABILITY_COUNT
    assert "2 probabilities" in finding.cause
    assert np.isnan(values).all()


def test_single_probabilities_are_checked() -> None:
    values, findings = cls.check_scores(["a", "b", "c"], [0.3, 97.0, np.nan], "S4")
    assert values[0] == 0.3
    assert np.isnan(values[1:]).all()
    assert [finding.code for finding in findings] == [
        ClassificationCode.PROBABILITY_OUT_OF_RANGE,
        ClassificationCode.PROBABILITY_NAN,
    ]
    assert "97" in findings[0].cause
