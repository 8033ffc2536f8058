"""Staging scores against scikit-learn, and the facts known about the LiQA and CARE-Liver leaderboards."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.scoring.kinds.classification import measures as cls
from medpodium.scoring.kinds.classification.measures import ClassificationCode

metrics = pytest.importorskip("sklearn.metrics")

# Positives and negatives of the CARE 2025 liver staging test sets: cirrhosis and S1 split, in and out of distribution.
COUNTS = {("ID", "cirrhosis"): (57, 63), ("ID", "S1"): (41, 79), ("OOD", "cirrhosis"): (23, 47), ("OOD", "S1"): (5, 65)}


@pytest.mark.parametrize("seed", range(60))
def test_scores_as_scikit_learn_computes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, classes = int(rng.integers(2, 80)), int(rng.integers(2, 6))
    true, given = rng.integers(0, classes, size), rng.integers(0, classes, size)
    true[:classes], given[:classes] = np.arange(classes)[:size], rng.permutation(classes)[:size]
    confusion = cls.confusion_matrix(true, given, classes)
    assert np.array_equal(confusion, metrics.confusion_matrix(true, given, labels=range(classes)))
    assert cls.accuracy(confusion) == pytest.approx(metrics.accuracy_score(true, given), abs=1e-12)
    assert cls.balanced_accuracy(confusion) == pytest.approx(metrics.balanced_accuracy_score(true, given), abs=1e-12)
    kappa = metrics.cohen_kappa_score(true, given, weights="quadratic", labels=range(classes))
    assert cls.quadratic_kappa(confusion) == pytest.approx(kappa, abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_binary_scores_with_ties_as_scikit_learn_computes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = np.append(rng.integers(0, 2, int(rng.integers(1, 90))), [0, 1])
    probability = np.round(rng.random(true.size), int(rng.integers(0, 4)))
    scores = cls.binary_scores(true, probability)
    positive = probability >= 0.5
    assert scores.auc == pytest.approx(metrics.roc_auc_score(true, probability), abs=1e-12)
    assert scores.sensitivity == pytest.approx(metrics.recall_score(true, positive), abs=1e-12)
    assert scores.specificity == pytest.approx(metrics.recall_score(true, positive, pos_label=0), abs=1e-12)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(true, positive), abs=1e-12)
    assert scores.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, positive), abs=1e-12)
    assert (scores.positives, scores.negatives) == (true.sum(), (1 - true).sum())
    assert scores.undefined == ()


@pytest.mark.parametrize(("positives", "negatives"), COUNTS.values())
def test_auc_is_a_multiple_of_one_half_pair(positives: int, negatives: int) -> None:
    rng = np.random.default_rng(positives)
    true = np.repeat([1, 0], [positives, negatives])
    for decimals in (0, 1, 2, 6):
        steps = cls.auc(true, np.round(rng.random(true.size), decimals)) * 2 * positives * negatives
        assert steps == pytest.approx(round(steps), abs=1e-8)


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


@pytest.mark.parametrize(
    ("correct", "total", "percent"), [(65, 70, 92.86), (23, 70, 32.86), (57, 120, 47.50), (79, 120, 65.83)]
)
def test_a_constant_answer_scores_what_the_leaderboard_prints(correct: int, total: int, percent: float) -> None:
    true = np.repeat([1, 0], [correct, total - correct])
    scores = cls.binary_scores(true, np.full(total, 0.7))
    assert round(100 * scores.accuracy, 2) == percent
    assert scores.auc == 0.5
    assert (scores.sensitivity, scores.specificity, scores.balanced_accuracy) == (1.0, 0.0, 0.5)


def test_exact_auc_of_small_sets() -> None:
    assert cls.auc([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1]) == 3.5 / 4
    assert cls.auc([1, 0], [0.2, 0.2]) == 0.5
    assert cls.auc([0, 1], [0.9, 0.1]) == 0.0
    assert cls.auc([True, False], [math.inf, -math.inf]) == 1.0


def test_quadratic_kappa_worked_by_hand() -> None:
    # Two classes at distance 1: quadratic kappa is plain kappa, (po - pe) / (1 - pe) = (0.7 - 0.5) / 0.5.
    assert cls.quadratic_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert cls.quadratic_kappa(np.diag([3, 4, 5])) == 1.0


def test_one_class_only_leaves_scores_undefined_and_says_which() -> None:
    scores = cls.binary_scores([1, 1, 1], [0.9, 0.2, 0.8])
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.sensitivity == pytest.approx(2 / 3)
    assert scores.undefined == ("auc", "specificity", "balanced_accuracy")
    assert math.isnan(scores.auc)
    assert cls.binary_scores([], []).undefined == (
        "accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy",
    )  # fmt: skip
    assert math.isnan(cls.quadratic_kappa(np.array([[5, 0], [0, 0]])))
    assert cls.balanced_accuracy(np.array([[3, 1], [0, 0]])) == 0.75


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


@pytest.mark.parametrize(
    ("true", "given"), [([0, 1], [0, 2]), ([0.5, 1], [0, 1]), ([0, -1], [0, 1]), ([0, 1, 1], [0, 1])]
)
def test_classes_out_of_range_are_errors(true: list[float], given: list[float]) -> None:
    with pytest.raises(ValueError, match=r"classes must be|references but"):
        cls.confusion_matrix(true, given, 2)


def test_nan_scores_are_errors() -> None:
    with pytest.raises(ValueError, match="NaN"):
        cls.auc([0, 1], [0.5, np.nan])
