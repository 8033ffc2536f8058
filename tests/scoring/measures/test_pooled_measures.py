"""Pooled metrics under case weights equal scikit-learn's with sample weights, or on repeated rows, on random sets."""

from __future__ import annotations

import os
import warnings
from functools import partial

import numpy as np
import pytest

from medpodium.scoring.measures.pooled import confidence, curves, labels

metrics = pytest.importorskip("sklearn.metrics")
SETS = int(os.environ.get("MEDPODIUM_RANDOM_SETS", "150"))
"""Random sets per test; 1,000 were tried once, a few are enough to see that nothing broke."""


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def drawn(seed: int, size: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Return weights as counts of a resample, and the positions of the rows repeated so often."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(size, np.full(size, 1 / size))
    return rng, counts.astype(float)[None], np.repeat(np.arange(size), counts)


def test_labels() -> None:
    for seed in range(SETS):
        size = 5 + seed % 25
        rng, weights, rows = drawn(seed, size)
        classes = 2 + seed % 4
        truth, given = rng.integers(0, classes, size), rng.integers(0, classes, (size, 1))
        true, said = truth[rows], given[rows, 0]
        own = weights[0][np.unique(rows)]
        kept = truth[np.unique(rows)], given[np.unique(rows), 0]
        expected = {
            "accuracy": metrics.accuracy_score(*kept, sample_weight=own),
            "balanced": metrics.balanced_accuracy_score(*kept, sample_weight=own),
            "matthews": metrics.matthews_corrcoef(*kept, sample_weight=own),
            "kappa": metrics.cohen_kappa_score(*kept, labels=range(classes), sample_weight=own),
            "linear": metrics.cohen_kappa_score(true, said, labels=range(classes), weights="linear"),
            "quadratic": metrics.cohen_kappa_score(true, said, labels=range(classes), weights="quadratic"),
            "macro": metrics.f1_score(true, said, average="macro"),
            "micro": metrics.f1_score(true, said, average="micro"),
            "weighted": metrics.f1_score(true, said, average="weighted"),
        }
        of = (truth, given, weights, classes)
        found = {
            "accuracy": labels.accuracies(*of[:3]),
            "balanced": labels.balanced_accuracies(*of),
            "matthews": labels.matthews(*of),
            "kappa": labels.kappas(*of),
            "linear": labels.kappas(*of, "linear"),
            "quadratic": labels.kappas(*of, "quadratic"),
            "macro": labels.f1s(*of, "macro"),
            "micro": labels.f1s(*of, "micro"),
            "weighted": labels.f1s(*of, "weighted"),
        }
        for name, value in expected.items():
            assert found[name][0, 0] == pytest.approx(value, abs=1e-12, nan_ok=True), (name, seed)


def best_sensitivity(truth: np.ndarray, score: np.ndarray, weights: np.ndarray, specificity: float) -> float:
    false, true, _ = metrics.roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    return float(true[false <= 1 - specificity + 1e-12].max())


def test_curves() -> None:
    for seed in range(SETS):
        size = 8 + seed % 25
        rng, weights, rows = drawn(seed, size)
        truth, score = rng.integers(0, 2, size), np.round(rng.random((size, 1)), 1 + seed % 3)
        if len(set(truth[rows].tolist())) < 2:
            assert np.isnan(curves.areas(truth, score, weights)).all()
            continue
        own = weights[0]
        expected = [
            metrics.roc_auc_score(truth, score[:, 0], sample_weight=own),
            metrics.average_precision_score(truth, score[:, 0], sample_weight=own),
            best_sensitivity(truth, score[:, 0], own, 0.8),
        ]
        sensitivity = partial(curves.sensitivities_at, specificity=0.8)
        for measure, value in zip((curves.areas, curves.average_precisions, sensitivity), expected, strict=True):
            assert measure(truth, score, weights)[0, 0] == pytest.approx(value, abs=1e-12), (measure, seed)


def test_several_classes() -> None:
    for seed in range(SETS):
        size, classes = 12 + seed % 10, 3
        rng, weights, rows = drawn(seed, size)
        truth = rng.integers(0, classes, size)
        given = rng.dirichlet(np.ones(classes), size)
        found = given[:, None, :]
        if len(set(truth[rows].tolist())) < classes:
            assert np.isnan(curves.areas_of_classes(truth, found, weights)).all()
            continue
        sides = np.eye(classes)[truth[rows]]
        for average in ("macro", "micro", "weighted"):
            value = metrics.roc_auc_score(sides, given[rows], average=average)
            assert curves.areas_of_classes(truth, found, weights, average)[0, 0] == pytest.approx(value, abs=1e-12)
        for average in ("macro", "micro"):
            value = metrics.average_precision_score(sides, given[rows], average=average)
            own = curves.average_precisions_of_classes(truth, found, weights, average)
            assert own[0, 0] == pytest.approx(value, abs=1e-12)
        value = metrics.log_loss(truth[rows], given[rows], labels=range(classes))
        assert confidence.log_losses_of_classes(truth, found, weights)[0, 0] == pytest.approx(value, abs=1e-12)
        value = float(np.mean(((given[rows] - sides) ** 2).sum(axis=1)))
        assert confidence.briers_of_classes(truth, found, weights)[0, 0] == pytest.approx(value, abs=1e-12)


def by_hand(right: np.ndarray, given: np.ndarray, bins: int, binning: str) -> float:
    """Return the expected calibration error as its papers write it, case by case."""
    order = np.argsort(given, kind="stable")
    if binning == "mass":
        parts = np.split(order, [len(given) * k // bins for k in range(1, bins)])
    else:
        parts = [
            [i for i in order if k / bins < given[i] <= (k + 1) / bins or (k == given[i] == 0)] for k in range(bins)
        ]
    return sum(abs(float(np.sum(right[part] - given[part]))) for part in map(list, parts)) / len(given)


def test_confidence() -> None:
    for seed in range(SETS):
        size = 20 + 4 * (seed % 5)
        rng, weights, rows = drawn(seed, size)
        right, given = rng.integers(0, 2, (size, 1)).astype(float), np.round(rng.random((size, 1)), 1 + seed % 3)
        true, said = right[rows, 0], given[rows, 0]
        own = (right, given, weights)
        if len(set(true.tolist())) == 2:
            assert confidence.briers(*own)[0, 0] == pytest.approx(metrics.brier_score_loss(true, said), abs=1e-12)
            assert confidence.log_losses(*own)[0, 0] == pytest.approx(metrics.log_loss(true, said), abs=1e-12)
        assert confidence.shifts(*own)[0, 0] == pytest.approx(said.mean() - true.mean(), abs=1e-12)
        for bins, binning in ((10, "width"), (4, "mass")):
            found = confidence.calibration_errors(*own, bins, binning)[0, 0]
            assert found == pytest.approx(by_hand(true, said, bins, binning), abs=1e-12), (seed, binning)


def test_an_answer_that_is_no_class_is_wrong_and_no_false_alarm() -> None:
    truth, given = np.array([0, 0, 1, 1]), np.array([[0], [labels.NO_CLASS], [1], [labels.NO_CLASS]])
    of = (truth, given, np.ones((1, 4)))
    assert labels.accuracies(*of)[0, 0] == 0.5
    assert labels.f1s(*of, 2)[0, 0] == pytest.approx(2 / 3)  # precision 1, recall 1/2 in both classes
    assert labels.f1s(*of, 2, "micro")[0, 0] == pytest.approx(4 / 6)
    text = np.array(["a", "a", "b", "b"]), np.array(["a", "none", "b", "none"])
    assert labels.matthews(*of, 2)[0, 0] == pytest.approx(metrics.matthews_corrcoef(*text), abs=1e-12)


def test_nothing_drawn_is_undefined() -> None:
    truth, given, none = np.array([0, 1]), np.array([[0], [1]]), np.zeros((1, 2))
    for average in ("macro", "micro", "weighted"):
        assert np.isnan(labels.f1s(truth, given, none, 2, average)).all()
    assert np.isnan(labels.matthews(truth, given, none, 2)).all()
    score = np.array([[0.1], [0.9]])
    assert np.isnan(curves.average_precisions(truth, score, none)).all()
    assert np.isnan(curves.sensitivities_at(truth, score, none, 0.9)).all()
    assert np.isnan(confidence.calibration_errors(score, score, none)).all()
    assert np.isnan(confidence.briers(score, score, none)).all()
