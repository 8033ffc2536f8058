"""The data behind challengeR's plots equal challengeR's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.reports.model.illustrate import raw as illustrate_raw
from medpodium.reports.model.illustrate import stability as illustrate_stability
from medpodium.reports.model.results import Drawn, TaskResults
from medpodium.scoring import table
from medpodium.scoring.evidence.stability import rank_counts, rank_summary, tau_summary
from medpodium.scoring.evidence.tables.collect import Evidence, Options, TaskPlan, collect_task

DATA = "touchstone_dsc_complete"
METHODS = {
    "testBased": "test-then-rank",
    "meanThenRank": "mean-then-rank",
    "medianThenRank": "median-then-rank",
    "rankThenMean": "rank-then-mean",
    "rankThenMedian": "rank-then-median",
}


def _oracle(shared: Path, name: str, **keep: str) -> pd.DataFrame:
    rows = pd.read_csv(shared / "oracle" / "results" / "touchstone_dsc" / f"{name}.csv")
    rows = rows[rows["dataset"] == DATA]
    for column, value in keep.items():
        rows = rows[rows[column] == value]
    return rows


@pytest.fixture(scope="module")
def organ(shared: Path) -> TaskResults:
    """Return Touchstone's pancreas on the cases every model has, as the report sees it."""
    rows = pd.read_csv(shared / "oracle" / "inputs" / "touchstone_dsc.csv.gz")
    complete = pd.read_csv(shared / "oracle" / "inputs" / "touchstone_complete_cases.csv")
    rows = rows[rows["task"] == "pancreas"].merge(complete[complete["task"] == "pancreas"][["case"]], on="case")
    scores = table.normalise(
        pd.DataFrame(
            {
                "task": "segmentation",
                "submission": rows["algorithm"],
                "case": rows["case"],
                "structure": "pancreas",
                "metric": "dice",
                "value": rows["value"],
            }
        ),
        "oracle",
    )
    challenge = registry.load("touchstone")
    recipe = challenge.recipes["mean-of-case-means"]
    from medpodium.scoring.evidence.tables.plan import rules_of

    rules = rules_of({"dice": challenge.tasks["segmentation"].metrics["dice"]})
    evidence = Evidence()
    collect_task(evidence, scores, TaskPlan("segmentation", "mean", recipe.steps, rules), Options(), full=True)
    own = {name.removesuffix(".csv"): evidence.frame(name) for name in evidence.tables}
    board = own["leaderboard"].dropna(axis="columns", how="all")
    return TaskResults("segmentation", challenge, scores, board, "mean-of-case-means", own)


def test_the_heatmap_shows_challengers_counts(shared: Path, organ: TaskResults) -> None:
    panel = organ.panels[0]
    figure = illustrate_raw._heatmap(organ, panel, organ.places(panel), "x")
    told = figure.data.rename(columns={"submission": "algorithm", "place": "rank", "cases": "n"})
    truth = _oracle(shared, "case_rank_counts", task="pancreas", ties_method="min")
    key = ["algorithm", "rank"]
    left = told.astype({"rank": int, "n": int}).set_index(key)["n"].sort_index()
    right = truth.astype({"rank": int, "n": int}).set_index(key)["n"].sort_index()
    pd.testing.assert_series_equal(left, right)
    assert len(right) > 200


def test_the_line_plot_shows_challengers_ranks(shared: Path, organ: TaskResults) -> None:
    figure = illustrate_stability._lines(organ, organ.panels[0])[0]
    truth = _oracle(shared, "method_comparison", task="pancreas")
    told = figure.data.set_index(["method", "submission"])["rank"]
    for row in truth.itertuples():
        assert told[METHODS[row.ranking_method], row.algorithm] == row.rank
    assert len(truth) == 19 * 5


def test_the_significance_map_shows_challengers_decisions(shared: Path, organ: TaskResults) -> None:
    figure = illustrate_stability._significance(organ, organ.panels[:1])[0]
    matrix = figure.plot.arguments["matrix"]
    truth = _oracle(shared, "significance", task="pancreas")
    for row in truth.itertuples():
        assert bool(matrix.loc[row.algorithm, row.versus]) == bool(row.decision_holm)


def test_blob_and_violin_show_challengers_bootstrap(shared: Path, organ: TaskResults) -> None:
    keep = {"task": "pancreas", "method": "meanThenRank", "ties_method": "min"}
    drawn = _oracle(shared, "bootstrap_ranks", **keep).set_index("algorithm").loc[organ.order]
    ranks = np.array([[float(rank) for rank in text.split()] for text in drawn["ranks"]]).T
    taus = np.array(_oracle(shared, "bootstrap_kendall", **keep)["taus"].iloc[0].split(), dtype=float)
    counts = [
        (name, rank, number, number / len(ranks))
        for name, own in zip(organ.order, rank_counts(ranks), strict=True)
        for rank, number in own.items()
    ]
    evidence = {
        "rank_intervals": rank_summary(ranks).assign(submission=organ.order, rank=organ.ranks[organ.order].to_numpy()),
        "frequencies": pd.DataFrame(counts, columns=["submission", "rank", "n", "share"]),
        "kendall_tau": pd.DataFrame({"resample": range(1, len(taus) + 1), "tau": taus}),
        "kendall_summary": pd.DataFrame([tau_summary(taus)]),
    }
    told = TaskResults(
        organ.name, organ.challenge, organ.scores, organ.leaderboard, organ.recipe, evidence, Drawn(len(ranks))
    )
    blob, violin = illustrate_stability._bootstrap(told)
    lines = blob.plot.arguments["summary"]
    for row in _oracle(shared, "bootstrap_rank_summary", **keep).itertuples():
        shown = lines.loc[row.algorithm]
        np.testing.assert_allclose([shown["median"], shown["lower"], shown["upper"]], [row.median, row.q025, row.q975])
    truth = _oracle(shared, "bootstrap_kendall_summary", **keep).iloc[0]
    assert violin.data["tau"].median() == pytest.approx(truth["median"])
    for name in ("mean", "median", "q25", "q75"):
        assert f"{truth[name]:.3f}" in violin.caption
