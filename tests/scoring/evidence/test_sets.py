"""Rank sets: exact tests and letters against brute force, bounds against tables drawn at random, every construction."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from medpodium.challenges.schema.steps import parse_steps
from medpodium.scoring.evidence.sets.bounds import Bounds, closed, through
from medpodium.scoring.evidence.sets.construct import Draw, guaranteed
from medpodium.scoring.evidence.sets.exact import least, sign_flip
from medpodium.scoring.evidence.sets.letters import letters
from medpodium.scoring.evidence.sets.pairs import family, mean_pairs, reject
from medpodium.scoring.evidence.sets.quantiles import order_bounds
from medpodium.scoring.evidence.sets.ranks import RankSets, rank_sets
from medpodium.scoring.evidence.sets.reach import smallest_p, within_reach
from medpodium.scoring.evidence.units import Scheme, units_of
from medpodium.scoring.ranking.apply import apply_step
from medpodium.scoring.ranking.axes import OK, ScoreArray
from medpodium.scoring.ranking.ranks import tie_within
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.ranking.significance import PairedTests

Floats = npt.NDArray[np.float64]
RNG = np.random.default_rng(11)


def _array(values: Floats, **groups: tuple[str, ...]) -> ScoreArray:
    """Return an array of values of shape (n_submissions, n_cases, n_structures, n_metrics)."""
    labels = {
        "submission": tuple(f"s{index:02d}" for index in range(values.shape[0])),
        "case": tuple(f"c{index:03d}" for index in range(values.shape[1])),
        "structure": tuple("abcdefghijklmnopqrst"[: values.shape[2]]),
        "metric": tuple("xyz"[: values.shape[3]]),
    }
    number = values.shape[3]
    state = np.full(values.shape, OK, dtype=np.uint8)
    better, policy, worst = ("higher",) * number, (None,) * number, (0.0,) * number
    return ScoreArray(values, state, tuple(labels), labels, better, policy, worst, groups, (False,) * values.shape[1])


def _sets(values: Floats, *steps: object, cluster: str | None = None, **groups: tuple[str, ...]) -> RankSets | None:
    prepared = Prepared(_array(values, **groups), parse_steps(list(steps)))
    return guaranteed(prepared, units_of(prepared.array, Scheme(cluster=cluster)).members, Draw(300, 1, "t"))


def _means(values: Floats) -> RankSets:
    return rank_sets(mean_pairs(values, 500, 0, "t"), values.shape[1])


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_sign_flips_are_those_of_a_full_enumeration(sizes: list[int]) -> None:
    differences = np.array(sizes, dtype=np.float64)
    nonzero = differences[differences != 0]
    sums = [abs(float(np.dot(signs, np.abs(nonzero)))) for signs in itertools.product((1, -1), repeat=len(nonzero))]
    expected = np.mean([total >= abs(differences.sum()) - 1e-9 for total in sums])
    assert sign_flip(differences) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("won", "lost"), [(1, 0), (9, 1), (12, 3), (20, 4)])
def test_sign_flips_of_equal_differences_are_mcnemars_exact_test(won: int, lost: int) -> None:
    differences = np.concatenate([np.ones(won), -np.ones(lost), np.zeros(30)])
    assert sign_flip(differences) == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert least(np.array([won + lost]))[0] == pytest.approx(stats.binomtest(won + lost, won + lost).pvalue)


def test_clear_order_gives_single_ranks_and_equal_submissions_share_all() -> None:
    values = RNG.normal(0, 0.01, (30, 4)) + np.array([0.9, 0.7, 0.7, 0.3])
    sets = _means(values)
    assert sets.simultaneous.T.tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]
    assert sets.marginal.T.tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]
    assert sets.separated[0, 1]
    assert not sets.separated[1, 0]
    assert letters(np.array([1.0, 2, 3, 4]), sets.separated) == ["a", "b", "b", "c"]
    sets = _means(np.repeat(values[:, :1], 3, axis=1))
    assert sets.simultaneous.tolist() == [[1, 1, 1], [3, 3, 3]]
    assert not sets.separated.any()
    assert np.isneginf(sets.lead[0, 1])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_near_copy_changes_nothing_for_the_others(binary: bool, noise: float) -> None:
    """One case differs, and perhaps rounding everywhere: neither may widen the intervals of other pairs."""
    values = RNG.normal(0, 0.1, (100, 3)) + np.array([0.9, 0.7, 0.5])
    if binary:
        values = (RNG.random((100, 3)) < np.array([0.9, 0.7, 0.5])).astype(np.float64)
    copy = values[:, 0] + noise * RNG.normal(size=100)
    copy[17] -= 1.0
    alone, beside = _means(values), _means(np.column_stack([values, copy]))
    assert beside.simultaneous.T.tolist() == [[1, 2], [3, 3], [4, 4], [1, 2]]
    assert np.isfinite(beside.lead[0, 1])
    widths = alone.difference - alone.lead, beside.difference - beside.lead
    off = ~np.eye(3, dtype=bool)
    assert (widths[1][:3, :3][off] < 1.25 * widths[0][off]).all()


def test_a_constant_difference_convinces_only_with_enough_cases() -> None:
    def separated(cases: int) -> bool:
        return bool(_means(np.tile([2.0, 1.0], (cases, 1))).separated[0, 1])

    # two-sided sign test of n equal signs: 2^(1 - n) <= 0.05 from six on
    assert [separated(cases) for cases in (4, 5, 6, 20)] == [False, False, True, True]


def test_five_cases_cannot_rank_forty_teams_however_far_they_are_apart() -> None:
    values = np.arange(40.0)[None, :] + RNG.normal(0, 0.01, (5, 40))
    sets = _means(values)
    assert (sets.simultaneous == np.array([[1.0], [40.0]])).all()
    assert (sets.marginal == sets.simultaneous).all()


def test_pairs_without_a_chance_take_no_share_of_the_level() -> None:
    values = RNG.normal(0, 0.1, (60, 3))
    copies = np.column_stack([values, values[:, 0], values[:, 0]])
    pairs = mean_pairs(copies, 300, 0, "t")
    assert family(pairs, 0.05) == int(pairs.regular.sum()) == 10 - 3


def test_step_down_finds_at_least_as_much_and_marginal_sets_are_no_larger() -> None:
    values = RNG.normal(0, 0.1, (40, 6)) + np.array([0.9, 0.86, 0.82, 0.8, 0.6, 0.2])
    pairs = mean_pairs(values, 500, 0, "t")
    sets = rank_sets(pairs, 6)
    assert (sets.marginal[0] >= sets.simultaneous[0]).all()
    assert (sets.marginal[1] <= sets.simultaneous[1]).all()
    rejected, critical = reject(pairs, 0.95)
    assert (rejected >= (pairs.observed > critical)).all()
    assert (sets.separated >= (sets.lead > 0)).all()


def _cliques(alike: npt.NDArray[np.bool_]) -> set[frozenset[int]]:
    """Return the maximal cliques by looking at every subset."""
    number = len(alike)
    cliques = [
        frozenset(members)
        for size in range(1, number + 1)
        for members in itertools.combinations(range(number), size)
        if all(alike[one, two] for one, two in itertools.combinations(members, 2))
    ]
    return {own for own in cliques if not any(own < other for other in cliques)}


@given(st.integers(1, 7), st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_letters_are_the_maximal_cliques_of_any_relation(number: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    separated = np.triu(rng.random((number, number)) < share, 1)
    order = rng.permutation(number)
    ranks = 1.0 + np.arange(number)
    found = letters(ranks, separated)
    alike = ~(separated | separated.T)
    groups = {name: frozenset(index for index in range(number) if name in found[index]) for name in "".join(found)}
    assert set(groups.values()) == _cliques(alike)
    assert len(groups) == len(set(groups.values()))
    for one, two in itertools.combinations(range(number), 2):
        assert bool(set(found[one]) & set(found[two])) == bool(alike[one, two])
    # the order in which submissions come does not matter
    assert letters(ranks[order], separated[np.ix_(order, order)]) == [found[index] for index in order]


def test_letters_beyond_z_and_beyond_reason() -> None:
    many = np.triu(np.ones((30, 30), dtype=bool), 1)
    assert letters(1.0 + np.arange(30), many)[25:28] == ["z", "aa", "ab"]
    assert letters(np.array([1.0, np.nan, 2.0]), many[:3, :3]) == ["a", "", "b"]
    pairs = np.zeros((40, 40), dtype=bool)
    pairs[np.arange(0, 40, 2), np.arange(1, 40, 2)] = True  # 2^20 maximal cliques
    assert letters(1.0 + np.arange(40), pairs) == [""] * 40


@pytest.mark.parametrize("q", [0.5, 0.25, 0.9])
@pytest.mark.parametrize("n", [5, 12, 40])
def test_order_statistics_enclose_a_quantile_as_often_as_promised(n: int, q: float) -> None:
    values = RNG.normal(size=(n, 20000))
    low, high = order_bounds(values, q, 0.1)
    missed = (low > stats.norm.ppf(q)).mean(), (high < stats.norm.ppf(q)).mean()
    assert max(missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20000)
    # no sharper pair of order statistics would do
    inside = np.sort(values[:, 0])
    if np.isfinite(low[0]):
        assert stats.binom.cdf(int(np.searchsorted(inside, low[0])) + 1, n, q) > 0.05


STEPS: tuple[tuple[object, ...], ...] = (
    ({"rank": {"within": "metric"}}, {"sum": "metric"}),
    ({"rank": {"within": "metric", "ties": "dense"}}, {"mean": {"over": "metric", "weights": {"x": 0.5}}}),
    ({"rank": {"within": "metric", "ties": "average", "tolerance": 0.3}}, {"median": "metric"}),
    ({"rank": {"within": "metric", "ties": "max"}}, {"mean": {"over": "metric", "groups": {"g": ["x", "y"]}}},
     {"rank": {"within": "metric"}}, {"max": "metric"}),
    ({"median": "metric"}, {"rank": {"ties": "first"}}),
    ({"select": {"metric": ["y", "z"]}}, {"min": "metric"}),
    ({"threshold": {"metric": "x", "good_enough": 0.4}}, {"mean": "metric"}),
)  # fmt: skip


@pytest.mark.parametrize("steps", STEPS, ids=[str(index) for index in range(len(STEPS))])
@given(st.integers(0, 2**31))
@example(46443494)  # a value of which nothing is known, and a threshold
@settings(max_examples=25, deadline=None)
def test_bounds_hold_for_every_table_that_the_statement_allows(steps: tuple[object, ...], seed: int) -> None:
    """A truth, a true statement about it, and what the statement says of the later steps must fit the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (5, 3)) / 5.0
    array = _array(truth[:, None, None, :])
    labels = {"submission": array.submissions, "metric": ("x", "y", "z")}
    array = replace(array, values=truth, state=np.full((5, 3), OK, np.uint8), dims=tuple(labels), labels=labels)
    known = rng.random((5, 5, 3)) < rng.random()
    gap = truth[:, None] - truth[None, :]
    lead = np.where(known, gap - rng.random(gap.shape) * rng.integers(0, 2, gap.shape), -np.inf)
    better = known & (gap > 0) & (rng.random(gap.shape) < 0.8)
    lead = np.where(better, np.maximum(lead, 0.0), lead)
    low = np.where(rng.random((5, 3)) < 0.3, truth - rng.random((5, 3)), -np.inf)
    high = np.where(rng.random((5, 3)) < 0.3, truth + rng.random((5, 3)), np.inf)
    parsed = parse_steps([*steps, "rank"])[:-1]
    after = through(Bounds(array, low, high, lead, better), parsed)
    for step in parsed:
        array = apply_step(array, step)
    sign = 1.0 if array.better[0] == "higher" else -1.0
    value = sign * array.values
    assert (after.low <= array.values + 1e-9).all()
    assert (after.high >= array.values - 1e-9).all()
    real = value[:, None] - value[None, :]
    off = ~np.eye(5, dtype=bool)
    assert (after.lead[off] <= real[off] + 1e-9).all()
    assert (real[after.better & (off if real.ndim == 2 else off[..., None])] > 0).all()


