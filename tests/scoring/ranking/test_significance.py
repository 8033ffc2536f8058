"""Tests and adjustments against scipy, statsmodels, pingouin and published p-values."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from medpodium.scoring.evidence.effects import effect_sizes
from medpodium.scoring.evidence.sensitivity import Block
from medpodium.scoring.ranking.significance import PairedTests, adjust, friedman

RNG = np.random.default_rng(7)
ONES = np.ones((1, 40))


def scores(decimals: int = 2) -> np.ndarray:
    return np.round(RNG.normal(0.8, 0.1, (40, 4)) + np.array([0.0, 0.02, 0.02, 0.1]), decimals)


@pytest.mark.parametrize("continuity", [True, False])
@pytest.mark.parametrize("higher_better", [True, False])
def test_signed_rank_is_scipys(continuity: bool, higher_better: bool) -> None:
    values = scores(1)  # many ties and zero differences
    p = PairedTests(values, higher_better=higher_better, continuity=continuity).p_values(ONES)[0]
    for one in range(4):
        for two in range(4):
            if one != two:
                expected = stats.wilcoxon(
                    values[:, one],
                    values[:, two],
                    alternative="greater" if higher_better else "less",
                    correction=continuity,
                    method="asymptotic",
                    zero_method="wilcox",
                ).pvalue
                assert p[one, two] == pytest.approx(expected, abs=1e-12)


def test_repeated_cases_are_tested_like_repeated_rows() -> None:
    values = scores(1)
    counts = RNG.integers(0, 4, (3, 40))
    found = PairedTests(values, higher_better=True).p_values(counts.astype(float))
    for row, own in enumerate(counts):
        repeated = np.repeat(values, own, axis=0)
        expected = PairedTests(repeated, higher_better=True).p_values(np.ones((1, len(repeated))))[0]
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


def test_degenerate_pairs() -> None:
    values = np.array([[1.0, 1.0, np.nan, np.inf], [2.0, 2.0, np.nan, np.inf], [3.0, 3.0, np.nan, 3.0]])
    p = PairedTests(values, higher_better=True).p_values(np.ones((1, 3)))[0]
    assert p[0, 1] == p[1, 0] == 1  # all differences zero, as R 4.2
    assert np.isnan(p[0, 2])  # no case in common
    assert 0 < p[3, 0] < p[0, 3] <= 1  # infinite differences rank as the largest


NAMES = {
    "holm": "holm",
    "hochberg": "simes-hochberg",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
    "BH": "fdr_bh",
    "BY": "fdr_by",
}


@pytest.mark.parametrize("method", NAMES)
def test_adjustments_are_statsmodels(method: str) -> None:
    for size in (1, 2, 5, 12, 20):
        for _ in range(5):
            p = np.round(RNG.random(size) ** 3, 3)
            expected = multipletests(p, method=NAMES[method])[1]
            np.testing.assert_allclose(adjust(p, method), np.minimum(expected, 1), atol=1e-12)


@pytest.mark.parametrize("method", NAMES)
def test_undefined_p_values_do_not_count(method: str) -> None:
    p = np.array([0.01, np.nan, 0.04, np.nan, 0.03])
    found = adjust(p, method)
    np.testing.assert_allclose(found[[0, 2, 4]], adjust(p[[0, 2, 4]], method))
    assert np.isnan(found[[1, 3]]).all()
    rows = np.stack([p, np.array([0.2, 0.01, 0.02, 0.5, 0.04])])
    np.testing.assert_allclose(adjust(rows, method)[1], adjust(rows[1], method))


def test_friedman_is_scipys_and_nemenyi_is_the_studentised_range() -> None:
    values = scores()
    found = friedman(values, higher_better=True)
    expected = stats.friedmanchisquare(*values.T)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    np.testing.assert_allclose(found.mean_ranks, stats.rankdata(-values, axis=1).mean(axis=0))
    # Demsar 2006, table 5a: critical value 2.569 for four classifiers at 5 %
    assert found.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 40)), rel=2e-4)
    gap = np.abs(found.mean_ranks[0] - found.mean_ranks[3])
    assert (found.nemenyi[0, 3] < 0.05) == (gap > found.critical_difference)
    np.testing.assert_allclose(np.diag(found.nemenyi), 1, atol=1e-9)


def test_friedman_of_too_little_is_undefined() -> None:
    assert np.isnan(friedman(np.ones((5, 3)), higher_better=True).p_value)
    assert np.isnan(friedman(scores()[:, :2], higher_better=True).p_value)


def test_effect_sizes_by_hand() -> None:
    values = np.array([[0.9, 0.8], [0.7, 0.9], [0.8, 0.5], [0.6, 0.6]])
    rows = effect_sizes(Block("dsc", "", values, "higher", ("1", "2", "3", "4")), ("A", "B"))
    # differences .1, -.2, .3, 0: positive ranks 1 + 3, negative 2
    assert rows["rank_biserial"].tolist() == pytest.approx([2 / 6, -2 / 6])
    pairs = [(a > b) + 0.5 * (a == b) for a in values[:, 0] for b in values[:, 1]]
    assert rows["superiority"].tolist() == pytest.approx([np.mean(pairs), 1 - np.mean(pairs)])
    flipped = effect_sizes(Block("hd", "", values, "lower", ("1", "2", "3", "4")), ("A", "B"))
    assert flipped["rank_biserial"].tolist() == pytest.approx([-2 / 6, 2 / 6])


def test_touchstones_3420_p_values(shared: Path) -> None:
    """All ordered pairs of 19 models, nine organs and their mean, paired by case name; no continuity correction."""
    folder = shared / "data" / "touchstone" / "totalsegmentator_results"
    published = pd.read_csv(
        shared / "data" / "published" / "touchstone_totalsegmentator_dsc_pairwise_wilcoxon_holm.csv"
    )
    models = sorted(path.name for path in folder.iterdir())
    tables = {name: pd.read_csv(folder / name / "dsc.csv", index_col="name") for name in models}
    compared = 0
    for target, rows in published.groupby("target"):
        columns = {name: own.mean(axis=1) if target == "mean" else own[target] for name, own in tables.items()}
        values = pd.DataFrame(columns).to_numpy()
        weights = np.ones((1, len(values)))
        tests = PairedTests(values, higher_better=True, continuity=False)
        p, n = tests.p_values(weights)[0], tests.pairs(weights)[0]
        off = ~np.eye(len(models), dtype=bool)
        holm = np.full(p.shape, np.nan)
        holm[off] = adjust(p[off], "holm")
        one = rows["better"].map(models.index).to_numpy()
        two = rows["worse"].map(models.index).to_numpy()
        assert (n[one, two] == rows["n_pairs"]).all()
        # printed with six significant digits
        np.testing.assert_allclose(p[one, two], rows["p_one_sided_wilcoxon"], rtol=5e-6, atol=1e-300)
        np.testing.assert_allclose(holm[one, two], rows["p_holm"], rtol=5e-6, atol=1e-300)
        first, second = values[:, one[0]], values[:, two[0]]
        both = ~np.isnan(first) & ~np.isnan(second)
        expected = stats.wilcoxon(first[both], second[both], alternative="greater").pvalue
        assert p[one[0], two[0]] == pytest.approx(expected, abs=1e-9)
        compared += len(rows)
    assert compared == 3420


@pytest.mark.parametrize("missing", [False, True])
def test_effects_of_all_pairs_at_once_are_pingouins(missing: bool) -> None:
    rng = np.random.default_rng(5)
    values = np.round(rng.uniform(0, 1, (40, 4)), 1)  # many ties
    values[:, 3] = values[:, 0]
    if missing:
        values[rng.random(values.shape) < 0.2] = np.nan
    names = tuple("abcd")
    block = Block("dsc", "", values, "higher", tuple(f"c{index}" for index in range(40)))
    for row in effect_sizes(block, names).to_dict("records"):
        one, two = values[:, names.index(row["submission"])], values[:, names.index(row["versus"])]
        both = ~np.isnan(one) & ~np.isnan(two)
        assert row["n_pairs"] == both.sum()
        wanted = pingouin.compute_effsize(one[both], two[both], eftype="CLES")
        assert row["superiority"] == pytest.approx(wanted, abs=1e-12)
        if (one[both] != two[both]).any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = float(pingouin.wilcoxon(one[both], two[both])["RBC"].iloc[0])
            assert row["rank_biserial"] == pytest.approx(wanted, abs=1e-12)
        else:
            assert row["rank_biserial"] == 0


@pytest.mark.parametrize("k", [3, 10, 40])
def test_nemenyi_is_scipys_studentised_range(k: int) -> None:
    values = np.random.default_rng(k).normal(size=(30, k)) + np.linspace(0, 1, k)
    found = friedman(values, higher_better=True)
    scale = np.sqrt(k * (k + 1) / (6 * 30))
    for one, two in ((0, 1), (0, k - 1), (1, k - 1)):
        gap = abs(found.mean_ranks[one] - found.mean_ranks[two]) / scale * np.sqrt(2)
        assert found.nemenyi[one, two] == pytest.approx(stats.studentized_range.sf(gap, k, np.inf), abs=1e-9)


@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("shape", [(4, 3), (60, 5), (900, 19)])
def test_friedman_and_its_critical_difference_are_scipys(shape: tuple[int, int], digits: int) -> None:
    values = np.round(np.random.default_rng(5).normal(size=shape), digits)
    found = friedman(values, higher_better=True)
    expected = stats.friedmanchisquare(*values.T)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert found.mean_ranks == pytest.approx(stats.rankdata(-values, axis=1).mean(axis=0), rel=1e-15)
    (n, k), alpha = shape, 0.05
    critical = stats.studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    assert found.critical_difference == pytest.approx(critical, rel=1e-14)


def test_evidence_needs_no_half_second_of_imports() -> None:
    code = (
        "import sys, numpy as np; from medpodium.scoring.evidence.tables import collect; "
        "from medpodium.scoring.ranking.significance import friedman; "
        "friedman(np.random.default_rng(5).normal(size=(9, 4)), higher_better=True); "
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
