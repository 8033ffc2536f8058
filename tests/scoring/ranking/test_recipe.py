"""Recipes: every step, every tie rule, every missing policy, on scores small enough to check by hand."""

from __future__ import annotations

import functools
import math
import operator
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from medpodium.challenges.schema.steps import parse_steps
from medpodium.findings import MedpodiumError
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.exact import ExactSums, Quantiles, divide, quantile
from medpodium.scoring.ranking.ranks import rank_columns, tie_within
from medpodium.scoring.ranking.recipe import Ranking, rank_scores


def table(rows: list[tuple], **groups: dict[str, str]) -> pd.DataFrame:
    """Rows are (submission, case, structure, metric, value[, status])."""
    frame = pd.DataFrame(
        [(*row, "ok") if len(row) == 5 else row for row in rows],
        columns=["submission", "case", "structure", "metric", "value", "status"],
    ).assign(challenge="c", edition="1", task="t")
    for name, levels in groups.items():
        frame[name] = frame["case"].map(levels)
    return frame


def rank(frame: pd.DataFrame, steps: list, **options) -> Ranking:
    directions = {"dsc": "higher", "hd": "lower", "time": "lower", "auc": "higher"}
    return rank_scores(frame, steps, directions, task="t", **options)


def ranks(ranking: Ranking) -> dict[str, float]:
    return dict(zip(ranking.submissions, ranking.ranks.tolist(), strict=True))


def grid(values: dict[str, list[float]], metric: str = "dsc") -> list[tuple]:
    return [(name, f"c{i}", "liver", metric, v) for name, own in values.items() for i, v in enumerate(own)]


def test_mean_then_rank_and_rank_then_mean_by_hand() -> None:
    frame = table(grid({"A": [0.9, 0.2, 0.9], "B": [0.8, 0.8, 0.8], "C": [0.1, 0.1, 0.1]}))
    assert ranks(rank(frame, [{"mean": "case"}, "rank"])) == {"B": 1, "A": 2, "C": 3}
    ranking = rank(frame, [{"rank": {"within": ["case"]}}, {"mean": "case"}, "rank"])
    assert ranks(ranking) == {"A": 1, "B": 2, "C": 3}
    assert ranking.values.tolist() == pytest.approx([4 / 3, 5 / 3, 3])
    assert list(ranking.table().columns) == ["task", "rank", "submission", "value", "mean_case"]


def test_flare22_ranks_cases_and_metrics_and_halves_the_weight_of_resources() -> None:
    rows = []
    for name, dsc, seconds in (("A", 0.9, 30), ("B", 0.8, 10), ("C", 0.7, 20)):
        rows += [(name, "c1", organ, "dsc", dsc) for organ in ("liver", "spleen")]
        rows += [(name, "c1", "", "time", seconds)]
    steps = [
        {"mean": "structure"},
        {"rank": {"within": ["case", "metric"]}},
        {"mean": "case"},
        {"mean": {"over": "metric", "weights": {"time": 0.5}}},
        "rank",
    ]
    ranking = rank(table(rows), steps)
    # (1 + .5*3)/1.5, (2 + .5*1)/1.5, (3 + .5*2)/1.5
    assert ranking.values.tolist() == pytest.approx([2.5 / 1.5, 2.5 / 1.5, 4 / 1.5])
    assert ranks(ranking) == {"A": 1, "B": 1, "C": 3}


def test_flare23_keeps_the_lesion_apart_from_the_organ_mean() -> None:
    rows = []
    for name, organs, lesion in (("A", (0.9, 0.8), 0.1), ("B", (0.8, 0.8), 0.6)):
        rows += [(name, "c1", organ, "dsc", v) for organ, v in zip(("liver", "spleen"), organs, strict=True)]
        rows += [(name, "c1", "lesion", "dsc", lesion)]
    steps = [
        {"mean": {"over": "structure", "groups": {"organ": ["liver", "spleen"]}}},
        {"rank": {"within": ["case", "structure", "metric"]}},
        {"mean": ["case", "structure", "metric"]},
        "rank",
    ]
    ranking = rank(table(rows), steps)
    assert ranking.values.tolist() == [1.5, 1.5]  # A wins the organs, B the lesion
    pooled = rank(table(rows), [{"mean": "structure"}, {"mean": "case"}, "rank"])
    assert ranks(pooled) == {"A": 2, "B": 1}


