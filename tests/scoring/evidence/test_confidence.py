"""Intervals: against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medpodium.scoring.evidence.confidence import bca_interval, percentile_interval, pseudo_values

RNG = np.random.default_rng(11)


def test_bca_is_scipys() -> None:
    sample = RNG.lognormal(0, 1, 40)
    drawn = RNG.integers(0, 40, (20000, 40))
    resampled = sample[drawn].mean(axis=1)[:, None]
    jackknife = np.array([np.delete(sample, index).mean() for index in range(40)])[:, None]
    low, high = bca_interval(np.array([sample.mean()]), resampled, jackknife)
    expected = stats.bootstrap((sample,), np.mean, n_resamples=20000, method="BCa", random_state=3).confidence_interval
    assert low[0] == pytest.approx(expected.low, rel=0.02)
    assert high[0] == pytest.approx(expected.high, rel=0.02)
    assert high[0] - sample.mean() > sample.mean() - low[0]  # skewed to the right, and so is the interval


def test_percentile_interval_is_widened_to_students_for_few_cases() -> None:
    sample = RNG.normal(0, 1, 8)
    resampled = sample[RNG.integers(0, 8, (40000, 8))].mean(axis=1)[:, None]
    low, high = percentile_interval(resampled)
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    wide_low, wide_high = percentile_interval(resampled, n_units=8)
    student = 2 * stats.t.ppf(0.975, 7) * sample.std(ddof=1) / np.sqrt(8)
    assert wide_high[0] - wide_low[0] == pytest.approx(student, rel=0.08)
    assert high[0] - low[0] < 0.85 * student


def test_pseudo_values_of_a_mean_are_the_cases() -> None:
    values = RNG.normal(size=(12, 3))
    left_out = np.array([np.delete(values, index, axis=0).mean(axis=0) for index in range(12)])
    np.testing.assert_allclose(pseudo_values(values.mean(axis=0), left_out), values, atol=1e-12)
