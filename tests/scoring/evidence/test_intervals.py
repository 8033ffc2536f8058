"""Intervals of scores: against statsmodels, scipy, Stata's published example, enumeration, and what always holds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from medpodium.challenges.schema.steps import parse_steps
from medpodium.scoring.evidence.bootstrap import bootstrap, one_blas_thread
from medpodium.scoring.evidence.confidence import widened
from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.intervals.means import SKEWED_FEW, Influence, mean_ends, median_ends, percentile_ends
from medpodium.scoring.evidence.intervals.ranked import ranked_ends
from medpodium.scoring.evidence.intervals.resamples import Resamples
from medpodium.scoring.evidence.intervals.scores import Asked, score_tables
from medpodium.scoring.evidence.units import Scheme, Units, units_of
from medpodium.scoring.ranking.recipe import Prepared, rank_array
from medpodium.scoring.ranking.rules import Rules
from medpodium.scoring.ranking.settled import Settled, settle
from medpodium.scoring.table import normalise

Floats = npt.NDArray[np.float64]
STEPS = parse_steps([{"mean": {"over": "case", "missing": "skip"}}, "rank"])


def _units(number: int, size: int = 1) -> Units:
    cases = tuple(f"c{at:03d}" for at in range(number * size))
    names = tuple(f"u{at}" for at in range(number))
    return Units(cases, np.repeat(np.arange(number), size), names, ("",) * number, "patient" if size > 1 else "")


def _drawn(number: int, size: int = 1) -> Resamples:
    units = _units(number, size)
    return Resamples(units, units.cases, 1000, seed=3, task="t")


def _settled(values: Floats, bounds: tuple[float, float], patients: int = 0) -> Settled:
    """Return a task of one metric; values have the shape (n_cases, n_submissions), NaN: no row."""
    rows = [
        {
            "challenge": "c", "edition": "1", "task": "t", "submission": f"s{team}", "case": f"c{case:03d}",
            "structure": "", "metric": "m", "value": value, "status": "ok",
            **({"patient": f"p{case % patients:03d}"} if patients else {}),
        }
        for (case, team), value in np.ndenumerate(values)
        if not math.isnan(value)
    ]  # fmt: skip
    rules = Rules({"m": "higher"}, {"m": "skip"}, bounds={"m": bounds})
    return settle(normalise(pd.DataFrame(rows), "test"), "t", rules, STEPS)


def _tables(settled: Settled, cluster: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    units = units_of(settled.array, Scheme(cluster=cluster))
    with one_blas_thread():
        return score_tables(settled, Asked(units, 1000, 0, "t"))


def test_shares_are_statsmodels() -> None:
    for number in (2, 5, 20, 100):
        right = np.arange(number + 1)
        low, high = closed.wilson(right / number, np.full(number + 1, float(number)))
        expected = proportion_confint(right, number, method="wilson")
        np.testing.assert_allclose([low, high], expected, atol=1e-12)


def test_the_area_under_the_curve_is_that_of_statas_manual() -> None:
    """Hanley and McNeil's 109 ratings (Radiology 143, 1982); [R] roctab: .8932, s.e. .0307, .83295 to .95339."""
    score = np.repeat([1.0, 2, 3, 4, 5, 1, 2, 3, 4, 5], [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    truth = np.repeat([0, 1], [58, 51])
    area, positive, negative = closed.placements(truth, score)
    error = math.sqrt(closed.delong(np.array([area]), positive[None], negative[None])[0, 0])
    assert (round(area, 4), round(error, 4)) == (0.8932, 0.0307)
    ends = stats.norm.interval(0.95, area, error)
    assert ends == pytest.approx((0.83295, 0.95339), abs=6e-6)


@pytest.mark.parametrize("seed", range(4))
def test_delongs_covariance_is_that_of_the_kernel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([0, 1], [23, 14]))
    score = np.round(truth[:, None] + rng.normal(size=(37, 3)), 1)  # with ties
    found = [closed.placements(truth, own) for own in score.T]
    order = score[truth == 1][:, None, :] - score[truth == 0][None, :, :]
    kernel = (order > 0) + 0.5 * (order == 0)
    np.testing.assert_allclose([area for area, _, _ in found], kernel.mean(axis=(0, 1)))
    expected = np.cov(kernel.mean(axis=1).T) / 14 + np.cov(kernel.mean(axis=0).T) / 23
    areas, positive, negative = (np.array([own[at] for own in found]) for at in range(3))
    np.testing.assert_allclose(closed.delong(areas, positive, negative), expected, rtol=1e-10)


@pytest.mark.parametrize("number", [12, 60])
def test_percentiles_and_bca_are_scipys_on_the_same_resamples(number: int) -> None:
    values = np.random.default_rng(number).lognormal(size=(number, 2))
    drawn = _drawn(number)
    mean, resampled = values.mean(axis=0), drawn.means(values)
    influence = Influence.of_means(values, mean, drawn)
    for accelerated, method in ((False, "percentile"), (True, "BCa")):
        flags = np.full(2, accelerated)
        found = percentile_ends(resampled, mean, influence.units, influence.moves, flags)
        for at in range(2):
            expected = stats.bootstrap(
                (values[:, at],),
                np.mean,
                n_resamples=0,
                method=method,
                confidence_level=1 - 2 * widened(number),
                bootstrap_result=SimpleNamespace(bootstrap_distribution=resampled[at]),
            ).confidence_interval
            assert (found[0][at], found[1][at]) == pytest.approx(tuple(expected), rel=1e-9)


def test_resampled_means_and_medians_are_those_of_repeated_cases() -> None:
    values = np.random.default_rng(0).normal(size=(9, 3))
    values[[0, 4], [1, 1]] = np.nan
    drawn = _drawn(9)
    counts = np.concatenate(list(drawn._counts())).astype(int)
    means, medians = drawn.means(values), drawn.medians(values)
    for row in range(0, 1000, 97):
        repeated = np.repeat(values, counts[row], axis=0)
        np.testing.assert_allclose(means[:, row], np.nanmean(repeated, axis=0))
        np.testing.assert_allclose(medians[:, row], np.nanmedian(repeated, axis=0))


@pytest.mark.parametrize("number", [6, 7, 8, 9, 10, 25, 50])
def test_medians_lie_between_the_order_statistics_that_enumeration_gives(number: int) -> None:
    holds = [1 - 2 * sum(math.comb(number, k) for k in range(d)) / 2**number for d in range(1, number // 2 + 1)]
    inner = max(d for d, share in enumerate(holds, 1) if share >= 0.95)
    values = np.random.default_rng(number).exponential(size=(number, 4000))
    ordered = np.sort(values, axis=0)
    low, high = closed.median_interval(values)
    assert (ordered[inner - 1] <= low).all()
    assert (low <= ordered[inner]).all()
    assert (ordered[number - inner - 1] <= high).all()
    assert (high <= ordered[number - inner]).all()
    covered = ((low <= math.log(2)) & (math.log(2) <= high)).mean()
    assert covered == pytest.approx(0.95, abs=0.012)  # whatever the distribution; Monte-Carlo error 0.0034


def test_fewer_than_six_values_have_no_interval_of_a_median() -> None:
    assert np.isnan(closed.median_interval(np.arange(5.0)[:, None])).all()
    low, high = closed.median_interval(np.arange(6.0)[:, None])
    assert 0 <= low[0] < 2.5 < high[0] <= 5


def test_differences_of_shares_are_the_published_formula() -> None:
    """Bonett and Price 2012: (f12 + 1, f21 + 1) over n + 2, normal quantile."""
    f12, f21, number = 9, 2, 40
    one, other = (f12 + 1) / (number + 2), (f21 + 1) / (number + 2)
    half = stats.norm.ppf(0.975) * math.sqrt((one + other - (one - other) ** 2) / (number + 2))
    low, high = closed.paired_shares(np.array([9.0]), np.array([2.0]), np.array([40.0]))
    assert (low[0], high[0]) == pytest.approx((one - other - half, one - other + half))
    equal = closed.paired_shares(np.zeros(1), np.zeros(1), np.array([40.0]))
    assert equal[1][0] == -equal[0][0] > 0  # never a difference, and still not surely none


def test_few_cases_get_students_interval_within_the_bounds() -> None:
    values = np.array([[0.99, 0.95, 0.9], [1.0, 0.8, 0.85], [0.97, 0.9, 0.95], [0.6, 0.85, 0.8]])
    found, _ = _tables(_settled(values, (0, 1)))
    expected = stats.t.interval(0.95, 3, values.mean(axis=0), stats.sem(values, axis=0))
    np.testing.assert_allclose(found["mean_low"], np.maximum(expected[0], 0))
    np.testing.assert_allclose(found["mean_high"], np.minimum(expected[1], 1))
    assert expected[1].max() > 1
    assert set(found["method"]) == {"student"}


def test_one_case_and_no_spread_have_no_interval_and_say_why() -> None:
    found, pairs = _tables(_settled(np.array([[0.4, 0.5]]), (0, 1)))
    assert found[["mean_low", "median_low"]].isna().all(axis=None)
    assert set(found["note"]) == {"one unit"}
    assert pairs["low"].isna().all()
    found, _ = _tables(_settled(np.full((9, 2), 0.7), (0, 1)))
    assert found["mean_low"].isna().all()
    assert set(found["note"]) == {"no spread"}
    np.testing.assert_array_equal(found[["median_low", "median_high"]], 0.7)  # true of the median, not of the mean


def test_skewed_means_are_accelerated_from_fifty_cases_and_marked_below() -> None:
    rng = np.random.default_rng(1)
    failing = 0.9 - 0.8 * (rng.random((60, 2)) < 0.1) + rng.normal(0, 0.01, (60, 2))
    assert set(_tables(_settled(failing, (0, 1)))[0]["method"]) == {"bca"}
    few = _tables(_settled(failing[:30], (0, 1)))[0]
    assert set(few["method"]) == {"percentile"}
    assert set(few["note"]) == {SKEWED_FEW}
    assert set(_tables(_settled(rng.normal(0.8, 0.01, (60, 2)), (0, 1)))[0]["method"]) == {"percentile"}


def test_copies_of_cases_of_a_patient_make_no_interval_narrower() -> None:
    values = np.random.default_rng(2).normal(0.8, 0.05, (24, 2))
    once, gaps = _tables(_settled(values, (0, 1)))
    twice, again = _tables(_settled(np.concatenate([values, values]), (0, 1), patients=24), cluster="patient")
    assert (twice["n"].tolist(), twice["n_units"].tolist()) == ([48, 48], [24, 24])
    for name in ("mean_low", "mean_high"):
        np.testing.assert_allclose(twice[name], once[name], rtol=1e-12)
    np.testing.assert_allclose(again[["low", "high"]], gaps[["low", "high"]], rtol=1e-12)
    shares = (values > 0.8).astype(float)
    once, _ = _tables(_settled(shares, (0, 1)))
    twice, _ = _tables(_settled(np.concatenate([shares, shares]), (0, 1), patients=24), cluster="patient")
    assert (twice["mean_high"] - twice["mean_low"] >= once["mean_high"] - once["mean_low"]).all()


def test_medians_of_clusters_are_resampled() -> None:
    values = np.random.default_rng(5).normal(size=(10, 1)).repeat(3, axis=0)
    ends = median_ends(values, np.median(values, axis=0), _drawn(10, 3))
    assert ends.method[0] == "percentile"
    narrow = closed.median_interval(values)
    assert ends.high[0] - ends.low[0] > narrow[1][0] - narrow[0][0]


def test_a_ranked_value_has_the_interval_of_the_score_it_is() -> None:
    settled = _settled(np.random.default_rng(8).beta(8, 2, (20, 3)), (0, 1))
    prepared = Prepared(settled.raw, STEPS)
    ranking = rank_array(settled.raw, STEPS)
    found, _ = _tables(settled)
    value = ranked_ends(ranking, found, bootstrap(prepared, 100, task="t"), 20)
    np.testing.assert_array_equal(value["value_low"], found["mean_low"])
    assert set(value["value_method"]) == {"percentile"}
    ranks = parse_steps([{"rank": {"within": "case"}}, {"mean": "case"}, "rank"])
    other = ranked_ends(rank_array(settled.raw, ranks), found, bootstrap(Prepared(settled.raw, ranks), 100), 20)
    assert (other["value_low"] < other["value_high"]).all()


SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]), st.just(math.nan))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_intervals_hold_their_number_stay_in_bounds_and_know_no_order(data: st.DataObject) -> None:
    cases = data.draw(st.integers(1, 12))
    values = np.array([[data.draw(SCORES) for _ in range(3)] for _ in range(cases)])
    values[0] = np.where(np.isnan(values[0]), 0.5, values[0])
    settled = _settled(values, (0, 1))
    found, pairs = _tables(settled)
    for name in ("mean", "median"):
        told = found[found[f"{name}_low"].notna()]
        assert (told[f"{name}_low"] >= 0).all()
        assert (told[f"{name}_high"] <= 1).all()
        assert (told[f"{name}_low"] <= told[name]).all()
        assert (told[name] <= told[f"{name}_high"]).all()
    assert (found["method"].astype(bool) == found["mean_low"].notna()).all()
    assert (found["method"].astype(bool) | found["note"].astype(bool)).all()
    told = pairs[pairs["low"].notna()]
    assert (told["low"] >= -1).all()
    assert (told["high"] <= 1).all()
    assert (told["low"] <= told["difference"]).all()
    assert (told["difference"] <= told["high"]).all()
    rows = pd.DataFrame(
        [
            {"challenge": "c", "edition": "1", "task": "t", "submission": f"s{team}", "case": f"c{case:03d}",
             "structure": "", "metric": "m", "value": value, "status": "ok"}
            for (case, team), value in np.ndenumerate(values) if not math.isnan(value)
        ]
    ).sample(frac=1, random_state=1)  # fmt: skip
    rules = Rules({"m": "higher"}, {"m": "skip"}, bounds={"m": (0, 1)})
    again, _ = _tables(settle(normalise(rows, "test"), "t", rules, STEPS))
    pd.testing.assert_frame_equal(found, again)


def test_students_interval_of_clusters_uses_their_number() -> None:
    values = np.repeat(np.array([[0.2], [0.5], [0.9], [0.4]]), 5, axis=0)
    drawn = _drawn(4, 5)
    mean = values.mean(axis=0)
    ends = mean_ends(mean, Influence.of_means(values, mean, drawn), lambda _: np.empty((0, 0)), (-9, 9))
    half = -special.stdtrit(3, 0.025) * np.std([0.2, 0.5, 0.9, 0.4], ddof=1) / 2
    assert (ends.low[0], ends.high[0]) == pytest.approx((mean[0] - half, mean[0] + half))