def test_lifs_weighs_domains_alike_whatever_their_size() -> None:
    domain = {"c1": "ID", "c2": "ID", "c3": "ID", "c4": "OOD"}
    rows = [("A", f"c{i}", "", "dsc", v) for i, v in enumerate([0.9, 0.9, 0.9, 0.1], 1)]
    rows += [("B", f"c{i}", "", "dsc", v) for i, v in enumerate([0.6, 0.6, 0.6, 0.6], 1)]
    steps = [{"mean": {"over": "case", "by": "domain"}}, {"mean": "domain"}, "rank"]
    frame = table(rows, domain=domain)
    assert rank(frame, steps).values.tolist() == pytest.approx([0.5, 0.6])
    assert ranks(rank(frame, [{"mean": "case"}, "rank"])) == {"A": 1, "B": 2}


def test_pooled_metrics_sit_beside_cases_by_their_domain() -> None:
    rows = [("A", "", "", "auc", 0.9), ("A", "", "", "auc", 0.5), ("B", "", "", "auc", 0.8), ("B", "", "", "auc", 0.7)]
    frame = table(rows).assign(domain=["ID", "OOD", "ID", "OOD"])
    steps = [{"mean": {"over": "case", "by": "domain"}}, {"mean": "domain"}, "rank"]
    assert rank(frame, steps).values.tolist() == pytest.approx([0.7, 0.75])


def test_several_metrics_keep_their_own_direction() -> None:
    rows = grid({"A": [0.9], "B": [0.8]}) + grid({"A": [9.0], "B": [3.0]}, "hd")
    steps = [{"mean": "case"}, {"rank": {"within": ["metric"]}}, {"sum": "metric"}, "rank"]
    ranking = rank(table(rows), steps)
    assert ranking.values.tolist() == [3, 3]
    assert ranking.columns["rank:dsc"].tolist() == [1, 2]
    assert ranking.columns["rank:hd"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("min", [1, 2, 2, 4]),
        ("max", [1, 3, 3, 4]),
        ("average", [1, 2.5, 2.5, 4]),
        ("first", [1, 2, 3, 4]),
        ("dense", [1, 2, 2, 3]),
    ],
)
def test_tie_rules(ties: str, expected: list[float]) -> None:
    frame = table(grid({"A": [0.9], "B": [0.8], "C": [0.8], "D": [0.7]}))
    assert rank(frame, [{"mean": "case"}, {"rank": {"ties": ties}}]).ranks.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, (6, 5), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    st.sampled_from(["min", "max", "average", "dense"]),
)
def test_ranks_are_scipys(values: np.ndarray, ties: str) -> None:
    np.testing.assert_array_equal(rank_columns(values, ties), stats.rankdata(values, method=ties, axis=0))


def test_tolerance_groups_by_the_best_of_the_group() -> None:
    keys = np.array([[0.0], [0.4], [0.8], [1.2]])
    assert tie_within(keys, 0.5).ravel().tolist() == [0, 0, 0.8, 0.8]
    frame = table(grid({"A": [0.90], "B": [0.89], "C": [0.80]}))
    assert rank(frame, [{"mean": "case"}, {"rank": {"tolerance": 0.02}}]).ranks.tolist() == [1, 1, 3]


def test_threshold_makes_fast_enough_as_good_as_fastest() -> None:
    frame = table(grid({"A": [3.0], "B": [14.0], "C": [20.0]}, "time"))
    steps = [{"threshold": {"metric": "time", "good_enough": 15}}, {"rank": {"within": ["case", "metric"]}}]
    steps += [{"mean": ["case", "metric"]}, "rank"]
    assert ranks(rank(frame, steps)) == {"A": 1, "B": 1, "C": 3}
    steps[0] = {"threshold": {"metric": "time", "tolerance": 2}}
    assert ranks(rank(frame, steps)) == {"A": 1, "B": 2, "C": 3}
    steps[0] = {"threshold": {"metric": "time", "tolerance": 11}}
    assert ranks(rank(frame, steps)) == {"A": 1, "B": 1, "C": 3}


