"""Consensus, exact Kemeny orders and task dissimilarities against the oracle."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.findings import MedpodiumError
from medpodium.scoring.evidence.consensus import borda, cluster_tasks, copeland, euclidean, kemeny
from medpodium.scoring.evidence.stability import kendall, symmetric_difference
from medpodium.scoring.ranking.axes import RankingCode

GROUPS = ("vignette", "edge", "touchstone_dsc")
Key = tuple[str, str, str, str]


@functools.cache
def table(folder: Path, group: str, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / group / f"{name}.csv", dtype={"task": str, "task_1": str, "task_2": str})


@functools.cache
def rankings(folder: Path, group: str) -> dict[Key, dict[str, dict[str, float]]]:
    found: dict[Key, dict[str, dict[str, float]]] = {}
    for row in table(folder, group, "rankings").itertuples():
        key = (row.dataset, row.config, row.method, row.ties_method)
        found.setdefault(key, {}).setdefault(row.task, {})[row.algorithm] = row.rank
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_euclidean_consensus(shared: Path, group: str) -> None:
    folder = shared / "oracle" / "results"
    expected = table(folder, group, "consensus")
    for key, rows in expected.groupby(["dataset", "config", "method", "ties_method"]):
        found = euclidean(rankings(folder, group)[key])
        own = dict(zip(found.submissions, zip(found.scores, found.ranks, strict=True), strict=True))
        for row in rows.itertuples():
            assert own[row.algorithm][0] == pytest.approx(row.mean_rank, abs=1e-10)
            assert own[row.algorithm][1] == row.rank


def test_different_fields_have_no_consensus(shared: Path) -> None:
    folder = shared / "oracle" / "results"
    status = table(folder, "edge", "status")
    refused = status[(status["operation"] == "consensus_euclidean") & ~status["ok"].astype(bool)]
    checked = 0
    for row in refused.itertuples():
        with pytest.raises(MedpodiumError) as caught:
            euclidean(rankings(folder, "edge")[row.dataset, row.config, row.method, row.ties_method])
        assert caught.value.findings[0].code is RankingCode.NOT_POSSIBLE
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("group", GROUPS)
def test_kemeny(shared: Path, group: str) -> None:
    folder = shared / "oracle" / "results"
    expected = table(folder, group, "consensus_kemeny")
    blocks = dict(iter(expected.groupby(["dataset", "config", "method", "family"])))
    if group == "touchstone_dsc":  # 19 algorithms: half a million subsets each
        blocks = {key: rows for key, rows in blocks.items() if key[2] in ("meanThenRank", "rankThenMean")}
    for (dataset, config, method, family), rows in blocks.items():
        found = kemeny(rankings(folder, group)[dataset, config, method, "min"], family, listed=1000)
        assert found.distance == rows["distance"].iloc[0]
        assert found.n_optima == rows["n_optima"].iloc[0]
        own = {tuple(optimum) for optimum in found.optima}
        for _, optimum in rows.groupby("optimum"):
            ranks = optimum.set_index("algorithm")["rank"]
            assert tuple(float(ranks[name]) for name in found.submissions) in own


@pytest.mark.parametrize("group", GROUPS)
def test_task_dissimilarity_has_the_sign_challenger_lost(shared: Path, group: str) -> None:
    """challengeR returns tau where it promises a distance; ours is called kendall, and 1 - tau is the distance."""
    folder = shared / "oracle" / "results"
    compared = 0
    for row in table(folder, group, "task_dissimilarity").itertuples():
        own = rankings(folder, group)[row.dataset, row.config, row.method, row.ties_method]
        one, two = own[row.task_1], own[row.task_2]
        if set(one) != set(two):
            assert np.isnan(row.kendall_dissimilarity)
            continue
        names = sorted(one)
        tau = kendall(np.array([one[name] for name in names]), np.array([two[name] for name in names]))
        np.testing.assert_allclose(tau, row.kendall_dissimilarity, atol=1e-12)
        compared += 1
    assert compared >= 42


def test_numbers_of_the_fact_sheet(shared: Path) -> None:
    folder = shared / "oracle" / "results"
    own = rankings(folder, "vignette")["vignette", "none", "meanThenRank", "min"]
    consensus = euclidean(own)
    assert np.round(consensus.scores, 3).tolist() == [1.667, 2.333, 3.667, 3.333, 4.0]
    assert consensus.ranks.tolist() == [1, 2, 4, 3, 5]
    ranks = {task: np.array([own[task][name] for name in consensus.submissions]) for task in own}
    assert symmetric_difference(ranks["c_ideal"], ranks["c_random"]) == 4
    assert symmetric_difference(ranks["c_ideal"], ranks["c_worstcase"]) == 10
    assert symmetric_difference(ranks["c_random"], ranks["c_worstcase"]) == 10
    first = cluster_tasks(own)[0]
    assert first == (4.0, ("c_ideal",), ("c_random",))
    assert cluster_tasks(own, "average")[1][0] == 10.0


def test_borda_and_copeland_on_a_cycle_and_on_an_order() -> None:
    cycle = {"1": {"A": 1, "B": 2, "C": 3}, "2": {"A": 3, "B": 1, "C": 2}, "3": {"A": 2, "B": 3, "C": 1}}
    assert borda(cycle).scores.tolist() == [3, 3, 3]
    assert copeland(cycle).scores.tolist() == [0, 0, 0]
    order = {"1": {"A": 1, "B": 2, "C": 2}, "2": {"A": 1, "B": 2, "C": 3}}
    assert borda(order).scores.tolist() == [4, 1.5, 0.5]
    assert copeland(order).scores.tolist() == [2, 0, -2]
    assert copeland(order).ranks.tolist() == [1, 2, 3]
