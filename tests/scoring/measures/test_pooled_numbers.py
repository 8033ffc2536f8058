"""Pooled metrics of numbers under case weights equal those of scipy, scikit-learn and pingouin on repeated rows."""

from __future__ import annotations

import os
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medpodium.scoring.measures.pooled import numbers
from medpodium.scoring.measures.pooled.numbers import Numbers

SETS = int(os.environ.get("MEDPODIUM_RANDOM_SETS", "60"))
"""Random sets per test; 1,000 were tried once, a few are enough to see that nothing broke."""


def drawn(seed: int) -> tuple[Numbers, np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers of two teams, counts of a resample, and truth and answers of the first as repeated rows."""
    rng = np.random.default_rng(seed)
    size = 4 + seed % 30
    truth = rng.normal(50, 10, size)
    given = truth[:, None] + rng.normal(1, 1 + seed % 9, (size, 2))
    if seed % 3 == 0:  # ties
        truth, given = np.round(truth / 4), np.round(given / 4)
    counts = rng.multinomial(size, np.full(size, 1 / size))
    rows = np.repeat(np.arange(size), counts)
    nothing = np.zeros(given.shape, dtype=bool)
    return (
        Numbers(truth, given, nothing, np.zeros(given.shape)),
        counts[None].astype(float),
        truth[rows],
        given[rows, 0],
    )


def test_errors_and_limits() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(SETS):
        own, weights, true, said = drawn(seed)
        apart = said - true
        expected = {
            "mae": metrics.mean_absolute_error(own.truth, own.given[:, 0], sample_weight=weights[0]),
            "rmse": metrics.root_mean_squared_error(own.truth, own.given[:, 0], sample_weight=weights[0]),
            "median": metrics.median_absolute_error(true, said),
            "bias": apart.mean(),
            "lower": apart.mean() - 1.96 * apart.std(ddof=1),
            "upper": apart.mean() + 1.96 * apart.std(ddof=1),
            "width": 2 * 1.96 * apart.std(ddof=1),
        }
        found = {
            "mae": numbers.mean_errors(own, weights, 1),
            "rmse": numbers.mean_errors(own, weights, 2),
            "median": numbers.median_errors(own, weights),
            "bias": numbers.biases(own, weights),
            "lower": numbers.limits(own, weights, -1),
            "upper": numbers.limits(own, weights, 1),
            "width": numbers.limits(own, weights, 0),
        }
        for name, value in expected.items():
            assert found[name][0, 0] == pytest.approx(value, rel=1e-9, abs=1e-9), (seed, name)


def test_agreement() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(SETS):
        own, weights, true, said = drawn(seed)
        if np.ptp(true) == 0 or np.ptp(said) == 0:
            continue
        # Lin 1989: population moments
        lin = 2 * np.cov(true, said, ddof=0)[0, 1] / (true.var() + said.var() + (true.mean() - said.mean()) ** 2)
        expected = {
            "r2": metrics.r2_score(own.truth, own.given[:, 0], sample_weight=weights[0]),
            "pearson": stats.pearsonr(true, said).statistic,
            "spearman": stats.spearmanr(true, said).statistic,
            "concordance": lin,
        }
        found = {
            "r2": numbers.determinations(own, weights),
            "pearson": numbers.correlations(own, weights),
            "spearman": numbers.rank_correlations(own, weights),
            "concordance": numbers.concordances(own, weights),
        }
        for name, value in expected.items():
            assert found[name][0, 0] == pytest.approx(value, rel=1e-8, abs=1e-8), (seed, name)


def test_intraclass_correlation_is_that_of_pingouin() -> None:
    pingouin = pytest.importorskip("pingouin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(1, max(8, SETS // 10)):
            own, weights, true, said = drawn(seed)
            if np.ptp(true) == 0 or np.ptp(said) == 0:
                continue
            number = len(true)
            long = pd.DataFrame(
                {
                    "case": [*range(number)] * 2,
                    "rater": ["truth"] * number + ["team"] * number,
                    "value": [*true, *said],
                }
            )
            table = pingouin.intraclass_corr(long, "case", "rater", "value").set_index("Type")["ICC"]
            names = {"ICC(1)": ("ICC1", "ICC(1,1)"), "ICC(A,1)": ("ICC2", "ICC(A,1)"), "ICC(C,1)": ("ICC3", "ICC(C,1)")}
            for form, known in names.items():
                (value,) = (table[name] for name in known if name in table.index)
                assert numbers.intraclass(own, weights, form)[0, 0] == pytest.approx(value, abs=2e-8), (seed, form)


ALL = {
    "mae": partial(numbers.mean_errors, power=1),
    "rmse": partial(numbers.mean_errors, power=2),
    "median": numbers.median_errors,
    "bias": numbers.biases,
    "upper": partial(numbers.limits, side=1),
    "r2": numbers.determinations,
    "pearson": numbers.correlations,
    "spearman": numbers.rank_correlations,
    "concordance": numbers.concordances,
    "icc": partial(numbers.intraclass, form="ICC(A,1)"),
}


@pytest.mark.parametrize("name", ALL)
def test_a_missing_number_counts_as_declared_in_every_resample(name: str) -> None:
    """Errors: the declared size on the side of the team's bias; agreement: the far end of the truth that was drawn."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        size = 6 + seed % 9
        truth = np.round(rng.normal(50, 10, size), 1)
        said = truth + rng.normal(-1, 4, size)
        lost = rng.random(size) < 0.3
        lost[0] = False
        counts = rng.multinomial(size, np.full(size, 1 / size))
        given = np.where(lost, np.nan, said)[:, None]
        own = Numbers(truth, given, np.isnan(given), np.full((size, 1), 30.0))
        kept = np.flatnonzero(counts)
        known = kept[~lost[kept]]
        if not len(known):
            continue
        bias = np.average((said - truth)[known], weights=counts[known])
        if name in ("mae", "rmse", "median", "bias", "upper"):
            filled = np.where(lost, truth + (-30 if bias < 0 else 30), said)
        else:
            low, high = truth[kept].min(), truth[kept].max()
            filled = np.where(lost, np.where(truth < (low + high) / 2, high, low), said)
        whole = Numbers(truth, filled[:, None], np.zeros((size, 1), bool), np.zeros((size, 1)))
        value, expected = (ALL[name](one, counts[None].astype(float))[0, 0] for one in (own, whole))
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), seed


@pytest.mark.parametrize("name", ALL)
def test_left_out_and_nothing_drawn(name: str) -> None:
    own, weights, _, _ = drawn(1)
    given = own.given.copy()
    given[0, 0] = np.nan
    without = Numbers(own.truth[1:], given[1:], own.counted[1:], own.penalty[1:])
    one, two = (
        ALL[name](Numbers(own.truth, given, own.counted, own.penalty), weights),
        ALL[name](without, weights[:, 1:]),
    )
    assert one[0, 0] == pytest.approx(two[0, 0], rel=1e-9)
    assert np.isnan(ALL[name](own, np.zeros_like(weights))).all()


def test_equal_numbers_do_not_vary() -> None:
    size = 7
    own = Numbers(np.full(size, 0.1), np.linspace(0, 1, size)[:, None], np.zeros((size, 1), bool), np.zeros((size, 1)))
    weights = np.ones((1, size))
    for measure in (numbers.determinations, numbers.correlations, numbers.rank_correlations):
        assert np.isnan(measure(own, weights)).all()