def test_missing_is_last_unless_a_policy_says_otherwise() -> None:
    rows = [*grid({"A": [0.9, 0.9], "B": [0.5, 0.5]}), ("C", "c0", "liver", "dsc", 0.95)]
    frame = table(rows)
    aggregated = [{"mean": "case"}, "rank"]
    assert ranks(rank(frame, aggregated)) == {"A": 1, "B": 2, "C": 3}
    assert ranks(rank(frame, aggregated, missing={"dsc": "skip"})) == {"C": 1, "A": 2, "B": 3}
    assert rank(frame, aggregated, missing={"dsc": 0.0}).values[2] == pytest.approx(0.475)
    assert rank(frame, aggregated, missing={"dsc": "worst"}, worst={"dsc": 0.2}).values[2] == pytest.approx(0.575)
    own = [{"mean": {"over": "case", "missing": "skip"}}, "rank"]
    assert ranks(rank(frame, own, missing={"dsc": 0.0})) == {"C": 1, "A": 2, "B": 3}
    first = [{"rank": {"within": ["case"], "missing": "worst"}}, {"mean": "case"}, "rank"]
    assert rank(frame, first).values.tolist() == [1.5, 2.5, 2.0]  # C: first, then last of three
    skip = [{"rank": {"within": ["case"], "missing": "skip"}}, {"mean": "case"}, "rank"]
    assert rank(frame, skip).values.tolist() == [1.5, 2.5, 1.0]


def test_absent_cells_are_never_imputed() -> None:
    rows = grid({"A": [0.9], "B": [0.8]})
    rows += [("A", "c1", "liver", "dsc", math.nan, "skipped"), ("B", "c1", "liver", "dsc", math.nan, "skipped")]
    rows += [
        ("A", "c2", "liver", "dsc", math.nan, "empty-reference"),
        ("B", "c2", "liver", "dsc", 0.0, "empty-reference"),
    ]
    ranking = rank(table(rows), [{"mean": "case"}, "rank"], missing={"dsc": 0.0})
    assert ranking.values.tolist() == pytest.approx([0.9, 0.4])  # c1 is nobody's case; c2 counts for B alone


def test_common_keeps_cases_everybody_has() -> None:
    rows = [*grid({"A": [0.9, 0.1], "B": [0.8, 0.8]}), ("C", "c0", "liver", "dsc", 0.7)]
    ranking = rank(table(rows), [{"common": "case"}, {"mean": "case"}, "rank"])
    assert ranking.values.tolist() == [0.9, 0.8, 0.7]


def test_select_by_label_and_by_group() -> None:
    frame = table(grid({"A": [0.9, 0.1], "B": [0.8, 0.8]}), domain={"c0": "ID", "c1": "OOD"})
    chosen = [{"select": {"domain": ["ID"]}}, {"mean": "case"}, "rank"]
    assert ranks(rank(frame, chosen)) == {"A": 1, "B": 2}
    with pytest.raises(MedpodiumError, match="did you mean 'domain'"):
        rank(frame, [{"select": {"domian": ["ID"]}}, {"mean": "case"}, "rank"])


@pytest.mark.parametrize(("step", "expected"), [("min", 0.1), ("max", 0.9), ("sum", 1.5), ("median", 0.5)])
def test_other_reductions(step: str, expected: float) -> None:
    frame = table(grid({"A": [0.9, 0.1, 0.5], "B": [0.0, 0.0, 0.0]}))
    assert rank(frame, [{step: "case"}, "rank"]).values[0] == pytest.approx(expected)


