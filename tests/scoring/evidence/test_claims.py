"""Claims against what they are named after: integration by sampling, pingouin, closed testing by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pandas as pd
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from medpodium.scoring.evidence.claims import (
    compare,
    equivalent,
    false_claim,
    hommel_size,
    no_worse,
    true_claims,
    within,
)
from medpodium.scoring.evidence.tables.claimed import joint_claims, pair_claims, worth_telling

Floats = npt.NDArray[np.float64]
ONE, TWO = np.array([0]), np.array([1])
DRAWS = 400_000


def _pair(values: Floats) -> object:
    return compare(values, ONE, TWO)


@pytest.mark.parametrize(("n", "seed"), [(5, 0), (12, 1), (60, 2)])
def test_false_claims_of_means_are_the_share_of_the_posterior_below_zero(n: int, seed: int) -> None:
    """Under the flat prior the variance is scaled inverse chi-squared, the mean normal given it (any textbook)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.7, 0.1, size=(n, 2))
    gaps = values[:, 0] - values[:, 1]
    variance = (n - 1) * gaps.var(ddof=1) / rng.chisquare(n - 1, size=DRAWS)
    posterior = rng.normal(gaps.mean(), np.sqrt(variance / n))
    error = 4 * 0.5 / np.sqrt(DRAWS)
    pair = _pair(values)
    assert false_claim(pair)[0] == pytest.approx((posterior <= 0).mean(), abs=error)
    assert within(pair, 0.05)[0] == pytest.approx((np.abs(posterior) < 0.05).mean(), abs=error)
    # the closed form of Christodoulou et al. (arXiv 2505.04720), from what papers report of each method
    spread = values.std(axis=0, ddof=1)
    r = np.corrcoef(values.T)[0, 1]
    scale = np.sqrt((spread**2).sum() - 2 * r * spread.prod())
    closed = stats.t.cdf(np.sqrt(n) * -gaps.mean() / scale, n - 1)
    assert false_claim(pair)[0] == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(("right", "n"), [((30, 6, 2), 50), ((0, 1, 0), 8), ((90, 20, 20), 200)])
def test_false_claims_of_accuracies_are_those_of_the_dirichlet_distribution(
    right: tuple[int, int, int], n: int
) -> None:
    """Both right, only the first, only the second, neither: a uniform prior on the four shares."""
    both, one, two = right
    values = np.zeros((n, 2))
    values[: both + one, 0] = 1.0
    values[:both, 1] = values[both + one : both + one + two, 1] = 1.0
    rng = np.random.default_rng(3)
    shares = rng.dirichlet([both + 1, one + 1, two + 1, n - both - one - two + 1], size=DRAWS)
    gap = shares[:, 1] - shares[:, 2]
    error = 4 * 0.5 / np.sqrt(DRAWS)
    pair = _pair(values)
    assert false_claim(pair)[0] == pytest.approx((gap <= 0).mean(), abs=error)
    assert within(pair, 0.06)[0] == pytest.approx((np.abs(gap) < 0.06).mean(), abs=error)


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.1])
def test_equivalence_is_pingouins(margin: float) -> None:
    rng = np.random.default_rng(5)
    for n in (6, 15, 80):
        values = rng.normal(0.8, 0.05, size=(n, 2))
        ours = equivalent(_pair(values), margin)[0]
        theirs = pingouin.tost(values[:, 0], values[:, 1], bound=margin, paired=True)["pval"].iloc[0]
        assert ours == pytest.approx(float(theirs), rel=1e-9)
        moved = stats.ttest_rel(values[:, 0] + margin, values[:, 1], alternative="greater").pvalue
        assert no_worse(_pair(values), margin)[0] == pytest.approx(float(moved), rel=1e-9)


def test_copies_hold_no_information_on_how_often_they_differ() -> None:
    """No test of a margin for them, and no certainty that one is better."""
    values = np.random.default_rng(0).random((40, 2))
    values[:, 1] = values[:, 0]
    same = _pair(values)
    assert np.isnan(equivalent(same, 0.01)[0])
    assert false_claim(same)[0] == pytest.approx(0.5)
    values[:3, 0] += [0.1, 0.1, 0.1]
    few = _pair(values)
    assert np.isnan(equivalent(few, 0.5)[0])
    # three wins of three: the sign test's posterior, not Student's t that three equal differences would give
    assert false_claim(few)[0] == pytest.approx(stats.beta.cdf(0.5, 4, 1))