def test_infinity_is_near_nothing_finite() -> None:
    keys = np.array([[1.0], [np.inf], [1.2], [np.inf], [-np.inf]])
    assert tie_within(keys, 0.5).ravel().tolist() == [1.0, np.inf, 1.0, np.inf, -np.inf]


def test_what_is_surely_better_than_a_better_one_is_better() -> None:
    better = np.zeros((4, 4), dtype=bool)
    better[0, 1] = better[1, 2] = better[2, 3] = True
    assert closed(better).tolist() == np.triu(np.ones((4, 4), dtype=bool), 1).tolist()


MEAN = ({"mean": "case"}, {"mean": ["structure", "metric"]}, "rank")
LATER = {
    "means": MEAN,
    "bounds": ({"mean": ["case", "structure"]}, {"rank": {"within": "metric"}}, {"mean": "metric"}, "rank"),
    "quantiles": ({"median": "case"}, {"mean": ["structure", "metric"]}, "rank"),
}


@pytest.mark.parametrize("built", LATER)
def test_every_construction_finds_a_clear_order_and_no_other(built: str) -> None:
    values = RNG.normal(0, 0.05, (4, 40, 2, 2)) + np.array([0.9, 0.6, 0.6, 0.2])[:, None, None, None]
    sets = _sets(values, *LATER[built])
    assert sets is not None
    assert sets.construction == built
    # forty cases may hold no failure of a submission that fails rarely; medians do not depend on it
    assert sets.guarantee == ("95 %" if built == "quantiles" else "95 % unless rare failures differ")
    assert sets.simultaneous.T.tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]
    assert (np.diag(sets.lead) == 0).all()
    assert (sets.lead <= sets.difference + 1e-12).all()