def test_equal_sums_tie_whatever_the_order_of_addition() -> None:
    values = [0.1, 0.2, 0.3, 0.7, 1e-17, 0.11]
    plain = [functools.reduce(operator.add, order) for order in (values, values[::-1])]  # sum() compensates since 3.12
    assert plain[0] != plain[1]  # plain summation would separate the two
    frame = table(grid({"A": values, "B": values[::-1]}))
    ranking = rank(frame, [{"mean": "case"}, "rank"])
    assert ranking.ranks.tolist() == [1, 1]
    assert ranking.values[0] == float(sum(map(Fraction, values)) / len(values))


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        (7, 3),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda v: v if abs(v) > 1e-9 else 0.0),
    ),
    hnp.arrays(np.int64, (4, 7), elements=st.integers(0, 5)),
)
def test_resampled_means_are_correctly_rounded(values: np.ndarray, counts: np.ndarray) -> None:
    sums = ExactSums(values)
    weights = counts.astype(np.float64)
    high, low = sums.sums(weights)
    means = divide(high, low, sums.counts(weights))
    for row, own in enumerate(counts):
        for column in range(values.shape[1]):
            exact = sum((int(k) * Fraction(v) for k, v in zip(own, values[:, column], strict=True)), Fraction(0))
            if own.sum():
                assert means[row, column] == float(exact / int(own.sum()))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, (6, 2), elements=st.sampled_from([0.0, 0.25, 0.3, 0.9, 1.0])),
    hnp.arrays(np.int64, (3, 6), elements=st.integers(0, 3)),
    st.sampled_from([0.0, 0.05, 0.5, 0.77, 1.0]),
)
def test_resampled_quantiles_are_numpys(values: np.ndarray, counts: np.ndarray, q: float) -> None:
    found = Quantiles(values)(counts.astype(np.float64), q)
    for row, own in enumerate(counts):
        if own.sum():
            expected = np.quantile(np.repeat(values, own, axis=0), q, axis=0)
            np.testing.assert_allclose(found[row], expected, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(quantile(values.T, q), np.quantile(values, q, axis=0), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("steps", "code", "words"),
    [
        ([{"mean": "case"}, {"mean": "metric"}, "rank"], RankingCode.MIXED_DIRECTIONS, "opposite direction"),
        ([{"mean": "structre"}, "rank"], RankingCode.BAD_STEP, "did you mean 'structure'"),
        ([{"mean": "case"}, "rank"], RankingCode.BAD_STEP, "metric not collapsed"),
        ([{"rank": {"within": ["case"]}}, {"mean": "case"}, "rank"], RankingCode.BAD_STEP, "'metric' is neither"),
        (
            [
                {
                    "mean": ["case", "metric"],
                },
                {"test": "case"},
                "rank",
            ],
            RankingCode.BAD_STEP,
            "no dimension 'case'",
        ),
        (
            [{"mean": {"over": "case", "by": "centre"}}, {"mean": ["metric", "centre"]}, "rank"],
            RankingCode.UNKNOWN_LABEL,
            "centre",
        ),
        (
            [
                {"rank": {"within": ["case", "metric"]}},
                {"mean": {"over": ["metric", "case"], "weights": {"dcs": 2}}},
                "rank",
            ],
            RankingCode.UNKNOWN_LABEL,
            "did you mean 'dsc'",
        ),
        (
            [{"select": {"metric": ["nsd"]}}, {"mean": ["case", "metric"]}, "rank"],
            RankingCode.UNKNOWN_LABEL,
            "no 'nsd'",
        ),
    ],
)
def test_wrong_recipes_are_findings(steps: list, code: RankingCode, words: str) -> None:
    rows = grid({"A": [0.9], "B": [0.8]}) + grid({"A": [9.0], "B": [3.0]}, "hd")
    rows += [("A", "c0", "spleen", "dsc", 0.5), ("B", "c0", "spleen", "dsc", 0.6)]
    if "structre" not in str(steps):
        steps = [{"mean": "structure"}, *steps]
    with pytest.raises(MedpodiumError) as caught:
        rank(table(rows), steps)
    assert caught.value.findings[0].code is code
    assert words in str(caught.value)


def test_steps_survive_writing_and_reading() -> None:
    steps = parse_steps(
        [
            {"select": {"metric": "dsc"}},
            {"mean": {"over": "case", "by": "domain"}},
            {"quantile": {"over": "domain", "q": 0.05}},
            "rank",
        ]
    )
    assert parse_steps([step.model_dump(mode="json") for step in steps]) == steps
    with pytest.raises(ValueError, match="did you mean 'median'"):
        parse_steps([{"mediann": "case"}])


def test_odd_scores_are_reported() -> None:
    def codes(rows: list[tuple], **options) -> set[RankingCode]:
        return {finding.code for finding in rank(table(rows), [{"mean": "case"}, "rank"], **options).findings}

    assert codes(grid({"A": [0.1], "B": [0.2]})) == {RankingCode.ONE_CASE}
    assert codes(grid({"A": [0.1, 0.2]})) == {RankingCode.ONE_SUBMISSION}
    assert codes(grid({"A": [0.1, 0.2], "B": [0.1, 0.2]})) == {RankingCode.ALL_TIED}
    assert codes(grid({"A": [0.1, 0.2], "B": [math.inf, 0.2]})) == {RankingCode.INFINITE}
    missing = [("B", f"c{i}", "liver", "dsc", math.nan, "failed:timeout") for i in range(2)]
    assert codes(grid({"A": [0.1, 0.2]}) + missing) == {RankingCode.NO_CASES_OF_SUBMISSION}
    assert codes(grid({"A": [0.1, 0.2], "B": [0.3, 0.4]}), submissions=["C"]) == {RankingCode.NO_CASES_OF_SUBMISSION}
    with pytest.raises(MedpodiumError, match=str(RankingCode.ALL_MISSING)):
        codes(missing)
    with pytest.raises(MedpodiumError, match=str(RankingCode.DUPLICATE_ROWS)):
        codes([*grid({"A": [0.1, 0.2], "B": [0.3, 0.4]}), ("A", "c0", "liver", "dsc", 0.7)])
