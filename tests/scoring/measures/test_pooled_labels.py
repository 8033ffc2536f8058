"""Pooled scores under case weights: scikit-learn with sample weights, repeated rows, exact values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medpodium.scoring.measures.pooled import curves, labels

metrics = pytest.importorskip("sklearn.metrics")


def _draw(seed: int) -> tuple[np.random.Generator, int, np.ndarray]:
    rng = np.random.default_rng(seed)
    cases = int(rng.integers(4, 60))
    weights = rng.multinomial(cases, np.full(cases, 1 / cases), size=7).astype(np.float64)
    weights[0] = 1.0
    return rng, cases, weights


@pytest.mark.parametrize("seed", range(60))
def test_binary_scores_are_those_of_scikit_learn_with_sample_weights(seed: int) -> None:
    rng, cases, weights = _draw(seed)
    truth = rng.integers(0, 2, cases)
    score = np.round(rng.random((cases, 3)), int(rng.integers(1, 4)))  # few decimals: many ties
    given = (score >= 0.5).astype(np.int64)
    area, right = curves.areas(truth, score, weights), labels.accuracies(truth, given, weights)
    recall = labels.recalls(truth, given, weights, 2)
    for row, own in enumerate(weights):
        for team in range(3):
            keep = own > 0
            said = (truth[keep], given[keep, team])
            assert right[row, team] == pytest.approx(metrics.accuracy_score(*said, sample_weight=own[keep]), abs=1e-12)
            positives, negatives = own[truth == 1].sum(), own[truth == 0].sum()
            assert np.isnan(area[row, team]) == (positives == 0 or negatives == 0)
            assert np.isnan(recall[row, team]).tolist() == [negatives == 0, positives == 0]
            if positives and negatives:
                expected = metrics.roc_auc_score(truth, score[:, team], sample_weight=own)
                assert area[row, team] == pytest.approx(expected, abs=1e-12)
                for label in (0, 1):
                    expected = metrics.recall_score(*said, pos_label=label, sample_weight=own[keep])
                    assert recall[row, team, label] == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(60))
def test_scores_of_all_classes_are_those_of_scikit_learn_with_sample_weights(seed: int) -> None:
    rng, cases, weights = _draw(1000 + seed)
    classes = int(rng.integers(2, 12))
    truth, given = rng.integers(0, classes, cases), rng.integers(0, classes, (cases, 3))
    balanced = labels.balanced_accuracies(truth, given, weights, classes)
    kappa = labels.quadratic_kappas(truth, given, weights, classes)
    for row, own in enumerate(weights):
        keep = own > 0
        for team in range(3):
            true, said = truth[keep], given[keep, team]
            expected = metrics.balanced_accuracy_score(true, said, sample_weight=own[keep])
            assert balanced[row, team] == pytest.approx(expected, abs=1e-12)
            expected = metrics.cohen_kappa_score(
                true, said, weights="quadratic", labels=range(classes), sample_weight=own[keep]
            )
            assert kappa[row, team] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(60))
def test_whole_weights_are_repeated_rows_to_the_bit(seed: int) -> None:
    rng, cases, weights = _draw(2000 + seed)
    classes = int(rng.integers(2, 12))
    truth, given = rng.integers(0, classes, cases), rng.integers(0, classes, (cases, 2))
    score = rng.random((cases, 2))
    late = (truth == classes - 1).astype(np.int64)
    found = {
        "accuracy": labels.accuracies(truth, given, weights),
        "balanced": labels.balanced_accuracies(truth, given, weights, classes),
        "kappa": labels.quadratic_kappas(truth, given, weights, classes),
        "auc": curves.areas(late, score, weights),
    }
    for row, own in enumerate(weights.astype(int)):
        repeated = np.repeat(np.arange(cases), own)
        for team in range(2):
            true, ones = truth[repeated], np.ones((1, repeated.size))
            said = given[repeated][:, [team]]
            expected = {
                "accuracy": labels.accuracies(true, said, ones),
                "balanced": labels.balanced_accuracies(true, said, ones, classes),
                "kappa": labels.quadratic_kappas(true, said, ones, classes),
                "auc": curves.areas(late[repeated], score[repeated][:, [team]], ones),
            }
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name][row, team], value[0, 0], err_msg=name)


def test_a_case_left_out_is_a_case_less_for_that_submission_only() -> None:
    truth = np.array([0, 0, 1, 1, 1])
    score = np.array([[0.1, 0.1], [0.9, np.nan], [0.8, 0.8], [0.2, 0.2], [0.95, 0.95]])
    given = np.where(np.isnan(score), labels.LEFT_OUT, score >= 0.5).astype(np.int64)
    ones = np.ones((1, 5))
    # 4 of 6 pairs in order with case 1, 3 of 3 without it
    assert curves.areas(truth, score, ones).tolist() == [[4 / 6, 1.0]]
    assert labels.accuracies(truth, given, ones).tolist() == [[3 / 5, 3 / 4]]
    assert labels.recalls(truth, given, ones, 2).tolist() == [[[0.5, 2 / 3], [1.0, 2 / 3]]]
    assert labels.balanced_accuracies(truth, given, ones, 2)[0, 1] == pytest.approx((1 + 2 / 3) / 2)


def test_nothing_drawn_and_one_class_only_are_undefined() -> None:
    truth, given, score = np.array([0, 1]), np.array([[0], [1]]), np.array([[0.2], [0.7]])
    weights = np.array([[0.0, 0.0], [3.0, 0.0]])
    assert np.isnan(curves.areas(truth, score, weights)).all()
    assert np.isnan(labels.quadratic_kappas(truth, given, weights, 2)).all()
    accuracy = labels.accuracies(truth, given, weights)
    assert np.isnan(accuracy[0, 0])
    assert accuracy[1, 0] == 1.0
    assert curves.areas(truth, np.full((2, 1), np.nan), np.ones((1, 2))).shape == (1, 1)


def _area(truth: list[int], score: list[float]) -> float:
    column = np.array(score, dtype=np.float64)[:, None]
    return float(curves.areas(np.array(truth), column, np.ones((1, len(truth))))[0, 0])


def test_exact_auc_of_small_sets() -> None:
    assert _area([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1]) == 3.5 / 4
    assert _area([1, 0], [0.2, 0.2]) == 0.5
    assert _area([0, 1], [0.9, 0.1]) == 0.0
    assert _area([1, 0], [np.inf, -np.inf]) == 1.0


def test_quadratic_kappa_worked_by_hand() -> None:
    # Two classes at distance 1: quadratic kappa is plain kappa, (po - pe) / (1 - pe) = (0.7 - 0.5) / 0.5.
    truth, given = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert labels.quadratic_kappas(truth, given[:, None], np.ones((1, 50)), 2)[0, 0] == pytest.approx(0.4)
    right = np.repeat([0, 1, 2], [3, 4, 5])
    assert labels.quadratic_kappas(right, right[:, None], np.ones((1, 12)), 3)[0, 0] == 1.0