@given(st.lists(st.sampled_from([0.0, 0.001, 0.004, 0.008, 0.011, 0.02, 0.03, 0.05, 0.06, 0.4]), max_size=7))
@settings(max_examples=60, deadline=None)
def test_bounds_are_those_of_closed_testing_by_enumeration(values: list[float]) -> None:
    """Goeman and Solari (2011): of a choice S, all but the largest subset that is not rejected are true."""
    p, alpha = np.array(values), 0.05
    sets = [frozenset(one) for size in range(1, len(p) + 1) for one in itertools.combinations(range(len(p)), size)]
    local = {
        one: bool((np.sort(p[list(one)]) <= alpha * np.arange(1, len(one) + 1) / len(one) + 1e-12).any())
        for one in sets
    }
    closed = {one: all(local[other] for other in sets if one <= other) for one in sets}
    size = hommel_size(p)
    assert size == max((len(one) for one in sets if not local[one]), default=0)
    for chosen in sets:
        left = max((len(one) for one in sets if one <= chosen and not closed[one]), default=0)
        assert true_claims(p[list(chosen)], size) == len(chosen) - left


def test_joint_statement_counts_holms_rejections_of_all_pairs_and_structures() -> None:
    rng = np.random.default_rng(9)
    keys = [(m, s, a, b) for m in ("dice", "nsd") for s in "xyz" for a in "ABC" for b in "ABC" if a != b]
    tests = pd.DataFrame(keys, columns=["metric", "structure", "submission", "versus"])
    tests["p_value"] = rng.beta(0.2, 8, size=len(tests))
    mean = tests.assign(structure="(mean)", p_value=1e-9)  # derived from the others, so it is no claim of its own
    found = joint_claims(pd.concat([mean, tests], ignore_index=True)).set_index(["metric", "submission", "versus"])
    every = multipletests(tests["p_value"], 0.05, method="holm")[0]
    for name, own in tests.assign(sure=every).groupby(["metric", "submission", "versus"]):
        assert found.loc[name, "n_claims"] == 3
        assert found.loc[name, "better"] == own["sure"].sum()
        assert found.loc[name, "names"] == "; ".join(own.loc[own["sure"], "structure"])
        assert found.loc[name, "at_least"] >= found.loc[name, "better"]
    for name, own in tests.groupby(["submission", "versus"]):
        alone = multipletests(own["p_value"], 0.05, method="holm")[0].sum()
        assert found.xs(name, level=["submission", "versus"])["alone"].sum() == alone


def test_margins_are_adjusted_over_all_pairs_whichever_are_told() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal([0.8, 0.8, 0.79, 0.7], 0.03, size=(40, 4)) + rng.normal(0, 0.1, size=(40, 1))
    names = ["a", "b", "c", "d"]
    every = pair_claims(values, names, "case", 0.02).set_index(["submission", "versus"])
    p = [
        float(pingouin.tost(values[:, one], values[:, two], bound=0.02, paired=True)["pval"].iloc[0])
        for one, two in itertools.combinations(range(4), 2)
    ]
    adjusted = multipletests(p, method="holm")[1]
    for (one, two), own in zip(itertools.combinations(names, 2), adjusted, strict=True):
        for pair in ((one, two), (two, one)):
            assert every.loc[pair, "p_equivalent_adjusted"] == pytest.approx(own)
            assert (every.loc[pair, "verdict"] == "equivalent") == (own <= 0.05)
    told = pair_claims(values, names, "case", 0.02, worth_telling(np.array([1.0, 2.0, 3.0, 4.0])))
    told = told.set_index(["submission", "versus"])
    assert set(told.index) == {pair for pair in every.index if pair not in {("b", "d"), ("d", "b")}}
    pd.testing.assert_frame_equal(told, every.loc[told.index])
