"""Tables of observations against scikit-learn and hand counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from medpodium.scoring.evidence.observed import calibration, choices, curves, pairs
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.kinds.views import UNANSWERED, Certainty, Choices, Pairs, Places, Sides, Views

CASES, TEAMS = 240, ("one", "two", "three")
NAMES = tuple(f"c{at:03d}" for at in range(CASES))
UNITS = Units(NAMES, np.arange(CASES), NAMES, ("",) * CASES)
EACH = np.arange(CASES)


def _views() -> Views:
    levels = tuple("low" if at % 2 else "high" for at in range(CASES))
    return Views(NAMES, TEAMS, {"level": levels}, ())


def _random() -> np.random.Generator:
    return np.random.default_rng(17)


def test_curves_are_those_of_scikit_learn() -> None:
    random = _random()
    truth = random.integers(0, 2, CASES)
    score = np.round(truth[:, None] * 0.4 + random.random((CASES, 3)), 2)  # with ties
    view = Sides("p", "problem", EACH, truth, score)
    rows = curves.curve_rows(view, _views(), UNITS, n_resamples=100, seed=0, task="t")
    for at, name in enumerate(TEAMS):
        own = rows[(rows["submission"] == name) & (rows["curve"] == "roc")]
        false, recall, _ = metrics.roc_curve(truth, score[:, at], drop_intermediate=False)
        inside = own[own["x"] > 0]
        highest = pd.Series(recall, index=false).groupby(level=0).max()
        expected = np.interp(inside["x"], highest.index.to_numpy(), highest.to_numpy())
        np.testing.assert_allclose(inside["y"], expected, atol=1e-12)
        told = rows[(rows["submission"] == name) & (rows["curve"] == "pr")]
        precision, hit, _ = metrics.precision_recall_curve(truth, score[:, at])
        for x, y in zip(told["x"], told["y"], strict=True):
            reached = np.flatnonzero(hit >= x - 1e-12)[-1] if x > 0 else None
            if reached is not None:
                assert y == pytest.approx(precision[reached])
        banded = own[(own["x"] > 0.05) & (own["x"] < 0.95)]
        assert ((banded["low"] <= banded["y"] + 0.02) & (banded["y"] <= banded["high"] + 0.02)).all()
        assert (banded["high"] - banded["low"]).mean() > 0.02


def test_bins_are_those_of_scikit_learn_and_their_intervals_are_wilson_s() -> None:
    random = _random()
    sure = random.random((CASES, 3))
    right = (random.random((CASES, 3)) < sure).astype(float)
    stood = np.zeros(sure.shape, dtype=bool)
    stood[:7] = True
    view = Certainty("c", "confidence", EACH, right, sure, stood)
    rows = calibration.reliability(view, _views(), UNITS)
    for at, name in enumerate(TEAMS):
        own = rows[rows["submission"] == name]
        fraction, mean = calibration_curve(right[7:, at], sure[7:, at], n_bins=10)
        np.testing.assert_allclose(own["right"], fraction)
        np.testing.assert_allclose(own["confidence"], mean)
        assert own["n"].sum() == CASES - 7
    first = rows.iloc[0]
    n, p, z = first["n"], first["right"], 1.959963984540054
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert first["right_high"] == pytest.approx((p + z**2 / (2 * n)) / (1 + z**2 / n) + half)


def test_joined_cases_widen_the_intervals_of_bins() -> None:
    right = np.repeat(_random().integers(0, 2, CASES // 4), 4).astype(float)[:, None]
    sure = np.full((CASES, 1), 0.5)
    views = Views(NAMES, ("one",), {}, ())
    view = Certainty("c", "confidence", EACH, right, sure, np.zeros(sure.shape, dtype=bool))
    names = tuple(f"u{at}" for at in range(CASES // 4))
    joined = Units(NAMES, EACH // 4, names, ("",) * len(names), "patient")
    wide, narrow = (calibration.reliability(view, views, units).iloc[0] for units in (joined, UNITS))
    assert wide["right_high"] - wide["right_low"] > 1.8 * (narrow["right_high"] - narrow["right_low"])


def test_shifts_by_level_are_plain_means() -> None:
    random = _random()
    sure, right = random.random((CASES, 3)), random.integers(0, 2, (CASES, 3)).astype(float)
    view = Certainty("c", "confidence", EACH, right, sure, np.zeros(sure.shape, dtype=bool))
    rows = calibration.by_level(view, _views(), "level", UNITS).set_index(["level", "submission"])
    low = np.arange(CASES) % 2 == 1
    own = rows.loc[("low", "two")]
    assert own["right"] == pytest.approx(right[low, 1].mean())
    assert own["shift"] == pytest.approx(sure[low, 1].mean() - right[low, 1].mean())
    half = 1.9801 * (sure - right)[low, 1].std(ddof=1) / np.sqrt(low.sum())
    assert own["shift_high"] - own["shift"] == pytest.approx(half, rel=1e-3)


def test_confusions_agreement_and_hard_cases_are_counted_right() -> None:
    random = _random()
    truth = random.integers(0, 4, CASES)
    given = np.where(random.random((CASES, 3)) < 0.6, truth[:, None], random.integers(0, 4, (CASES, 3)))
    given[5, 0] = UNANSWERED
    view = Choices("k", "classes", EACH, tuple("ABCD"), truth, given)
    rows = choices.confusion(view, _views())
    two = rows[rows["submission"] == "two"].pivot(index="truth", columns="answer", values="n")
    np.testing.assert_array_equal(two.to_numpy(), metrics.confusion_matrix(truth, given[:, 1]))
    one = rows[(rows["submission"] == "one") & (rows["answer"] == choices.NO_ANSWER)]
    assert one["n"].sum() == 1
    both = choices.agreement(view, _views()).set_index(["submission", "versus"])
    assert both.loc[("two", "three"), "kappa"] == pytest.approx(metrics.cohen_kappa_score(given[:, 1], given[:, 2]))
    kept = np.arange(CASES) != 5
    expected = metrics.cohen_kappa_score(given[kept, 0], given[kept, 1])
    assert both.loc[("one", "two"), "kappa"] == pytest.approx(expected)
    hard = choices.hardest(view, _views()).set_index("case")
    assert hard.loc["c005", "n"] == 2
    assert hard.loc["c005", "right"] == pytest.approx((given[5] == truth[5]).sum() / 3)
    assert hard["right"].is_monotonic_increasing


def test_places_count_the_options_that_a_question_has() -> None:
    view = Places(
        "p", "places", np.arange(4), np.array([2, 4, 4, 4]), np.array([0, 1, 3, 2]), np.array([[1], [1], [0], [-1]])
    )
    rows = choices.places(view, Views(NAMES[:4], ("one",), {}, ())).set_index("place")
    assert rows["n"].tolist() == [3, 3, 3, 3]
    assert rows["chosen"].tolist() == [1, 2, 0, 0]
    assert rows["keyed"].tolist() == [1, 1, 0, 1]
    assert rows["wrong"].tolist() == [1, 1, 0, 0]
    # the wrong answer to the first question could only be option 2, that to the third any of 1, 2 and 3
    np.testing.assert_allclose(rows["expected"], [1 / 3, 1 + 1 / 3, 1 / 3, 0])


def test_limits_of_agreement_are_bland_and_altman_s() -> None:
    # Bland and Altman 1986, table 1: peak flow of 17 subjects, large and mini meter; bias -2.1, sd 38.8 l/min
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    cases = NAMES[:17]
    view = Pairs("v", "flow", np.arange(17), np.array(mini, float), np.array(large, float)[:, None])
    units = Units(cases, np.arange(17), cases, ("",) * 17)
    own = pairs.limits(view, Views(cases, ("one",), {}, ()), units).iloc[0]
    assert own["bias"] == pytest.approx(-2.1, abs=0.05)
    assert own["sd"] == pytest.approx(38.8, abs=0.05)
    # as published there: bias from -22.0 to 17.8, lower limit from -114.3 to -45.1 (with 2 sd and 3 s^2 / n)
    assert own["bias_low"] == pytest.approx(-22.0, abs=0.1)
    assert own["lower_low"] == pytest.approx(-114.3, abs=3.0)
    cells = pairs.scatter(view, Views(cases, ("one",), {}, ()))
    assert cells.groupby("plane")["n"].sum().tolist() == [17, 17]
