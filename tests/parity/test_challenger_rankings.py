"""Rankings, tests and comparisons against challengeR's own outputs (oracle/README.md in the reference data)."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.findings import MedpodiumError
from medpodium.scoring.evidence.stability import footrule, kendall, weighted_footrule
from medpodium.scoring.exchange.challenger_table import read_long
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.challenger import long_table, rank_long, superiority_tests
from medpodium.scoring.ranking.ranks import rank_columns
from medpodium.scoring.ranking.significance import adjust

METHODS = {
    "meanThenRank": ("mean-then-rank", "none"),
    "medianThenRank": ("median-then-rank", "none"),
    "q05ThenRank": ("quantile05-then-rank", "none"),
    "rankThenMean": ("rank-then-mean", "none"),
    "rankThenMedian": ("rank-then-median", "none"),
    "testThenRank_none": ("test-then-rank", "none"),
    "testThenRank_holm": ("test-then-rank", "holm"),
}
NA = {"none": None, "zero": "0", "rm": "rm", "arg_zero": "0", "arg_rm": "rm", "arg_fn": "worst"}
GROUPS = {"vignette": "vignette", "touchstone_dsc_complete": "touchstone_dsc", "touchstone_dsc_all": "touchstone_dsc"}


@functools.cache
def inputs(folder: Path, dataset: str) -> pd.DataFrame:
    if dataset.startswith("touchstone"):
        frame = read_long(folder / "touchstone_dsc.csv.gz")
        if dataset == "touchstone_dsc_complete":
            complete = pd.read_csv(folder / "touchstone_complete_cases.csv", dtype=str)
            frame = frame.merge(complete[["task", "case"]], on=["task", "case"])
        return frame
    return read_long(folder / ("vignette.csv" if dataset == "vignette" else f"edge/{dataset}.csv"))


@functools.cache
def results(folder: Path, group: str, table: str) -> dict[tuple[str, str], pd.DataFrame]:
    frame = pd.read_csv(folder / group / f"{table}.csv", dtype={"task": str})
    return dict(iter(frame.groupby(["dataset", "config"])))


@functools.cache
def small_better(folder: Path) -> dict[str, bool]:
    frame = pd.read_csv(folder / "edge" / "datasets.csv")
    return dict(zip(frame["dataset"], frame["small_better"], strict=True))


def treatment(config: str, method: str) -> str | None:
    """na.treat given to the ranking reaches only the methods that take it."""
    return None if config.startswith("arg_") and method.startswith("rank") else NA[config]


def configurations() -> list[tuple[str, str]]:
    edge = {
        "none": "ties two_algorithms identical_algorithms all_equal single_case single_case_one_task single_algorithm "
        "single_algorithm_one_task differing_algorithms small_better small_better_inf small_n float_ties "
        "consensus_ties consensus_cycle duplicate_case five_algorithms",
        "none zero rm arg_zero arg_rm arg_fn": "na_values",
        "none zero rm arg_zero arg_rm": "na_missing_rows na_tied_last na_whole_algorithm na_whole_case "
        "na_no_common_case small_better_na",
    }
    pairs = [("vignette", "none"), ("touchstone_dsc_complete", "none")]
    pairs += [("touchstone_dsc_all", config) for config in ("none", "zero", "rm")]
    for configs, names in edge.items():
        pairs += [(name, config) for name in names.split() for config in configs.split()]
    return pairs


def test_every_edge_set_is_tried(shared: Path) -> None:
    listed = pd.read_csv(shared / "oracle" / "inputs" / "edge" / "datasets.csv")
    wanted = {(row.dataset, config) for row in listed.itertuples() for config in row.configs.split()}
    assert len(listed) == 24
    assert wanted == {pair for pair in configurations() if "touchstone" not in pair[0] and pair[0] != "vignette"}


def attempt(
    folder: Path, dataset: str, method: str, late: bool, options: dict[str, object]
) -> tuple[pd.DataFrame | None, set[object]]:
    try:
        return long_table(rank_long(inputs(folder, dataset), method, late=late, **options)), set()
    except MedpodiumError as error:
        return None, {finding.code for finding in error.findings}


@pytest.mark.parametrize(("dataset", "config"), configurations())
def test_all_rankings(shared: Path, dataset: str, config: str) -> None:
    oracle = shared / "oracle"
    group = GROUPS.get(dataset, "edge")
    expected_all = results(oracle / "results", group, "rankings").get((dataset, config))
    small = group == "edge" and small_better(oracle / "inputs")[dataset]
    compared = 0
    for name, (method, adjustment) in METHODS.items():
        for ties in ("min", "average"):
            expected = pd.DataFrame()
            if expected_all is not None:
                chosen = (expected_all["method"] == name) & (expected_all["ties_method"] == ties)
                expected = expected_all[chosen]
            options = {"ties": ties, "adjust": adjustment, "smaller_better": small, "na": treatment(config, method)}
            ranked, codes = attempt(oracle / "inputs", dataset, method, config.startswith("arg_"), options)
            if ranked is None:
                assert expected.empty, f"{name} {ties}: {codes}"
                assert codes <= {RankingCode.MISSING_VALUES, RankingCode.NO_PAIRS, RankingCode.DUPLICATE_ROWS}
                continue
            if config == "arg_fn" and name == "q05ThenRank":
                # challengeR stops: a quantile of NA is an error; "worst" has an answer, so we give it
                assert expected.empty
                continue
            both = expected.merge(ranked, on=["task", "algorithm"], how="outer", suffixes=("", "_own"))
            np.testing.assert_array_equal(both["rank_own"], both["rank"], err_msg=f"{name} {ties}")
            np.testing.assert_allclose(both["value_own"], both["value"], rtol=1e-10, atol=1e-10)
            compared += len(both)
    assert compared or (dataset == "duplicate_case")


def refusals(folder: Path, dataset: str, small: bool, na: str | None) -> set[object]:
    """Return the codes of all findings about a test, whether they stop it or warn."""
    try:
        found = rank_long(inputs(folder, dataset), "test-then-rank", smaller_better=small, na=na)
    except MedpodiumError as error:
        return {finding.code for finding in error.findings}
    alone = [item.ranking.findings for item in found.values()]
    return {finding.code for findings in alone for finding in findings}


@pytest.mark.parametrize(("dataset", "config"), configurations())
def test_all_p_values(shared: Path, dataset: str, config: str) -> None:
    oracle = shared / "oracle"
    group = GROUPS.get(dataset, "edge")
    expected = results(oracle / "results", group, "significance").get((dataset, config))
    small = group == "edge" and small_better(oracle / "inputs")[dataset]
    if expected is None:
        # challengeR stops for missing values, for pairs without a common case and for a single algorithm
        assert refusals(oracle / "inputs", dataset, small, NA[config])
        return
    na = {"arg_fn": "rm"}.get(config, NA[config])  # the function leaves NAs, and their pairs are dropped
    ranked = rank_long(inputs(oracle / "inputs", dataset), "test-then-rank", smaller_better=small, na=na)
    compared = 0
    for task, item in ranked.items():
        array = item.prepared.array
        p = superiority_tests(array)
        off = ~np.eye(len(p), dtype=bool)
        holm = np.full(p.shape, np.nan)
        holm[off] = adjust(p[off], "holm")
        position = {name: index for index, name in enumerate(array.submissions)}
        rows = expected[expected["task"] == task]
        one = rows["algorithm"].map(position).to_numpy()
        two = rows["versus"].map(position).to_numpy()
        np.testing.assert_allclose(p[one, two], rows["p_value"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(holm[one, two], rows["p_holm"], rtol=0, atol=1e-10)
        np.testing.assert_array_equal(p[one, two] <= 0.05, rows["decision_none"] == 1)
        np.testing.assert_array_equal(holm[one, two] <= 0.05, rows["decision_holm"] == 1)
        compared += len(rows)
    assert compared == len(expected)


@pytest.mark.parametrize("dataset", ["vignette", "touchstone_dsc_complete", "edge"])
def test_ranks_of_cases_are_counted_alike(shared: Path, dataset: str) -> None:
    oracle = shared / "oracle"
    compared = 0
    for (name, config), rows in results(oracle / "results", GROUPS.get(dataset, "edge"), "case_rank_counts").items():
        if dataset != "edge" and name != dataset:
            continue
        small = dataset == "edge" and small_better(oracle / "inputs")[name]
        for ties, expected in rows.groupby("ties_method"):
            found = rank_long(
                inputs(oracle / "inputs", name),
                "rank-then-mean",
                ties=ties,
                smaller_better=small,
                na=treatment(config, "rank-then-mean"),
                late=config.startswith("arg_"),
            )
            counted = {}
            for task, item in found.items():
                array = item.prepared.array  # after the per-case ranking
                for submission, ranks in zip(array.submissions, array.values, strict=True):
                    for rank, number in zip(*np.unique(ranks[~np.isnan(ranks)], return_counts=True), strict=True):
                        counted[task, submission, float(rank)] = int(number)
            wanted = {(row.task, row.algorithm, float(row.rank)): row.n for row in expected.itertuples()}
            assert counted == wanted
            compared += len(wanted)
    assert compared > 50


def test_method_comparison(shared: Path) -> None:
    """The data behind challengeR's line plot: five methods, ties min; NAs treated before ranking."""
    oracle = shared / "oracle"
    labels = {
        "testBased": ("test-then-rank", "none"),
        "meanThenRank": ("mean-then-rank", "none"),
        "medianThenRank": ("median-then-rank", "none"),
        "rankThenMean": ("rank-then-mean", "none"),
        "rankThenMedian": ("rank-then-median", "none"),
    }
    compared = 0
    for group in ("vignette", "edge", "touchstone_dsc"):
        for (name, config), rows in results(oracle / "results", group, "method_comparison").items():
            small = group == "edge" and small_better(oracle / "inputs")[name]
            for label, expected in rows.groupby("ranking_method"):
                method, adjustment = labels[label]
                found = long_table(
                    rank_long(
                        inputs(oracle / "inputs", name), method, adjust=adjustment, smaller_better=small, na=NA[config]
                    )
                )
                both = expected.merge(found, on=["task", "algorithm"], suffixes=("", "_own"))
                assert len(both) == len(expected)
                np.testing.assert_array_equal(both["rank_own"], both["rank"], err_msg=f"{name} {config} {label}")
                compared += len(both)
    assert compared == 75 + 975 + 2565