@pytest.mark.parametrize(
    "steps",
    [
        ({"mean": ["structure", "metric"]}, {"test": "case"}, "rank"),
        ({"median": ["case", "structure"]}, {"mean": "metric"}, "rank"),
        ({"max": "case"}, {"mean": ["structure", "metric"]}, "rank"),
        ({"mean": "case"}, {"threshold": {"metric": "x", "tolerance": 0.1}}, {"mean": ["structure", "metric"]}, "rank"),
    ],
)
def test_what_nobody_can_bound_has_no_guarantee(steps: tuple[object, ...]) -> None:
    assert _sets(RNG.normal(size=(3, 20, 2, 2)), *steps) is None


def test_a_tolerance_of_the_last_step_asks_for_larger_differences() -> None:
    values = RNG.normal(0, 0.01, (3, 40, 1, 1)) + np.array([0.9, 0.88, 0.5])[:, None, None, None]
    strict = _sets(values, {"mean": "case"}, "rank")
    loose = _sets(values, {"mean": "case"}, {"rank": {"tolerance": 0.05}})
    assert strict is not None
    assert loose is not None
    assert strict.simultaneous.T.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert loose.simultaneous.T.tolist() == [[1, 2], [1, 2], [3, 3]]


def test_clusters_are_the_units_and_quantiles_have_no_guarantee_with_them() -> None:
    patients = tuple(f"p{index // 5}" for index in range(40))
    shared = RNG.normal(0, 0.1, (8, 3))[np.arange(40) // 5]
    values = (shared + np.array([0.9, 0.88, 0.86])).T[:, :, None, None]
    alone, grouped = (_sets(values, {"mean": "case"}, "rank", cluster=name, patient=patients)
                      for name in (None, "patient"))  # fmt: skip
    assert alone is not None
    assert grouped is not None
    assert np.isfinite(alone.lead[0, 1])
    assert np.isneginf(grouped.lead[0, 1])  # eight patients are too few for the bootstrap
    assert _sets(values, {"median": "case"}, "rank", cluster="patient", patient=patients) is None


def test_a_submission_without_a_value_leaves_the_others_alone() -> None:
    values = RNG.normal(0, 0.01, (30, 3)) + np.array([0.9, 0.5, 0.5])
    values[:, 2] = np.nan
    sets = _means(values)
    assert sets.simultaneous.T.tolist() == [[1, 2], [2, 3], [1, 3]]


def test_reach_is_that_of_the_test_itself() -> None:
    for n in (5, 10, 17):
        clear = PairedTests(np.column_stack([np.arange(1.0, n + 1), np.zeros(n)]), higher_better=True)
        assert smallest_p(n) == pytest.approx(clear.p_values(np.ones((1, n)))[0][0, 1])
    assert within_reach(10) == 16


def test_many_differences_get_a_bound_that_is_never_too_small() -> None:
    for won, lost in ((20, 10), (24, 2), (40, 0)):
        differences = np.concatenate([np.ones(won), -np.ones(lost)])
        exact = stats.binomtest(won, won + lost).pvalue
        assert exact <= sign_flip(differences) <= max(1.0, 400 * exact)
    assert least(np.array([40]))[0] == pytest.approx(sign_flip(np.ones(40)))


def test_an_outlier_does_not_hide_what_every_case_shows() -> None:
    values = np.column_stack([np.full(100, 0.9), np.full(100, 0.5)]) + RNG.normal(0, 1e-4, (100, 2))
    values[3, 1] -= 0.5
    assert _means(values).separated[0, 1]
    values = values[:14]
    assert _means(values).separated[0, 1]