def test_compare_ranks(shared: Path) -> None:
    oracle = shared / "oracle"
    compared = 0
    for group in ("vignette", "edge", "touchstone_dsc"):
        rankings = results(oracle / "results", group, "rankings")
        for key, rows in results(oracle / "results", group, "compare_ranks").items():
            own: dict[tuple[str, str], dict[str, float]] = {}
            for row in rankings[key].itertuples():
                if row.ties_method == "min":
                    own.setdefault((row.method, row.task), {})[row.algorithm] = row.rank
            for row in rows.itertuples():
                one, two = own[row.method_1, row.task], own[row.method_2, row.task]
                names = [name for name in one if name in two]
                a, b = np.array([one[name] for name in names], float), np.array([two[name] for name in names], float)
                np.testing.assert_allclose(kendall(a, b), row.kendall, atol=1e-12)
                np.testing.assert_allclose(footrule(a, b), row.footrule, atol=1e-12)
                np.testing.assert_allclose(weighted_footrule(a, b), row.weighted_footrule, atol=1e-12)
                compared += 1
    assert compared == 63 + 1447 + 189


def test_missing_rank_is_one_more_than_the_last_assigned_only_in_compat() -> None:
    """challengeR gives (0.5, 0.9, 0.5, NA, NA) the ranks 2 1 2 3 3; as last places they would be 4 and 4."""
    from medpodium.scoring.ranking.ranks import rank_after_last, rank_worst

    keys = -np.array([[0.5], [0.9], [0.5], [np.nan], [np.nan]])
    missing = np.isnan(keys)
    assert rank_after_last(keys, missing, "min").ravel().tolist() == [2, 1, 2, 3, 3]
    assert rank_after_last(keys, missing, "average").ravel().tolist() == [2.5, 1, 2.5, 4, 4]
    assert rank_worst(keys, missing, "min").ravel().tolist() == [2, 1, 2, 4, 4]
    assert rank_worst(keys, missing, "average").ravel().tolist() == [2.5, 1, 2.5, 4.5, 4.5]
    assert np.isnan(rank_columns(keys, "min")[3:]).all()
